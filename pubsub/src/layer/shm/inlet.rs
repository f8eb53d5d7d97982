//! The topics that a node reads from shared memory, their sinks, and the memory files of their publishers.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ferrocal_proto::{DropReason, EntityId, Text, is_memory_file_name};
use ferrocal_transport::Interrupt;

use super::ShmCounters;
use super::watch::{FileWatch, WatchError};
use crate::layer::{Ended, Inlet, Origin, Reader, RegisteredPublisher, Sink};
use crate::outage::Outage;
use crate::source::{Flow, Ready, Source, Task};
use crate::{NodeError, lock};

/// The most memory files that a node reads: each has a thread.
const MAX_FILES: usize = 1024;
/// How often the waits of all files are looked after, and those of publishers that have left.
const LOOK_AFTER: Duration = Duration::from_millis(500);
/// The files of a publisher that has unregistered are read for so long.
const LAST_MESSAGES: Duration = Duration::from_secs(2);

/// The sinks of one topic.
pub(super) type Sinks = Arc<[Arc<dyn Sink>]>;

pub(super) struct ShmInlet {
    pub(super) max_message_len: usize,
    counters: Arc<ShmCounters>,
    state: Mutex<State>,
    later: Mutex<Later>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    topics: HashMap<Arc<str>, Topic>,
    ended: Option<Ended>,
    has_warned: bool,
    shortage: Outage,
}

struct Topic {
    since: Instant,
    sinks: Sinks,
    publishers: HashMap<(Text, EntityId), Publisher>,
}

struct Publisher {
    /// What it is known by to the files that it has joined.
    origin: Arc<Origin>,
    files: HashMap<Text, Arc<FileWatch>>,
    /// When it unregistered.
    left: Option<Instant>,
}

/// What a registration of a publisher changes.
struct Changes {
    topic: Arc<str>,
    origin: Arc<Origin>,
    since: Instant,
    /// The files that it has no more.
    gone: Vec<Arc<FileWatch>>,
    /// Those that are not read yet.
    new: Vec<Text>,
    /// Whether there are too many of them, which was not reported yet.
    warns: bool,
}

/// What the source is to do.
#[derive(Default)]
struct Later {
    slow: VecDeque<Arc<dyn Task>>,
    is_interrupted: bool,
}

