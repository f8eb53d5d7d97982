//! `call`: call a method of a service.

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ferrocal::{
    Bytes, CallError, DataType, DynamicType, MethodInfo, Payload, RegisteredType, ServerIdentity,
    ServiceInfo, Snapshot,
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::args::seconds;
use crate::exit::Exit;
use crate::network::Network;
use crate::output::{BAD, clean};
use crate::payload::{Any, Content};
use crate::render::Render;
use crate::session::{End, Session};

/// Call a method of a service, and print the response.
///
/// Without --text or --hex, DATA is JSON if the server registered a protobuf type for the request, and text else. The
/// response is shown by the type that the server registered.
///
/// Of several servers, the one that registered first is called, unless --pid, --host or --all say otherwise.
///
/// Keys of --json, an object for each server that was called: service, method, host, pid, unit, ret_state (the number that
/// the method returned), type (of the response), value (as JSON) or base64, seconds; or error. Exit codes: 1 a call failed,
/// 4 there is no such server or method, or no response in time.
#[derive(clap::Args)]
pub(crate) struct Call {
    /// The service's name.
    service: String,
    /// The method's name.
    method: String,
    /// The request: JSON, text or hexadecimal digits [default: an empty request].
    data: Option<String>,
    /// DATA is text, as it is.
    #[arg(long, conflicts_with = "hex")]
    text: bool,
    /// DATA is bytes in hexadecimal digits, and the response is shown so.
    #[arg(long)]
    hex: bool,
    /// Call all servers of the service.
    #[arg(short, long)]
    all: bool,
    /// Call the server of this process.
    #[arg(long)]
    pid: Option<i32>,
    /// Call the server on this host.
    #[arg(long)]
    host: Option<String>,
    /// How long to wait for a server, and for its response.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    timeout: Duration,
}

/// What came of a call, as `call --json` prints it.
#[derive(Default, Serialize)]
struct Row<'a> {
    service: &'a str,
    method: &'a str,
    host: String,
    pid: i32,
    unit: String,
    ret_state: Option<i64>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    seconds: f64,
}

/// A server to call, and the types of its method.
struct Target {
    server: Arc<ServerIdentity>,
    method: MethodInfo,
}

