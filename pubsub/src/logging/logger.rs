//! Sends a node's log lines to the console, a file and UDP.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, SystemTime};

use ferrocal_proto::{LogLevel, LogMessage, MAX_TEXT_LEN};
use ferrocal_transport::{Selected, Sender};

use super::file::LogFile;
use crate::registry::Identity;
use crate::stats::{add, get};
use crate::wall_clock::{WallClock, us_since_epoch};
use crate::wire::{open_sender, send_message};
use crate::{Config, ConsoleStream, LogConfig, lock};

/// Writes log lines to where [`LogConfig`] says: the console, a file, and eCAL's log on the network.
///
/// Made by [`Node::logger`](crate::Node::logger). It is a logger for the crate [`log`]:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = ferrocal::Node::new("my_robot")?;
/// let logger = node.logger();
/// log::set_max_level(logger.max_level());
/// log::set_boxed_logger(Box::new(logger))?;
///
/// log::warn!("the battery is low");
/// # Ok(())
/// # }
/// ```
///
/// With the feature `tracing`, it is also a layer for the crate `tracing`:
/// `tracing_subscriber::registry().with(node.logger()).init()`. Fields stand behind the message, as `name=value`.
///
/// | eCAL | `log`, `tracing` |
/// | --- | --- |
/// | fatal | error with the target `fatal`: `log::error!(target: "fatal", ..)` |
/// | error, warning, info | error, warn, info |
/// | debug1 | debug |
/// | debug2 | trace |
/// | debug3, debug4 | only by [`Logger::log`] |
///
/// Clones are the same logger. It does not keep its node open, and goes on when the node is closed: a global logger
/// is never dropped. In a forked child, it does nothing.
///
/// # Blocking
/// A line takes as long as the system needs to write it and to send it. What the transport or a
/// [clock](crate::Clock::Program) logs meanwhile goes to the console and the file, but not to UDP, where it would have no
/// end.
#[derive(Clone)]
pub struct Logger {
    inner: Arc<Inner>,
}

/// What a [`Logger`] did so far, in lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LoggerStats {
    /// Sent by UDP.
    pub sent: u64,
    /// Not sent by UDP, because the system refused them, or because the transport or a clock logged them meanwhile.
    pub not_sent: u64,
    /// Not written, because the console or the file refused them.
    pub not_written: u64,
}

struct Inner {
    config: Config,
    host_name: String,
    process_id: i32,
    process_name: String,
    unit_name: String,
    destination: SocketAddrV4,
    transport: Arc<Selected>,
    wall_clock: Arc<WallClock>,
    /// Opened for the first line.
    sender: OnceLock<Arc<dyn Sender>>,
    file: Mutex<LogFile>,
    sent: AtomicU64,
    not_sent: AtomicU64,
    not_written: AtomicU64,
}

impl Logger {
    pub(crate) fn new(
        config: &Config,
        identity: &Identity,
        transport: Arc<Selected>,
        wall_clock: Arc<WallClock>,
    ) -> Self {
        let unit_name = identity.unit_name.to_string();
        let file = LogFile::new(config.logging.all_folders(), &unit_name, identity.process_id);
        Self {
            inner: Arc::new(Inner {
                destination: SocketAddrV4::new(config.destination().group, config.logging.udp_port),
                config: config.clone(),
                host_name: identity.host_name.to_string(),
                process_id: identity.process_id,
                process_name: identity.process_name.to_string(),
                unit_name,
                transport,
                wall_clock,
                sender: OnceLock::new(),
                file: Mutex::new(file),
                sent: AtomicU64::new(0),
                not_sent: AtomicU64::new(0),
                not_written: AtomicU64::new(0),
            }),
        }
    }

    /// Writes a line to all that take its level. An empty text is ignored, and of a text longer than 64 KiB the rest
    /// is cut off. Errors are [counted](Self::stats).
    pub fn log(&self, level: LogLevel, text: &str) {
        if !text.is_empty() && self.is_enabled(level) && !self.inner.is_forked() {
            self.inner.log(level, text);
        }
    }

