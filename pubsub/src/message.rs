//! A received message, and how it is made from what a layer brought.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrocal_proto::EntityId;

use crate::core::Core;
use crate::layer::{Incoming, Origin};
use crate::registry::Entity;
use crate::{Payload, lock};

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
    /// From sending to receiving the newest message, in nanoseconds; `u64::MAX` if unknown.
    latency: AtomicU64,
    /// The publishers of the newest messages.
    known: Mutex<Vec<Known>>,
}

struct Known {
    origin: Arc<Origin>,
    publisher: Arc<PublisherIdentity>,
    since: Instant,
}

/// Publishers that are remembered. They are collected anew when there are more.
const MAX_KNOWN: usize = 16;
/// How long a publisher that did not register is taken for such.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Decoder {
    pub(crate) fn new(core: Arc<Core>, entity: Arc<Entity>) -> Self {
        Self {
            core,
            entity,
            undecodable: AtomicU64::new(0),
            latency: AtomicU64::new(u64::MAX),
            known: Mutex::new(Vec::new()),
        }
    }

    pub(crate) fn undecodable(&self) -> u64 {
        self.undecodable.load(Ordering::Relaxed)
    }

    pub(crate) fn latency(&self) -> Option<Duration> {
        let nanos = self.latency.load(Ordering::Relaxed);
        (nanos != u64::MAX).then(|| Duration::from_nanos(nanos))
    }

    /// Decodes a message. `None` if its payload is not what the type expects; the first time, that is logged.
    pub(crate) fn decode<T: Payload + ?Sized>(&self, incoming: Incoming) -> Option<Message<T>> {
        let Incoming { payload, clock, time_us, origin, received } = incoming;
        // Systems differ in the latest time they know, and the network may claim any.
        let sent_us = u64::try_from(time_us).unwrap_or(0);
        let send_time = UNIX_EPOCH.checked_add(Duration::from_micros(sent_us)).unwrap_or(UNIX_EPOCH);
        let received_ns = self.core.wall_clock.at_ns(received);
        let receive_time = UNIX_EPOCH + Duration::from_nanos(received_ns);
        let latency_ns = received_ns.checked_sub(sent_us.saturating_mul(1000)).unwrap_or(u64::MAX);
        self.latency.store(latency_ns, Ordering::Relaxed);
        match T::decode(payload) {
            Ok(payload) => Some(Message {
                payload,
                topic: self.entity.topic.clone(),
                clock,
                send_time,
                receive_time,
                publisher: self.publisher(origin, received),
            }),
            Err(error) => {
                if self.undecodable.fetch_add(1, Ordering::Relaxed) == 0 {
                    log::warn!(
                        "topic `{}`: message {clock} of publisher {} is no {}: {error}; messages like it are skipped",
                        self.entity.topic,
                        origin.id,
                        self.entity.data_type().name,
                    );
                }
                None
            }
        }
    }

    fn publisher(&self, origin: Arc<Origin>, now: Instant) -> Arc<PublisherIdentity> {
        let mut all = lock(&self.known);
        let index = all.iter().position(|known| Arc::ptr_eq(&known.origin, &origin));
        if let Some(known) = index.map(|index| &all[index])
            && (known.publisher.process_id.is_some()
                || now.saturating_duration_since(known.since) < LOOK_AGAIN)
        {
            return known.publisher.clone();
        }
        let publisher = Arc::new(PublisherIdentity {
            id: origin.id,
            host_name: origin.host_name.to_string(),
            process_id: self.core.registry.process_of(&origin.host_name, origin.id),
        });
        let known = Known { origin, publisher: publisher.clone(), since: now };
        match index {
            Some(index) => all[index] = known,
            None => {
                if all.len() >= MAX_KNOWN {
                    all.clear();
                }
                all.push(known);
            }
        }
        publisher
    }
}
