//! `record`: messages to MCAP.

mod topics;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ferrocal::{Config, Node, Selection, Subscription};
use serde_json::json;

use crate::args::{period, seconds};
use crate::exit::Exit;
use crate::output::{clean, counted, tell};
use crate::recording::{
    Compression, Disk, Intake, KeyCode, Keys, Limits, Progress, Sink, StatusLine, TopicArgs, clock,
    for_file_name, human, size,
};
use crate::session::{End, Session};
use crate::table::{Align, Table};

use topics::{MAX_TOPICS, Row, Topics};

/// Record messages to an MCAP file.
///
/// Records all topics, or those that are named or match; also of publishers that come later. Each publisher is a channel, with
/// the descriptor that it registered as the schema, so that Foxglove and other readers of MCAP show its messages. log_time is
/// the receive time, publish_time the send time. Records until Ctrl-C, --duration or --count (messages).
///
/// What was flushed can be read, whatever happens to the program then. Messages that the disk is too slow for are dropped when
/// --queue-size waits, counted, and the counts are written into the file, as those of messages that never arrived.
///
/// With --pre-buffer, what was received in that time is written when a trigger comes, and all that follows: the key t, the signal
/// SIGUSR1 (not on Windows), or the first message of --trigger-topic.
///
/// Keys of --json, in one object at the end: kind (record), files (each with path, bytes, messages, gone (deleted or moved while
/// it was written)), messages, bytes (of payload), seconds (from start to end), topics (each with topic, publishers, messages,
/// bytes, lost, queue_full), lost (never arrived), queue_full (dropped), left_out (of publishers beyond the 65534 that a file has
/// room for), topics_left_out (beyond the 8192 that are recorded at one time, besides those that are named), deleted_files (by
/// --disk-quota, or moved away before), triggered.
///
/// Ends with 3 if messages were lost or the file is gone, and with 4 if there were no messages.
#[derive(clap::Args)]
pub(crate) struct Record {
    /// The topics; all if none is named and no pattern is given.
    topics: Vec<String>,
    #[command(flatten)]
    patterns: TopicArgs,
    /// The file. With parts, their numbers follow the name, behind those of parts that are there [default: recording_TIME.mcap].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Begin another file when one has this size, such as 500M or 2G.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    split_size: Option<u64>,
    /// Begin another file after this time.
    #[arg(long, value_name = "SECONDS", value_parser = period)]
    split_duration: Option<Duration>,
    /// How much all files of the recording take, without those of earlier ones. With parts, the oldest is deleted for a new one;
    /// otherwise the recording ends.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    disk_quota: Option<u64>,
    /// How often to write what was received to the file. A program that is killed loses as much.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "1")]
    flush_interval: Duration,
    /// How much waits for the disk.
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "256M")]
    queue_size: u64,
    /// Keep this time in memory until a trigger comes.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pre_buffer: Option<Duration>,
    /// The first message of this topic is the trigger of --pre-buffer. It is received even if it is not recorded.
    #[arg(long, value_name = "TOPIC", requires = "pre_buffer")]
    trigger_topic: Option<String>,
    /// A text for the file's metadata.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// How the file is compressed.
    #[arg(long, value_enum, default_value_t)]
    compression: Compression,
}

