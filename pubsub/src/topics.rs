//! The tables of topics and peers, and the matching between them.

use std::collections::hash_map::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use ferrocal_proto::{EntityId, LayerKind, TopicInfo};
use tokio::sync::Notify;

use crate::entity::{Connections, Entity, Role};
use crate::inbox::Inbox;

/// Identity of a publisher or subscriber of any node, this one's included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PeerKey {
    role: Role,
    host_name: Box<str>,
    process_id: i32,
    id: EntityId,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ProcessKey {
    host_name: Box<str>,
    process_id: i32,
}

#[derive(Debug)]
struct Process {
    last_seen: Instant,
    takes_runs: bool,
}

#[derive(Debug)]
struct Peer {
    topic: Arc<str>,
    last_seen: Instant,
    /// Registrations seen; the second one makes the connection.
    sightings: u8,
    matched: bool,
    local: bool,
    takes_runs: bool,
}

/// A local subscriber: who it is, and where its messages go.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) entity: Arc<Entity>,
    pub(crate) inbox: Inbox,
}

#[derive(Debug)]
struct Topic {
    publishers: Vec<Arc<Entity>>,
    readers: Arc<[Arc<Reader>]>,
    /// Peers that are matched, by their role.
    matched_publishers: Connections,
    matched_subscribers: Connections,
}

impl Default for Topic {
    fn default() -> Self {
        Self {
            publishers: Vec::new(),
            readers: Arc::new([]),
            matched_publishers: Connections::default(),
            matched_subscribers: Connections::default(),
        }
    }
}

/// The tables of topics and peers. Locks are taken in the order peers, topics, entity; none is held while anything of
/// the user's runs.
#[derive(Debug)]
pub(crate) struct Topics {
    topics: DashMap<Arc<str>, Topic, RandomState>,
    peers: DashMap<PeerKey, Peer, RandomState>,
    processes: DashMap<ProcessKey, Process, RandomState>,
    max_peers: usize,
    /// Grows whenever a local subscriber comes or goes.
    readers_version: AtomicU64,
    /// Whether no message will come any more.
    ended: AtomicBool,
    /// Told when there is a local subscriber.
    pub(crate) first_reader: Notify,
}

/// What a registration changed.
pub(crate) type Changed = Vec<Arc<Entity>>;

/// There are too many peers to take in another one.
#[derive(Debug)]
pub(crate) struct TooManyPeers;

impl Topics {
    pub(crate) fn new(max_peers: usize) -> Self {
        Self {
            topics: DashMap::default(),
            peers: DashMap::default(),
            processes: DashMap::default(),
            max_peers,
            readers_version: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            first_reader: Notify::new(),
        }
    }

    /// Adds a publisher of this node, which is matched at once with the peers that are known well enough.
    pub(crate) fn add_publisher(&self, entity: Arc<Entity>) {
        let mut topic = self.topics.entry(entity.topic.clone()).or_default();
        entity.set_connections(topic.matched_subscribers);
        topic.publishers.push(entity);
    }

    pub(crate) fn add_reader(&self, reader: Arc<Reader>) {
        let mut topic = self.topics.entry(reader.entity.topic.clone()).or_default();
        reader.entity.set_connections(topic.matched_publishers);
        topic.readers = topic.readers.iter().cloned().chain([reader]).collect();
        if self.ended.load(Ordering::SeqCst) {
            topic.readers.iter().for_each(|reader| reader.inbox.close());
        }
        drop(topic);
        self.readers_version.fetch_add(1, Ordering::Release);
        self.first_reader.notify_one();
    }

    pub(crate) fn remove(&self, entity: &Entity) {
        let Entry::Occupied(mut entry) = self.topics.entry(entity.topic.clone()) else { return };
        let topic = entry.get_mut();
        match entity.role {
            Role::Publisher => topic.publishers.retain(|publisher| publisher.id != entity.id),
            Role::Subscriber => {
                topic.readers =
                    topic.readers.iter().filter(|reader| reader.entity.id != entity.id).cloned().collect();
                self.readers_version.fetch_add(1, Ordering::Release);
            }
        }
        if topic.is_unused() {
            entry.remove();
        }
    }

