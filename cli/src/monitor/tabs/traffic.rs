//! What hosts and processes send and receive, by what they registered.

use ferrocal::Text;

use super::processes::last;
use super::{Field, lossy, text};
use crate::monitor::data::{Data, IN, MESSAGES_IN, MESSAGES_OUT, OUT};
use crate::monitor::look::{Look, Tone};
use crate::monitor::number;
use crate::monitor::sheet::{Cell, Column, Key, Row};

pub(super) const COLUMNS: &[Column] = &[
    Column::left("host", 14, 0),
    Column::left("unit", 12, 1),
    Column::right("out", 9, 2),
    Column::left("out", WIDTH, 4),
    Column::right("in", 9, 3),
    Column::left("in", WIDTH, 5),
    Column::right("avg out", 9, 6),
    Column::right("max out", 9, 8),
    Column::right("avg in", 9, 7),
    Column::right("max in", 9, 9),
    Column::right("msg/s out", 10, 10),
    Column::right("msg/s in", 9, 11),
    Column::right("pid", 7, 12),
];

/// The width of rates as bars.
const WIDTH: usize = 12;

pub(super) fn rows(data: &Data, look: Look) -> Vec<Row> {
    let network = (Key::Network, "(all hosts)".to_owned(), String::new(), None);
    let mut hosts: Vec<&Text> = data.registered.processes.iter().map(|info| &info.host_name).collect();
    hosts.sort();
    hosts.dedup();
    let hosts =
        hosts.into_iter().map(|host| (Key::Host(host.clone()), text(look, host), "(all)".to_owned(), None));
    let processes = data.registered.processes.iter().map(|info| {
        let key = Key::Process(info.host_name.clone(), info.process_id);
        (key, text(look, &info.host_name), text(look, &info.unit_name), Some(info.process_id))
    });
    let row = |(key, host, unit, pid): (Key, String, String, Option<i32>)| {
        let values = data.traffic_history(&key)?;
        let rate = |value: f64| Cell::number(value, number::rate(value));
        let hz = |value: f64| Cell::number(value, number::hz(value));
        let bars = |number: usize, tone| {
            let history = &values[number];
            let bars = look.graph(&history.values(), WIDTH, 1).concat();
            Cell::number(last(history), bars).tone(tone)
        };
        let cells = vec![
            Cell::text(host),
            Cell::text(unit),
            rate(last(&values[OUT])),
            bars(OUT, Tone::Good),
            rate(last(&values[IN])),
            bars(IN, Tone::Warn),
            rate(values[OUT].mean()),
            rate(values[OUT].max()),
            rate(values[IN].mean()),
            rate(values[IN].max()),
            hz(last(&values[MESSAGES_OUT])),
            hz(last(&values[MESSAGES_IN])),
            pid.map_or_else(|| Cell::text(""), |pid| Cell::count(pid.into())),
        ];
        Some(Row { key, cells })
    };
    [network].into_iter().chain(hosts).chain(processes).filter_map(row).collect()
}

pub(super) fn fields(data: &Data, key: &Key) -> Vec<Field> {
    let Some(values) = data.traffic_history(key) else { return Vec::new() };
    let name = match key {
        Key::Host(host) => lossy(host),
        Key::Process(host, pid) => format!("process {pid} on {host}"),
        _ => "all hosts".to_owned(),
    };
    let line = |number: usize, show: fn(f64) -> String| {
        let history = &values[number];
        let [now, mean, min, max] = [last(history), history.mean(), history.min(), history.max()].map(show);
        format!("{now} now, {mean} mean, {min} to {max}, in the last {} s", history.values().len())
    };
    vec![
        ("of", name),
        ("out", line(OUT, number::rate)),
        ("in", line(IN, number::rate)),
        ("messages out", line(MESSAGES_OUT, number::hz)),
        ("messages in", line(MESSAGES_IN, number::hz)),
        ("measured", "as registered: messages in a second times the length of the latest one".to_owned()),
    ]
}
