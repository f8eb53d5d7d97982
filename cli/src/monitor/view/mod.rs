//! Draws a model.

mod details;
mod help;
mod table;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::data::{IN, OUT};
use super::details::Details;
use super::look::Look;
use super::model::{InputKind, Model};
use super::number;
use super::sheet::Key;
use super::tabs::Tab;

/// The least size of a terminal.
pub(crate) const MIN_WIDTH: u16 = 40;
pub(crate) const MIN_HEIGHT: u16 = 10;

/// Says that a terminal is too small. `None` if it is not.
pub(crate) fn too_small(width: u16, height: u16) -> Option<String> {
    let is_small = width < MIN_WIDTH || height < MIN_HEIGHT;
    is_small.then(|| {
        format!("the terminal is too small: it has {width}x{height}, and {MIN_WIDTH}x{MIN_HEIGHT} are needed")
    })
}

/// Draws a model.
pub(crate) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    if let Some(message) = too_small(area.width, area.height) {
        for (number, line) in wrap(&message, area.width.into()).iter().enumerate().take(area.height.into()) {
            put(buffer, area.x, area.y + number as u16, line, Style::new());
        }
        return;
    }
    let [top, body, bottom] = parts(area);
    tabs(buffer, row(top, 0), model);
    summary(buffer, row(top, 1), model);
    if model.has_help {
        help::draw(buffer, body, model);
    } else if model.details.is_some() {
        details::draw(buffer, body, model);
    } else {
        table::draw(buffer, body, model);
    }
    status(buffer, row(bottom, 0), model);
    keys(buffer, row(bottom, 1), model);
}

/// Two lines at the top, two at the bottom, and what is between.
fn parts(area: Rect) -> [Rect; 3] {
    let body = Rect { y: area.y + 2, height: area.height.saturating_sub(4), ..area };
    let top = Rect { height: 2, ..area };
    let bottom = Rect { y: area.bottom().saturating_sub(2), height: 2, ..area };
    [top, body, bottom]
}

fn row(area: Rect, number: u16) -> Rect {
    Rect { y: area.y + number, height: 1, ..area }
}

/// Writes a text that may be too long.
fn put(buffer: &mut Buffer, x: u16, y: u16, text: &str, style: Style) {
    let area = buffer.area;
    if x < area.right() && y < area.bottom() {
        buffer.set_stringn(x, y, text, usize::from(area.right() - x), style);
    }
}

fn put_line(buffer: &mut Buffer, area: Rect, line: Line<'_>) {
    line.render(area, buffer);
}

/// A line across the screen, with a title in it.
fn rule(buffer: &mut Buffer, area: Rect, title: &str, look: Look) {
    let mark = look.rule().to_string();
    let title = if title.is_empty() { String::new() } else { format!(" {title} ") };
    let cut = look.cut(&title, usize::from(area.width).saturating_sub(4));
    let rest = usize::from(area.width).saturating_sub(2 + cut.width());
    let line = Line::from(vec![
        Span::styled(mark.repeat(2), Look::DIM),
        Span::raw(cut.into_owned()),
        Span::styled(mark.repeat(rest), Look::DIM),
    ]);
    put_line(buffer, area, line);
}

fn tabs(buffer: &mut Buffer, area: Rect, model: &Model) {
    let full: usize = Tab::ALL.iter().map(|tab| tab.title().len() + 4).sum();
    let is_wide = full <= area.width.into();
    let spans = Tab::ALL.iter().enumerate().map(|(number, tab)| {
        let is_on = *tab == model.tab;
        let title = match is_wide || is_on {
            true => format!(" {} {} ", number + 1, tab.title()),
            false => format!(" {} ", number + 1),
        };
        Span::styled(title, if is_on { Look::SELECTED.patch(Look::HEAD) } else { Style::new() })
    });
    put_line(buffer, area, spans.collect());
    // What is over is the name of the program.
    let name = "ferrocal monitor ";
    if full + name.len() <= area.width.into() {
        put(buffer, area.right() - name.len() as u16, area.y, name, Look::DIM);
    }
}

/// What there is in all.
fn summary(buffer: &mut Buffer, area: Rect, model: &Model) {
    let data = &model.data;
    let registered = &data.registered;
    let count = |count: usize, name: &str| format!("{count} {name}{}", if count == 1 { "" } else { "s" });
    let mut topics: Vec<_> = data.entities().map(|(_, info)| &info.topic_name).collect();
    topics.sort_unstable();
    topics.dedup();
    let separator = model.look.separator();
    let rates = data.traffic_history(&Key::Network).map_or([0.0; 2], |values| {
        [&values[OUT], &values[IN]].map(|history| history.values().last().copied().unwrap_or(0.0).into())
    });
    let text = [
        count(topics.len(), "topic"),
        format!("{} pub {} sub", registered.publishers.len(), registered.subscribers.len()),
        match registered.processes.len() {
            1 => "1 process".to_owned(),
            len => format!("{len} processes"),
        },
        format!("out {} in {}", number::rate(rates[0]), number::rate(rates[1])),
        model.place.to_owned(),
    ]
    .join(separator);
    put(buffer, area.x + 1, area.y, &text, Look::DIM);
    if model.is_paused {
        let text = " PAUSED ";
        put(
            buffer,
            area.right().saturating_sub(text.len() as u16),
            area.y,
            text,
            Look::SELECTED.patch(Look::HEAD),
        );
    }
}

