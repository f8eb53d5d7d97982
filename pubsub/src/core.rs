//! What the handles of a node share: its registry, its layers, and the threads that run them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ferrocal_proto::DataType;
use ferrocal_transport::{Selected, Transport};

use crate::delivery::Crew;
use crate::layer::udp::{Udp, UdpCounters};
use crate::layer::{Ended, Inlet, Layer, Opened, Outlet, Reader, Sink, Writer};
use crate::message::WallClock;
use crate::registry::{Entity, Identity, RegistrationReceiver, Registry, Role};
use crate::{Config, CreateError, NodeError, PublisherConfig, ReceiveThreadConfig, TopicNameError, lock};

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) transport: Arc<Selected>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) udp: Arc<UdpCounters>,
    pub(crate) wall_clock: WallClock,
    layers: Vec<LayerSlot>,
    registration: Mutex<Option<Crew>>,
    failure: Arc<Failure>,
    /// The process that opened the node. A forked child has none of its threads.
    process: u32,
    #[cfg(feature = "tokio")]
    sending: crate::sending::SendThread,
}

/// A layer, and what it receives with, once there was a subscriber.
struct LayerSlot {
    layer: Arc<dyn Layer>,
    receiving: Mutex<Option<Receiving>>,
}

struct Receiving {
    inlet: Arc<dyn Inlet>,
    crew: Crew,
}

/// What happens when a thread of the node fails.
struct Failure {
    has_failed: AtomicBool,
    registry: Arc<Registry>,
    inlets: Mutex<Vec<Arc<dyn Inlet>>>,
}

impl Failure {
    fn fail(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
        self.registry.end();
        let inlets = lock(&self.inlets).clone();
        inlets.iter().for_each(|inlet| inlet.end(Ended::Failed));
    }
}

impl Core {
    pub(crate) fn open(name: &str, config: Config, selected: Selected) -> Result<Arc<Self>, NodeError> {
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
        let identity = Identity::new(name, &config);
        let registry = Arc::new(Registry::new(identity, &config, layers.clone(), transport.sender()?));
        let failure = Arc::new(Failure {
            has_failed: AtomicBool::new(false),
            registry: registry.clone(),
            inlets: Mutex::default(),
        });
        let receiver = transport.receiver(config.registration_port())?;
        receiver.membership().join(config.destination().group)?;
        let interrupt = receiver.interrupter();
        let source = RegistrationReceiver::new(registry.clone(), receiver, config.limits.reassembly);
        let on_failure = {
            let failure = failure.clone();
            Box::new(move || failure.fail())
        };
        let registration =
            Crew::start(Box::new(source), interrupt, ReceiveThreadConfig::default(), on_failure)
                .map_err(NodeError::Thread)?;
        let slot = |layer| LayerSlot { layer, receiving: Mutex::new(None) };
        Ok(Arc::new(Self {
            layers: layers.into_iter().map(slot).collect(),
            config,
            transport,
            registry,
            udp,
            wall_clock: WallClock::new(),
            registration: Mutex::new(Some(registration)),
            failure,
            process: std::process::id(),
            #[cfg(feature = "tokio")]
            sending: crate::sending::SendThread::default(),
        }))
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
        let mut receiving = lock(&slot.receiving);
        let reader = match &*receiving {
            Some(receiving) => receiving.inlet.read(topic, sink)?,
            None => {
                let Opened { source, inlet, interrupt, joins_segments } = slot.layer.open()?;
                // Before the thread starts: a replay does not wait for its first reader.
                let reader = inlet.read(topic, sink)?;
                lock(&self.failure.inlets).push(inlet.clone());
                if self.has_failed() {
                    inlet.end(Ended::Failed);
                }
                self.registry.identity.set_joins_segments(joins_segments);
                let failure = self.failure.clone();
                let on_failure = Box::new(move || failure.fail());
                let crew = Crew::start(source, interrupt, self.config.receive_thread, on_failure)
                    .map_err(NodeError::Thread)?;
                *receiving = Some(Receiving { inlet, crew });
                reader
            }
        };
        if watch && let Some(receiving) = &*receiving {
            receiving.crew.watch().map_err(NodeError::Thread)?;
        }
        Ok(reader)
    }

    /// Whether a thread of the node has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.has_failed.load(Ordering::SeqCst)
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

impl Drop for Core {
    fn drop(&mut self) {
        let is_forked = self.is_forked();
        let crews = self.layers.iter_mut().filter_map(|slot| {
            let receiving = slot.receiving.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
            receiving.take().map(|receiving| receiving.crew)
        });
        let registration =
            self.registration.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        for crew in crews.chain(registration) {
            if is_forked {
                crew.abandon();
            }
        }
        if !is_forked {
            self.registry.unregister();
        }
    }
}
