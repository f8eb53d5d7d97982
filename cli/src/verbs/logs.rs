//! `logs`: eCAL's log.

use ferrocal::{LogLevel, LogLevels, LogMessage, LogSink, RecvTimeoutError};
use ferrocal_proto::MAX_TEXT_LEN;
use serde::Serialize;

use crate::exit::Exit;
use crate::output::{BAD, DIM, GOOD, WARN, clean};
use crate::session::{End, Session, is_replay};
use crate::time;

/// Show the log lines that programs send, or send one.
///
/// Keys of --json, an object for each line: time_us (since 1970), time (UTC), host, pid, process, unit, level (info, warning,
/// error, fatal, debug1 to debug4), text.
#[derive(clap::Args)]
pub(crate) struct Logs {
    /// Only lines of this level or a graver one: debug4, debug3, debug2, debug1, info, warning, error, fatal.
    #[arg(short, long, value_parser = level, default_value = "debug4")]
    level: LogLevel,
    /// Only lines of this host.
    #[arg(long)]
    host: Option<String>,
    /// Only lines of programs of this name (of their unit).
    #[arg(long)]
    unit: Option<String>,
    /// Only lines of which this regular expression matches a part.
    #[arg(short, long, value_name = "REGEX")]
    pattern: Option<regex::Regex>,
    /// Send a line of this text, 64 KiB at most, and the --level (info if that is not given), and end.
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["host", "unit", "pattern"])]
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new())]
    send: Option<String>,
}

/// A line, as `logs --json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    time_us: i64,
    time: String,
    host: &'a str,
    pid: i32,
    process: &'a str,
    unit: &'a str,
    level: String,
    text: &'a str,
}

/// The levels, from the finest to the gravest.
const LEVELS: [LogLevel; 8] = [
    LogLevel::Debug4,
    LogLevel::Debug3,
    LogLevel::Debug2,
    LogLevel::Debug1,
    LogLevel::Info,
    LogLevel::Warning,
    LogLevel::Error,
    LogLevel::Fatal,
];

fn level(text: &str) -> Result<LogLevel, String> {
    let is_meant = |level: &LogLevel| level.to_string().eq_ignore_ascii_case(text);
    LEVELS.into_iter().find(is_meant).ok_or_else(|| {
        let names: Vec<_> = LEVELS.iter().map(ToString::to_string).collect();
        format!("not one of {}", names.join(", "))
    })
}

impl Logs {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let mut config = session.config()?;
        if let Some(text) = &self.send {
            if text.len() > MAX_TEXT_LEN {
                let len = text.len();
                return Err(Exit::Usage.because(format!(
                    "--send: a text of {len} bytes is longer than a line may be ({MAX_TEXT_LEN})"
                )));
            }
            let level = if self.level == LogLevel::Debug4 { LogLevel::Info } else { self.level };
            config.logging.udp = LogSink::new(true, LogLevels::ALL);
            let node = session.open("logs", config)?;
            node.log(level, text);
            if node.logger().stats().sent == 0 {
                return Err(Exit::Failed.because("the line was not sent"));
            }
            return Ok(Exit::Fine);
        }
        let node = session.open("logs", config)?;
        let lines = node.logs()?;
        log::info!("log lines are received from now on");
        let mut shown = 0;
        let end = loop {
            if session.common.count.is_some_and(|count| shown >= count) {
                break None;
            }
            let line = match lines.recv_timeout(session.slice(std::time::Duration::MAX)) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => match session.end() {
                    None => continue,
                    end => break end,
                },
                Err(RecvTimeoutError::Ended(_)) if is_replay(node.config()) => break None,
                Err(error) => return Err(error.into()),
            };
            if self.is_wanted(&line) {
                shown += 1;
                self.print(session, &line)?;
            }
            if session.end().is_some() {
                break session.end();
            }
        };
        let lost = lines.stats().queue_full;
        if lost > 0 {
            log::warn!("{lost} lines were dropped, because they were not printed as fast as they came");
            return Ok(Exit::Lost);
        }
        Ok(match end {
            _ if shown > 0 => Exit::Fine,
            Some(End::Stopped) => Exit::Interrupted,
            _ => return Err(Exit::NotFound.because("no such line came in time")),
        })
    }

    fn is_wanted(&self, line: &LogMessage) -> bool {
        let rank = |level: LogLevel| LEVELS.iter().position(|&one| one == level);
        // A level without a meaning here is shown.
        rank(line.level).is_none_or(|one| Some(one) >= rank(self.level))
            && self.host.as_ref().is_none_or(|host| *host == line.host_name)
            && self.unit.as_ref().is_none_or(|unit| *unit == line.unit_name)
            && self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(&line.content))
    }

    fn print(&self, session: &Session, line: &LogMessage) -> std::io::Result<()> {
        let out = &mut session.out();
        let LogMessage { time_us, host_name, process_id, process_name, unit_name, level, content } = line;
        if session.common.json {
            out.json(&Line {
                time_us: *time_us,
                time: time::text(*time_us),
                host: host_name,
                pid: *process_id,
                process: process_name,
                unit: unit_name,
                level: level.to_string(),
                text: content,
            })?;
        } else {
            let style = match level {
                LogLevel::Error | LogLevel::Fatal => BAD,
                LogLevel::Warning => WARN,
                LogLevel::Info => GOOD,
                _ => DIM,
            };
            out.line(format_args!(
                "{DIM}{}{DIM:#} {style}{level:<7}{style:#} {} {DIM}{}/{process_id}{DIM:#}: {}",
                time::text(*time_us),
                clean(unit_name),
                clean(host_name),
                clean(content),
            ))?;
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_an_order() {
        let logs = |text: &str| Logs {
            level: level(text).unwrap(),
            host: None,
            unit: None,
            pattern: None,
            send: None,
        };
        let line = |level| LogMessage {
            time_us: 0,
            host_name: "h".into(),
            process_id: 1,
            process_name: "p".into(),
            unit_name: "u".into(),
            level,
            content: "text".into(),
        };
        let shown = |text| LEVELS.into_iter().filter(|&one| logs(text).is_wanted(&line(one))).count();
        assert_eq!([shown("debug4"), shown("info"), shown("Warning"), shown("fatal")], [8, 4, 3, 1]);
        assert!(logs("fatal").is_wanted(&line(LogLevel::Other(3))));
        assert!(level("loud").is_err());
    }
}
