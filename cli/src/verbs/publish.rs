//! `pub`: publish on a topic.

mod input;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use ferrocal::{DataType, DynamicType, Node, Payload, Publisher, protobuf_data_type};
use serde::Serialize;

use crate::args::{hertz, seconds};
use crate::exit::Exit;
use crate::network::{Network, types_named, types_of_topic, types_that_define};
use crate::output::{clean, counted, tell};
use crate::session::{End, Session};

/// Publish on a topic: text, JSON, protobuf made of JSON, a file, or the lines of standard input.
///
/// Without --encoding, DATA is text, or protobuf's JSON if there is a --type or --descriptor. A protobuf type is taken from
/// --descriptor, or from the network: that of the name --type, else that of the topic.
///
/// Publishes once a second until Ctrl-C, --count or --duration; at --rate; or --once. The lines of standard input are published
/// as they come, or at --rate.
///
/// Keys of --json, one object at the end: topic, type, encoding, published, sent (to a subscriber at least), not_sent (the
/// network refused them), subscribers, seconds.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["data", "file", "stdin"]))]
#[command(override_usage = "ferrocal pub [OPTIONS] <TOPIC> <DATA|--file <FILE>|--stdin>")]
pub(crate) struct Pub {
    /// The topic's name.
    topic: String,
    /// What to publish: text, or JSON.
    data: Option<String>,
    /// Publish what is in this file, as it is, or as --encoding says.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Publish each line of standard input: a text, or JSON.
    #[arg(long)]
    stdin: bool,
    /// What to make of it.
    #[arg(long, value_enum)]
    encoding: Option<Encoding>,
    /// The type of the messages; of protobuf, the message's name with its package. With --encoding raw, or --file, it may be
    /// any name: it is registered alone if no protobuf type of that name is known.
    #[arg(short = 't', long = "type", value_name = "NAME")]
    type_name: Option<String>,
    /// A protobuf descriptor set that defines the type: of `protoc --descriptor_set_out --include_imports`, or of `desc -o`.
    #[arg(long, value_name = "FILE", requires = "type_name")]
    descriptor: Option<PathBuf>,
    /// Publish so often in a second.
    #[arg(short, long, value_name = "HZ", value_parser = hertz)]
    rate: Option<f64>,
    /// Wait for a subscriber, publish once, and stay until it has the message.
    #[arg(short = '1', long, conflicts_with_all = ["count", "rate", "stdin"])]
    once: bool,
    /// Wait for so many subscribers before the first message.
    #[arg(short, long, value_name = "N")]
    wait: Option<usize>,
    /// How long to wait for subscribers, or for a type on the network.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "10")]
    timeout: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Encoding {
    /// Text, as it is.
    Text,
    /// JSON, as it is.
    Json,
    /// JSON that is made to a protobuf message.
    Proto,
    /// Bytes, as they are.
    Raw,
}

/// What was published, as `pub --json` prints it.
#[derive(Serialize)]
struct Summary<'a> {
    topic: &'a str,
    #[serde(rename = "type")]
    type_name: &'a str,
    encoding: &'a str,
    published: u64,
    sent: u64,
    not_sent: u64,
    subscribers: usize,
    seconds: f64,
}

/// What makes payloads of what is given.
enum Encoder {
    AsItIs,
    Text,
    Json,
    Protobuf(DynamicType),
}

/// What to publish.
enum Source {
    /// Always the same.
    Fixed(Vec<u8>),
    Lines(Receiver<std::io::Result<Vec<u8>>>),
}

/// What came of waiting for the next message.
enum Next {
    Payload(Vec<u8>),
    Nothing,
    End(Option<End>),
}

/// How long a publisher stays after the last message, if nobody asks it to end: subscribers that are told that it is gone
/// may drop what they have not looked at.
const LINGER: Duration = Duration::from_millis(500);
/// How long to wait without a word.
const SOON: Duration = Duration::from_secs(2);

