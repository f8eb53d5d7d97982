//! Whole nodes on a network in memory, over sequences of operations: publishers, subscribers and nodes come and go, one falls
//! silent and is taken for gone, datagrams are lost, repeated, reordered and delayed, and noise arrives. A model says who is
//! matched, which messages arrive, each once and in the order of its publisher, and how many count as lost.

#![no_main]

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ferrocal::transport::memory::{Host, Network};
use ferrocal::transport::{
    Datagram, Granted, Interrupt, Membership, Receiver, SendLimits, Sender, Transmit, Transport, Wait,
};
use ferrocal::{
    Backend, Config, EntityId, LayersConfig, Limits, LimitsConfig, MatchedPeer, Mode, Node, OpenError,
    Publisher, ReceiveDrops, ReceiveError, RegistrationConfig, Subscriber,
};
use ferrocal_fuzz::Input;
use ferrocal_proto::{HEADER_LEN, Header, Kind};
use ferrocal_transport::SendError;
use libfuzzer_sys::fuzz_target;

const NODES: usize = 3;
const TOPICS: [&str; 2] = ["fuzz/one/8f3c", "fuzz/two/51be"];
const MAX_ENTITIES: usize = 6;
const MAX_OPERATIONS: usize = 40;
const REGISTRATION_PORT: u16 = 14_000;
const PAYLOAD_PORT: u16 = 14_002;
/// Short, so that longer messages have some fragments.
const MAX_DATAGRAM_LEN: usize = 400;
/// It passes only if a node is made to believe so.
const TIMEOUT: Duration = Duration::from_secs(60);
/// It ends a hang.
const DEADLINE: Duration = Duration::from_secs(120);

/// How the registrations of a host arrive at others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Hearing {
    Heard,
    /// As if they had come before the time-out.
    Late,
    Lost,
}

/// What the transports of all hosts share with the model.
#[derive(Default)]
struct Control {
    hearing: [AtomicU8; NODES],
    /// The registrations that each host sent.
    sent: [AtomicU64; NODES],
    /// The payload that was sent, and who is to send it on.
    outbox: Mutex<Vec<Sent>>,
}

struct Sent {
    sender: Arc<dyn Sender>,
    destination: SocketAddrV4,
    bytes: Vec<u8>,
}

impl Sent {
    fn deliver(&self) {
        let datagram = Transmit { destination: self.destination, parts: [&self.bytes, &[], &[]] };
        self.sender.send(&[datagram]).expect("the network takes everything");
    }
}

struct Link {
    host: Host,
    number: usize,
    control: Arc<Control>,
}

impl Transport for Link {
    fn backend(&self) -> Backend {
        self.host.backend()
    }

    fn receiver(&self, port: u16) -> Result<Box<dyn Receiver>, OpenError> {
        let receiver = self.host.receiver(port)?;
        let (number, control) = (self.number, self.control.clone());
        Ok(Box::new(LinkReceiver { receiver, is_registration: port == REGISTRATION_PORT, number, control }))
    }

    fn sender(&self) -> Result<Arc<dyn Sender>, OpenError> {
        let (number, control) = (self.number, self.control.clone());
        Ok(Arc::new(LinkSender { sender: self.host.sender()?, number, control }))
    }
}

struct LinkReceiver {
    receiver: Box<dyn Receiver>,
    is_registration: bool,
    number: usize,
    control: Arc<Control>,
}

