//! Links that lose, repeat, delay, cut and damage frames: what is delivered is whole and right, and what is not is counted
//! exactly.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ferrocal::transport::memory::Network;
use ferrocal::{Config, Node, Selection, SendPath, Subscription};
use ferrocal_integration_tests::bridge::{Bridge, Faults};
use ferrocal_integration_tests::ecal::{self, DataType};
use ferrocal_integration_tests::netns::{FIRST_ADDRESS, Host, SECOND_ADDRESS, SecondHost};
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::Mode;
use ferrocal_integration_tests::{forge, ours, ramp, wait};
use ferrocal_transport::{Transmit, Transport};

fn main() -> ExitCode {
    const RAW: &[Need] = &[Need::RawFrames];
    let mut tests = Vec::new();
    let mut test = |name: &str, needs, body: fn()| tests.push(Test::new(name, needs, body));
    test("in_memory", &[], in_memory);
    test("late_messages_are_delivered_once_in_memory", &[], late_messages);
    // The bridge is libpcap's, too.
    test("sockets", RAW, || ours_and_ours(socket, socket));
    test("raw_frames", RAW, || ours_and_ours(raw_sending, raw_sending));
    test("with_the_real_ecal", &[Need::RawFrames, Need::Ecal], with_the_real_ecal);
    suite::main(tests)
}

const LENS: [usize; 4] = [20, 1400, 64_000, 1_000_000];
/// Messages on each topic with each set of faults, and how many in a second.
const COUNT: u64 = 20;
const RATE: f64 = 50.0;
const SEED: u64 = 15;
/// A bad radio link, by which no long message arrives, and a link that loses one long message or other.
const FAULTS: [Faults; 2] = [
    Faults { loss: 0.05, duplication: 0.1, delay: 0.1, cut: 0.02, corruption: 0.02 },
    Faults { loss: 0.0002, duplication: 0.01, delay: 0.01, cut: 0.0001, corruption: 0.0001 },
];

/// The topics of a sender.
fn topics(sender: &str) -> [String; LENS.len()] {
    LENS.map(|len| format!("{sender}_{len}"))
}

fn with_lens(topics: &[String; LENS.len()]) -> Vec<(&str, usize)> {
    topics.iter().map(String::as_str).zip(LENS).collect()
}

fn config(address: Ipv4Addr) -> Config {
    let mut config = Config::default().mode(ferrocal::Mode::Network);
    config.udp.interfaces = vec![address.into()];
    config.udp.receive_buffer_len = ours::RECEIVE_BUFFER_LEN;
    // Nobody is given up because of some lost registrations.
    config.registration.refresh = Duration::from_millis(200);
    config.registration.timeout = HANG;
    config
}

fn socket(config: Config) -> Config {
    config.transport(Selection::Socket)
}

fn raw(config: Config) -> Config {
    config.transport(Selection::Npcap)
}

fn raw_sending(mut config: Config) -> Config {
    config.udp.send = SendPath::Raw;
    raw(config)
}

