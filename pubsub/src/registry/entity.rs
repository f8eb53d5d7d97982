//! A publisher or subscriber of this node: its name on the wire, its connections and its registration.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ferrocal_proto::{
    Action, Announcement, DataType, EntityId, LatencyInfo, Layer, LayerKind, Registration, TopicInfo,
};

use super::identity::Identity;
use super::tables::{Event, Link};
use crate::feed::{FeedSender, add_sender};
use crate::layer::{Destination, Endpoint, LayerChoice, LayerSet, LayerUse, MAX_LAYERS};
use crate::stats::{Counters, Frequency, Latency, get};
use crate::{RecvError, lock};

/// Which side of a topic an entity is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Publisher,
    Subscriber,
}

impl Role {
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Publisher => Self::Subscriber,
            Self::Subscriber => Self::Publisher,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Subscriber => "subscriber",
        }
    }
}

/// The peers of a topic that can be reached, by whether they are on the same host, and by the layers that reach them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Peers {
    local: [u32; LayerSet::COUNT],
    external: [u32; LayerSet::COUNT],
}

impl Peers {
    pub(super) fn add(&mut self, link: Link) {
        *self.count_mut(link) += 1;
    }

    pub(super) fn remove(&mut self, link: Link) {
        *self.count_mut(link) -= 1;
    }

    fn count_mut(&mut self, link: Link) -> &mut u32 {
        &mut (if link.local { &mut self.local } else { &mut self.external })[link.layers.index()]
    }

    pub(super) fn is_empty(&self) -> bool {
        self.local.iter().chain(&self.external).all(|&count| count == 0)
    }
}

/// The matched peers of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Connections {
    /// On the same host.
    local: u32,
    /// On other hosts.
    external: u32,
    /// Of a publisher, those that each layer carries payload to.
    by_layer: [u32; MAX_LAYERS],
}

impl Connections {
    fn total(&self) -> usize {
        (self.local + self.external) as usize
    }
}

/// A publisher or subscriber of this node, as the others see it.
#[derive(Debug)]
pub(crate) struct Entity {
    pub(crate) id: EntityId,
    pub(crate) role: Role,
    pub(crate) topic: Arc<str>,
    pub(crate) counters: Arc<Counters>,
    data_type: DataType,
    matched: Mutex<Matched>,
    changed: Condvar,
    #[cfg(feature = "tokio")]
    changed_async: tokio::sync::Notify,
    /// The total of the connections, to be read without their lock.
    connected: AtomicU32,
    created: Instant,
    /// Whether it had a connection, or was reported to have none.
    is_settled: AtomicBool,
    version: AtomicU64,
    layers: LayerUse,
    /// The layers that messages went by, a bit each.
    active: AtomicU8,
    /// What the layers have open for a publisher, each with the layer's index.
    endpoints: OnceLock<Vec<(usize, Arc<dyn Endpoint>)>>,
    /// The version of the connections that the endpoints know.
    connected_version: Mutex<u64>,
    announcing: Mutex<Announcing>,
    listeners: Mutex<Vec<Arc<FeedSender<Event>>>>,
}

#[derive(Debug, Default)]
struct Matched {
    connections: Connections,
    /// Whether nothing will change any more, because the node's thread has failed.
    ended: bool,
}

#[derive(Debug, Default)]
struct Announcing {
    closed: bool,
    clock: i32,
    frequency: Frequency,
    /// As measured last.
    hertz: f64,
}

/// The version of the layers that eCAL 6 writes.
const LAYER_VERSION: i32 = 2;

impl Entity {
    pub(crate) fn new(id: EntityId, role: Role, topic: &str, data_type: DataType, layers: LayerUse) -> Self {
        Self {
            id,
            role,
            topic: topic.into(),
            counters: Arc::default(),
            data_type,
            matched: Mutex::default(),
            changed: Condvar::new(),
            #[cfg(feature = "tokio")]
            changed_async: tokio::sync::Notify::new(),
            connected: AtomicU32::new(0),
            created: Instant::now(),
            is_settled: AtomicBool::new(false),
            version: AtomicU64::new(0),
            layers,
            active: AtomicU8::new(0),
            endpoints: OnceLock::new(),
            connected_version: Mutex::new(0),
            announcing: Mutex::default(),
            listeners: Mutex::default(),
        }
    }

    pub(crate) fn data_type(&self) -> &DataType {
        &self.data_type
    }

    /// How many peers are matched.
    pub(crate) fn connected(&self) -> usize {
        self.connected.load(Ordering::Acquire) as usize
    }

    /// Whether it has had no connection for as long as `patience` after it was made. Returns `true` once.
    pub(super) fn becomes_lonely(&self, now: Instant, patience: Duration) -> bool {
        now.saturating_duration_since(self.created) >= patience
            && !self.is_settled.swap(true, Ordering::Relaxed)
    }

