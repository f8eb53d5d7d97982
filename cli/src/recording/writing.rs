//! The thread that writes what is recorded.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context;
use ferrocal::{DataType, EntityId, PublisherIdentity};

use super::intake::{Intake, Item, Losses, RecordedTopic, count, lock};
use super::{Channel, Compression, Limits, Outcome, Part, Parts};

/// What was written so far.
#[derive(Debug, Default, Clone)]
pub(crate) struct Progress {
    pub(crate) messages: u64,
    pub(crate) payload_bytes: u64,
    pub(crate) file_bytes: u64,
    /// Complete only at the end.
    pub(crate) parts: Vec<Part>,
    /// Files that gave way to others.
    pub(crate) deleted: u64,
    pub(crate) quota_reached: bool,
    /// Messages that are not written because there are too many publishers.
    pub(crate) left_out: u64,
}

/// Where messages are written to, and how.
pub(crate) struct Sink {
    pub(crate) base: PathBuf,
    pub(crate) compression: Compression,
    pub(crate) limits: Limits,
    pub(crate) about: BTreeMap<String, String>,
    pub(crate) flush_interval: Duration,
    pub(crate) pre_buffer: Option<Duration>,
    pub(crate) is_triggered: Arc<AtomicBool>,
    /// Ends after as many.
    pub(crate) max_messages: Option<u64>,
}

/// A thread that writes.
pub(crate) struct WriterThread {
    thread: JoinHandle<anyhow::Result<()>>,
    progress: Arc<Mutex<Progress>>,
}

impl WriterThread {
    pub(crate) fn progress(&self) -> Progress {
        lock(&self.progress).clone()
    }

    /// Whether nothing is written any more: by a failure, or a limit.
    pub(crate) fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for the end. Returns what was written, and whether that was all.
    pub(crate) fn finish(self) -> (Progress, anyhow::Result<()>) {
        let result = self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (lock(&self.progress).clone(), result)
    }
}

impl Sink {
    /// Makes the file, and writes all that comes until the intake is closed.
    pub(crate) fn start(self, intake: Arc<Intake>) -> anyhow::Result<WriterThread> {
        let mut writing = self.writing(intake)?;
        let (progress, path) = (writing.progress.clone(), writing.parts.path().to_owned());
        let write = move || {
            let result = writing.run();
            let intake = writing.intake.clone();
            let result = writing.finish(result);
            intake.set_written();
            result
        };
        let thread = thread::Builder::new().name("record".into()).spawn(write);
        let thread = thread.context("a thread cannot be started").inspect_err(|_| {
            // There is nothing in it.
            let _ = fs::remove_file(path);
        })?;
        Ok(WriterThread { thread, progress })
    }

    fn writing(self, intake: Arc<Intake>) -> anyhow::Result<Writing> {
        let (limits, about) = (self.limits, self.about.clone());
        let parts = Parts::create(&self.base, self.compression, limits, about, intake.max_registered)?;
        Ok(Writing {
            sink: self,
            intake,
            parts,
            known: BTreeMap::new(),
            next_part: 0,
            unknown: VecDeque::new(),
            buffered: VecDeque::new(),
            progress: Arc::default(),
            is_dirty: false,
            next_flush: Instant::now(),
        })
    }
}

/// A publisher that is written.
struct Known {
    topic: Arc<RecordedTopic>,
    identity: Arc<PublisherIdentity>,
    data_type: Option<DataType>,
    channel: usize,
}

impl Known {
    /// Whether a message is of this publisher.
    fn is_of(&self, item: &Item) -> bool {
        Arc::ptr_eq(&self.topic, &item.topic)
            && (Arc::ptr_eq(&self.identity, &item.publisher)
                || self.identity.host_name == item.publisher.host_name)
    }
}

/// The thread that writes.
struct Writing {
    sink: Sink,
    intake: Arc<Intake>,
    parts: Parts,
    known: BTreeMap<EntityId, Vec<Known>>,
    /// The number of the next part when it was looked at last.
    next_part: u32,
    /// Messages of publishers that did not register yet.
    unknown: VecDeque<Item>,
    /// What waits for a trigger.
    buffered: VecDeque<Item>,
    progress: Arc<Mutex<Progress>>,
    is_dirty: bool,
    next_flush: Instant,
}