impl Pub {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let config = session.config()?;
        // Before anything is sent: what cannot be read must not look like a publisher.
        let max = config.limits.reassembly.max_message_len;
        let given = match (&self.data, &self.file) {
            (Some(data), _) => Some(data.clone().into_bytes()),
            (_, Some(path)) => match input::file(session, path, max)? {
                Ok(bytes) => Some(bytes),
                Err(end) => return Ok(end),
            },
            _ => None,
        };
        let node = session.open("pub", config)?;
        let (data_type, encoder) = match self.encoder(session, &node)? {
            Ok(found) => found,
            Err(end) => return Ok(end),
        };
        let source = match given {
            Some(given) => Source::Fixed(encoder.encode(&given)?),
            None => Source::Lines(input::lines()?),
        };
        let settings = node.config().publisher.clone().data_type(data_type.clone());
        let publisher = node.publisher_with::<[u8]>(&self.topic, settings)?;
        let wanted = self.wait.unwrap_or(usize::from(self.once));
        match wait(session, &publisher, wanted, self.timeout) {
            Ok(()) => {}
            Err(Some(End::Stopped)) => return Ok(Exit::Interrupted),
            Err(_) => {
                let (count, topic) = (publisher.subscriber_count(), clean(&self.topic));
                return Err(Exit::NotFound.because(format!(
                    "topic `{topic}` has {}, not {wanted}, {}",
                    counted(count as u64, "subscriber"),
                    crate::network::place(node.config())
                )));
            }
        }
        let started = Instant::now();
        let mut failed = 0_u64;
        let count = if self.once { Some(1) } else { session.common.count };
        let mut number = 0_u64;
        let end = loop {
            if count.is_some_and(|count| number >= count) {
                break None;
            }
            let payload = match self.next(session, &source, started, number) {
                Next::Payload(payload) => payload,
                Next::Nothing => continue,
                Next::End(end) => break end,
            };
            let encoded = match &source {
                Source::Fixed(_) => Ok(payload),
                Source::Lines(_) => encoder.encode(&payload),
            };
            match encoded {
                Ok(payload) => publisher.send(&payload)?,
                // The others are good.
                Err(error) => {
                    failed += 1;
                    log::warn!("line {} is skipped: {error:#}", number + 1);
                }
            }
            number += 1;
        };
        let seconds = started.elapsed().as_secs_f64();
        if end.is_none() && publisher.stats().sent > 0 {
            session.wait(LINGER);
        }
        let stats = publisher.stats();
        let summary = Summary {
            topic: &self.topic,
            type_name: &data_type.name,
            encoding: &data_type.encoding,
            published: stats.published,
            sent: stats.sent,
            not_sent: stats.not_sent,
            subscribers: publisher.subscriber_count(),
            seconds,
        };
        if session.common.json {
            session.out().json(&summary)?;
        } else {
            let Summary { published, sent, subscribers, .. } = summary;
            tell!(
                "published {} in {seconds:.1} s, {sent} of them to a subscriber; subscribers now: {subscribers}",
                counted(published, "message"),
            );
        }
        Ok(match end {
            _ if failed > 0 => Exit::Failed,
            Some(End::Stopped) if stats.published == 0 => Exit::Interrupted,
            _ if stats.not_sent > 0 => Exit::Lost,
            _ => Exit::Fine,
        })
    }

    /// What to publish next, when it is time for it.
    fn next(&self, session: &Session, source: &Source, started: Instant, number: u64) -> Next {
        // Deadlines are absolute, so that a late message delays none of those behind it.
        let rate = match source {
            Source::Fixed(_) => self.rate.or(Some(1.0)),
            Source::Lines(_) => self.rate,
        };
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(number as f64 / rate);
            if let Some(end) = sleep(session, due.saturating_sub(started.elapsed())) {
                return Next::End(Some(end));
            }
        } else if let Some(end) = session.end() {
            return Next::End(Some(end));
        }
        match source {
            Source::Fixed(payload) => Next::Payload(payload.clone()),
            Source::Lines(lines) => match lines.recv_timeout(session.slice(Duration::MAX)) {
                Ok(Ok(line)) => Next::Payload(line),
                Ok(Err(error)) => {
                    log::warn!("standard input cannot be read: {error}");
                    Next::End(None)
                }
                Err(RecvTimeoutError::Timeout) => Next::Nothing,
                Err(RecvTimeoutError::Disconnected) => Next::End(None),
            },
        }
    }

    /// The type to register, and what makes payloads. The error is how to end.
    fn encoder(&self, session: &Session, node: &Node) -> anyhow::Result<Result<(DataType, Encoder), Exit>> {
        let encoding = self.encoding.unwrap_or(match (&self.type_name, &self.file) {
            (Some(_), None) => Encoding::Proto,
            (_, None) if self.descriptor.is_some() => Encoding::Proto,
            (_, None) => Encoding::Text,
            (_, Some(_)) => Encoding::Raw,
        });
        let named = |data_type: DataType| match &self.type_name {
            Some(name) => DataType { name: name.clone(), ..data_type },
            None => data_type,
        };
        Ok(Ok(match encoding {
            Encoding::Text => (named(<str as Payload>::data_type()), Encoder::Text),
            Encoding::Json => {
                (named(DataType { encoding: "json".into(), ..DataType::default() }), Encoder::Json)
            }
            Encoding::Raw if self.type_name.is_none() => (DataType::default(), Encoder::AsItIs),
            Encoding::Raw => match self.protobuf(session, node, |network| network.after(2.0))? {
                Ok(Some(data_type)) => (data_type, Encoder::AsItIs),
                Ok(None) => (named(DataType::default()), Encoder::AsItIs),
                Err(exit) => return Ok(Err(exit)),
            },
            Encoding::Proto => match self.protobuf(session, node, |_| self.timeout)? {
                Ok(None) => return Err(self.no_type(node)),
                Ok(Some(data_type)) => {
                    let dynamic = DynamicType::new(&data_type)
                        .with_context(|| format!("type `{}` cannot be used", clean(&data_type.name)))?;
                    (data_type, Encoder::Protobuf(dynamic))
                }
                Err(exit) => return Ok(Err(exit)),
            },
        }))
    }

    /// The protobuf type: of the descriptor file, or of the network, if it is found there in time. The error is how to end.
    fn protobuf(
        &self,
        session: &Session,
        node: &Node,
        time: impl Fn(&Network<'_>) -> Duration,
    ) -> anyhow::Result<Result<Option<DataType>, Exit>> {
        if let (Some(path), Some(name)) = (&self.descriptor, &self.type_name) {
            let bytes = match input::file(session, path, node.config().limits.reassembly.max_message_len)? {
                Ok(bytes) => bytes,
                Err(end) => return Ok(Err(end)),
            };
            let data_type = protobuf_data_type(name, &bytes)
                .with_context(|| format!("{} does not define `{}`", path.display(), clean(name)))?;
            return Ok(Ok(Some(data_type)));
        }
        let network = Network::of(session, node.clone());
        let types = |snapshot: &ferrocal::Snapshot| {
            let mut types = match &self.type_name {
                Some(name) => types_named(snapshot, name),
                None => types_of_topic(snapshot, &self.topic),
            };
            types.retain(|data_type| data_type.encoding == "proto" && !data_type.descriptor.is_empty());
            types
        };
        // What registers at all has been heard of by then: a type that others only contain will do.
        let (time, soon) = (time(&network), network.after(2.0));
        let (snapshot, mut end) = network.until(time.min(soon), |snapshot| !types(snapshot).is_empty());
        let contained = |snapshot: &ferrocal::Snapshot| match &self.type_name {
            Some(name) => types_that_define(snapshot, name),
            None => Vec::new(),
        };
        let any = |snapshot: &ferrocal::Snapshot| [types(snapshot), contained(snapshot)].concat();
        let mut found = any(&snapshot);
        if found.is_empty() && end.is_none() && time > soon {
            let what = self.type_name.as_deref().unwrap_or("of the topic");
            waits(&format!("a program that has the type {}", clean(what)), time);
            let (snapshot, later) = network.until(time, |snapshot| !any(snapshot).is_empty());
            (found, end) = (any(&snapshot), later);
        }
        Ok(match found.into_iter().next() {
            None if end == Some(End::Stopped) => Err(Exit::Interrupted),
            found => Ok(found),
        })
    }

    /// The error that there is no type to make protobuf of.
    fn no_type(&self, node: &Node) -> anyhow::Error {
        let what = match &self.type_name {
            Some(name) => format!("no protobuf type `{}`", clean(name)),
            None => format!("no protobuf type of topic `{}`", clean(&self.topic)),
        };
        let place = crate::network::place(node.config());
        Exit::NotFound.because(format!("{what} was found {place}; --descriptor FILE defines one"))
    }
}

