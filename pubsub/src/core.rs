//! What the handles of a node share: its registry, its layers, and the threads that run them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use ferrocal_proto::{DataType, DropCounts, EntityId, MAX_NAME_LEN, SIM_TIME_TOPIC, SimTime};
use ferrocal_transport::{Backend, Selected, SelectionReason, Transport};

use crate::delivery::Crew;
use crate::layer::shm::{Shm, ShmCounters};
use crate::layer::tcp::{Tcp, TcpCounters};
use crate::layer::udp::{Udp, UdpCounters};
use crate::layer::{Ended, Incoming, Inlet, Layer, LayerUse, Opened, Origin, Outlet, Reader, Sink, Writer};
use crate::logging::Logger;
use crate::payload::BorrowedPayload;
use crate::registry::{BoardReceiver, Entity, HostBoard, Identity, RegistrationReceiver, Registry, Role};
use crate::service::{Io, Services};
use crate::source::{Ready, Source};
use crate::wall_clock::WallClock;
use crate::wire::open_sender;
use crate::{
    Clock, Config, CreateError, LayerAvailability, LocalRegistration, Mode, NodeError, PublisherConfig,
    ReceiveThreadConfig, ServiceError, TopicNameError, lock,
};

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) transport: Arc<Selected>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) counters: LayerCounters,
    pub(crate) wall_clock: Arc<WallClock>,
    pub(crate) logger: Logger,
    layers: Vec<LayerSlot>,
    /// What reads simulated time, if the node follows it.
    sim_time: Mutex<Option<SimTimeSubscriber>>,
    registration: Option<Crew>,
    services: Services,
    /// Whether a thread of the node has failed.
    has_failed: Arc<AtomicBool>,
    /// The process that opened the node. A forked child has none of its threads.
    process: u32,
    #[cfg(feature = "tokio")]
    sending: crate::sending::SendThread,
}

/// What the layers count, and whether there are those that a node may lack.
pub(crate) struct LayerCounters {
    pub(crate) udp: Arc<UdpCounters>,
    pub(crate) shm: Result<Arc<ShmCounters>, LayerAvailability>,
    pub(crate) tcp: Result<Arc<TcpCounters>, LayerAvailability>,
}

/// A layer, and the threads that receive by it.
struct LayerSlot {
    layer: Arc<dyn Layer>,
    crew: Crew,
    /// Where its messages can be had, once there was a subscriber.
    inlet: Mutex<Option<Arc<dyn Inlet>>>,
}

/// The length of a name, if others do not read a registration with one that is so long.
fn too_long(name: &str) -> Option<usize> {
    Some(name.len()).filter(|&len| len > MAX_NAME_LEN)
}

impl Core {
    pub(crate) fn open(name: &str, config: Config, selected: Selected) -> Result<Arc<Self>, NodeError> {
        if let Some(warning) = config.udp.unusual_groups().filter(|_| config.mode == Mode::Network) {
            log::warn!("{warning}");
        }
        let transport = Arc::new(selected);
        let udp = Udp::open(&config, transport.clone())?;
        let mut counters = LayerCounters {
            udp: udp.counters(),
            shm: Err(LayerAvailability::NotWithBackend),
            tcp: Err(LayerAvailability::NotWithBackend),
        };
        let mut layers: Vec<Arc<dyn Layer>> = vec![Arc::new(udp)];
        // Programs that bring a network of their own want their messages to go there, and a replay replaces the real one.
        let is_provided = matches!(transport.reason(), SelectionReason::Provided);
        if !Shm::is_available() {
            counters.shm = Err(LayerAvailability::NotHere);
        } else if !is_provided && transport.backend() != Backend::File {
            let shm = Shm::new(&config);
            counters.shm = Ok(shm.counters());
            layers.push(Arc::new(shm));
        }
        // A transport that is no network of this system has addresses of its own.
        if matches!(transport.backend(), Backend::Socket | Backend::Npcap) {
            match Tcp::open(&config) {
                Ok(tcp) => {
                    counters.tcp = Ok(tcp.counters());
                    layers.push(Arc::new(tcp));
                }
                Err(error) => {
                    log::warn!("the TCP layer cannot be used: {error}");
                    counters.tcp = Err(LayerAvailability::Failed);
                }
            }
        }
        Self::with_layers(name, config, transport, counters, layers)
    }

