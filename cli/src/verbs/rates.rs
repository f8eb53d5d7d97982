//! `hz`, `bw` and `delay`: what messages of a topic are like, measured when they arrive.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ferrocal::{Config, Message, Node, Subscription, captured_messages};
use serde::Serialize;

use crate::args::{period, seconds};
use crate::exit::Exit;
use crate::output::{DIM, HEAD, Output, clean, counted};
use crate::payload::Length;
use crate::samples::{Figures, Sample, Samples, Summary};
use crate::session::{End, Session, capture, is_replay};
use crate::silence::{self, Silence};

/// Measure how often messages of a topic come.
///
/// Prints a line a second, of the time between messages in the latest --window. Times are those of arrival; of a capture file,
/// the send times.
///
/// Keys of --json, an object for each line: topic, messages (in the window), new (since the last line), total (since the
/// beginning), window_s, hz, mean_ms, min_ms, max_ms, deviation_ms, p99_ms (null with less than two messages), lost (messages
/// that did not arrive, since the beginning), tool_drops (datagrams that the system dropped because this tool was too slow).
#[derive(clap::Args)]
pub(crate) struct Hz {
    #[command(flatten)]
    options: Options,
}

/// Measure how many bytes of a topic come.
///
/// Prints a line a second, of the messages in the latest --window.
///
/// Keys of --json, an object for each line: topic, messages (in the window), new (since the last line), total (since the
/// beginning), window_s, bytes_per_s, hz (null with less than two messages), mean_bytes, min_bytes, max_bytes,
/// deviation_bytes, p99_bytes (of a message; null without one), lost, tool_drops (as hz).
#[derive(clap::Args)]
pub(crate) struct Bw {
    #[command(flatten)]
    options: Options,
}

/// Measure how long messages of a topic take from the publisher to here.
///
/// Prints a line a second, of the messages in the latest --window: from the send time to the receive time; of a capture file, to
/// the time of a message's last frame, with a line a second of the capture. Between hosts, it is as right as their clocks are the
/// same.
///
/// Keys of --json, an object for each line: topic, messages (in the window), new (since the last line), total (since the
/// beginning), window_s, mean_ms, min_ms, max_ms, deviation_ms, p99_ms (null without a message), lost, tool_drops (as hz).
#[derive(clap::Args)]
pub(crate) struct Delay {
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Args)]
struct Options {
    /// The topic's name.
    topic: String,
    /// The time that a line is about.
    #[arg(short, long, value_name = "SECONDS", value_parser = period, default_value = "10")]
    window: Duration,
    /// End if no message comes for this time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Hz,
    Bw,
    Delay,
}

impl Hz {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        self.options.run(session, What::Hz, "hz")
    }
}

impl Bw {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        self.options.run(session, What::Bw, "bw")
    }
}

impl Delay {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        self.options.run(session, What::Delay, "delay")
    }
}

/// What all lines have.
#[derive(Serialize)]
struct Line<'a, T> {
    topic: &'a str,
    messages: usize,
    new: u64,
    total: u64,
    window_s: f64,
    #[serde(flatten)]
    figures: T,
    lost: u64,
    tool_drops: u64,
}

#[derive(Serialize)]
struct HzFigures {
    hz: Option<f64>,
    #[serde(flatten)]
    interval: Times,
}

#[derive(Serialize)]
struct BwFigures {
    bytes_per_s: Option<f64>,
    hz: Option<f64>,
    mean_bytes: Option<f64>,
    min_bytes: Option<f64>,
    max_bytes: Option<f64>,
    deviation_bytes: Option<f64>,
    p99_bytes: Option<f64>,
}

#[derive(Serialize)]
struct Times {
    mean_ms: Option<f64>,
    min_ms: Option<f64>,
    max_ms: Option<f64>,
    deviation_ms: Option<f64>,
    p99_ms: Option<f64>,
}

impl<'a> Line<'a, ()> {
    /// The same with figures.
    fn with<T>(self, figures: T) -> Line<'a, T> {
        let Self { topic, messages, new, total, window_s, figures: (), lost, tool_drops } = self;
        Line { topic, messages, new, total, window_s, figures, lost, tool_drops }
    }
}

