//! Everything that registers, for programs that watch the network.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use ferrocal_proto::{
    Action, Announcement, DataType, Layer, MethodInfo, ProcessInfo, ServiceInfo, Text, TopicInfo,
};

use crate::feed::{Feed, FeedSender, add_sender};
use crate::{RecvError, lock};

/// Something that a process registered.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Registered {
    /// A process.
    Process(Arc<ProcessInfo>),
    /// A publisher.
    Publisher(Arc<TopicInfo>),
    /// A subscriber.
    Subscriber(Arc<TopicInfo>),
    /// A server of a service.
    Server(Arc<ServiceInfo>),
    /// A client of a service.
    Client(Arc<ServiceInfo>),
}

/// A change of what is registered.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// What it happened to, as it registered last.
    pub what: Registered,
    /// When this node heard of it.
    pub time: SystemTime,
}

/// What happened to something that is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChangeKind {
    /// It registered for the first time.
    Appeared,
    /// It registered something else than before, apart from numbers that change all the time: those of messages,
    /// calls, frequency, latency and losses, and of the registration itself.
    Changed,
    /// It unregistered.
    Left,
    /// It did not register for [`RegistrationConfig::timeout`](crate::RegistrationConfig::timeout).
    Expired,
}

/// What is registered at present.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// The processes.
    pub processes: Vec<Seen<ProcessInfo>>,
    /// The publishers.
    pub publishers: Vec<Seen<TopicInfo>>,
    /// The subscribers.
    pub subscribers: Vec<Seen<TopicInfo>>,
    /// The servers of services.
    pub servers: Vec<Seen<ServiceInfo>>,
    /// The clients of services.
    pub clients: Vec<Seen<ServiceInfo>>,
}

/// Something that registered, and when.
#[derive(Debug)]
#[non_exhaustive]
pub struct Seen<T> {
    /// What it registered last.
    pub info: Arc<T>,
    /// How many registrations were seen.
    pub registrations: u64,
    /// When the last one came.
    pub last_seen: Instant,
}

impl<T> Clone for Seen<T> {
    fn clone(&self) -> Self {
        Self { info: self.info.clone(), ..*self }
    }
}

/// What registers, as long as somebody watches.
pub(crate) struct Watch {
    max_entries: usize,
    max_bytes: usize,
    is_on: AtomicBool,
    /// Whether nothing will be registered any more, because a thread of the node has failed.
    has_failed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Monitors that exist.
    watchers: usize,
    entries: HashMap<Key, Watched>,
    bytes: usize,
    refused: u64,
    feeds: Vec<Arc<FeedSender<Change>>>,
}

/// Ids of processes repeat between hosts, and so may those of entities.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    host_name: Text,
    process_id: i32,
    id: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Process,
    Publisher,
    Subscriber,
    Server,
    Client,
}

#[derive(Debug)]
struct Watched {
    what: Registered,
    registrations: u64,
    last_seen: Instant,
    bytes: usize,
}

impl Watch {
    pub(crate) fn new(max_entries: usize, max_bytes: usize) -> Self {
        let (is_on, has_failed) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { max_entries, max_bytes, is_on, has_failed, state: Mutex::default() }
    }

