//! From the threads that receive to the one that writes.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ferrocal::{Bytes, DataType, EntityId, Message, Monitor, Payload, PublisherIdentity, RegisteredType};

use super::{Channel, Compression, Limits, Part, Parts, Queue, Stamps, nanos};

/// A payload as it is, with the type that its publisher registered.
pub(crate) struct Raw;

impl Payload for Raw {
    type Value = [u8];
    type Received = (Bytes, Option<DataType>);
    type EncodeError = Infallible;
    type DecodeError = Infallible;

    fn data_type() -> DataType {
        DataType::default()
    }

    fn encode<'a>(bytes: &'a [u8], _: &'a mut Vec<u8>) -> Result<&'a [u8], Infallible> {
        Ok(bytes)
    }

    fn decode(payload: Bytes) -> Result<Self::Received, Infallible> {
        Ok((payload, None))
    }

    fn decode_as(payload: Bytes, registered: Option<&RegisteredType>) -> Result<Self::Received, Infallible> {
        Ok((payload, registered.map(|registered| registered.data_type().clone())))
    }
}

/// A topic that is recorded, and what came of it.
#[derive(Debug)]
pub(crate) struct RecordedTopic {
    name: Arc<str>,
    publishers: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    refused: AtomicU64,
}

impl RecordedTopic {
    pub(crate) fn new(name: &str) -> Self {
        let zero = AtomicU64::default;
        Self { name: name.into(), publishers: zero(), messages: zero(), bytes: zero(), refused: zero() }
    }

    /// Messages for which there was no room in the queue.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The publishers, messages and bytes of payload that were written.
    pub(crate) fn recorded(&self) -> (u64, u64, u64) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (get(&self.publishers), get(&self.messages), get(&self.bytes))
    }
}

/// A message that waits.
struct Item {
    topic: Arc<RecordedTopic>,
    publisher: Arc<PublisherIdentity>,
    /// `None` if the publisher did not register yet.
    data_type: Option<DataType>,
    stamps: Stamps,
    payload: Bytes,
    received: Instant,
}

impl Item {
    /// What it takes in memory, in bytes, about.
    fn held_len(&self) -> usize {
        self.payload.len() + size_of::<Self>() + 128
    }
}

/// What was received and waits for the disk.
pub(crate) struct Intake {
    queue: Queue<Item>,
    max_bytes: usize,
    losses: Mutex<Losses>,
    is_written: Mutex<bool>,
    written: Condvar,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Losses {
    /// Messages that never arrived, by topic.
    lost: BTreeMap<String, u64>,
    /// Messages for which there was no room, by topic.
    refused: BTreeMap<String, u64>,
}

impl Intake {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            queue: Queue::new(max_bytes),
            max_bytes,
            losses: Mutex::default(),
            is_written: Mutex::new(false),
            written: Condvar::new(),
        }
    }

    /// Takes a message, unless there is no room.
    pub(crate) fn take(&self, topic: &Arc<RecordedTopic>, message: Message<Raw>) {
        let (payload, data_type) = message.payload;
        let stamps = Stamps {
            log_ns: nanos(message.receive_time),
            publish_ns: nanos(message.send_time),
            clock: message.clock,
        };
        let (topic, publisher, received) = (topic.clone(), message.publisher, Instant::now());
        let item = Item { topic: topic.clone(), publisher, data_type, stamps, payload, received };
        let len = item.held_len();
        if !self.queue.push(item, len) {
            topic.refused.fetch_add(1, Ordering::Relaxed);
            *lock(&self.losses).refused.entry(topic.name.to_string()).or_default() += 1;
        }
    }

    /// Sets how many messages never arrived.
    pub(crate) fn set_lost(&self, lost: Vec<(String, u64)>) {
        lock(&self.losses).lost = lost.into_iter().collect();
    }

    /// Takes no messages any more.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    /// Waits until all that was taken is written, or cannot be.
    pub(crate) fn wait_until_written(&self) {
        let guard = lock(&self.is_written);
        drop(self.written.wait_while(guard, |is_written| !*is_written));
    }

    fn set_written(&self) {
        self.close();
        *lock(&self.is_written) = true;
        self.written.notify_all();
    }
}

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
    pub(crate) monitor: Monitor,
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
        let parts = Parts::create(&self.base, self.compression, self.limits, self.about.clone())?;
        let progress = Arc::<Mutex<Progress>>::default();
        let mut writing = Writing {
            sink: self,
            intake,
            parts,
            known: BTreeMap::new(),
            unknown: VecDeque::new(),
            buffered: VecDeque::new(),
            progress: progress.clone(),
            losses: Losses::default(),
            is_dirty: false,
            next_flush: Instant::now(),
        };
        let write = move || {
            let result = writing.run();
            let intake = writing.intake.clone();
            let result = writing.finish(result);
            intake.set_written();
            result
        };
        let thread = thread::Builder::new().name("record".into()).spawn(write)?;
        Ok(WriterThread { thread, progress })
    }
}

