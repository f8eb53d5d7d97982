//! The keys.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{put_line, row, wrap};
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

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &mut Model) {
    let lines = lines(area.width.into(), model.look);
    let height = usize::from(area.height);
    model.help_last_top = lines.len().saturating_sub(height);
    model.help_top = model.help_top.min(model.help_last_top);
    model.page = height.saturating_sub(1).max(1);
    for (number, line) in lines.into_iter().skip(model.help_top).take(height).enumerate() {
        put_line(buffer, row(area, number as u16), line);
    }
}

/// The keys with what they do behind them or, on a narrow screen, below them; and the notes.
fn lines(width: usize, look: Look) -> Vec<Line<'static>> {
    let longest = |texts: &mut dyn Iterator<Item = &'static str>| texts.map(str::len).max().unwrap_or(0);
    let keys_width = longest(&mut KEYS.iter().map(|&(keys, _)| keys));
    let is_wide = keys_width + 3 + longest(&mut KEYS.iter().map(|&(_, does)| does)) <= width;
    let mut lines = Vec::new();
    for &(keys, does) in KEYS {
        if is_wide {
            let keys = Span::styled(format!(" {keys:keys_width$}  "), look.accent());
            lines.push(Line::from(vec![keys, Span::raw(does)]));
        } else {
            lines.push(Line::styled(format!(" {keys}"), look.accent()));
            lines.extend(
                wrap(does, width.saturating_sub(3)).iter().map(|line| Line::raw(format!("   {line}"))),
            );
        }
    }
    lines.push(Line::default());
    for note in NOTES {
        let parts = wrap(note, width.saturating_sub(1));
        lines.extend(parts.iter().map(|line| Line::styled(format!(" {line}"), Look::DIM)));
    }
    lines
}
