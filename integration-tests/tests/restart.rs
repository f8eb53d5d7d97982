//! Either side killed and started again while the other one goes on, and either side leaving in good order.

use std::process::ExitCode;
use std::time::Duration;

use ferrocal::{EventKind, Node};
use ferrocal_integration_tests::ecal::{self, DataType};
use ferrocal_integration_tests::example::{self, Ended};
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::totals::Totals;
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{ours, wait};

const TOPIC: &str = "restart";
const LEN: usize = 200_000;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let mut test = |name: &str, body: fn(Mode)| {
            let needs = &[Need::Ecal, Need::Examples];
            tests.push(Test::new(format!("{name}::{}", mode.name()), needs, move || body(mode)));
        };
        test("real_publisher_killed", real_publisher_killed);
        test("real_subscriber_killed", real_subscriber_killed);
        test("killed_real_subscribers_are_forgotten", killed_real_subscribers_are_forgotten);
        test("our_publisher_killed", our_publisher_killed);
        test("our_subscriber_killed", our_subscriber_killed);
        test("our_end_by_a_kill_is_told", our_end_by_a_kill_is_told);
        test("our_publisher_leaves", our_publisher_leaves);
        test("our_subscriber_leaves", our_subscriber_leaves);
        test("our_process_ends", our_process_ends);
        test("our_process_is_asked_to_end", our_process_is_asked_to_end);
        test("real_side_leaves", real_side_leaves);
    }
    suite::main(tests)
}

fn start_real_publisher(world: &World) -> ecal::Publisher {
    ecal::Publisher::start(world.there(), world.mode(), &[(TOPIC, LEN)], &DataType::default())
}

fn real_publisher_killed(mode: Mode) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), "ours");
    let subscriber = ours::Subscriber::new(&node, &[TOPIC]);
    for round in 1..=3 {
        let mut publisher = start_real_publisher(&world);
        publisher.expect_matched(TOPIC, 1);
        // Killed while it sends.
        publisher.begin_sending(0, 20.0);
        subscriber.await_publishers(round, 20);
        publisher.process.kill();
    }
    let rows = subscriber.totals();
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows.iter().all(|row| (row.first_clock, row.corrupt, row.dropped) == (1, 0, 0)), "{rows:?}");
}

fn real_subscriber_killed(mode: Mode) {
    let world = World::new(mode);
    let mut config = ours::config(&world, world.here());
    // The first one's registration does not run out.
    config.registration.timeout = Duration::from_secs(3600);
    let node = Node::with_config("ours", config).expect("a node opens");
    let mut publisher = ours::Publisher::new(&node, &[(TOPIC, LEN)]);
    let start = || ecal::Subscriber::start(world.there(), mode, &[TOPIC], 0);

    let mut first = start();
    first.expect_matched(TOPIC, 1);
    publisher.expect_matched(1);
    publisher.send(5, 20.0);
    first.totals_with("5 messages", |rows| received(rows) == 5);
    first.process.kill();

    let mut second = start();
    second.expect_matched(TOPIC, 1);
    publisher.expect_matched(2);
    publisher.send(5, 20.0);
    let rows = second.totals_with("5 messages", |rows| received(rows) == 5);
    assert_eq!((rows[0].first_clock, rows[0].corrupt, rows[0].dropped), (6, 0, 0), "{rows:?}");
}

/// In time, and after that nothing is left of them.
fn killed_real_subscribers_are_forgotten(mode: Mode) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), "ours");
    let mut publisher = ours::Publisher::new(&node, &[(TOPIC, LEN)]);
    let start = || ecal::Subscriber::start(world.there(), mode, &[TOPIC], 0);
    let [first, second] = [start(), start()];
    publisher.expect_matched(2);
    first.process.kill();
    publisher.expect_matched(1);
    second.process.kill();
    publisher.expect_matched(0);
    let mut third = start();
    third.expect_matched(TOPIC, 1);
    publisher.expect_matched(1);
    publisher.send(5, 20.0);
    let rows = third.totals_with("5 messages", |rows| received(rows) == 5);
    assert_eq!((rows[0].first_clock, rows[0].corrupt, rows[0].dropped), (1, 0, 0), "{rows:?}");
}

fn received(rows: &[Totals]) -> u64 {
    rows.iter().map(|row| row.received).sum()
}