    /// The local subscribers of a topic.
    pub(crate) fn readers(&self, topic: &str) -> Option<Arc<[Arc<Reader>]>> {
        let topic = self.topics.get(topic)?;
        (!topic.readers.is_empty()).then(|| topic.readers.clone())
    }

    /// Changes when [`readers`](Self::readers) may answer otherwise.
    pub(crate) fn readers_version(&self) -> u64 {
        self.readers_version.load(Ordering::Acquire)
    }

    /// Tells all local subscribers that no message will come any more.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        for topic in &self.topics {
            topic.readers.iter().for_each(|reader| reader.inbox.close());
        }
    }

    /// All publishers and subscribers of this node.
    pub(crate) fn entities(&self) -> Vec<Arc<Entity>> {
        let mut entities = Vec::new();
        for topic in &self.topics {
            entities.extend(topic.publishers.iter().cloned());
            entities.extend(topic.readers.iter().map(|reader| reader.entity.clone()));
        }
        entities
    }

    /// Takes in a process's registration: whether its nodes receive runs of datagrams in one piece.
    pub(crate) fn process_seen(
        &self,
        now: Instant,
        host_name: &str,
        process_id: i32,
        takes_runs: bool,
    ) -> Result<(), TooManyPeers> {
        let full = self.processes.len() >= self.max_peers;
        match self.processes.entry(ProcessKey { host_name: host_name.into(), process_id }) {
            Entry::Vacant(_) if full => return Err(TooManyPeers),
            entry => drop(entry.insert(Process { last_seen: now, takes_runs })),
        }
        Ok(())
    }

    fn takes_runs(&self, info: &TopicInfo) -> bool {
        let key = ProcessKey { host_name: info.host_name.as_str().into(), process_id: info.process_id };
        self.processes.get(&key).is_some_and(|process| process.takes_runs)
    }

    /// Takes in a registration; tells which entities of this node it connected or disconnected.
    pub(crate) fn seen(
        &self,
        now: Instant,
        role: Role,
        info: &TopicInfo,
        local: bool,
    ) -> Result<Changed, TooManyPeers> {
        // A subscriber that reads no UDP is none of ours; a publisher names its layers only once it is matched.
        let reachable = role == Role::Publisher
            || info.layers.iter().any(|layer| layer.enabled && layer.kind == LayerKind::UdpMulticast);
        let takes_runs = self.takes_runs(info);
        let full = self.peers.len() >= self.max_peers;
        let mut changed = Vec::new();
        let mut peer = match self.peers.entry(PeerKey::new(role, info)) {
            Entry::Vacant(_) if full => return Err(TooManyPeers),
            Entry::Vacant(entry) => entry.insert(Peer {
                topic: info.topic_name.as_str().into(),
                last_seen: now,
                sightings: 0,
                matched: false,
                local,
                takes_runs,
            }),
            Entry::Occupied(entry) => entry.into_ref(),
        };
        let moved = *peer.topic != *info.topic_name;
        if moved || peer.takes_runs != takes_runs {
            if peer.matched {
                changed.extend(self.disconnect(role, &peer));
            }
            peer.matched = false;
            peer.takes_runs = takes_runs;
        }
        if moved {
            peer.topic = info.topic_name.as_str().into();
            peer.sightings = 0;
        }
        peer.last_seen = now;
        peer.sightings = peer.sightings.saturating_add(1);
        let matched = reachable && peer.sightings >= 2;
        if matched != peer.matched {
            peer.matched = matched;
            if matched {
                changed.extend(self.connect(role, &peer));
            } else {
                changed.extend(self.disconnect(role, &peer));
            }
        }
        Ok(changed)
    }

    /// Takes in the end of a publisher or subscriber.
    pub(crate) fn gone(&self, role: Role, info: &TopicInfo) -> Changed {
        let key = PeerKey::new(role, info);
        self.peers.remove(&key).map(|(key, peer)| self.forget(&key, &peer)).unwrap_or_default()
    }

    /// Removes the peers that were not heard of for `timeout`.
    pub(crate) fn expire(&self, now: Instant, timeout: Duration) -> Changed {
        let mut changed = Vec::new();
        self.peers.retain(|key, peer| {
            let remove = now.saturating_duration_since(peer.last_seen) >= timeout;
            if remove {
                changed.extend(self.forget(key, peer));
            }
            !remove
        });
        self.processes.retain(|_, process| now.saturating_duration_since(process.last_seen) < timeout);
        changed
    }

    fn forget(&self, key: &PeerKey, peer: &Peer) -> Changed {
        if key.role == Role::Publisher
            && let Some(readers) = self.readers(&peer.topic)
        {
            for reader in &*readers {
                reader.inbox.forget_publisher(key.id);
            }
        }
        if peer.matched { self.disconnect(key.role, peer) } else { Vec::new() }
    }

    fn connect(&self, role: Role, peer: &Peer) -> Changed {
        let mut topic = self.topics.entry(peer.topic.clone()).or_default();
        topic.connections(role).add(peer.local, peer.takes_runs);
        topic.tell(role)
    }

    fn disconnect(&self, role: Role, peer: &Peer) -> Changed {
        let Entry::Occupied(mut entry) = self.topics.entry(peer.topic.clone()) else { return Vec::new() };
        let topic = entry.get_mut();
        topic.connections(role).remove(peer.local, peer.takes_runs);
        let changed = topic.tell(role);
        if topic.is_unused() {
            entry.remove();
        }
        changed
    }

    /// Publishers and subscribers known of, those of this node included.
    pub(crate) fn peer_count(&self) -> usize {
        self.peers.len()
    }
}

