//! Who is there: the tables of this node's entities and of all peers, and the matching between them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrocal_proto::{DataType, EntityId, TopicInfo};

use super::entity::{Connections, Entity, Role};
use crate::layer::Destination;

/// Identity of a publisher or subscriber of any node, this one's included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PeerKey {
    role: Role,
    process: ProcessKey,
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
    /// Whether the node that registered last joins segments.
    joins_segments: bool,
    /// When a node that does not registered last after one that does. A process may hold nodes of both kinds, which take
    /// turns; a node that has only just opened its receiver is not one of two.
    last_mixed: Option<Instant>,
}

/// A publisher or subscriber that registered.
#[derive(Debug)]
struct Peer {
    topic: Arc<str>,
    /// Without the descriptor, if it is a subscriber or there is no room.
    data_type: Arc<DataType>,
    last_seen: Instant,
    /// Registrations seen; the second one makes the connection (wire-format.md, section 5).
    sightings: u8,
    /// What it adds to the connections of the entities of its topic, if it is matched.
    link: Option<Link>,
    /// What it is charged of the table's memory.
    bytes: usize,
}

/// What is known of the way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) local: bool,
    /// The index of the layer that payload takes to it. `None` for publishers, which choose themselves.
    pub(super) layer: Option<usize>,
    /// Whether its system joins consecutive datagrams before it reads them.
    pub(super) joins_segments: bool,
}

#[derive(Debug, Default)]
struct Topic {
    /// This node's publishers and subscribers.
    publishers: Vec<Arc<Entity>>,
    subscribers: Vec<Arc<Entity>>,
    /// The matched peers of each role.
    peer_publishers: Connections,
    peer_subscribers: Connections,
}

/// A registration that was not stored, because the tables are full.
#[derive(Debug)]
pub(super) struct Full;

/// The entities of this node whose connections changed.
pub(super) type Changed = Vec<Arc<Entity>>;

/// What a step changed.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) changed: Changed,
    pub(super) type_conflicts: Vec<TypeConflict>,
    /// Publishers that are not there any more.
    pub(super) gone: Vec<GonePublisher>,
}

/// An entity of this node that was matched with a peer of another data type.
#[derive(Debug)]
pub(super) struct TypeConflict {
    pub(super) entity: Arc<Entity>,
    /// The peer's data type and process.
    pub(super) type_name: Box<str>,
    pub(super) host_name: Box<str>,
    pub(super) process_id: i32,
}

/// A publisher that unregistered or fell silent.
#[derive(Debug)]
pub(super) struct GonePublisher {
    pub(super) topic: Arc<str>,
    pub(super) host_name: Box<str>,
    pub(super) id: EntityId,
}

/// All tables. Every change of connections is one step: nobody sees what is between.
#[derive(Debug)]
pub(super) struct Tables {
    topics: HashMap<Arc<str>, Topic>,
    peers: HashMap<PeerKey, Peer>,
    processes: HashMap<ProcessKey, Process>,
    /// Publishers of this node's topics that left before their time. Their messages may still wait in queues.
    departed: VecDeque<(PeerKey, Peer)>,
    max_peers: usize,
    max_bytes: usize,
    /// What peers and processes are charged.
    bytes: usize,
}

/// How many publishers that left are remembered.
const MAX_DEPARTED: usize = 64;
/// Room for an entry beside its texts: keys, values and the table's own. Rather too much than too little.
const ENTRY_OVERHEAD: usize = 512;

impl Tables {
    pub(super) fn new(max_peers: usize, max_bytes: usize) -> Self {
        Self {
            topics: HashMap::new(),
            peers: HashMap::new(),
            processes: HashMap::new(),
            departed: VecDeque::new(),
            max_peers,
            max_bytes,
            bytes: 0,
        }
    }

