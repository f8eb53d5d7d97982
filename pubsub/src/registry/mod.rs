//! Who is there: this node's entities are announced, those of others are found, and the two are matched.

mod entity;
mod identity;
mod receive;
mod tables;

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ferrocal_proto::{
    Action, Announcement, DataType, DropReason, EntityId, LayerKind, Registration, TopicInfo,
};
use ferrocal_transport::Sender;

pub(crate) use entity::{Entity, Role};
pub(crate) use identity::Identity;
pub(crate) use receive::RegistrationReceiver;

use crate::layer::{Destination, Ended, Inlet, Layer};
use crate::wire::{Report, send_message};
use crate::{Config, Mode, lock};
use tables::{Changed, Full, GonePublisher, Link, Outcome, Tables, TypeConflict};

/// A new entity is announced twice, as eCAL does: the second registration is what makes the connection.
const NEW_ENTITY_ANNOUNCEMENTS: usize = 2;

/// The entities of a node and what is known of all others.
pub(crate) struct Registry {
    pub(crate) identity: Identity,
    mode: Mode,
    /// Whether the entities of this process meet.
    loopback: bool,
    refresh: Duration,
    timeout: Duration,
    /// In the order in which a publisher prefers them.
    layers: Vec<Arc<dyn Layer>>,
    kinds: Vec<LayerKind>,
    tables: Mutex<Tables>,
    /// Its own, so that registrations do not wait for room in the socket behind long messages.
    sender: Arc<dyn Sender>,
    destination: SocketAddrV4,
    /// Counts the registrations of the process.
    clock: AtomicI32,
    is_send_failing: AtomicBool,
    /// Whether nobody will be connected any more.
    has_failed: AtomicBool,
    report: Mutex<Report>,
    inlets: Mutex<Vec<Arc<dyn Inlet>>>,
}

impl Registry {
    pub(crate) fn new(
        identity: Identity,
        config: &Config,
        layers: Vec<Arc<dyn Layer>>,
        sender: Arc<dyn Sender>,
    ) -> Self {
        let limits = &config.limits;
        Self {
            identity,
            mode: config.mode,
            loopback: config.registration.loopback,
            refresh: config.registration.refresh,
            timeout: config.registration.timeout,
            kinds: layers.iter().map(|layer| layer.kind()).collect(),
            layers,
            tables: Mutex::new(Tables::new(limits.max_peers, limits.max_registry_bytes)),
            sender,
            destination: SocketAddrV4::new(config.destination().group, config.registration_port()),
            clock: AtomicI32::new(0),
            is_send_failing: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
            report: Mutex::default(),
            inlets: Mutex::default(),
        }
    }

    /// Adds an entity of this node and announces it.
    pub(crate) fn add(&self, entity: &Arc<Entity>) {
        let conflicts = lock(&self.tables).add(entity.clone());
        log_conflicts(&conflicts);
        // After it was added: a failure from now on reaches it by itself.
        if self.has_failed.load(Ordering::SeqCst) {
            entity.end();
        }
        for _ in 0..NEW_ENTITY_ANNOUNCEMENTS {
            self.announce(std::slice::from_ref(entity));
        }
    }

    /// Removes an entity of this node and announces that.
    pub(crate) fn remove(&self, entity: &Entity) {
        lock(&self.tables).remove(entity);
        entity.close(&self.identity, &self.kinds, |registration| self.send(&registration));
    }

    /// Announces the end of the process's registration.
    pub(crate) fn unregister(&self) {
        let clock = self.clock.load(Ordering::Relaxed);
        self.send(&self.identity.registration(Action::Unregister, clock));
    }

    /// Has an inlet hear of publishers that are gone, and of the end.
    pub(crate) fn attach(&self, inlet: Arc<dyn Inlet>) {
        lock(&self.inlets).push(inlet);
    }

    /// Reports to everybody who waits that a thread of the node has failed.
    pub(crate) fn fail(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
        let entities = lock(&self.tables).entities();
        entities.iter().for_each(|entity| entity.end());
        let inlets = lock(&self.inlets).clone();
        inlets.iter().for_each(|inlet| inlet.end(Ended::Failed));
    }

    /// Has everybody hear of what a step changed. No lock is held: wakers are code of the program.
    fn settle(&self, outcome: &Outcome) {
        outcome.changed.iter().for_each(|entity| entity.notify());
        self.forget(&outcome.gone);
        log_conflicts(&outcome.type_conflicts);
    }

    fn forget(&self, gone: &[GonePublisher]) {
        if gone.is_empty() {
            return;
        }
        let inlets = lock(&self.inlets).clone();
        for GonePublisher { topic, host_name, id } in gone {
            inlets.iter().for_each(|inlet| inlet.forget(topic, host_name, *id));
        }
    }

