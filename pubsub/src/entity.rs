//! What a publisher and a subscriber have in common: a name on the wire, connections, counters.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ferrocal_proto::{Action, Announcement, DataType, EntityId, Layer, LayerKind, Registration, TopicInfo};

use crate::identity::Identity;
use crate::lock;

/// Which side of a topic an entity is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Publisher,
    Subscriber,
}

/// How many peers of the other role are matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Connections {
    /// On the same host.
    pub(crate) local: u32,
    /// On other hosts.
    pub(crate) external: u32,
    /// Those of them that receive runs of datagrams in one piece.
    takes_runs: u32,
}

impl Connections {
    pub(crate) fn add(&mut self, local: bool, takes_runs: bool) {
        *self.count(local) += 1;
        self.takes_runs += u32::from(takes_runs);
    }

    pub(crate) fn remove(&mut self, local: bool, takes_runs: bool) {
        *self.count(local) -= 1;
        self.takes_runs -= u32::from(takes_runs);
    }

    fn count(&mut self, local: bool) -> &mut u32 {
        if local { &mut self.local } else { &mut self.external }
    }

    pub(crate) fn total(self) -> usize {
        (self.local + self.external) as usize
    }
}

/// A publisher or a subscriber of this node, as the others see it.
#[derive(Debug)]
pub(crate) struct Entity {
    pub(crate) id: EntityId,
    pub(crate) role: Role,
    pub(crate) topic: Arc<str>,
    data_type: DataType,
    connections: Mutex<Connections>,
    connections_changed: Condvar,
    /// The total of `connections`, to be read without its lock.
    connected: AtomicU32,
    /// Whether all of `connections` take runs.
    all_take_runs: AtomicBool,
    /// Messages published, or received.
    pub(crate) messages: AtomicI64,
    /// Messages that the gaps in the publishers' clocks show to be missing.
    pub(crate) lost: AtomicU64,
    /// Length of the last message in bytes.
    pub(crate) last_len: AtomicI32,
    announcing: Mutex<Announcing>,
}

#[derive(Debug)]
struct Announcing {
    closed: bool,
    clock: i32,
    /// When `messages` was how many, the last time the frequency was worked out.
    measured: (Instant, i64),
    frequency_mhz: i32,
}

/// Shorter than this, a frequency would be noise.
const FREQUENCY_WINDOW: Duration = Duration::from_millis(500);
/// Version of the layers that eCAL 6 writes.
const LAYER_VERSION: i32 = 2;

impl Entity {
    pub(crate) fn new(id: EntityId, role: Role, topic: &str, data_type: DataType) -> Self {
        Self {
            id,
            role,
            topic: topic.into(),
            data_type,
            connections: Mutex::default(),
            connections_changed: Condvar::new(),
            connected: AtomicU32::new(0),
            all_take_runs: AtomicBool::new(false),
            messages: AtomicI64::new(0),
            lost: AtomicU64::new(0),
            last_len: AtomicI32::new(0),
            announcing: Mutex::new(Announcing {
                closed: false,
                clock: 0,
                measured: (Instant::now(), 0),
                frequency_mhz: 0,
            }),
        }
    }

    pub(crate) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed) as usize
    }

    /// Whether all peers receive runs of datagrams in one piece, so that many short ones cost them no more than few long
    /// ones.
    pub(crate) fn all_take_runs(&self) -> bool {
        self.all_take_runs.load(Ordering::Relaxed)
    }

    /// Tells whether that changed anything.
    pub(crate) fn set_connections(&self, new: Connections) -> bool {
        let mut connections = lock(&self.connections);
        let changed = *connections != new;
        *connections = new;
        self.connected.store(new.local + new.external, Ordering::Relaxed);
        self.all_take_runs.store(new.takes_runs as usize == new.total(), Ordering::Relaxed);
        self.connections_changed.notify_all();
        changed
    }

    /// Waits until a peer is matched; tells whether one is.
    pub(crate) fn wait_for_connection(&self, timeout: Duration) -> bool {
        let connections = lock(&self.connections);
        let (connections, _) = self
            .connections_changed
            .wait_timeout_while(connections, timeout, |connections| connections.total() == 0)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        connections.total() > 0
    }

    /// Hands this entity's registration to `send`, unless the entity is closed.
    ///
    /// `send` runs under a lock, so that nothing is announced after [`close`](Self::close).
    pub(crate) fn announce(&self, identity: &Identity, now: Instant, send: impl FnOnce(Registration)) {
        let mut announcing = lock(&self.announcing);
        if !announcing.closed {
            announcing.clock = announcing.clock.wrapping_add(1);
            announcing.measure(now, self.messages.load(Ordering::Relaxed));
            send(self.registration(identity, Action::Register, &announcing));
        }
    }

    /// Hands the end of this entity to `send`; nothing is announced afterwards.
    pub(crate) fn close(&self, identity: &Identity, send: impl FnOnce(Registration)) {
        let mut announcing = lock(&self.announcing);
        if !std::mem::replace(&mut announcing.closed, true) {
            send(self.registration(identity, Action::Unregister, &announcing));
        }
    }

    fn registration(&self, identity: &Identity, action: Action, announcing: &Announcing) -> Registration {
        let connections = *lock(&self.connections);
        let messages = self.messages.load(Ordering::Relaxed);
        // A publisher names a layer once a subscriber has asked for it, a subscriber what it can read.
        let udp = Layer {
            kind: LayerKind::UdpMulticast,
            version: LAYER_VERSION,
            enabled: true,
            active: messages > 0,
        };
        let offered = self.role == Role::Subscriber || connections.total() > 0;
        let info = TopicInfo {
            host_name: identity.host_name.clone(),
            shm_transport_domain: identity.domain.clone(),
            process_id: identity.process_id,
            process_name: identity.process_name.clone(),
            unit_name: identity.unit_name.clone(),
            topic_id: self.id,
            topic_name: self.topic.to_string(),
            data_type: self.data_type.clone(),
            layers: if offered { vec![udp] } else { Vec::new() },
            registration_clock: announcing.clock,
            topic_size: self.last_len.load(Ordering::Relaxed),
            connections_local: connections.local.cast_signed(),
            connections_external: connections.external.cast_signed(),
            message_drops: i32::try_from(self.lost.load(Ordering::Relaxed)).unwrap_or(i32::MAX),
            data_id: 0,
            data_clock: messages,
            data_frequency_mhz: announcing.frequency_mhz,
        };
        let announcement = match self.role {
            Role::Publisher => Announcement::Publisher(info),
            Role::Subscriber => Announcement::Subscriber(info),
        };
        Registration { action, announcement }
    }
}

impl Announcing {
    fn measure(&mut self, now: Instant, messages: i64) {
        let (since, before) = self.measured;
        let elapsed = now.saturating_duration_since(since);
        if elapsed >= FREQUENCY_WINDOW {
            self.frequency_mhz = ((messages - before) as f64 * 1000.0 / elapsed.as_secs_f64()) as i32;
            self.measured = (now, messages);
        }
    }
}