/// How often a line is printed.
const EVERY: Duration = Duration::from_secs(1);
const EVERY_NS: i64 = 1_000_000_000;

/// What arrived since it was taken last. The receiving thread only appends.
type Arrived = Arc<Mutex<Vec<Sample>>>;

struct Measurement<'a> {
    lines: Lines<'a>,
    node: Node,
    subscription: Subscription<Length>,
    arrived: Arrived,
    /// Whether times are send times, as in a capture.
    is_by_send_time: bool,
    /// Datagrams that the system had dropped before.
    drops_before: u64,
    warned: u64,
}

impl Options {
    fn run(&self, session: &Session, what: What, verb: &str) -> anyhow::Result<Exit> {
        let config = session.config()?;
        silence::check_capture(&self.topic, &config)?;
        if what == What::Delay && is_replay(&config) {
            return match capture(&config) {
                Some(path) => self.capture_delay(session, path, &config),
                None => Err(Exit::Usage.because("the delay of a capture needs a file")),
            };
        }
        let node = session.open(verb, config)?;
        let is_replay = is_replay(node.config());
        let arrived = Arrived::default();
        let sink = arrived.clone();
        let callback = move |message: Message<Length>| {
            let (send_ns, receive_ns) = (ns(message.send_time), ns(message.receive_time));
            let time_ns = if is_replay { send_ns } else { receive_ns };
            let delay_ns = receive_ns.saturating_sub(send_ns);
            let sample = Sample { time_ns, delay_ns, len: message.payload };
            sink.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
        };
        // A queue would add to the delays, and drop messages.
        let inline = node.config().subscriber.clone().inline(true);
        let subscription = node.subscribe_with::<Length>(&self.topic, inline, callback)?;
        let mut measurement = Measurement {
            lines: Lines::new(what, &self.topic, self.window),
            drops_before: node.status().receive_drops.buffer_full,
            node,
            subscription,
            arrived,
            is_by_send_time: is_replay,
            warned: 0,
        };
        let mut silence = Silence::new();
        let mut idle = Duration::ZERO;
        let end = loop {
            // A replay's end is noticed soon.
            let (end, is_over) = measurement.wait(session, is_replay);
            let new = measurement.take();
            measurement.warn_if_slow();
            idle = if new > 0 { Duration::ZERO } else { idle + EVERY };
            if measurement.lines.samples.count == 0 {
                silence.wait(
                    &self.topic,
                    measurement.subscription.publisher_count(),
                    measurement.node.config(),
                );
            } else {
                measurement.print(session)?;
            }
            if end.is_some()
                || is_over
                || session.common.count.is_some_and(|count| measurement.lines.printed_lines >= count)
            {
                break end;
            }
            if self.timeout.is_some_and(|timeout| idle >= timeout) {
                break Some(End::Deadline);
            }
            measurement.check_failed()?;
        };
        if measurement.lines.samples.count == 0 {
            if measurement.tool_drops() > 0 {
                return Err(Exit::Lost.because("no message came whole, because this tool was too slow"));
            }
            if end == Some(End::Stopped) {
                return Ok(Exit::Interrupted);
            }
            let publishers = measurement.subscription.publisher_count();
            return Err(silence::nothing(&self.topic, publishers, measurement.node.config()));
        }
        let lost = measurement.subscription.stats().lost;
        if lost > 0 {
            log::warn!("lost {} on the way", counted(lost, "message"));
        }
        if measurement.lines.samples.left_out > 0 {
            log::warn!("there were too many messages for the window, so that it was shorter");
        }
        Ok(if lost > 0 || measurement.tool_drops() > 0 { Exit::Lost } else { Exit::Fine })
    }

