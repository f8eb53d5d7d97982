//! Publishes text or a test pattern on a topic.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

mod common;
use common::{Common, Ramp, Stop, Tally};
use ferrocal::{Node, Payload, PublishError, Publisher};

/// Publishes on a topic, until --count is reached, Ctrl-C is pressed or, on Unix, SIGTERM comes.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// End after this many messages [default: never].
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Length of each message in bytes; several, parted by commas, take turns [default: as the text is long; 64 for the ramp].
    #[arg(long, value_name = "BYTES", value_delimiter = ',')]
    size: Vec<u32>,
    /// Messages a second; 0 is as fast as it goes.
    #[arg(long, value_name = "HZ", default_value_t = 10.0, value_parser = rate)]
    rate: f64,
    /// What to send.
    #[arg(long, value_enum, default_value_t = Pattern::Text)]
    payload: Pattern,
    /// Wait this long at the most for a subscriber, and give up if there is none [default: do not wait].
    #[arg(long, value_name = "SECONDS", value_parser = common::seconds)]
    wait_for_subscriber: Option<Duration>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Pattern {
    /// "hello world" and a number, cut or filled up with dots to --size.
    Text,
    /// Byte k of message n (from 0) is (k*31 + n) & 0xff.
    Ramp,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => common::fail(&*error),
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let Options { common, payload, .. } = options;
    let stop = Stop::on_signals()?;
    let node = common.open("pub", common.config()?)?;
    let sizes: Vec<_> = options.size.iter().map(|&size| size as usize).collect();
    let size = |n: u64| (!sizes.is_empty()).then(|| sizes[n as usize % sizes.len()]);
    // Text is published as such, so that eCAL's tools show it; the ramp has no type.
    match payload {
        Pattern::Text => {
            publish(options, &stop, &node, node.publisher::<str>(&common.topic)?, |publisher, n| {
                let text = text(n, size(n));
                publisher.send(&text).map(|()| text.len())
            })
        }
        Pattern::Ramp => {
            let ramp = Ramp::new(sizes.iter().copied().max().unwrap_or(64));
            publish(options, &stop, &node, node.publisher::<[u8]>(&common.topic)?, |publisher, n| {
                let len = size(n).unwrap_or(64);
                publisher.send(ramp.message(n as u8, len)).map(|()| len)
            })
        }
    }
}

/// Reads messages a second from the command line; one in twelve days is the slowest that makes sense.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate == 0.0 || (1e-6..=f64::MAX).contains(&rate) => Ok(rate),
        _ => Err("not a number of messages a second".to_owned()),
    }
}

fn text(n: u64, size: Option<usize>) -> String {
    let mut text = format!("hello world {n}");
    if let Some(size) = size {
        text.truncate(size);
        text += &".".repeat(size - text.len());
    }
    text
}

/// Waits until a subscriber is matched, the time is over or the program is to end. Returns whether one is matched.
fn wait_for_subscriber<T: Payload + ?Sized>(
    publisher: &Publisher<T>,
    timeout: Duration,
    stop: &Stop,
) -> bool {
    let start = Instant::now();
    loop {
        let left = timeout.saturating_sub(start.elapsed());
        if publisher.wait_for_subscriber(left.min(Stop::INTERVAL)) {
            return true;
        }
        if left.is_zero() || stop.is_requested() {
            return false;
        }
    }
}

/// Sleeps until `due`, or until the program is to end.
fn sleep_until(due: Instant, stop: &Stop) {
    while !stop.is_requested() {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        thread::sleep(left.min(Stop::INTERVAL));
    }
}

/// Sends messages with `send`, which is given their numbers from 0 and tells their lengths.
fn publish<T: Payload + ?Sized>(
    options: &Options,
    stop: &Stop,
    node: &Node,
    publisher: Publisher<T>,
    send: impl Fn(&Publisher<T>, u64) -> Result<usize, PublishError>,
) -> Result<(), Box<dyn Error>> {
    let Options { common, count, rate, wait_for_subscriber: wait, .. } = options;
    let mut tally = Tally::default();
    let mut outcome = Ok(());
    let mut peers = 0;
    if wait.is_some_and(|timeout| !wait_for_subscriber(&publisher, timeout, stop)) {
        if !stop.is_requested() {
            outcome = Err(format!("topic {}: no subscriber came in time", common.topic).into());
        }
    } else {
        let start = Instant::now();
        for n in 0..count.unwrap_or(u64::MAX) {
            if *rate > 0.0 {
                sleep_until(start + Duration::from_secs_f64(n as f64 / rate), stop);
            }
            if stop.is_requested() {
                break;
            }
            match send(&publisher, n) {
                Ok(len) => {
                    tally.count(len);
                    peers = publisher.subscriber_count().max(peers);
                    if !common.json {
                        writeln!(
                            io::stdout(),
                            "sent message {}: {len} bytes, subscribers: {}",
                            n + 1,
                            publisher.subscriber_count()
                        )?;
                    }
                }
                Err(error) => {
                    outcome = Err(error.into());
                    break;
                }
            }
        }
    }
    tally.print(
        common,
        node,
        "sent",
        [("corrupt", 0), ("dropped", publisher.stats().not_sent), ("peers", peers as u64)],
    )?;
    outcome
}
