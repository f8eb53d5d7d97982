//! A member of the eCAL system.

use std::sync::Arc;

use ferrocal_proto::LayerKind;
use ferrocal_transport::{Backend, Selected, SelectionReason, Transport};

use crate::core::{Core, LayerCounters};
use crate::layer::LayerUse;
use crate::registry::Role;
use crate::status;
use crate::{
    BorrowedMessage, Client, Config, CreateError, LayerAvailability, LayerStatus, LogLevel, LogReceiver,
    Logger, LogsError, Message, Monitor, NodeError, Payload, ProcessState, Publisher, PublisherConfig,
    Server, ServiceError, ShutdownError, ShutdownRequest, Status, Subscriber, SubscriberConfig, Subscription,
};

/// A member of the eCAL system: it announces its publishers and subscribers and finds those of others.
///
/// There is no process-wide state: any number of nodes, with different settings, can live in one process. A node is a
/// handle. Its threads end when it and all publishers and subscribers made from it are dropped.
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
///
/// # Threads
/// One thread receives registrations, one follows the machine's interfaces, one serves TCP connections, and one receives
/// payload once there is a subscriber. The first callback brings one more. Each callback that takes long needs a thread while it runs.
/// The first server or client of a service brings one, and more while methods and callbacks of calls run.
/// `Publisher::send_async` uses one thread, and each [`LogReceiver`] has one.
///
/// # Fork
/// A child that `fork` made has none of these threads: a node of its parent neither sends nor receives there. Dropping it
/// there is safe, and announces nothing. Open nodes after the fork.
#[derive(Clone)]
pub struct Node {
    core: Arc<Core>,
}

impl Node {
    /// Opens a node with the settings of this machine: see [`Config::load`]. `name` is what eCAL's tools show as the
    /// unit's name.
    ///
    /// # Errors
    /// When the settings make no sense, `name` is longer than 4096 bytes, or the transport cannot be opened as they say.
    pub fn new(name: &str) -> Result<Self, NodeError> {
        Self::with_config(name, Config::load()?)
    }

