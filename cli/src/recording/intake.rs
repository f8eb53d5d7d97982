//! From the threads that receive to the one that writes.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ferrocal::{Bytes, DataType, EntityId, Message, Payload, PublisherIdentity, RegisteredType, TopicInfo};

use super::{Queue, Stamps, nanos};

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
    pub(super) name: Arc<str>,
    pub(super) publishers: AtomicU64,
    pub(super) messages: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) refused: AtomicU64,
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
pub(super) struct Item {
    pub(super) topic: Arc<RecordedTopic>,
    pub(super) publisher: Arc<PublisherIdentity>,
    /// `None` if the publisher did not register yet.
    pub(super) data_type: Option<DataType>,
    pub(super) stamps: Stamps,
    pub(super) payload: Bytes,
    pub(super) received: Instant,
}

impl Item {
    /// What it takes in memory, in bytes, about.
    pub(super) fn held_len(&self) -> usize {
        self.payload.len() + size_of::<Self>() + 128
    }
}

/// What was received and waits for the disk.
pub(crate) struct Intake {
    pub(super) queue: Queue<Item>,
    pub(super) max_bytes: usize,
    pub(super) losses: Mutex<Losses>,
    /// What publishers registered last, also those that are gone: their messages may still wait.
    publishers: Mutex<HashMap<EntityId, Vec<Arc<TopicInfo>>>>,
    is_written: Mutex<bool>,
    written: Condvar,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Losses {
    /// Messages that never arrived, by topic.
    pub(super) lost: BTreeMap<String, u64>,
    /// Messages for which there was no room, by topic.
    pub(super) refused: BTreeMap<String, u64>,
}

impl Intake {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            queue: Queue::new(max_bytes),
            max_bytes,
            losses: Mutex::default(),
            publishers: Mutex::default(),
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
        // Once it is closed, the recording has all that was asked for.
        if !self.queue.push(item, len) && !self.queue.is_closed() {
            topic.refused.fetch_add(1, Ordering::Relaxed);
            *lock(&self.losses).refused.entry(topic.name.to_string()).or_default() += 1;
        }
    }

    /// Takes what a publisher registered.
    pub(crate) fn register(&self, info: &Arc<TopicInfo>) {
        let mut publishers = lock(&self.publishers);
        let of_id = publishers.entry(info.topic_id).or_default();
        let is_same = |one: &Arc<TopicInfo>| {
            one.host_name == info.host_name
                && one.process_id == info.process_id
                && one.topic_name == info.topic_name
        };
        match of_id.iter_mut().find(|one| is_same(one)) {
            Some(one) => *one = info.clone(),
            None => of_id.push(info.clone()),
        }
    }

    /// What the publisher of a message registered.
    pub(super) fn registered(&self, item: &Item) -> Option<Arc<TopicInfo>> {
        let PublisherIdentity { id, host_name, .. } = &*item.publisher;
        let publishers = lock(&self.publishers);
        let is_meant = |info: &&Arc<TopicInfo>| {
            *info.topic_name == *item.topic.name.as_bytes() && info.host_name.to_str_lossy() == **host_name
        };
        publishers.get(id)?.iter().find(is_meant).cloned()
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

    pub(super) fn set_written(&self) {
        self.close();
        *lock(&self.is_written) = true;
        self.written.notify_all();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
