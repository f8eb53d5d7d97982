//! How payload travels between publishers and subscribers: one trait, and a folder for each layer.
//!
//! A layer knows neither the registry nor subscribers' queues. The registry asks it which peers it can reach; a
//! publisher gets a [`Writer`] of each layer, and chooses one for each subscriber ([`choice`]); a subscriber hands each
//! layer that it reads a [`Sink`]. A layer has no threads of its own: delivery runs its [`Source`].
//!
//! If subscribers have to find something that a layer opened for a publisher (a port, a memory file), the writer has an
//! [`Endpoint`]. Its parameters stand in the publisher's registration; the other side's [`Inlet`] gets them.

mod choice;
mod hash;
#[cfg(test)]
pub(crate) mod in_process;
mod reason;
pub(crate) mod shm;
pub(crate) mod tcp;
pub(crate) mod udp;

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ferrocal_proto::{EntityId, LayerKind, LayerParameters, Text, TopicInfo};
use ferrocal_shm::OpenError;
use ferrocal_transport::{Interrupt, SendError};

pub(crate) use choice::{LayerSet, LayerUse};
pub(crate) use hash::sample_hash;
pub use reason::{LayerChoice, LayerReason};

use crate::NodeError;
use crate::payload::BorrowedPayload;
use crate::source::{Ready, Source};

/// The most layers that a node has: eCAL's are UDP, shared memory and TCP; one more is for tests.
pub(crate) const MAX_LAYERS: usize = 4;

/// One way for payload to travel.
pub(crate) trait Layer: Send + Sync {
    /// Its name in registrations.
    fn kind(&self) -> LayerKind;

    /// Whether payload can reach this subscriber, which may be on this host.
    fn reaches(&self, subscriber: &TopicInfo, _is_local: bool) -> bool {
        subscriber.layers.iter().any(|layer| layer.enabled && layer.kind == self.kind())
    }

    /// Whether its source is to run even while nobody subscribes: publishers need it, too.
    fn serves_publishers(&self) -> bool {
        false
    }

    /// What is to be set so that payload can go between this node and a peer for sure, if the peer seems to have other
    /// settings. The text follows the peer's name.
    fn advice(&self, _peer: &TopicInfo) -> Option<&'static str> {
        None
    }

    /// Opens a topic for writing.
    fn writer(&self, publisher: &Outlet<'_>) -> Box<dyn Writer>;

    /// Opens the receiving side, for all topics.
    ///
    /// # Errors
    /// When the transport cannot receive.
    fn open(&self) -> Result<Opened, NodeError>;
}

/// The receiving side of a layer.
pub(crate) struct Opened {
    pub(crate) source: Box<dyn Source>,
    pub(crate) inlet: Arc<dyn Inlet>,
    /// Ends the source's waiting, for good.
    pub(crate) interrupt: Arc<dyn Interrupt>,
    /// Whether the system joins consecutive datagrams before it reads them, if the layer receives datagrams.
    pub(crate) joins_segments: Option<bool>,
}

/// Where the messages of a layer can be had, topic by topic.
pub(crate) trait Inlet: Send + Sync {
    /// Passes the messages of a topic to `sink` from now on, until the reader is dropped.
    ///
    /// # Errors
    /// When the topic's messages cannot be received.
    fn read(&self, topic: &Arc<str>, sink: Arc<dyn Sink>) -> Result<Box<dyn Reader>, NodeError>;

    /// Takes note of a publisher that has this layer enabled, with each of its registrations: what it needs to find the
    /// publisher's messages, if the topic is read. Runs on the thread of registrations, so it must not wait.
    fn registered(&self, _publisher: &RegisteredPublisher<'_>) {}

    /// Gives up what is kept to get messages of a publisher, soon: it has unregistered, and its last messages may still come.
    fn unregistered(&self, _topic: &str, _host_name: &Text, _publisher: EntityId) {}

    /// Forgets what is remembered of a publisher that fell silent.
    fn forget(&self, topic: &str, host_name: &[u8], publisher: EntityId);

    /// Reports to all sinks, the present and later ones, that no message will come any more.
    fn end(&self, why: Ended);
}

/// What is open while a subscriber reads a topic. Dropping it closes it.
pub(crate) trait Reader: Send + Sync {}

/// A publisher that registered, for those who read what it publishes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RegisteredPublisher<'a> {
    pub(crate) topic: &'a str,
    pub(crate) host_name: &'a Text,
    pub(crate) process_id: i32,
    pub(crate) id: EntityId,
    /// Whether it is on this host.
    pub(crate) local: bool,
    /// Those of this layer.
    pub(crate) parameters: &'a LayerParameters,
    /// Where the registration came from.
    pub(crate) source: SocketAddrV4,
}

/// A publisher, for those who write what it publishes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outlet<'a> {
    pub(crate) topic: &'a str,
    pub(crate) id: EntityId,
    pub(crate) host_name: &'a [u8],
    pub(crate) config: &'a crate::PublisherConfig,
}

/// A matched subscriber that a layer carries payload to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) id: EntityId,
    pub(crate) host_name: Text,
    pub(crate) process_id: i32,
    /// Whether it is on this host.
    pub(crate) local: bool,
    /// Whether its system joins consecutive datagrams before it reads them.
    pub(crate) joins_segments: bool,
    /// Whether it is of this crate, and topics have the same groups there as here.
    pub(crate) shares_groups: bool,
}