    /// Opens a node with these settings and reads no others.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_config(name: &str, config: Config) -> Result<Self, NodeError> {
        config.check()?;
        let selected = ferrocal_transport::select(&config.transport, config.transport_config())?;
        Self::open(name, config, selected)
    }

    /// Opens a node on a transport of the program's own, such as an [in-memory network](crate::transport::memory). It
    /// opens two senders, for registrations and for payload, and one more for the first log line.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_transport(
        name: &str,
        config: Config,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, NodeError> {
        config.check()?;
        Self::open(name, config, Selected::fixed(transport, SelectionReason::Provided))
    }

    fn open(name: &str, config: Config, selected: Selected) -> Result<Self, NodeError> {
        let core = Core::open(name, config, selected)?;
        log::info!(
            "node `{name}` uses the {} backend ({})",
            core.transport.backend(),
            core.transport.reason()
        );
        Ok(Self { core })
    }

    /// Creates a publisher of a topic.
    ///
    /// # Errors
    /// When `topic` is empty, holds a NUL character or is longer than 65534 bytes, or the name of the data type is longer
    /// than 4096 bytes.
    pub fn publisher<T: Payload + ?Sized>(&self, topic: &str) -> Result<Publisher<T>, CreateError> {
        self.publisher_with(topic, self.core.config.publisher.clone())
    }

    /// Creates a publisher of a topic with settings of its own.
    ///
    /// # Errors
    /// As [`publisher`](Self::publisher), and when a setting is not allowed.
    pub fn publisher_with<T: Payload + ?Sized>(
        &self,
        topic: &str,
        config: PublisherConfig,
    ) -> Result<Publisher<T>, CreateError> {
        Config::default().publisher(config.clone()).check()?;
        let data_type = config.data_type.clone().unwrap_or_else(T::data_type);
        let layers = LayerUse::of_publisher(&self.core.registry.kinds, &config);
        let entity = self.core.new_entity(Role::Publisher, topic, data_type, layers)?;
        if self.core.transport.backend() == Backend::File {
            log::warn!("topic {topic}: a replay sends nothing, so that what is published reaches nobody");
        }
        Ok(Publisher::open(self.core.clone(), entity, &config))
    }

    /// Creates a subscriber of a topic. Messages are taken from it by blocking calls, asynchronously or as a stream.
    ///
    /// # Errors
    /// When `topic` is empty, holds a NUL character or is longer than 65534 bytes, the name of the data type is longer than
    /// 4096 bytes, or (for the first one) the port of payload cannot be bound or the thread that receives cannot be started.
    pub fn subscriber<T: Payload + ?Sized>(&self, topic: &str) -> Result<Subscriber<T>, CreateError> {
        self.subscriber_with(topic, self.core.config.subscriber.clone())
    }

    /// Creates a subscriber of a topic with settings of its own. [`inline`](SubscriberConfig::inline) means nothing
    /// here.
    ///
    /// # Errors
    /// As [`subscriber`](Self::subscriber), and when a setting is not allowed.
    pub fn subscriber_with<T: Payload + ?Sized>(
        &self,
        topic: &str,
        config: SubscriberConfig,
    ) -> Result<Subscriber<T>, CreateError> {
        Subscriber::open(&self.core, topic, &config)
    }

    /// Calls `callback` with each message of a topic, until the subscription is dropped.
    ///
    /// `callback` is never called twice at once, and not any more once the drop of the subscription returned; only if
    /// `callback` itself drops the subscription, that does not wait. It runs on threads of the node, on any of them.
    ///
    /// A slow callback delays no one else: when it takes longer than about two milliseconds, another thread goes on
    /// receiving, and from then on other threads call it, until it is quick again. Its messages wait as
    /// [`SubscriberConfig`] says; those that are dropped meanwhile are counted.
    ///
    /// # Errors
    /// As [`subscriber`](Self::subscriber).
    pub fn subscribe<T: Payload + ?Sized + 'static>(
        &self,
        topic: &str,
        callback: impl FnMut(Message<T>) + Send + 'static,
    ) -> Result<Subscription<T>, CreateError> {
        self.subscribe_with(topic, self.core.config.subscriber.clone(), callback)
    }

    /// Calls `callback` with each message of a topic, with settings of the subscriber's own.
    ///
    /// With [`inline`](SubscriberConfig::inline), `callback` always runs on the thread that receives.
    ///
    /// # Errors
    /// As [`subscriber`](Self::subscriber), and when a setting is not allowed.
    pub fn subscribe_with<T: Payload + ?Sized + 'static>(
        &self,
        topic: &str,
        config: SubscriberConfig,
        callback: impl FnMut(Message<T>) + Send + 'static,
    ) -> Result<Subscription<T>, CreateError> {
        Subscription::open(&self.core, topic, &config, callback)
    }

    /// Calls `callback` with each message of a topic where it lies, without a copy, until the subscription is dropped.
    ///
    /// The callback gets a view of the payload, which is there only while it runs. With shared memory, that is the
    /// publisher's memory file, if
    ///
    /// - the publisher permits it: [`ShmConfig::zero_copy`](crate::ShmConfig::zero_copy), in eCAL `zero_copy_mode`,
    /// - and all subscriptions to the topic in this process, in all of its nodes, are borrowed ones.
    ///
    /// Otherwise the callback gets a view of a copy, as it does with UDP and TCP.
    /// [`BorrowedPayload`](crate::BorrowedPayload) is the same for both, and
    /// [`is_in_place`](crate::BorrowedPayload::is_in_place) tells which it is. Calls are as of
    /// [`subscribe`](Self::subscribe): never two at once, and none after the subscription was dropped.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = ferrocal::Node::new("my_robot")?;
    /// # let (sender, brightness) = std::sync::mpsc::channel();
    /// let _subscription = node.subscribe_borrowed("image", move |message| {
    ///     let mut sum = 0;
    ///     let read = message.payload.for_each_chunk(|chunk| {
    ///         sum += chunk.iter().map(|&pixel| u64::from(pixel)).sum::<u64>();
    ///     });
    ///     match read {
    ///         Ok(()) => println!("image {}: brightness {sum}", message.clock),
    ///         Err(error) => eprintln!("image {}: {error}", message.clock),
    ///     }
    /// #   let _ = sender.send(sum);
    /// })?;
    /// # let publisher = node.publisher::<[u8]>("image")?;
    /// # publisher.wait_for_subscriber(Duration::from_secs(5));
    /// # publisher.send(&[1, 2, 3])?;
    /// # assert_eq!(brightness.recv()?, 6);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # While the callback runs
    /// The memory file is locked. The publisher cannot write its next message, nor can another process read this one: a
    /// callback of a millisecond lets a publisher send 1000 times a second at most. A publisher waits for 200 ms. Then it
    /// takes another memory file, and its subscribers lose what it sends until they have opened that. So a callback that took
    /// longer than 100 ms gets copies, until it was quick 16 times. A message that comes while the callback is busy with one
    /// of another publisher is copied, too. With [`acknowledge_timeout`](crate::ShmConfig::acknowledge_timeout), the publisher
    /// waits until the callback has returned, or for that time.
    ///
    /// The callback should not publish on the topic that it reads: that would wait for the lock that its own thread has.
    /// It may panic, or drop the subscription. The file is unlocked then as always.
    ///
    /// # If another process writes to the memory all the same
    /// [`BorrowedPayload`](crate::BorrowedPayload) has the rules for that. A message that was not whole when the
    /// callback returned is counted as `Torn` or `MemoryFileLost` in [`Status::drops`].
    ///
    /// # Errors
    /// As [`subscriber`](Self::subscriber).
    pub fn subscribe_borrowed(
        &self,
        topic: &str,
        callback: impl FnMut(BorrowedMessage<'_>) + Send + 'static,
    ) -> Result<Subscription<[u8]>, CreateError> {
        self.subscribe_borrowed_with(topic, self.core.config.subscriber.clone(), callback)
    }

    /// As [`subscribe_borrowed`](Self::subscribe_borrowed), with settings of the subscriber's own.
    ///
    /// # Errors
    /// As [`subscriber`](Self::subscriber).
    pub fn subscribe_borrowed_with(
        &self,
        topic: &str,
        config: SubscriberConfig,
        callback: impl FnMut(BorrowedMessage<'_>) + Send + 'static,
    ) -> Result<Subscription<[u8]>, CreateError> {
        Subscription::open_borrowed(&self.core, topic, &config, callback)
    }

    /// Creates a server of a service. Its methods are added to it: see [`Server::method`].
    ///
    /// In local mode, only programs of this host can connect to it.
    ///
    /// # Errors
    /// When the name is empty or longer than 4096 bytes, no port can be listened on, or (for the first server or client) the
    /// thread for services cannot be started.
    pub fn server(&self, service: &str) -> Result<Server, ServiceError> {
        if self.core.transport.backend() == Backend::File {
            log::warn!("service {service}: a replay sends nothing, so that no client hears of the server");
        }
        Server::open(&self.core, service)
    }

    /// Creates a client of a service, which connects to all its servers. Methods are made from it: see
    /// [`Client::method`].
    ///
    /// # Errors
    /// When the name is empty or longer than 4096 bytes, or (for the first server or client) the thread for services cannot
    /// be started.
    pub fn client(&self, service: &str) -> Result<Client, ServiceError> {
        Client::open(&self.core, service)
    }

    /// Whether somebody asks this process to end, as `ecal_stop`, eCAL Sys and `ferrocal stop` do, from now on: a flag, a
    /// future, and something to wait for. Nothing ends by itself. A program that never calls this takes no requests.
    ///
    /// # Errors
    /// When this system has no such requests, or the event or the thread for them cannot be made.
    pub fn shutdown_requested(&self) -> Result<ShutdownRequest, ShutdownError> {
        ShutdownRequest::open()
    }

    /// Sets how the process is, for those who watch the network. The default is healthy, level 1, without a text.
    ///
    /// A text longer than 64 KiB is not read by other nodes.
    pub fn set_state(&self, state: ProcessState) {
        self.core.registry.set_state(state);
    }

    /// Watches everything that is registered on the network.
    pub fn monitor(&self) -> Monitor {
        Monitor::new(self.core.clone())
    }

    /// Writes a line to eCAL's log, as this node's logger does: see [`Logger::log`].
    pub fn log(&self, level: LogLevel, text: &str) {
        self.core.logger.log(level, text);
    }

    /// The node's logger, for the crates `log` and `tracing`. It does not keep the node open.
    pub fn logger(&self) -> Logger {
        self.core.logger.clone()
    }

    /// Receives the log lines that all programs send from now on, this one included. In local mode, only those of this
    /// host.
    ///
    /// # Errors
    /// When the port cannot be opened, the group not be joined, or the thread that receives not be started.
    pub fn logs(&self) -> Result<LogReceiver, LogsError> {
        let Core { config, transport, registry, .. } = &*self.core;
        LogReceiver::open(config, transport, registry.identity.host_name.to_string())
    }

    /// The settings that the node was opened with: what to start from for [`publisher_with`](Self::publisher_with) and
    /// its kin.
    pub fn config(&self) -> &Config {
        &self.core.config
    }

    /// What the node is doing.
    pub fn status(&self) -> Status {
        let Core { transport, registry, counters, config, .. } = &*self.core;
        let LayerCounters { udp, shm, tcp } = counters;
        let (registration, payload) = (registry.report(), udp.report());
        let interfaces = status::merge(registration.interfaces(), payload.interfaces());
        let mut drops = payload.protocol;
        drops.add(&registration.protocol);
        drops.add(&self.core.service_drops());
        shm.iter().for_each(|shm| drops.add(&shm.drops()));
        tcp.iter().for_each(|tcp| drops.add(&tcp.drops()));
        let layer = |kind, availability| LayerStatus {
            kind,
            availability,
            publishes: config.publisher.layers.is_enabled(kind),
            subscribes: config.subscriber.layers.is_enabled(kind),
        };
        let layers = [
            layer(
                LayerKind::SharedMemory,
                shm.as_ref().map_or_else(|why| *why, |_| LayerAvailability::Available),
            ),
            layer(LayerKind::UdpMulticast, LayerAvailability::Available),
            layer(LayerKind::Tcp, tcp.as_ref().map_or_else(|why| *why, |_| LayerAvailability::Available)),
        ];
        let mut receive_drops = payload.transport;
        receive_drops.add(&registration.transport);
        Status {
            backend: transport.backend(),
            reason: transport.reason(),
            registration_backend: registration.granted.map_or(transport.backend(), |granted| granted.backend),
            payload_backend: payload.granted.map(|granted| granted.backend),
            fallbacks: transport.fallbacks(),
            interfaces,
            receive_buffer_len: registration.granted.map_or(0, |granted| granted.receive_buffer_len),
            peers: registry.peer_count(),
            registry_bytes: registry.bytes(),
            drops,
            receive_drops,
            unsubscribed: udp.unsubscribed(),
            layers,
            tcp: tcp.as_ref().ok().map(|tcp| tcp.status()),
            has_failed: self.core.has_failed(),
        }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = &self.core.registry.identity.unit_name;
        f.debug_struct("Node").field("name", name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ferrocal_transport::Mode;
    use ferrocal_transport::memory::Network;

    use super::*;
    use crate::layer::Layer;
    use crate::layer::in_process::InProcess;
    use crate::layer::udp::Udp;
    use crate::{DataType, LayerReason, LayersConfig, RegistrationConfig};

    /// Bounds a hang. No test takes as long unless it fails.
    const HANG: Duration = Duration::from_secs(60);

    /// A node with the layers that `layers` adds to UDP, in front of it.
    fn node(name: &str, network: &Network, first: Option<InProcess>) -> Node {
        node_with(name, network, first, Config::default().mode(Mode::Network))
    }

    fn node_with(name: &str, network: &Network, first: Option<InProcess>, mut config: Config) -> Node {
        // The layer in the tests goes by that name.
        (config.publisher.layers.shm, config.subscriber.layers.shm) = (true, true);
        let transport = Arc::new(Selected::fixed(Arc::new(network.host()), SelectionReason::Provided));
        let udp = Udp::open(&config, transport.clone()).unwrap();
        let counters = LayerCounters {
            udp: udp.counters(),
            shm: Err(LayerAvailability::NotWithBackend),
            tcp: Err(LayerAvailability::NotWithBackend),
        };
        let first = first.map(|layer| Arc::new(layer) as Arc<dyn Layer>);
        let layers = first.into_iter().chain([Arc::new(udp) as Arc<dyn Layer>]).collect();
        Node { core: Core::with_layers(name, config, transport, counters, layers).unwrap() }
    }

    #[test]
    fn logging_does_not_keep_a_node_open() {
        let node = node("node", &Network::new(1), None);
        let core = Arc::downgrade(&node.core);
        let (logger, logs) = (node.logger(), node.logs().unwrap());
        drop(node);
        assert_eq!(core.strong_count(), 0);
        logger.log(LogLevel::Info, "the node is gone");
        assert_eq!(logs.recv_timeout(HANG).unwrap().content, "the node is gone");
    }

    #[test]
    fn a_publisher_finds_a_subscriber_that_was_there_before_without_a_refresh() {
        let never = Duration::from_secs(1_000_000);
        let config = Config::default()
            .mode(Mode::Network)
            .registration(RegistrationConfig::default().refresh(never).timeout(never));
        let network = Network::new(1);
        let reading = node_with("reading", &network, None, config.clone());
        let _subscriber = reading.subscriber::<str>("topic").unwrap();
        let publishing = node_with("publishing", &network, None, config);
        assert!(publishing.publisher::<str>("topic").unwrap().wait_for_subscriber(HANG));
    }

    #[test]
    fn names_and_settings_that_others_could_not_read_or_that_make_no_sense_are_refused() {
        let network = Network::new(1);
        let open = |len: usize| {
            let transport = Arc::new(network.host());
            Node::with_transport(&"x".repeat(len), Config::default().mode(Mode::Network), transport)
        };
        assert!(matches!(open(4097), Err(NodeError::Name { len: 4097 })));
        let node = open(4096).unwrap();
        let named = |len: usize| DataType { name: "x".repeat(len), ..DataType::default() };
        let publisher = |config| node.publisher_with::<[u8]>("topic", config);
        let subscriber = |config| node.subscriber_with::<[u8]>("topic", config);
        let refused = publisher(PublisherConfig::default().data_type(named(4097))).unwrap_err();
        assert!(matches!(refused, CreateError::DataType { len: 4097, .. }), "{refused}");
        let _subscriber = subscriber(SubscriberConfig::default().data_type(named(4096))).unwrap();
        let longest = publisher(PublisherConfig::default().data_type(named(4096))).unwrap();
        assert!(longest.wait_for_subscriber(HANG));

        let none = publisher(PublisherConfig::default().shm(crate::ShmConfig::default().buffer_count(0)));
        assert!(none.unwrap_err().to_string().starts_with("publisher.layer.shm.memfile_buffer_count: `0` "));
        let none = subscriber(SubscriberConfig::default().queue_len(0));
        assert!(none.unwrap_err().to_string().starts_with("ferrocal.subscriber.queue_len: `0` "));
        let none = node.subscribe_with::<[u8]>("topic", SubscriberConfig::default().queue_len(0), |_| ());
        assert!(none.is_err());
    }

    #[test]
    fn what_a_layer_has_open_is_registered_and_reaches_the_other_side() {
        let network = Network::new(1);
        let layer = InProcess::default();
        // No refresh comes in between.
        let never = Duration::from_secs(1_000_000);
        let config = Config::default()
            .mode(Mode::Network)
            .registration(RegistrationConfig::default().refresh(never).timeout(never));
        let publishing = node_with("publishing", &network, Some(layer.clone()), config.clone());
        let publisher = publishing.publisher::<str>("topic").unwrap();
        assert_eq!(layer.destinations(), []);
        let reading = node_with("reading", &network, Some(layer.clone()), config.clone());
        let subscriber = reading.subscriber::<str>("topic").unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        layer.wait_for_file(publisher.id(), "");
        publisher.send("longer").unwrap();
        let ids: Vec<_> =
            layer.destinations().iter().map(|one| (one.id, one.process_id, one.local)).collect();
        assert_eq!(ids, [(subscriber.id(), std::process::id().cast_signed(), true)]);
        layer.wait_for_file(publisher.id(), "file of 6 bytes");
        publisher.send("and longer").unwrap();
        layer.wait_for_file(publisher.id(), "file of 10 bytes");
    }

    #[test]
    fn a_message_to_a_subscriber_that_the_program_sees_finds_what_its_layer_has_open() {
        let network = Network::new(1);
        let layer = InProcess::default();
        let publishing = node("publishing", &network, Some(layer.clone()));
        let reading = node("reading", &network, Some(layer.clone()));
        let publishers = [0, 1].map(|_| publishing.publisher::<str>("topic").unwrap());
        // The node's thread comes no further than to one of them.
        layer.hold(true);
        let subscriber = reading.subscriber::<str>("topic").unwrap();
        layer.wait_for_held();
        assert_eq!(publishers.each_ref().map(|publisher| publisher.subscriber_count()), [1, 1]);
        publishers[1].send("early").unwrap();
        let known = layer.destinations();
        layer.hold(false);
        assert_eq!(known.first().map(|one| one.id), Some(subscriber.id()));
    }

    #[test]
    fn a_subscriber_reads_the_layers_that_it_enables_alone() {
        let network = Network::new(1);
        let layer = InProcess::default();
        let publishing = node("publishing", &network, Some(layer.clone()));
        let reading = node("reading", &network, Some(layer.clone()));
        let publisher = publishing.publisher::<str>("topic").unwrap();
        let udp_alone = SubscriberConfig::default().layers(LayersConfig::NONE.udp(true));
        let subscriber = reading.subscriber_with::<str>("topic", udp_alone).unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        assert_eq!(layer.destinations(), []);
        publisher.send("by UDP").unwrap();
        assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload, "by UDP");

        let silent = PublisherConfig::default().layers(LayersConfig::NONE.tcp(true));
        let silent = publishing.publisher_with::<str>("topic", silent).unwrap();
        assert_eq!(
            (silent.subscriber_count(), silent.subscribers()),
            (0, vec![]),
            "it has no layer in common"
        );
        let choices: Vec<_> =
            publisher.subscribers()[0].layers.iter().map(|choice| (choice.kind, choice.reason)).collect();
        assert_eq!(
            choices,
            [
                (LayerKind::SharedMemory, LayerReason::OffInSubscriber),
                (LayerKind::UdpMulticast, LayerReason::Carries),
                (LayerKind::Tcp, LayerReason::Unavailable),
            ]
        );
    }

    #[test]
    fn another_layer_carries_messages_to_those_who_have_it_and_each_comes_once() {
        let network = Network::new(1);
        let layer = InProcess::default();
        let publishing = node("publishing", &network, Some(layer.clone()));
        let both = node("both", &network, Some(layer));
        let udp_only = node("UDP only", &network, None);
        let publisher = publishing.publisher::<str>("topic").unwrap();
        let near = both.subscriber::<str>("topic").unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        publisher.send("by the first layer").unwrap();
        assert_eq!(near.recv_timeout(HANG).unwrap().payload, "by the first layer");
        assert_eq!(
            both.core.counters.udp.report().protocol.total() + both.core.counters.udp.unsubscribed(),
            0
        );
        assert_eq!((near.stats().received, near.stats().duplicate), (1, 0), "UDP carried nothing");

        let far = udp_only.subscriber::<str>("topic").unwrap();
        assert!(publisher.wait_for_subscribers(2, HANG));
        publisher.send("by both layers").unwrap();
        publisher.send("again").unwrap();
        for text in ["by both layers", "again"] {
            assert_eq!(far.recv_timeout(HANG).unwrap().payload, text);
            assert_eq!(near.recv_timeout(HANG).unwrap().payload, text);
        }
        assert_eq!(near.stats().received, 3, "what came by two layers was delivered once");
        assert!(near.stats().lost == 0 && far.stats().lost == 0);
        assert_eq!(publisher.stats().sent, 3);
    }
}