/// A publisher that is written.
struct Known {
    topic: Arc<RecordedTopic>,
    identity: Arc<PublisherIdentity>,
    data_type: Option<DataType>,
    channel: usize,
}

/// The thread that writes.
struct Writing {
    sink: Sink,
    intake: Arc<Intake>,
    parts: Parts,
    known: BTreeMap<EntityId, Vec<Known>>,
    /// Messages of publishers that did not register yet.
    unknown: VecDeque<Item>,
    /// What waits for a trigger.
    buffered: VecDeque<Item>,
    progress: Arc<Mutex<Progress>>,
    /// As they were written last.
    losses: Losses,
    is_dirty: bool,
    next_flush: Instant,
}

/// How long messages wait for their publisher's registration, which comes once a second.
const PATIENCE: Duration = Duration::from_secs(3);

impl Writing {
    fn run(&mut self) -> anyhow::Result<()> {
        self.next_flush = Instant::now() + self.sink.flush_interval;
        loop {
            let now = Instant::now();
            let until_flush = self.next_flush.saturating_duration_since(now);
            let is_waiting = self.sink.pre_buffer.is_some() || !self.unknown.is_empty();
            let timeout = if is_waiting { until_flush.min(Duration::from_millis(50)) } else { until_flush };
            let items = self.intake.queue.take(timeout);
            let is_over = items.is_none();
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
            if Instant::now() >= self.next_flush {
                self.flush()?;
                self.next_flush = Instant::now() + self.sink.flush_interval;
            }
        }
    }

