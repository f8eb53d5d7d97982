//! The real eCAL 6.0.1 as peer: what it takes and gives, and what it registers otherwise than 6.1.1.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ferrocal::{
    Config, Event, EventKind, Feed, HashVersion, Mode as TransportMode, Monitor, Node, Seen, TopicInfo,
};
use ferrocal_integration_tests::ecal::{self, Release};
use ferrocal_integration_tests::pair::Pair;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::totals::Totals;
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{forge, ours, ramp, snapshots, wait};
use ferrocal_transport::{Config as TransportConfig, Datagram, Receiver, SocketTransport, Transport, Wait};

fn main() -> ExitCode {
    let mut tests = Vec::new();
    let mut test = |name: String, body: Box<dyn FnOnce() + Send>| {
        tests.push(Test::new(name, &[Need::OldEcal], body));
    };
    for mode in Mode::ALL {
        let name = |name: &str| format!("{name}::{}", mode.name());
        test(name("messages_go_both_ways"), Box::new(move || messages_go_both_ways(mode)));
        test(name("both_monitors_show_the_same"), Box::new(move || both_monitors_show_the_same(mode)));
        test(name("events_name_its_peers"), Box::new(move || events_name_its_peers(mode)));
    }
    for (name, version) in [("v1", HashVersion::V1), ("v2", HashVersion::V2)] {
        let body = move || the_base_group_carries_all(name, version);
        test(format!("the_base_group_carries_all_with::{name}"), Box::new(body));
    }
    test("it_counts_one_loss_too_many_per_gap".into(), Box::new(it_counts_one_loss_too_many));
    suite::main(tests)
}

/// Its own groups, by v1 and v2, are others than the base group.
const BAR: &str = "bar";
const COUNT: u64 = 5;
/// Empty, one datagram, the largest one, several.
const LENS: [(&str, usize); 4] =
    [("ramp_0", 0), ("ramp_1472", 1472), ("ramp_65507", 65_507), ("ramp_200000", 200_000)];
const TOPICS: [&str; 4] = [LENS[0].0, LENS[1].0, LENS[2].0, LENS[3].0];

/// Both directions at the same time, on the same topics.
fn messages_go_both_ways(mode: Mode) {
    let world = World::new(mode);
    let there = world.there();
    let node = ours::node(&world, world.here(), "ours");
    let mut real_subscriber = ecal::Subscriber::start_of(Release::Old, there, mode, &[], &TOPICS);
    let mut real_publisher = ecal::Publisher::start_of(Release::Old, there, mode, &[], &LENS);
    let subscriber = ours::Subscriber::new(&node, &TOPICS);
    let mut publisher = ours::Publisher::new(&node, &LENS);
    subscriber.expect_matched(2);
    publisher.expect_matched(2);
    for topic in TOPICS {
        real_subscriber.expect_matched(topic, 2);
        real_publisher.expect_matched(topic, 2);
    }
    for sent in 1..=COUNT {
        real_publisher.send(1, 0.0);
        publisher.send(1, 0.0);
        subscriber.await_received(2 * sent);
        real_subscriber.await_received(2 * sent, TOPICS.len());
    }
    for rows in [subscriber.totals(), real_subscriber.finish()] {
        assert_eq!(rows.len(), 2 * LENS.len(), "{rows:#?}");
        for (topic, len) in LENS {
            let of_topic = rows.iter().filter(|row| row.topic == topic);
            of_topic.for_each(|row| row.assert_all(COUNT, len));
        }
    }
    let status = node.status();
    assert_eq!((status.drops.total(), status.receive_drops.buffer_full), (0, 0), "{status:?}");
}

/// Whatever the setting, it sends to the base group, and reads what ours send there.
fn the_base_group_carries_all(version: &str, hash_version: HashVersion) {
    let world = World::new(Mode::Network);
    let mut config = ours::config(&world, world.here());
    config.udp.hash_version = hash_version;
    let base = config.udp.network.group;
    let only_base = SocketTransport::new(TransportConfig {
        mode: TransportMode::Network,
        interfaces: config.udp.interfaces.clone(),
        group: base,
        ..TransportConfig::default()
    });
    let mut only_base = only_base.receiver(config.udp.port).expect("a receiver opens");
    only_base.membership().join(base).expect("a group can be joined");

    let node = Node::with_config("ours", config).expect("a node opens");
    let subscriber = ours::Subscriber::new(&node, &[BAR]);
    let mut publisher = ours::Publisher::new(&node, &[(BAR, 30)]);
    let (there, mode) = (world.there(), world.mode());
    let options = [&*format!("--config-version={version}")];
    let mut real_publisher = ecal::Publisher::start_of(Release::Old, there, mode, &options, &[(BAR, 20)]);
    let mut real_subscriber = ecal::Subscriber::start_of(Release::Old, there, mode, &options, &[BAR]);
    subscriber.expect_matched(2);
    publisher.expect_matched(2);
    real_publisher.expect_matched(BAR, 2);
    real_subscriber.expect_matched(BAR, 2);
    real_publisher.send(1, 0.0);
    publisher.send(1, 0.0);
    subscriber.await_received(2);
    real_subscriber.await_received(2, 1);
    expect(&mut *only_base, &ramp::message(0, 20));
}

/// Waits for a datagram with these bytes in it.
#[track_caller]
fn expect(receiver: &mut dyn Receiver, part: &[u8]) {
    let mut is_there = false;
    while !is_there {
        let mut has_come = false;
        let sink = &mut |datagram: Datagram<'_>| {
            has_come = true;
            is_there |= datagram.bytes.windows(part.len()).any(|bytes| bytes == part);
        };
        receiver.recv(Wait::sleep(HANG), sink).expect("it receives");
        assert!(has_come, "nothing comes");
    }
}

