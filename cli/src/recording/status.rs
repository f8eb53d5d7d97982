//! A line on standard error that changes while something runs.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// A line on standard error that changes while something runs. Nothing is written unless that is a terminal.
pub(crate) struct StatusLine {
    is_terminal: bool,
    shown: Option<Instant>,
    /// The width of what is shown, in characters.
    width: usize,
}

impl StatusLine {
    const EVERY: Duration = Duration::from_millis(200);

    pub(crate) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), shown: None, width: 0 }
    }

    /// Shows a text in place of the one before, a few times a second.
    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.is_terminal && self.shown.is_none_or(|shown| shown.elapsed() >= Self::EVERY) {
            self.shown = Some(Instant::now());
            self.write(&text());
        }
    }

    /// [Shows](Self::show) a text where there is room: nothing else has to be done for so long. Without room, a fifth as often.
    pub(crate) fn show_if(&mut self, room: Duration, text: impl FnOnce() -> String) {
        const ENOUGH: Duration = Duration::from_millis(1);
        if room >= ENOUGH || self.shown.is_none_or(|shown| shown.elapsed() >= Self::EVERY * 5) {
            self.show(text);
        }
    }

    /// Has the next text be shown at once.
    pub(crate) fn refresh(&mut self) {
        self.shown = None;
    }

    fn write(&mut self, text: &str) {
        let columns = crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns));
        let text: String = text.chars().take(columns.saturating_sub(1)).collect();
        let len = text.chars().count();
        let space = self.width.saturating_sub(len);
        let mut out = std::io::stderr().lock();
        // That standard error is closed ends nothing.
        let _ = write!(out, "\r{text}{:space$}\r", "").and_then(|()| out.flush());
        self.width = len;
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        if self.width > 0 {
            self.write("");
        }
    }
}
