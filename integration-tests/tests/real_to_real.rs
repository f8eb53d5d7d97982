//! The real eCAL with itself in both modes: a control of the harness, of its peers and of the machine.

use std::process::ExitCode;

use ferrocal_integration_tests::ecal::{DataType, Publisher, Subscriber};
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{LENS, Mode, World};

fn main() -> ExitCode {
    let tests = Mode::ALL.map(|mode| {
        Test::new(format!("every_length_arrives::{}", mode.name()), &[Need::Ecal], move || {
            every_length_arrives(mode);
        })
    });
    suite::main(tests.into())
}

fn every_length_arrives(mode: Mode) {
    const COUNT: u64 = 5;
    let world = World::new(mode);
    let names = LENS.map(|len| format!("ramp_{len}"));
    let topics: Vec<&str> = names.iter().map(String::as_str).collect();
    let lens: Vec<(&str, usize)> = topics.iter().copied().zip(LENS).collect();

    let mut subscriber = Subscriber::start(world.there(), mode, &topics, COUNT);
    let mut publisher = Publisher::start(world.here(), mode, &lens, &DataType::default());
    for topic in &topics {
        publisher.expect_matched(topic, 1);
        subscriber.expect_matched(topic, 1);
    }
    // One after the other, as the subscriber may get no processor for a while, and its buffer does not hold all of them.
    for sent in 1..=COUNT {
        publisher.send(1, 0.0);
        subscriber.await_received(sent, topics.len());
    }
    subscriber.await_complete();
    publisher.process.finish();

    let mut received = subscriber.finish();
    received.sort_by_key(|row| row.lens.clone());
    assert_eq!(received.len(), LENS.len(), "{received:?}");
    for (row, (topic, len)) in received.iter().zip(lens) {
        assert_eq!(row.topic, topic);
        assert_eq!(row.host.as_deref(), Some(world.here().name()));
        row.assert_all(COUNT, len);
    }
}