    /// Whether lines of a level go anywhere.
    pub fn is_enabled(&self, level: LogLevel) -> bool {
        let LogConfig { console, file, udp, .. } = &self.inner.config.logging;
        [console, file, udp].into_iter().any(|sink| sink.takes(level))
    }

    /// The finest level of the crate `log` that goes anywhere, for [`log::set_max_level`].
    pub fn max_level(&self) -> log::LevelFilter {
        let mut levels =
            [log::Level::Trace, log::Level::Debug, log::Level::Info, log::Level::Warn].into_iter();
        match levels.find(|&level| self.is_enabled(level_of(level, ""))) {
            Some(level) => level.to_level_filter(),
            None if self.is_enabled(LogLevel::Error) || self.is_enabled(LogLevel::Fatal) => {
                log::LevelFilter::Error
            }
            None => log::LevelFilter::Off,
        }
    }

    /// The path of the file that lines go to. `None` before the first one.
    pub fn file(&self) -> Option<PathBuf> {
        lock(&self.inner.file).path().map(PathBuf::from)
    }

    /// What the logger did so far.
    pub fn stats(&self) -> LoggerStats {
        let Inner { sent, not_sent, not_written, .. } = &*self.inner;
        LoggerStats { sent: get(sent), not_sent: get(not_sent), not_written: get(not_written) }
    }
}

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        self.is_enabled(level_of(metadata.level(), metadata.target()))
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = level_of(record.level(), record.target());
        if !self.is_enabled(level) {
            return;
        }
        match record.args().as_str() {
            Some(text) => self.log(level, text),
            None => self.log(level, &record.args().to_string()),
        }
    }

    fn flush(&self) {}
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logger").field("unit_name", &self.inner.unit_name).finish_non_exhaustive()
    }
}

/// eCAL's level for one of the crate `log`.
pub(super) fn level_of(level: log::Level, target: &str) -> LogLevel {
    match level {
        log::Level::Error if target == "fatal" => LogLevel::Fatal,
        log::Level::Error => LogLevel::Error,
        log::Level::Warn => LogLevel::Warning,
        log::Level::Info => LogLevel::Info,
        log::Level::Debug => LogLevel::Debug1,
        log::Level::Trace => LogLevel::Debug2,
    }
}

thread_local! {
    /// Whether this thread is writing a line.
    static IS_LOGGING: Cell<bool> = const { Cell::new(false) };
}

impl Inner {
    fn log(&self, level: LogLevel, text: &str) {
        // A panic of a clock or transport of the program's own must not leave it set.
        struct Reset(bool);
        impl Drop for Reset {
            fn drop(&mut self) {
                IS_LOGGING.set(self.0);
            }
        }
        let Reset(is_nested) = &Reset(IS_LOGGING.replace(true));
        let time_us = if *is_nested { us_since_epoch(SystemTime::now()) } else { self.wall_clock.now_us() };
        let time = Duration::from_micros(time_us.cast_unsigned());
        let text = cut(text, MAX_TEXT_LEN);
        let LogConfig { console, file, udp, .. } = self.config.logging;
        if console.takes(level) || file.takes(level) {
            let line = self.line(time, level, text);
            if console.takes(level) {
                self.count_written(&self.write_to_console(&line));
            }
            if file.takes(level) {
                self.count_written(&lock(&self.file).write(time, &line));
            }
        }
        if udp.takes(level) {
            let is_sent = !is_nested && self.send(time_us, level, text);
            add(if is_sent { &self.sent } else { &self.not_sent }, 1);
        }
    }

    /// A line of the console and the file, as eCAL writes it.
    fn line(&self, time: Duration, level: LogLevel, text: &str) -> String {
        let Self { host_name, unit_name, process_id, .. } = self;
        format!("{} ms | {host_name} | {unit_name} | {process_id} | {level} | {text}\n", time.as_millis())
    }

