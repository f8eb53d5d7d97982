//! Hosts.

use std::collections::BTreeMap;

use ferrocal::Text;

use super::processes::{counts, last};
use super::{Field, lossy, text, tone};
use crate::monitor::data::{Data, IN, MESSAGES_IN, MESSAGES_OUT, OUT};
use crate::monitor::look::Look;
use crate::monitor::number;
use crate::monitor::sheet::{Cell, Column, Key, Row};

pub(super) const COLUMNS: &[Column] = &[
    Column::left("host", 14, 0),
    Column::right("processes", 10, 1),
    Column::right("pubs", 5, 2),
    Column::right("subs", 5, 3),
    Column::right("services", 9, 6),
    Column::right("out", 9, 4),
    Column::right("in", 9, 5),
    Column::right("drops", 6, 7),
];

/// A host's processes, and the messages that its subscribers lost.
#[derive(Default)]
struct Host {
    processes: i64,
    drops: i64,
}

pub(super) fn rows(data: &Data, look: Look) -> Vec<Row> {
    let counts = counts(data, |host, _| host);
    let row = |(host, Host { processes, drops }): (&Text, Host)| {
        let key = Key::Host(host.clone());
        let [publishers, subscribers, services] = counts.get(host).copied().unwrap_or_default();
        let rates =
            data.traffic_history(&key).map_or([0.0; 2], |values| [&values[OUT], &values[IN]].map(last));
        let cells = vec![
            Cell::text(text(look, host)),
            Cell::count(processes),
            Cell::count(publishers),
            Cell::count(subscribers),
            Cell::count(services),
            Cell::number(rates[0], number::rate(rates[0])),
            Cell::number(rates[1], number::rate(rates[1])),
            Cell::count(drops).tone(tone(drops > 0)),
        ];
        Row { key, cells }
    };
    hosts(data).into_iter().map(row).collect()
}

fn hosts(data: &Data) -> BTreeMap<&Text, Host> {
    let mut hosts = BTreeMap::<&Text, Host>::new();
    for info in &data.registered.processes {
        hosts.entry(&info.host_name).or_default().processes += 1;
    }
    for (_, info) in data.entities() {
        hosts.entry(&info.host_name).or_default().drops += i64::from(info.message_drops.max(0));
    }
    hosts
}

pub(super) fn fields(data: &Data, key: &Key) -> Vec<Field> {
    let Key::Host(host) = key else { return Vec::new() };
    let Some(Host { processes, drops }) = hosts(data).remove(host) else { return Vec::new() };
    let counts = counts(data, |host, _| host);
    let [publishers, subscribers, services] = counts.get(host).copied().unwrap_or_default();
    let mut fields = vec![
        ("host", lossy(host)),
        ("processes", processes.to_string()),
        ("publishers", publishers.to_string()),
        ("subscribers", subscribers.to_string()),
        ("services", services.to_string()),
        ("drops", drops.to_string()),
    ];
    if let Some(values) = data.traffic_history(key) {
        let rate = |bytes: usize, messages: usize| {
            format!(
                "{}, {} messages/s",
                number::rate(last(&values[bytes])),
                number::hz(last(&values[messages]))
            )
        };
        fields.push(("sends", rate(OUT, MESSAGES_OUT)));
        fields.push(("receives", rate(IN, MESSAGES_IN)));
    }
    let mut units: Vec<_> = data.registered.processes.iter().filter(|info| info.host_name == *host).collect();
    units.sort_by_key(|info| (&info.unit_name, info.process_id));
    fields.extend(
        units.iter().map(|info| ("process", format!("{} (pid {})", info.unit_name, info.process_id))),
    );
    fields
}