fn our_publisher_killed(mode: Mode) {
    let world = World::new(mode);
    let mut subscriber = ecal::Subscriber::start(world.there(), mode, &[TOPIC], 0);
    let mut ids = Vec::new();
    for round in 0..3 {
        let arguments = format!("{TOPIC} --mode {} --payload ramp --size {LEN} --rate 20", mode.name());
        let publisher = example::start(world.here(), "pub", &arguments);
        let matched = subscriber.process.expect("match of our process", |event| {
            event["event"] == "matched" && event["pid"] == publisher.id()
        });
        ids.push(matched["topic_id"].as_str().expect("a text").to_owned());
        let rows = subscriber.totals_with("5 messages of each process", |rows| {
            ids.iter().all(|id| rows.iter().any(|row| row.topic_id == *id && row.received >= 5))
        });
        assert_eq!(rows.len(), round + 1, "{rows:?}");
        assert!(rows.iter().all(|row| row.corrupt == 0 && row.dropped == 0), "{rows:?}");
        publisher.kill();
    }
}

fn our_subscriber_killed(mode: Mode) {
    let world = World::new(mode);
    let mut publisher = start_real_publisher(&world);
    publisher.begin_sending(0, 20.0);
    let base = format!("{TOPIC} --mode {} --verify ramp", mode.name());
    for _ in 0..2 {
        let subscriber = example::start(world.here(), "sub", &base);
        publisher.process.expect("match of our process", |event| {
            event["event"] == "matched" && event["pid"] == subscriber.id()
        });
        subscriber.kill();
    }
    let subscriber = example::start(world.here(), "sub", &format!("{base} --count 10 --json"));
    Ended::of(subscriber).assert_all(TOPIC, "received", 10, LEN as u64);
    publisher.process.finish();
}

/// Nobody says that it is gone: eCAL's time-out does.
fn our_end_by_a_kill_is_told(mode: Mode) {
    let world = World::new(mode);
    let quick = ["--registration-timeout=5000"];
    let mut real_subscriber = ecal::Subscriber::start_with(world.there(), mode, &quick, TOPIC);
    let mut real_publisher = ecal::Publisher::start_with(world.there(), mode, &quick, "back", LEN);
    let publisher = example::start(world.here(), "pub", &format!("{TOPIC} --mode {}", mode.name()));
    let subscriber = example::start(world.here(), "sub", &format!("back --mode {}", mode.name()));
    let mut real =
        [(&mut real_subscriber.process, publisher.id()), (&mut real_publisher.process, subscriber.id())];
    for (process, id) in &mut real {
        let matched = process.event("matched");
        assert_eq!((&matched["pid"], &matched["peers"]), (&(*id).into(), &1.into()), "{matched}");
    }
    publisher.kill();
    subscriber.kill();
    for (process, id) in &mut real {
        let gone = process.event("unmatched");
        assert_eq!((&gone["pid"], &gone["peers"]), (&(*id).into(), &0.into()), "{gone}");
    }
}

fn our_publisher_leaves(mode: Mode) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), "ours");
    let mut subscriber = ecal::Subscriber::start_patient(world.there(), mode, &[TOPIC]);
    for _ in 0..3 {
        let mut publisher = ours::Publisher::new(&node, &[(TOPIC, LEN)]);
        subscriber.expect_matched(TOPIC, 1);
        publisher.expect_matched(1);
        publisher.send(3, 20.0);
        let [id] = &publisher.ids()[..] else { panic!("one topic") };
        subscriber.totals_with("3 messages", |rows| {
            rows.iter().any(|row| row.topic_id == *id && row.received == 3)
        });
        drop(publisher);
        let gone = subscriber.process.event("unmatched");
        assert_eq!((&gone["topic_id"], &gone["peers"]), (&id.as_str().into(), &0.into()), "{gone}");
    }
}

fn our_subscriber_leaves(mode: Mode) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), "ours");
    let mut publisher = ecal::Publisher::start_patient(world.there(), mode, TOPIC, LEN);
    for _ in 0..3 {
        let subscriber = ours::Subscriber::new(&node, &[TOPIC]);
        publisher.expect_matched(TOPIC, 1);
        publisher.send(3, 20.0);
        subscriber.await_received(3);
        drop(subscriber);
        let gone = publisher.process.event("unmatched");
        assert_eq!(gone["peers"], 0, "{gone}");
    }
}

