//! Settings of logging.

use std::fmt;
use std::path::PathBuf;

use ferrocal_proto::LogLevel;

/// Where the lines of a [`Logger`](crate::Logger) go, and how those of all programs are received.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogConfig {
    /// The console (`provider.console`). Default: enabled, [`LogLevels::COMMON`].
    pub console: LogSink,
    /// Which stream of the console. Default: [`ConsoleStream::Stderr`]; eCAL uses standard output. Not in eCAL;
    /// `ferrocal.logging.console_stream`.
    pub console_stream: ConsoleStream,
    /// A file (`provider.file`). Default: disabled, and no level.
    pub file: LogSink,
    /// Folders for the file, before [`folder`](Self::folder) and [`other_folders`](Self::other_folders). The first of all
    /// that exists and can be written to has it. If there is none, a new folder of temporary files has it. Default: empty.
    /// [`Config::load`](crate::Config::load) finds those of the environment, as eCAL does: `$ECAL_LOG_DIR`,
    /// `$ECAL_DATA/logs`, `$ECAL_DATA`.
    pub folders: Vec<PathBuf>,
    /// A folder for the file, if none of [`folders`](Self::folders) can have it (`provider.file_config.path`). Default:
    /// `None`.
    pub folder: Option<PathBuf>,
    /// Folders for the file, if none of the others can have it. Default: empty.
    /// [`Config::load`](crate::Config::load) adds the folder `logs` beside `ecal.yaml`, and the folder of `ecal.yaml`.
    pub other_folders: Vec<PathBuf>,
    /// UDP, where the log receivers and tools of eCAL listen (`provider.udp`). Default: enabled,
    /// [`LogLevels::COMMON`].
    pub udp: LogSink,
    /// Port to send lines to (`provider.udp_config.port`). Default: 14001.
    pub udp_port: u16,
    /// Port to receive lines on (`receiver.udp_config.port`). Default: 14001.
    pub receiver_port: u16,
    /// Lines that a [`LogReceiver`](crate::LogReceiver) stores at most. Default: 16384. Not in eCAL;
    /// `ferrocal.logging.queue_len`.
    pub queue_len: usize,
    /// Bytes of memory that they may take; the newest line is always stored. Default: 16 MiB. Not in eCAL;
    /// `ferrocal.logging.queue_bytes`.
    pub queue_bytes: usize,
}

setters!(LogConfig {
    console: LogSink,
    console_stream: ConsoleStream,
    file: LogSink,
    folders: Vec<PathBuf>,
    other_folders: Vec<PathBuf>,
    udp: LogSink,
    udp_port: u16,
    receiver_port: u16,
    queue_len: usize,
    queue_bytes: usize,
} optional {
    folder: PathBuf,
});

impl LogConfig {
    /// All folders for the file in their order, each once.
    pub(crate) fn all_folders(&self) -> Vec<PathBuf> {
        let mut all = Vec::new();
        for folder in self.folders.iter().chain(&self.folder).chain(&self.other_folders) {
            if !all.contains(folder) {
                all.push(folder.clone());
            }
        }
        all
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        let common = LogSink::new(true, LogLevels::COMMON);
        Self {
            console: common,
            console_stream: ConsoleStream::default(),
            file: LogSink::new(false, LogLevels::NONE),
            folders: Vec::new(),
            folder: None,
            other_folders: Vec::new(),
            udp: common,
            udp_port: 14_001,
            receiver_port: 14_001,
            queue_len: 16_384,
            queue_bytes: 16 << 20,
        }
    }
}

/// A place that log lines go to.
///
/// If `ecal.yaml` has a section for it, a key that is missing there stands for `false` or no level, as in eCAL 6.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogSink {
    /// Whether any go there (`enable`).
    pub enable: bool,
    /// The levels of those that go there (`log_level`).
    pub levels: LogLevels,
}

impl LogSink {
    /// A place that lines of these levels go to, if it is enabled.
    pub const fn new(enable: bool, levels: LogLevels) -> Self {
        Self { enable, levels }
    }

    /// Whether lines of a level go there.
    pub const fn takes(self, level: LogLevel) -> bool {
        self.enable && self.levels.contains(level)
    }
}

setters!(LogSink { enable: bool, levels: LogLevels });

/// A stream of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConsoleStream {
    /// Standard error.
    #[default]
    Stderr,
    /// Standard output.
    Stdout,
}

/// A set of log levels.
///
/// ```
/// use ferrocal::{LogLevel, LogLevels};
///
/// let levels = LogLevels::COMMON.with(LogLevel::Debug1);
/// assert!(levels.contains(LogLevel::Debug1) && !levels.contains(LogLevel::Debug2));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogLevels(u8);

impl LogLevels {
    /// No level.
    pub const NONE: Self = Self(0);
    /// Info, warning, error and fatal.
    pub const COMMON: Self =
        Self::NONE.with(LogLevel::Info).with(LogLevel::Warning).with(LogLevel::Error).with(LogLevel::Fatal);
    /// All levels.
    pub const ALL: Self = Self(u8::MAX);

    /// Adds a level. One without a name adds those that its bits name.
    #[must_use]
    pub const fn with(self, level: LogLevel) -> Self {
        Self(self.0 | level.to_wire() as u8)
    }

    /// Whether a level is in the set; for one without a name, whether any that its bits name is.
    pub const fn contains(self, level: LogLevel) -> bool {
        level.to_wire() & self.0 as i32 != 0
    }

    fn named() -> impl Iterator<Item = LogLevel> {
        (0..u8::BITS).map(|bit| LogLevel::from_wire(1 << bit))
    }

    /// The set that a name in `ecal.yaml` stands for.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "all" => Some(Self::ALL),
            _ => Self::named().find(|level| level.to_string() == name).map(|level| Self::NONE.with(level)),
        }
    }
}

impl FromIterator<LogLevels> for LogLevels {
    /// All levels that are in any of the sets.
    fn from_iter<T: IntoIterator<Item = LogLevels>>(sets: T) -> Self {
        Self(sets.into_iter().fold(0, |bits, set| bits | set.0))
    }
}

impl fmt::Display for LogLevels {
    /// As in `ecal.yaml`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> =
            Self::named().filter(|&level| self.contains(level)).map(|level| level.to_string()).collect();
        write!(f, "[{}]", names.join(", "))
    }
}

impl fmt::Debug for LogLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Self::named().filter(|&level| self.contains(level))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_a_mask() {
        let levels: LogLevels = ["info", "debug4"].into_iter().filter_map(LogLevels::from_name).collect();
        assert_eq!(levels, LogLevels::NONE.with(LogLevel::Info).with(LogLevel::Debug4));
        assert_eq!(format!("{levels:?} {levels}"), "{Info, Debug4} [info, debug4]");
        assert_eq!(LogLevels::from_name("all"), Some(LogLevels::ALL));
        assert_eq!(LogLevels::from_name("1"), None);
        assert!(levels.contains(LogLevel::Other(3)) && !levels.contains(LogLevel::Other(2 + 256)));
        assert!(!LogLevels::ALL.contains(LogLevel::Other(0)));
    }
}
