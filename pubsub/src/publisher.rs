//! Sends messages on a topic.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use ferrocal_proto::EntityId;

use crate::core::Core;
use crate::feed::Feed;
use crate::layer::{News, Outgoing, TooLong, Writer};
use crate::registry::{Entity, Event, MatchedPeer};
use crate::stats::{add, get};
use crate::wall_clock::us_since_epoch;
use crate::{Payload, PublishError, PublisherConfig, PublisherStats, lock};

/// Sends messages on a topic. Made by [`Node::publisher`](crate::Node::publisher).
///
/// Threads can share it. Dropping it announces to the subscribers that it is gone.
///
/// # What sending waits for
/// [`send`](Self::send) and [`send_batch`](Self::send_batch) run on the calling thread. They wait
/// - for other threads that send on the same publisher,
/// - while the system's send buffer is full,
/// - and, with long messages, until receivers had time to take what was sent before, or as long as
///   [`max_bytes_per_second`](PublisherConfig::max_bytes_per_second) requires.
///
/// They never wait for a subscriber to answer. `send_async` (feature `tokio`) waits for none of this on the calling
/// thread.
pub struct Publisher<T: Payload + ?Sized> {
    line: Arc<Line>,
    payload: PhantomData<fn(&T)>,
}

/// A publisher without its type.
struct Line {
    core: Arc<Core>,
    entity: Arc<Entity>,
    /// Locked while messages are sent, so that they go in the order of their clocks. No code of the program's runs then.
    writers: Mutex<Writers>,
    /// A buffer to encode into. Whoever finds none makes one.
    scratch: Mutex<Option<Scratch>>,
}

/// A writer for each layer, by the layer's index.
struct Writers {
    writers: Vec<(Box<dyn Writer>, IsConnected)>,
    /// The connections that they know, by the entity's version of them.
    version: u64,
}

type IsConnected = bool;

#[derive(Default)]
struct Scratch {
    one: Vec<u8>,
    /// Encoded messages, consecutive, and where each ends.
    many: Vec<u8>,
    ends: Vec<usize>,
}

/// Messages of a batch that are sent together.
const BATCH_LEN: usize = 64;
/// A batch is sent when it has as many bytes, so that a few small messages do not wait for many large ones.
const BATCH_BYTES: usize = 64 * 1024;

impl<T: Payload + ?Sized> Publisher<T> {
    /// Announces it, too.
    pub(crate) fn open(core: Arc<Core>, entity: Arc<Entity>, config: &PublisherConfig) -> Self {
        let writers = core.writers(&entity, config).into_iter().map(|writer| (writer, false)).collect();
        core.registry.add(&entity);
        let writers = Mutex::new(Writers { writers, version: 0 });
        let line = Arc::new(Line { core, entity, writers, scratch: Mutex::new(None) });
        Self { line, payload: PhantomData }
    }

    /// Publishes a message.
    ///
    /// Without a matched subscriber it is neither encoded nor sent: that is no error. Nor is it an error if the network
    /// cannot be reached at present: [`stats`](Self::stats) counts the message as not sent, and the log reports it once.
    ///
    /// # Errors
    /// When the message cannot be encoded, is longer than
    /// [`max_message_len`](crate::Limits::max_message_len) (nothing is sent then), or the system refuses to send it.
    pub fn send(&self, message: &T::Value) -> Result<(), PublishError> {
        self.send_with(message, None)
    }