/// What is typed, what to say of the last key, or which rows are shown.
fn status(buffer: &mut Buffer, area: Rect, model: &Model) {
    let look = model.look;
    if let Some(input) = &model.input {
        let prompt = match input.kind {
            InputKind::Search => "search: ",
            InputKind::Filter => "filter: ",
        };
        let room = usize::from(area.width).saturating_sub(prompt.len() + 2);
        let line = Line::from(vec![
            Span::styled(format!(" {prompt}"), Look::HEAD),
            Span::raw(end_of(&look.text(&input.text), room).to_owned()),
            Span::styled(" ", Look::SELECTED),
            Span::styled("  Enter accept, Esc cancel", Look::DIM),
        ]);
        return put_line(buffer, area, line);
    }
    if let Some(notice) = &model.notice {
        return put(buffer, area.x + 1, area.y, notice, look.accent());
    }
    if model.has_help || model.details.is_some() {
        return;
    }
    let sheet = model.sheet();
    let rows = sheet.rows.len();
    let mut text = match rows {
        0 => "0 rows".to_owned(),
        _ => format!("row {} of {rows}", sheet.index() + 1),
    };
    if !sheet.filter.is_empty() {
        let filter = look.text(&sheet.filter).into_owned();
        text += &format!("{}filter `{filter}`: {rows} of {}, Esc shows all", look.separator(), sheet.total);
    }
    if sheet.skip > 0 {
        text += &format!("{}columns moved by {}", look.separator(), sheet.skip);
    }
    if sheet.is_following() {
        text += &format!("{}follows", look.separator());
    }
    put(buffer, area.x + 1, area.y, &text, Look::DIM);
}

/// The keys that work now, the most important ones first.
fn keys(buffer: &mut Buffer, area: Rect, model: &Model) {
    let arrows = model.look.arrows();
    let pause = ("p", if model.is_paused { "go on" } else { "pause" });
    let keys: &[(&str, &str)] = if model.input.is_some() {
        &[("Enter", "accept"), ("Esc", "cancel"), ("Ctrl-U", "empty")]
    } else if model.has_help && model.help_last_top > 0 {
        &[(arrows, "scroll"), ("any other key", "back")]
    } else if model.has_help {
        &[("any key", "back"), ("q", "quit")]
    } else {
        match &model.details {
            Some(Details::Topic(_)) => &[
                ("q", "quit"),
                ("?", "help"),
                ("Esc", "back"),
                ("v", "view"),
                (arrows, "scroll"),
                pause,
                ("/", "search"),
            ],
            Some(Details::Fields { .. }) => {
                &[("q", "quit"), ("?", "help"), ("Esc", "back"), (arrows, "scroll"), pause]
            }
            None => &[
                ("q", "quit"),
                ("?", "help"),
                ("Enter", "details"),
                ("/", "search"),
                ("f", "filter"),
                ("s", "sort"),
                ("r", "reverse"),
                pause,
                ("Tab", "next"),
            ],
        }
    };
    let accent = model.look.accent();
    let mut spans = vec![Span::raw(" ")];
    let mut left = usize::from(area.width).saturating_sub(1);
    for (key, does) in keys {
        let Some(rest) = left.checked_sub(key.width() + 1 + does.len()) else { break };
        left = rest.saturating_sub(2);
        spans.push(Span::styled((*key).to_owned(), accent));
        spans.push(Span::raw(format!(" {does}  ")));
    }
    put_line(buffer, area, spans.into());
}

/// The end of a text, of at most this width.
fn end_of(text: &str, width: usize) -> &str {
    let mut left = width;
    let fits = |char: &(usize, char)| {
        let rest = left.checked_sub(char.1.width().unwrap_or(0));
        rest.inspect(|&rest| left = rest).is_some()
    };
    let start = text.char_indices().rev().take_while(fits).last().map_or(text.len(), |(index, _)| index);
    &text[start..]
}

/// Lines of at most this width, which are cut between words where that is possible.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let mut now = String::new();
        for word in line.split_inclusive(' ') {
            if now.width() + word.trim_end().width() > width && !now.is_empty() {
                lines.push(std::mem::take(&mut now).trim_end().to_owned());
            }
            for char in word.chars() {
                let is_full = now.width() + char.width().unwrap_or(0) > width;
                if is_full && char != ' ' {
                    lines.push(std::mem::take(&mut now));
                }
                now.push(char);
            }
        }
        lines.push(now.trim_end().to_owned());
    }
    lines
}

#[cfg(test)]
mod tests;
