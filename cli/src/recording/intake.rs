//! From the threads that receive to the one that writes.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
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
    /// How much memory what publishers registered takes, in bytes.
    pub(super) max_registered: usize,
    publishers: Mutex<Publishers>,
    is_written: Mutex<bool>,
    written: Condvar,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Losses {
    /// Messages that never arrived, by topic.
    pub(super) lost: BTreeMap<String, u64>,
    /// Messages for which there was no room, by topic.
    pub(super) refused: BTreeMap<String, u64>,
    /// Messages for whose publishers there was no room, by topic.
    pub(super) left_out: BTreeMap<String, u64>,
}

/// What counts of further topics are added to.
pub(crate) const OTHERS: &str = "(other topics)";

/// How many topics counts have at most.
const MAX_COUNTS: usize = 8192;

/// Counts something of a topic.
pub(super) fn count(counts: &mut BTreeMap<String, u64>, topic: &str) {
    let topic = if counts.len() < MAX_COUNTS || counts.contains_key(topic) { topic } else { OTHERS };
    *counts.entry(topic.to_owned()).or_default() += 1;
}

impl Losses {
    /// As they are written: the sums, and the counts of topics as far as their names have room.
    pub(super) fn entries(&self) -> BTreeMap<String, String> {
        /// In bytes, of names.
        const MAX_LEN: usize = 256 * 1024;
        let mut entries = BTreeMap::new();
        let mut left = MAX_LEN;
        let kinds = [("lost", &self.lost), ("queue_full", &self.refused), ("left_out", &self.left_out)];
        for (what, counts) in kinds {
            // One that most recordings do without.
            if what != "left_out" || !counts.is_empty() {
                entries.insert(what.to_owned(), counts.values().sum::<u64>().to_string());
            }
            let mut others = 0;
            for (topic, count) in counts {
                match left.checked_sub(topic.len()) {
                    Some(rest) => {
                        left = rest;
                        entries.insert(format!("{what}: {topic}"), count.to_string());
                    }
                    None => others += count,
                }
            }
            if others > 0 {
                let before =
                    counts.get(OTHERS).filter(|_| entries.contains_key(&format!("{what}: {OTHERS}")));
                let others = others + before.copied().unwrap_or_default();
                entries.insert(format!("{what}: {OTHERS}"), others.to_string());
            }
        }
        entries
    }
}

/// What publishers registered last, also those that are gone: their messages may still wait.
#[derive(Debug, Default)]
struct Publishers {
    by_id: HashMap<EntityId, Vec<Arc<TopicInfo>>>,
    /// Those that are gone, in the order in which they went.
    gone: VecDeque<(Instant, Weak<TopicInfo>)>,
    /// With more of them, those that registered again meanwhile are left out.
    tidy_at: usize,
    /// What all of them take, about.
    bytes: usize,
    /// Whether there was no room for one.
    is_full: bool,
}

impl Publishers {
    /// Forgets one that is gone, unless it has registered again.
    fn forget(&mut self, info: &Arc<TopicInfo>) {
        let Some(of_id) = self.by_id.get_mut(&info.topic_id) else { return };
        let before = of_id.len();
        of_id.retain(|one| !Arc::ptr_eq(one, info));
        self.bytes -= (before - of_id.len()) * held_len(info);
        if of_id.is_empty() {
            self.by_id.remove(&info.topic_id);
        }
    }

    /// Keeps the list of those that are gone as short as what is stored, for one that comes and goes while messages wait.
    fn tidy(&mut self) {
        if self.gone.len() > self.tidy_at {
            self.gone.retain(|(_, info)| info.strong_count() > 0);
            self.tidy_at = 2 * self.gone.len() + 1024;
        }
    }

    /// Makes room at the cost of those that are gone.
    fn make_room(&mut self, len: usize, max: usize) -> bool {
        while self.bytes + len > max {
            let Some((_, info)) = self.gone.pop_front() else { return false };
            info.upgrade().inspect(|info| self.forget(info));
        }
        true
    }
}