impl ShmInlet {
    pub(super) fn new(max_message_len: usize, counters: Arc<ShmCounters>) -> Self {
        Self {
            max_message_len,
            counters,
            state: Mutex::default(),
            later: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    pub(super) fn sinks(&self, topic: &str) -> Sinks {
        lock(&self.state).topics.get(topic).map_or_else(|| Arc::new([]) as Sinks, |topic| topic.sinks.clone())
    }

    pub(super) fn count(&self, reason: DropReason) {
        lock(&self.counters.0).count(reason);
    }

    /// Calls callbacks, on the thread of the file that they are of. Those that take long go to the layer's threads.
    pub(super) fn run(&self, ready: &mut Ready) {
        for task in ready.drain(..) {
            if task.is_slow() && !task.is_inline() {
                lock(&self.later).slow.push_back(task);
                self.wake.notify_one();
            } else {
                let start = Instant::now();
                task.run();
                task.took(start.elapsed());
            }
        }
    }

    fn watches(&self) -> Vec<Arc<FileWatch>> {
        let state = lock(&self.state);
        let publishers = state.topics.values().flat_map(|topic| topic.publishers.values());
        publishers.flat_map(|publisher| publisher.files.values().cloned()).collect()
    }

    /// What is to be done for a publisher that registered. `None` if its topic is not read.
    fn changes(&self, publisher: &RegisteredPublisher<'_>) -> Option<Changes> {
        let wanted = &publisher.parameters.memory_files;
        let mut state = lock(&self.state);
        let publishers = state.topics.values().flat_map(|topic| topic.publishers.values());
        let count: usize = publishers.map(|publisher| publisher.files.len()).sum();
        let (name, topic) = state.topics.get_key_value(publisher.topic)?;
        let (topic, since) = (name.clone(), topic.since);
        let key = (publisher.host_name.clone(), publisher.id);
        let known =
            state.topics.get_mut(publisher.topic)?.publishers.entry(key).or_insert_with(|| Publisher {
                origin: Arc::new(Origin { host_name: publisher.host_name.clone(), id: publisher.id }),
                files: HashMap::new(),
                left: None,
            });
        known.left = None;
        let origin = known.origin.clone();
        let is_gone = |name: &Text, watch: &FileWatch| watch.has_ended() || !wanted.contains(name);
        let gone =
            known.files.extract_if(|name, watch| is_gone(name, watch)).map(|(_, watch)| watch).collect();
        let mut new: Vec<Text> = Vec::new();
        for name in wanted {
            if is_memory_file_name(name) && !known.files.contains_key(name) && !new.contains(name) {
                new.push(name.clone());
            }
        }
        let room = MAX_FILES.saturating_sub(count);
        let warns = new.len() > room && !std::mem::replace(&mut state.has_warned, true);
        new.truncate(room);
        Some(Changes { topic, origin, since, gone, new, warns })
    }

    fn add(&self, topic: &str, origin: &Arc<Origin>, name: Text, watch: Arc<FileWatch>) {
        let mut state = lock(&self.state);
        let topic = state.topics.get_mut(topic);
        let known = topic.and_then(|topic| topic.publishers.get_mut(&(origin.host_name.clone(), origin.id)));
        match known.filter(|known| Arc::ptr_eq(&known.origin, origin)) {
            Some(known) => drop(known.files.insert(name, watch)),
            None => {
                // The topic was left meanwhile.
                drop(state);
                watch.leave(origin);
            }
        }
    }

    /// Ends reading those that have unregistered some time ago.
    fn leave_old(&self, now: Instant) {
        let is_old = |left: Instant| now.saturating_duration_since(left) >= LAST_MESSAGES;
        let old: Vec<_> = {
            let mut state = lock(&self.state);
            let topics = state.topics.values_mut();
            topics
                .flat_map(|topic| topic.publishers.extract_if(|_, one| one.left.is_some_and(is_old)))
                .map(|(_, publisher)| publisher)
                .collect()
        };
        leave(old);
    }
}

fn leave(publishers: impl IntoIterator<Item = Publisher>) {
    for publisher in publishers {
        publisher.files.values().for_each(|watch| watch.leave(&publisher.origin));
    }
}

/// An inlet, with itself to give to its files.
pub(super) struct SharedInlet(pub(super) Arc<ShmInlet>);

impl Inlet for SharedInlet {
    fn read(&self, topic: &Arc<str>, sink: Arc<dyn Sink>) -> Result<Box<dyn Reader>, NodeError> {
        let ended = {
            let mut state = lock(&self.0.state);
            let entry = state.topics.entry(topic.clone()).or_insert_with(|| Topic {
                since: Instant::now(),
                sinks: Arc::new([]),
                publishers: HashMap::new(),
            });
            entry.sinks = entry.sinks.iter().cloned().chain([sink.clone()]).collect();
            state.ended
        };
        if let Some(why) = ended {
            sink.end(why);
        }
        Ok(Box::new(ShmReader { inlet: self.0.clone(), topic: topic.clone(), sink }))
    }

    fn registered(&self, publisher: &RegisteredPublisher<'_>) {
        if !publisher.local {
            return;
        }
        let Some(changes) = self.0.changes(publisher) else { return };
        let Changes { topic, origin, since, gone, new, warns } = changes;
        if warns {
            log::warn!("more than {MAX_FILES} memory files are to be read; others are not");
        }
        gone.iter().for_each(|watch| watch.leave(&origin));
        for name in new {
            // It is a plain name, which was checked.
            let Ok(text) = str::from_utf8(&name) else { continue };
            match FileWatch::join(text, &self.0, &topic, &origin, since) {
                Ok(watch) => {
                    self.0.add(&topic, &origin, name, watch);
                    lock(&self.0.state).shortage.worked();
                }
                // The publisher has left, or made another one, of which it will tell.
                Err(WatchError::Open(error)) if error.is_absent() => {}
                Err(WatchError::Open(error)) if !error.is_shortage() => {
                    log::debug!("the memory file {text} cannot be read: {error}");
                    self.0.count(DropReason::BadMemoryFile);
                }
                Err(error) if lock(&self.0.state).shortage.failed() => {
                    log::warn!(
                        "the memory file {text} cannot be read: {error}; it is tried again. The limits of open files, mappings and \
                         threads are in the chapter on shared memory of the guide"
                    );
                }
                Err(_) => {}
            }
        }
    }

    fn unregistered(&self, topic: &str, host_name: &Text, publisher: EntityId) {
        let mut state = lock(&self.0.state);
        let Some(topic) = state.topics.get_mut(topic) else { return };
        if let Entry::Occupied(mut known) = topic.publishers.entry((host_name.clone(), publisher)) {
            if known.get().files.is_empty() {
                known.remove();
            } else {
                known.get_mut().left = Some(Instant::now());
            }
        }
    }

    fn forget(&self, topic: &str, host_name: &[u8], publisher: EntityId) {
        let (sinks, gone) = {
            let mut state = lock(&self.0.state);
            let Some(topic) = state.topics.get_mut(topic) else { return };
            (topic.sinks.clone(), topic.publishers.remove(&(host_name.into(), publisher)))
        };
        leave(gone);
        sinks.iter().for_each(|sink| sink.left(host_name, publisher));
    }

    fn end(&self, why: Ended) {
        let sinks: Vec<Sinks> = {
            let mut state = lock(&self.0.state);
            state.ended.get_or_insert(why);
            state.topics.values().map(|topic| topic.sinks.clone()).collect()
        };
        sinks.iter().flat_map(|sinks| sinks.iter()).for_each(|sink| sink.end(why));
    }
}

impl Interrupt for SharedInlet {
    fn interrupt(&self) {
        lock(&self.0.later).is_interrupted = true;
        self.0.wake.notify_all();
    }
}

struct ShmReader {
    inlet: Arc<ShmInlet>,
    topic: Arc<str>,
    sink: Arc<dyn Sink>,
}

impl Reader for ShmReader {}

impl Drop for ShmReader {
    fn drop(&mut self) {
        let unread = {
            let mut state = lock(&self.inlet.state);
            let Some(topic) = state.topics.get_mut(&self.topic) else { return };
            topic.sinks = topic.sinks.iter().filter(|one| !Arc::ptr_eq(one, &self.sink)).cloned().collect();
            if topic.sinks.is_empty() { state.topics.remove(&self.topic) } else { None }
        };
        if let Some(topic) = unread {
            leave(topic.publishers.into_values());
        }
    }
}

/// Hands callbacks that take long to the threads of the layer, and ends waits that a dead publisher would make last.
pub(super) struct ShmSource(Arc<ShmInlet>);

impl ShmSource {
    pub(super) fn new(inlet: Arc<ShmInlet>) -> Self {
        Self(inlet)
    }
}

impl Source for ShmSource {
    fn receive(&mut self, ready: &mut Ready) -> Flow {
        let is_idle = |later: &mut Later| later.slow.is_empty() && !later.is_interrupted;
        let later = lock(&self.0.later);
        let waited = self.0.wake.wait_timeout_while(later, LOOK_AFTER, is_idle);
        ready.extend(waited.unwrap_or_else(PoisonError::into_inner).0.slow.drain(..));
        if ready.is_empty() {
            self.0.watches().iter().for_each(|watch| watch.rescue());
            FileWatch::look_after_left();
            self.0.leave_old(Instant::now());
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bytes::Bytes;
    use ferrocal_proto::LayerParameters;

    use super::super::writer::tests::write_to_self;
    use super::*;
    use crate::layer::Incoming;

    /// Ends a hang only.
    const LONG: Duration = Duration::from_secs(60);

    struct Passed(mpsc::Sender<Bytes>);

    impl Sink for Passed {
        fn push(&self, messages: &mut dyn Iterator<Item = Incoming>, _: &mut Ready) {
            messages.for_each(|message| self.0.send(message.payload).unwrap_or(()));
        }

        fn lost(&self, _: &Arc<Origin>, _: i64) {}
        fn left(&self, _: &[u8], _: EntityId) {}
        fn end(&self, _: Ended) {}
    }

    #[test]
    fn who_lists_the_file_of_another_and_leaves_takes_nothing_away() {
        if !ferrocal_shm::is_available() {
            return;
        }
        let (mut write, name) = write_to_self();
        let parameters = LayerParameters { memory_files: vec![name], ..LayerParameters::default() };
        let inlet = SharedInlet(Arc::new(ShmInlet::new(1_000_000, Arc::default())));
        let (passed, messages) = mpsc::channel();
        let _reader = inlet.read(&"topic".into(), Arc::new(Passed(passed))).unwrap();
        let host_name: Text = "host".into();
        for id in [1, 2] {
            inlet.registered(&RegisteredPublisher {
                topic: "topic",
                host_name: &host_name,
                process_id: 1,
                id: EntityId::new(id, 0, 0),
                local: true,
                parameters: &parameters,
                source: "127.0.0.1:1".parse().unwrap(),
            });
        }
        inlet.forget("topic", b"host", EntityId::new(2, 0, 0));
        write(b"x");
        assert_eq!(messages.recv_timeout(LONG).unwrap(), b"x"[..]);
    }
}
