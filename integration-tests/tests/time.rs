//! Times that are not the system's, with the real eCAL: simulated time that it publishes.

use std::process::ExitCode;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ferrocal::{Clock, Node};
use ferrocal_integration_tests::ecal::{self, Monitor};
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{ours, wait};
use ferrocal_proto::{LatencyInfo, SIM_TIME_TOPIC, SimTime};

fn main() -> ExitCode {
    let tests = Mode::ALL.map(|mode| {
        Test::new(format!("a_node_follows_simulated_time::{}", mode.name()), &[Need::Ecal], move || {
            a_node_follows_simulated_time(mode);
        })
    });
    suite::main(tests.into())
}

/// In 2001, so that no system's clock is close.
const START_US: i64 = 1_000_000_000_000_000;

fn a_node_follows_simulated_time(mode: Mode) {
    /// Simulated microseconds in one that passes.
    const FACTOR: f64 = 1000.0;
    let world = World::new(mode);
    let mut config = ours::config(&world, world.here());
    config.clock = Clock::SimTime;
    let node = Node::with_config("ours", config).expect("a node opens");
    let publisher = node.publisher::<[u8]>("out").expect("a good topic");
    let subscriber = node.subscriber::<[u8]>("in").expect("a good topic");
    let there = world.there();
    let mut simulation = ecal::Publisher::start_with(there, mode, &[], SIM_TIME_TOPIC, 20);
    let mut real_publisher = ecal::Publisher::start_with(there, mode, &[], "in", 20);
    let mut real_subscriber = ecal::Subscriber::start_with(there, mode, &["--each"], "out");
    let mut monitor = Monitor::start(there, mode);
    simulation.expect_matched(SIM_TIME_TOPIC, 1);
    real_publisher.expect_matched("in", 1);
    real_subscriber.expect_matched("out", 1);
    assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));
    let mut send = || {
        publisher.send(b"message").expect("it is sent");
        let message = real_subscriber.process.event("message");
        message["time_us"].as_i64().expect("a number")
    };

    // It stands still at a time: what is sent and received has exactly that.
    let mut set = |microseconds: i64, factor| {
        simulation.send_bytes(&SimTime { nanoseconds: 1000 * microseconds, factor }.encode());
    };
    set(START_US, 0.0);
    wait::until("the node follows simulated time", || send() == START_US);
    assert_eq!(send(), START_US);
    for age_us in [250_000, 750_000] {
        real_publisher.send_at(START_US - age_us);
        let message = subscriber.recv_timeout(HANG).expect("a message");
        let start = UNIX_EPOCH + Duration::from_micros(START_US.cast_unsigned());
        assert_eq!(message.receive_time, start);
        assert_eq!(message.send_time, start - Duration::from_micros(age_us.cast_unsigned()));
    }
    let id = subscriber.id().to_string();
    let latency = wait::until_some("the real monitor shows the latency of both", || {
        monitor.latencies().remove(&id).filter(|latency| latency.count == 2)
    });
    let expected = LatencyInfo {
        count: 2,
        latest_us: 750_000.0,
        min_us: 250_000.0,
        max_us: 750_000.0,
        mean_us: 500_000.0,
        sum_of_squares_us2: 2.0 * 250_000.0 * 250_000.0,
    };
    assert_eq!(latency, expected);
    let snapshot = monitor.snapshot();
    let mut processes = snapshot["processes"].as_array().into_iter().flatten();
    let process = processes.find(|row| row["pid"] == std::process::id()).expect("our process");
    assert_eq!(
        (&process["time_sync_state"], &process["time_sync_module"]),
        (&2.into(), &"ecaltime-simtime".into())
    );

    // It runs, from a later time on.
    let later_us = 2 * START_US;
    let before_it_runs = Instant::now();
    set(later_us, FACTOR);
    let (mut before_first, mut first_us) = (Instant::now(), 0);
    wait::until("the node follows it further", || {
        before_first = Instant::now();
        first_us = send();
        first_us >= later_us
    });
    let after_first = Instant::now();
    for _ in 0..10 {
        send();
    }
    let (before_last, last_us) = (Instant::now(), send());
    let simulated = |passed: Duration| FACTOR * passed.as_secs_f64() * 1e6;
    let least = 0.99 * simulated(before_last - after_first);
    let most = 1.01 * simulated(before_first.elapsed());
    let passed = (last_us - first_us) as f64;
    assert!((least..=most).contains(&passed), "{passed} us of simulated time, not {least} to {most}");
    let most = 1.01 * simulated(before_it_runs.elapsed());
    let passed = (last_us - later_us) as f64;
    assert!(passed <= most, "{passed} us since the start of simulated time, not {most} at most");
}