fn is_same(one: &TopicInfo, other: &TopicInfo) -> bool {
    one.host_name == other.host_name
        && one.process_id == other.process_id
        && one.topic_name == other.topic_name
}

/// What it takes in memory, in bytes, about.
fn held_len(info: &TopicInfo) -> usize {
    let TopicInfo { topic_name, host_name, process_name, unit_name, data_type, .. } = info;
    let texts: usize = [topic_name, host_name, process_name, unit_name].map(|text| text.len()).iter().sum();
    size_of::<TopicInfo>() + texts + data_type.name.len() + data_type.descriptor.len() + 128
}

impl Intake {
    /// For so many bytes of messages, and so many of what publishers registered.
    pub(crate) fn new(max_bytes: usize, max_registered: usize) -> Self {
        Self {
            queue: Queue::new(max_bytes),
            max_bytes,
            max_registered,
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
            count(&mut lock(&self.losses).refused, &topic.name);
        }
    }

    /// Takes what a publisher registered.
    pub(crate) fn register(&self, info: &Arc<TopicInfo>) {
        let publishers = &mut *lock(&self.publishers);
        let of_id = publishers.by_id.get(&info.topic_id).into_iter().flatten();
        if let Some(before) = of_id.into_iter().find(|one| is_same(one, info)).cloned() {
            publishers.forget(&before);
        }
        let len = held_len(info);
        if publishers.make_room(len, self.max_registered) {
            publishers.bytes += len;
            publishers.by_id.entry(info.topic_id).or_default().push(info.clone());
        } else if !std::mem::replace(&mut publishers.is_full, true) {
            log::warn!(
                "ferrocal.limits.max_registry_bytes has no room for all publishers; of some, the type is not recorded"
            );
        }
    }

    /// A publisher is gone. What it registered is kept while messages wait that came before.
    pub(crate) fn unregister(&self, info: &TopicInfo) {
        let publishers = &mut *lock(&self.publishers);
        let of_id = publishers.by_id.get(&info.topic_id).into_iter().flatten();
        let gone = of_id.filter(|one| is_same(one, info)).map(|one| (Instant::now(), Arc::downgrade(one)));
        publishers.gone.extend(gone);
        publishers.tidy();
    }

    /// Takes those that are there. All others are gone.
    pub(crate) fn set_registered(&self, infos: &[Arc<TopicInfo>]) {
        let is_there: HashSet<_> = infos.iter().map(Arc::as_ptr).collect();
        let publishers = &mut *lock(&self.publishers);
        let is_gone: HashSet<_> = publishers.gone.iter().map(|(_, info)| info.as_ptr()).collect();
        let stored = publishers.by_id.values().flatten();
        let missing = stored.filter(|info| {
            let info = Arc::as_ptr(info);
            !is_there.contains(&info) && !is_gone.contains(&info)
        });
        let now = Instant::now();
        publishers.gone.extend(missing.map(|info| (now, Arc::downgrade(info))));
    }

    /// Forgets publishers that went before `settled`: what came until then waits no longer.
    pub(super) fn forget_gone(&self, settled: Instant) {
        let publishers = &mut *lock(&self.publishers);
        while let Some((went, _)) = publishers.gone.front()
            && *went < settled
            && let Some((_, info)) = publishers.gone.pop_front()
        {
            info.upgrade().inspect(|info| publishers.forget(info));
        }
    }

    /// What the publisher of a message registered.
    pub(super) fn registered(&self, item: &Item) -> Option<Arc<TopicInfo>> {
        let PublisherIdentity { id, host_name, .. } = &*item.publisher;
        let publishers = lock(&self.publishers);
        let is_meant = |info: &&Arc<TopicInfo>| {
            *info.topic_name == *item.topic.name.as_bytes() && info.host_name.to_str_lossy() == **host_name
        };
        publishers.by_id.get(id)?.iter().find(is_meant).cloned()
    }

