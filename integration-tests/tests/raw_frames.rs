//! Every way to send to every way to receive: our socket, our raw frames, the real eCAL.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ferrocal::{Backend, Config, Node, Selection, SendPath};
use ferrocal_integration_tests::ecal::{self, DataType};
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::totals::Totals;
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::world::{Mode, World};

/// Small, just above one Ethernet frame, the largest datagram, and messages of several and of many datagrams.
const LENS: [usize; 5] = [20, 1473, 65_507, 200_000, 5_000_000];
const COUNT: u64 = 3;
const RATE: f64 = 10.0;
const LARGE_MTU: u32 = 9000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sender {
    Socket,
    Raw,
    Ecal,
}

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for sender in [Sender::Socket, Sender::Raw, Sender::Ecal] {
        let name = format!("{sender:?}").to_lowercase();
        let mut test = |setting: &str, mode, mtu| {
            tests.push(Test::new(
                format!("from_{name}::{setting}"),
                &[Need::Ecal, Need::RawFrames],
                move || every_receiver_gets_every_length(sender, mode, mtu),
            ));
        };
        // In local mode nothing is sent as raw frames: no kernel takes a loopback address from an injected frame.
        if sender != Sender::Raw {
            test("local", Mode::Local, None);
        }
        test("mtu_1500", Mode::Network, None);
        test("mtu_9000", Mode::Network, Some(LARGE_MTU));
    }
    let needs = &[Need::RawFrames];
    tests.push(Test::new(
        "raw_frames_reach_the_senders_own_host",
        needs,
        raw_frames_reach_the_senders_own_host,
    ));
    tests.push(Test::new("without_loopback_they_do_not", needs, without_loopback_they_do_not));
    tests.push(Test::new(
        "an_interface_that_comes_back_is_followed",
        needs,
        an_interface_that_comes_back_is_followed,
    ));
    tests.push(Test::new(
        "messages_are_no_lost_registration",
        &[Need::Ecal, Need::RawFrames],
        messages_are_no_lost_registration,
    ));
    suite::main(tests)
}

fn raw(config: Config) -> Config {
    config.transport(Selection::Npcap)
}

fn raw_sending(mut config: Config) -> Config {
    config.udp.send = SendPath::Raw;
    raw(config)
}

fn open(host: Host, name: &str, config: Config) -> Node {
    host.run(|| Node::with_config(name, config)).unwrap_or_else(|error| panic!("{name}: {error:?}"))
}

fn every_receiver_gets_every_length(sender: Sender, mode: Mode, mtu: Option<u32>) {
    let world = World::new(mode);
    if let Some(mtu) = mtu {
        world.second().set_mtu(mtu).expect("an MTU that a veth takes");
    }
    let (here, there) = (world.here(), world.there());
    let topics = LENS.map(|len| format!("ramp_{len}"));
    let topics = topics.each_ref().map(String::as_str);
    let to_send: Vec<_> = topics.into_iter().zip(LENS).collect();

    let config = ours::config(&world, here);
    let nodes =
        [(config.clone(), Backend::Socket), (raw(config), Backend::Npcap)].map(|(config, backend)| {
            let node = open(here, "receiver", config);
            assert_eq!(node.status().backend, backend);
            node
        });
    let ours = nodes.each_ref().map(|node| ours::Subscriber::new(node, &topics));
    let mut real = ecal::Subscriber::start(here, mode, &topics, COUNT);
    // The two of ours and the real one.
    let receivers = ours.len() + 1;

    match sender {
        Sender::Ecal => {
            let mut publisher = ecal::Publisher::start(there, mode, &to_send, &DataType::default());
            topics.iter().for_each(|topic| drop(publisher.expect_matched(topic, receivers)));
            expect_matched(&ours, &mut real, &topics);
            for sent in 1..=COUNT {
                publisher.send(1, RATE);
                await_received(&ours, &mut real, &topics, sent);
            }
            real.await_complete();
            publisher.process.finish();
        }
        Sender::Socket | Sender::Raw => {
            let config = ours::config(&world, there);
            let config = if sender == Sender::Raw { raw_sending(config) } else { config };
            let node = open(there, "sender", config);
            let mut publisher = ours::Publisher::new(&node, &to_send);
            publisher.expect_matched(receivers);
            expect_matched(&ours, &mut real, &topics);
            for sent in 1..=COUNT {
                publisher.send(1, RATE);
                await_received(&ours, &mut real, &topics, sent);
            }
            real.await_complete();
        }
    }
    for rows in ours.iter().map(ours::Subscriber::totals).chain([real.finish()]) {
        check(&rows, &to_send);
    }
    for node in nodes {
        let status = node.status();
        assert_eq!(status.drops.total(), 0, "{status:?}");
        assert_eq!(
            (status.receive_drops.buffer_full, status.receive_drops.frames.total()),
            (0, 0),
            "{status:?}"
        );
    }
}

