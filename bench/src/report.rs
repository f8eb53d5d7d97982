//! What was measured, for people and for programs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::plan::{Kind, Row};

/// What one run of a row gave.
pub(crate) type Figures = BTreeMap<&'static str, f64>;

/// A row and its runs.
pub(crate) struct Measured {
    pub row: Row,
    /// None for a run that failed.
    pub runs: Vec<Option<Figures>>,
}

impl Measured {
    pub(crate) fn new(row: Row) -> Self {
        Self { row, runs: Vec::new() }
    }

    /// The median of a figure over all runs that have it.
    pub(crate) fn median(&self, figure: &str) -> Option<f64> {
        median((0..self.runs.len()).filter_map(|run| self.figure(run, figure)).collect())
    }

    fn figure(&self, run: usize, figure: &str) -> Option<f64> {
        self.runs.get(run)?.as_ref()?.get(figure).copied()
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

/// The row's rate as a share of the best bare one's in the same run, batches to batches: the median, for the runs
/// differ in their noise.
fn share_of_bare(measured: &Measured, group: &[Measured]) -> Option<f64> {
    let share = |run| {
        let batch = measured.row.peers[0].is_batch();
        let bare = group.iter().filter(|other| {
            let peer = other.row.peers[0];
            peer.is_bare() && peer.is_batch() == batch
        });
        let floor = bare.filter_map(|bare| bare.figure(run, "per_s")).max_by(f64::total_cmp)?;
        (floor > 0.0).then_some(measured.figure(run, "per_s")? / floor)
    };
    median((0..measured.runs.len()).filter_map(share).collect())
}

/// A column: its head, and the text of a row, and of its group, in it.
type Column = (&'static str, fn(&Measured, &[Measured]) -> Option<String>);

const THROUGHPUT: &[Column] = &[
    ("messages/s", |row, _| Some(count(row.median("per_s")?))),
    ("MB/s", |row, _| Some(megabytes(row, row.median("per_s")?))),
    ("of bare", |row, group| Some(format!("{:.0} %", 100.0 * share_of_bare(row, group)?))),
    ("flat out: messages/s", |row, _| Some(count(row.median("flat_out_per_s")?))),
    ("MB/s", |row, _| Some(megabytes(row, row.median("flat_out_per_s")?))),
    ("lost", |row, _| Some(format!("{:.1} %", 100.0 * row.median("flat_out_lost")?))),
    ("CPU s/GB: pub", |row, _| Some(per_gigabyte(row, row.median("publisher_cpu")?))),
    ("sub", |row, _| Some(per_gigabyte(row, row.median("subscriber_cpu")?))),
    ("CPU s/million: pub", |row, _| Some(significant(row.median("publisher_cpu")? * 1e6))),
    ("sub", |row, _| Some(significant(row.median("subscriber_cpu")? * 1e6))),
    ("peak MB: pub", |row, _| Some(significant(row.median("publisher_peak_kb")? / 1e3))),
    ("sub", |row, _| Some(significant(row.median("subscriber_peak_kb")? / 1e3))),
];

const ROUND_TRIP: &[Column] = &[
    ("p50 µs", |row, _| Some(significant(row.median("p50_us")?))),
    ("p99 µs", |row, _| Some(significant(row.median("p99_us")?))),
    ("p99.9 µs", |row, _| Some(significant(row.median("p999_us")?))),
    ("trips", |row, _| Some(count(row.median("count")?))),
    ("lost", |row, _| Some(count(row.median("lost")?))),
];

const STEADY: &[Column] = &[
    ("delivered/s", |row, _| Some(count(row.median("per_s")?))),
    ("lost", |row, _| Some(format!("{:.1} %", 100.0 * row.median("lost")?))),
    ("cores: pub", |row, _| Some(significant(row.median("publisher_cores")?))),
    ("sub", |row, _| Some(significant(row.median("subscriber_cores")?))),
    ("CPU µs: a message sent", |row, _| Some(significant(row.median("publisher_cpu")? * 1e6))),
    ("a message delivered", |row, _| Some(significant(row.median("subscriber_cpu")? * 1e6))),
    ("peak MB: pub", |row, _| Some(significant(row.median("publisher_peak_kb")? / 1e3))),
    ("sub", |row, _| Some(significant(row.median("subscriber_peak_kb")? / 1e3))),
];

/// Prints a group as a table in Markdown.
pub(crate) fn print(group: &[Measured]) {
    let Some(first) = group.first() else { return };
    let columns = match first.row.kind {
        Kind::Throughput => THROUGHPUT,
        Kind::RoundTrip => ROUND_TRIP,
        _ => STEADY,
    };
    let mut lines = vec![vec![first.row.group()]];
    lines[0].extend(columns.iter().map(|(head, _)| (*head).to_owned()));
    for measured in group {
        let mut line = vec![measured.row.candidate()];
        line.extend(columns.iter().map(|(_, text)| text(measured, group).unwrap_or_else(|| "-".to_owned())));
        lines.push(line);
    }
    let widths: Vec<_> = (0..=columns.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default())
        .collect();
    for (at, line) in lines.iter().enumerate() {
        let cells: Vec<_> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("| {} |", cells.join(" | "));
        if at == 0 {
            let rules: Vec<_> = widths.iter().map(|&width| "-".repeat(width)).collect();
            println!("| {} |", rules.join(" | "));
        }
    }
    println!();
}

/// All figures of all runs.
pub(crate) fn json(machine: &str, measured: &[Measured]) -> Value {
    let rows: Vec<_> = measured
        .iter()
        .map(|Measured { row, runs }| json!({"name": row.name(), "size": row.size, "runs": runs}))
        .collect();
    json!({ "machine": machine, "rows": rows })
}

pub(crate) fn count(value: f64) -> String {
    let digits = format!("{value:.0}");
    let first = digits.len() % 3;
    let mut groups = vec![&digits[..first]];
    groups.extend((first..digits.len()).step_by(3).map(|at| &digits[at..at + 3]));
    groups.retain(|group| !group.is_empty());
    groups.join(" ")
}

fn megabytes(measured: &Measured, per_s: f64) -> String {
    significant(per_s * measured.row.size as f64 / 1e6)
}

fn per_gigabyte(measured: &Measured, seconds_per_message: f64) -> String {
    significant(seconds_per_message * 1e9 / measured.row.size as f64)
}

/// Three digits that mean something.
pub(crate) fn significant(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