    pub(crate) fn with_layers(
        name: &str,
        config: Config,
        transport: Arc<Selected>,
        counters: LayerCounters,
        layers: Vec<Arc<dyn Layer>>,
    ) -> Result<Arc<Self>, NodeError> {
        if let Some(len) = too_long(name) {
            return Err(NodeError::Name { len });
        }
        let wall_clock = Arc::new(WallClock::new(&config.clock));
        let identity = Identity::new(name, &config);
        let sender = open_sender(&*transport, &config)?;
        let logger = Logger::new(&config, &identity, transport.clone(), wall_clock.clone());
        let board = open_board(&config);
        let (reader, clock) = (board.clone(), wall_clock.clone());
        let registry = Arc::new(Registry::new(identity, &config, layers.clone(), sender, board, clock));
        let has_failed = Arc::new(AtomicBool::new(false));
        let crew = |settings| {
            let (registry, has_failed) = (registry.clone(), has_failed.clone());
            let on_failure = move || {
                has_failed.store(true, Ordering::SeqCst);
                registry.fail();
            };
            Crew::start(settings, Box::new(on_failure)).map_err(NodeError::Thread)
        };
        let registration = crew(ReceiveThreadConfig::default())?;
        let (source, interrupt): (Box<dyn Source>, _) = if let Some(board) = reader {
            let (receiver, interrupt) = BoardReceiver::new(registry.clone(), board, &config);
            (Box::new(receiver), interrupt)
        } else {
            let receiver = transport.receiver(config.registration_port())?;
            receiver.membership().join(config.destination().group)?;
            let interrupt = receiver.interrupter();
            (Box::new(RegistrationReceiver::new(registry.clone(), receiver, &config)), interrupt)
        };
        registration.open(Box::new(move || Some((source, interrupt))));
        let slot =
            |layer| Ok(LayerSlot { layer, crew: crew(config.receive_thread)?, inlet: Mutex::new(None) });
        let layers = layers.into_iter().map(slot).collect::<Result<_, NodeError>>()?;
        for (who, enabled) in
            [("publisher", config.publisher.layers), ("subscriber", config.subscriber.layers)]
        {
            if !registry.kinds.iter().any(|&kind| enabled.is_enabled(kind)) {
                log::warn!(
                    "node `{name}` has none of the layers that `{who}.layer` enables, so that its {who}s reach nobody \
                     unless they have settings of their own; enable `{who}.layer.udp`"
                );
            }
        }
        let core = Arc::new(Self {
            layers,
            sim_time: Mutex::default(),
            config,
            transport,
            registry,
            counters,
            wall_clock,
            logger,
            registration: Some(registration),
            services: Services::default(),
            has_failed,
            process: std::process::id(),
            #[cfg(feature = "tokio")]
            sending: crate::sending::SendThread::default(),
        });
        for slot in core.layers.iter().filter(|slot| slot.layer.serves_publishers()) {
            core.open_slot(slot, &mut lock(&slot.inlet), |_| Ok(()))?;
        }
        if core.config.clock == Clock::SimTime {
            core.follow_sim_time()?;
        }
        Ok(core)
    }

    /// Subscribes to the topic of simulated time.
    fn follow_sim_time(&self) -> Result<(), NodeError> {
        let data_type =
            DataType { name: "eCAL.pb.SimTime".into(), encoding: "proto".into(), ..DataType::default() };
        let id = self.registry.identity.new_entity_id();
        let layers = LayerUse::of_subscriber(&self.registry.kinds, &self.config.subscriber);
        let entity = Arc::new(Entity::new(id, Role::Subscriber, SIM_TIME_TOPIC, data_type, layers));
        let sink: Arc<dyn Sink> = Arc::new(SimTimeSink { wall_clock: self.wall_clock.clone() });
        let readers = self.read_layers(&entity, &sink, false).collect::<Result<_, _>>()?;
        let subscriber = SimTimeSubscriber { _readers: readers, entity };
        self.registry.add(&subscriber.entity);
        *lock(&self.sim_time) = Some(subscriber);
        Ok(())
    }

