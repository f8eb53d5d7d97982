//! `nodes`: processes.

use ferrocal::{ProcessInfo, Severity, Snapshot};
use serde::Serialize;

use crate::exit::Exit;
use crate::network::Network;
use crate::session::{End, Session};
use crate::table::{Align, Table};

/// List processes.
///
/// Keys of --json, an object for each process: host, pid, unit (the name that it gave itself), process (the path of its
/// executable), parameters (its command line), state (unknown, healthy, warning, critical, failed), state_level, state_info,
/// version (of its eCAL), components, time_sync, config_file, publishers, subscribers, servers, clients (how many it has).
#[derive(clap::Args)]
pub(crate) struct Nodes {}

/// A process, as `nodes --json` prints it.
#[derive(Serialize)]
struct Row {
    host: String,
    pid: i32,
    unit: String,
    process: String,
    parameters: String,
    state: &'static str,
    state_level: i32,
    state_info: String,
    version: String,
    components: String,
    time_sync: String,
    config_file: String,
    publishers: usize,
    subscribers: usize,
    servers: usize,
    clients: usize,
}

impl Nodes {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let network = Network::open(session, "nodes")?;
        let (snapshot, end) = network.until(network.after(2.0), |_| false);
        if snapshot.processes.is_empty() {
            return match end {
                Some(End::Stopped) => Ok(Exit::Interrupted),
                _ => Err(Exit::NotFound.because(format!("no process was found {}", network.place()))),
            };
        }
        let mut rows: Vec<_> =
            snapshot.processes.iter().map(|seen| Row::new(&seen.info, &snapshot)).collect();
        rows.sort_by(|a, b| (&a.host, &a.unit, a.pid).cmp(&(&b.host, &b.unit, b.pid)));
        let out = &mut session.out();
        if session.common.json {
            rows.iter().try_for_each(|row| out.json(row))?;
            return Ok(Exit::Fine);
        }
        let mut table = Table::new([
            ("host", Align::Left),
            ("pid", Align::Right),
            ("unit", Align::Left),
            ("state", Align::Left),
            ("eCAL", Align::Left),
            ("pubs", Align::Right),
            ("subs", Align::Right),
            ("services", Align::Right),
            ("process", Align::Left),
        ]);
        for row in &rows {
            let state = match row.state_info.as_str() {
                "" => row.state.to_owned(),
                info => format!("{}: {info}", row.state),
            };
            table.row([
                row.host.as_str().into(),
                row.pid.to_string().into(),
                row.unit.as_str().into(),
                state.into(),
                row.version.as_str().into(),
                row.publishers.to_string().into(),
                row.subscribers.to_string().into(),
                (row.servers + row.clients).to_string().into(),
                row.process.as_str().into(),
            ]);
        }
        table.print(out)?;
        Ok(Exit::Fine)
    }
}

impl Row {
    fn new(info: &ProcessInfo, snapshot: &Snapshot) -> Self {
        let text = |text: &ferrocal::Text| text.to_str_lossy().into_owned();
        let is_its = |host: &ferrocal::Text, pid: i32| *host == info.host_name && pid == info.process_id;
        let topics = |all: &[ferrocal::Seen<ferrocal::TopicInfo>]| {
            all.iter().filter(|seen| is_its(&seen.info.host_name, seen.info.process_id)).count()
        };
        let services = |all: &[ferrocal::Seen<ferrocal::ServiceInfo>]| {
            all.iter().filter(|seen| is_its(&seen.info.host_name, seen.info.process_id)).count()
        };
        Self {
            host: text(&info.host_name),
            pid: info.process_id,
            unit: text(&info.unit_name),
            process: text(&info.process_name),
            parameters: text(&info.process_parameter),
            state: match info.state.severity {
                Severity::Unknown => "unknown",
                Severity::Healthy => "healthy",
                Severity::Warning => "warning",
                Severity::Critical => "critical",
                Severity::Failed => "failed",
            },
            state_level: info.state.severity_level,
            state_info: text(&info.state.info),
            version: text(&info.runtime_version),
            components: text(&info.component_init_info),
            time_sync: text(&info.time_sync_module_name),
            config_file: text(&info.config_file_path),
            publishers: topics(&snapshot.publishers),
            subscribers: topics(&snapshot.subscribers),
            servers: services(&snapshot.servers),
            clients: services(&snapshot.clients),
        }
    }
}