    /// Sets how many messages never arrived.
    pub(crate) fn set_lost(&self, lost: BTreeMap<String, u64>) {
        lock(&self.losses).lost = lost;
    }

    /// Whether no message waits that was not looked at.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.len() == 0
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

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: u16, descriptor_len: usize) -> Arc<TopicInfo> {
        let data_type = DataType { descriptor: vec![7; descriptor_len].into(), ..DataType::default() };
        let topic_name = "a".into();
        Arc::new(TopicInfo {
            topic_id: EntityId::new(0, 0, id),
            topic_name,
            data_type,
            ..TopicInfo::default()
        })
    }

    fn ids(intake: &Intake) -> Vec<u64> {
        let mut ids: Vec<_> = lock(&intake.publishers).by_id.keys().map(|id| id.get()).collect();
        ids.sort_unstable();
        ids
    }

    #[test]
    fn what_is_gone_is_forgotten_once_no_message_of_it_waits() {
        let intake = Intake::new(1 << 20, 1 << 20);
        let infos = [1, 2, 3].map(|id| info(id, 10));
        infos.iter().for_each(|info| intake.register(info));
        let before = Instant::now();
        intake.unregister(&infos[0]);
        intake.set_registered(&infos[2..]);
        intake.forget_gone(before);
        assert_eq!(ids(&intake), [1, 2, 3], "their messages may wait");
        // One that is there again meanwhile stays.
        intake.register(&info(2, 20));
        intake.forget_gone(Instant::now() + std::time::Duration::from_secs(1));
        assert_eq!(ids(&intake), [2, 3]);
        let publishers = lock(&intake.publishers);
        assert_eq!(publishers.bytes, held_len(&info(2, 20)) + held_len(&infos[2]));
        assert!(publishers.gone.is_empty());
    }

    #[test]
    fn what_publishers_registered_is_bounded_and_those_that_are_gone_give_way() {
        let intake = Intake::new(1 << 20, 300_000);
        for id in 0..1000 {
            let info = info(id, 60_000);
            intake.register(&info);
            intake.unregister(&info);
        }
        assert_eq!(ids(&intake), [996, 997, 998, 999]);
        (2000..2010).for_each(|id| intake.register(&info(id, 60_000)));
        let publishers = lock(&intake.publishers);
        assert!(publishers.by_id.len() == 4 && publishers.is_full && publishers.bytes <= 300_000);
    }

    #[test]
    fn one_that_comes_and_goes_while_messages_wait_is_kept_once() {
        let intake = Intake::new(1 << 20, 1 << 20);
        for _ in 0..10_000 {
            let info = info(1, 10);
            intake.register(&info);
            intake.unregister(&info);
        }
        let publishers = lock(&intake.publishers);
        let stored: usize = publishers.by_id.values().map(Vec::len).sum();
        assert!(stored == 1 && publishers.gone.len() < 2000, "{stored} {}", publishers.gone.len());
    }

    #[test]
    fn the_list_of_losses_is_bounded_and_its_sums_are_right() {
        let mut losses = Losses::default();
        for topic in 0..120 {
            losses.lost.insert(format!("{topic}{}", "z".repeat(30_000)), 2);
        }
        let entries = losses.entries();
        let len: usize = entries.keys().map(String::len).sum();
        assert!(len < 300_000, "{len}");
        let (listed, others) = ("lost: 0z", format!("lost: {OTHERS}"));
        assert!(entries.keys().any(|name| name.starts_with(listed)));
        assert_eq!((&*entries["lost"], &*entries[&others]), ("240", "224"));
        let mut counts = BTreeMap::new();
        (0..MAX_COUNTS + 5).for_each(|topic| count(&mut counts, &topic.to_string()));
        assert_eq!((counts.len(), counts[OTHERS]), (MAX_COUNTS + 1, 5));
    }
}
