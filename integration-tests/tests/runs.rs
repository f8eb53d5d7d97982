//! Datagrams that are sent in runs, who can read them, and how many at once.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ferrocal::{Fragmentation, Node, PublisherConfig, SubscriberConfig};
use ferrocal_integration_tests::ecal;
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::ramp;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::world::{Mode, World};

const TOPIC: &str = "runs";
const LEN: usize = 1_000_000;
const COUNT: u64 = 10;
const RATE: f64 = 50.0;

fn main() -> ExitCode {
    let mut tests = vec![
        Test::new("between_ours_no_packet_is_cut", &[], between_ours_no_packet_is_cut),
        Test::new("the_real_ecal_gets_long_datagrams", &[Need::Ecal], the_real_ecal_gets_long_datagrams),
        Test::new("a_smaller_mtu_is_coped_with", &[], a_smaller_mtu_is_coped_with),
    ];
    for mode in Mode::ALL {
        let mut test = |name: &str, needs, body: fn(Mode)| {
            tests.push(Test::new(format!("{name}::{}", mode.name()), needs, move || body(mode)));
        };
        test("the_real_ecal_reads_short_datagrams", &[Need::Ecal], the_real_ecal_reads_short_datagrams);
        test("the_real_ecal_reads_batches", &[Need::Ecal], the_real_ecal_reads_batches);
        test("batches_of_all_lengths_arrive", &[], batches_of_all_lengths_arrive);
        test("messages_do_not_overrun_a_small_buffer", &[], messages_do_not_overrun_a_small_buffer);
    }
    suite::main(tests)
}

/// Packets that this host cut into fragments.
fn cut(world: &World) -> u64 {
    world.here().counter("Ip:", "FragOKs").expect("the kernel counts them")
}

fn between_ours_no_packet_is_cut() {
    let world = World::new(Mode::Network);
    let (here, there) =
        (ours::node(&world, world.here(), "here"), ours::node(&world, world.there(), "there"));
    let mut publisher = ours::Publisher::new(&here, &[(TOPIC, LEN)]);
    let subscriber = ours::Subscriber::new(&there, &[TOPIC]);
    publisher.expect_matched(1);
    subscriber.expect_matched(1);
    let before = cut(&world);
    publisher.send(COUNT, RATE);
    subscriber.await_received(COUNT);
    assert_eq!(cut(&world), before);
    subscriber.totals()[0].assert_all(COUNT, LEN);
}

fn the_real_ecal_gets_long_datagrams() {
    let world = World::new(Mode::Network);
    let (here, there) =
        (ours::node(&world, world.here(), "here"), ours::node(&world, world.there(), "there"));
    let mut publisher = ours::Publisher::new(&here, &[(TOPIC, LEN)]);
    let subscriber = ours::Subscriber::new(&there, &[TOPIC]);
    let mut real = ecal::Subscriber::start(world.there(), Mode::Network, &[TOPIC], COUNT);
    real.expect_matched(TOPIC, 1);
    publisher.expect_matched(2);
    let before = cut(&world);
    publisher.send(COUNT, RATE);
    subscriber.await_received(COUNT);
    real.await_complete();
    assert!(cut(&world) >= before + COUNT * (LEN / 65_507) as u64);
    subscriber.totals()[0].assert_all(COUNT, LEN);
    real.finish()[0].assert_all(COUNT, LEN);
}

fn a_smaller_mtu_is_coped_with() {
    let world = World::new(Mode::Network);
    let (here, there) =
        (ours::node(&world, world.here(), "here"), ours::node(&world, world.there(), "there"));
    let mut publisher = ours::Publisher::new(&here, &[(TOPIC, LEN)]);
    let subscriber = ours::Subscriber::new(&there, &[TOPIC]);
    publisher.expect_matched(1);
    subscriber.expect_matched(1);
    publisher.send(COUNT, RATE);
    subscriber.await_received(COUNT);
    world.second().set_mtu(1280).expect("an MTU is set");
    publisher.send(COUNT, RATE);
    subscriber.await_received(2 * COUNT);
    subscriber.totals()[0].assert_all(2 * COUNT, LEN);
}

