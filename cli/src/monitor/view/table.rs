//! The rows of a tab.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{put, row};
use crate::monitor::look::{Look, Tone};
use crate::monitor::model::Model;
use crate::monitor::sheet::{GAP, Sheet};
use crate::monitor::tabs::Tab;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &mut Model) {
    let look = model.look;
    let height = usize::from(area.height.saturating_sub(1));
    model.page = height.max(1);
    if model.sheet().rows.is_empty() {
        let text = match (&model.data.log.error, model.sheet().total) {
            (Some(error), _) if model.tab == Tab::Log => format!("log lines cannot be received: {error}"),
            (_, 0) => model.tab.empty().to_owned(),
            _ => "the filter hides all rows; Esc shows them".to_owned(),
        };
        put(buffer, area.x + 1, area.y + 1, &look.text(&text), Look::DIM);
    }
    let selected = model.sheet().index();
    let window = model.sheet_mut().window(height);
    draw_rows(buffer, area, model.sheet(), window, Some(selected), look);
}

/// The heads and some rows.
pub(super) fn draw_rows(
    buffer: &mut Buffer,
    area: Rect,
    sheet: &Sheet,
    window: std::ops::Range<usize>,
    selected: Option<usize>,
    look: Look,
) {
    let left = area.x + 1;
    let layout = sheet.layout(usize::from(area.width).saturating_sub(2));
    put(buffer, left, area.y, &sheet.heads(&layout, look), Look::HEAD);
    for (number, index) in (1_u16..).zip(window) {
        let line = row(area, number);
        let cells = &sheet.rows[index].cells;
        let is_selected = selected == Some(index);
        let base = if is_selected { Look::SELECTED } else { Style::new() };
        buffer.set_style(line, base);
        let mut x = left;
        for &(column, width) in &layout {
            let Some(cell) = cells.get(column) else { continue };
            let text = look.fit(&cell.text, width, sheet.columns[column].align);
            // What is reversed and dim is hard to read.
            let tone = if is_selected && cell.tone == Tone::Dim { Tone::Plain } else { cell.tone };
            put(buffer, x, line.y, &text, base.patch(look.style(tone)));
            x = x.saturating_add((width + GAP) as u16);
        }
    }
}
