//! A received message, and how it is made from what a layer brought.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrocal_proto::{DataType, EntityId};

use crate::core::Core;
use crate::layer::{Incoming, Origin};
use crate::registry::Entity;
use crate::{BorrowedPayload, Payload, RegisteredType};

/// A received message.
#[non_exhaustive]
pub struct Message<T: Payload + ?Sized> {
    /// What was published.
    pub payload: T::Received,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The publisher's count of its messages, from 1.
    pub clock: i64,
    /// When it was published, by the clock of the publisher's system.
    pub send_time: SystemTime,
    /// When it was received, by the clock of this system.
    pub receive_time: SystemTime,
    /// The publisher.
    pub publisher: Arc<PublisherIdentity>,
}

/// A received message whose payload is read where it lies, for the time of a callback: see
/// [`Node::subscribe_borrowed`](crate::Node::subscribe_borrowed).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BorrowedMessage<'a> {
    /// What was published.
    pub payload: BorrowedPayload<'a>,
    /// The topic's name.
    pub topic: Arc<str>,
    /// The publisher's count of its messages, from 1.
    pub clock: i64,
    /// When it was published, by the clock of the publisher's system.
    pub send_time: SystemTime,
    /// When it was received, by the clock of this system.
    pub receive_time: SystemTime,
    /// The publisher.
    pub publisher: Arc<PublisherIdentity>,
}

/// A publisher, as its messages and its registration name it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PublisherIdentity {
    /// Its id on the wire.
    pub id: EntityId,
    /// The name of its host.
    pub host_name: String,
    /// The id of its process on that host. `None` if the publisher was not registered when the message came, or is one of
    /// eCAL 5, whose messages do not say it.
    pub process_id: Option<i32>,
}

impl<T: Payload + ?Sized> Clone for Message<T>
where
    T::Received: Clone,
{
    fn clone(&self) -> Self {
        Self {
            payload: self.payload.clone(),
            topic: self.topic.clone(),
            publisher: self.publisher.clone(),
            ..*self
        }
    }
}

impl<T: Payload + ?Sized> std::fmt::Debug for Message<T>
where
    T::Received: std::fmt::Debug,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("clock", &self.clock)
            .field("publisher", &self.publisher)
            .field("payload", &self.payload)
            .finish_non_exhaustive()
    }
}

/// Makes messages of one subscriber, and counts those that cannot be decoded.
pub(crate) struct Decoder {
    core: Arc<Core>,
    entity: Arc<Entity>,
    undecodable: AtomicU64,
}

/// What a subscriber knows of the publishers of its newest messages.
#[derive(Default)]
pub(crate) struct Known {
    publishers: Vec<Seen>,
    /// Where the publisher of the message before is: consecutive messages often have the same.
    latest: usize,
    /// How many publishers there may be before those that are gone are forgotten.
    enough: usize,
    /// Their data types, each once.
    types: Vec<Arc<RegisteredType>>,
}

/// A publisher, and the data type that it registered.
#[derive(Clone)]
pub(crate) struct Publisher {
    identity: Arc<PublisherIdentity>,
    registered: Option<Arc<RegisteredType>>,
}

struct Seen {
    origin: Arc<Origin>,
    publisher: Publisher,
    /// The version of the subscriber's connections that this holds for.
    version: u64,
    /// When the registry was last told of it, if it did not register.
    heard: Instant,
}

/// How often the registry is told of messages of a publisher that did not register.
const STRANGER_EVERY: Duration = Duration::from_secs(1);
/// Data types that are remembered, and publishers as long as some of them are gone. They are collected anew when there
/// are more.
const MAX_KNOWN: usize = 16;

impl Decoder {
    pub(crate) fn new(core: Arc<Core>, entity: Arc<Entity>) -> Self {
        Self { core, entity, undecodable: AtomicU64::new(0) }
    }

    pub(crate) fn undecodable(&self) -> u64 {
        self.undecodable.load(Ordering::Relaxed)
    }

    /// Decodes a message of this publisher. `None` if its payload is not what the type expects; the first time, that is
    /// logged.
    pub(crate) fn decode<T: Payload + ?Sized>(
        &self,
        incoming: Incoming,
        publisher: &Publisher,
    ) -> Option<Message<T>> {
        let (send_time, receive_time) = times(&incoming);
        let Incoming { payload, clock, .. } = incoming;
        match T::decode_as(payload, publisher.registered.as_deref()) {
            Ok(payload) => Some(Message {
                payload,
                topic: self.entity.topic.clone(),
                clock,
                send_time,
                receive_time,
                publisher: publisher.identity.clone(),
            }),
            Err(error) => {
                if self.undecodable.fetch_add(1, Ordering::Relaxed) == 0 {
                    log::warn!(
                        "topic `{}`: message {clock} of publisher {} cannot be decoded: {error}; messages like it are skipped",
                        self.entity.topic,
                        publisher.identity.id,
                    );
                }
                None
            }
        }
    }