fn both_monitors_show_the_same(mode: Mode) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), "ours");
    let monitor = node.monitor();
    let mut publisher = ours::Publisher::new(&node, &[("ours", 20)]);
    let subscriber = ours::Subscriber::new(&node, &["real"]);
    let data_type = ["--type-name=demo.Point", "--encoding=proto", "--descriptor=00ff80"];
    let mut real_publisher =
        ecal::Publisher::start_of(Release::Old, world.there(), mode, &data_type, &[("real", 30)]);
    let mut real_subscriber =
        ecal::Subscriber::start_of(Release::Old, world.there(), mode, &data_type, &["ours"]);
    let _service = ecal::Service::start_of(Release::Old, world.there(), mode, "service");
    let mut real_monitor = ecal::Monitor::start_of(Release::Old, world.there(), mode);
    real_publisher.expect_matched("real", 1);
    real_subscriber.expect_matched("ours", 1);
    publisher.expect_matched(1);
    publisher.send(3, 1000.0);
    real_publisher.send(5, 1000.0);
    subscriber.await_received(5);
    real_subscriber.await_received(3, 1);
    wait::until_eq("what the monitors differ in", &Vec::<String>::new(), || {
        snapshots::differences(&real_monitor.snapshot(), &monitor.snapshot())
    });
    assert_eq!(monitor.refused(), 0);
    let seen = wait::until_some("it registers what it received", || {
        subscriber_of(&monitor, "ours").filter(|seen| seen.info.data_clock == 3)
    });
    assert_eq!(seen.info.latency, None, "latency came with 6.1: {seen:?}");
}

fn subscriber_of(monitor: &Monitor, topic: &str) -> Option<Seen<TopicInfo>> {
    monitor.snapshot().subscribers.into_iter().find(|seen| seen.info.topic_name == topic)
}

fn events_name_its_peers(mode: Mode) {
    let world = World::new(mode);
    let mut config = ours::config(&world, world.here());
    config.registration.timeout = Duration::from_secs(5);
    let node = Node::with_config("ours", config).expect("a node opens");
    let publisher = node.publisher::<[u8]>("out").expect("a good topic");
    let [subscriber, leaves] = [(); 2].map(|()| node.subscriber::<[u8]>("in").expect("a good topic"));
    let (of_publisher, of_subscriber) = (publisher.events(), subscriber.events());
    let mut real_subscriber = ecal::Subscriber::start_of(Release::Old, world.there(), mode, &[], &["out"]);
    let mut real_publisher = ecal::Publisher::start_of(Release::Old, world.there(), mode, &[], &[("in", 20)]);
    let expect = |events: &Feed<Event>, kind: EventKind, unit: &str| {
        let event = events.recv_timeout(HANG).expect("an event");
        let peer = event.peer.expect("a peer");
        assert_eq!((event.kind, &peer.unit_name), (kind, &unit.into()));
        assert_eq!(peer.host_name, world.there().name());
    };
    expect(&of_publisher, EventKind::Connected, "ecal_sub");
    expect(&of_subscriber, EventKind::Connected, "ecal_pub");
    real_subscriber.expect_matched("out", 1);
    real_publisher.expect_matched("in", 2);
    drop(leaves);
    let gone = real_publisher.process.event("unmatched");
    assert_eq!(gone["peers"], 1, "{gone}");
    real_subscriber.process.kill();
    expect(&of_publisher, EventKind::Disconnected, "ecal_sub");
    // By now the other one is done with its events: its Python hangs if it drops a publisher while that is told of one.
    real_publisher.process.send_line("drop");
    expect(&of_subscriber, EventKind::Disconnected, "ecal_pub");
}

/// Messages 2 and 5 to 7 are missing: two gaps, of one and of three messages. eCAL 6.0 adds the steps of the clock, 2 and 4.
fn it_counts_one_loss_too_many() {
    let world = World::new(Mode::Local);
    let transport = Arc::new(SocketTransport::new(TransportConfig::default()));
    let (node, injector) = Pair::on_loopback(transport).node(Config::default().mode(TransportMode::Local));
    let monitor = node.monitor();
    let subscriber = node.subscriber::<[u8]>("gaps").expect("a good topic");
    let start = |release| ecal::Subscriber::start_of(release, world.here(), Mode::Local, &[], &["gaps"]);
    let mut readers = [start(Release::Old), start(Release::Current)];
    for reader in &mut readers {
        reader.process.send_line("totals");
        reader.process.event("totals");
    }
    let id = 77;
    let info = || forge::on_this_host(forge::topic_info("", 7, id, "gaps"));
    for _ in 0..2 {
        injector.registration(&[forge::whole(&forge::publisher(info()))]);
    }
    assert!(subscriber.wait_for_publisher(HANG));
    for reader in &mut readers {
        reader.expect_matched("gaps", 1);
    }
    for clock in [1, 3, 4, 8] {
        injector.payload(&[forge::whole(&forge::payload("gaps", id, clock, b"x"))]);
    }
    for reader in &mut readers {
        reader.totals_with("four messages", |rows: &[Totals]| rows.iter().any(|row| row.received == 4));
    }
    let drops = |id: u32| {
        let snapshot = monitor.snapshot();
        let mut subscribers = snapshot.subscribers.iter();
        subscribers.find(|seen| seen.info.process_id == id.cast_signed()).map(|seen| seen.info.message_drops)
    };
    let [old, current] = readers.each_ref().map(|reader| reader.process.id());
    wait::until_eq("losses", &[Some(6), Some(4), Some(4)], || {
        [drops(old), drops(current), drops(std::process::id())]
    });
    assert_eq!(subscriber.stats().lost, 4);
}
