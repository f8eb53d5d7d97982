//! Many large messages at a rate: 1000 of 1 MB at 100 Hz, either way, over loopback and between two hosts; and longer
//! ones than the buffer of a real reader holds.

use std::process::ExitCode;

use ferrocal::{Config, Node};
use ferrocal_integration_tests::ecal::{self, DataType};
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};

const TOPIC: &str = "large";
const LEN: usize = 1_000_000;
const RATE: f64 = 100.0;
const COUNT: u64 = 1000;
/// Messages that are sent before the publisher waits for the subscriber: as many as its buffer holds, in case it gets
/// no processor for a while.
const UNREAD: u64 = 8;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let mut test = |name: &str, body: fn(Mode)| {
            tests.push(Test::new(format!("{name}::{}", mode.name()), &[Need::Ecal], move || body(mode)));
        };
        test("real_to_ours", real_to_ours);
        test("ours_to_real", ours_to_real);
    }
    // On one host, a publisher sees how full its readers' buffers are.
    tests.push(Test::new("ours_to_real_with_default_buffers".to_owned(), &[Need::Ecal], || {
        ours_to_real_with_default_buffers(Mode::Local);
    }));
    suite::main(tests)
}

fn real_to_ours(mode: Mode) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), "ours");
    let subscriber = ours::Subscriber::new(&node, &[TOPIC]);
    let mut publisher = ecal::Publisher::start(world.there(), mode, &[(TOPIC, LEN)], &DataType::default());
    publisher.expect_matched(TOPIC, 1);
    for sent in (UNREAD..=COUNT).step_by(UNREAD as usize) {
        publisher.send(UNREAD, RATE);
        subscriber.await_received(sent);
    }
    let [row] = &subscriber.totals()[..] else { panic!("one topic, one publisher") };
    row.assert_all(COUNT, LEN);
    let status = node.status();
    assert_eq!((status.drops.total(), status.receive_drops.buffer_full), (0, 0), "{status:?}");
    publisher.process.finish();
}

fn ours_to_real(mode: Mode) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), "ours");
    let mut publisher = ours::Publisher::new(&node, &[(TOPIC, LEN)]);
    let mut subscriber = ecal::Subscriber::start(world.there(), mode, &[TOPIC], COUNT);
    subscriber.expect_matched(TOPIC, 1);
    publisher.expect_matched(1);
    for sent in (UNREAD..=COUNT).step_by(UNREAD as usize) {
        publisher.send(UNREAD, RATE);
        subscriber.await_received(sent, 1);
    }
    subscriber.await_complete();
    let [row] = &subscriber.finish()[..] else { panic!("one topic, one publisher") };
    row.assert_all(COUNT, LEN);
}

fn ours_to_real_with_default_buffers(mode: Mode) {
    const LEN: usize = 20_000_000;
    const COUNT: u64 = 10;
    let world = World::new(mode);
    let mut config = ours::config(&world, world.here());
    config.udp.receive_buffer_len = Config::default().udp.receive_buffer_len;
    let node = Node::with_config("ours", config).expect("a node");
    let mut publisher = ours::Publisher::new(&node, &[(TOPIC, LEN)]);
    let mut subscriber = ecal::Subscriber::start_with_default_buffer(world.there(), mode, TOPIC, COUNT);
    subscriber.expect_matched(TOPIC, 1);
    publisher.expect_matched(1);
    // One after the other, each longer than the buffer: on a busy machine, the program takes longer to check one than 5 Hz
    // leave it, and then the real eCAL loses more of its own publisher's messages than of ours.
    for sent in 1..=COUNT {
        publisher.send(1, 0.0);
        subscriber.await_received(sent, 1);
    }
    subscriber.await_complete();
    let [row] = &subscriber.finish()[..] else { panic!("one topic, one publisher") };
    row.assert_all(COUNT, LEN);
}