fn open(host: Host, name: &str, config: Config) -> Node {
    host.run(|| Node::with_config(name, config)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Subscribers of ours, and what they got.
struct Receiver(Vec<Topic>);

struct Topic {
    subscription: Subscription<[u8]>,
    got: Arc<Mutex<Got>>,
}

#[derive(Debug, Default)]
struct Got {
    clocks: Vec<i64>,
    /// Messages that are not what was sent with that clock.
    wrong: u64,
}

impl Receiver {
    fn new(node: &Node, topics: &[String]) -> Self {
        let subscribe = |(topic, len): (&String, usize)| {
            let got = Arc::<Mutex<Got>>::default();
            let kept = got.clone();
            let subscription = node.subscribe::<[u8]>(topic, move |message| {
                let mut got = got.lock().expect("no callback panics");
                got.wrong += u64::from(!ramp::is(&message.payload, message.clock.unsigned_abs() - 1, len));
                got.clocks.push(message.clock);
            });
            Topic { subscription: subscription.expect("a good topic"), got: kept }
        };
        Self(topics.iter().zip(LENS).map(subscribe).collect())
    }

    fn received(&self) -> Vec<u64> {
        self.0.iter().map(|topic| topic.subscription.stats().received).collect()
    }

    /// Whether the newest message of each topic is that of this clock.
    fn has(&self, clock: u64) -> bool {
        self.0.iter().all(|Topic { got, .. }| {
            let got = got.lock().expect("no callback panics");
            got.clocks.last().is_some_and(|newest| newest.unsigned_abs() == clock)
        })
    }

    /// Everything sent was delivered or counted as lost.
    #[track_caller]
    fn check(&self, sent: u64) {
        for Topic { subscription, got } in &self.0 {
            let (stats, got) = (subscription.stats(), got.lock().expect("no callback panics"));
            let topic = subscription.topic();
            println!("{topic}: {} of {sent} received, {} lost", stats.received, stats.lost);
            assert_eq!(got.wrong, 0, "{topic}: {stats:?}");
            assert!(got.clocks.is_sorted_by(|one, other| one < other), "{topic}: {:?}", got.clocks);
            assert_eq!(got.clocks.len() as u64, stats.received, "{topic}: {stats:?}");
            // Of those before the first one, nobody knows.
            let known = sent + 1 - got.clocks[0].unsigned_abs();
            assert_eq!(stats.received + stats.lost, known, "{topic}: {stats:?} {:?}", got.clocks);
            assert_eq!(stats.queue_full, 0, "{topic}: {stats:?}");
        }
    }
}

/// Sends a message without faults until each topic's arrives, so that every gap before it is seen. Returns how many were
/// sent.
#[track_caller]
fn finish(receiver: &Receiver, mut sent: u64, mut send: impl FnMut()) -> u64 {
    wait::until("a last message arrives", || {
        send();
        sent += 1;
        (0..500).any(|_| {
            thread::sleep(Duration::from_millis(2));
            receiver.has(sent)
        })
    });
    sent
}

/// Messages by both directions at once, with each set of faults, and with what they cost.
fn ours_and_ours(here: fn(Config) -> Config, there: fn(Config) -> Config) {
    let second = SecondHost::alone().unwrap_or_else(|error| panic!("{error}"));
    let bridge = Bridge::new(&second, SEED);
    let nodes = [
        open(Host::first(), "here", here(config(FIRST_ADDRESS))),
        open(second.host(), "there", there(config(SECOND_ADDRESS))),
    ];
    exchange(&nodes, |faults| bridge.set(faults));
    let passed = bridge.passed();
    println!("{passed:?}");
    let each = [passed.lost, passed.doubled, passed.delayed, passed.cut, passed.corrupted];
    assert!(each.into_iter().all(|count| count > 0), "{passed:?}");
}

fn exchange(nodes: &[Node; 2], set: impl Fn(Faults)) {
    let names = ["a", "b"].map(topics);
    let receivers = [Receiver::new(&nodes[0], &names[1]), Receiver::new(&nodes[1], &names[0])];
    let mut publishers = [0, 1].map(|side| ours::Publisher::new(&nodes[side], &with_lens(&names[side])));
    publishers.iter().for_each(|publisher| publisher.expect_matched(1));
    let mut sent = [0, 0];
    let finish_both = |publishers: &mut [ours::Publisher; 2], sent: &mut [u64; 2]| {
        for (from, to) in [(0, 1), (1, 0)] {
            sent[from] = finish(&receivers[to], sent[from], || publishers[from].send(1, 0.0));
        }
    };
    finish_both(&mut publishers, &mut sent);
    for faults in FAULTS {
        let before = receivers.each_ref().map(Receiver::received);
        set(faults);
        thread::scope(|scope| {
            publishers.iter_mut().for_each(|publisher| {
                scope.spawn(|| publisher.send(COUNT, RATE));
            });
        });
        sent.iter_mut().for_each(|sent| *sent += COUNT);
        // Short messages pass by the worst link, and long ones by the better one. On a busy computer they are sent in
        // bursts, and more of them overtake others, so that it can take more of them.
        let passing = LENS.len() - if faults == FAULTS[0] { 2 } else { 0 };
        for (from, to) in [(0, 1), (1, 0)] {
            wait::until("messages of each length pass", || {
                let after = receivers[to].received();
                let have_passed = (0..passing).all(|at| after[at] > before[to][at]);
                if !have_passed {
                    publishers[from].send(2, RATE);
                    sent[from] += 2;
                }
                have_passed
            });
        }
        set(Faults::NONE);
        finish_both(&mut publishers, &mut sent);
        receivers[0].check(sent[1]);
        receivers[1].check(sent[0]);
    }
    assert!(nodes.iter().all(|node| !node.status().has_failed));
    println!("{:?}", nodes.each_ref().map(|node| (node.status().drops, node.status().receive_drops)));
}

/// As a bridge, but without damage: it is done to datagrams, which have no checksum here.
fn in_memory() {
    let network = Network::new(SEED);
    let nodes = [0, 1].map(|side| {
        let mut config = config(FIRST_ADDRESS);
        config.udp.interfaces.clear();
        // So that incomplete messages are given up, which counts them at once, and not again when the next one comes.
        config.limits.reassembly.max_messages_per_sender = 2;
        Node::with_transport(&format!("node {side}"), config, Arc::new(network.host())).expect("a node opens")
    });
    exchange(&nodes, |faults| {
        let has_faults = if faults == Faults::NONE { 0.0 } else { 1.0 };
        let network = network.clone().with_loss(0.03 * has_faults);
        let _ = network.with_reordering(0.2 * has_faults).with_duplication(0.2 * has_faults);
    });
}

/// With messages in any order, each is delivered once, and those that are late are told apart.
fn late_messages() {
    const MESSAGES: u64 = 3000;
    let network = Network::new(SEED);
    let [sender, receiver] = [network.host(), network.host()];
    let mut config = config(FIRST_ADDRESS);
    config.udp.interfaces.clear();
    config.subscriber.drop_out_of_order = false;
    let node = Node::with_transport("receiver", config.clone(), Arc::new(receiver)).expect("a node opens");
    let subscriber = node.subscriber::<[u8]>("hello").expect("a good topic");
    let sender = sender.sender().expect("a sender opens");
    let destination = SocketAddrV4::new(config.udp.network.group, config.udp.port);
    let mut random = fastrand::Rng::with_seed(SEED);
    // In order but for shuffled groups, so that a copy may be older than others.
    let mut clocks: Vec<u64> = (2..MESSAGES).collect();
    clocks.chunks_mut(20).for_each(|some| random.shuffle(some));
    let send = |clock: u64, text: &[u8]| {
        let datagram = forge::whole(&forge::payload("hello", 7, clock.cast_signed(), text));
        sender.send(&[Transmit { destination, parts: [&datagram, &[], &[]] }]).expect("it is sent");
    };
    send(1, b"first");
    let _ = network.clone().with_loss(0.02).with_duplication(0.2);
    clocks.into_iter().for_each(|clock| send(clock, b"one of many"));
    let _ = network.clone().with_loss(0.0).with_duplication(0.0);
    send(MESSAGES, b"last");
    let mut got = Vec::new();
    while got.last() != Some(&MESSAGES) {
        got.push(subscriber.recv_timeout(HANG).expect("the last one arrives").clock.unsigned_abs());
    }
    let stats = subscriber.stats();
    let count = got.len();
    got.sort_unstable();
    got.dedup();
    assert_eq!(got.len(), count, "each is delivered once: {stats:?}");
    assert!(stats.out_of_order > 0 && stats.duplicate > 0, "{stats:?}");
    assert_eq!(stats.received, count as u64, "{stats:?}");
    assert_eq!(stats.received + stats.lost - stats.out_of_order, MESSAGES, "{stats:?}");
}

/// Real programs on the second host, in both directions, with our sockets and raw frames on the first one.
fn with_the_real_ecal() {
    let second = SecondHost::alone().unwrap_or_else(|error| panic!("{error}"));
    let bridge = Bridge::new(&second, SEED);
    let names = ["real", "ours"].map(topics);
    let to_real: Vec<_> = names[1].iter().map(String::as_str).collect();
    let nodes = [socket, raw].map(|backend| open(Host::first(), "here", backend(config(FIRST_ADDRESS))));
    let receivers = nodes.each_ref().map(|node| Receiver::new(node, &names[0]));
    let mut publisher = ours::Publisher::new(&nodes[0], &with_lens(&names[1]));
    let mut real_subscriber = ecal::Subscriber::start(second.host(), Mode::Network, &to_real, 0);
    let mut real_publisher =
        ecal::Publisher::start(second.host(), Mode::Network, &with_lens(&names[0]), &DataType::default());
    publisher.expect_matched(1);
    names[0].iter().for_each(|topic| drop(real_publisher.expect_matched(topic, 2)));
    names[1].iter().for_each(|topic| drop(real_subscriber.expect_matched(topic, 1)));

    let (mut sent, mut real_sent) = (0, 0);
    let finish_all = |publisher: &mut ours::Publisher,
                      real_publisher: &mut ecal::Publisher,
                      real_subscriber: &mut ecal::Subscriber,
                      sent: &mut u64,
                      real_sent: &mut u64| {
        for receiver in &receivers {
            *real_sent = finish(receiver, *real_sent, || real_publisher.send(1, 0.0));
        }
        // Both have each message, so that both know of every gap before it.
        *real_sent = finish(&receivers[0], *real_sent, || real_publisher.send(1, 0.0));
        wait::until("the other one has it, too", || receivers[1].has(*real_sent));
        wait::until("a last message arrives at the real subscriber", || {
            publisher.send(1, 0.0);
            *sent += 1;
            (0..20).any(|_| {
                real_subscriber.process.send_line("totals");
                let rows = real_subscriber.process.event("totals");
                let rows = rows["rows"].as_array().cloned().unwrap_or_default();
                let has = |row: &serde_json::Value| row["last_clock"].as_u64() == Some(*sent);
                rows.len() == LENS.len() && rows.iter().all(has)
            })
        });
    };
    finish_all(&mut publisher, &mut real_publisher, &mut real_subscriber, &mut sent, &mut real_sent);
    for faults in FAULTS {
        bridge.set(faults);
        real_publisher.begin_sending(COUNT, RATE);
        publisher.send(COUNT, RATE);
        real_sent = real_publisher.await_sent();
        sent += COUNT;
        bridge.set(Faults::NONE);
        finish_all(&mut publisher, &mut real_publisher, &mut real_subscriber, &mut sent, &mut real_sent);
        receivers.iter().for_each(|receiver| receiver.check(real_sent));
        for row in real_subscriber.totals_with("totals", |rows| rows.len() == LENS.len()) {
            println!(
                "{}: {} of {sent} received by the real one, {} lost",
                row.topic, row.received, row.dropped
            );
            assert_eq!(
                (row.corrupt, row.received + row.dropped),
                (0, sent + 1 - row.first_clock.unsigned_abs())
            );
        }
    }
    println!("{:?}", bridge.passed());
}
