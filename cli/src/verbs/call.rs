//! `call`: call a method of a service.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ferrocal::{
    Bytes, CallError, DataType, DynamicType, MethodInfo, Payload, RegisteredType, ServerIdentity,
    ServiceInfo, Snapshot, Text,
};
use serde::Serialize;

use crate::args::seconds;
use crate::exit::Exit;
use crate::network::Network;
use crate::output::{BAD, clean, tell};
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
/// the method returned), type (of the response), value (as JSON) or base64, seconds, error (why there is no response, or why
/// it has no value). Exit codes: 1 a call failed, 4 there is no such server or method, or no response in time. With --all, 1
/// if some servers answered and others did not.
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

/// What came of all calls.
#[derive(Debug, Default)]
struct Outcome {
    has_response: bool,
    /// How the first call that failed ends the program.
    failure: Option<Exit>,
}

impl Outcome {
    fn add(&mut self, exit: Exit) {
        match exit {
            Exit::Fine => self.has_response = true,
            exit => _ = self.failure.get_or_insert(exit),
        }
    }

    fn exit(&self) -> Exit {
        match self.failure {
            None => Exit::Fine,
            Some(_) if self.has_response => Exit::Failed,
            Some(exit) => exit,
        }
    }
}

impl Call {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        if self.hex {
            unhex(self.data.as_deref().unwrap_or_default())?;
        }
        let node = session.open("call", session.config()?)?;
        let client = node.client(&self.service)?;
        let network = Network::of(session, node);
        let (snapshot, end) = self.wait(&network, &client);
        if end == Some(End::Stopped) {
            return Ok(Exit::Interrupted);
        }
        let connected = client.servers();
        let mut found = self.targets(&connected, &snapshot);
        if found.is_empty() {
            return Err(Exit::NotFound.because(self.nobody(&snapshot, network.place())));
        }
        let mut outcome = Outcome::default();
        if self.all {
            for info in self.unconnected(&connected, &snapshot) {
                let row = self.row(&info.host_name, info.process_id, &info.unit_name);
                outcome.add(Exit::NotFound);
                self.print_error(session, row, "it cannot be connected to")?;
            }
        } else {
            found.truncate(1);
        }
        self.call(session, &client, found, &snapshot, outcome)
    }

    /// Waits for the servers to call.
    fn wait(&self, network: &Network, client: &ferrocal::Client) -> (Snapshot, Option<End>) {
        if !self.all {
            return network
                .until(self.timeout, |snapshot| !self.targets(&client.servers(), snapshot).is_empty());
        }
        // All of them have registered after two refreshes.
        let (snapshot, end) = network.until(network.after(2.0), |_| false);
        match end {
            None => network
                .until(self.timeout, |snapshot| self.unconnected(&client.servers(), snapshot).is_empty()),
            end => (snapshot, end),
        }
    }

    /// The servers to call that are connected and have registered.
    fn targets(&self, connected: &[Arc<ServerIdentity>], snapshot: &Snapshot) -> Vec<Target> {
        let is_meant = |server: &ServerIdentity| self.is_meant(&server.host_name, server.process_id);
        let target = |server: &Arc<ServerIdentity>| {
            let info = registered(snapshot, server)?;
            let method = info.methods.iter().find(|method| method.name == *self.method);
            // An empty name is that of no method.
            Some(Target { server: server.clone(), method: method.cloned().unwrap_or_default() })
        };
        connected.iter().filter(|server| is_meant(server)).filter_map(target).collect()
    }

    fn is_meant(&self, host: &Text, pid: i32) -> bool {
        self.pid.is_none_or(|one| one == pid) && self.host.as_ref().is_none_or(|one| *host == **one)
    }

    /// The servers to call that have registered and are not connected.
    fn unconnected(&self, connected: &[Arc<ServerIdentity>], snapshot: &Snapshot) -> Vec<Arc<ServiceInfo>> {
        let infos = snapshot.servers.iter().map(|seen| &seen.info);
        let is_wanted = |info: &&Arc<ServiceInfo>| {
            info.service_name == *self.service
                && self.is_meant(&info.host_name, info.process_id)
                && !connected.iter().any(|server| is_of(info, server))
        };
        infos.filter(is_wanted).cloned().collect()
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
        snapshot: &Snapshot,
        mut outcome: Outcome,
    ) -> anyhow::Result<Exit> {
        let (sender, responses) = channel();
        let started = Instant::now();
        for target in targets {
            let request = self.request_to(&target, snapshot);
            let Target { server, method } = target;
            let request = match request {
                Ok(request) => request,
                Err(error) if self.all => {
                    let row = self.row(&server.host_name, server.process_id, &server.unit_name);
                    outcome.add(if method.name == *self.method { Exit::Failed } else { Exit::NotFound });
                    self.print_error(session, row, &format!("{error:#}"))?;
                    continue;
                }
                Err(error) => return Err(error),
            };
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
        loop {
            match responses.recv_timeout(session.slice(Duration::MAX)) {
                Ok((server, answer, result)) => {
                    outcome.add(self.print(session, &server, answer, result, started.elapsed())?);
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(outcome.exit()),
                Err(RecvTimeoutError::Timeout) => match session.end() {
                    Some(End::Stopped) => return Ok(Exit::Interrupted),
                    Some(End::Deadline) => return Err(Exit::NotFound.because("no response came in time")),
                    None => {}
                },
            }
        }
    }

    /// The request to a server.
    fn request_to(&self, target: &Target, snapshot: &Snapshot) -> anyhow::Result<Vec<u8>> {
        let Target { server, method } = target;
        if method.name != *self.method {
            return Err(Exit::NotFound.because(format!(
                "service `{}` has no method `{}`; it has {}",
                clean(&self.service),
                clean(&self.method),
                clean(&methods(snapshot, server))
            )));
        }
        self.request(&method.request)
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
        let mut row = self.row(&server.host_name, server.process_id, &server.unit_name);
        row.seconds = time.as_secs_f64();
        match result {
            Ok(response) => {
                self.print_response(session, row, response, answer)?;
                Ok(Exit::Fine)
            }
            Err(error) => {
                if let CallError::Failed { ret_state, .. } = error {
                    row.ret_state = Some(ret_state);
                }
                self.print_error(session, row, &error.to_string())?;
                Ok(match error {
                    CallError::Timeout | CallError::NoServer => Exit::NotFound,
                    _ => Exit::Failed,
                })
            }
        }
    }

    /// What is printed of a server.
    fn row(&self, host: impl Display, pid: i32, unit: impl Display) -> Row<'_> {
        let (host, unit) = (host.to_string(), unit.to_string());
        Row { service: &self.service, method: &self.method, host, pid, unit, ..Row::default() }
    }

    fn print_error(&self, session: &Session, mut row: Row<'_>, error: &str) -> anyhow::Result<()> {
        if !session.common.json {
            tell!("{BAD}error{BAD:#}: {}: {}", clean(&row.process()), clean(error));
            return Ok(());
        }
        row.error = Some(error.to_owned());
        let out = &mut session.out();
        out.json(&row)?;
        Ok(out.flush()?)
    }

    fn print_response(
        &self,
        session: &Session,
        mut row: Row<'_>,
        response: ferrocal::Response<Bytes>,
        answer: DataType,
    ) -> anyhow::Result<()> {
        let content = decode(response.payload, answer);
        let out = &mut session.out();
        if session.common.json {
            row.ret_state = Some(response.ret_state);
            match row.take(&content) {
                Some(value) => out.json_and(&row, "value", value.as_bytes())?,
                None => out.json(&row)?,
            }
            return Ok(out.flush()?);
        }
        if self.all {
            out.line(format_args!("# {}", clean(&row.process())))?;
        }
        if response.ret_state != 0 {
            out.line(format_args!("# returned {}", response.ret_state))?;
        }
        if !content.bytes.is_empty() {
            let render = Render { max: usize::MAX, hex: self.hex, defaults: false };
            out.line(render.content(&content))?;
        }
        Ok(out.flush()?)
    }
}

