//! The keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{put, row};
use crate::monitor::look::Look;
use crate::monitor::model::Model;

const KEYS: &[(&str, &str)] = &[
    ("1 to 7, Tab, Shift-Tab", "another tab"),
    ("up/down, j/k, PgUp/PgDn", "move; Home/End, g/G: to the first or last"),
    ("left/right, h/l", "move columns that do not fit"),
    ("Enter", "details of a row, with the messages of a topic"),
    ("Esc, Backspace", "back from details"),
    ("v", "details of a topic: fields, JSON or hex"),
    ("/ n N", "search, and to the next or previous one"),
    ("f or \\", "show only rows with a text; Esc: all rows"),
    ("s S or > <", "sort by the next or previous column"),
    ("r", "sort the other way round"),
    ("p, space", "pause, and go on"),
    ("? or F1", "this help"),
    ("Ctrl-L", "draw the screen anew"),
    ("q, Ctrl-C", "quit"),
];

const NOTES: &[&str] = &[
    "The search looks at the main columns, the filter at all of them.",
    "Rates and sizes are those that processes register once a second.",
    "Only the topic whose details are shown is received and decoded.",
    "(udp) in brackets: a layer that may be used, but is not at present.",
];

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &Model) {
    let width = KEYS.iter().map(|(keys, _)| keys.len()).max().unwrap_or(0);
    let mut lines = 0..area.height;
    for (keys, does) in KEYS {
        let Some(number) = lines.next() else { return };
        let line = row(area, number);
        put(buffer, line.x + 1, line.y, keys, model.look.accent());
        put(buffer, line.x + 3 + width as u16, line.y, does, ratatui::style::Style::new());
    }
    lines.next();
    for (number, note) in lines.zip(NOTES) {
        put(buffer, area.x + 1, row(area, number).y, note, Look::DIM);
    }
}
