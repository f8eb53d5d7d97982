//! What the node of this program says of itself.

use ferrocal::Status;

use super::{Fact, Field, tone};
use crate::monitor::data::{Data, Log};
use crate::monitor::look::Look;
use crate::monitor::number;
use crate::monitor::sheet::{Cell, Column, Key, Row};

pub(super) const COLUMNS: &[Column] = &[Column::left("fact", 30, 0), Column::left("value", 20, 1)];

pub(super) fn rows(data: &Data, look: Look) -> Vec<Row> {
    let row = |Fact { name, value, is_bad }: &Fact| Row {
        key: Key::Fact(name),
        cells: vec![Cell::text(*name), Cell::text(look.text(value)).tone(tone(*is_bad))],
    };
    data.facts.iter().chain(&of_log(&data.log)).map(row).collect()
}

pub(super) fn fields(data: &Data, key: &Key) -> Vec<Field> {
    let facts = of_log(&data.log);
    let found = data.facts.iter().chain(&facts).find(|fact| Key::Fact(fact.name) == *key);
    found.map(|fact| (fact.name, fact.value.clone())).into_iter().collect()
}

fn fine(name: &'static str, value: impl ToString) -> Fact {
    Fact { name, value: value.to_string(), is_bad: false }
}

fn count(name: &'static str, count: u64) -> Fact {
    Fact { name, value: count.to_string(), is_bad: count > 0 }
}

fn of_log(log: &Log) -> [Fact; 2] {
    let lines = match &log.error {
        Some(error) => Fact { name: "log lines", value: error.clone(), is_bad: true },
        None => fine("log lines", log.count),
    };
    [lines, count("log lines lost", log.lost)]
}

/// What a node says of itself, and how many registrations it did not store.
pub(crate) fn facts(status: &Status, refused: u64) -> Vec<Fact> {
    let reasons = status.drops.iter().filter(|&(_, count)| count > 0);
    let reasons: Vec<_> = reasons.map(|(reason, count)| format!("{reason:?} {count}")).collect();
    let drops = if reasons.is_empty() { "none".to_owned() } else { reasons.join(", ") };
    let fallbacks: Vec<_> = status.fallbacks.iter().map(|fallback| format!("{fallback:?}")).collect();
    let payload = status.payload_backend.map_or("none yet".to_owned(), |backend| backend.to_string());
    let has_failed = if status.has_failed { "yes" } else { "no" };
    vec![
        fine("backend", format!("{} ({})", status.backend, status.reason)),
        fine("backend of registrations", status.registration_backend),
        fine("backend of payload", payload),
        Fact { name: "fallbacks", value: fallbacks.join(", "), is_bad: !fallbacks.is_empty() },
        fine("receive buffer", number::bytes(status.receive_buffer_len as f64)),
        count("lost: receive buffer full", status.receive_drops.buffer_full),
        fine("ignored: of other hosts", status.receive_drops.other_host),
        fine("ignored: seen twice", status.receive_drops.seen_twice),
        fine("ignored: other topics", status.unsubscribed),
        Fact { name: "datagrams of no use", value: drops, is_bad: status.drops.total() > 0 },
        fine("publishers and subscribers known", status.peers),
        fine("memory of the registry", number::bytes(status.registry_bytes as f64)),
        count("registrations without room", refused),
        Fact { name: "a thread has failed", value: has_failed.to_owned(), is_bad: status.has_failed },
    ]
}
