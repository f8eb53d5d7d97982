//! A member of the eCAL system.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use ferrocal_proto::{DropCounts, Registration};
use ferrocal_transport::{Backend, Membership, ReceiveDrops, Selected, SelectionReason, SendHalf, Transport};
use tokio::sync::Notify;

use crate::entity::{Entity, Role};
use crate::identity::Identity;
use crate::inbox::Inbox;
use crate::intake::Drops;
use crate::outgoing::Way;
use crate::pacing::{Bursts, Pacer};
use crate::topics::{Reader, Topics};
use crate::worker::Worker;
use crate::{
    Config, CreateError, Message, NodeError, Payload, Publisher, PublisherConfig, ReceiveThreadConfig,
    Subscriber, SubscriberConfig, Subscription, TopicNameError, control, data, lock,
};

/// A member of the eCAL system: it announces its publishers and subscribers and finds those of others.
///
/// There is no process-wide state: any number of nodes, with different settings, can live in one process. A node is a
/// handle; it runs two threads, which end when it and all publishers and subscribers made from it are dropped.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ferrocal::{Config, Node};
///
/// let node = Node::with_config("my_robot", Config::default())?;
/// println!("using {}", node.status().backend);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

/// What a node is doing.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// What moves the datagrams. It may change while the node runs: see `reason`.
    pub backend: Backend,
    /// Why that one.
    pub reason: SelectionReason,
    /// The kernel's receive buffer for payload in bytes, as the system granted it; 0 where there is none.
    pub receive_buffer_len: usize,
    /// Publishers and subscribers known of, those of this node included.
    pub peers: usize,
    /// Datagrams and messages that could not be used.
    pub drops: DropCounts,
    /// Datagrams that were lost or refused before they could be looked at.
    pub receive_drops: ReceiveDrops,
    /// Messages of topics that this node does not subscribe to. Topics may share a multicast group, so a few of them
    /// are no fault.
    pub unsubscribed: u64,
}

impl Node {
    /// Opens a node with the settings of this machine: see [`Config::load`]. `name` is what eCAL's tools show as the
    /// unit's name.
    ///
    /// # Errors
    /// When the settings make no sense, or the transport cannot be opened as they say.
    pub fn new(name: &str) -> Result<Self, NodeError> {
        Self::with_config(name, Config::load()?)
    }

    /// Opens a node with these settings and reads no others.
    ///
    /// # Errors
    /// When the settings make no sense, or the transport cannot be opened as they say.
    pub fn with_config(name: &str, config: Config) -> Result<Self, NodeError> {
        config.check()?;
        let selected = ferrocal_transport::select(&config.transport, config.transport_config())?;
        Self::open(name, config, selected)
    }

