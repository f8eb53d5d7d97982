//! Who is there: the tables of this node's entities and of all peers, and the matching between them.

mod events;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrocal_proto::{DataType, EntityId, Text, TopicInfo};

use super::entity::{Entity, Peers, Role};
use super::identity::Runtime;
use super::outcome::{Changed, Full, GonePublisher, Known, Outcome, Seen, TypeConflict};
use crate::layer::{Destination, LayerSet};

pub use events::{Event, EventKind, MatchedPeer};

/// A topic's name as it stands on the wire, where it need not be UTF-8.
pub(super) type TopicName = Arc<[u8]>;

/// Identity of a publisher or subscriber of any node, this one's included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PeerKey {
    role: Role,
    process: ProcessKey,
    id: EntityId,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ProcessKey {
    pub(super) host_name: Text,
    pub(super) process_id: i32,
}

#[derive(Debug)]
struct Process {
    last_seen: Instant,
    /// That of the node that registered last.
    runtime: Runtime,
    /// When a node that does not registered last after one that does. A process may hold nodes of both kinds, which take
    /// turns; a node that has only just opened its receiver is not one of two.
    last_mixed: Option<Instant>,
    /// When a node registered last whose topics may have other groups.
    last_foreign: Option<Instant>,
}

/// A publisher or subscriber that registered.
#[derive(Debug)]
struct Peer {
    topic: TopicName,
    process_name: Text,
    unit_name: Text,
    /// Without the descriptor, if it is a subscriber or there is no room.
    data_type: Arc<DataType>,
    last_seen: Instant,
    /// Registrations seen; the second one makes the connection (wire-format.md, section 5).
    sightings: u8,
    /// The way to it, if there is one. Publishers that may use none of its layers are not matched all the same.
    link: Option<Link>,
    /// Since when it registers without any of this node's layers, while this node has its counterpart.
    without_layer: Option<Instant>,
    /// What it is charged of the table's memory.
    bytes: usize,
}

/// What is known of the way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) local: bool,
    /// The layers by which payload reaches it. Empty for publishers, which choose themselves.
    pub(super) layers: LayerSet,
    pub(super) runtime: Runtime,
}

#[derive(Debug, Default)]
struct Topic {
    /// This node's publishers and subscribers.
    publishers: Vec<Arc<Entity>>,
    subscribers: Vec<Arc<Entity>>,
    /// The matched peers of each role.
    peer_publishers: Peers,
    peer_subscribers: Peers,
}