    /// Changes when any of the matched peers does, or the data type of a publisher.
    pub(crate) fn connections_version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The layers that it may use.
    pub(crate) fn layers(&self) -> &LayerUse {
        &self.layers
    }

    /// Takes note that messages go by a layer.
    pub(crate) fn set_active(&self, layer: usize) {
        let bit = 1 << layer;
        if self.active.load(Ordering::Relaxed) & bit == 0 {
            self.active.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Stores what the layers have open for this publisher, before it is announced.
    pub(crate) fn set_endpoints(&self, endpoints: Vec<(usize, Arc<dyn Endpoint>)>) {
        // It is called once.
        let _ = self.endpoints.set(endpoints);
    }

    /// Has the endpoints know the present subscribers: `destinations` are those of a layer.
    pub(super) fn connect(&self, destinations: impl Fn(usize) -> Vec<Destination>) {
        let Some(endpoints) = self.endpoints.get().filter(|endpoints| !endpoints.is_empty()) else { return };
        // The destinations are looked up under this lock, so that older ones never replace newer ones.
        let mut connected = lock(&self.connected_version);
        let version = self.connections_version();
        if *connected != version {
            endpoints.iter().for_each(|(layer, endpoint)| endpoint.connect(&destinations(*layer)));
            *connected = version;
        }
    }

    /// Whether it is matched with a peer that can be reached so.
    pub(super) fn is_matched(&self, link: Link) -> bool {
        match self.role {
            Role::Publisher => self.layer_to(link).is_some(),
            Role::Subscriber => true,
        }
    }

    /// The layer by which this publisher sends to a subscriber that can be reached so.
    pub(super) fn layer_to(&self, link: Link) -> Option<usize> {
        self.layers.choose(link.local, link.layers)
    }

    /// What each layer is on the way to a peer. The publisher chooses, so a subscriber does not know.
    pub(super) fn explain(&self, link: Link) -> Vec<LayerChoice> {
        match self.role {
            Role::Publisher => self.layers.explain(link.local, link.layers).into(),
            Role::Subscriber => Vec::new(),
        }
    }

    /// Stores the peers of its topic, after one has changed. Returns whether that changed what others are to hear: then
    /// the caller [notifies](Self::notify), once it holds no lock.
    pub(super) fn set_connections(&self, peers: Peers) -> bool {
        let mut new = Connections::default();
        for (is_local, counts) in [(true, &peers.local), (false, &peers.external)] {
            for (index, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                if self.role == Role::Publisher {
                    let layer = self.layers.choose(is_local, LayerSet::from_index(index));
                    let Some(layer) = layer else { continue };
                    new.by_layer[layer] += count;
                }
                *(if is_local { &mut new.local } else { &mut new.external }) += count;
            }
        }
        let mut matched = lock(&self.matched);
        let changed = matched.connections != new;
        matched.connections = new;
        self.touch();
        // After the version: who sends because of the count finds that something has changed.
        self.connected.store(new.local + new.external, Ordering::Release);
        if new.total() > 0 {
            self.is_settled.store(true, Ordering::Relaxed);
        }
        changed
    }

    /// Changes the [version](Self::connections_version).
    pub(super) fn touch(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Has somebody hear of what happens to this entity.
    pub(super) fn listen(&self, listener: FeedSender<Event>) {
        let listener = Arc::new(listener);
        add_sender(&mut lock(&self.listeners), listener.clone());
        // After it was added: an end from now on reaches it by itself.
        if lock(&self.matched).ended {
            listener.end(RecvError::NodeFailed);
        }
    }

    /// Those who still hear of it.
    pub(super) fn listeners(&self) -> Vec<Arc<FeedSender<Event>>> {
        let mut listeners = lock(&self.listeners);
        listeners.retain(|listener| listener.is_open());
        listeners.clone()
    }

    /// Ends all waiting for connections and for events: none will come any more.
    pub(super) fn end(&self) {
        lock(&self.matched).ended = true;
        self.notify();
        self.listeners().iter().for_each(|listener| listener.end(RecvError::NodeFailed));
    }

    /// Wakes those who wait for connections. That runs code of the program.
    pub(super) fn notify(&self) {
        self.changed.notify_all();
        #[cfg(feature = "tokio")]
        self.changed_async.notify_waiters();
    }

    /// Waits until as many peers are matched. Returns whether they are.
    pub(crate) fn wait_for_connections(&self, count: usize, timeout: Duration) -> bool {
        let matched = lock(&self.matched);
        let (matched, _) = self
            .changed
            .wait_timeout_while(matched, timeout, |matched| {
                !matched.ended && matched.connections.total() < count
            })
            .unwrap_or_else(PoisonError::into_inner);
        matched.connections.total() >= count
    }

    /// As [`wait_for_connections`](Self::wait_for_connections), without a limit in time and without blocking.
    #[cfg(feature = "tokio")]
    pub(crate) async fn connections_async(&self, count: usize) -> bool {
        loop {
            let mut changed = std::pin::pin!(self.changed_async.notified());
            // Before the look at the connections: what changes after that notifies.
            changed.as_mut().enable();
            {
                let matched = lock(&self.matched);
                let is_enough = matched.connections.total() >= count;
                if is_enough || matched.ended {
                    return is_enough;
                }
            }
            changed.await;
        }
    }

    /// Passes this entity's registration to `send`, unless the entity is closed.
    ///
    /// `send` runs under a lock, so that nothing is announced after [`close`](Self::close).
    pub(super) fn announce(
        &self,
        identity: &Identity,
        layers: &[LayerKind],
        now_us: i64,
        send: impl FnOnce(Registration),
    ) {
        let mut announcing = lock(&self.announcing);
        if !announcing.closed {
            announcing.clock = announcing.clock.wrapping_add(1);
            let messages = get(&self.counters.messages);
            announcing.hertz = announcing.frequency.measure(&self.counters.ticks, messages, now_us);
            send(self.registration(identity, layers, Action::Register, &announcing));
        }
    }

    /// Passes the end of this entity to `send`. Nothing is announced after that.
    pub(super) fn close(&self, identity: &Identity, layers: &[LayerKind], send: impl FnOnce(Registration)) {
        let mut announcing = lock(&self.announcing);
        if !std::mem::replace(&mut announcing.closed, true) {
            send(self.registration(identity, layers, Action::Unregister, &announcing));
        }
    }

    fn registration(
        &self,
        identity: &Identity,
        layers: &[LayerKind],
        action: Action,
        announcing: &Announcing,
    ) -> Registration {
        let connections = lock(&self.matched).connections;
        let messages = get(&self.counters.messages);
        // As eCAL: a publisher names a layer once a subscriber needs it, and a subscriber all of them.
        let is_named = |index: usize| self.role == Role::Subscriber || connections.by_layer[index] > 0;
        let named = layers.iter().enumerate().filter(|(index, _)| is_named(*index));
        let active = self.active.load(Ordering::Relaxed);
        let endpoints = self.endpoints.get().map_or(&[][..], |endpoints| endpoints);
        let layer = |(index, &kind)| {
            let endpoint = endpoints.iter().find(|(layer, _)| *layer == index);
            Layer {
                kind,
                version: LAYER_VERSION,
                enabled: self.layers.enabled.contains(index),
                active: active & (1 << index) != 0,
                parameters: endpoint.map(|(_, endpoint)| endpoint.parameters()).unwrap_or_default(),
            }
        };
        let info = TopicInfo {
            host_name: identity.host_name.clone(),
            shm_transport_domain: identity.domain.clone(),
            process_id: identity.process_id,
            process_name: identity.process_name.clone(),
            unit_name: identity.unit_name.clone(),
            topic_id: self.id,
            topic_name: (*self.topic).into(),
            data_type: self.data_type.clone(),
            layers: named.map(layer).collect(),
            registration_clock: announcing.clock,
            topic_size: self.counters.last_len.load(Ordering::Relaxed),
            connections_local: connections.local.cast_signed(),
            connections_external: connections.external.cast_signed(),
            message_drops: i32::try_from(get(&self.counters.lost)).unwrap_or(i32::MAX),
            data_id: 0,
            data_clock: messages.cast_signed(),
            data_frequency_mhz: (announcing.hertz * 1000.0) as i32,
            latency: self.counters.latency.get().map(to_wire),
        };
        let announcement = match self.role {
            Role::Publisher => Announcement::Publisher(info),
            Role::Subscriber => Announcement::Subscriber(info),
        };
        Registration { action, announcement }
    }
}

fn to_wire(latency: Latency) -> LatencyInfo {
    LatencyInfo {
        count: latency.count,
        latest_us: latency.latest_us,
        min_us: latency.min_us,
        max_us: latency.max_us,
        mean_us: latency.mean_us,
        sum_of_squares_us2: latency.variance_us2 * latency.count as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SubscriberConfig;
    use crate::feed::Feed;

    #[test]
    fn feeds_that_are_gone_are_forgotten() {
        let layers = LayerUse::of_subscriber(&[LayerKind::UdpMulticast], &SubscriberConfig::default());
        let (id, data_type) = (EntityId::from_wire("1"), DataType::default());
        let entity = Entity::new(id, Role::Subscriber, "topic", data_type, layers);
        (0..1000).for_each(|_| entity.listen(Feed::with_bounds(1, 1).0));
        assert_eq!(lock(&entity.listeners).len(), 1);
    }
}