impl Receiver for LinkReceiver {
    fn recv(&mut self, wait: Wait, sink: &mut dyn FnMut(Datagram<'_>)) -> Result<(), ReceiveError> {
        self.receiver.recv(wait, &mut |mut datagram| {
            let source = usize::from(datagram.source.ip().octets()[3]) - 1;
            if self.is_registration && source != self.number && source < NODES {
                let hearing = self.control.hearing[source].load(Ordering::SeqCst);
                if hearing == Hearing::Lost as u8 {
                    return;
                }
                if hearing == Hearing::Late as u8 {
                    datagram.received =
                        datagram.received.checked_sub(TIMEOUT).expect("the system runs for a minute");
                }
            }
            sink(datagram);
        })
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.receiver.interrupter()
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.receiver.membership()
    }

    fn drops(&self) -> ReceiveDrops {
        self.receiver.drops()
    }

    fn granted(&self) -> Granted {
        self.receiver.granted()
    }
}

struct LinkSender {
    sender: Arc<dyn Sender>,
    number: usize,
    control: Arc<Control>,
}

impl Sender for LinkSender {
    fn limits(&self) -> SendLimits {
        self.sender.limits()
    }

    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError> {
        if batch.iter().all(|datagram| datagram.destination.port() != PAYLOAD_PORT) {
            self.sender.send(batch)?;
            self.control.sent[self.number].fetch_add(1, Ordering::SeqCst);
            return Ok(());
        }
        let mut outbox = self.control.outbox.lock().unwrap_or_else(PoisonError::into_inner);
        outbox.extend(batch.iter().map(|datagram| Sent {
            sender: self.sender.clone(),
            destination: datagram.destination,
            bytes: datagram.parts.concat(),
        }));
        Ok(())
    }
}

struct TestPublisher {
    node: usize,
    topic: usize,
    handle: Publisher<[u8]>,
    clock: i64,
}

struct TestSubscriber {
    node: usize,
    topic: usize,
    handle: Subscriber<[u8]>,
    newest: BTreeMap<EntityId, Newest>,
    expected: VecDeque<(EntityId, i64, Vec<u8>)>,
    received: u64,
    lost: u64,
    duplicate: u64,
    out_of_order: u64,
}

/// The newest message of a publisher.
struct Newest {
    clock: i64,
    /// Whether the publisher was taken for gone since.
    has_left: bool,
}

impl TestSubscriber {
    /// A message arrives.
    fn arrive(&mut self, publisher: EntityId, clock: i64, payload: &[u8]) {
        match self.newest.get(&publisher) {
            Some(newest) if clock == newest.clock => return self.duplicate += 1,
            Some(newest) if clock < newest.clock => return self.out_of_order += 1,
            Some(newest) if !newest.has_left => self.lost += clock.abs_diff(newest.clock) - 1,
            _ => {}
        }
        self.newest.insert(publisher, Newest { clock, has_left: false });
        self.received += 1;
        self.expected.push_back((publisher, clock, payload.to_vec()));
    }

    fn drain(&mut self) {
        while let Some((publisher, clock, payload)) = self.expected.pop_front() {
            let message = self.handle.recv_timeout(DEADLINE).expect("what was sent arrives");
            assert_eq!((message.publisher.id, message.clock), (publisher, clock));
            assert!(*message.payload == *payload, "not what was sent");
        }
    }

    fn check(&self) {
        assert!(self.handle.try_recv().is_none(), "nobody sent that");
        let stats = self.handle.stats();
        let counted = (stats.received, stats.lost, stats.duplicate, stats.out_of_order);
        assert_eq!(counted, (self.received, self.lost, self.duplicate, self.out_of_order));
        assert_eq!((stats.queue_full, stats.undecodable), (0, 0));
    }
}

/// A message that is still on its way.
struct Held {
    publisher: EntityId,
    topic: usize,
    clock: i64,
    payload: Vec<u8>,
    datagrams: Vec<Sent>,
}

struct World {
    control: Arc<Control>,
    hosts: Vec<Host>,
    /// Sends noise, and is no node.
    stranger: Arc<dyn Sender>,
    nodes: [Option<Node>; NODES],
    silent: [bool; NODES],
    publishers: Vec<TestPublisher>,
    subscribers: Vec<TestSubscriber>,
    held: Vec<Held>,
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_micros(50));
    }
}

impl World {
    fn new() -> Self {
        let network = Network::new(1);
        let hosts = (0..NODES).map(|_| network.host()).collect();
        let stranger = network.host().sender().expect("the network takes everything");
        Self {
            control: Arc::default(),
            hosts,
            stranger,
            nodes: [const { None }; NODES],
            silent: [false; NODES],
            publishers: Vec::new(),
            subscribers: Vec::new(),
            held: Vec::new(),
        }
    }

    fn node(&mut self, number: usize) -> &Node {
        let (host, control) = (&self.hosts[number], &self.control);
        self.nodes[number].get_or_insert_with(|| {
            // What is incomplete stays so for the run.
            let limits = LimitsConfig::default().reassembly(Limits { timeout: TIMEOUT, ..Limits::default() });
            let registration =
                RegistrationConfig::default().refresh(Duration::from_millis(2)).timeout(TIMEOUT);
            let mut config = Config::default().mode(Mode::Network).limits(limits).registration(registration);
            config.udp.max_datagram_len = MAX_DATAGRAM_LEN;
            // The other layers do not go through the network in memory.
            config.publisher.layers = LayersConfig::NONE.udp(true);
            config.subscriber.layers = LayersConfig::NONE.udp(true);
            let link = Link { host: host.clone(), number, control: control.clone() };
            Node::with_transport("fuzz", config, Arc::new(link)).expect("the network takes everything")
        })
    }

    /// Whether what is on one node hears of what is on another.
    fn hears(&self, node: usize, other: usize) -> bool {
        node == other || !self.silent[other]
    }

    fn subscriber_count(&self, publisher: &TestPublisher) -> usize {
        let is_matched = |subscriber: &&TestSubscriber| {
            subscriber.topic == publisher.topic && self.hears(publisher.node, subscriber.node)
        };
        self.subscribers.iter().filter(is_matched).count()
    }

