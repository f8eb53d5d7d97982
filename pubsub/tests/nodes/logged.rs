//! Counts what is logged.

use std::sync::{Mutex, Once, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

struct Logger(Mutex<Vec<String>>);

static LOGGER: Logger = Logger(Mutex::new(Vec::new()));

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn flush(&self) {}
}

/// Starts to store what is logged.
pub(crate) fn start() {
    static START: Once = Once::new();
    START.call_once(|| {
        log::set_logger(&LOGGER).expect("there is no other logger");
        log::set_max_level(LevelFilter::Warn);
    });
}

/// How many lines hold all these texts. All tests log to one place, so one of them must be the test's own.
pub(crate) fn count(texts: &[&str]) -> usize {
    let lines = LOGGER.0.lock().unwrap_or_else(PoisonError::into_inner);
    lines.iter().filter(|line| texts.iter().all(|text| line.contains(text))).count()
}