    /// Prints the delays of a capture file, as fast as it can be read.
    fn capture_delay(&self, session: &Session, path: &Path, config: &Config) -> anyhow::Result<Exit> {
        let mut lines = Lines::new(What::Delay, &self.topic, self.window);
        // The latest message of each publisher, and the time of the next line.
        let (mut clocks, mut next_ns) = (HashMap::new(), None);
        let (mut lost, mut has_times, mut result) = (0, true, Ok(()));
        captured_messages(path, config, &mut |message| {
            let is_over = session.common.count.is_some_and(|count| lines.printed_lines >= count);
            if message.topic != self.topic.as_bytes() || result.is_err() || is_over {
                return;
            }
            let Some(captured) = message.captured else {
                has_times = false;
                return;
            };
            let (send_ns, time_ns) = (ns(message.send_time), ns(captured));
            let line_ns = *next_ns.get_or_insert(time_ns.saturating_add(EVERY_NS));
            if line_ns <= time_ns {
                lines.samples.expire(line_ns);
                result = lines.print(session, lost, 0);
                // Of a long silence, there is one line.
                let next = line_ns.saturating_add(EVERY_NS);
                next_ns = Some(if next > time_ns { next } else { time_ns.saturating_add(EVERY_NS) });
            }
            if let Some(latest) = clocks.insert(message.publisher_id, message.clock) {
                let missing = message.clock.saturating_sub(latest).saturating_sub(1);
                lost = u64::saturating_add(lost, u64::try_from(missing).unwrap_or(0));
            }
            let delay_ns = time_ns.saturating_sub(send_ns);
            lines.samples.extend([Sample { time_ns, delay_ns, len: message.payload.len() }]);
        })?;
        result?;
        if lines.samples.count == 0 {
            return Err(Exit::NotFound.because(match has_times {
                true => format!("no message came on topic `{}`; the capture is over", clean(&self.topic)),
                false => format!("{} does not say when its frames were captured", path.display()),
            }));
        }
        if lines.samples.count > lines.printed {
            lines.samples.expire(lines.samples.latest_ns().unwrap_or(0));
            lines.print(session, lost, 0)?;
        }
        if lost > 0 {
            log::warn!("{} not in the capture", counted(lost, "message"));
        }
        Ok(if lost > 0 { Exit::Lost } else { Exit::Fine })
    }
}

impl Measurement<'_> {
    /// Waits until it is time for a line. Returns why to end, and whether nothing will come any more.
    fn wait(&self, session: &Session, is_replay: bool) -> (Option<End>, bool) {
        const LOOKS: u32 = 20;
        for _ in 0..LOOKS {
            let end = session.wait(EVERY / LOOKS);
            let is_over = is_replay && self.subscription.is_finished();
            if end.is_some() || is_over {
                return (end, is_over);
            }
        }
        (None, false)
    }

    /// Takes what arrived. Returns how many messages that were.
    fn take(&mut self) -> u64 {
        let arrived = std::mem::take(&mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner));
        let new = arrived.len() as u64;
        let samples = &mut self.lines.samples;
        samples.extend(arrived);
        let now_ns = if self.is_by_send_time { samples.latest_ns() } else { Some(ns(SystemTime::now())) };
        samples.expire(now_ns.unwrap_or(0));
        new
    }

    fn tool_drops(&self) -> u64 {
        self.node.status().receive_drops.buffer_full.saturating_sub(self.drops_before)
    }

    /// Says that figures are wrong because of this tool, whenever it got worse.
    fn warn_if_slow(&mut self) {
        let tool_drops = self.tool_drops();
        if tool_drops > self.warned {
            log::warn!(
                "this tool was too slow: the system dropped {tool_drops} datagrams so far, so that figures are wrong"
            );
            self.warned = tool_drops;
        }
    }

    fn check_failed(&self) -> anyhow::Result<()> {
        if self.node.status().has_failed {
            anyhow::bail!(ferrocal::RecvError::NodeFailed);
        }
        Ok(())
    }

    fn print(&mut self, session: &Session) -> std::io::Result<()> {
        let (lost, tool_drops) = (self.subscription.stats().lost, self.tool_drops());
        self.lines.print(session, lost, tool_drops)
    }
}

/// What is printed.
struct Lines<'a> {
    what: What,
    topic: &'a str,
    samples: Samples,
    /// Samples at the last line.
    printed: u64,
    printed_lines: u64,
}

impl<'a> Lines<'a> {
    fn new(what: What, topic: &'a str, window: Duration) -> Self {
        Self { what, topic, samples: Samples::new(window), printed: 0, printed_lines: 0 }
    }

