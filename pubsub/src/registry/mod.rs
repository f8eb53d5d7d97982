//! Who is there: this node's entities are announced, those of others are found, and the two are matched.

mod advice;
mod entity;
mod host_board;
mod identity;
mod notices;
mod outcome;
mod receive;
mod services;
mod strangers;
mod tables;
mod watch;

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ferrocal_proto::{
    Action, Announcement, DataType, DropReason, EntityId, LayerKind, ProcessState, Registration, Text,
    TopicInfo,
};
use ferrocal_transport::{SendError, Sender};

pub(crate) use entity::{Entity, Role};
pub(crate) use host_board::HostBoard;
pub(crate) use identity::Identity;
pub(crate) use receive::{BoardReceiver, RegistrationReceiver};
pub(crate) use services::{Announcing, ServiceEnd};
pub use tables::{Event, EventKind, MatchedPeer};
pub use watch::{Change, ChangeKind, Registered, Seen, Snapshot};

use crate::feed::Feed;
use crate::layer::{Destination, Ended, Inlet, Layer, LayerSet, RegisteredPublisher};
use crate::outage::Outage;
use crate::stats::Loss;
use crate::wall_clock::WallClock;
use crate::wire::{Report, send_message};
use crate::{Config, Mode, lock};
use identity::Runtime;
use notices::Notices;
use outcome::{Changed, Full, GonePublisher, Outcome};
use services::Services;
use strangers::Strangers;
use tables::{Link, Tables};
pub(crate) use watch::Watch;

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
    pub(crate) kinds: Vec<LayerKind>,
    tables: Mutex<Tables>,
    /// Its own, so that registrations do not wait for room in the socket behind long messages.
    sender: Arc<dyn Sender>,
    /// Where registrations go instead, if that is configured.
    board: Option<Arc<HostBoard>>,
    wall_clock: Arc<WallClock>,
    destination: SocketAddrV4,
    /// Counts the registrations of the process.
    clock: AtomicI32,
    /// Of sending registrations.
    outage: Mutex<Outage>,
    /// How that went since [`post`](Registry::post): the first error, if there was one.
    sent: Mutex<Option<Result<(), SendError>>>,
    /// Whether nobody will be connected any more.
    has_failed: AtomicBool,
    report: Mutex<Report>,
    pub(crate) watch: Watch,
    /// What the events that wait for one listener may keep in memory.
    max_event_bytes: usize,
    inlets: Mutex<Vec<(LayerKind, Arc<dyn Inlet>)>>,
    notices: Notices,
    strangers: Mutex<Strangers>,
    services: Services,
    /// Whether this node's own registrations come back from another address than that of loopback.
    is_heard_beyond_loopback: AtomicBool,
}