/// How long messages wait for their publisher's registration, which comes once a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often what is gone is forgotten at least.
const FORGET_EVERY: Duration = Duration::from_secs(1);

impl Writing {
    fn run(&mut self) -> anyhow::Result<()> {
        self.next_flush = Instant::now() + self.sink.flush_interval;
        loop {
            let now = Instant::now();
            let until_flush = self.next_flush.saturating_duration_since(now);
            let is_waiting = self.sink.pre_buffer.is_some() || !self.unknown.is_empty();
            let longest = if is_waiting { Duration::from_millis(50) } else { FORGET_EVERY };
            let timeout = until_flush.min(longest);
            let items = self.intake.queue.take(timeout);
            let is_over = items.is_none();
            // First, so that the messages of a publisher stay in order.
            if !self.release_unknown(is_over)? {
                return Ok(());
            }
            for item in items.into_iter().flatten() {
                if !self.sort(item)? {
                    return Ok(());
                }
            }
            if !self.look_for_trigger()? {
                return Ok(());
            }
            if !self.release_unknown(is_over)? || is_over {
                return Ok(());
            }
            let waiting = self.unknown.iter().take(1).chain(self.buffered.front()).map(|item| item.received);
            self.intake.forget_gone(waiting.fold(now, Instant::min));
            if Instant::now() >= self.next_flush {
                self.flush()?;
                self.next_flush = Instant::now() + self.sink.flush_interval;
            }
        }
    }

    /// Completes the files, as far as that goes.
    fn finish(mut self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        let result = result.and_then(|()| self.write_losses());
        let deleted = self.parts.deleted();
        let (parts, cut, finished) = self.parts.finish();
        let mut progress = lock(&self.progress);
        for known in self.known.values().flatten() {
            if let Some((messages, bytes)) = cut.get(&known.channel) {
                known.topic.messages.fetch_sub(*messages, Ordering::Relaxed);
                known.topic.bytes.fetch_sub(*bytes, Ordering::Relaxed);
            }
        }
        for (messages, bytes) in cut.values() {
            progress.messages -= messages;
            progress.payload_bytes -= bytes;
        }
        progress.deleted = deleted;
        progress.file_bytes = parts.iter().map(|part| part.bytes).sum();
        progress.parts = parts;
        // The first failure is the reason of the others.
        result.and(finished).map_err(|error| error.context(what_is_left(&progress.parts)))
    }

    /// Writes a message, or keeps it until the trigger comes. Returns `false` when a limit is reached.
    fn sort(&mut self, item: Item) -> anyhow::Result<bool> {
        let Some(pre_buffer) = self.sink.pre_buffer else { return self.write(item) };
        self.buffered.push_back(item);
        self.forget(pre_buffer);
        Ok(true)
    }

    /// Forgets what has been here for longer than that, and more if memory is short: new messages are worth more.
    fn forget(&mut self, pre_buffer: Duration) {
        let max_bytes = self.intake.max_bytes / 4 * 3;
        while let Some(oldest) = self.buffered.front()
            && (oldest.received.elapsed() > pre_buffer
                || (self.intake.queue.bytes() > max_bytes && self.buffered.len() > 1))
        {
            self.intake.queue.release(oldest.held_len());
            self.buffered.pop_front();
        }
    }

