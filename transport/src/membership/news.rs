//! Lines for the log that are written once no lock is held: the program's logger may send by this transport.

use std::fmt::Display;

use log::Level;

/// Lines for the log.
#[derive(Debug, Default)]
pub(super) struct News(Vec<(Level, String)>);

impl News {
    pub(super) fn add(&mut self, level: Level, line: impl Display) {
        self.0.push((level, line.to_string()));
    }

    /// Logs them. The caller holds no lock.
    pub(super) fn log(self) {
        self.0.into_iter().for_each(|(level, line)| log::log!(level, "{line}"));
    }
}
