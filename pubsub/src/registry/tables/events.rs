//! What happens to the connections of this node's entities, for those who listen.

use std::sync::Arc;
use std::time::SystemTime;

use ferrocal_proto::{DataType, EntityId, Text};

use super::super::entity::{Entity, Role};
use super::super::outcome::Outcome;
use super::{Peer, PeerKey, Tables, TopicName};
use crate::feed::FeedSender;
use crate::layer::LayerChoice;

/// Something that happened to a publisher or subscriber of this node.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The peer that it is about. `None` for [`EventKind::CallbackEnded`], and for lost messages of a publisher that is
    /// not registered any more.
    pub peer: Option<Arc<MatchedPeer>>,
    /// When this node noticed it, by the system's clock.
    pub time: SystemTime,
}

/// What happened to a publisher or subscriber of this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// A peer was matched.
    Connected,
    /// A matched peer unregistered, or did not register for
    /// [`RegistrationConfig::timeout`](crate::RegistrationConfig::timeout), or cannot be reached any more.
    Disconnected,
    /// The data type of a matched peer is another than before.
    TypeChanged,
    /// The name of a matched peer's data type differs from that of this publisher or subscriber. Follows
    /// [`Connected`](Self::Connected) or [`TypeChanged`](Self::TypeChanged).
    TypeDiffers,
    /// Messages of a publisher did not arrive. Reported with each refresh
    /// ([`RegistrationConfig::refresh`](crate::RegistrationConfig::refresh)), and not for each message.
    Lost {
        /// How many, since the last such event of this publisher.
        messages: u64,
    },
    /// The callback panicked: the subscription has ended.
    CallbackEnded,
}

/// A publisher or subscriber that one of this node is matched with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MatchedPeer {
    /// The name of its host.
    pub host_name: Text,
    /// The id of its process on that host.
    pub process_id: i32,
    /// The path of its process's executable.
    pub process_name: Text,
    /// The name that its process gave itself.
    pub unit_name: Text,
    /// Its id on the wire.
    pub id: EntityId,
    /// Its data type. Without the descriptor if it is a subscriber, or if there was no room for it.
    pub data_type: Arc<DataType>,
    /// If it is a subscriber: which layer carries messages to it, and why not the others. Empty for a publisher, which
    /// chooses itself.
    pub layers: Vec<LayerChoice>,
}

impl MatchedPeer {
    fn new(key: &PeerKey, peer: &Peer, layers: Vec<LayerChoice>) -> Self {
        Self {
            host_name: key.process.host_name.clone(),
            process_id: key.process.process_id,
            process_name: peer.process_name.clone(),
            unit_name: peer.unit_name.clone(),
            id: key.id,
            data_type: peer.data_type.clone(),
            layers,
        }
    }

    fn bytes(&self) -> usize {
        let DataType { name, encoding, descriptor } = &*self.data_type;
        let texts = self.host_name.len() + self.process_name.len() + self.unit_name.len();
        texts + name.len() + encoding.len() + descriptor.len()
    }
}

impl Event {
    pub(crate) fn new(kind: EventKind, peer: Option<Arc<MatchedPeer>>) -> Self {
        Self { kind, peer, time: SystemTime::now() }
    }

    /// Has a listener hear of it. What waits keeps the peer's data type, though that may have changed since.
    pub(crate) fn send_to(self, listener: &FeedSender<Self>) {
        let bytes = size_of::<MatchedPeer>() + self.peer.as_ref().map_or(0, |peer| peer.bytes());
        listener.send(self, bytes);
    }
}

impl Tables {
    /// The peers that an entity is matched with.
    pub(in crate::registry) fn matched(&self, entity: &Entity) -> Vec<MatchedPeer> {
        let is_matched = |key: &PeerKey, peer: &Peer| {
            key.role == entity.role.other()
                && *peer.topic == *entity.topic.as_bytes()
                && peer.link.is_some_and(|link| entity.is_matched(link))
        };
        let peers = self.peers.iter().filter(|(key, peer)| is_matched(key, peer));
        let layers = |peer: &Peer| peer.link.map_or_else(Vec::new, |link| entity.explain(link));
        peers.map(|(key, peer)| MatchedPeer::new(key, peer, layers(peer))).collect()
    }

    /// A publisher that registered, by the process that its id names.
    pub(in crate::registry) fn publisher_peer(&self, host_name: &[u8], id: EntityId) -> Option<MatchedPeer> {
        let key = PeerKey::of_publisher(host_name.into(), id)?;
        self.peers.get(&key).map(|peer| MatchedPeer::new(&key, peer, Vec::new()))
    }

    /// Adds what a peer's step means to the entities of a topic, as far as somebody listens: `step` returns it for each.
    pub(super) fn report(
        &self,
        topic: &TopicName,
        key: &PeerKey,
        peer: &Peer,
        step: impl Fn(&Entity) -> Option<EventKind>,
        outcome: &mut Outcome,
    ) {
        let Some(topic) = self.topics.get(topic) else { return };
        let entities = match key.role {
            Role::Publisher => &topic.subscribers,
            Role::Subscriber => &topic.publishers,
        };
        for entity in entities {
            let listeners = entity.listeners();
            let Some(kind) = step(entity).filter(|_| !listeners.is_empty()) else { continue };
            let (own, other) = (&entity.data_type().name, &peer.data_type.name);
            let differs = !own.is_empty() && !other.is_empty() && own != other;
            let follows = matches!(kind, EventKind::Connected | EventKind::TypeChanged) && differs;
            let matched = Arc::new(MatchedPeer::new(
                key,
                peer,
                peer.link.map_or_else(Vec::new, |link| entity.explain(link)),
            ));
            for kind in [Some(kind), follows.then_some(EventKind::TypeDiffers)].into_iter().flatten() {
                let event = Event::new(kind, Some(matched.clone()));
                outcome.events.extend(listeners.iter().map(|listener| (listener.clone(), event.clone())));
            }
        }
    }
}