fn the_real_ecal_reads_short_datagrams(mode: Mode) {
    // Many short ones in one go are more than its buffer takes.
    const LEN: usize = 200_000;
    let world = World::new(mode);
    let mut config = ours::config(&world, world.here());
    config.publisher.fragmentation = Fragmentation::Mtu;
    let node = Node::with_config("here", config).expect("a node opens");
    let mut publisher = ours::Publisher::new(&node, &[(TOPIC, LEN)]);
    let mut real = ecal::Subscriber::start(world.there(), mode, &[TOPIC], COUNT);
    real.expect_matched(TOPIC, 1);
    publisher.expect_matched(1);
    let before = cut(&world);
    publisher.send(COUNT, RATE);
    real.await_complete();
    assert_eq!(cut(&world), before);
    real.finish()[0].assert_all(COUNT, LEN);
}

fn the_real_ecal_reads_batches(mode: Mode) {
    const BATCH: u64 = 300;
    const LEN: usize = 64;
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), "here");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    let mut real = ecal::Subscriber::start(world.there(), mode, &[TOPIC], BATCH);
    real.expect_matched(TOPIC, 1);
    assert!(publisher.wait_for_subscriber(HANG));
    let messages: Vec<Vec<u8>> = (0..BATCH).map(|n| ramp::message(n, LEN)).collect();
    publisher.send_batch(messages.iter().map(Vec::as_slice)).expect("messages are sent");
    real.await_complete();
    real.finish()[0].assert_all(BATCH, LEN);
}

fn batches_of_all_lengths_arrive(mode: Mode) {
    let world = World::new(mode);
    let (here, there) =
        (ours::node(&world, world.here(), "here"), ours::node(&world, world.there(), "there"));
    let publisher = here.publisher_with::<[u8]>(TOPIC, PublisherConfig::default()).expect("a good name");
    let (sender, received) = std::sync::mpsc::channel();
    let subscription = there
        .subscribe_with::<[u8]>(TOPIC, SubscriberConfig::default().inline(true), move |message| {
            sender.send((message.clock, message.payload)).expect("the test waits");
        })
        .expect("a good name");
    wait::until_eq("subscribers", &1, || publisher.subscriber_count());
    wait::until_eq("publishers", &1, || subscription.publisher_count());
    // Equal ones, growing ones, shrinking ones, empty ones, and long ones in between.
    let lens = [64; 200]
        .into_iter()
        .chain(0..100)
        .chain((0..100).rev())
        .chain([1_000_000, 0, 64, 64, 70_000, 1448, 1449, 65_000, 64]);
    let messages: Vec<Vec<u8>> = lens.enumerate().map(|(n, len)| vec![n as u8; len]).collect();
    publisher.send_batch(messages.iter().map(Vec::as_slice)).expect("messages are sent");
    for (n, message) in messages.iter().enumerate() {
        let (clock, payload) = received.recv_timeout(HANG).expect("a message");
        assert_eq!(clock, n as i64 + 1);
        assert!(payload == message, "message {n} of {} bytes", message.len());
    }
}

/// With the buffer that Linux grants where nothing was raised, one message right behind the other.
fn messages_do_not_overrun_a_small_buffer(mode: Mode) {
    const GRANTED: usize = 212_992;
    const PATIENCE: Duration = Duration::from_millis(500);
    let world = World::new(mode);
    let [here, there] = [(world.here(), "here"), (world.there(), "there")].map(|(host, name)| {
        let mut config = ours::config(&world, host);
        config.udp.receive_buffer_len = GRANTED;
        host.run(|| Node::with_config(name, config)).expect("a node opens")
    });
    let subscriber = there.subscriber::<[u8]>(TOPIC).expect("a good name");
    let publisher = here.publisher::<[u8]>(TOPIC).expect("a good name");
    assert!(publisher.wait_for_subscriber(HANG));
    assert!(there.status().receive_buffer_len <= GRANTED);
    for len in [1_000_000, 8_000_000] {
        let message = |number: u64| vec![u8::try_from(number).expect("there are few"); len];
        let send = || (1..=COUNT).for_each(|number| publisher.send(&message(number)).expect("it is sent"));
        let arrived = thread::scope(|scope| {
            let sending = scope.spawn(send);
            std::iter::from_fn(|| {
                loop {
                    let is_over = sending.is_finished();
                    let received = subscriber.recv_timeout(PATIENCE).ok();
                    if received.is_some() || is_over {
                        return received;
                    }
                }
            })
            .inspect(|received| assert!(received.payload == message(received.payload[0].into())))
            .count()
        });
        // A reader that gets no processor for longer than the buffer lasts loses messages: not all of them.
        assert!(arrived > 0, "none of {COUNT} messages of {len} bytes");
    }
}
