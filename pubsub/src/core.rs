//! What the handles of a node share: its registry, its layers, and the threads that run them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use ferrocal_proto::{DataType, EntityId, SIM_TIME_TOPIC, SimTime};
use ferrocal_transport::{Selected, Transport};

use crate::delivery::Crew;
use crate::layer::udp::{Udp, UdpCounters};
use crate::layer::{Ended, Incoming, Inlet, Layer, Opened, Origin, Outlet, Reader, Sink, Writer};
use crate::logging::Logger;
use crate::registry::{Entity, Identity, RegistrationReceiver, Registry, Role};
use crate::service::{Io, Services};
use crate::source::{Ready, Source};
use crate::wall_clock::WallClock;
use crate::wire::open_sender;
use crate::{
    Clock, Config, CreateError, Mode, NodeError, PublisherConfig, ReceiveThreadConfig, ServiceError,
    TopicNameError, lock,
};

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) transport: Arc<Selected>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) udp: Arc<UdpCounters>,
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

/// A layer, and the threads that receive by it.
struct LayerSlot {
    layer: Arc<dyn Layer>,
    crew: Crew,
    /// Where its messages can be had, once there was a subscriber.
    inlet: Mutex<Option<Arc<dyn Inlet>>>,
}

impl Core {
    pub(crate) fn open(name: &str, config: Config, selected: Selected) -> Result<Arc<Self>, NodeError> {
        if let Some(warning) = config.udp.unusual_groups().filter(|_| config.mode == Mode::Network) {
            log::warn!("{warning}");
        }
        let transport = Arc::new(selected);
        let udp = Udp::open(&config, transport.clone())?;
        let counters = udp.counters();
        Self::with_layers(name, config, transport, counters, vec![Arc::new(udp)])
    }

    pub(crate) fn with_layers(
        name: &str,
        config: Config,
        transport: Arc<Selected>,
        udp: Arc<UdpCounters>,
        layers: Vec<Arc<dyn Layer>>,
    ) -> Result<Arc<Self>, NodeError> {
        let wall_clock = Arc::new(WallClock::new(&config.clock));
        let identity = Identity::new(name, &config);
        let sender = open_sender(&*transport, &config)?;
        let logger = Logger::new(&config, &identity, transport.clone(), wall_clock.clone());
        let registry = Arc::new(Registry::new(identity, &config, layers.clone(), sender, wall_clock.clone()));
        let has_failed = Arc::new(AtomicBool::new(false));
        let crew = |settings| {
            let (registry, has_failed) = (registry.clone(), has_failed.clone());
            let on_failure = move || {
                has_failed.store(true, Ordering::SeqCst);
                registry.fail();
            };
            Crew::start(settings, Box::new(on_failure)).map_err(NodeError::Thread)
        };
        let receiver = transport.receiver(config.registration_port())?;
        receiver.membership().join(config.destination().group)?;
        let registration = crew(ReceiveThreadConfig::default())?;
        let source = {
            let interrupt = receiver.interrupter();
            let source = RegistrationReceiver::new(registry.clone(), receiver, config.limits.reassembly);
            move || Some((Box::new(source) as Box<dyn Source>, interrupt))
        };
        registration.open(Box::new(source));
        let slot =
            |layer| Ok(LayerSlot { layer, crew: crew(config.receive_thread)?, inlet: Mutex::new(None) });
        let layers = layers.into_iter().map(slot).collect::<Result<_, NodeError>>()?;
        let core = Arc::new(Self {
            layers,
            sim_time: Mutex::default(),
            config,
            transport,
            registry,
            udp,
            wall_clock,
            logger,
            registration: Some(registration),
            services: Services::default(),
            has_failed,
            process: std::process::id(),
            #[cfg(feature = "tokio")]
            sending: crate::sending::SendThread::default(),
        });
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
        let entity = Arc::new(Entity::new(id, Role::Subscriber, SIM_TIME_TOPIC, data_type));
        let sink: Arc<dyn Sink> = Arc::new(SimTimeSink { wall_clock: self.wall_clock.clone() });
        let readers = self.layers.iter().map(|slot| self.read_from(slot, &entity.topic, sink.clone(), false));
        let subscriber = SimTimeSubscriber { _readers: readers.collect::<Result<_, _>>()?, entity };
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
    ) -> Result<Arc<Entity>, TopicNameError> {
        TopicNameError::check(topic)?;
        Ok(Arc::new(Entity::new(self.registry.identity.new_entity_id(), role, topic, data_type)))
    }

    /// A writer of each layer.
    pub(crate) fn writers(&self, entity: &Entity, config: &PublisherConfig) -> Vec<Box<dyn Writer>> {
        let outlet = Outlet {
            topic: &entity.topic,
            id: entity.id,
            host_name: &self.registry.identity.host_name,
            config,
        };
        self.layers.iter().map(|slot| slot.layer.writer(&outlet)).collect()
    }

    /// Has each layer pass the messages of a topic to `sink`. With `watch`, callbacks may be among those who get them.
    pub(crate) fn read(
        &self,
        topic: &Arc<str>,
        sink: &Arc<dyn Sink>,
        watch: bool,
    ) -> Result<Vec<Box<dyn Reader>>, CreateError> {
        self.layers
            .iter()
            .map(|slot| {
                self.read_from(slot, topic, sink.clone(), watch).map_err(|source| match source {
                    NodeError::Thread(source) => CreateError::Thread { topic: topic.to_string(), source },
                    source => CreateError::Receive { topic: topic.to_string(), source },
                })
            })
            .collect()
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
        let (layer, topic) = (slot.layer.clone(), topic.clone());
        let (answer, answered) = mpsc::sync_channel(1);
        slot.crew.open(Box::new(move || {
            let opened = layer.open().and_then(|opened| {
                // Before it is received: a replay does not wait for its first reader.
                let reader = opened.inlet.read(&topic, sink)?;
                Ok((opened, reader))
            });
            let (answered, opened) = match opened {
                Ok((Opened { source, inlet, interrupt, joins_segments }, reader)) => {
                    (Ok((inlet, joins_segments, reader)), Some((source, interrupt)))
                }
                Err(error) => (Err(error), None),
            };
            // Whoever asked waits for it.
            let _ = answer.send(answered);
            opened
        }));
        let ended = |_| NodeError::Thread(io::Error::other("the thread that receives has ended"));
        let (opened, joins_segments, reader) = answered.recv().map_err(ended)??;
        self.registry.identity.set_joins_segments(joins_segments);
        self.registry.attach(opened.clone());
        if self.has_failed() {
            opened.end(Ended::Failed);
        }
        *inlet = Some(opened);
        Ok(reader)
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

    fn forget(&self, _: &[u8], _: EntityId) {}

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