    /// Publishes a message with a send time of the program's: of the measurement that it holds, say, or that of a
    /// recording. Times before 1970 are sent as 1970. As [`send`](Self::send) otherwise.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_at(&self, message: &T::Value, time: SystemTime) -> Result<(), PublishError> {
        self.send_with(message, Some(time))
    }

    fn send_with(&self, message: &T::Value, time: Option<SystemTime>) -> Result<(), PublishError> {
        let line = &*self.line;
        if line.entity.connected() == 0 {
            line.count_for_nobody();
            return Ok(());
        }
        let mut scratch = line.take_scratch();
        let result = self.encode(message, &mut scratch.one).and_then(|payload| line.write(&[payload], time));
        line.put_scratch(scratch);
        result
    }

    /// Publishes messages in as few system calls as possible, one after the other as [`send`](Self::send) would.
    ///
    /// It pays for short messages, most of all for those of equal lengths. The iterator may take its time: other threads
    /// can send meanwhile, and messages that came from it wait until 64 of them, or 64 kB, are together or it ends.
    ///
    /// # Errors
    /// As [`send`](Self::send). The messages before the one that failed were sent, or some of them if it was the system
    /// that refused. Those after it were not.
    pub fn send_batch<'m>(&self, messages: impl IntoIterator<Item = &'m T::Value>) -> Result<(), PublishError>
    where
        T::Value: 'm,
    {
        let mut scratch = self.line.take_scratch();
        let result = self.write_batches(messages, &mut scratch);
        self.line.put_scratch(scratch);
        result
    }

    fn write_batches<'m>(
        &self,
        messages: impl IntoIterator<Item = &'m T::Value>,
        scratch: &mut Scratch,
    ) -> Result<(), PublishError>
    where
        T::Value: 'm,
    {
        let line = &*self.line;
        for message in messages {
            if line.entity.connected() == 0 {
                // In the order in which they came.
                line.write_all(scratch)?;
                line.count_for_nobody();
                continue;
            }
            let payload = match self.encode(message, &mut scratch.one) {
                Ok(payload) => payload,
                Err(error) => {
                    line.write_all(scratch)?;
                    return Err(error);
                }
            };
            scratch.many.extend_from_slice(payload);
            scratch.ends.push(scratch.many.len());
            if scratch.ends.len() == BATCH_LEN || scratch.many.len() >= BATCH_BYTES {
                line.write_all(scratch)?;
            }
        }
        line.write_all(scratch)
    }

    /// Publishes a message without blocking the calling thread: a thread of the node sends it.
    ///
    /// The message is encoded at once. The future completes when it has been sent, or was refused; if the future is dropped
    /// before, the message is sent all the same. Messages go in the order of the calls.
    ///
    /// # Errors
    /// As [`send`](Self::send), and when the thread cannot be started.
    #[cfg(feature = "tokio")]
    pub fn send_async(
        &self,
        message: &T::Value,
    ) -> impl Future<Output = Result<(), PublishError>> + Send + 'static + use<T> {
        let submitted = self.submit(message);
        async move {
            match submitted? {
                None => Ok(()),
                // The thread runs every job.
                Some(sent) => sent.await.unwrap_or(Ok(())),
            }
        }
    }

    #[cfg(feature = "tokio")]
    fn submit(
        &self,
        message: &T::Value,
    ) -> Result<Option<tokio::sync::oneshot::Receiver<Result<(), PublishError>>>, PublishError> {
        if self.line.entity.connected() == 0 {
            self.line.count_for_nobody();
            return Ok(None);
        }
        let mut scratch = Vec::new();
        let payload = self.encode(message, &mut scratch)?.to_vec();
        let (done, sent) = tokio::sync::oneshot::channel();
        let line = self.line.clone();
        let job = Box::new(move || {
            // Nobody may be waiting any more.
            let _ = done.send(line.write(&[&payload], None));
        });
        self.line
            .core
            .send_later(job)
            .map_err(|source| PublishError::Thread { topic: self.topic().to_owned(), source })?;
        Ok(Some(sent))
    }

    fn encode<'a>(&self, message: &'a T::Value, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], PublishError> {
        scratch.clear();
        T::encode(message, scratch)
            .map_err(|error| PublishError::Encode { topic: self.topic().to_owned(), source: Box::new(error) })
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.line.entity.topic
    }

    /// The publisher's id on the wire.
    pub fn id(&self) -> EntityId {
        self.line.entity.id
    }

    /// What happens to this publisher from now on, after an event for each subscriber that is matched already: matched, gone, another
    /// data type. A program that is slow to take them delays nobody.
    pub fn events(&self) -> Feed<Event> {
        self.line.core.registry.events(&self.line.entity)
    }

    /// The subscribers that are matched.
    pub fn subscribers(&self) -> Vec<MatchedPeer> {
        self.line.core.registry.matched(&self.line.entity)
    }

    /// How many subscribers are matched, on this host and others, this program's own included.
    pub fn subscriber_count(&self) -> usize {
        self.line.entity.connected()
    }

    /// Waits until a subscriber is matched. Returns whether one is.
    pub fn wait_for_subscriber(&self, timeout: Duration) -> bool {
        self.wait_for_subscribers(1, timeout)
    }

    /// Waits until `count` subscribers are matched. Returns whether they are.
    pub fn wait_for_subscribers(&self, count: usize, timeout: Duration) -> bool {
        self.line.entity.wait_for_connections(count, timeout)
    }

    /// Waits until a subscriber is matched, as [`wait_for_subscribers_async`](Self::wait_for_subscribers_async).
    #[cfg(feature = "tokio")]
    pub async fn wait_for_subscriber_async(&self) -> bool {
        self.wait_for_subscribers_async(1).await
    }

    /// Waits until `count` subscribers are matched, without blocking and without a limit in time. Returns `false` only
    /// if they never will be, because a thread of the node has failed.
    #[cfg(feature = "tokio")]
    pub async fn wait_for_subscribers_async(&self, count: usize) -> bool {
        self.line.entity.connections_async(count).await
    }

    /// What the publisher did so far.
    pub fn stats(&self) -> PublisherStats {
        self.line.entity.counters.publisher()
    }
}