    /// Adds an entity of this node. It is matched at once with the peers that are known well enough. Returns those of
    /// them that have another data type.
    pub(super) fn add(&mut self, entity: Arc<Entity>) -> Vec<TypeConflict> {
        let is_matched = |key: &PeerKey, peer: &Peer| {
            key.role == entity.role.other() && peer.topic == entity.topic && peer.link.is_some()
        };
        let conflicts = self
            .peers
            .iter()
            .filter(|(key, peer)| is_matched(key, peer))
            .filter_map(|(key, peer)| TypeConflict::between(&entity, &key.process, &peer.data_type.name))
            .collect();
        let topic = self.topics.entry(entity.topic.clone()).or_default();
        entity.set_connections(match entity.role {
            Role::Publisher => topic.peer_subscribers,
            Role::Subscriber => topic.peer_publishers,
        });
        topic.entities(entity.role).push(entity);
        conflicts
    }

    pub(super) fn remove(&mut self, entity: &Entity) {
        if let Some(topic) = self.topics.get_mut(&entity.topic) {
            topic.entities(entity.role).retain(|one| one.id != entity.id);
            self.forget_unused(&entity.topic.clone());
        }
    }

    /// All entities of this node.
    pub(super) fn entities(&self) -> Vec<Arc<Entity>> {
        self.topics
            .values()
            .flat_map(|topic| topic.publishers.iter().chain(&topic.subscribers))
            .cloned()
            .collect()
    }

    /// The peers known of, this node's own entities included.
    pub(super) fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// What the peers are charged, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The matched subscribers of a topic that a layer carries payload to.
    pub(super) fn destinations(&self, topic: &str, layer: usize) -> Vec<Destination> {
        let on_topic =
            self.peers.iter().filter(|(key, peer)| key.role == Role::Subscriber && *peer.topic == *topic);
        let links = on_topic.filter_map(|(key, peer)| Some((key, peer.link?)));
        links
            .filter(|(_, link)| link.layer == Some(layer))
            .map(|(key, link)| Destination {
                process_id: key.process.process_id,
                local: link.local,
                joins_segments: link.joins_segments,
            })
            .collect()
    }

    /// The process and the data type of a publisher, if it registered and its id names the process, as those of eCAL 6
    /// do (wire-format.md, section 5). The network says which publishers are asked for, so this is no search.
    pub(super) fn publisher(&self, host_name: &str, id: EntityId) -> Option<(i32, Arc<DataType>)> {
        let process_id = i32::try_from(id.get() >> 40).ok()?;
        let process = ProcessKey { host_name: host_name.into(), process_id };
        let key = PeerKey { role: Role::Publisher, process, id };
        let departed = || self.departed.iter().rev().find(|(other, _)| *other == key).map(|(_, peer)| peer);
        let peer = self.peers.get(&key).or_else(departed)?;
        Some((process_id, peer.data_type.clone()))
    }