    fn write_to_console(&self, line: &str) -> io::Result<()> {
        match self.config.logging.console_stream {
            ConsoleStream::Stderr => io::stderr().write_all(line.as_bytes()),
            ConsoleStream::Stdout => io::stdout().write_all(line.as_bytes()),
        }
    }

    fn count_written(&self, result: &io::Result<()>) {
        if result.is_err() {
            add(&self.not_written, 1);
        }
    }

    /// Returns whether the system took it.
    fn send(&self, time_us: i64, level: LogLevel, text: &str) -> bool {
        let message = LogMessage {
            time_us,
            host_name: self.host_name.clone(),
            process_id: self.process_id,
            process_name: self.process_name.clone(),
            unit_name: self.unit_name.clone(),
            level,
            content: text.to_owned(),
        };
        let sender = match self.sender.get() {
            Some(sender) => sender,
            None => match open_sender(&*self.transport, &self.config) {
                Ok(sender) => self.sender.get_or_init(|| sender),
                Err(_) => return false,
            },
        };
        send_message(&**sender, self.destination, &message.encode()).is_ok()
    }

    /// Whether this is a forked child of the process that opened the node.
    fn is_forked(&self) -> bool {
        std::process::id().cast_signed() != self.process_id
    }
}

/// The longest start of a text that has at most `max_len` bytes.
pub(super) fn cut(text: &str, max_len: usize) -> &str {
    let mut len = text.len().min(max_len);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text[..len]
}

#[cfg(test)]
mod tests {
    use ferrocal_transport::SelectionReason;
    use ferrocal_transport::memory::Network;

    use super::*;
    use crate::{LogLevels, LogSink};

    fn logger(config: LogConfig) -> Logger {
        let config = Config::default().logging(config);
        let transport = Selected::fixed(Arc::new(Network::new(1).host()), SelectionReason::Provided);
        Logger::new(&config, &Identity::new("unit", &config), Arc::new(transport), Arc::default())
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("aä", 2), "a");
        assert_eq!(cut("aä", 3), "aä");
        assert_eq!(cut("", 3), "");
    }

    #[test]
    fn the_finest_level_that_goes_anywhere_is_known() {
        let none = LogSink::new(true, LogLevels::NONE);
        let quiet = LogConfig::default().console(none).udp(none);
        for (levels, expected) in [
            (LogLevels::NONE, log::LevelFilter::Off),
            (LogLevels::NONE.with(LogLevel::Fatal), log::LevelFilter::Error),
            (LogLevels::COMMON, log::LevelFilter::Info),
            (LogLevels::ALL, log::LevelFilter::Trace),
        ] {
            let logger = logger(quiet.clone().udp(LogSink::new(true, levels)));
            assert_eq!(logger.max_level(), expected);
            let disabled = quiet.clone().udp(LogSink::new(false, levels));
            assert_eq!(self::logger(disabled).max_level(), log::LevelFilter::Off);
        }
    }

    #[test]
    fn only_lines_that_are_wanted_are_counted() {
        let logger = logger(LogConfig::default().console(LogSink::new(false, LogLevels::ALL)));
        logger.log(LogLevel::Debug1, "not wanted");
        logger.log(LogLevel::Info, "");
        assert_eq!(logger.stats(), LoggerStats::default());
        logger.log(LogLevel::Info, "wanted");
        assert_eq!(logger.stats(), LoggerStats { sent: 1, ..LoggerStats::default() });
        assert_eq!(logger.file(), None);
    }

    #[test]
    fn lines_look_as_those_of_ecal() {
        let logger = logger(LogConfig::default());
        let Inner { host_name, process_id, .. } = &*logger.inner;
        assert_eq!(
            logger.inner.line(Duration::from_micros(1_795_690_263_411_999), LogLevel::Warning, "hi"),
            format!("1795690263411 ms | {host_name} | unit | {process_id} | warning | hi\n")
        );
    }
}