    /// The message of this publisher that lies where it came.
    pub(crate) fn borrow<'a>(
        &self,
        incoming: &Incoming<BorrowedPayload<'a>>,
        publisher: &Publisher,
    ) -> BorrowedMessage<'a> {
        let (send_time, receive_time) = times(incoming);
        BorrowedMessage {
            payload: incoming.payload,
            topic: self.entity.topic.clone(),
            clock: incoming.clock,
            send_time,
            receive_time,
            publisher: publisher.identity.clone(),
        }
    }

    /// The publisher of a message.
    pub(crate) fn publisher<'a, P>(&self, known: &'a mut Known, incoming: &Incoming<P>) -> &'a Publisher {
        let Incoming { origin, received: now, .. } = incoming;
        // Before the look at the registry: what changes after that changes the version.
        let version = self.entity.connections_version();
        let Known { publishers, latest, enough, types } = known;
        let index = if publishers.get(*latest).is_some_and(|seen| Arc::ptr_eq(&seen.origin, origin)) {
            Some(*latest)
        } else {
            // The same publisher, perhaps as another value.
            let is_it = |seen: &Seen| seen.origin.id == origin.id && seen.origin == *origin;
            let index = publishers.iter().position(is_it);
            if let Some(index) = index {
                publishers[index].origin = origin.clone();
                *latest = index;
            }
            index
        };
        if let Some(index) = index {
            let seen = &mut publishers[index];
            if seen.publisher.identity.process_id.is_none()
                && now.saturating_duration_since(seen.heard) >= STRANGER_EVERY
            {
                seen.heard = *now;
                self.heard_stranger(origin, *now);
            }
            if seen.version == version {
                return &publishers[index].publisher;
            }
        }
        let index = match (self.core.registry.publisher(&origin.host_name, origin.id), index) {
            // It is gone, and its messages are as they were.
            (None, Some(index)) => {
                publishers[index].version = version;
                index
            }
            (found, index) => {
                if found.is_none() {
                    self.heard_stranger(origin, *now);
                }
                let (process_id, data_type) = found.unzip();
                let (id, host_name) = (origin.id, origin.host_name.to_string());
                let publisher = Publisher {
                    identity: Arc::new(PublisherIdentity { id, host_name, process_id }),
                    registered: data_type.map(|data_type| intern(types, data_type)),
                };
                let seen = Seen { origin: origin.clone(), publisher, version, heard: *now };
                match index {
                    Some(index) => {
                        publishers[index] = seen;
                        index
                    }
                    None => {
                        if publishers.len() >= (*enough).max(MAX_KNOWN) {
                            self.forget_those_that_are_gone(publishers);
                            // So that a flood of publishers costs a few look-ups for each.
                            *enough = 2 * publishers.len();
                        }
                        publishers.push(seen);
                        *latest = publishers.len() - 1;
                        *latest
                    }
                }
            }
        };
        &publishers[index].publisher
    }

    fn forget_those_that_are_gone(&self, publishers: &mut Vec<Seen>) {
        let registry = &self.core.registry;
        publishers.retain(|Seen { origin, .. }| registry.publisher(&origin.host_name, origin.id).is_some());
        if publishers.len() >= self.core.config.limits.max_publishers_per_subscriber {
            publishers.clear();
        }
    }

    fn heard_stranger(&self, origin: &Origin, now: Instant) {
        self.core.registry.heard_stranger(&self.entity.topic, &origin.host_name, origin.id, now);
    }
}

/// When a message was sent and received.
fn times<P>(incoming: &Incoming<P>) -> (SystemTime, SystemTime) {
    // Systems differ in the latest time they know, and the network may claim any.
    let since_epoch = Duration::from_micros(u64::try_from(incoming.time_us).unwrap_or(0));
    let send_time = UNIX_EPOCH.checked_add(since_epoch).unwrap_or(UNIX_EPOCH);
    (send_time, UNIX_EPOCH + Duration::from_nanos(incoming.received_ns))
}

/// The one of these types that is the same, or a new one.
fn intern(types: &mut Vec<Arc<RegisteredType>>, data_type: Arc<DataType>) -> Arc<RegisteredType> {
    if let Some(known) = types.iter().find(|known| *known.data_type() == *data_type) {
        return known.clone();
    }
    // Those of no publisher any more: one that changes its type all the time leaves none behind.
    types.retain(|known| Arc::strong_count(known) > 1);
    if types.len() >= MAX_KNOWN {
        types.clear();
    }
    let registered = Arc::new(RegisteredType::new(data_type));
    types.push(registered.clone());
    registered
}