    /// Stores a process's registration: whether its nodes join segments.
    pub(super) fn process_seen(
        &mut self,
        now: Instant,
        host_name: &str,
        process_id: i32,
        joins_segments: bool,
    ) -> Result<(), Full> {
        let has_room = self.has_room(self.processes.len(), ENTRY_OVERHEAD + host_name.len());
        let process = match self.processes.entry(ProcessKey { host_name: host_name.into(), process_id }) {
            Entry::Vacant(_) if !has_room => return Err(Full),
            Entry::Vacant(entry) => {
                self.bytes += ENTRY_OVERHEAD + host_name.len();
                entry.insert(Process { last_seen: now, joins_segments, last_mixed: None })
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        process.last_seen = now;
        if process.joins_segments && !joins_segments {
            process.last_mixed = Some(now);
        }
        process.joins_segments = joins_segments;
        Ok(())
    }

    /// Whether all nodes of a process join segments. A process that did not register does not.
    pub(super) fn joins_segments(&self, info: &TopicInfo) -> bool {
        self.processes
            .get(&ProcessKey::new(info))
            .is_some_and(|process| process.joins_segments && process.last_mixed.is_none())
    }

    /// Stores the registration of a publisher or subscriber. `link` is the way to it, or `None` if it cannot be reached.
    pub(super) fn seen(
        &mut self,
        now: Instant,
        role: Role,
        info: &TopicInfo,
        link: Option<Link>,
    ) -> Result<Outcome, Full> {
        let DataType { name, encoding, descriptor } = &info.data_type;
        let cost =
            ENTRY_OVERHEAD + info.host_name.len() + info.topic_name.len() + name.len() + encoding.len();
        let key = PeerKey::new(role, info);
        let (charged, known) = self.peers.get(&key).map_or((0, false), |peer| (peer.bytes, true));
        if !known && !self.has_room(self.peers.len(), cost) || !self.has_room(0, cost.saturating_sub(charged))
        {
            return Err(Full);
        }
        // A publisher whose descriptor has no room is connected without it.
        let described = cost + if role == Role::Publisher { descriptor.len() } else { 0 };
        let has_room = self.has_room(0, described.saturating_sub(charged));
        let (cost, descriptor) =
            if has_room && described > cost { (described, &**descriptor) } else { (cost, &[][..]) };
        self.bytes = self.bytes - charged + cost;
        let peer = self.peers.entry(key).or_insert_with(|| Peer {
            topic: info.topic_name.as_str().into(),
            data_type: Arc::default(),
            last_seen: now,
            sightings: 0,
            link: None,
            bytes: 0,
        });
        peer.bytes = cost;
        peer.last_seen = now;
        let before = (peer.topic.clone(), peer.link);
        if *peer.topic != *info.topic_name {
            peer.topic = info.topic_name.as_str().into();
            peer.sightings = 0;
        }
        let known = &*peer.data_type;
        let has_new_type =
            known.name != *name || known.encoding != *encoding || known.descriptor != *descriptor;
        if has_new_type {
            // A descriptor that was received shares the memory of the whole registration.
            let descriptor = Bytes::copy_from_slice(descriptor);
            let (name, encoding) = (name.clone(), encoding.clone());
            peer.data_type = Arc::new(DataType { name, encoding, descriptor });
        }
        peer.sightings = peer.sightings.saturating_add(1);
        peer.link = link.filter(|_| peer.sightings >= 2);
        let after = (peer.topic.clone(), peer.link);
        let is_new = after.1.is_some() && before.1.is_none();
        let mut outcome = Outcome { changed: self.relink(role, before, after), ..Outcome::default() };
        if has_new_type && let Some(topic) = self.topics.get(&*info.topic_name) {
            topic.subscribers.iter().for_each(|subscriber| subscriber.touch());
        }
        if is_new {
            outcome.type_conflicts = self.type_conflicts(role, info);
        }
        Ok(outcome)
    }

    /// Removes a publisher or subscriber that unregistered.
    pub(super) fn gone(&mut self, role: Role, info: &TopicInfo) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some((key, peer)) = self.peers.remove_entry(&PeerKey::new(role, info)) {
            self.forget(key, peer, &mut outcome);
        }
        outcome
    }

    /// Removes the peers that were not heard of for `timeout`.
    pub(super) fn expire(&mut self, now: Instant, timeout: Duration) -> Outcome {
        let is_expired = |last_seen| now.saturating_duration_since(last_seen) >= timeout;
        let expired: Vec<_> = self.peers.extract_if(|_, peer| is_expired(peer.last_seen)).collect();
        let mut outcome = Outcome::default();
        for (key, peer) in expired {
            self.forget(key, peer, &mut outcome);
        }
        let bytes = &mut self.bytes;
        self.departed.retain(|(_, peer)| {
            let stays = !is_expired(peer.last_seen);
            if !stays {
                *bytes -= peer.bytes;
            }
            stays
        });
        self.processes.retain(|key, process| {
            process.last_mixed = process.last_mixed.filter(|&mixed| !is_expired(mixed));
            let stays = !is_expired(process.last_seen);
            if !stays {
                *bytes -= ENTRY_OVERHEAD + key.host_name.len();
            }
            stays
        });
        outcome
    }

    fn has_room(&self, count: usize, cost: usize) -> bool {
        count < self.max_peers && self.bytes + cost <= self.max_bytes
    }

    fn forget(&mut self, key: PeerKey, peer: Peer, outcome: &mut Outcome) {
        let topic = peer.topic.clone();
        outcome.changed.extend(self.relink(key.role, (topic.clone(), peer.link), (topic.clone(), None)));
        let is_read = self.topics.get(&topic).is_some_and(|topic| !topic.subscribers.is_empty());
        if key.role == Role::Publisher {
            let host_name = key.process.host_name.clone();
            outcome.gone.push(GonePublisher { topic, host_name, id: key.id });
        }
        if key.role == Role::Publisher && is_read && !peer.data_type.encoding.is_empty() {
            self.departed.push_back((key, peer));
            if self.departed.len() > MAX_DEPARTED
                && let Some((_, oldest)) = self.departed.pop_front()
            {
                self.bytes -= oldest.bytes;
            }
        } else {
            self.bytes -= peer.bytes;
        }
    }

    /// Replaces what a peer adds to the connections of its topic. Returns the entities that this changed.
    fn relink(
        &mut self,
        role: Role,
        before: (Arc<str>, Option<Link>),
        after: (Arc<str>, Option<Link>),
    ) -> Changed {
        let mut changed = Changed::new();
        if before == after {
            return changed;
        }
        let moved = before.0 != after.0;
        let ends = if moved { vec![before, (after.0.clone(), None)] } else { vec![before] };
        let new = after.1;
        for (index, (name, old)) in ends.into_iter().enumerate() {
            let new = new.filter(|_| !moved || index == 1);
            if old.is_none() && new.is_none() {
                continue;
            }
            let topic = self.topics.entry(name.clone()).or_default();
            let connections = topic.peers(role);
            if let Some(old) = old {
                connections.remove(old);
            }
            if let Some(new) = new {
                connections.add(new);
            }
            let connections = *connections;
            changed.extend(
                topic
                    .entities(role.other())
                    .iter()
                    .filter(|entity| entity.set_connections(connections))
                    .cloned(),
            );
            self.forget_unused(&name);
        }
        changed
    }

    fn type_conflicts(&mut self, role: Role, info: &TopicInfo) -> Vec<TypeConflict> {
        let process = ProcessKey::new(info);
        let Some(topic) = self.topics.get_mut(&*info.topic_name) else { return Vec::new() };
        let entities = topic.entities(role.other()).iter();
        entities.filter_map(|entity| TypeConflict::between(entity, &process, &info.data_type.name)).collect()
    }

    fn forget_unused(&mut self, topic: &str) {
        if self.topics.get(topic).is_some_and(Topic::is_unused) {
            self.topics.remove(topic);
        }
    }
}

impl TypeConflict {
    /// `None` if the types are the same, or one of them is not known.
    fn between(entity: &Arc<Entity>, process: &ProcessKey, type_name: &str) -> Option<Self> {
        let own = &entity.data_type().name;
        let differs = !own.is_empty() && !type_name.is_empty() && own != type_name;
        differs.then(|| Self {
            entity: entity.clone(),
            type_name: type_name.into(),
            host_name: process.host_name.clone(),
            process_id: process.process_id,
        })
    }
}

impl ProcessKey {
    fn new(info: &TopicInfo) -> Self {
        Self { host_name: info.host_name.as_str().into(), process_id: info.process_id }
    }
}

impl PeerKey {
    fn new(role: Role, info: &TopicInfo) -> Self {
        Self { role, process: ProcessKey::new(info), id: info.topic_id }
    }
}

impl Topic {
    fn is_unused(&self) -> bool {
        self.publishers.is_empty()
            && self.subscribers.is_empty()
            && self.peer_publishers.total() + self.peer_subscribers.total() == 0
    }

    fn entities(&mut self, role: Role) -> &mut Vec<Arc<Entity>> {
        match role {
            Role::Publisher => &mut self.publishers,
            Role::Subscriber => &mut self.subscribers,
        }
    }

    fn peers(&mut self, role: Role) -> &mut Connections {
        match role {
            Role::Publisher => &mut self.peer_publishers,
            Role::Subscriber => &mut self.peer_subscribers,
        }
    }
}

#[cfg(test)]
mod tests;
