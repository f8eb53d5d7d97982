//! What the library logs, on standard error.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anstyle::{AnsiColor, Style};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::args::{Color, Common};
use crate::output::tell;

/// Starts logging, and sets whether standard error is coloured.
pub(crate) fn start(common: &Common) {
    static LOGGER: Stderr = Stderr;
    match common.color {
        Color::Auto => anstream::ColorChoice::Auto,
        Color::Always => anstream::ColorChoice::Always,
        Color::Never => anstream::ColorChoice::Never,
    }
    .write_global();
    log::set_max_level(match common.verbose {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    });
    // It fails only if there is a logger.
    let _ = log::set_logger(&LOGGER);
}

/// Lines in place of standard error, while a program draws on the whole terminal.
static HELD: Mutex<Option<VecDeque<(Level, String)>>> = Mutex::new(None);

/// The most lines that are held. The oldest ones are dropped.
const MAX_HELD: usize = 1000;

/// Holds lines back from standard error, until it is dropped.
pub(crate) struct Held;

/// Holds lines back from standard error from now on.
pub(crate) fn hold() -> Held {
    *held() = Some(VecDeque::new());
    Held
}

fn held() -> MutexGuard<'static, Option<VecDeque<(Level, String)>>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    /// The lines since the last call.
    pub(crate) fn take(&self) -> VecDeque<(Level, String)> {
        held().as_mut().map(std::mem::take).unwrap_or_default()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        *held() = None;
    }
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if let Some(held) = &mut *held() {
            if held.len() >= MAX_HELD {
                held.pop_front();
            }
            held.push_back((record.level(), record.args().to_string()));
            return;
        }
        let (style, name) = match record.level() {
            Level::Error => (AnsiColor::Red.on_default().bold(), "error"),
            Level::Warn => (AnsiColor::Yellow.on_default().bold(), "warning"),
            Level::Info => (AnsiColor::Green.on_default(), "info"),
            Level::Debug | Level::Trace => (Style::new().dimmed(), "debug"),
        };
        let text = record.args().to_string();
        tell!("{style}{name}{style:#}: {}", crate::output::clean(&text));
    }

    fn flush(&self) {}
}
