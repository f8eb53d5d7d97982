//! What `traffic` prints: the objects of `--json`, and what they are made of.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ferrocal::{Monitor, TopicInfo};
use serde::Serialize;

use super::flows::{Topic, TopicKey};
use super::series::Rates;

/// Publishers that are remembered at most. The network says how many there are.
const MAX_PUBLISHERS: usize = 10_000;

/// The rates of an interface, as they are printed in each interval.
#[derive(Serialize)]
pub(crate) struct InterfaceLine<'a> {
    pub(crate) kind: &'static str,
    pub(crate) interface: &'a str,
    pub(crate) loopback: bool,
    pub(crate) source: &'static str,
    pub(crate) seconds: f64,
    #[serde(rename = "in")]
    pub(crate) incoming: Rates,
    pub(crate) out: Rates,
}

#[derive(Serialize)]
pub(crate) struct EcalLine {
    pub(crate) kind: &'static str,
    pub(crate) seconds: f64,
    pub(crate) ecal: f64,
    pub(crate) all: f64,
    pub(crate) fragments_lost: u64,
    pub(crate) datagrams_lost: u64,
    pub(crate) frames_missed: u64,
}

#[derive(Serialize)]
pub(crate) struct HostLine {
    pub(crate) kind: &'static str,
    pub(crate) address: String,
    pub(crate) host: String,
    pub(crate) bytes: u64,
    pub(crate) ecal: u64,
    pub(crate) registration: u64,
    pub(crate) log: u64,
    pub(crate) other: u64,
}

#[derive(Serialize)]
pub(crate) struct TopicLine {
    pub(crate) kind: &'static str,
    pub(crate) topic: String,
    pub(crate) host: String,
    pub(crate) process: String,
    pub(crate) pid: i32,
    pub(crate) unit: String,
    pub(crate) id: String,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) rate: f64,
    pub(crate) fragments_lost: u64,
    pub(crate) source: &'static str,
}

#[derive(Serialize)]
pub(crate) struct ProcessLine {
    pub(crate) kind: &'static str,
    pub(crate) host: String,
    pub(crate) process: String,
    pub(crate) pid: i32,
    pub(crate) unit: String,
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
    pub(crate) fragments_lost: u64,
    pub(crate) source: &'static str,
}

#[derive(Serialize)]
pub(crate) struct MissingLine<'a> {
    pub(crate) kind: &'static str,
    pub(crate) what: &'a [&'a str],
    pub(crate) why: &'a str,
}

/// What a publisher registered first and last.
pub(crate) struct Published {
    pub(crate) first_clock: i64,
    pub(crate) info: Arc<TopicInfo>,
}

/// By the host's name and the id.
pub(crate) type Publishers = HashMap<(String, String), Published>;

/// Stores what publishers registered.
pub(crate) fn remember(monitor: &Monitor, publishers: &mut Publishers) {
    for seen in monitor.snapshot().publishers {
        let info = seen.info;
        let key = (info.host_name.to_str_lossy().into_owned(), info.topic_id.to_string());
        if publishers.len() >= MAX_PUBLISHERS && !publishers.contains_key(&key) {
            continue;
        }
        let known = publishers
            .entry(key)
            .or_insert_with(|| Published { first_clock: info.data_clock, info: info.clone() });
        known.info = info;
    }
}

pub(crate) fn of_frames(
    key: &TopicKey,
    topic: &Topic,
    publishers: &Publishers,
    elapsed: Duration,
) -> TopicLine {
    let known = publishers.get(&(key.host.clone(), key.id.clone()));
    let text = |text: fn(&TopicInfo) -> &ferrocal::Text| {
        known.map(|known| text(&known.info).to_str_lossy().into_owned()).unwrap_or_default()
    };
    TopicLine {
        kind: "topic",
        topic: key.topic.clone(),
        host: key.host.clone(),
        process: text(|info| &info.process_name),
        pid: known.map_or(0, |known| known.info.process_id),
        unit: text(|info| &info.unit_name),
        id: key.id.clone(),
        messages: topic.messages,
        bytes: topic.bytes,
        rate: topic.bytes as f64 / elapsed.as_secs_f64(),
        fragments_lost: topic.fragments_lost,
        source: "raw_frames",
    }
}

pub(crate) fn of_registrations(publishers: &Publishers, elapsed: Duration) -> Vec<TopicLine> {
    let line = |((host, id), Published { first_clock, info }): (&(String, String), &Published)| {
        let messages = u64::try_from(info.data_clock - first_clock).unwrap_or(0);
        let bytes = messages.saturating_mul(u64::try_from(info.topic_size).unwrap_or(0));
        TopicLine {
            kind: "topic",
            topic: info.topic_name.to_str_lossy().into_owned(),
            host: host.clone(),
            process: info.process_name.to_str_lossy().into_owned(),
            pid: info.process_id,
            unit: info.unit_name.to_str_lossy().into_owned(),
            id: id.clone(),
            messages,
            bytes,
            rate: bytes as f64 / elapsed.as_secs_f64(),
            fragments_lost: 0,
            source: "registration",
        }
    };
    let mut lines: Vec<_> = publishers.iter().map(line).collect();
    lines.sort_by(|a, b| (&a.topic, &a.host, &a.id).cmp(&(&b.topic, &b.host, &b.id)));
    lines
}

/// Sums up topics by their processes.
pub(crate) fn processes(topics: &[TopicLine]) -> Vec<ProcessLine> {
    let mut lines: BTreeMap<(&str, i32), ProcessLine> = BTreeMap::new();
    // Who did not register is not known.
    for topic in topics.iter().filter(|topic| topic.pid != 0) {
        let line = lines.entry((&topic.host, topic.pid)).or_insert_with(|| ProcessLine {
            kind: "process",
            host: topic.host.clone(),
            process: topic.process.clone(),
            pid: topic.pid,
            unit: topic.unit.clone(),
            bytes: 0,
            messages: 0,
            fragments_lost: 0,
            source: topic.source,
        });
        line.bytes += topic.bytes;
        line.messages += topic.messages;
        line.fragments_lost += topic.fragments_lost;
    }
    lines.into_values().collect()
}