impl Call {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let node = session.open("call", session.config()?)?;
        let client = node.client(&self.service)?;
        let network = Network::of(session, node);
        let mut found = Vec::new();
        let find = |snapshot: &Snapshot| {
            found = self.targets(&client.servers(), snapshot);
            !found.is_empty()
        };
        // All of them have registered after two refreshes.
        let time = if self.all { network.after(2.0) } else { self.timeout };
        let (snapshot, end) = match self.all {
            true => network.until(time, |_| false),
            false => network.until(time, find),
        };
        if self.all {
            found = self.targets(&client.servers(), &snapshot);
        }
        if found.is_empty() {
            return match end {
                Some(End::Stopped) => Ok(Exit::Interrupted),
                _ => Err(Exit::NotFound.because(self.nobody(&snapshot, network.place()))),
            };
        }
        if !self.all {
            found.truncate(1);
        }
        if let Some(missing) = found.iter().find(|target| target.method.name != *self.method) {
            let names = methods(&snapshot, &missing.server);
            return Err(Exit::NotFound.because(format!(
                "service `{}` has no method `{}`; it has {}",
                clean(&self.service),
                clean(&self.method),
                clean(&names)
            )));
        }
        self.call(session, &client, found)
    }

    /// The servers to call that are connected and have registered.
    fn targets(&self, connected: &[Arc<ServerIdentity>], snapshot: &Snapshot) -> Vec<Target> {
        let is_meant = |server: &ServerIdentity| {
            self.pid.is_none_or(|pid| pid == server.process_id)
                && self.host.as_ref().is_none_or(|host| server.host_name == **host)
        };
        let target = |server: &Arc<ServerIdentity>| {
            let info = registered(snapshot, server)?;
            let method = info.methods.iter().find(|method| method.name == *self.method);
            // An empty name is that of no method.
            Some(Target { server: server.clone(), method: method.cloned().unwrap_or_default() })
        };
        connected.iter().filter(|server| is_meant(server)).filter_map(target).collect()
    }

    fn nobody(&self, snapshot: &Snapshot, place: &str) -> String {
        let service = clean(&self.service);
        let servers = snapshot.servers.iter().filter(|seen| seen.info.service_name == *self.service);
        match servers.count() {
            0 => format!("no server of service `{service}` was found {place}"),
            1 => format!(
                "the server of service `{service}` {place} cannot be connected to, or is not the one that is meant"
            ),
            count => format!(
                "{count} servers of service `{service}` were found {place}, but none that is meant could be connected to"
            ),
        }
    }

    fn call(
        &self,
        session: &Session,
        client: &ferrocal::Client,
        targets: Vec<Target>,
    ) -> anyhow::Result<Exit> {
        let (sender, responses) = channel();
        let started = Instant::now();
        for Target { server, method } in targets {
            let request = self.request(&method.request)?;
            let MethodInfo { request: ask, response: answer, .. } = method;
            let called =
                client.method_with::<[u8], [u8]>(&self.method, ask, answer.clone())?.of_server(&server);
            let sender = sender.clone();
            called.call_with(&request, self.timeout, move |result| {
                // Nobody waits for it any more when this was interrupted.
                let _ = sender.send((server, answer, result));
            });
        }
        drop(sender);
        let mut exit = Exit::Fine;
        loop {
            match responses.recv_timeout(session.slice(Duration::MAX)) {
                Ok((server, answer, result)) => {
                    let failed = self.print(session, &server, answer, result, started.elapsed())?;
                    exit = if exit == Exit::Fine { failed } else { exit };
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(exit),
                Err(RecvTimeoutError::Timeout) => match session.end() {
                    Some(End::Stopped) => return Ok(Exit::Interrupted),
                    Some(End::Deadline) => return Err(Exit::NotFound.because("no response came in time")),
                    None => {}
                },
            }
        }
    }

    /// The bytes of the request.
    fn request(&self, data_type: &DataType) -> anyhow::Result<Vec<u8>> {
        if self.hex {
            return unhex(self.data.as_deref().unwrap_or_default());
        }
        let is_proto = data_type.encoding == "proto" && !data_type.descriptor.is_empty();
        match &self.data {
            Some(data) if is_proto && !self.text => {
                let dynamic = DynamicType::new(data_type).with_context(|| {
                    format!("the request's type `{}` cannot be used", clean(&data_type.name))
                })?;
                let of_type = || format!("it is not JSON of type `{}`", clean(dynamic.name()));
                dynamic.from_json(data).with_context(of_type)
            }
            Some(data) => Ok(data.clone().into_bytes()),
            None => Ok(Vec::new()),
        }
    }

    /// Prints what came of a call. Returns how that ends the program.
    fn print(
        &self,
        session: &Session,
        server: &ServerIdentity,
        answer: DataType,
        result: Result<ferrocal::Response<Bytes>, CallError>,
        time: Duration,
    ) -> anyhow::Result<Exit> {
        let mut row = Row {
            service: &self.service,
            method: &self.method,
            host: server.host_name.to_string(),
            pid: server.process_id,
            unit: server.unit_name.to_string(),
            seconds: time.as_secs_f64(),
            ..Row::default()
        };
        let (exit, shown) = match result {
            Ok(response) => {
                let content = decode(response.payload, answer);
                let render = Render { max: usize::MAX, hex: self.hex, defaults: false };
                let shown = if content.bytes.is_empty() { String::new() } else { render.content(&content) };
                row.ret_state = Some(response.ret_state);
                row.type_name = content.data_type.as_ref().map(|data_type| data_type.name.clone());
                row.value =
                    content.to_json(false).ok().flatten().and_then(|json| RawValue::from_string(json).ok());
                row.base64 = row.value.is_none().then(|| BASE64_STANDARD.encode(&content.bytes));
                (Exit::Fine, shown)
            }
            Err(error) => {
                row.error = Some(error.to_string());
                let exit = match error {
                    CallError::Failed { ret_state, .. } => {
                        row.ret_state = Some(ret_state);
                        Exit::Failed
                    }
                    CallError::Timeout | CallError::NoServer => Exit::NotFound,
                    _ => Exit::Failed,
                };
                (exit, String::new())
            }
        };
        let out = &mut session.out();
        let name = format!("{} on {}", server.process_id, server.host_name);
        if session.common.json {
            out.json(&row)?;
        } else if let Some(error) = &row.error {
            anstream::eprintln!("{BAD}error{BAD:#}: process {}: {}", clean(&name), clean(error));
        } else {
            if self.all {
                out.line(format_args!("# process {}", clean(&name)))?;
            }
            if let Some(ret_state) = row.ret_state.filter(|&one| one != 0) {
                out.line(format_args!("# returned {ret_state}"))?;
            }
            if !shown.is_empty() {
                out.line(shown)?;
            }
        }
        out.flush()?;
        Ok(exit)
    }
}

fn registered<'a>(snapshot: &'a Snapshot, server: &ServerIdentity) -> Option<&'a ServiceInfo> {
    let is_its = |info: &ServiceInfo| {
        (info.service_id, info.process_id, &info.host_name)
            == (server.id, server.process_id, &server.host_name)
    };
    snapshot.servers.iter().map(|seen| &*seen.info).find(|info| is_its(info))
}

/// The names of a server's methods.
fn methods(snapshot: &Snapshot, server: &ServerIdentity) -> String {
    let methods = registered(snapshot, server).map_or(&[][..], |info| &info.methods);
    match methods.iter().map(|method| format!("`{}`", method.name)).collect::<Vec<_>>() {
        names if names.is_empty() => "none".to_owned(),
        names => names.join(", "),
    }
}

fn decode(payload: Bytes, data_type: DataType) -> Content {
    match <Any>::decode_as(payload, Some(&RegisteredType::new(data_type))) {
        Ok(content) => content,
        Err(never) => match never {},
    }
}

fn unhex(digits: &str) -> anyhow::Result<Vec<u8>> {
    let digits: Vec<u8> = digits.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| {
        let pair = str::from_utf8(pair).ok().filter(|pair| pair.len() == 2 && !pair.contains('+'))?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.ok_or_else(|| Exit::Usage.because("DATA is not pairs of hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_read() {
        assert_eq!(unhex("00 fF7a").unwrap(), [0, 0xff, 0x7a]);
        assert!(unhex("").unwrap().is_empty());
        assert!(unhex("0").is_err() && unhex("+1").is_err() && unhex("xy").is_err());
    }
}
