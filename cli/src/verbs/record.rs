//! `record`: messages to MCAP.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ferrocal::{
    Change, ChangeKind, Config, Feed, Monitor, Node, Registered, Selection, Subscription, TopicInfo,
};
use serde_json::json;

use crate::args::{period, seconds};
use crate::exit::Exit;
use crate::output::{clean, counted};
use crate::recording::{
    Compression, Disk, Intake, KeyCode, Keys, Limits, Patterns, Progress, Raw, RecordedTopic, Sink,
    StatusLine, TopicArgs, clock, for_file_name, human, size,
};
use crate::session::{End, Session};
use crate::table::{Align, Table};

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
/// Keys of --json, in one object at the end: kind (record), files (each with path, bytes, messages), messages, bytes (of payload),
/// seconds (from start to end), topics (each with topic, publishers, messages, bytes, lost, queue_full), lost (never arrived),
/// queue_full (dropped), deleted_files (by --disk-quota), triggered.
///
/// Ends with 3 if messages were lost, and with 4 if there were none.
#[derive(clap::Args)]
pub(crate) struct Record {
    /// The topics; all if none is named and no pattern is given.
    topics: Vec<String>,
    #[command(flatten)]
    patterns: TopicArgs,
    /// The file. With parts, their numbers follow the name [default: recording_TIME.mcap].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Begin another file when one has this size, such as 500M or 2G.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    split_size: Option<u64>,
    /// Begin another file after this time.
    #[arg(long, value_name = "SECONDS", value_parser = period)]
    split_duration: Option<Duration>,
    /// How much all files of the recording take. With parts, the oldest is deleted for a new one; otherwise the recording ends.
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

/// How often all topics are looked at again, in case news of some were dropped.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(2);

/// Subscribes what is recorded.
struct Topics<'a> {
    node: &'a Node,
    patterns: Patterns,
    intake: Arc<Intake>,
    monitor: Monitor,
    changes: Feed<Change>,
    looked: Instant,
    /// By topic. `None` of one that cannot be subscribed.
    subscriptions: HashMap<String, Option<Subscribed>>,
}

type Subscribed = (Subscription<Raw>, Arc<RecordedTopic>);

impl Record {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let config = session.config()?;
        self.check(&config)?;
        let base =
            self.output.clone().unwrap_or_else(|| format!("recording_{}.mcap", for_file_name()).into());
        let limits =
            Limits { split_size: self.split_size, split_time: self.split_duration, quota: self.disk_quota };
        let node = session.open("record", config)?;
        let is_triggered = Arc::new(AtomicBool::new(self.pre_buffer.is_none()));
        let intake = Arc::new(Intake::new(usize::try_from(self.queue_size).unwrap_or(usize::MAX)));
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
        eprintln!("recording to {}", clean(&base.to_string_lossy()));
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
        let rows = topics.close();
        intake.close();
        let (progress, result) = writer.finish();
        let was_triggered = is_triggered.load(Ordering::Relaxed);
        self.print(session, &progress, &rows, seconds, was_triggered)?;
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
        Ok(if lost + full > 0 { Exit::Lost } else { Exit::Fine })
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