fn our_process_ends(mode: Mode) {
    let world = World::new(mode);
    let mut subscriber = ecal::Subscriber::start_patient(world.there(), mode, &[TOPIC]);
    let arguments = format!(
        "{TOPIC} --mode {} --payload ramp --size {LEN} --count 5 --rate 20 --wait-for-subscriber 30 --json",
        mode.name()
    );
    let publisher = example::start(world.here(), "pub", &arguments);
    let pid = publisher.id();
    Ended::of(publisher).assert_all(TOPIC, "sent", 5, LEN as u64);
    let gone = subscriber.process.event("unmatched");
    assert_eq!((&gone["pid"], &gone["peers"]), (&pid.into(), &0.into()), "{gone}");
    let rows = subscriber.totals_with("5 messages", |rows| received(rows) == 5);
    rows[0].assert_all(5, LEN);
    subscriber.finish();

    let mut publisher = ecal::Publisher::start_patient(world.there(), mode, TOPIC, LEN);
    publisher.begin_sending(0, 20.0);
    let arguments = format!("{TOPIC} --mode {} --verify ramp --count 5 --json", mode.name());
    let subscriber = example::start(world.here(), "sub", &arguments);
    let pid = subscriber.id();
    Ended::of(subscriber).assert_all(TOPIC, "received", 5, LEN as u64);
    let gone = publisher.process.event("unmatched");
    assert_eq!((&gone["pid"], &gone["peers"]), (&pid.into(), &0.into()), "{gone}");
}

fn our_process_is_asked_to_end(mode: Mode) {
    let world = World::new(mode);
    let mut subscriber = ecal::Subscriber::start_patient(world.there(), mode, &[TOPIC]);
    let arguments = format!("{TOPIC} --mode {} --payload ramp --size {LEN} --rate 20", mode.name());
    let publisher = example::start(world.here(), "pub", &arguments);
    subscriber.totals_with("5 messages", |rows| received(rows) >= 5);
    publisher.terminate();
    let gone = subscriber.process.event("unmatched");
    assert_eq!((&gone["pid"], &gone["peers"]), (&publisher.id().into(), &0.into()), "{gone}");
    subscriber.finish();

    let mut publisher = ecal::Publisher::start_patient(world.there(), mode, TOPIC, LEN);
    publisher.begin_sending(0, 20.0);
    let arguments = format!("{TOPIC} --mode {} --verify ramp", mode.name());
    let subscriber = example::start(world.here(), "sub", &arguments);
    subscriber.await_text("received message");
    subscriber.interrupt();
    let gone = publisher.process.event("unmatched");
    assert_eq!((&gone["pid"], &gone["peers"]), (&subscriber.id().into(), &0.into()), "{gone}");
}

fn real_side_leaves(mode: Mode) {
    let world = World::new(mode);
    let mut config = ours::config(&world, world.here());
    // Long enough that only what the real side says can end the connection.
    config.registration.timeout = Duration::from_secs(3600);
    let node = Node::with_config("ours", config).expect("a node opens");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    wait::until_eq("own connections", &(1, 1), || {
        (publisher.subscriber_count(), subscriber.publisher_count())
    });
    let mut real_publisher = start_real_publisher(&world);
    let mut real_subscriber = ecal::Subscriber::start(world.there(), mode, &[TOPIC], 0);
    real_publisher.expect_matched(TOPIC, 2);
    real_subscriber.expect_matched(TOPIC, 2);
    wait::until_eq("connections", &(2, 2), || (publisher.subscriber_count(), subscriber.publisher_count()));
    let events = [(publisher.events(), "ecal_sub"), (subscriber.events(), "ecal_pub")];
    // One after the other: eCAL must have no event to report while Python drops an entity.
    real_publisher.process.send_line("drop");
    real_publisher.process.event("dropped");
    real_subscriber.process.event("unmatched");
    real_subscriber.process.send_line("drop");
    wait::until_eq("own connections", &(1, 1), || {
        (publisher.subscriber_count(), subscriber.publisher_count())
    });
    for (events, unit) in events {
        let mut kinds = Vec::new();
        while kinds.last() != Some(&EventKind::Disconnected) {
            let event = events.recv_timeout(HANG).expect("an event");
            if event.peer.is_some_and(|peer| peer.unit_name == unit) {
                kinds.push(event.kind);
            }
        }
        assert_eq!(kinds, [EventKind::Connected, EventKind::Disconnected]);
    }
}