impl Registry {
    pub(crate) fn new(
        identity: Identity,
        config: &Config,
        layers: Vec<Arc<dyn Layer>>,
        sender: Arc<dyn Sender>,
        board: Option<Arc<HostBoard>>,
        wall_clock: Arc<WallClock>,
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
            board,
            wall_clock,
            destination: SocketAddrV4::new(config.destination().group, config.registration_port()),
            clock: AtomicI32::new(0),
            outage: Mutex::default(),
            sent: Mutex::default(),
            has_failed: AtomicBool::new(false),
            report: Mutex::default(),
            watch: Watch::new(limits.max_peers, limits.max_registry_bytes),
            max_event_bytes: limits.max_registry_bytes,
            inlets: Mutex::default(),
            notices: Notices::default(),
            strangers: Mutex::default(),
            services: Services::default(),
            is_heard_beyond_loopback: AtomicBool::new(false),
        }
    }

    /// Adds an entity of this node and announces it.
    pub(crate) fn add(&self, entity: &Arc<Entity>) {
        let conflicts = lock(&self.tables).add(entity.clone());
        self.report_conflicts(&conflicts);
        // After it was added: a failure from now on reaches it by itself.
        if self.has_failed.load(Ordering::SeqCst) {
            entity.end();
        }
        self.connect(entity);
        for _ in 0..NEW_ENTITY_ANNOUNCEMENTS {
            self.announce(std::slice::from_ref(entity));
        }
    }

    /// Removes an entity of this node and announces that.
    pub(crate) fn remove(&self, entity: &Entity) {
        lock(&self.tables).remove(entity);
        entity.close(&self.identity, &self.kinds, |registration| self.send(&registration));
        self.post();
    }

    /// Announces the end of the process's registration.
    pub(crate) fn unregister(&self) {
        let clock = self.clock.load(Ordering::Relaxed);
        self.send(&self.identity.registration(Action::Unregister, clock));
        self.post();
    }

    /// Sets how the process is, and announces that.
    pub(crate) fn set_state(&self, state: ProcessState) {
        self.identity.set_state(state);
        self.announce(&[]);
    }

    /// Announces a publisher whose endpoints have changed, before the next refresh is due.
    pub(crate) fn announce_anew(&self, entity: &Arc<Entity>) {
        self.announce(std::slice::from_ref(entity));
    }

    /// Has what the layers have open for a publisher know its subscribers.
    pub(crate) fn connect(&self, entity: &Entity) {
        entity.connect(|layer| self.destinations(entity, layer));
    }

    /// Has a layer's inlet hear of publishers, of those that are gone, and of the end.
    pub(crate) fn attach(&self, kind: LayerKind, inlet: Arc<dyn Inlet>) {
        lock(&self.inlets).push((kind, inlet));
    }

    /// Reports to everybody who waits that a thread of the node has failed.
    pub(crate) fn fail(&self) {
        self.has_failed.store(true, Ordering::SeqCst);
        let entities = lock(&self.tables).entities();
        entities.iter().for_each(|entity| entity.end());
        self.watch.fail();
        self.services.end();
        let inlets = lock(&self.inlets).clone();
        inlets.iter().for_each(|(_, inlet)| inlet.end(Ended::Failed));
    }

    /// Has everybody hear of what a step changed. No lock is held: wakers are code of the program.
    fn settle(&self, outcome: &Outcome) {
        outcome.changed.iter().for_each(|entity| self.connect(entity));
        outcome.changed.iter().for_each(|entity| entity.notify());
        outcome.events.iter().for_each(|(listener, event)| event.clone().send_to(listener));
        self.each_gone(&outcome.gone, |inlet, topic, host_name, id| inlet.forget(topic, host_name, id));
        self.report_conflicts(&outcome.type_conflicts);
    }

    fn each_gone(&self, gone: &[GonePublisher], f: impl Fn(&dyn Inlet, &str, &Text, EntityId)) {
        if gone.is_empty() {
            return;
        }
        let inlets = lock(&self.inlets).clone();
        for GonePublisher { topic, host_name, id } in gone {
            // Nobody here reads a topic whose name is not UTF-8.
            let Ok(topic) = str::from_utf8(topic) else { continue };
            inlets.iter().for_each(|(_, inlet)| f(&**inlet, topic, host_name, *id));
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

    /// The matched subscribers that a layer carries a publisher's payload to.
    pub(crate) fn destinations(&self, publisher: &Entity, layer: usize) -> Vec<Destination> {
        lock(&self.tables).destinations(publisher, layer)
    }

    /// The process and the data type of a publisher, if it registered.
    pub(crate) fn publisher(&self, host_name: &[u8], id: EntityId) -> Option<(i32, Arc<DataType>)> {
        lock(&self.tables).publisher(host_name, id)
    }

    /// What happens to an entity from now on, after an event for each peer that it is matched with already.
    pub(crate) fn events(&self, entity: &Entity) -> Feed<Event> {
        let (sender, feed) = Feed::with_bounds(Feed::<Event>::CAPACITY, self.max_event_bytes);
        // Nothing changes between the look and the listening. Nobody can wait for this feed yet.
        let tables = lock(&self.tables);
        for peer in tables.matched(entity) {
            Event::new(EventKind::Connected, Some(Arc::new(peer))).send_to(&sender);
        }
        entity.listen(sender);
        feed
    }

    /// The peers that an entity is matched with.
    pub(crate) fn matched(&self, entity: &Entity) -> Vec<MatchedPeer> {
        lock(&self.tables).matched(entity)
    }

    /// Has those who listen hear that the callback of an entity has ended.
    pub(crate) fn callback_ended(&self, entity: &Entity) {
        let event = Event::new(EventKind::CallbackEnded, None);
        entity.listeners().iter().for_each(|listener| event.clone().send_to(listener));
    }

    /// Has those who listen hear of messages that did not arrive.
    fn report_losses(&self, entities: &[Arc<Entity>]) {
        for entity in entities {
            let losses = entity.counters.losses.take();
            let listeners = entity.listeners();
            if losses.is_empty() || listeners.is_empty() {
                continue;
            }
            for Loss { host_name, publisher, messages } in losses {
                let peer = lock(&self.tables).publisher_peer(&host_name, publisher).map(Arc::new);
                let event = Event::new(EventKind::Lost { messages }, peer);
                listeners.iter().for_each(|listener| event.clone().send_to(listener));
            }
        }
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
        self.watch.expire(now, self.timeout);
        // Those whose connections ended by this are among them.
        self.announce(&entities);
        self.announce_services();
        self.report_losses(&entities);
        self.report_strangers(now);
        self.report_lonely(now, &entities);
    }

    /// Announces the process and some of what it has. Not subject to any rate limit: peers would time out.
    fn announce(&self, entities: &[Arc<Entity>]) {
        let clock = self.clock.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        self.send(&self.identity.registration(Action::Register, clock));
        for entity in entities {
            entity.announce(&self.identity, &self.kinds, self.wall_clock.now_us(), |registration| {
                self.send(&registration)
            });
        }
        self.post();
    }

    /// Announces entities whose connections changed. Those that are connected are announced as often as new ones: their
    /// peer may be new itself, and is to know them before the next refresh.
    fn answer(&self, mut changed: Changed) {
        for _ in 0..NEW_ENTITY_ANNOUNCEMENTS {
            if changed.is_empty() {
                return;
            }
            self.announce(&changed);
            changed.retain(|entity| entity.connected() > 0);
        }
    }

    /// Has others see what was sent by way of shared memory, all of it at once, and logs if that did not work. Called without
    /// locks: the program's logger may publish.
    fn post(&self) {
        let name = &self.identity.unit_name;
        let Some(board) = &self.board else {
            let sent = lock(&self.sent).take();
            return match sent {
                None => {}
                Some(Ok(())) => self.is_announced(),
                Some(Err(_)) if !lock(&self.outage).failed() => {}
                Some(Err(error)) => {
                    let hint = match self.mode {
                        Mode::Local => "local mode needs the loopback interface.",
                        Mode::Network => "is there a network, and a route to this group?",
                    };
                    log::warn!(
                        "node `{name}` cannot announce itself: {error}: {}; {hint} Trying again",
                        error.source
                    );
                }
            };
        };
        match board.post() {
            Ok(()) => self.is_announced(),
            Err(_) if !lock(&self.outage).failed() => {}
            Err(error) => {
                log::warn!("node `{name}` cannot announce itself in shared memory: {error}; trying again");
            }
        }
    }

    fn is_announced(&self) {
        if lock(&self.outage).worked() {
            log::info!("node `{}` announces itself now", self.identity.unit_name);
        }
    }

    /// Sends a registration, until [`post`](Self::post). It is repeated anyway, so a failure is only logged.
    fn send(&self, registration: &Registration) {
        if let Some(board) = &self.board {
            return board.put(registration);
        }
        let result = send_message(&*self.sender, self.destination, &registration.encode());
        let sent = &mut *lock(&self.sent);
        if result.is_err() || sent.is_none() {
            *sent = Some(result);
        }
    }

    /// Stores a registration of any node. Returns the entities of this node that it connected or disconnected.
    fn registered(
        &self,
        now: Instant,
        source: SocketAddrV4,
        registration: Registration,
    ) -> Result<Changed, DropReason> {
        let Registration { action, announcement } = registration;
        if self.watch.is_on() && self.hears(&announcement) {
            self.watch.registered(now, action, &announcement);
        }
        self.service_registered(source, action, &announcement);
        let (role, info) = match announcement {
            Announcement::Publisher(info) => (Role::Publisher, info),
            Announcement::Subscriber(info) => (Role::Subscriber, info),
            Announcement::Process(process) if action == Action::Register => {
                let runtime = Runtime::new(&process.runtime_version, &self.identity.groups);
                return lock(&self.tables)
                    .process_seen(now, &process.host_name, process.process_id, runtime)
                    .map(|()| Changed::new())
                    .map_err(|Full| DropReason::RegistryFull);
            }
            // Not even the end of a process is one of its publishers and subscribers: each of them unregisters by
            // itself, and those of another node in the same process go on.
            _ => return Ok(Changed::new()),
        };
        if self.is_own(&info.host_name, info.process_id) && !source.ip().is_loopback() {
            self.is_heard_beyond_loopback.store(true, Ordering::Relaxed);
        }
        if !self.accepts(&info) {
            return Ok(Changed::new());
        }
        if action == Action::Unregister {
            let mut outcome = lock(&self.tables).gone(role, &info);
            // Its last messages may come after that, and what is missing of them counts. Later publishers take its place.
            self.each_gone(&std::mem::take(&mut outcome.gone), |inlet, topic, host_name, id| {
                inlet.unregistered(topic, host_name, id);
            });
            self.settle(&outcome);
            return Ok(outcome.changed);
        }
        let outcome = {
            let mut tables = lock(&self.tables);
            let link = self.link(role, &info, tables.runtime(&info));
            let is_local = info.host_name == self.identity.host_name;
            let has_layer = tables.share_layer(role, &info.topic_name, is_local, self.reaching(&info));
            tables.seen(now, role, &info, link, has_layer).map_err(|Full| DropReason::RegistryFull)?
        };
        self.settle(&outcome);
        if role == Role::Publisher && outcome.seen.has_counterpart {
            self.pass_on(source, &info);
        }
        self.report_peer(source, role, &info, outcome.seen);
        Ok(outcome.changed)
    }

    /// Has the inlets know of a publisher, those of the layers that it has enabled.
    fn pass_on(&self, source: SocketAddrV4, info: &TopicInfo) {
        // Nobody here reads a topic whose name is not UTF-8.
        let Ok(topic) = str::from_utf8(&info.topic_name) else { return };
        let inlets = lock(&self.inlets).clone();
        for layer in info.layers.iter().filter(|layer| layer.enabled) {
            let publisher = RegisteredPublisher {
                topic,
                host_name: &info.host_name,
                process_id: info.process_id,
                id: info.topic_id,
                local: info.host_name == self.identity.host_name,
                parameters: &layer.parameters,
                source,
            };
            let of_layer = inlets.iter().filter(|(kind, _)| *kind == layer.kind);
            of_layer.for_each(|(_, inlet)| inlet.registered(&publisher));
        }
    }

    /// The layers of this node that reach a peer.
    fn reaching(&self, info: &TopicInfo) -> LayerSet {
        let is_local = info.host_name == self.identity.host_name;
        LayerSet::of(|index| self.layers.get(index).is_some_and(|layer| layer.reaches(info, is_local)))
    }

    /// The way to a peer, if there is one.
    fn link(&self, role: Role, info: &TopicInfo, runtime: Runtime) -> Option<Link> {
        let local = *info.host_name == *self.identity.host_name;
        match role {
            // It names its layers only once it is matched.
            Role::Publisher => Some(Link { local, layers: LayerSet::default(), runtime }),
            Role::Subscriber => {
                let layers = self.reaching(info);
                (!layers.is_empty()).then_some(Link { local, layers, runtime })
            }
        }
    }

    /// Whether what is announced is in this node's reach.
    fn hears(&self, announcement: &Announcement) -> bool {
        match announcement {
            Announcement::Process(info) => {
                self.reaches(&info.host_name, &info.shm_transport_domain, info.process_id)
            }
            Announcement::Publisher(info) | Announcement::Subscriber(info) => self.accepts(info),
            // Services say nothing of shared memory.
            Announcement::Server(info) | Announcement::Client(info) => {
                self.reaches(&info.host_name, &info.host_name, info.process_id)
            }
            _ => false,
        }
    }

    fn accepts(&self, info: &TopicInfo) -> bool {
        self.reaches(&info.host_name, &info.shm_transport_domain, info.process_id)
    }

    fn is_own(&self, host_name: &Text, process_id: i32) -> bool {
        *host_name == self.identity.host_name && process_id == self.identity.process_id
    }

    fn reaches(&self, host_name: &Text, domain: &Text, process_id: i32) -> bool {
        let same_host = *host_name == self.identity.host_name;
        let reachable = match self.mode {
            Mode::Local => same_host || *domain == self.identity.domain,
            Mode::Network => true,
        };
        reachable && (self.loopback || !self.is_own(host_name, process_id))
    }
}
