//! The log of all processes.

use ferrocal::{LogLevel, LogMessage};

use super::Field;
use crate::monitor::data::Data;
use crate::monitor::look::{Look, Tone};
use crate::monitor::sheet::{Cell, Column, Key, Row};
use crate::time;

pub(super) const COLUMNS: &[Column] = &[
    Column::left("time (UTC)", 12, 0),
    Column::left("level", 7, 1),
    Column::left("unit", 10, 3),
    Column::left("host", 8, 4),
    Column::right("pid", 7, 5),
    Column::left("text", 32, 2),
];

pub(super) fn rows(data: &Data, look: Look) -> Vec<Row> {
    let row = |(number, line): &(u64, LogMessage)| {
        let tone = match line.level {
            LogLevel::Error | LogLevel::Fatal => Tone::Bad,
            LogLevel::Warning => Tone::Warn,
            LogLevel::Info => Tone::Good,
            _ => Tone::Dim,
        };
        let time = time::text(line.time_us);
        let cells = vec![
            Cell::number(line.time_us as f64, time.get(11..23).unwrap_or(&time)).tone(Tone::Dim),
            Cell::text(line.level.to_string()).tone(tone),
            Cell::text(look.text(&line.unit_name)),
            Cell::text(look.text(&line.host_name)),
            Cell::count(line.process_id.into()),
            Cell::text(look.text(&line.content)),
        ];
        Row { key: Key::Line(*number), cells }
    };
    data.log.lines.iter().map(row).collect()
}

pub(super) fn fields(data: &Data, key: &Key) -> Vec<Field> {
    let Key::Line(wanted) = key else { return Vec::new() };
    let found = data.log.lines.iter().find(|(number, _)| number == wanted);
    let Some((_, line)) = found else { return Vec::new() };
    vec![
        ("time", time::text(line.time_us)),
        ("level", line.level.to_string()),
        ("unit", line.unit_name.clone()),
        ("host", line.host_name.clone()),
        ("pid", line.process_id.to_string()),
        ("process", line.process_name.clone()),
        ("text", line.content.clone()),
    ]
}