impl Line {
    fn take_scratch(&self) -> Scratch {
        lock(&self.scratch).take().unwrap_or_default()
    }

    fn put_scratch(&self, scratch: Scratch) {
        *lock(&self.scratch) = Some(scratch);
    }

    /// Counts a message without a subscriber.
    fn count_for_nobody(&self) {
        let (counters, now_us) = (&self.entity.counters, self.core.wall_clock.now_us());
        counters.ticks.add(now_us, now_us);
        add(&counters.messages, 1);
    }

    /// Sends what a batch has collected.
    fn write_all(&self, scratch: &mut Scratch) -> Result<(), PublishError> {
        if scratch.ends.is_empty() {
            return Ok(());
        }
        let mut payloads = [&[][..]; BATCH_LEN];
        let mut start = 0;
        for (payload, &end) in payloads.iter_mut().zip(&scratch.ends) {
            *payload = &scratch.many[start..end];
            start = end;
        }
        let result = self.write(&payloads[..scratch.ends.len()], None);
        scratch.many.clear();
        scratch.ends.clear();
        result
    }

    /// Sends encoded messages, [`BATCH_LEN`] at most.
    fn write(&self, payloads: &[&[u8]], time: Option<SystemTime>) -> Result<(), PublishError> {
        let now_us = self.core.wall_clock.now_us();
        let time_us = time.map_or(now_us, us_since_epoch);
        let (mut news, mut registers_anew) = (None, false);
        let mut writers = self.ready_writers(payloads);
        let before = get(&self.entity.counters.messages);
        let nothing = Outgoing { clock: 0, time_us, payload: &[] };
        let result = if let [payload] = payloads {
            let message = Outgoing { clock: clock(before, 1), payload, ..nothing };
            self.write_messages(&mut writers, &[message], now_us, &mut news, &mut registers_anew)
        } else {
            let mut messages = [nothing; BATCH_LEN];
            for ((message, payload), number) in messages.iter_mut().zip(payloads).zip(1..) {
                *message = Outgoing { clock: clock(before, number), payload, ..nothing };
            }
            self.write_messages(
                &mut writers,
                &messages[..payloads.len()],
                now_us,
                &mut news,
                &mut registers_anew,
            )
        };
        drop(writers);
        if registers_anew {
            self.core.registry.announce_anew(&self.entity);
        }
        match news {
            None => {}
            Some(News::Unreachable(error)) => {
                let topic = &self.entity.topic;
                log::warn!(
                    "topic `{topic}`: {error}: {}; such messages are counted as not sent",
                    error.source
                );
            }
            Some(News::NoMemory(error)) => {
                let topic = &self.entity.topic;
                log::warn!("topic `{topic}`: shared memory: {error}; such messages are counted as not sent");
            }
            Some(News::ReachableAgain) => {
                log::info!("topic `{}`: messages are sent again", self.entity.topic)
            }
        }
        result
    }