fn expect_matched(ours: &[ours::Subscriber], real: &mut ecal::Subscriber, topics: &[&str]) {
    topics.iter().for_each(|topic| drop(real.expect_matched(topic, 1)));
    ours.iter().for_each(|subscriber| subscriber.expect_matched(1));
}

/// Waits until this many messages came on every topic.
fn await_received(ours: &[ours::Subscriber], real: &mut ecal::Subscriber, topics: &[&str], count: u64) {
    ours.iter().for_each(|subscriber| subscriber.await_received(count));
    real.await_received(count, topics.len());
}

/// Checks what one receiver got: every message of every topic.
#[track_caller]
fn check(rows: &[Totals], lens: &[(&str, usize)]) {
    assert_eq!(rows.len(), lens.len(), "{rows:#?}");
    for (topic, len) in lens {
        let row = rows.iter().find(|row| row.topic == *topic);
        row.unwrap_or_else(|| panic!("nothing on {topic}: {rows:#?}")).assert_all(COUNT, *len);
    }
}

fn raw_frames_reach_the_senders_own_host() {
    let world = World::new(Mode::Network);
    let here = world.here();
    let sender = open(here, "sender", raw_sending(ours::config(&world, here)));
    let nodes = [
        open(here, "by socket", ours::config(&world, here)),
        open(here, "by raw frames", raw(ours::config(&world, here))),
        open(world.there(), "elsewhere", ours::config(&world, world.there())),
        sender.clone(),
    ];
    for len in LENS {
        let topic = format!("ramp_{len}");
        let subscribers = nodes.each_ref().map(|node| ours::Subscriber::new(node, &[topic.as_str()]));
        let mut publisher = ours::Publisher::new(&sender, &[(topic.as_str(), len)]);
        publisher.expect_matched(nodes.len());
        for sent in 1..=COUNT {
            publisher.send(1, RATE);
            subscribers.iter().for_each(|subscriber| subscriber.await_received(sent));
        }
        subscribers.iter().for_each(|subscriber| check(&subscriber.totals(), &[(topic.as_str(), len)]));
    }
}

fn without_loopback_they_do_not() {
    let world = World::new(Mode::Network);
    let here = world.here();
    let mut config = raw_sending(ours::config(&world, here));
    config.udp.loopback = false;
    let sender = open(here, "sender", config);
    let same_host = open(here, "by raw frames", ours::config(&world, here));
    let elsewhere = open(world.there(), "elsewhere", ours::config(&world, world.there()));
    let [deaf, hearing] =
        [&same_host, &elsewhere].map(|node| node.subscriber::<str>("topic").expect("a good topic"));
    let publisher = sender.publisher::<str>("topic").expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG));
    publisher.send("message").expect("a message is sent");
    hearing.recv_timeout(HANG).expect("the other host hears it");
    assert!(deaf.try_recv().is_none());
}

/// Registration and messages share a group, and the fragments of a large datagram tell no port.
fn messages_are_no_lost_registration() {
    const TOPIC: &str = "ramp";
    const LEN: usize = 65_507;
    /// Longer than an incomplete packet is waited for, and than the captures take to look for such packets.
    const EXPIRY: Duration = Duration::from_secs(4);
    let world = World::new(Mode::Network);
    let node = open(world.here(), "receiver", raw(ours::config(&world, world.here())));
    let subscriber = ours::Subscriber::new(&node, &[TOPIC]);
    let mut publisher =
        ecal::Publisher::start(world.there(), world.mode(), &[(TOPIC, LEN)], &DataType::default());
    publisher.expect_matched(TOPIC, 1);
    subscriber.expect_matched(1);
    publisher.send(COUNT, RATE);
    subscriber.await_received(COUNT);
    thread::sleep(EXPIRY);
    let drops = node.status().receive_drops;
    assert_eq!(drops.frames.total(), 0, "{drops:?}");
}

fn an_interface_that_comes_back_is_followed() {
    let world = World::new(Mode::Network);
    let (here, there) = (world.here(), world.there());
    let node = open(here, "receiver", raw(ours::config(&world, here)));
    let subscriber = node.subscriber::<str>("topic").expect("a good topic");
    world.second().replace_link().expect("a new link");
    let sender = open(there, "sender", ours::config(&world, there));
    let publisher = sender.publisher::<str>("topic").expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG));
    // Nothing tells the sender when the other side captures again.
    wait::until_some("a message over the new link", || {
        publisher.send("message").expect("a message is sent");
        subscriber.try_recv()
    });
}
