//! `list`: publishers and subscribers.

use ferrocal::{LayerKind, Snapshot, TopicInfo};
use serde::Serialize;

use crate::exit::Exit;
use crate::output::Output;
use crate::session::{End, Session};
use crate::table::{Align, Table};

/// List publishers and subscribers.
#[derive(clap::Args)]
pub(crate) struct List {
    /// Show the types of the topics.
    #[arg(short = 't', long)]
    types: bool,
    /// Only publishers.
    #[arg(long, conflicts_with = "subs")]
    pubs: bool,
    /// Only subscribers.
    #[arg(long)]
    subs: bool,
}

/// A publisher or subscriber, as `list --json` prints it.
#[derive(Serialize)]
pub(crate) struct Row {
    /// `publisher` or `subscriber`.
    kind: &'static str,
    /// The topic's name.
    topic: String,
    /// The name of the data type; empty if none is registered.
    #[serde(rename = "type")]
    type_name: String,
    /// The encoding of the data type, such as `proto`.
    encoding: String,
    /// The name of the host.
    host: String,
    /// The path of the process's executable.
    process: String,
    /// The process's id.
    pid: i32,
    /// The name the process gave itself.
    unit: String,
    /// The id of the publisher or subscriber, a decimal number that does not fit into a double.
    id: String,
    /// The layers it may use: `udp`, `shm`, `tcp`.
    layers: Vec<String>,
    /// Messages in a second, as it registered them.
    hz: f64,
    /// The length of its latest message.
    bytes: i32,
    /// How many messages it sent or received.
    clock: i64,
    /// How many messages it knows to be lost.
    drops: i32,
    /// Its peers on the same host.
    connections_local: i32,
    /// Its peers on other hosts.
    connections_external: i32,
}

impl Row {
    fn new(kind: &'static str, info: &TopicInfo) -> Self {
        let layers = info.layers.iter().filter(|layer| layer.enabled).map(|layer| match layer.kind {
            LayerKind::UdpMulticast => "udp".to_owned(),
            LayerKind::SharedMemory => "shm".to_owned(),
            LayerKind::Tcp => "tcp".to_owned(),
            other => format!("{other:?}"),
        });
        Self {
            kind,
            topic: info.topic_name.to_str_lossy().into_owned(),
            type_name: info.data_type.name.clone(),
            encoding: info.data_type.encoding.clone(),
            host: info.host_name.to_str_lossy().into_owned(),
            process: info.process_name.to_str_lossy().into_owned(),
            pid: info.process_id,
            unit: info.unit_name.to_str_lossy().into_owned(),
            id: info.topic_id.to_string(),
            layers: layers.collect(),
            hz: f64::from(info.data_frequency_mhz) / 1000.0,
            bytes: info.topic_size,
            clock: info.data_clock,
            drops: info.message_drops,
            connections_local: info.connections_local,
            connections_external: info.connections_external,
        }
    }
}

impl List {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let config = session.config()?;
        let refresh = config.registration.refresh;
        let node = session.open("list", config)?;
        let monitor = node.monitor();
        // Each process registers once in a refresh, and is heard of at latest in the second one.
        let end = session.wait(refresh + refresh / 4);
        let rows = self.rows(&monitor.snapshot());
        if rows.is_empty() {
            return Ok(if end == Some(End::Stopped) { Exit::Interrupted } else { Exit::NotFound });
        }
        self.print(&rows, session.common.json, &mut session.out())?;
        Ok(Exit::Fine)
    }

    fn rows(&self, snapshot: &Snapshot) -> Vec<Row> {
        let publishers = snapshot.publishers.iter().map(|seen| Row::new("publisher", &seen.info));
        let subscribers = snapshot.subscribers.iter().map(|seen| Row::new("subscriber", &seen.info));
        let publishers = publishers.filter(|_| !self.subs);
        let mut rows: Vec<_> = publishers.chain(subscribers.filter(|_| !self.pubs)).collect();
        rows.sort_by(|a, b| {
            (&a.topic, a.kind, &a.host, a.pid, &a.id).cmp(&(&b.topic, b.kind, &b.host, b.pid, &b.id))
        });
        rows
    }

    fn print(&self, rows: &[Row], is_json: bool, out: &mut Output) -> std::io::Result<()> {
        if is_json {
            return rows.iter().try_for_each(|row| out.json(row));
        }
        let heads = [
            ("kind", Align::Left),
            ("topic", Align::Left),
            ("host", Align::Left),
            ("pid", Align::Right),
            ("hz", Align::Right),
            ("bytes", Align::Right),
            ("clock", Align::Right),
        ];
        let mut table = Table::new(heads.into_iter().chain(self.types.then_some(("type", Align::Left))));
        for row in rows {
            let kind = if row.kind == "publisher" { "pub" } else { "sub" };
            let cells = [
                kind.into(),
                row.topic.as_str().into(),
                row.host.as_str().into(),
                row.pid.to_string().into(),
                format!("{:.2}", row.hz).into(),
                row.bytes.to_string().into(),
                row.clock.to_string().into(),
            ];
            table.row(cells.into_iter().chain(self.types.then_some(row.type_name.as_str().into())));
        }
        table.print(out)
    }
}