impl Record {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        // First: the signal would end the program. Without --pre-buffer, it changes nothing.
        let is_triggered = Arc::new(AtomicBool::new(self.pre_buffer.is_none()));
        #[cfg(unix)]
        signal_hook::flag::register(signal_hook::consts::SIGUSR1, is_triggered.clone())
            .map_err(|error| anyhow::anyhow!("the signal SIGUSR1 cannot be watched: {error}"))?;
        let config = session.config()?;
        self.check(&config)?;
        let base =
            self.output.clone().unwrap_or_else(|| format!("recording_{}.mcap", for_file_name()).into());
        let limits =
            Limits { split_size: self.split_size, split_time: self.split_duration, quota: self.disk_quota };
        let node = session.open("record", config)?;
        let max_registered = node.config().limits.max_registry_bytes;
        let max_bytes = usize::try_from(self.queue_size).unwrap_or(usize::MAX);
        let intake = Arc::new(Intake::new(max_bytes, max_registered));
        let about = self.about(&node);
        let sink = Sink {
            base: base.clone(),
            compression: self.compression,
            limits,
            about,
            flush_interval: self.flush_interval,
            pre_buffer: self.pre_buffer,
            is_triggered: is_triggered.clone(),
            max_messages: session.common.count,
        };
        let writer = sink.start(intake.clone())?;
        let patterns = self.patterns.patterns(&self.topics);
        let mut topics = Topics::new(&node, patterns, intake.clone());
        let trigger = self.trigger(&node, &is_triggered)?;
        tell!("recording to {}", clean(&base.to_string_lossy()));
        let started = Instant::now();
        let mut keys = if self.pre_buffer.is_some() { Keys::start() } else { Keys::none() };
        let mut line = StatusLine::new();
        let mut rate = Rate::default();
        let disk = Disk::of(&base);
        let end = loop {
            topics.look();
            intake.set_lost(topics.lost());
            line.show(|| {
                let state =
                    if is_triggered.load(Ordering::Relaxed) { "rec" } else { "waiting for a trigger (t)" };
                rate.text(state, started.elapsed(), writer.progress(), &topics, &disk)
            });
            if writer.is_finished() {
                break None;
            }
            if let Some(end) = session.end() {
                break Some(end);
            }
            let pause = session.slice(Duration::from_millis(50));
            if keys.are_read() {
                if keys.wait(pause) == Some(KeyCode::Char('t')) {
                    is_triggered.store(true, Ordering::Relaxed);
                    line.refresh();
                }
            } else {
                session.wait(pause);
            }
        };
        drop((line, keys, trigger));
        let seconds = started.elapsed().as_secs_f64();
        // Nothing comes in any more, and all that came in is written.
        intake.set_lost(topics.lost());
        let topics_left_out = topics.left_out;
        let rows = topics.close();
        intake.close();
        let (progress, result) = writer.finish();
        let was_triggered = is_triggered.load(Ordering::Relaxed);
        self.print(session, &progress, &rows, seconds, was_triggered, topics_left_out)?;
        result?;
        let (lost, full) = (sum(&rows, |row| row.lost), sum(&rows, |row| row.queue_full));
        if progress.quota_reached {
            log::warn!("the recording ended because --disk-quota was reached");
        }
        if progress.messages == 0 {
            return match end {
                Some(End::Stopped) => Ok(Exit::Interrupted),
                _ if !was_triggered => Err(Exit::NotFound.because("no trigger came; nothing was recorded")),
                _ => Err(Exit::NotFound.because("no message came; nothing was recorded")),
            };
        }
        let is_gone = progress.parts.iter().any(|part| part.gone);
        let is_lost = is_gone || lost + full + progress.left_out + topics_left_out > 0;
        Ok(if is_lost { Exit::Lost } else { Exit::Fine })
    }

    fn check(&self, config: &Config) -> anyhow::Result<()> {
        if let Selection::File(path) | Selection::FileFast(path) = &config.transport {
            let hint = "a capture file is not recorded but converted";
            let shown = path.display();
            return Err(Exit::Usage.because(format!("{hint}: ferrocal convert {shown} NAME.mcap")));
        }
        if self.output.as_ref().is_some_and(|output| output.as_os_str() == "-") {
            return Err(Exit::Usage.because("a recording is a file that is completed at its end; name one"));
        }
        if let (Some(quota), Some(split)) = (self.disk_quota, self.split_size)
            && quota < split.saturating_mul(2)
        {
            return Err(Exit::Usage.because("--disk-quota must be at least twice --split-size"));
        }
        Ok(())
    }

    fn about(&self, node: &Node) -> std::collections::BTreeMap<String, String> {
        let status = node.status();
        let entries = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("mode", format!("{:?}", node.config().mode).to_lowercase()),
            ("backend", status.backend.to_string()),
            ("topics", self.topics.join(",")),
            ("description", self.description.clone().unwrap_or_default()),
        ];
        let is_told = |(_, value): &(&str, String)| !value.is_empty();
        entries.into_iter().filter(is_told).map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Has a message be the trigger, while what it returns lives.
    fn trigger(
        &self,
        node: &Node,
        is_triggered: &Arc<AtomicBool>,
    ) -> anyhow::Result<Option<Subscription<[u8]>>> {
        let Some(topic) = &self.trigger_topic else { return Ok(None) };
        let is_triggered = is_triggered.clone();
        Ok(Some(node.subscribe::<[u8]>(topic, move |_| is_triggered.store(true, Ordering::Relaxed))?))
    }

    fn print(
        &self,
        session: &Session,
        progress: &Progress,
        rows: &[Row],
        seconds: f64,
        was_triggered: bool,
        topics_left_out: u64,
    ) -> anyhow::Result<()> {
        let out = &mut session.out();
        if session.common.json {
            let topics: Vec<_> = rows.iter().map(Row::json).collect();
            out.json(&json!({
                "kind": "record",
                "files": progress.parts,
                "messages": progress.messages,
                "bytes": progress.payload_bytes,
                "seconds": seconds,
                "topics": topics,
                "lost": sum(rows, |row| row.lost),
                "queue_full": sum(rows, |row| row.queue_full),
                "left_out": progress.left_out,
                "topics_left_out": topics_left_out,
                "deleted_files": progress.deleted,
                "triggered": was_triggered,
            }))?;
            return Ok(out.flush()?);
        }
        for part in &progress.parts {
            let path = part.path.to_string_lossy();
            out.line(format_args!(
                "{}: {}, {}{}",
                clean(&path),
                counted(part.messages, "message"),
                human(part.bytes),
                if part.gone { ", gone" } else { "" }
            ))?;
        }
        if progress.deleted > 0 {
            out.line(format_args!("older files that were deleted for --disk-quota: {}", progress.deleted))?;
        }
        if progress.messages > 0 {
            let numbers = ["PUBLISHERS", "MESSAGES", "BYTES", "LOST", "QUEUE FULL"];
            let heads = numbers.into_iter().map(|head| (head, Align::Right));
            let mut table = Table::new([("TOPIC", Align::Left)].into_iter().chain(heads));
            for row in rows {
                let numbers = [row.publishers, row.messages, row.bytes, row.lost, row.queue_full];
                let numbers = numbers.into_iter().map(|number| number.to_string());
                table.row([row.topic.clone()].into_iter().chain(numbers).map(Into::into));
            }
            table.print(out)?;
        }
        if progress.left_out > 0 {
            let count = counted(progress.left_out, "message");
            out.line(format_args!("left out, of publishers that the file has no room for: {count}"))?;
        }
        if topics_left_out > 0 {
            let count = counted(topics_left_out, "topic");
            out.line(format_args!("left out, beyond {MAX_TOPICS} at one time: {count}"))?;
        }
        Ok(out.flush()?)
    }
}