    /// Waits until everybody is matched with whom they are to be, and with nobody else.
    fn settle(&self) {
        let is_same = |peers: Vec<MatchedPeer>, mut expected: Vec<EntityId>| {
            let mut ids: Vec<_> = peers.iter().map(|peer| peer.id).collect();
            ids.sort_unstable_by_key(|id| id.get());
            expected.sort_unstable_by_key(|id| id.get());
            ids == expected
        };
        for publisher in &self.publishers {
            let matched = self.subscribers.iter().filter(|subscriber| {
                subscriber.topic == publisher.topic && self.hears(publisher.node, subscriber.node)
            });
            let ids: Vec<_> = matched.map(|subscriber| subscriber.handle.id()).collect();
            wait_until("the subscribers of a publisher", || {
                is_same(publisher.handle.subscribers(), ids.clone())
            });
        }
        for subscriber in &self.subscribers {
            let matched = self.publishers.iter().filter(|publisher| {
                publisher.topic == subscriber.topic && self.hears(subscriber.node, publisher.node)
            });
            let ids: Vec<_> = matched.map(|publisher| publisher.handle.id()).collect();
            wait_until("the publishers of a subscriber", || {
                is_same(subscriber.handle.publishers(), ids.clone())
            });
        }
    }

    fn add_publisher(&mut self, node: usize, topic: usize) {
        let handle = self.node(node).publisher(TOPICS[topic]).expect("a topic's name");
        self.publishers.push(TestPublisher { node, topic, handle, clock: 0 });
    }

    fn add_subscriber(&mut self, node: usize, topic: usize) {
        let handle = self.node(node).subscriber(TOPICS[topic]).expect("a topic's name");
        self.subscribers.push(TestSubscriber {
            node,
            topic,
            handle,
            newest: BTreeMap::new(),
            expected: VecDeque::new(),
            received: 0,
            lost: 0,
            duplicate: 0,
            out_of_order: 0,
        });
    }

    fn arrive(&mut self, topic: usize, publisher: EntityId, clock: i64, payload: &[u8]) {
        let readers = self.subscribers.iter_mut().filter(|subscriber| subscriber.topic == topic);
        readers.for_each(|subscriber| subscriber.arrive(publisher, clock, payload));
    }

    /// Publishes a message, to which happens what `fate` says.
    fn publish(&mut self, index: usize, len: usize, fate: u8) {
        let publisher = &mut self.publishers[index];
        publisher.clock += 1;
        let (topic, clock, id) = (publisher.topic, publisher.clock, publisher.handle.id());
        let payload: Vec<u8> = (0..len).map(|at| (at as i64 * 31 + 7 * clock) as u8).collect();
        publisher.handle.send(&payload).expect("the network takes everything");
        let mut datagrams =
            std::mem::take(&mut *self.control.outbox.lock().unwrap_or_else(PoisonError::into_inner));
        let is_sent = self.subscriber_count(&self.publishers[index]) > 0;
        assert_eq!(!datagrams.is_empty(), is_sent, "it is sent if somebody is matched");
        let count = datagrams.len();
        if count == 0 {
            return;
        }
        match fate % 8 {
            0 => return,
            1 => {
                datagrams.remove(usize::from(fate / 8) % count);
                datagrams.iter().for_each(Sent::deliver);
                return;
            }
            2 => {
                for datagram in &datagrams {
                    datagram.deliver();
                    datagram.deliver();
                }
                if count == 1 {
                    self.arrive(topic, id, clock, &payload);
                }
            }
            3 => datagrams.iter().rev().for_each(Sent::deliver),
            4 => return self.held.push(Held { publisher: id, topic, clock, payload, datagrams }),
            _ => datagrams.iter().for_each(Sent::deliver),
        }
        self.arrive(topic, id, clock, &payload);
    }

    /// What was held arrives at last.
    fn release(&mut self, index: usize) {
        let Held { publisher, topic, clock, payload, datagrams } = self.held.swap_remove(index);
        datagrams.iter().for_each(Sent::deliver);
        self.arrive(topic, publisher, clock, &payload);
    }

    /// Waits until all that was sent was looked at: what comes of a publisher behind its end counts as the first of a new one,
    /// and a new subscriber gets what its node has still to read.
    fn flush(&mut self) {
        (0..self.publishers.len()).for_each(|index| self.publish(index, 1, 7));
        self.subscribers.iter_mut().for_each(TestSubscriber::drain);
    }

    fn forget_held(&mut self) {
        let publishers = &self.publishers;
        self.held.retain(|held| publishers.iter().any(|publisher| publisher.handle.id() == held.publisher));
    }

