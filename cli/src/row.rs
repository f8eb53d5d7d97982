//! Publishers and subscribers, as they are shown.

use std::borrow::Cow;

use ferrocal::{Snapshot, TopicInfo};
use serde::Serialize;

use crate::network::layer_name;
use crate::table::{Align, Table};

/// A publisher or subscriber, as `list --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// `publisher` or `subscriber`.
    pub(crate) kind: &'static str,
    /// The topic's name.
    pub(crate) topic: String,
    /// The name of the data type; empty if none is registered.
    #[serde(rename = "type")]
    pub(crate) type_name: String,
    /// The encoding of the data type, such as `proto`; empty if none is registered.
    pub(crate) encoding: String,
    /// The name of the host.
    pub(crate) host: String,
    /// The path of the process's executable.
    pub(crate) process: String,
    /// The process's id.
    pub(crate) pid: i32,
    /// The name that the process gave itself.
    pub(crate) unit: String,
    /// The id of the publisher or subscriber: a decimal number of 64 bits, as text.
    pub(crate) id: String,
    /// The layers that it may use: `udp`, `shm`, `tcp`.
    pub(crate) layers: Vec<String>,
    /// Messages in a second, as it registered them.
    pub(crate) hz: f64,
    /// The length of its latest message in bytes.
    pub(crate) bytes: i32,
    /// How many messages it sent or received.
    pub(crate) clock: i64,
    /// How many messages it knows to be lost.
    pub(crate) drops: i32,
    /// How many peers it has on its own host.
    pub(crate) connections_local: i32,
    /// How many peers it has on other hosts.
    pub(crate) connections_external: i32,
}

/// The kinds of rows.
pub(crate) const PUBLISHER: &str = "publisher";
pub(crate) const SUBSCRIBER: &str = "subscriber";

impl Row {
    pub(crate) fn new(kind: &'static str, info: &TopicInfo) -> Self {
        let layers = info.layers.iter().filter(|layer| layer.enabled).map(|layer| layer_name(layer.kind));
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

    /// All publishers and subscribers, in the order in which they are shown.
    pub(crate) fn all(snapshot: &Snapshot) -> Vec<Self> {
        let publishers = snapshot.publishers.iter().map(|seen| Self::new(PUBLISHER, &seen.info));
        let subscribers = snapshot.subscribers.iter().map(|seen| Self::new(SUBSCRIBER, &seen.info));
        let mut rows: Vec<_> = publishers.chain(subscribers).collect();
        rows.sort_by(|a, b| a.order().cmp(&b.order()));
        rows
    }

    fn order(&self) -> (&str, &str, &str, i32, &str) {
        (&self.topic, self.kind, &self.host, self.pid, &self.id)
    }

    /// What tells it from others.
    pub(crate) fn key(&self) -> (&'static str, String, i32, String) {
        (self.kind, self.host.clone(), self.pid, self.id.clone())
    }

    /// A table for rows, with or without their types.
    pub(crate) fn table(has_types: bool) -> Table {
        let heads = [
            ("kind", Align::Left),
            ("topic", Align::Left),
            ("host", Align::Left),
            ("pid", Align::Right),
            ("unit", Align::Left),
            ("hz", Align::Right),
            ("bytes", Align::Right),
            ("clock", Align::Right),
            ("drops", Align::Right),
            ("peers", Align::Right),
        ];
        Table::new(heads.into_iter().chain(has_types.then_some(("type", Align::Left))))
    }

    /// Its cells in that table.
    pub(crate) fn cells(&self, has_types: bool) -> impl Iterator<Item = Cow<'_, str>> {
        let cells = [
            if self.kind == PUBLISHER { "pub" } else { "sub" }.into(),
            self.topic.as_str().into(),
            self.host.as_str().into(),
            self.pid.to_string().into(),
            self.unit.as_str().into(),
            format!("{:.2}", self.hz).into(),
            self.bytes.to_string().into(),
            self.clock.to_string().into(),
            self.drops.to_string().into(),
            i64::from(self.connections_local)
                .saturating_add(self.connections_external.into())
                .to_string()
                .into(),
        ];
        let type_name = if self.type_name.is_empty() { &self.encoding } else { &self.type_name };
        cells.into_iter().chain(has_types.then_some(type_name.as_str().into()))
    }
}
