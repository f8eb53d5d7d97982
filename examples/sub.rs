//! Receives what is published on a topic.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};
use ferrocal::{
    Config, Mode, Node, RecvError, RecvTimeoutError, Selection, Subscriber, captured_topics,
    captured_topics_quietly,
};

mod common;
use common::{Common, Ramp, Stop, Tally};

/// Receives a topic's messages, until --count or --duration is reached, Ctrl-C is pressed or, on Unix, SIGTERM comes.
///
/// Without a topic, lists those of a capture file before it is replayed.
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    common: Common,
    /// End after this many messages [default: never].
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after this time [default: never].
    #[arg(long, value_name = "SECONDS", value_parser = common::seconds)]
    duration: Option<Duration>,
    /// Check each message against a pattern.
    #[arg(long, value_enum)]
    verify: Option<Pattern>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Pattern {
    /// Byte k is k*31 and the first byte, & 0xff.
    Ramp,
}

fn main() -> ExitCode {
    let arguments = Options::command().get_matches();
    let is_topic_named = arguments.value_source("topic") == Some(ValueSource::CommandLine);
    let options = Options::from_arg_matches(&arguments).unwrap_or_else(|error| error.exit());
    match run(&options, is_topic_named) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => common::fail(&*error),
    }
}

/// How long no message may come before `sub` says what it knows. Publishers are found within two seconds.
const SILENCE: Duration = Duration::from_secs(5);

/// Tells whether all that was asked for came, and nothing was corrupt.
fn run(
    Options { common, count, duration, verify }: &Options,
    is_topic_named: bool,
) -> Result<bool, Box<dyn Error>> {
    let stop = Stop::on_signals()?;
    let config = common.config()?;
    if !is_topic_named && !common.json && list_topics(&config, &common.topic)? == Some(false) {
        return Ok(count.is_none());
    }
    let node = common.open("sub", config)?;
    let subscriber = node.subscriber::<[u8]>(&common.topic)?;
    let start = Instant::now();
    let mut tally = Tally::default();
    let mut ramp = (0, Ramp::new(0));
    let mut corrupt = 0;
    let mut peers = 0;
    let mut has_explained = false;
    while count.is_none_or(|count| tally.messages < count) && !stop.is_requested() {
        let left = duration.map(|duration| duration.saturating_sub(start.elapsed()));
        let message = match subscriber.recv_timeout(left.unwrap_or(Duration::MAX).min(Stop::INTERVAL)) {
            Ok(message) => message,
            Err(RecvTimeoutError::Timeout) if left != Some(Duration::ZERO) => {
                if !has_explained && tally.messages == 0 && start.elapsed() >= SILENCE {
                    explain_silence(&node, &subscriber);
                    has_explained = true;
                }
                continue;
            }
            Err(RecvTimeoutError::Ended(RecvError::ReplayOver)) if tally.messages == 0 => {
                explain_end(&node, &common.topic);
                break;
            }
            Err(_) => break,
        };
        tally.count(message.payload.len());
        peers = subscriber.publisher_count().max(peers);
        let intact = match verify {
            Some(Pattern::Ramp) => is_ramp(&mut ramp, &message.payload),
            None => true,
        };
        corrupt += u64::from(!intact);
        if !common.json {
            let preview = preview(&message.payload);
            let corrupt = if intact { "" } else { " CORRUPT" };
            writeln!(
                io::stdout(),
                "received message {}: {} bytes{corrupt}, {preview}",
                message.clock,
                message.payload.len()
            )?;
        }
    }
    let stats = subscriber.stats();
    let also = [("corrupt", corrupt), ("dropped", stats.lost + stats.queue_full), ("peers", peers as u64)];
    tally.print(common, &node, "received", also)?;
    Ok(corrupt == 0 && count.is_none_or(|count| tally.messages == count))
}

/// Lists the topics of the capture file that is to be replayed, and returns whether `wanted` is one of them. `None` without
/// a file that can be read twice.
fn list_topics(config: &Config, wanted: &str) -> Result<Option<bool>, Box<dyn Error>> {
    let (Selection::File(path) | Selection::FileFast(path)) = &config.transport else { return Ok(None) };
    if !path.is_file() {
        return Ok(None);
    }
    let topics = captured_topics(path, config)?;
    let mut out = io::stdout();
    writeln!(out, "topics in {}: {}", path.display(), topics.len())?;
    for topic in &topics {
        let data_type = topic.data_type.as_ref().map(|data_type| data_type.name.as_str());
        let data_type = data_type.filter(|name| !name.is_empty()).unwrap_or("without a type");
        writeln!(out, "  {}: {} messages, {data_type}", topic.name, topic.messages)?;
    }
    let holds_it = topics.iter().any(|topic| topic.name == wanted);
    if !holds_it && !topics.is_empty() {
        writeln!(out, "name one of them to see its messages: sub TOPIC --transport {}", config.transport)?;
    }
    Ok(Some(holds_it))
}

/// Says on standard error why no message may have come.
fn explain_silence(node: &Node, subscriber: &Subscriber<[u8]>) {
    let config = node.config();
    let is_capture = matches!(config.transport, Selection::File(_) | Selection::FileFast(_));
    let found = match (subscriber.publisher_count(), config.mode) {
        (0, _) if is_capture => "no publisher of it was found in the capture so far".to_owned(),
        (0, Mode::Local) => {
            "no publisher of it was found on this computer (--mode network looks further)".to_owned()
        }
        (0, Mode::Network) => "no publisher of it was found on this network".to_owned(),
        (count, _) => format!("publishers found: {count}"),
    };
    eprintln!("no message on topic {} yet; {found}", subscriber.topic());
}

/// Says on standard error that a capture ended without a message, and what is in it instead.
fn explain_end(node: &Node, topic: &str) {
    const MAX_NAMED: usize = 20;
    eprintln!("the capture ended without a message on topic {topic}");
    // What is piped cannot be read again.
    if let Selection::File(path) | Selection::FileFast(path) = &node.config().transport
        && path.is_file()
        && let Ok(topics) = captured_topics_quietly(path, node.config())
    {
        let named = topics.iter().take(MAX_NAMED);
        let named: Vec<_> = named.map(|one| format!("{} ({} messages)", one.name, one.messages)).collect();
        let more = if topics.len() > MAX_NAMED { ", ..." } else { "" };
        eprintln!("topics in it: {}{more}", if named.is_empty() { "none".into() } else { named.join(", ") });
    }
}

/// Whether a message follows the pattern from its first byte on.
fn is_ramp((max_len, ramp): &mut (usize, Ramp), message: &[u8]) -> bool {
    if message.len() > *max_len {
        (*max_len, *ramp) = (message.len(), Ramp::new(message.len()));
    }
    message.first().is_none_or(|&n| message == ramp.message(n, message.len()))
}

/// The start of a message, as text if it is one.
fn preview(payload: &[u8]) -> String {
    const LEN: usize = 48;
    let dots = if payload.len() > LEN { "..." } else { "" };
    let start = &payload[..payload.len().min(LEN)];
    match str::from_utf8(start) {
        Ok(text) if !text.contains(char::is_control) => format!("{text}{dots}"),
        _ => {
            let hex: Vec<_> = start.iter().take(LEN / 3).map(|byte| format!("{byte:02x}")).collect();
            format!("{}...", hex.join(" "))
        }
    }
}