/// All tables. Every change of connections is one step: nobody sees what is between.
#[derive(Debug)]
pub(super) struct Tables {
    topics: HashMap<TopicName, Topic>,
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
            key.role == entity.role.other()
                && *peer.topic == *entity.topic.as_bytes()
                && peer.link.is_some_and(|link| entity.is_matched(link))
        };
        let conflicts = self
            .peers
            .iter()
            .filter(|(key, peer)| is_matched(key, peer))
            .filter_map(|(key, peer)| TypeConflict::between(&entity, &key.process, &peer.data_type.name))
            .collect();
        let topic = self.topics.entry(entity.topic.clone().into()).or_default();
        entity.set_connections(match entity.role {
            Role::Publisher => topic.peer_subscribers,
            Role::Subscriber => topic.peer_publishers,
        });
        topic.entities(entity.role).push(entity);
        conflicts
    }

    pub(super) fn remove(&mut self, entity: &Entity) {
        if let Some(topic) = self.topics.get_mut(entity.topic.as_bytes()) {
            topic.entities(entity.role).retain(|one| one.id != entity.id);
            self.forget_unused(entity.topic.as_bytes());
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

    /// One of this node's counterparts of a peer.
    pub(super) fn counterpart(&mut self, role: Role, topic: &[u8]) -> Option<Arc<Entity>> {
        self.topics.get_mut(topic)?.entities(role.other()).first().cloned()
    }

    /// Whether one of this node's counterparts of a peer shares a layer with it, of those of `reaching`.
    pub(super) fn share_layer(
        &mut self,
        role: Role,
        topic: &[u8],
        is_local: bool,
        reaching: LayerSet,
    ) -> bool {
        let counterparts = self.topics.get_mut(topic).map(|topic| &*topic.entities(role.other()));
        let shares = |one: &Arc<Entity>| match role {
            Role::Publisher => one.layers().has_one_of(reaching),
            Role::Subscriber => one.layers().choose(is_local, reaching).is_some(),
        };
        counterparts.is_some_and(|all| all.iter().any(shares))
    }

    /// The peers known of, this node's own entities included.
    pub(super) fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// What the peers are charged, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The matched subscribers that a layer carries a publisher's payload to.
    pub(super) fn destinations(&self, publisher: &Entity, layer: usize) -> Vec<Destination> {
        let topic = publisher.topic.as_bytes();
        let on_topic =
            self.peers.iter().filter(|(key, peer)| key.role == Role::Subscriber && *peer.topic == *topic);
        let links = on_topic.filter_map(|(key, peer)| Some((key, peer.link?)));
        links
            .filter(|(_, link)| publisher.layer_to(*link) == Some(layer))
            .map(|(key, link)| Destination {
                id: key.id,
                host_name: key.process.host_name.clone(),
                process_id: key.process.process_id,
                local: link.local,
                joins_segments: link.runtime.joins_segments,
                shares_groups: link.runtime.shares_groups,
            })
            .collect()
    }

    /// The peers of a role, of a topic and of all.
    pub(super) fn known(&self, topic: &str, role: Role) -> Known {
        let peers = || self.peers.iter().filter(|(key, _)| key.role == role).map(|(_, peer)| peer);
        let on_topic = peers().filter(|peer| *peer.topic == *topic.as_bytes());
        Known {
            unreachable: on_topic.filter(|peer| peer.link.is_none()).count(),
            topics: peers().map(|peer| peer.topic.clone()).collect(),
        }
    }

    /// Whether a publisher is registered, of whatever process. This is a search.
    pub(super) fn has_publisher(&self, host_name: &[u8], id: EntityId) -> bool {
        let is_it = |key: &PeerKey| {
            key.role == Role::Publisher && key.id == id && *key.process.host_name == *host_name
        };
        self.peers.keys().any(is_it)
    }

    /// The process and the data type of a publisher, if it registered and its id names the process, as those of eCAL 6
    /// do (wire-format.md, section 5). The network says which publishers are asked for, so this is no search.
    pub(super) fn publisher(&self, host_name: &[u8], id: EntityId) -> Option<(i32, Arc<DataType>)> {
        let key = PeerKey::of_publisher(host_name.into(), id)?;
        let departed = || self.departed.iter().rev().find(|(other, _)| *other == key).map(|(_, peer)| peer);
        let peer = self.peers.get(&key).or_else(departed)?;
        Some((key.process.process_id, peer.data_type.clone()))
    }

    /// Stores a process's registration: what its nodes are.
    pub(super) fn process_seen(
        &mut self,
        now: Instant,
        host_name: &[u8],
        process_id: i32,
        runtime: Runtime,
    ) -> Result<(), Full> {
        let has_room = self.has_room(self.processes.len(), ENTRY_OVERHEAD + host_name.len());
        let process = match self.processes.entry(ProcessKey { host_name: host_name.into(), process_id }) {
            Entry::Vacant(_) if !has_room => return Err(Full),
            Entry::Vacant(entry) => {
                self.bytes += ENTRY_OVERHEAD + host_name.len();
                entry.insert(Process { last_seen: now, runtime, last_mixed: None, last_foreign: None })
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        process.last_seen = now;
        if process.runtime.joins_segments && !runtime.joins_segments {
            process.last_mixed = Some(now);
        }
        if !runtime.shares_groups {
            process.last_foreign = Some(now);
        }
        process.runtime = runtime;
        Ok(())
    }

    /// What is true of all nodes of a process. Of one that did not register, nothing is.
    pub(super) fn runtime(&self, info: &TopicInfo) -> Runtime {
        self.processes.get(&ProcessKey::new(info)).map_or_else(Runtime::default, |process| Runtime {
            shares_groups: process.last_foreign.is_none(),
            joins_segments: process.runtime.joins_segments && process.last_mixed.is_none(),
        })
    }

    /// Stores the registration of a publisher or subscriber. `link` is the way to it, or `None` if it cannot be reached;
    /// `has_layer` is whether it [shares a layer](Self::share_layer) with one of its counterparts.
    pub(super) fn seen(
        &mut self,
        now: Instant,
        role: Role,
        info: &TopicInfo,
        link: Option<Link>,
        has_layer: bool,
    ) -> Result<Outcome, Full> {
        let DataType { name, encoding, descriptor } = &info.data_type;
        let cost = ENTRY_OVERHEAD
            + info.host_name.len()
            + info.topic_name.len()
            + name.len()
            + encoding.len()
            + info.process_name.len()
            + info.unit_name.len();
        let key = PeerKey::new(role, info);
        let (charged, known) = self.peers.get(&key).map_or((0, false), |peer| (peer.bytes, true));
        if !known && !self.has_room(self.peers.len(), cost) || !self.has_room(0, cost.saturating_sub(charged))
        {
            // One that is known stays as it was.
            if let Some(peer) = self.peers.get_mut(&key) {
                peer.last_seen = now;
            }
            return Err(Full);
        }
        // A publisher whose descriptor has no room is connected without it.
        let described = cost + if role == Role::Publisher { descriptor.len() } else { 0 };
        let has_room = self.has_room(0, described.saturating_sub(charged));
        let (cost, descriptor) =
            if has_room && described > cost { (described, descriptor.clone()) } else { (cost, Bytes::new()) };
        self.bytes = self.bytes - charged + cost;
        let has_counterpart = self
            .topics
            .get_mut(&*info.topic_name)
            .is_some_and(|topic| !topic.entities(role.other()).is_empty());
        let peer = self.peers.entry(key).or_insert_with(|| Peer {
            topic: info.topic_name.as_bytes().into(),
            process_name: info.process_name.clone(),
            unit_name: info.unit_name.clone(),
            data_type: Arc::default(),
            last_seen: now,
            sightings: 0,
            link: None,
            without_layer: None,
            bytes: 0,
        });
        peer.bytes = cost;
        peer.last_seen = now;
        let before = (peer.topic.clone(), peer.link);
        if *peer.topic != *info.topic_name {
            peer.topic = info.topic_name.as_bytes().into();
            peer.sightings = 0;
        }
        let known = &*peer.data_type;
        let has_new_type =
            known.name != *name || known.encoding != *encoding || known.descriptor != descriptor;
        if has_new_type {
            let (name, encoding) = (name.clone(), encoding.clone());
            peer.data_type = Arc::new(DataType { name, encoding, descriptor });
        }
        for (known, name) in
            [(&mut peer.process_name, &info.process_name), (&mut peer.unit_name, &info.unit_name)]
        {
            if known != name {
                known.clone_from(name);
            }
        }
        peer.sightings = peer.sightings.saturating_add(1);
        let link = link.filter(|_| peer.sightings >= 2);
        peer.link = link;
        let after = (peer.topic.clone(), link);
        let is_new = after.1.is_some() && (before.1.is_none() || before.0 != after.0 || has_new_type);
        peer.without_layer =
            if has_counterpart && !has_layer { peer.without_layer.or(Some(now)) } else { None };
        let without_layer_for = peer.without_layer.map(|since| now.saturating_duration_since(since));
        let seen = Seen { has_counterpart, without_layer_for };
        let mut outcome =
            Outcome { changed: self.relink(role, before.clone(), after), seen, ..Outcome::default() };
        if has_new_type && let Some(topic) = self.topics.get(&*info.topic_name) {
            topic.subscribers.iter().for_each(|subscriber| subscriber.touch());
        }
        if is_new {
            outcome.type_conflicts = self.type_conflicts(role, info);
        }
        let (old_topic, old_link) = before;
        let has_moved = *old_topic != *info.topic_name;
        if (old_link != link || has_moved || has_new_type)
            && let Some((key, peer)) = self.peers.get_key_value(&PeerKey::new(role, info))
        {
            let is_matched =
                |entity: &Entity, link: Option<Link>| link.is_some_and(|link| entity.is_matched(link));
            if has_moved {
                let disconnected =
                    |entity: &Entity| is_matched(entity, old_link).then_some(EventKind::Disconnected);
                self.report(&old_topic, key, peer, disconnected, &mut outcome);
            }
            let step = |entity: &Entity| {
                let was_matched = !has_moved && is_matched(entity, old_link);
                match (was_matched, is_matched(entity, link)) {
                    (true, false) => Some(EventKind::Disconnected),
                    (false, true) => Some(EventKind::Connected),
                    (true, true) if has_new_type => Some(EventKind::TypeChanged),
                    _ => None,
                }
            };
            self.report(&peer.topic, key, peer, step, &mut outcome);
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
            process.last_foreign = process.last_foreign.filter(|&foreign| !is_expired(foreign));
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
        if let Some(link) = peer.link {
            let disconnected = |entity: &Entity| entity.is_matched(link).then_some(EventKind::Disconnected);
            self.report(&topic, &key, &peer, disconnected, outcome);
        }
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
        before: (TopicName, Option<Link>),
        after: (TopicName, Option<Link>),
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

    fn forget_unused(&mut self, topic: &[u8]) {
        if self.topics.get(topic).is_some_and(Topic::is_unused) {
            self.topics.remove(topic);
        }
    }
}

impl ProcessKey {
    fn new(info: &TopicInfo) -> Self {
        Self { host_name: info.host_name.clone(), process_id: info.process_id }
    }
}

impl PeerKey {
    /// The key of a publisher whose id names its process, as those of eCAL 6 do (wire-format.md, section 5).
    fn of_publisher(host_name: Text, id: EntityId) -> Option<Self> {
        let process_id = i32::try_from(id.get() >> 40).ok()?;
        Some(Self { role: Role::Publisher, process: ProcessKey { host_name, process_id }, id })
    }

    fn new(role: Role, info: &TopicInfo) -> Self {
        Self { role, process: ProcessKey::new(info), id: info.topic_id }
    }
}

impl Topic {
    fn is_unused(&self) -> bool {
        self.publishers.is_empty()
            && self.subscribers.is_empty()
            && self.peer_publishers.is_empty()
            && self.peer_subscribers.is_empty()
    }

    fn entities(&mut self, role: Role) -> &mut Vec<Arc<Entity>> {
        match role {
            Role::Publisher => &mut self.publishers,
            Role::Subscriber => &mut self.subscribers,
        }
    }

    fn peers(&mut self, role: Role) -> &mut Peers {
        match role {
            Role::Publisher => &mut self.peer_publishers,
            Role::Subscriber => &mut self.peer_subscribers,
        }
    }
}

#[cfg(test)]
mod tests;