    /// Has a message or a signal be the trigger, while what it returns lives.
    fn trigger(
        &self,
        node: &Node,
        is_triggered: &Arc<AtomicBool>,
    ) -> anyhow::Result<Option<Subscription<[u8]>>> {
        #[cfg(unix)]
        if self.pre_buffer.is_some() {
            signal_hook::flag::register(signal_hook::consts::SIGUSR1, is_triggered.clone())?;
        }
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
                "deleted_files": progress.deleted,
                "triggered": was_triggered,
            }))?;
            return Ok(out.flush()?);
        }
        for part in &progress.parts {
            let path = part.path.to_string_lossy();
            out.line(format_args!(
                "{}: {}, {}",
                clean(&path),
                counted(part.messages, "message"),
                human(part.bytes)
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
        Ok(out.flush()?)
    }
}

/// A topic at the end.
struct Row {
    topic: String,
    publishers: u64,
    messages: u64,
    bytes: u64,
    lost: u64,
    queue_full: u64,
}

impl Row {
    fn json(&self) -> serde_json::Value {
        let Self { topic, publishers, messages, bytes, lost, queue_full } = self;
        json!({
            "topic": topic,
            "publishers": publishers,
            "messages": messages,
            "bytes": bytes,
            "lost": lost,
            "queue_full": queue_full,
        })
    }
}

fn sum(rows: &[Row], number: impl Fn(&Row) -> u64) -> u64 {
    rows.iter().map(number).sum()
}

impl<'a> Topics<'a> {
    fn new(node: &'a Node, patterns: Patterns, intake: Arc<Intake>) -> Self {
        let monitor = node.monitor();
        let changes = monitor.changes();
        let names = patterns.names.clone();
        let looked = Instant::now();
        let mut topics =
            Self { node, patterns, intake, monitor, changes, looked, subscriptions: HashMap::new() };
        // Before anybody publishes them, so that not even a first message is missed.
        names.iter().for_each(|name| topics.subscribe(name));
        topics
    }

    /// Subscribes what came since the last time.
    fn look(&mut self) {
        while let Some(Change { kind, what, .. }) = self.changes.try_recv() {
            if let (ChangeKind::Appeared | ChangeKind::Changed, Registered::Publisher(info)) = (kind, what) {
                self.take(&info);
            }
        }
        if self.looked.elapsed() >= LOOK_AGAIN_EVERY {
            self.looked = Instant::now();
            for seen in self.monitor.snapshot().publishers {
                self.take(&seen.info);
            }
        }
    }

    fn take(&mut self, info: &Arc<TopicInfo>) {
        match str::from_utf8(&info.topic_name) {
            Ok(name) if self.patterns.matches(name) => {
                self.intake.register(info);
                self.subscribe(name);
            }
            Ok(_) => {}
            Err(_) => {
                let name = info.topic_name.to_str_lossy().into_owned();
                if self.subscriptions.insert(name, None).is_none() {
                    log::warn!("topic {}: its name is not UTF-8; it is not recorded", info.topic_name);
                }
            }
        }
    }

    fn subscribe(&mut self, name: &str) {
        if self.subscriptions.contains_key(name) {
            return;
        }
        let topic = Arc::new(RecordedTopic::new(name));
        let (intake, recorded) = (self.intake.clone(), topic.clone());
        // On the thread that receives: there is one queue of messages, that to the disk. A recording is of all that comes,
        // whatever subscribers drop.
        let config = self.node.config().subscriber.clone().inline(true).drop_out_of_order(false);
        let subscribed =
            self.node.subscribe_with::<Raw>(name, config, move |message| intake.take(&recorded, message));
        let subscribed = subscribed.inspect_err(|error| log::warn!("{error}; it is not recorded"));
        self.subscriptions.insert(name.to_owned(), subscribed.ok().map(|one| (one, topic)));
    }

    /// How many messages never arrived, by topic.
    fn lost(&self) -> Vec<(String, u64)> {
        let lost = |(name, one): (&String, &Option<Subscribed>)| {
            let (subscription, _) = one.as_ref()?;
            Some((name.clone(), subscription.stats().lost))
        };
        self.subscriptions.iter().filter_map(lost).filter(|(_, lost)| *lost > 0).collect()
    }

    fn queue_full(&self) -> u64 {
        self.subscriptions.values().flatten().map(|(_, topic)| topic.refused()).sum()
    }

    /// Ends all subscriptions. Returns what came of them.
    fn close(self) -> Vec<Row> {
        let row = |(topic, one): (String, Option<Subscribed>)| {
            let (subscription, counts) = one?;
            subscription.close();
            let lost = subscription.stats().lost;
            let (publishers, messages, bytes) = counts.recorded();
            let queue_full = counts.refused();
            Some((counts, Row { topic, publishers, messages, bytes, lost, queue_full }))
        };
        let mut rows: Vec<_> = self.subscriptions.into_iter().filter_map(row).collect();
        self.intake.close();
        // The counts are final only now.
        self.intake.wait_until_written();
        for (counts, row) in &mut rows {
            (row.publishers, row.messages, row.bytes) = counts.recorded();
        }
        let mut rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
        rows.retain(|row| row.messages + row.lost + row.queue_full > 0);
        rows.sort_by(|a, b| a.topic.cmp(&b.topic));
        rows
    }
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
        let lost: u64 = topics.lost().iter().map(|(_, lost)| lost).sum();
        let free = disk.free().map(|free| format!(" | free {}", human(free))).unwrap_or_default();
        format!(
            "{state} {} | {per_second:.0} msg/s | {}/s | {} | {} | lost {lost}, queue full {}{free}",
            clock(elapsed),
            human(bytes_per_second as u64),
            human(progress.file_bytes),
            counted(topics.subscriptions.len() as u64, "topic"),
            topics.queue_full(),
        )
    }
}
