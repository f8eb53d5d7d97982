//! Payload over TCP between the real eCAL and ours.

mod broken_pipe;
mod forged;
mod kills;
mod trouble;

use std::process::ExitCode;
use std::time::Duration;

use ferrocal::{Config, LayersConfig, Node};
use ferrocal_integration_tests::ecal::{self, Release};
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::totals::Totals;
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::world::{Mode, World};

/// Of messages that go together, one topic each.
const LENS: [usize; 4] = [20, 64_000, 1_000_000, 50_000_000];
/// Messages on every topic.
const COUNT: u64 = 3;
const TCP: &[&str] = &["--layer=tcp"];

fn main() -> ExitCode {
    let mut tests = Vec::new();
    let mut test = |name: &str, needs: &'static [Need], body: fn()| tests.push(Test::new(name, needs, body));
    test("real_to_ours", &[Need::Ecal], || real_to_ours(Mode::Local));
    test("real_to_ours_on_another_host", &[Need::Ecal], || real_to_ours(Mode::Network));
    test("ours_to_real", &[Need::Ecal], || ours_to_real(Mode::Local));
    test("ours_to_real_on_another_host", &[Need::Ecal], || ours_to_real(Mode::Network));
    test("real_ends_are_killed", &[Need::Ecal], real_ends_are_killed);
    test("killed_publishers", &[Need::Ecal, Need::Examples], kills::killed_publishers);
    test("killed_subscribers", &[Need::Ecal, Need::Examples], kills::killed_subscribers);
    test("ecal_6_0", &[Need::OldEcal], ecal_6_0);
    test("hostile_subscribers", &[], trouble::hostile_subscribers);
    test("hostile_publishers", &[], trouble::hostile_publishers);
    test("a_publisher_that_registers_again", &[], trouble::a_publisher_that_registers_again);
    test("a_slow_subscriber", &[], trouble::a_slow_subscriber);
    test("too_many_connections", &[], trouble::too_many_connections);
    test("connections_leave_descriptors", &[], trouble::connections_leave_descriptors);
    test("messages_that_never_end", &[], trouble::messages_that_never_end);
    test("messages_that_wait", &[], trouble::messages_that_wait);
    test("a_subscriber_that_leaves", &[], broken_pipe::a_subscriber_that_leaves);
    suite::main(tests)
}

/// Settings of a node that has TCP alone.
fn tcp_only(config: Config) -> Config {
    let mut config = config;
    config.publisher.layers = LayersConfig::NONE.tcp(true);
    config.subscriber.layers = LayersConfig::NONE.tcp(true);
    config.subscriber.queue_bytes = 1 << 30;
    config.registration.refresh = Duration::from_millis(200);
    config
}

fn node(world: &World, name: &str) -> Node {
    let config = tcp_only(ours::config(world, world.here()));
    world.here().run(|| Node::with_config(name, config)).expect("a node opens")
}

fn topics(lens: &[usize]) -> Vec<(String, usize)> {
    lens.iter().map(|len| (format!("tcp_{len}"), *len)).collect()
}

fn names(topics: &[(String, usize)]) -> Vec<&str> {
    topics.iter().map(|(name, _)| name.as_str()).collect()
}

fn with_lens(topics: &[(String, usize)]) -> Vec<(&str, usize)> {
    topics.iter().map(|(name, len)| (name.as_str(), *len)).collect()
}

/// Whether enough came on all topics, and nothing else than what was sent.
fn are_complete(rows: &[Totals], topics: &[(String, usize)]) -> bool {
    topics.iter().all(|(name, len)| {
        let row = rows.iter().find(|row| row.topic == *name);
        row.is_some_and(|row| {
            assert_eq!((row.corrupt, &*row.lens), (0, &[*len as u64][..]), "{row:?}");
            row.received >= COUNT
        })
    })
}

fn real_to_ours(mode: Mode) {
    let world = World::new(mode);
    let topics = topics(&LENS);
    let node = node(&world, "ours");
    let subscriber = ours::Subscriber::new(&node, &names(&topics));
    let mut publisher =
        ecal::Publisher::start_of(Release::Current, world.there(), mode, TCP, &with_lens(&topics));
    // A message that is sent before a connection is made reaches nobody.
    publisher.begin_sending(0, 5.0);
    subscriber.await_received(COUNT);
    publisher.process.finish();
    assert_eq!(node.status().drops.total(), 0, "{:?}", node.status());
    for (name, len) in &topics {
        let stats = subscriber.stats(name);
        assert_eq!((stats.duplicate, stats.out_of_order), (0, 0), "{name}: {stats:?}");
        assert_eq!(stats.received_bytes, stats.received * *len as u64);
    }
}

fn ours_to_real(mode: Mode) {
    let world = World::new(mode);
    let topics = topics(&LENS);
    let node = node(&world, "ours");
    let mut publisher = ours::Publisher::new(&node, &with_lens(&topics));
    let mut subscriber =
        ecal::Subscriber::start_of(Release::Current, world.there(), mode, TCP, &names(&topics));
    publisher.expect_matched(1);
    wait::until("messages on all topics", || {
        publisher.send(1, 0.0);
        let rows = subscriber.totals_with("what came", |_| true);
        are_complete(&rows, &topics)
    });
}

/// Either side of eCAL is killed while messages go, and comes back.
fn real_ends_are_killed() {
    const TOPIC: &str = "tcp_killed";
    const LEN: usize = 1_000_000;
    let world = World::new(Mode::Local);
    let node = node(&world, "ours");
    let subscriber = ours::Subscriber::new(&node, &[TOPIC]);
    for round in 1..=3 {
        let mut publisher =
            ecal::Publisher::start_of(Release::Current, world.there(), Mode::Local, TCP, &[(TOPIC, LEN)]);
        publisher.begin_sending(0, 200.0);
        subscriber.await_publishers(round, 10);
        publisher.process.kill();
    }

    let topics = topics(&[LEN]);
    let mut publisher = ours::Publisher::new(&node, &with_lens(&topics));
    for _ in 0..3 {
        let mut subscriber =
            ecal::Subscriber::start_of(Release::Current, world.there(), Mode::Local, TCP, &names(&topics));
        wait::until("messages at the real subscriber", || {
            publisher.send(1, 0.0);
            are_complete(&subscriber.totals_with("what came", |_| true), &topics)
        });
        subscriber.process.kill();
    }
    wait::until_eq("connections", &Some((0, 0)), || {
        // It is seen when something is sent at the latest.
        publisher.send(1, 0.0);
        node.status().tcp.map(|tcp| (tcp.subscribers, tcp.publishers))
    });
}

/// Both directions with the eCAL before.
fn ecal_6_0() {
    let world = World::new(Mode::Local);
    let node = node(&world, "ours");
    let there = topics(&[64_000]);
    let here: Vec<_> = [("tcp_here".to_owned(), 64_000)].into();
    let subscriber = ours::Subscriber::new(&node, &names(&there));
    let mut ours = ours::Publisher::new(&node, &with_lens(&here));
    let mut real =
        ecal::Publisher::start_of(Release::Old, world.there(), Mode::Local, TCP, &with_lens(&there));
    let mut reading =
        ecal::Subscriber::start_of(Release::Old, world.there(), Mode::Local, TCP, &names(&here));
    real.begin_sending(0, 20.0);
    subscriber.await_received(COUNT);
    wait::until("messages at the real subscriber", || {
        ours.send(1, 0.0);
        are_complete(&reading.totals_with("what came", |_| true), &here)
    });
    real.process.finish();
}