impl Encoder {
    fn encode(&self, given: &[u8]) -> anyhow::Result<Vec<u8>> {
        let text = || str::from_utf8(given).context("it is not text");
        match self {
            Self::AsItIs => {}
            Self::Text => {
                text()?;
            }
            Self::Json => {
                serde_json::from_str::<serde::de::IgnoredAny>(text()?).context("it is not JSON")?;
            }
            Self::Protobuf(dynamic) => {
                return dynamic
                    .from_json(text()?)
                    .with_context(|| format!("it is not JSON of type `{}`", dynamic.name()));
            }
        }
        Ok(given.to_vec())
    }
}

/// Waits for subscribers. The error is why they were not waited for any longer.
fn wait(
    session: &Session,
    publisher: &Publisher<[u8]>,
    count: usize,
    timeout: Duration,
) -> Result<(), Option<End>> {
    let started = Instant::now();
    let mut is_said = false;
    loop {
        if !is_said && started.elapsed() >= SOON {
            is_said = true;
            waits(
                &format!("{} of topic {}", counted(count as u64, "subscriber"), clean(publisher.topic())),
                timeout,
            );
        }
        let left = timeout.saturating_sub(started.elapsed());
        if publisher.wait_for_subscribers(count, session.slice(left.min(SOON))) {
            return Ok(());
        }
        if left.is_zero() || session.end().is_some() {
            return Err(session.end());
        }
    }
}

/// Says what is waited for.
fn waits(what: &str, timeout: Duration) {
    tell!("waiting for {what}, {} s at most (--timeout)", timeout.as_secs_f64());
}

/// Waits more exactly than a condition variable does.
fn sleep(session: &Session, time: Duration) -> Option<End> {
    /// What the system needs to wake a thread.
    const SLACK: Duration = Duration::from_micros(100);
    let deadline = Instant::now() + time;
    let end = session.wait(time.saturating_sub(SLACK));
    if end.is_none() {
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_must_be_what_it_is_said_to_be() {
        assert_eq!(Encoder::Json.encode(b" {\"a\": 1}").unwrap(), b" {\"a\": 1}");
        assert!(Encoder::Json.encode(b"{").is_err());
        assert!(Encoder::Text.encode(b"\xff").is_err());
        assert_eq!(Encoder::AsItIs.encode(b"\xff").unwrap(), b"\xff");
    }
}