    fn print(&mut self, session: &Session, lost: u64, tool_drops: u64) -> std::io::Result<()> {
        let figures = self.samples.figures();
        let out = &mut session.out();
        if session.common.json {
            self.json(&figures, lost, tool_drops, out)?;
        } else {
            self.text(&figures, out)?;
        }
        self.printed = self.samples.count;
        self.printed_lines += 1;
        out.flush()
    }

    fn json(&self, figures: &Figures, lost: u64, tool_drops: u64, out: &mut Output) -> std::io::Result<()> {
        let line = Line {
            topic: self.topic,
            messages: figures.messages,
            new: self.samples.count - self.printed,
            total: self.samples.count,
            window_s: figures.span.as_secs_f64(),
            figures: (),
            lost,
            tool_drops,
        };
        match self.what {
            What::Hz => {
                let interval = Times::new(figures.intervals_ms);
                out.json(&line.with(HzFigures { hz: figures.hz, interval }))
            }
            What::Delay => out.json(&line.with(Times::new(figures.delays_ms))),
            What::Bw => {
                let of = |get: fn(Summary) -> f64| figures.lens.map(get);
                let figures_of = BwFigures {
                    bytes_per_s: figures.bytes_per_second,
                    hz: figures.hz,
                    mean_bytes: of(|lens| lens.mean),
                    min_bytes: of(|lens| lens.min),
                    max_bytes: of(|lens| lens.max),
                    deviation_bytes: of(|lens| lens.deviation),
                    p99_bytes: of(|lens| lens.p99),
                };
                out.json(&line.with(figures_of))
            }
        }
    }

    fn text(&self, figures: &Figures, out: &mut Output) -> std::io::Result<()> {
        // Again after a screen, so that they can be seen.
        const HEADS_EVERY: u64 = 20;
        let (unit, first) = match self.what {
            What::Hz => ("ms", Some(("Hz", figures.hz.map(|hz| format!("{hz:.2}"))))),
            What::Bw => ("bytes", Some(("per second", figures.bytes_per_second.map(bytes)))),
            What::Delay => ("ms", None),
        };
        let summary = match self.what {
            What::Hz => figures.intervals_ms,
            What::Bw => figures.lens,
            What::Delay => figures.delays_ms,
        };
        if self.printed_lines.is_multiple_of(HEADS_EVERY) {
            let first = first.as_ref().map_or_else(String::new, |(name, _)| format!("{name:>12} "));
            let heads =
                ["mean", "min", "max", "dev", "p99"].map(|name| format!("{:>11}", format!("{name} {unit}")));
            out.line(format_args!("{HEAD}{first}{}{:>10}{:>8}{HEAD:#}", heads.join(""), "messages", "new"))?;
        }
        let first =
            first.map_or_else(String::new, |(_, value)| format!("{:>12} ", value.unwrap_or("-".into())));
        let values = match summary {
            None => ["-"; 5].map(|dash| format!("{dash:>11}")),
            Some(Summary { mean, min, max, deviation, p99 }) => {
                [mean, min, max, deviation, p99].map(|value| match self.what {
                    What::Bw => format!("{value:>11.0}"),
                    _ => format!("{value:>11.3}"),
                })
            }
        };
        let new = self.samples.count - self.printed;
        let (messages, values) = (figures.messages, values.join(""));
        match new {
            0 => out.line(format_args!("{DIM}{first}{values}{messages:>10}{new:>8}{DIM:#}")),
            _ => out.line(format_args!("{first}{values}{messages:>10}{new:>8}")),
        }
    }
}

impl Times {
    fn new(summary: Option<Summary>) -> Self {
        Self {
            mean_ms: summary.map(|summary| summary.mean),
            min_ms: summary.map(|summary| summary.min),
            max_ms: summary.map(|summary| summary.max),
            deviation_ms: summary.map(|summary| summary.deviation),
            p99_ms: summary.map(|summary| summary.p99),
        }
    }
}

/// Nanoseconds since 1970.
fn ns(time: SystemTime) -> i64 {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// Bytes, in a unit that leaves few digits.
fn bytes(bytes: f64) -> String {
    match bytes {
        _ if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
        _ if bytes >= 1e6 => format!("{:.2} MB", bytes / 1e6),
        _ if bytes >= 1e3 => format!("{:.2} kB", bytes / 1e3),
        _ => format!("{bytes:.0} B"),
    }
}
