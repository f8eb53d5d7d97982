//! What the library logs, on standard error.

use anstyle::{AnsiColor, Style};
use log::{Level, LevelFilter, Log, Metadata, Record};

use crate::args::{Color, Common};

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

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let (style, name) = match record.level() {
            Level::Error => (AnsiColor::Red.on_default().bold(), "error"),
            Level::Warn => (AnsiColor::Yellow.on_default().bold(), "warning"),
            Level::Info => (AnsiColor::Green.on_default(), "info"),
            Level::Debug | Level::Trace => (Style::new().dimmed(), "debug"),
        };
        let text = record.args().to_string();
        anstream::eprintln!("{style}{name}{style:#}: {}", crate::output::clean(&text));
    }

    fn flush(&self) {}
}