impl PeerKey {
    fn new(role: Role, info: &TopicInfo) -> Self {
        Self {
            role,
            host_name: info.host_name.as_str().into(),
            process_id: info.process_id,
            id: info.topic_id,
        }
    }
}

impl Topic {
    fn is_unused(&self) -> bool {
        self.publishers.is_empty()
            && self.readers.is_empty()
            && self.matched_publishers.total() + self.matched_subscribers.total() == 0
    }

    fn connections(&mut self, role: Role) -> &mut Connections {
        match role {
            Role::Publisher => &mut self.matched_publishers,
            Role::Subscriber => &mut self.matched_subscribers,
        }
    }

    /// Tells the entities on the other side of the topic how many peers of `role` there are now.
    fn tell(&self, role: Role) -> Changed {
        match role {
            Role::Publisher => self
                .readers
                .iter()
                .map(|reader| &reader.entity)
                .filter(|entity| entity.set_connections(self.matched_publishers))
                .cloned()
                .collect(),
            Role::Subscriber => self
                .publishers
                .iter()
                .filter(|entity| entity.set_connections(self.matched_subscribers))
                .cloned()
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ferrocal_proto::{DataType, Layer};

    use super::*;
    use crate::SubscriberConfig;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn info(topic: &str, id: u64) -> TopicInfo {
        let udp = Layer { kind: LayerKind::UdpMulticast, version: 2, enabled: true, active: false };
        TopicInfo {
            host_name: "host".into(),
            shm_transport_domain: "host".into(),
            process_id: 7,
            topic_id: EntityId::from_wire(&id.to_string()),
            topic_name: topic.into(),
            layers: vec![udp],
            ..TopicInfo::default()
        }
    }

    fn entity(role: Role, topic: &str) -> Arc<Entity> {
        Arc::new(Entity::new(EntityId::from_wire("1000"), role, topic, DataType::default()))
    }

    fn reader(topic: &str) -> Arc<Reader> {
        let inbox = Inbox::new(SubscriberConfig::default(), 8);
        Arc::new(Reader { entity: entity(Role::Subscriber, topic), inbox })
    }

    #[test]
    fn the_second_registration_connects() {
        let topics = Topics::new(10);
        let publisher = entity(Role::Publisher, "a");
        topics.add_publisher(publisher.clone());
        let now = Instant::now();
        assert!(topics.seen(now, Role::Subscriber, &info("a", 1), true).unwrap().is_empty());
        assert_eq!(publisher.connected(), 0);
        let changed = topics.seen(now, Role::Subscriber, &info("a", 1), true).unwrap();
        assert_eq!(changed.len(), 1);
        assert_eq!(publisher.connected(), 1);
        assert!(topics.seen(now, Role::Subscriber, &info("a", 1), true).unwrap().is_empty(), "nothing new");
        for _ in 0..2 {
            topics.seen(now, Role::Subscriber, &info("b", 2), true).unwrap();
            topics.seen(now, Role::Publisher, &info("a", 3), true).unwrap();
        }
        assert_eq!(publisher.connected(), 1, "other topics and other publishers do not count");
    }

    #[test]
    fn who_comes_later_is_matched_with_known_peers_at_once() {
        let topics = Topics::new(10);
        let now = Instant::now();
        topics.seen(now, Role::Publisher, &info("a", 1), true).unwrap();
        topics.seen(now, Role::Publisher, &info("a", 1), true).unwrap();
        topics.seen(now, Role::Publisher, &info("a", 2), false).unwrap();
        let reader = reader("a");
        topics.add_reader(reader.clone());
        assert_eq!(reader.entity.connected(), 1);
        topics.seen(now, Role::Publisher, &info("a", 2), false).unwrap();
        assert_eq!(reader.entity.connected(), 2);
    }

    #[test]
    fn peers_that_leave_or_fall_silent_are_disconnected() {
        let topics = Topics::new(10);
        let reader = reader("a");
        topics.add_reader(reader.clone());
        let start = Instant::now();
        for id in 1..=3 {
            for _ in 0..2 {
                topics.seen(start + Duration::from_secs(id), Role::Publisher, &info("a", id), true).unwrap();
            }
        }
        assert_eq!(reader.entity.connected(), 3);
        assert_eq!(topics.gone(Role::Publisher, &info("a", 3)).len(), 1);
        assert_eq!(reader.entity.connected(), 2);
        assert!(topics.expire(start + TIMEOUT, TIMEOUT).is_empty());
        assert_eq!(topics.expire(start + TIMEOUT + Duration::from_secs(1), TIMEOUT).len(), 1);
        assert_eq!(reader.entity.connected(), 1);
        assert_eq!(
            topics.gone(Role::Publisher, &info("a", 2)).len()
                + topics.gone(Role::Publisher, &info("a", 1)).len(),
            1
        );
        assert_eq!((reader.entity.connected(), topics.peer_count()), (0, 0));
        topics.remove(&reader.entity);
        assert!(topics.topics.is_empty(), "an unused topic is forgotten");
    }

    #[test]
    fn a_peer_that_reads_no_udp_or_moves_to_another_topic_is_not_connected() {
        let topics = Topics::new(10);
        let publisher = entity(Role::Publisher, "a");
        topics.add_publisher(publisher.clone());
        let now = Instant::now();
        let mut without_udp = info("a", 1);
        without_udp.layers[0].kind = LayerKind::SharedMemory;
        for _ in 0..3 {
            topics.seen(now, Role::Subscriber, &without_udp, true).unwrap();
        }
        assert_eq!(publisher.connected(), 0);
        topics.seen(now, Role::Subscriber, &info("a", 1), true).unwrap();
        assert_eq!(publisher.connected(), 1, "now it does");
        topics.seen(now, Role::Subscriber, &info("b", 1), true).unwrap();
        assert_eq!(publisher.connected(), 0);
    }

    #[test]
    fn the_table_of_peers_is_bounded() {
        let topics = Topics::new(2);
        let now = Instant::now();
        for id in [1, 2, 1, 2] {
            topics.seen(now, Role::Publisher, &info("a", id), true).unwrap();
        }
        topics.seen(now, Role::Publisher, &info("a", 3), true).unwrap_err();
        topics.gone(Role::Publisher, &info("a", 1));
        topics.seen(now, Role::Publisher, &info("a", 3), true).unwrap();
    }
}