    /// The peers known of, this node's own entities included.
    pub(crate) fn peer_count(&self) -> usize {
        lock(&self.tables).peer_count()
    }

    /// The memory that peers are charged, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        lock(&self.tables).bytes()
    }

    /// The matched subscribers of a topic that a layer carries payload to.
    pub(crate) fn destinations(&self, topic: &str, layer: usize) -> Vec<Destination> {
        lock(&self.tables).destinations(topic, layer)
    }

    /// The process and the data type of a publisher, if it registered.
    pub(crate) fn publisher(&self, host_name: &str, id: EntityId) -> Option<(i32, Arc<DataType>)> {
        lock(&self.tables).publisher(host_name, id)
    }

    /// What came with registrations and could not be used.
    pub(crate) fn report(&self) -> Report {
        lock(&self.report).clone()
    }

    /// Removes the peers that fell silent and announces everything this node has.
    fn refresh(&self, now: Instant) {
        let (outcome, entities) = {
            let mut tables = lock(&self.tables);
            (tables.expire(now, self.timeout), tables.entities())
        };
        self.settle(&outcome);
        // Those whose connections ended by this are among them.
        self.announce(&entities);
    }

    /// Announces the process and some of what it has. Not subject to any rate limit: peers would time out.
    fn announce(&self, entities: &[Arc<Entity>]) {
        let clock = self.clock.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.send(&self.identity.registration(Action::Register, clock));
        for entity in entities {
            entity.announce(&self.identity, &self.kinds, |registration| self.send(&registration));
        }
    }

    /// Sends a registration. It is repeated anyway, so a failure is only logged.
    fn send(&self, registration: &Registration) {
        match send_message(&*self.sender, self.destination, &registration.encode()) {
            Ok(()) => self.is_send_failing.store(false, Ordering::Relaxed),
            Err(error) => {
                if !self.is_send_failing.swap(true, Ordering::Relaxed) {
                    log::warn!("this node cannot announce itself: {error}: {}; trying again", error.source);
                }
            }
        }
    }

    /// Stores a registration of any node. Returns the entities of this node that it connected or disconnected.
    fn registered(&self, now: Instant, registration: Registration) -> Result<Changed, DropReason> {
        let Registration { action, announcement } = registration;
        let (role, info) = match announcement {
            Announcement::Publisher(info) => (Role::Publisher, info),
            Announcement::Subscriber(info) => (Role::Subscriber, info),
            Announcement::Process(process) if action == Action::Register => {
                let joins_segments = identity::joins_segments(&process.runtime_version);
                return lock(&self.tables)
                    .process_seen(now, &process.host_name, process.process_id, joins_segments)
                    .map(|()| Changed::new())
                    .map_err(|Full| DropReason::RegistryFull);
            }
            // Not even the end of a process is one of its publishers and subscribers: each of them unregisters by
            // itself, and those of another node in the same process go on.
            _ => return Ok(Changed::new()),
        };
        if !self.accepts(&info) {
            return Ok(Changed::new());
        }
        if action == Action::Unregister {
            let outcome = lock(&self.tables).gone(role, &info);
            self.settle(&outcome);
            return Ok(outcome.changed);
        }
        let outcome = {
            let mut tables = lock(&self.tables);
            let link = self.link(role, &info, tables.joins_segments(&info));
            tables.seen(now, role, &info, link).map_err(|Full| DropReason::RegistryFull)?
        };
        self.settle(&outcome);
        Ok(outcome.changed)
    }

    /// The way to a peer, if there is one. A publisher chooses the first of its layers that both sides have enabled.
    fn link(&self, role: Role, info: &TopicInfo, joins_segments: bool) -> Option<Link> {
        let local = *info.host_name == *self.identity.host_name;
        match role {
            // It names its layers only once it is matched.
            Role::Publisher => Some(Link { local, layer: None, joins_segments }),
            Role::Subscriber => {
                let layer = self.layers.iter().position(|layer| layer.reaches(info))?;
                Some(Link { local, layer: Some(layer), joins_segments })
            }
        }
    }

    fn accepts(&self, info: &TopicInfo) -> bool {
        let same_host = *info.host_name == *self.identity.host_name;
        let own = same_host && info.process_id == self.identity.process_id;
        let reachable = match self.mode {
            Mode::Local => same_host || info.shm_transport_domain == self.identity.domain,
            Mode::Network => true,
        };
        reachable && (self.loopback || !own)
    }
}

fn log_conflicts(conflicts: &[TypeConflict]) {
    for TypeConflict { entity, type_name, host_name, process_id } in conflicts {
        log::warn!(
            "topic `{}`: this node's data type is `{}`, that of process {process_id} on {host_name} is `{type_name}`; \
             they are connected all the same, as eCAL goes by the topic's name alone",
            entity.topic,
            entity.data_type().name,
        );
    }
}