    /// A new entity, not announced yet.
    pub(crate) fn new_entity(
        &self,
        role: Role,
        topic: &str,
        data_type: DataType,
        layers: LayerUse,
    ) -> Result<Arc<Entity>, CreateError> {
        TopicNameError::check(topic)?;
        if let Some(len) = too_long(&data_type.name).or(too_long(&data_type.encoding)) {
            return Err(CreateError::DataType { topic: topic.to_owned(), len });
        }
        Ok(Arc::new(Entity::new(self.registry.identity.new_entity_id(), role, topic, data_type, layers)))
    }

    /// A writer of each layer. Before the publisher is announced.
    pub(crate) fn writers(&self, entity: &Entity, config: &PublisherConfig) -> Vec<Box<dyn Writer>> {
        let outlet = Outlet {
            topic: &entity.topic,
            id: entity.id,
            host_name: &self.registry.identity.host_name,
            config,
        };
        let writers: Vec<_> = self.layers.iter().map(|slot| slot.layer.writer(&outlet)).collect();
        let endpoints = writers.iter().enumerate();
        entity.set_endpoints(
            endpoints.filter_map(|(layer, writer)| Some((layer, writer.endpoint()?))).collect(),
        );
        writers
    }

    /// Has each layer that a subscriber reads pass its messages to `sink`. With `watch`, callbacks may be among those
    /// who get them.
    pub(crate) fn read(
        &self,
        subscriber: &Arc<Entity>,
        sink: &Arc<dyn Sink>,
        watch: bool,
    ) -> Result<Vec<Box<dyn Reader>>, CreateError> {
        let topic = &subscriber.topic;
        let with_topic = |source| match source {
            NodeError::Thread(source) => CreateError::Thread { topic: topic.to_string(), source },
            source => CreateError::Receive { topic: topic.to_string(), source },
        };
        self.read_layers(subscriber, sink, watch).map(|reader| reader.map_err(with_topic)).collect()
    }

    fn read_layers<'a>(
        &'a self,
        subscriber: &'a Arc<Entity>,
        sink: &'a Arc<dyn Sink>,
        watch: bool,
    ) -> impl Iterator<Item = Result<Box<dyn Reader>, NodeError>> + 'a {
        let enabled =
            self.layers.iter().enumerate().filter(|(layer, _)| subscriber.layers().enabled.contains(*layer));
        enabled.map(move |(layer, slot)| {
            let sink = Arc::new(LayerSink { layer, entity: subscriber.clone(), sink: sink.clone() });
            self.read_from(slot, &subscriber.topic, sink, watch)
        })
    }

    fn read_from(
        &self,
        slot: &LayerSlot,
        topic: &Arc<str>,
        sink: Arc<dyn Sink>,
        watch: bool,
    ) -> Result<Box<dyn Reader>, NodeError> {
        if watch {
            slot.crew.watch().map_err(NodeError::Thread)?;
        }
        let mut inlet = lock(&slot.inlet);
        if let Some(inlet) = &*inlet {
            return inlet.read(topic, sink);
        }
        let topic = topic.clone();
        // Before it is received: a replay does not wait for its first reader.
        self.open_slot(slot, &mut inlet, move |inlet| inlet.read(&topic, sink))
    }

    /// Opens the receiving side of a layer, and does something with it before anything is received.
    fn open_slot<T: Send + 'static>(
        &self,
        slot: &LayerSlot,
        inlet: &mut Option<Arc<dyn Inlet>>,
        first: impl FnOnce(&dyn Inlet) -> Result<T, NodeError> + Send + 'static,
    ) -> Result<T, NodeError> {
        let layer = slot.layer.clone();
        let (answer, answered) = mpsc::sync_channel(1);
        slot.crew.open(Box::new(move || {
            let opened = layer.open().and_then(|opened| {
                let done = first(&*opened.inlet)?;
                Ok((opened, done))
            });
            let (answered, opened) = match opened {
                Ok((Opened { source, inlet, interrupt, joins_segments }, done)) => {
                    (Ok((inlet, joins_segments, done)), Some((source, interrupt)))
                }
                Err(error) => (Err(error), None),
            };
            // Whoever asked waits for it.
            let _ = answer.send(answered);
            opened
        }));
        let ended = |_| NodeError::Thread(io::Error::other("the thread that receives has ended"));
        let (opened, joins_segments, done) = answered.recv().map_err(ended)??;
        if let Some(joins_segments) = joins_segments {
            self.registry.identity.set_joins_segments(joins_segments);
        }
        self.registry.attach(slot.layer.kind(), opened.clone());
        if self.has_failed() {
            opened.end(Ended::Failed);
        }
        *inlet = Some(opened);
        Ok(done)
    }

    /// What the thread of services is told things by. Starts it if there is none.
    pub(crate) fn service_io(&self, service: &str) -> Result<Arc<Io>, ServiceError> {
        let (registry, has_failed) = (self.registry.clone(), self.has_failed.clone());
        let on_failure = move || {
            has_failed.store(true, Ordering::SeqCst);
            registry.fail();
        };
        let io = self.services.io(&self.config, &self.registry.identity.host_name, on_failure);
        io.map_err(|source| ServiceError::Thread { service: service.to_owned(), source })
    }

    /// What came for services and could not be used.
    pub(crate) fn service_drops(&self) -> DropCounts {
        self.services.drops()
    }

    /// Whether a thread of the node has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::SeqCst)
    }

    /// Whether this is a forked child of the process that opened the node.
    pub(crate) fn is_forked(&self) -> bool {
        std::process::id() != self.process
    }

    /// Runs `job` on the thread that sends for asynchronous programs.
    #[cfg(feature = "tokio")]
    pub(crate) fn send_later(&self, job: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        self.sending.submit(job)
    }
}