    /// Has the others take a node for gone.
    fn silence(&mut self, node: usize) {
        self.flush();
        let hearing = |hearing| self.control.hearing[node].store(hearing as u8, Ordering::SeqCst);
        hearing(Hearing::Late);
        self.silent[node] = true;
        self.settle();
        hearing(Hearing::Lost);
        // What they are busy with may still count as heard; behind it comes a refresh.
        for other in (0..NODES).filter(|&other| other != node && self.nodes[other].is_some()) {
            let sent = || self.control.sent[other].load(Ordering::SeqCst);
            let refreshes = 3 * (1 + self.publishers.len() + self.subscribers.len()) as u64;
            let before = sent();
            wait_until("a refresh", || sent() >= before + refreshes);
        }
        self.settle();
        let gone: Vec<_> = self
            .publishers
            .iter()
            .filter(|publisher| publisher.node == node)
            .map(|one| one.handle.id())
            .collect();
        let others = self.subscribers.iter_mut().filter(|subscriber| subscriber.node != node);
        let newest = others.flat_map(|subscriber| &mut subscriber.newest);
        newest.filter(|(id, _)| gone.contains(id)).for_each(|(_, newest)| newest.has_left = true);
    }

    fn heal(&mut self, node: usize) {
        self.control.hearing[node].store(Hearing::Heard as u8, Ordering::SeqCst);
        self.silent[node] = false;
    }

    fn noise(&self, input: &mut Input<'_>) {
        let port = if input.byte().is_multiple_of(2) { REGISTRATION_PORT } else { PAYLOAD_PORT };
        let [kind, len] = [input.byte(), input.byte()];
        let payload = input.bytes(len.into());
        let (id, num) = (input.byte().into(), input.word().into());
        let bytes = match kind % 4 {
            0 => payload.to_vec(),
            kind => {
                let kind = [Kind::Info, Kind::Fragment, Kind::Whole][usize::from(kind - 1)];
                let (len, payload) =
                    if kind == Kind::Info { (num, &[][..]) } else { (payload.len() as u32, payload) };
                [&Header { kind, id, num, len }.encode()[..HEADER_LEN], payload].concat()
            }
        };
        let destination = SocketAddrV4::new(Ipv4Addr::new(239, 0, 0, 1), port);
        let datagram = Transmit { destination, parts: [&bytes, &[], &[]] };
        self.stranger.send(&[datagram]).expect("the network takes everything");
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let operation = input.byte() % 16;
        let (publishers, subscribers) = (self.publishers.len(), self.subscribers.len());
        match operation {
            0 | 1 => {
                let (node, topic) =
                    (usize::from(input.byte()) % NODES, usize::from(input.byte()) % TOPICS.len());
                if publishers + subscribers < MAX_ENTITIES {
                    match operation {
                        0 => self.add_publisher(node, topic),
                        _ => {
                            self.flush();
                            self.add_subscriber(node, topic);
                        }
                    }
                    self.settle();
                }
            }
            2 if publishers > 0 => {
                self.flush();
                drop(self.publishers.swap_remove(usize::from(input.byte()) % publishers));
                self.forget_held();
                self.settle();
            }
            3 if subscribers > 0 => {
                self.flush();
                drop(self.subscribers.swap_remove(usize::from(input.byte()) % subscribers));
                self.settle();
            }
            4 => {
                let node = usize::from(input.byte()) % NODES;
                self.flush();
                self.nodes[node] = None;
                self.publishers.retain(|publisher| publisher.node != node);
                self.subscribers.retain(|subscriber| subscriber.node != node);
                self.forget_held();
                self.settle();
            }
            5 => {
                let node = usize::from(input.byte()) % NODES;
                if self.silent[node] {
                    self.heal(node);
                    self.settle();
                } else if self.nodes[node].is_some() {
                    self.silence(node);
                }
            }
            6 if subscribers > 0 => self.subscribers[usize::from(input.byte()) % subscribers].drain(),
            7 => self.noise(input),
            8 if !self.held.is_empty() => self.release(usize::from(input.byte()) % self.held.len()),
            9.. if publishers > 0 => {
                let index = usize::from(input.byte()) % publishers;
                let len = usize::from(input.byte()) * usize::from(1 + input.byte() % 8);
                self.publish(index, len, input.byte());
            }
            _ => {}
        }
    }

    /// What was sent before a last message of each topic has been counted when that has arrived.
    fn finish(mut self) {
        (0..NODES).for_each(|node| self.heal(node));
        self.settle();
        for topic in 0..TOPICS.len() {
            if self.subscribers.iter().any(|subscriber| subscriber.topic == topic) {
                self.add_publisher(0, topic);
                self.settle();
                self.publish(self.publishers.len() - 1, 1, 7);
            }
        }
        for subscriber in &mut self.subscribers {
            subscriber.drain();
            subscriber.check();
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let mut world = World::new();
    for _ in 0..MAX_OPERATIONS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.finish();
});
