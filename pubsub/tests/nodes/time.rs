//! Where the times of messages come from.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrocal::transport::memory::Network;
use ferrocal::{ChangeKind, Clock, Node, Registered};
use ferrocal_proto::{SIM_TIME_TOPIC, SimTime};

use super::wait::{HANG, until};
use super::{config, node};

fn with_clock(network: &Network, clock: Clock) -> Node {
    Node::with_transport("node", config().clock(clock), Arc::new(network.host())).unwrap()
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn the_program_can_set_the_send_time() {
    let network = Network::new(1);
    let (publishing, subscribing) = (node(&network), node(&network));
    let publisher = publishing.publisher::<str>("topic").unwrap();
    let subscriber = subscribing.subscriber::<str>("topic").unwrap();
    assert!(publisher.wait_for_subscriber(HANG));
    publisher.send_at("measured then", at(1_500_000_000)).unwrap();
    publisher.send_at("long ago", UNIX_EPOCH - Duration::from_secs(1)).unwrap();
    assert_eq!(subscriber.recv_timeout(HANG).unwrap().send_time, at(1_500_000_000));
    assert_eq!(subscriber.recv_timeout(HANG).unwrap().send_time, UNIX_EPOCH);
}

#[test]
fn the_program_can_bring_its_clock() {
    let network = Network::new(1);
    let publishing = with_clock(&network, Clock::program(|| at(1000)));
    let subscribing = with_clock(&network, Clock::program(|| at(1003)));
    let publisher = publishing.publisher::<str>("topic").unwrap();
    let subscriber = subscribing.subscriber::<str>("topic").unwrap();
    assert!(publisher.wait_for_subscriber(HANG));
    publisher.send("by its own clock").unwrap();
    let message = subscriber.recv_timeout(HANG).unwrap();
    assert_eq!((message.send_time, message.receive_time), (at(1000), at(1003)));
    assert_eq!(subscriber.stats().latency.unwrap().latest_us, 3e6);
}

#[test]
fn a_node_can_follow_simulated_time() {
    let network = Network::new(1);
    let player = node(&network);
    let following = with_clock(&network, Clock::SimTime);
    let times = player.publisher::<[u8]>(SIM_TIME_TOPIC).unwrap();
    let publisher = following.publisher::<str>("topic").unwrap();
    let subscriber = player.subscriber::<str>("topic").unwrap();
    assert!(times.wait_for_subscriber(HANG) && publisher.wait_for_subscriber(HANG));

    let sent_at = || {
        publisher.send("now").unwrap();
        subscriber.recv_timeout(HANG).unwrap().send_time
    };
    assert!(sent_at() > at(1_500_000_000), "nothing is simulated yet");
    times.send(&SimTime { nanoseconds: 5_000_000_000, factor: 0.0 }.encode()).unwrap();
    until("the clock stands at the simulated time", || sent_at() == at(5));
    times.send(&SimTime { nanoseconds: 6_000_000_000, factor: 1.0 }.encode()).unwrap();
    until("the clock runs", || sent_at() > at(6));
    assert!(sent_at() < at(6) + HANG, "from there");
}

#[test]
fn a_node_that_follows_simulated_time_unregisters_what_reads_it() {
    let network = Network::new(1);
    let watching = node(&network);
    let monitor = watching.monitor();
    let following = with_clock(&network, Clock::SimTime);
    let changes = monitor.changes();
    let next = || loop {
        let change = changes.recv_timeout(HANG).unwrap();
        if matches!(&change.what, Registered::Subscriber(info) if info.topic_name == SIM_TIME_TOPIC) {
            break change.kind;
        }
    };
    assert_eq!(next(), ChangeKind::Appeared);
    drop(following);
    assert_eq!(next(), ChangeKind::Left);
}