fn sum(rows: &[Row], number: impl Fn(&Row) -> u64) -> u64 {
    rows.iter().map(number).sum()
}

/// What the live line shows of the time since it was shown last.
#[derive(Default)]
struct Rate {
    last: Option<(Instant, u64, u64)>,
}

impl Rate {
    fn text(
        &mut self,
        state: &str,
        elapsed: Duration,
        progress: Progress,
        topics: &Topics<'_>,
        disk: &Disk,
    ) -> String {
        let now = Instant::now();
        let (since, messages, bytes) =
            self.last.replace((now, progress.messages, progress.payload_bytes)).unwrap_or((now, 0, 0));
        let seconds = (now - since).as_secs_f64().max(1e-3);
        let per_second = (progress.messages - messages) as f64 / seconds;
        let bytes_per_second = (progress.payload_bytes - bytes) as f64 / seconds;
        let lost: u64 = topics.lost().values().sum();
        let free = disk.free().map(|free| format!(" | free {}", human(free))).unwrap_or_default();
        format!(
            "{state} {} | {per_second:.0} msg/s | {}/s | {} | {} | lost {lost}, queue full {}{free}",
            clock(elapsed),
            human(bytes_per_second as u64),
            human(progress.file_bytes),
            counted(topics.len() as u64, "topic"),
            topics.queue_full(),
        )
    }
}