    /// Completes the files, as far as that goes.
    fn finish(mut self, result: anyhow::Result<()>) -> anyhow::Result<()> {
        let result = result.and_then(|()| self.write_losses());
        let (path, messages) = (self.parts.path().display().to_string(), lock(&self.progress).messages);
        let deleted = self.parts.deleted();
        let finished = self.parts.finish();
        let mut progress = lock(&self.progress);
        progress.deleted = deleted;
        let result = match (result, finished) {
            (Ok(()), Ok(parts)) => {
                progress.file_bytes = parts.iter().map(|part| part.bytes).sum();
                progress.parts = parts;
                Ok(())
            }
            (Err(error), _) | (Ok(()), Err(error)) => {
                Err(error.context(format!("the recording ended; what was written to {path} can be read")))
            }
        };
        log::debug!("{messages} messages were recorded");
        result
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

    fn write(&mut self, mut item: Item) -> anyhow::Result<bool> {
        if item.data_type.is_none() {
            item.data_type = self.registered(&item).map(|channel| channel.data_type);
        }
        if item.data_type.is_none() {
            self.unknown.push_back(item);
            return Ok(true);
        }
        self.write_known(item)
    }

    /// Writes the messages whose publishers have registered meanwhile, and those that have waited for long.
    fn release_unknown(&mut self, is_over: bool) -> anyhow::Result<bool> {
        for mut item in std::mem::take(&mut self.unknown) {
            item.data_type = self.registered(&item).map(|channel| channel.data_type);
            if item.data_type.is_some() || is_over || item.received.elapsed() > PATIENCE {
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
        let channel = self.channel(&item);
        let has_room = self.parts.message(channel, item.stamps, &item.payload)?;
        self.intake.queue.release(item.held_len());
        let mut progress = lock(&self.progress);
        if !has_room {
            progress.quota_reached = true;
            return Ok(false);
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

    /// The number of a message's publisher with this type.
    fn channel(&mut self, item: &Item) -> usize {
        let is_same = |known: &Known| {
            Arc::ptr_eq(&known.topic, &item.topic)
                && (Arc::ptr_eq(&known.identity, &item.publisher)
                    || known.identity.host_name == item.publisher.host_name)
                && is_same_type(known.data_type.as_ref(), item.data_type.as_ref())
        };
        let of_id = self.known.get(&item.publisher.id);
        if let Some(known) = of_id.and_then(|all| all.iter().find(|known| is_same(known))) {
            return known.channel;
        }
        let mut channel = self.registered(item).unwrap_or_else(|| Channel {
            host: item.publisher.host_name.clone(),
            process_id: item.publisher.process_id,
            ..Channel::default()
        });
        channel.topic = item.topic.name.to_string();
        channel.topic_id = Some(item.publisher.id.get());
        if let Some(data_type) = &item.data_type {
            channel.data_type = data_type.clone();
        }
        let channel = self.parts.channel(channel);
        let of_id = self.known.entry(item.publisher.id).or_default();
        let is_new = !of_id.iter().any(|known| {
            Arc::ptr_eq(&known.topic, &item.topic) && known.identity.host_name == item.publisher.host_name
        });
        item.topic.publishers.fetch_add(is_new.into(), Ordering::Relaxed);
        of_id.push(Known {
            topic: item.topic.clone(),
            identity: item.publisher.clone(),
            data_type: item.data_type.clone(),
            channel,
        });
        channel
    }

    /// What the publisher of a message registered.
    fn registered(&self, item: &Item) -> Option<Channel> {
        let PublisherIdentity { id, host_name, .. } = &*item.publisher;
        let publishers = self.sink.monitor.snapshot().publishers;
        let info = publishers.iter().map(|seen| &seen.info).find(|info| {
            info.topic_id == *id
                && *info.topic_name == *item.topic.name.as_bytes()
                && info.host_name.to_str_lossy() == **host_name
        })?;
        let text = |text: &ferrocal::Text| text.to_str_lossy().into_owned();
        Some(Channel {
            topic: text(&info.topic_name),
            data_type: info.data_type.clone(),
            host: text(&info.host_name),
            process: text(&info.process_name),
            process_id: Some(info.process_id),
            unit: text(&info.unit_name),
            topic_id: Some(id.get()),
        })
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.write_losses()?;
        if std::mem::take(&mut self.is_dirty) {
            self.parts.flush()?;
        }
        Ok(())
    }

    /// Writes how many messages were lost so far, if there are more than last time.
    fn write_losses(&mut self) -> anyhow::Result<()> {
        let losses = lock(&self.intake.losses).clone();
        if losses == self.losses {
            return Ok(());
        }
        let total = |counts: &BTreeMap<String, u64>| counts.values().sum::<u64>().to_string();
        let mut entries = BTreeMap::from([
            ("lost".to_owned(), total(&losses.lost)),
            ("queue_full".to_owned(), total(&losses.refused)),
        ]);
        for (what, counts) in [("lost", &losses.lost), ("queue_full", &losses.refused)] {
            entries
                .extend(counts.iter().map(|(topic, count)| (format!("{what}: {topic}"), count.to_string())));
        }
        self.losses = losses;
        self.is_dirty = true;
        self.parts.losses(entries)
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
