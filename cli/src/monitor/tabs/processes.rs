//! Processes.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use ferrocal::{ProcessInfo, ServiceInfo, Severity, Text, TopicInfo};

use super::{Field, lossy, text};
use crate::monitor::data::{Data, IN, OUT, Registered};
use crate::monitor::history::History;
use crate::monitor::look::{Look, Tone};
use crate::monitor::number;
use crate::monitor::sheet::{Cell, Column, Key, Row};

pub(super) const COLUMNS: &[Column] = &[
    Column::left("unit", 14, 0),
    Column::right("pid", 7, 1),
    Column::left("state", 8, 2),
    Column::left("host", 8, 3),
    Column::right("pubs", 5, 4),
    Column::right("subs", 5, 5),
    Column::right("serv", 5, 9),
    Column::right("out", 9, 6),
    Column::right("in", 9, 7),
    Column::left("eCAL", 6, 8),
    Column::left("info", 10, 10),
    Column::left("time", 8, 12),
    Column::left("process", 20, 11),
];

pub(super) fn rows(data: &Data, look: Look) -> Vec<Row> {
    let counts = counts(data, |host, pid| (host, pid));
    let row = |info: &Arc<ProcessInfo>| {
        let key = key(info);
        let [publishers, subscribers, services] =
            counts.get(&(&info.host_name, info.process_id)).copied().unwrap_or_default();
        let rates =
            data.traffic_history(&key).map_or([0.0; 2], |values| [&values[OUT], &values[IN]].map(last));
        let (state, tone) = state(info);
        let cells = vec![
            Cell::text(text(look, &info.unit_name)),
            Cell::count(info.process_id.into()),
            Cell::text(state).tone(tone),
            Cell::text(text(look, &info.host_name)),
            Cell::count(publishers),
            Cell::count(subscribers),
            Cell::count(services),
            Cell::number(rates[0], number::rate(rates[0])),
            Cell::number(rates[1], number::rate(rates[1])),
            Cell::text(text(look, &info.runtime_version)),
            Cell::text(text(look, &info.state.info)).tone(tone),
            Cell::text(text(look, &info.time_sync_module_name)),
            Cell::text(text(look, &info.process_name)),
        ];
        Row { key, cells }
    };
    data.registered.processes.iter().map(row).collect()
}

pub(super) fn fields(data: &Data, key: &Key) -> Vec<Field> {
    let found = data.registered.processes.iter().find(|info| self::key(info) == *key);
    let Some(info) = found else { return Vec::new() };
    let counts = counts(data, |host, pid| (host, pid));
    let [publishers, subscribers, services] =
        counts.get(&(&info.host_name, info.process_id)).copied().unwrap_or_default();
    vec![
        ("unit", lossy(&info.unit_name)),
        ("host", lossy(&info.host_name)),
        ("pid", info.process_id.to_string()),
        ("process", lossy(&info.process_name)),
        ("parameters", lossy(&info.process_parameter)),
        ("state", format!("{} {}", state(info).0, info.state.severity_level)),
        ("info", lossy(&info.state.info)),
        ("publishers", publishers.to_string()),
        ("subscribers", subscribers.to_string()),
        ("services", services.to_string()),
        ("eCAL", lossy(&info.runtime_version)),
        ("components", lossy(&info.component_init_info)),
        ("time from", lossy(&info.time_sync_module_name)),
        ("settings", lossy(&info.config_file_path)),
        ("shm domain", lossy(&info.shm_transport_domain)),
        ("registered", format!("{} times", info.registration_clock)),
    ]
}

fn key(info: &ProcessInfo) -> Key {
    Key::Process(info.host_name.clone(), info.process_id)
}

pub(super) fn last(history: &History) -> f64 {
    history.values().last().copied().unwrap_or(0.0).into()
}

/// The publishers, subscribers, and servers and clients of each host or process.
pub(super) fn counts<'a, K: Eq + Hash>(
    data: &'a Data,
    key: impl Fn(&'a Text, i32) -> K,
) -> HashMap<K, [i64; 3]> {
    let Registered { publishers, subscribers, servers, clients, .. } = &data.registered;
    let topics = |column, all: &'a [Arc<TopicInfo>]| {
        all.iter().map(move |info| (column, &info.host_name, info.process_id))
    };
    let services = |all: &'a [Arc<ServiceInfo>]| all.iter().map(|info| (2, &info.host_name, info.process_id));
    let mut counts = HashMap::<K, [i64; 3]>::new();
    for (column, host, pid) in
        topics(0, publishers).chain(topics(1, subscribers)).chain(services(servers)).chain(services(clients))
    {
        counts.entry(key(host, pid)).or_default()[column] += 1;
    }
    counts
}

fn state(info: &ProcessInfo) -> (&'static str, Tone) {
    match info.state.severity {
        Severity::Unknown => ("unknown", Tone::Dim),
        Severity::Healthy => ("healthy", Tone::Good),
        Severity::Warning => ("warning", Tone::Warn),
        Severity::Critical => ("critical", Tone::Bad),
        Severity::Failed => ("failed", Tone::Bad),
    }
}
