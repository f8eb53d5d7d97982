//! What the nodes of a test log.

use std::sync::{Mutex, Once, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Logger(Mutex<Vec<(Level, String)>>);

static LOGGER: Logger = Logger(Mutex::new(Vec::new()));

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("ferrocal")
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = (record.level(), record.args().to_string());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    fn flush(&self) {}
}

/// Forgets what was logged before, and stores what is logged from now on at `info` and above.
///
/// # Panics
/// When the program has another logger.
pub fn start() {
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&LOGGER).expect("there is no other logger");
        log::set_max_level(LevelFilter::Info);
    });
    LOGGER.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
}

/// The lines of `level` that hold `text`, in order.
pub fn lines(level: Level, text: &str) -> Vec<String> {
    let lines = LOGGER.0.lock().unwrap_or_else(PoisonError::into_inner);
    let matching = lines.iter().filter(|(of, line)| *of == level && line.contains(text));
    matching.map(|(_, line)| line.clone()).collect()
}

/// The warnings that hold `text`, in order.
pub fn warnings(text: &str) -> Vec<String> {
    lines(Level::Warn, text)
}