/// Sends a publisher's messages.
pub(crate) trait Writer: Send {
    /// Sets the subscribers that messages are for from now on.
    fn connect(&mut self, destinations: &[Destination]);

    /// Opens what `count` messages of up to `len` bytes need. Returns whether the publisher has to register anew before they
    /// are sent: subscribers cannot acknowledge what they do not find.
    fn prepare(&mut self, _len: usize, _count: usize) -> bool {
        false
    }

    /// Sends messages, in order, in as few system calls as the layer can. They are those of one call of the user's, or
    /// a part of them.
    ///
    /// # Errors
    /// When the system refuses a message; none after it is sent.
    fn write(&mut self, messages: &[Outgoing<'_>]) -> Result<Written, SendError>;

    /// What is open for the publisher, if subscribers have to find it.
    fn endpoint(&self) -> Option<Arc<dyn Endpoint>> {
        None
    }

    /// Whether a message can be sent at all.
    ///
    /// # Errors
    /// When it is longer than the settings allow.
    fn check(&mut self, message: &Outgoing<'_>) -> Result<(), TooLong>;
}

/// What a layer has open for a publisher, so that subscribers find it by the publisher's registration: a port, say, or
/// memory files. Its writer sends there.
pub(crate) trait Endpoint: Send + Sync + std::fmt::Debug {
    /// Sets the subscribers that this layer carries messages to from now on, and opens what they need. The publisher
    /// registers anew after it. Runs on the thread of registrations, so it must not wait.
    fn connect(&self, destinations: &[Destination]);

    /// What the publisher registers. Whoever changes it otherwise than in [`connect`](Self::connect) says so in
    /// [`Written::registers_anew`].
    fn parameters(&self) -> LayerParameters;
}

/// A message is longer than the settings allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// Its length in bytes, with what the layer adds.
    pub(crate) len: usize,
    pub(crate) max: usize,
}

/// What became of messages that were written.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// Messages that the network could not take at present.
    pub(crate) not_sent: u64,
    /// Messages that waited for a subscriber, and were given up for newer ones.
    pub(crate) overwritten: u64,
    /// Whether the parameters of the [endpoint](Endpoint::parameters) are others than before.
    pub(crate) registers_anew: bool,
    /// What the log is to say of that. The program's logger must not run under the writer's lock.
    pub(crate) news: Option<News>,
}

/// That the network could take messages until now, or not.
#[derive(Debug)]
pub(crate) enum News {
    Unreachable(SendError),
    /// Shared memory.
    NoMemory(OpenError),
    ReachableAgain,
}

/// A message to send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    /// The publisher's count of its messages, from 1.
    pub(crate) clock: i64,
    /// Microseconds since the Unix epoch.
    pub(crate) time_us: i64,
    pub(crate) payload: &'a [u8],
}

/// A publisher that messages came from, as the messages name it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) host_name: Text,
    pub(crate) id: EntityId,
}

/// A message that came in, not decoded yet. Its payload is its own, or a [borrowed one](BorrowedPayload).
#[derive(Debug, Clone)]
pub(crate) struct Incoming<P = Bytes> {
    pub(crate) payload: P,
    pub(crate) clock: i64,
    pub(crate) time_us: i64,
    pub(crate) origin: Arc<Origin>,
    pub(crate) received: Instant,
    /// The same by the node's clock, in nanoseconds since the Unix epoch, once a queue has taken it.
    pub(crate) received_ns: u64,
}

impl<P> Incoming<P> {
    /// The same message with another payload.
    pub(crate) fn with<Q>(self, payload: Q) -> Incoming<Q> {
        let Self { clock, time_us, origin, received, received_ns, .. } = self;
        Incoming { payload, clock, time_us, origin, received, received_ns }
    }
}

/// Keeps a part of a message. A share of it would keep all, which must not be much more than what queues account for.
pub(crate) fn part_of(message: &Bytes, part: &[u8]) -> Bytes {
    if part.len() < message.len() / 2 { Bytes::copy_from_slice(part) } else { message.slice_ref(part) }
}

/// Where a layer passes the messages of a topic.
pub(crate) trait Sink: Send + Sync {
    /// Takes messages that came together. If a callback is to be called for them, it is appended to `ready`.
    fn push(&self, messages: &mut dyn Iterator<Item = Incoming>, ready: &mut Ready);

    /// Whether it can do with a payload that it has only for the time of [`lend`](Self::lend).
    fn borrows(&self) -> bool {
        false
    }

    /// Takes a message whose payload is there only until this returns. Whoever needs it longer copies it. If a callback
    /// is to be called for the copy, it is appended to `ready`.
    fn lend(&self, message: Incoming<BorrowedPayload<'_>>, ready: &mut Ready) {
        // The layer counts what has changed meanwhile.
        if let Ok(payload) = message.payload.to_bytes() {
            self.push(&mut std::iter::once(message.with(payload)), ready);
        }
    }

    /// Takes note of a message that was given up, incomplete.
    fn lost(&self, origin: &Arc<Origin>, clock: i64);

    /// Takes note that a publisher fell silent.
    fn left(&self, host_name: &[u8], publisher: EntityId);

    /// Takes note that no message will come any more.
    fn end(&self, why: Ended);
}

/// Why no message will come any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The subscriber was closed.
    Closed,
    /// What was replayed is over.
    Replayed,
    /// A thread of the node has failed.
    Failed,
}