    /// Opens a node on a transport of the program's own, such as an [in-memory network](crate::transport::memory). It
    /// opens two send halves, for registrations and for payload.
    ///
    /// # Errors
    /// When the settings make no sense, or the transport cannot be opened.
    pub fn with_transport(
        name: &str,
        config: Config,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, NodeError> {
        config.check()?;
        Self::open(name, config, Selected::fixed(transport, SelectionReason::Provided))
    }

    fn open(name: &str, config: Config, selected: Selected) -> Result<Self, NodeError> {
        let transport = Arc::new(selected);
        let sender = transport.sender()?;
        let shared = Arc::new(Shared {
            identity: Identity::new(name, &config),
            start: Instant::now(),
            bursts: sender.limits().receive_buffer_len.map(Bursts::new),
            sender,
            registration_sender: transport.sender()?,
            topics: Topics::new(config.limits.max_peers),
            announcements: Announcements::default(),
            drops: NodeDrops::default(),
            unsubscribed: AtomicU64::new(0),
            send_failing: AtomicBool::new(false),
            replaying: transport.backend() == Backend::File,
            pacer: config.max_bytes_per_second.map(Pacer::new),
            config,
        });
        let open_half = |port: u16| {
            let (transport, group) = (transport.clone(), shared.config.destination().group);
            move || {
                let half = transport.open(&[port])?;
                let (membership, buffer_len) = (half.membership(), half.receive_buffer_len());
                membership.join(group)?;
                Ok((half, (membership, buffer_len)))
            }
        };
        let (control_worker, (_, receive_buffer_len)) = {
            let shared = shared.clone();
            Worker::start(
                "ferrocal-control",
                ReceiveThreadConfig::default(),
                open_half(shared.config.registration_port()),
                move |half, stop| control::run(shared, half, stop),
            )?
        };
        let (data_worker, first_subscriber) = {
            let shared = shared.clone();
            let open = open_half(shared.config.udp.port);
            let open = move || open().map(|(half, (membership, _))| (half, membership));
            Worker::start("ferrocal-data", shared.config.receive_thread, data::wait, move |waiting, stop| {
                data::run(shared, open, waiting, stop)
            })?
        };
        log::info!("node `{name}` uses the {} backend ({})", transport.backend(), transport.reason());
        let groups = Groups {
            first_subscriber,
            membership: OnceLock::new(),
            base: shared.config.destination().group,
            users: Mutex::default(),
        };
        let workers = [control_worker, data_worker];
        Ok(Self {
            inner: Arc::new(Inner { shared, groups, transport, receive_buffer_len, _workers: workers }),
        })
    }

    /// Creates a publisher of a topic.
    ///
    /// # Errors
    /// When `topic` is empty, holds a NUL character or is longer than 65534 bytes.
    pub fn publisher<T: Payload + ?Sized>(&self, topic: &str) -> Result<Publisher<T>, CreateError> {
        self.publisher_with(topic, self.inner.shared.config.publisher.clone())
    }

    /// Creates a publisher of a topic with settings of its own.
    ///
    /// # Errors
    /// As [`publisher`](Self::publisher).
    pub fn publisher_with<T: Payload + ?Sized>(
        &self,
        topic: &str,
        config: PublisherConfig,
    ) -> Result<Publisher<T>, CreateError> {
        let entity = self.inner.new_entity::<T>(Role::Publisher, topic, config.data_type.clone())?;
        self.inner.shared.topics.add_publisher(entity.clone());
        self.inner.shared.announcements.add(entity.clone());
        Ok(Publisher::new(self.inner.clone(), entity, config))
    }

    /// Creates a subscriber of a topic, which hands out messages by blocking calls or as a stream.
    ///
    /// # Errors
    /// When `topic` is empty, holds a NUL character or is longer than 65534 bytes, or its group cannot be joined.
    pub fn subscriber<T: Payload + ?Sized>(&self, topic: &str) -> Result<Subscriber<T>, CreateError> {
        self.subscriber_with(topic, self.inner.shared.config.subscriber.clone())
    }

    /// Creates a subscriber of a topic with settings of its own.
    ///
    /// # Errors
    /// As [`subscriber`](Self::subscriber).
    pub fn subscriber_with<T: Payload + ?Sized>(
        &self,
        topic: &str,
        config: SubscriberConfig,
    ) -> Result<Subscriber<T>, CreateError> {
        let entity = self.inner.new_entity::<T>(Role::Subscriber, topic, config.data_type.clone())?;
        self.inner
            .groups
            .join(self.inner.shared.config.topic_group(topic))
            .map_err(|source| CreateError::Receive { topic: topic.to_owned(), source })?;
        let inbox = Inbox::new(config, self.inner.shared.config.limits.max_publishers_per_subscriber);
        let reader = Arc::new(Reader { entity: entity.clone(), inbox });
        self.inner.shared.topics.add_reader(reader.clone());
        self.inner.shared.announcements.add(entity);
        Ok(Subscriber::new(self.inner.clone(), reader))
    }

    /// Calls `callback` with each message of a topic, on a thread of its own, until the subscription is dropped.
    ///
    /// `callback` is never called twice at once, and not any more once the drop of the subscription returned; only if
    /// `callback` itself drops the subscription, that does not wait. A slow callback delays no one else: its messages
    /// wait as [`SubscriberConfig`] says, and those that are dropped meanwhile are counted.
    ///
    /// # Errors
    /// As [`subscriber`](Self::subscriber), and when the thread cannot be started.
    pub fn subscribe<T: Payload + ?Sized + 'static>(
        &self,
        topic: &str,
        callback: impl FnMut(Message<T>) + Send + 'static,
    ) -> Result<Subscription<T>, CreateError> {
        self.subscribe_with(topic, self.inner.shared.config.subscriber.clone(), callback)
    }

    /// Calls `callback` with each message of a topic, with settings of the subscriber's own.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_with<T: Payload + ?Sized + 'static>(
        &self,
        topic: &str,
        config: SubscriberConfig,
        callback: impl FnMut(Message<T>) + Send + 'static,
    ) -> Result<Subscription<T>, CreateError> {
        Subscription::start(self.subscriber_with(topic, config)?, callback)
    }

    /// Calls `callback` with each message of a topic on the thread that receives, as soon as that has it: the least
    /// delay there is, as no thread needs to be woken.
    ///
    /// While `callback` runs, the node receives nothing for its other subscribers either, and what the system's
    /// receive buffer cannot hold is lost; so it must be short and must not wait, as [`Publisher::send`] may with long
    /// messages. Otherwise it is called as that of [`subscribe`](Self::subscribe); messages never wait in a queue.
    ///
    /// # Errors
    /// As [`subscriber`](Self::subscriber).
    pub fn subscribe_inline<T: Payload + ?Sized + 'static>(
        &self,
        topic: &str,
        config: SubscriberConfig,
        callback: impl FnMut(Message<T>) + Send + 'static,
    ) -> Result<Subscription<T>, CreateError> {
        Ok(Subscription::inline(self.subscriber_with(topic, config)?, callback))
    }

    /// What the node is doing.
    pub fn status(&self) -> Status {
        let Inner { shared, transport, receive_buffer_len, .. } = &*self.inner;
        let Drops { protocol: mut drops, transport: mut receive_drops } = lock(&shared.drops.payload).clone();
        {
            let registration = lock(&shared.drops.registration);
            drops.add(&registration.protocol);
            receive_drops.add(&registration.transport);
        }
        Status {
            backend: transport.backend(),
            reason: transport.reason(),
            receive_buffer_len: *receive_buffer_len,
            peers: shared.topics.peer_count(),
            drops,
            receive_drops,
            unsubscribed: shared.unsubscribed.load(Ordering::Relaxed),
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("name", &self.inner.shared.identity.unit_name).finish_non_exhaustive()
    }
}