    /// Writes what was kept if the trigger came.
    fn look_for_trigger(&mut self) -> anyhow::Result<bool> {
        if self.sink.is_triggered.load(Ordering::Relaxed)
            && let Some(pre_buffer) = self.sink.pre_buffer.take()
        {
            self.forget(pre_buffer);
            for item in std::mem::take(&mut self.buffered) {
                if !self.write(item)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn write(&mut self, item: Item) -> anyhow::Result<bool> {
        if self.is_known(&item) {
            self.write_known(item)
        } else {
            self.unknown.push_back(item);
            Ok(true)
        }
    }

    /// Whether a message can be described.
    fn is_known(&self, item: &Item) -> bool {
        self.known_channel(item).is_some() || self.intake.registered(item).is_some()
    }

    /// Writes the messages whose publishers have registered meanwhile, and those that have waited for long.
    fn release_unknown(&mut self, is_over: bool) -> anyhow::Result<bool> {
        for item in std::mem::take(&mut self.unknown) {
            if is_over || item.received.elapsed() > PATIENCE || self.is_known(&item) {
                if !self.write_known(item)? {
                    return Ok(false);
                }
            } else {
                self.unknown.push_back(item);
            }
        }
        Ok(true)
    }

    fn write_known(&mut self, item: Item) -> anyhow::Result<bool> {
        let outcome = match self.channel(&item) {
            Some(channel) => self.parts.message(channel, item.stamps, &item.payload)?,
            None => Outcome::LeftOut,
        };
        self.intake.queue.release(item.held_len());
        self.forget_known();
        let mut progress = lock(&self.progress);
        match outcome {
            Outcome::Written => {}
            Outcome::OverQuota => {
                progress.quota_reached = true;
                return Ok(false);
            }
            Outcome::LeftOut => {
                if progress.left_out == 0 {
                    log::warn!(
                        "there are more publishers than a file has room for; of others nothing is recorded"
                    );
                }
                progress.left_out += 1;
                count(&mut lock(&self.intake.losses).left_out, &item.topic.name);
                return Ok(true);
            }
        }
        self.is_dirty = true;
        let len = item.payload.len() as u64;
        item.topic.messages.fetch_add(1, Ordering::Relaxed);
        item.topic.bytes.fetch_add(len, Ordering::Relaxed);
        progress.messages += 1;
        progress.payload_bytes += len;
        progress.file_bytes = self.parts.len();
        Ok(self.sink.max_messages.is_none_or(|max| progress.messages < max))
    }

    /// Forgets publishers that the parts have forgotten.
    fn forget_known(&mut self) {
        let next = self.parts.next_number();
        if std::mem::replace(&mut self.next_part, next) != next {
            self.known.retain(|_, of_id| {
                of_id.retain(|known| self.parts.has(known.channel));
                !of_id.is_empty()
            });
        }
    }

    /// The number of a message's publisher, if it came before with this type.
    fn known_channel(&self, item: &Item) -> Option<usize> {
        let is_same = |known: &&Known| {
            known.is_of(item) && is_same_type(known.data_type.as_ref(), item.data_type.as_ref())
        };
        self.known.get(&item.publisher.id)?.iter().find(is_same).map(|known| known.channel)
    }

    /// The number of a message's publisher. `None` if there is no room for it.
    fn channel(&mut self, item: &Item) -> Option<usize> {
        if let Some(channel) = self.known_channel(item) {
            return Some(channel);
        }
        let text = |text: &ferrocal::Text| text.to_str_lossy().into_owned();
        let PublisherIdentity { id, host_name, process_id, .. } = &*item.publisher;
        let mut channel = Channel {
            topic: item.topic.name.to_string(),
            host: host_name.clone(),
            process_id: *process_id,
            topic_id: Some(id.get()),
            ..Channel::default()
        };
        if let Some(info) = self.intake.registered(item) {
            channel.process = text(&info.process_name);
            channel.process_id = Some(info.process_id);
            channel.unit = text(&info.unit_name);
            channel.data_type = info.data_type.clone();
        }
        // What the message was received with is more certain: a publisher may have changed its type.
        if let Some(data_type) = &item.data_type {
            channel.data_type = data_type.clone();
        }
        let channel = self.parts.channel(channel)?;
        let mut data_type = item.data_type.clone();
        if let Some(data_type) = &mut data_type {
            // Otherwise each of them would keep one of its own.
            data_type.descriptor = self.parts.descriptor(channel);
        }
        let of_id = self.known.entry(*id).or_default();
        let is_new = !of_id.iter().any(|known| known.is_of(item));
        item.topic.publishers.fetch_add(is_new.into(), Ordering::Relaxed);
        of_id.push(Known { topic: item.topic.clone(), identity: item.publisher.clone(), data_type, channel });
        Some(channel)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.write_losses()?;
        if std::mem::take(&mut self.is_dirty) {
            self.parts.flush()?;
        }
        Ok(())
    }

    /// Writes how many messages were lost so far, if there are more than last time and it is time to.
    fn write_losses(&mut self) -> anyhow::Result<()> {
        let losses = lock(&self.intake.losses).clone();
        if losses != Losses::default() {
            self.is_dirty |= self.parts.losses(losses.entries(), Instant::now())?;
        }
        Ok(())
    }
}

/// What a failure leaves of a recording.
fn what_is_left(parts: &[Part]) -> String {
    match parts {
        [] => "the recording ended, and no message of it was written".to_owned(),
        [.., last] => format!("the recording ended; what was written to {} can be read", last.path.display()),
    }
}

/// Whether two types are the same. That of a publisher is in one place most of the time.
fn is_same_type(one: Option<&DataType>, other: Option<&DataType>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => {
            let (a, b) = (&one.descriptor, &other.descriptor);
            one.name == other.name
                && one.encoding == other.encoding
                && ((a.as_ptr(), a.len()) == (b.as_ptr(), b.len()) || a == b)
        }
        (one, other) => one.is_none() && other.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use ferrocal::transport::memory::Network;
    use ferrocal::{Config, Mode, Monitor, Node, Registered, SubscriberConfig, Subscription};

    use super::*;
    use crate::recording::{Range, Raw, Recording, metadata};

    /// Bounds a hang. No test takes as long unless it fails.
    const HANG: Duration = Duration::from_secs(60);

    struct Stage {
        other: Node,
        monitor: Monitor,
        intake: Arc<Intake>,
        topic: Arc<RecordedTopic>,
        subscription: Subscription<Raw>,
        folder: tempfile::TempDir,
    }

    impl Stage {
        fn new(max_bytes: usize) -> Self {
            let network = Network::new(1);
            let node = |name: &str| {
                let config = Config::default().mode(Mode::Network);
                Node::with_transport(name, config, Arc::new(network.host())).unwrap()
            };
            let (node, other) = (node("recorder"), node("robot"));
            let intake = Arc::new(Intake::new(max_bytes, 1 << 20));
            let topic = Arc::new(RecordedTopic::new("a"));
            let (taking, recorded) = (intake.clone(), topic.clone());
            let config = SubscriberConfig::default().inline(true);
            let take = move |message| taking.take(&recorded, message);
            let subscription = node.subscribe_with::<Raw>("a", config, take).unwrap();
            let (monitor, folder) = (node.monitor(), tempfile::tempdir().unwrap());
            Self { other, monitor, intake, topic, subscription, folder }
        }

        /// Publishes texts of a publisher that is gone then, and waits until they were received.
        fn publish(&self, texts: &[&str]) {
            let changes = self.monitor.changes();
            let publisher = self.other.publisher::<str>("a").unwrap();
            assert!(publisher.wait_for_subscriber(HANG) && self.subscription.wait_for_publisher(HANG));
            texts.iter().for_each(|text| publisher.send(text).unwrap());
            let start = Instant::now();
            while self.intake.queue.len() as u64 + self.topic.refused() < texts.len() as u64 {
                assert!(start.elapsed() < HANG, "{:?}", self.subscription.stats());
                thread::yield_now();
            }
            loop {
                if let Registered::Publisher(info) = changes.recv_timeout(HANG).unwrap().what {
                    break self.intake.register(&info);
                }
            }
        }

        fn sink(&self) -> Sink {
            Sink {
                base: self.folder.path().join("a.mcap"),
                compression: Compression::None,
                limits: Limits::default(),
                about: BTreeMap::new(),
                flush_interval: Duration::from_secs(1),
                pre_buffer: None,
                is_triggered: Arc::default(),
                max_messages: None,
            }
        }

        /// Writes what was taken in, and reads it back.
        fn write(&self, sink: Sink) -> (Progress, Vec<(Channel, String)>) {
            let path = sink.base.clone();
            let writer = sink.start(self.intake.clone()).unwrap();
            self.intake.close();
            self.intake.wait_until_written();
            let (progress, result) = writer.finish();
            result.unwrap();
            let mut messages = Vec::new();
            if path.exists() {
                let each = |channel: &Channel, _: &mcap::records::MessageHeader, payload: &[u8]| {
                    messages.push((channel.clone(), String::from_utf8(payload.to_vec()).unwrap()));
                    Ok(true)
                };
                Recording::open(&path).unwrap().each(&Range::default(), each).unwrap();
            }
            (progress, messages)
        }
    }

    fn texts(messages: &[(Channel, String)]) -> Vec<&str> {
        messages.iter().map(|(_, text)| &**text).collect()
    }

    #[test]
    fn messages_that_have_no_room_are_counted_in_the_file() {
        let stage = Stage::new(100_000);
        let long = "long ".repeat(10_000);
        stage.publish(&["short", &long, &long, &long]);
        assert_eq!(stage.topic.refused(), 2);
        let sink = stage.sink();
        let path = sink.base.clone();
        let (progress, messages) = stage.write(sink);
        assert_eq!((progress.messages, texts(&messages)), (2, vec!["short", &long]));
        let recording = Recording::open(&path).unwrap();
        let losses = recording.metadata(metadata::LOSSES).unwrap();
        assert_eq!((&*losses["queue_full"], &*losses["queue_full: a"], &*losses["lost"]), ("2", "2", "0"));
    }

    #[test]
    fn each_publisher_is_a_channel_with_what_it_registered() {
        let stage = Stage::new(1 << 20);
        stage.publish(&["first"]);
        let (_, messages) = stage.write(stage.sink());
        let (channel, _) = &messages[0];
        assert_eq!(
            (&*channel.topic, &*channel.type_text(), &*channel.unit),
            ("a", "string (utf-8)", "robot")
        );
        assert_eq!(stage.topic.recorded(), (1, 1, 5));
    }

    #[test]
    fn what_a_failure_leaves_is_said() {
        assert!(what_is_left(&[]).ends_with("no message of it was written"));
        let part = Part { path: "a.mcap".into(), bytes: 1, messages: 1, gone: false };
        assert!(what_is_left(&[part]).ends_with("what was written to a.mcap can be read"));
    }

    #[test]
    fn what_a_failure_cuts_off_is_not_counted() {
        let stage = Stage::new(1 << 20);
        stage.publish(&["1", "2"]);
        stage.intake.close();
        let mut writing = stage.sink().writing(stage.intake.clone()).unwrap();
        let progress = writing.progress.clone();
        writing.run().unwrap();
        assert_eq!((lock(&progress).messages, stage.topic.recorded()), (2, (1, 2, 2)));
        writing.parts.fail();
        writing.finish(Ok(())).unwrap_err();
        let progress = lock(&progress);
        assert_eq!((progress.messages, progress.payload_bytes), (0, 0));
        assert_eq!((stage.topic.recorded(), progress.parts.len()), ((1, 0, 0), 0));
    }

    #[test]
    fn messages_of_publishers_without_room_are_counted() {
        let stage = Stage::new(1 << 20);
        stage.publish(&["1", "2"]);
        let sink = stage.sink();
        let mut writing = sink.writing(stage.intake.clone()).unwrap();
        writing.parts.set_max_channels_len(100);
        stage.intake.close();
        writing.run().unwrap();
        let progress = lock(&writing.progress).clone();
        assert_eq!((progress.messages, progress.left_out), (0, 2));
        assert_eq!(lock(&stage.intake.losses).entries()["left_out: a"], "2");
        assert_eq!(stage.intake.queue.bytes(), 0);
    }

    #[test]
    fn a_limit_ends_the_recording() {
        let stage = Stage::new(1 << 20);
        stage.publish(&["1", "2", "3"]);
        let (progress, messages) = stage.write(Sink { max_messages: Some(2), ..stage.sink() });
        assert_eq!((progress.messages, texts(&messages)), (2, vec!["1", "2"]));
        // What comes then is not lost. When the second of two was received, the callback of the first has returned.
        let publisher = stage.other.publisher::<str>("a").unwrap();
        assert!(publisher.wait_for_subscriber(HANG) && stage.subscription.wait_for_publisher(HANG));
        ["4", "5"].into_iter().for_each(|text| publisher.send(text).unwrap());
        let start = Instant::now();
        while stage.subscription.stats().received < 5 {
            assert!(start.elapsed() < HANG, "{:?}", stage.subscription.stats());
            thread::yield_now();
        }
        assert_eq!(stage.topic.refused(), 0);
    }

    #[test]
    fn without_a_trigger_nothing_is_written_and_with_one_what_was_kept() {
        for is_triggered in [false, true] {
            let stage = Stage::new(1 << 20);
            stage.publish(&["1", "2"]);
            let pre_buffer = Some(Duration::from_secs(3600));
            let is_triggered = Arc::new(AtomicBool::new(is_triggered));
            let sink = Sink { pre_buffer, is_triggered: is_triggered.clone(), ..stage.sink() };
            let (progress, messages) = stage.write(sink);
            let expected: &[&str] = if is_triggered.load(Ordering::Relaxed) { &["1", "2"] } else { &[] };
            assert_eq!((texts(&messages), progress.messages), (expected.to_vec(), expected.len() as u64));
        }
    }
}