    /// Watches from now on, until [`stop`](Self::stop) is called as often.
    pub(crate) fn start(&self) {
        lock(&self.state).watchers += 1;
        self.is_on.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stop(&self) {
        let mut state = lock(&self.state);
        state.watchers -= 1;
        if state.watchers == 0 {
            self.is_on.store(false, Ordering::Relaxed);
            let ended = std::mem::take(&mut *state);
            drop(state);
            drop(ended);
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let state = lock(&self.state);
        let mut snapshot = Snapshot::default();
        for Watched { what, registrations, last_seen, .. } in state.entries.values() {
            let (registrations, last_seen) = (*registrations, *last_seen);
            match what.clone() {
                Registered::Process(info) => {
                    snapshot.processes.push(Seen { info, registrations, last_seen });
                }
                Registered::Publisher(info) => {
                    snapshot.publishers.push(Seen { info, registrations, last_seen });
                }
                Registered::Subscriber(info) => {
                    snapshot.subscribers.push(Seen { info, registrations, last_seen });
                }
                Registered::Server(info) => snapshot.servers.push(Seen { info, registrations, last_seen }),
                Registered::Client(info) => snapshot.clients.push(Seen { info, registrations, last_seen }),
            }
        }
        snapshot
    }

    /// Changes from now on, after one for each that is there.
    pub(crate) fn changes(&self) -> Feed<Change> {
        // All that is there fits in.
        let max_len = self.max_entries.max(Feed::<Change>::CAPACITY);
        let (sender, feed) = Feed::with_bounds(max_len, self.max_bytes);
        let mut state = lock(&self.state);
        let time = SystemTime::now();
        for watched in state.entries.values() {
            let change = Change { kind: ChangeKind::Appeared, what: watched.what.clone(), time };
            // Nobody can wait for these yet, so no code of the program runs.
            sender.send(change, watched.bytes);
        }
        let sender = Arc::new(sender);
        add_sender(&mut state.feeds, sender.clone());
        // After it was added: a failure from now on reaches it by itself.
        if self.has_failed.load(Ordering::SeqCst) {
            sender.end(RecvError::NodeFailed);
        }
        feed
    }

    /// Ends all waiting for changes.
    pub(super) fn fail(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
        let feeds = lock(&self.state).feeds();
        feeds.iter().for_each(|feed| feed.end(RecvError::NodeFailed));
    }

    /// Registrations that were not stored, because the table was full.
    pub(crate) fn refused(&self) -> u64 {
        lock(&self.state).refused
    }

    /// Whether anybody watches.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Takes a registration.
    pub(crate) fn registered(&self, now: Instant, action: Action, announcement: &Announcement) {
        let (changes, feeds) = {
            let mut state = lock(&self.state);
            if state.watchers == 0 {
                return;
            }
            let change = match action {
                Action::Register => self.put(&mut state, now, announcement),
                Action::Unregister => state.take(announcement),
            };
            (change, state.feeds())
        };
        send(&feeds, changes);
    }

    /// Removes what was not heard of for `timeout`.
    pub(super) fn expire(&self, now: Instant, timeout: Duration) {
        let (changes, feeds) = {
            let mut state = lock(&self.state);
            let is_expired = |watched: &Watched| now.saturating_duration_since(watched.last_seen) >= timeout;
            let expired: Vec<_> = state.entries.extract_if(|_, watched| is_expired(watched)).collect();
            state.bytes -= expired.iter().map(|(_, watched)| watched.bytes).sum::<usize>();
            let changes: Vec<_> =
                expired.into_iter().map(|(_, one)| (ChangeKind::Expired, one.what, one.bytes)).collect();
            (changes, state.feeds())
        };
        send(&feeds, changes);
    }

    fn put(&self, state: &mut State, now: Instant, announcement: &Announcement) -> Option<Step> {
        let bytes = cost(announcement);
        let has_room = |bytes_before, len| bytes_before + bytes <= self.max_bytes && len < self.max_entries;
        let len = state.entries.len();
        match state.entries.entry(Key::new(announcement)?) {
            Entry::Vacant(_) if !has_room(state.bytes, len) => {
                state.refused += 1;
                None
            }
            Entry::Vacant(entry) => {
                let what = Registered::new(announcement)?;
                entry.insert(Watched { what: what.clone(), registrations: 1, last_seen: now, bytes });
                state.bytes += bytes;
                Some((ChangeKind::Appeared, what, bytes))
            }
            Entry::Occupied(mut entry) => {
                let watched = entry.get_mut();
                watched.registrations += 1;
                watched.last_seen = now;
                if watched.what.is(announcement) {
                    return None;
                }
                if watched.what.differs_in_numbers(announcement) {
                    watched.what = Registered::new(announcement)?;
                    return None;
                }
                if !has_room(state.bytes - watched.bytes, 0) {
                    state.refused += 1;
                    return None;
                }
                state.bytes = state.bytes - watched.bytes + bytes;
                watched.bytes = bytes;
                watched.what = Registered::new(announcement)?;
                Some((ChangeKind::Changed, watched.what.clone(), bytes))
            }
        }
    }
}

impl State {
    fn take(&mut self, announcement: &Announcement) -> Option<Step> {
        let watched = self.entries.remove(&Key::new(announcement)?)?;
        self.bytes -= watched.bytes;
        Some((ChangeKind::Left, watched.what, watched.bytes))
    }

    /// Those who still listen.
    fn feeds(&mut self) -> Vec<Arc<FeedSender<Change>>> {
        self.feeds.retain(|feed| feed.is_open());
        self.feeds.clone()
    }
}

/// What happened, to what, and the memory that this takes, in bytes.
type Step = (ChangeKind, Registered, usize);

/// Sends changes. No lock is held: this wakes programs.
fn send(feeds: &[Arc<FeedSender<Change>>], steps: impl IntoIterator<Item = Step>) {
    let time = SystemTime::now();
    for (kind, what, bytes) in steps {
        for feed in feeds {
            feed.send(Change { kind, what: what.clone(), time }, bytes);
        }
    }
}

impl Registered {
    fn new(announcement: &Announcement) -> Option<Self> {
        Some(match announcement {
            Announcement::Process(info) => Self::Process(Arc::new(info.clone())),
            Announcement::Publisher(info) => Self::Publisher(Arc::new(info.clone())),
            Announcement::Subscriber(info) => Self::Subscriber(Arc::new(info.clone())),
            Announcement::Server(info) => Self::Server(Arc::new(info.clone())),
            Announcement::Client(info) => Self::Client(Arc::new(info.clone())),
            _ => return None,
        })
    }

    /// Whether another registration differs in what changes all the time, and in nothing else.
    fn differs_in_numbers(&self, announcement: &Announcement) -> bool {
        match (self, announcement) {
            (Self::Process(known), Announcement::Process(info)) => {
                **known == ProcessInfo { registration_clock: known.registration_clock, ..info.clone() }
            }
            (Self::Publisher(known), Announcement::Publisher(info))
            | (Self::Subscriber(known), Announcement::Subscriber(info)) => {
                **known
                    == TopicInfo {
                        registration_clock: known.registration_clock,
                        topic_size: known.topic_size,
                        message_drops: known.message_drops,
                        data_id: known.data_id,
                        data_clock: known.data_clock,
                        data_frequency_mhz: known.data_frequency_mhz,
                        latency: known.latency,
                        ..info.clone()
                    }
            }
            (Self::Server(known), Announcement::Server(info))
            | (Self::Client(known), Announcement::Client(info)) => {
                let mut info = ServiceInfo { registration_clock: known.registration_clock, ..info.clone() };
                for (method, known) in info.methods.iter_mut().zip(&known.methods) {
                    method.call_count = known.call_count;
                }
                **known == info
            }
            _ => false,
        }
    }

    fn is(&self, announcement: &Announcement) -> bool {
        match (self, announcement) {
            (Self::Process(known), Announcement::Process(info)) => **known == *info,
            (Self::Publisher(known), Announcement::Publisher(info))
            | (Self::Subscriber(known), Announcement::Subscriber(info)) => **known == *info,
            (Self::Server(known), Announcement::Server(info))
            | (Self::Client(known), Announcement::Client(info)) => **known == *info,
            _ => false,
        }
    }
}

impl Key {
    fn new(announcement: &Announcement) -> Option<Self> {
        let (kind, host_name, process_id, id) = match announcement {
            Announcement::Process(info) => (Kind::Process, &info.host_name, info.process_id, 0),
            Announcement::Publisher(info) => {
                (Kind::Publisher, &info.host_name, info.process_id, info.topic_id.get())
            }
            Announcement::Subscriber(info) => {
                (Kind::Subscriber, &info.host_name, info.process_id, info.topic_id.get())
            }
            Announcement::Server(info) => {
                (Kind::Server, &info.host_name, info.process_id, info.service_id.get())
            }
            Announcement::Client(info) => {
                (Kind::Client, &info.host_name, info.process_id, info.service_id.get())
            }
            _ => return None,
        };
        Some(Self { kind, host_name: host_name.clone(), process_id, id })
    }
}

/// What an entry is charged of the table's memory. Rather too much than too little.
fn cost(announcement: &Announcement) -> usize {
    /// Room for an entry beside its texts: keys, values and the table's own.
    const ENTRY: usize = 1024;
    let texts = match announcement {
        Announcement::Process(info) => {
            let ProcessInfo { host_name, shm_transport_domain, process_name, unit_name, .. } = info;
            let ProcessInfo { process_parameter, component_init_info, runtime_version, .. } = info;
            let ProcessInfo { time_sync_module_name, config_file_path, state, .. } = info;
            2 * host_name.len()
                + lens([shm_transport_domain, process_name, unit_name, process_parameter])
                + lens([component_init_info, runtime_version, time_sync_module_name])
                + lens([config_file_path, &state.info])
        }
        Announcement::Publisher(info) | Announcement::Subscriber(info) => {
            let TopicInfo { host_name, shm_transport_domain, process_name, unit_name, topic_name, .. } = info;
            let files = info.layers.iter().flat_map(|layer| &layer.parameters.memory_files);
            2 * host_name.len()
                + lens([shm_transport_domain, process_name, unit_name, topic_name])
                + type_cost(&info.data_type)
                + info.layers.len() * size_of::<Layer>()
                + files.map(|name| size_of::<Text>() + name.len()).sum::<usize>()
        }
        Announcement::Server(info) | Announcement::Client(info) => {
            let ServiceInfo { host_name, process_name, unit_name, service_name, .. } = info;
            let of_method = |method: &MethodInfo| {
                size_of::<MethodInfo>()
                    + method.name.len()
                    + type_cost(&method.request)
                    + type_cost(&method.response)
            };
            let methods: usize = info.methods.iter().map(of_method).sum();
            2 * host_name.len() + lens([process_name, unit_name, service_name]) + methods
        }
        _ => 0,
    };
    ENTRY + texts
}

fn lens<const N: usize>(texts: [&Text; N]) -> usize {
    texts.into_iter().map(|text| text.len()).sum()
}

fn type_cost(data_type: &DataType) -> usize {
    data_type.name.len() + data_type.encoding.len() + data_type.descriptor.len()
}

#[cfg(test)]
mod tests {
    use ferrocal_proto::{EntityId, LayerKind, LayerParameters};

    use super::*;

    fn publisher(host: &str, process_id: i32, id: u64) -> Announcement {
        Announcement::Publisher(TopicInfo {
            host_name: host.into(),
            process_id,
            topic_id: EntityId::from_wire(id.to_string()),
            ..TopicInfo::default()
        })
    }

    fn watch() -> Watch {
        let watch = Watch::new(3, 4000);
        watch.start();
        watch
    }

    fn changes(feed: &Feed<Change>) -> Vec<ChangeKind> {
        std::iter::from_fn(|| feed.try_recv()).map(|change| change.kind).collect()
    }

    #[test]
    fn feeds_that_are_gone_are_forgotten() {
        let watch = watch();
        (0..1000).for_each(|_| drop(watch.changes()));
        assert_eq!(lock(&watch.state).feeds.len(), 1);
    }

    #[test]
    fn what_registers_changes_leaves_and_expires_is_seen() {
        let (watch, now) = (watch(), Instant::now());
        let feed = watch.changes();
        let register = |announcement: &Announcement| watch.registered(now, Action::Register, announcement);
        register(&publisher("a", 1, 1));
        register(&publisher("a", 1, 1));
        assert_eq!(changes(&feed), [ChangeKind::Appeared]);
        let Announcement::Publisher(mut info) = publisher("a", 1, 1) else { unreachable!() };
        (info.topic_size, info.data_clock, info.registration_clock) = (5, 5, 5);
        register(&Announcement::Publisher(info.clone()));
        assert_eq!(changes(&feed), [], "numbers change all the time");
        assert_eq!(watch.snapshot().publishers[0].info.topic_size, 5);
        info.unit_name = "another".into();
        register(&Announcement::Publisher(info));
        assert_eq!(changes(&feed), [ChangeKind::Changed]);
        let snapshot = watch.snapshot();
        assert_eq!((snapshot.publishers.len(), snapshot.publishers[0].registrations), (1, 4));
        assert_eq!(
            changes(&watch.changes()),
            [ChangeKind::Appeared],
            "who comes later hears of what is there"
        );

        watch.registered(now, Action::Unregister, &publisher("a", 1, 1));
        register(&publisher("a", 1, 2));
        watch.expire(now + Duration::from_secs(5), Duration::from_secs(10));
        watch.expire(now + Duration::from_secs(10), Duration::from_secs(10));
        assert_eq!(changes(&feed), [ChangeKind::Left, ChangeKind::Appeared, ChangeKind::Expired]);
        assert_eq!(watch.snapshot().publishers.len(), 0);
        assert_eq!(lock(&watch.state).bytes, 0);
    }

    #[test]
    fn the_calls_of_a_server_are_no_change() {
        let (watch, now) = (watch(), Instant::now());
        let feed = watch.changes();
        let register = |methods: &[(&str, i64)]| {
            let method = |&(name, call_count): &(&str, _)| MethodInfo {
                name: name.into(),
                call_count,
                ..MethodInfo::default()
            };
            let methods = methods.iter().map(method).collect();
            let server = Announcement::Server(ServiceInfo { methods, ..ServiceInfo::default() });
            watch.registered(now, Action::Register, &server);
        };
        register(&[("turn", 0)]);
        register(&[("turn", 1)]);
        assert_eq!(changes(&feed), [ChangeKind::Appeared]);
        assert_eq!(watch.snapshot().servers[0].info.methods[0].call_count, 1);
        register(&[("turn", 1), ("stop", 0)]);
        assert_eq!(changes(&feed), [ChangeKind::Changed]);
    }

    #[test]
    fn ids_repeat_between_hosts_processes_and_kinds() {
        let (watch, now) = (watch(), Instant::now());
        let Announcement::Publisher(info) = publisher("b", 1, 1) else { unreachable!() };
        for announcement in [publisher("a", 1, 1), publisher("a", 2, 1), Announcement::Subscriber(info)] {
            watch.registered(now, Action::Register, &announcement);
        }
        let snapshot = watch.snapshot();
        assert_eq!((snapshot.publishers.len(), snapshot.subscribers.len()), (2, 1));
    }

    #[test]
    fn the_table_is_bounded_in_entries_and_bytes() {
        let (watch, now) = (watch(), Instant::now());
        let register = |announcement: &Announcement| watch.registered(now, Action::Register, announcement);
        (0..4).for_each(|id| register(&publisher("a", 1, id)));
        assert_eq!((watch.snapshot().publishers.len(), watch.refused()), (3, 1));
        let Announcement::Publisher(info) = publisher("a", 1, 0) else { unreachable!() };
        let long = || "x".repeat(2000).into();
        let mut named = info.clone();
        named.unit_name = long();
        register(&Announcement::Publisher(named));
        assert_eq!((watch.snapshot().publishers.len(), watch.refused()), (3, 2));
        let mut stored = info;
        stored.layers.push(Layer {
            kind: LayerKind::SharedMemory,
            version: 2,
            enabled: true,
            active: false,
            parameters: LayerParameters { memory_files: vec![long()], ..LayerParameters::default() },
        });
        register(&Announcement::Publisher(stored));
        assert_eq!((watch.snapshot().publishers.len(), watch.refused()), (3, 3));
        assert!(lock(&watch.state).bytes <= 4000);
    }

    #[test]
    fn nothing_is_stored_when_nobody_watches() {
        let (watch, now) = (watch(), Instant::now());
        watch.registered(now, Action::Register, &publisher("a", 1, 1));
        let feed = watch.changes();
        watch.stop();
        assert!(!watch.is_on() && watch.snapshot().publishers.is_empty());
        assert_eq!(changes(&feed), [ChangeKind::Appeared]);
        assert!(feed.recv().is_err(), "the feed has ended");
        watch.registered(now, Action::Register, &publisher("a", 1, 1));
        assert!(watch.snapshot().publishers.is_empty());
    }
}