/// What keeps a node alive: held by its handles, and by its publishers and subscribers.
pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    groups: Groups,
    transport: Arc<Selected>,
    receive_buffer_len: usize,
    _workers: [Worker; 2],
}

impl Inner {
    fn new_entity<T: Payload + ?Sized>(
        &self,
        role: Role,
        topic: &str,
        data_type: Option<ferrocal_proto::DataType>,
    ) -> Result<Arc<Entity>, TopicNameError> {
        TopicNameError::check(topic)?;
        Ok(Arc::new(Entity::new(
            self.shared.identity.new_entity_id(),
            role,
            topic,
            data_type.unwrap_or_else(T::data_type),
        )))
    }

    /// Takes a publisher or subscriber out of the node and tells the others.
    pub(crate) fn remove(&self, entity: &Entity) {
        self.shared.topics.remove(entity);
        entity.close(&self.shared.identity, |registration| self.shared.send_registration(&registration));
        if entity.role == Role::Subscriber {
            self.groups.leave(self.shared.config.topic_group(&entity.topic));
        }
    }
}

/// What the threads of a node share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) start: Instant,
    pub(crate) sender: Arc<dyn SendHalf>,
    /// So that registrations do not wait for room in the socket behind long messages.
    pub(crate) registration_sender: Arc<dyn SendHalf>,
    pub(crate) topics: Topics,
    pub(crate) announcements: Announcements,
    pub(crate) drops: NodeDrops,
    pub(crate) unsubscribed: AtomicU64,
    send_failing: AtomicBool,
    pub(crate) replaying: bool,
    pub(crate) pacer: Option<Pacer>,
    pub(crate) bursts: Option<Bursts>,
}

#[derive(Debug, Default)]
pub(crate) struct NodeDrops {
    pub(crate) registration: Mutex<Drops>,
    pub(crate) payload: Mutex<Drops>,
}

impl Shared {
    /// Sends a registration. It is repeated anyway, so a failure is only told.
    pub(crate) fn send_registration(&self, registration: &Registration) {
        let destination = SocketAddrV4::new(self.config.destination().group, self.config.registration_port());
        let way = Way { sender: &*self.registration_sender, runs: false, one_by_one: true, pacer: None };
        match self.send(destination, [&registration.encode(), &[]], way) {
            Ok(()) => self.send_failing.store(false, Ordering::Relaxed),
            Err(error) => {
                if !self.send_failing.swap(true, Ordering::Relaxed) {
                    log::warn!("this node cannot announce itself: {error}: {}; trying again", error.source);
                }
            }
        }
    }
}

/// New publishers and subscribers that are to be announced.
#[derive(Debug, Default)]
pub(crate) struct Announcements {
    new: Mutex<Vec<Arc<Entity>>>,
    pub(crate) wanted: Notify,
}

impl Announcements {
    fn add(&self, entity: Arc<Entity>) {
        lock(&self.new).push(entity);
        self.wanted.notify_one();
    }

    pub(crate) fn take(&self) -> Vec<Arc<Entity>> {
        std::mem::take(&mut *lock(&self.new))
    }
}

/// The multicast groups that subscribers use, several of them maybe the same one.
struct Groups {
    first_subscriber: data::FirstSubscriber,
    /// Known once there was a subscriber.
    membership: OnceLock<Arc<dyn Membership>>,
    /// Joined from then on.
    base: Ipv4Addr,
    users: Mutex<HashMap<Ipv4Addr, usize>>,
}

impl Groups {
    fn join(&self, group: Ipv4Addr) -> Result<(), NodeError> {
        let mut users = lock(&self.users);
        let membership = match self.membership.get() {
            Some(membership) => membership,
            None => {
                let opened = self.first_subscriber.open()?;
                self.membership.get_or_init(|| opened)
            }
        };
        let count = users.entry(group).or_insert(0);
        if *count == 0 && group != self.base {
            membership.join(group)?;
        }
        *count += 1;
        Ok(())
    }

    fn leave(&self, group: Ipv4Addr) {
        let mut users = lock(&self.users);
        if let Some(count) = users.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                users.remove(&group);
                if group != self.base
                    && let Some(membership) = self.membership.get()
                    && let Err(error) = membership.leave(group)
                {
                    log::warn!("{error}");
                }
            }
        }
    }
}