/// Passes on the messages that come by one layer, and takes note that they do.
struct LayerSink {
    layer: usize,
    entity: Arc<Entity>,
    sink: Arc<dyn Sink>,
}

impl Sink for LayerSink {
    fn push(&self, messages: &mut dyn Iterator<Item = Incoming>, ready: &mut Ready) {
        self.entity.set_active(self.layer);
        self.sink.push(messages, ready);
    }

    fn borrows(&self) -> bool {
        self.sink.borrows()
    }

    fn lend(&self, message: Incoming<BorrowedPayload<'_>>, ready: &mut Ready) {
        self.entity.set_active(self.layer);
        self.sink.lend(message, ready);
    }

    fn lost(&self, origin: &Arc<Origin>, clock: i64) {
        self.sink.lost(origin, clock);
    }

    fn left(&self, host_name: &[u8], publisher: EntityId) {
        self.sink.left(host_name, publisher);
    }

    fn end(&self, why: Ended) {
        self.sink.end(why);
    }
}

/// Where registrations are posted in shared memory, if that is configured.
fn open_board(config: &Config) -> Option<Arc<HostBoard>> {
    let is_wanted =
        config.mode == Mode::Local && config.registration.local_transport == LocalRegistration::Shm;
    let opened = is_wanted.then(|| HostBoard::open(&config.registration))?;
    let warn = |error| log::warn!("registration.local.transport_type: shm: {error}; using udp");
    opened.map_err(warn).ok().map(Arc::new)
}

/// What reads simulated time, and is announced.
struct SimTimeSubscriber {
    entity: Arc<Entity>,
    _readers: Vec<Box<dyn Reader>>,
}

/// Sets the clock to what a simulation says.
struct SimTimeSink {
    wall_clock: Arc<WallClock>,
}

impl Sink for SimTimeSink {
    fn push(&self, messages: &mut dyn Iterator<Item = Incoming>, _: &mut Ready) {
        for message in messages {
            if let Some(time) = SimTime::decode(&message.payload) {
                self.wall_clock.follow(time, message.received);
            }
        }
    }

    fn lost(&self, _: &Arc<Origin>, _: i64) {}

    fn left(&self, _: &[u8], _: EntityId) {}

    fn end(&self, _: Ended) {}
}

impl Drop for Core {
    fn drop(&mut self) {
        let is_forked = self.is_forked();
        self.services.stop(is_forked);
        let crews = self.layers.drain(..).map(|slot| slot.crew).chain(self.registration.take());
        crews.for_each(|crew| if is_forked { crew.abandon() } else { drop(crew) });
        let sim_time = self.sim_time.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if is_forked {
            std::mem::forget(sim_time);
        } else {
            if let Some(subscriber) = sim_time {
                self.registry.remove(&subscriber.entity);
            }
            self.registry.unregister();
        }
        #[cfg(feature = "tokio")]
        if is_forked {
            std::mem::forget(std::mem::take(&mut self.sending));
        }
    }
}
