//! `services`: servers and clients of services.

use ferrocal::{MethodInfo, ServiceInfo, Snapshot, Text};
use serde::Serialize;

use crate::exit::Exit;
use crate::network::Network;
use crate::output::clean;
use crate::session::{End, Session};
use crate::table::{Align, Table};

/// List the servers and clients of services, with their methods.
///
/// Keys of --json, an object for each server and client: kind (server, client), service, host, pid, unit, process, id, port
/// (of servers; else null), version (of the protocol), methods: name, request, request_encoding, response,
/// response_encoding (the types), calls (how many the server answered, or the client made).
#[derive(clap::Args)]
pub(crate) struct Services {
    /// Only services whose name contains this.
    name: Option<String>,
}

/// A server or client, as `services --json` prints it.
#[derive(Serialize)]
struct Row {
    kind: &'static str,
    service: String,
    host: String,
    pid: i32,
    unit: String,
    process: String,
    id: String,
    port: Option<u32>,
    version: u32,
    methods: Vec<Method>,
}

#[derive(Serialize)]
struct Method {
    name: String,
    request: String,
    request_encoding: String,
    response: String,
    response_encoding: String,
    calls: i64,
}

impl Services {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let network = Network::open(session, "services")?;
        let (snapshot, end) = network.until(network.after(2.0), |_| false);
        let rows = self.rows(&snapshot);
        if rows.is_empty() {
            let what = match &self.name {
                Some(name) => format!("no server or client of a service like `{}`", clean(name)),
                None => "no server or client of a service".to_owned(),
            };
            return match end {
                Some(End::Stopped) => Ok(Exit::Interrupted),
                _ => Err(Exit::NotFound.because(format!("{what} was found {}", network.place()))),
            };
        }
        let out = &mut session.out();
        if session.common.json {
            rows.iter().try_for_each(|row| out.json(row))?;
            return Ok(Exit::Fine);
        }
        let mut table = Table::new([
            ("service", Align::Left),
            ("kind", Align::Left),
            ("host", Align::Left),
            ("pid", Align::Right),
            ("unit", Align::Left),
            ("method", Align::Left),
            ("request", Align::Left),
            ("response", Align::Left),
            ("calls", Align::Right),
        ]);
        for row in &rows {
            let mut line = |[name, request, response, calls]: [&str; 4]| {
                table.row([
                    row.service.as_str().into(),
                    row.kind.into(),
                    row.host.as_str().into(),
                    row.pid.to_string().into(),
                    row.unit.as_str().into(),
                    name.into(),
                    request.into(),
                    response.into(),
                    calls.into(),
                ]);
            };
            for Method { name, request, response, calls, .. } in &row.methods {
                line([name, request, response, &calls.to_string()]);
            }
            if row.methods.is_empty() {
                line([""; 4]);
            }
        }
        table.print(out)?;
        Ok(Exit::Fine)
    }

    fn rows(&self, snapshot: &Snapshot) -> Vec<Row> {
        let servers = snapshot.servers.iter().map(|seen| Row::new("server", &seen.info));
        let clients = snapshot.clients.iter().map(|seen| Row::new("client", &seen.info));
        let is_meant = |row: &Row| self.name.as_ref().is_none_or(|name| row.service.contains(name));
        let mut rows: Vec<_> = servers.chain(clients).filter(is_meant).collect();
        // Servers come before clients.
        rows.sort_by(|a, b| {
            (&a.service, b.kind, &a.host, a.pid, &a.id).cmp(&(&b.service, a.kind, &b.host, b.pid, &b.id))
        });
        rows
    }
}

impl Row {
    fn new(kind: &'static str, info: &ServiceInfo) -> Self {
        let text = |text: &Text| text.to_str_lossy().into_owned();
        let method = |method: &MethodInfo| Method {
            name: text(&method.name),
            request: method.request.name.clone(),
            request_encoding: method.request.encoding.clone(),
            response: method.response.name.clone(),
            response_encoding: method.response.encoding.clone(),
            calls: method.call_count,
        };
        Self {
            kind,
            service: text(&info.service_name),
            host: text(&info.host_name),
            pid: info.process_id,
            unit: text(&info.unit_name),
            process: text(&info.process_name),
            id: info.service_id.to_string(),
            port: (kind == "server").then_some(info.tcp_port_v1),
            version: info.version,
            methods: info.methods.iter().map(method).collect(),
        }
    }
}
