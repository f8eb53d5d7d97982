//! What was sent, and what became of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::visitor::ROW;
use crate::{SHORT, STEADY, VISITED};

/// How many messages each publisher of a visitor published, by topic and id.
pub(crate) type Visits = BTreeMap<(&'static str, String), u64>;

pub(crate) fn visits(files: &[PathBuf]) -> Visits {
    let mut visits = Visits::new();
    for file in files {
        // One that was ended early has none, or a part of one.
        let bytes = fs::read(file).unwrap_or_default();
        for (row, (topic, _)) in bytes.chunks_exact(ROW).zip(VISITED) {
            let number = |at: usize| u64::from_le_bytes(row[at..at + 8].try_into().expect("8 bytes"));
            if number(8) > 0 {
                visits.insert((topic, number(0).to_string()), number(8));
            }
        }
    }
    visits
}

/// Prints the account of each topic, and returns whether all of it is right.
///
/// No subscriber can know of a message before the first one that it gets from a publisher, nor of one after the last. All
/// others were received, or are reported as lost.
pub(crate) fn print(heard: &Value, said: &Value, visits: &Visits) -> bool {
    let publishers = heard["publishers"].as_array().expect("a list");
    let number = |value: &Value| value.as_u64().expect("a number");
    let mut is_complete = heard["corrupt"] == 0;
    println!(
        "| topic | published | received | reported lost | before the first, after the last | of publishers |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    let steady = STEADY.iter().map(|topic| topic.0);
    for topic in steady.chain(VISITED.iter().map(|topic| topic.0)).chain([SHORT]) {
        let rows: Vec<_> = publishers.iter().filter(|row| row[0] == topic).collect();
        let own: Vec<_> = visits.iter().filter(|((name, _), _)| *name == topic).collect();
        let published = match (said["published"][topic].as_array(), topic) {
            (Some(counts), _) => number(&counts[0]),
            (None, SHORT) => number(&said["short"]),
            _ => own.iter().map(|(_, count)| **count).sum(),
        };
        let known: u64 = rows.iter().map(|row| number(&row[3]) - number(&row[2]) + 1).sum();
        let stats = &heard["topics"][topic];
        let [received, lost] = ["received", "lost"].map(|key| number(&stats[key]));
        let others: Vec<_> = ["queue_full", "duplicate", "out_of_order", "undecodable"]
            .into_iter()
            .filter(|key| stats[key] != 0)
            .map(|key| format!(", {key} {}", stats[key]))
            .collect();
        let unseen = i128::from(published) - i128::from(received) - i128::from(lost);
        // A long message of which a part came is known of, even as the first or the last.
        let is_right = received + lost >= known
            && unseen >= 0
            && if said["published"][topic].is_array() {
                unseen == i128::from(number(&rows[0][2]) - 1)
            } else {
                true
            };
        is_complete &= is_right;
        let count = if own.is_empty() { rows.len() } else { own.len() };
        println!(
            "| {topic} | {published} | {received} | {lost}{} | {unseen}{} | {count} |",
            others.concat(),
            if is_right { "" } else { " WRONG" }
        );
    }
    let slow = &heard["slow"];
    println!(
        "\ncorrupt: {}; a subscriber that is too slow took {} and reports {} as dropped from its queue; \
         nodes that found nobody within 5 s: {}",
        heard["corrupt"], slow["taken"], slow["queue_full"], said["short_failed"]
    );
    is_complete
}