impl Row<'_> {
    fn process(&self) -> String {
        format!("process {} on {}", self.pid, self.host)
    }

    /// Takes a response. Returns its value as JSON, if it has one.
    fn take(&mut self, content: &Content) -> Option<String> {
        self.type_name = content.data_type.as_ref().map(|data_type| data_type.name.clone());
        let json = content.to_json(false);
        let value = match json {
            Ok(value) => value,
            Err(error) => {
                self.error = Some(error.to_string());
                None
            }
        };
        if value.is_none() {
            self.base64 = Some(BASE64_STANDARD.encode(&content.bytes));
        }
        if let Err(error) = &content.decoded {
            self.error = Some(error.to_string());
        }
        value
    }
}

fn registered<'a>(snapshot: &'a Snapshot, server: &ServerIdentity) -> Option<&'a ServiceInfo> {
    snapshot.servers.iter().map(|seen| &*seen.info).find(|info| is_of(info, server))
}

/// Whether this is the registration of a server.
fn is_of(info: &ServiceInfo, server: &ServerIdentity) -> bool {
    (info.service_id, info.process_id, &info.host_name) == (server.id, server.process_id, &server.host_name)
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
    use crate::payload::tests::content;

    #[test]
    fn hexadecimal_digits_are_read() {
        assert_eq!(unhex("00 fF7a").unwrap(), [0, 0xff, 0x7a]);
        assert!(unhex("").unwrap().is_empty());
        assert!(unhex("0").is_err() && unhex("+1").is_err() && unhex("xy").is_err());
    }

    #[test]
    fn the_first_failure_is_the_exit_unless_others_answered() {
        let exit = |exits: &[Exit]| {
            let mut outcome = Outcome::default();
            exits.iter().for_each(|&exit| outcome.add(exit));
            outcome.exit()
        };
        assert_eq!(exit(&[Exit::Fine, Exit::Fine]), Exit::Fine);
        assert_eq!(exit(&[Exit::NotFound, Exit::Failed]), Exit::NotFound);
        assert_eq!(exit(&[Exit::NotFound, Exit::Fine]), Exit::Failed);
    }

    #[test]
    fn a_response_that_json_cannot_hold_is_bytes_and_an_error() {
        const PROTO: &str = r#"syntax = "proto3"; package google.protobuf;
            message Timestamp { int64 seconds = 1; int32 nanos = 2; }"#;
        let name = "google.protobuf.Timestamp";
        let good = content(PROTO, name, "\"1970-01-01T00:00:01Z\"");
        let taken = |bytes: &'static [u8]| {
            let mut row = Row::default();
            let value = row.take(&decode(bytes.into(), good.data_type.clone().unwrap()));
            (value, row.base64, row.error)
        };
        assert_eq!(taken(b"\x08\x01"), (Some("\"1970-01-01T00:00:01Z\"".to_owned()), None, None));
        let (value, base64, error) = taken(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f");
        assert_eq!((value, base64.as_deref()), (None, Some("CP//////////fw==")));
        assert!(error.unwrap().contains("JSON cannot hold"));
        let (value, base64, error) = taken(b"\x08");
        assert_eq!((value, base64.as_deref()), (None, Some("CA==")));
        assert!(error.unwrap().contains("not a message of this type"));
    }
}