    /// The writers, which know the present subscribers and have open what these messages need. Their lock is left meanwhile for
    /// what the program's logger may hear of.
    fn ready_writers(&self, payloads: &[&[u8]]) -> MutexGuard<'_, Writers> {
        let mut writers = lock(&self.writers);
        let version = self.entity.connections_version();
        if version != writers.version {
            drop(writers);
            // The program may know of a subscriber before the node's thread has come so far.
            self.core.registry.connect(&self.entity);
            writers = lock(&self.writers);
            self.connect(&mut writers.writers);
            writers.version = version;
        }
        let len = payloads.iter().map(|payload| payload.len()).max().unwrap_or(0);
        let mut registers_anew = false;
        for (writer, _) in writers.writers.iter_mut().filter(|(_, is_connected)| *is_connected) {
            registers_anew |= writer.prepare(len, payloads.len());
        }
        if registers_anew {
            drop(writers);
            self.core.registry.announce_anew(&self.entity);
            writers = lock(&self.writers);
        }
        writers
    }

    /// Has the writers know the present subscribers.
    fn connect(&self, writers: &mut [(Box<dyn Writer>, IsConnected)]) {
        for (layer, (writer, is_connected)) in writers.iter_mut().enumerate() {
            let destinations = self.core.registry.destinations(&self.entity, layer);
            *is_connected = !destinations.is_empty();
            writer.connect(&destinations);
        }
    }

    fn write_messages(
        &self,
        writers: &mut Writers,
        messages: &[Outgoing<'_>],
        now_us: i64,
        news: &mut Option<News>,
        registers_anew: &mut bool,
    ) -> Result<(), PublishError> {
        let counters = &self.entity.counters;
        // Those before one that is too long are sent.
        let mut too_long = None;
        let mut fitting = messages.len();
        for (index, message) in messages.iter().enumerate() {
            let mut all = writers.writers.iter_mut().filter(|(_, is_connected)| *is_connected);
            if let Some(error) = all.find_map(|(writer, _)| writer.check(message).err()) {
                (too_long, fitting) = (Some(error), index);
                break;
            }
        }
        let messages = &messages[..fitting];
        if let Some(last) = messages.last() {
            let (mut sent, mut not_sent) = (false, 0);
            let mut result = Ok(());
            let writers = writers.writers.iter_mut().enumerate();
            for (layer, (writer, _)) in writers.filter(|(_, (_, is_connected))| *is_connected) {
                match writer.write(messages) {
                    Ok(written) => {
                        sent = true;
                        self.entity.set_active(layer);
                        not_sent += written.not_sent;
                        *registers_anew |= written.registers_anew;
                        if written.overwritten > 0 {
                            add(&counters.overwritten, written.overwritten);
                        }
                        *news = written.news.or(news.take());
                    }
                    Err(error) => result = Err(error),
                }
            }
            counters.ticks.add(now_us, now_us);
            counters.add(messages.len() as u64, 0, last.payload.len());
            if sent {
                // Once the network cannot take one, it hardly ever takes one behind it.
                let taken = messages.len().saturating_sub(usize::try_from(not_sent).unwrap_or(usize::MAX));
                let bytes: usize = messages[..taken].iter().map(|message| message.payload.len()).sum();
                add(&counters.sent, taken as u64);
                add(&counters.bytes, bytes as u64);
            }
            if not_sent > 0 {
                add(&counters.not_sent, not_sent);
            }
            result.map_err(|source| PublishError::Send { topic: self.entity.topic.to_string(), source })?;
        }
        match too_long {
            None => Ok(()),
            Some(TooLong { len, max }) => {
                Err(PublishError::TooLong { topic: self.entity.topic.to_string(), len, max })
            }
        }
    }
}

fn clock(before: u64, number: u64) -> i64 {
    (before + number).cast_signed()
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.core.is_forked() {
            self.core.registry.remove(&self.entity);
        }
    }
}

impl<T: Payload + ?Sized> std::fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("topic", &self.topic()).finish_non_exhaustive()
    }
}
