//! More topics than Linux lets a socket have groups: `net.ipv4.igmp_max_memberships`, 20 by default.

use std::fs;
use std::net::Ipv4Addr;

use ferrocal::Node;
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::suite::{Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{ecal, logged, ours};

use crate::Setting;
use crate::sides::{Both, network, network_there};

/// With this mask, nearly every topic has a group of its own.
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
const DEFAULT_MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 240);
const TOPICS: usize = 60;
const LEN: usize = 100;

type Body = fn(Setting);

pub(crate) const WITH_EVERY_BACKEND: [(&str, Body); 2] =
    [("sixty_topics", sixty_topics), ("none_is_allowed_at_first", none_is_allowed_at_first)];

/// The tests with the real eCAL on the other host.
pub(crate) fn with_the_real_ecal() -> Vec<Test> {
    let test = |name: &str, body: fn()| Test::new(format!("groups::{name}"), &[Need::Ecal], body);
    vec![
        test("sixty_topics_to_the_real_ecal", || to_the_real_ecal(MASK)),
        test("sixty_topics_to_the_real_ecal_with_another_mask", || to_the_real_ecal(DEFAULT_MASK)),
        test("sixty_topics_from_the_real_ecal", from_the_real_ecal),
    ]
}

fn topics() -> Vec<String> {
    (0..TOPICS).map(|number| format!("topic_{number}")).collect()
}

fn node(host: Host, name: &str, mut config: ferrocal::Config) -> Node {
    config.udp.mask = Some(MASK);
    host.run(|| Node::with_config(name, config)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn sixty_topics(settings: Setting) {
    let world = World::new(Mode::Network);
    let mut config = network();
    settings(&mut config);
    logged::start();
    let robot = node(world.here(), "robot", config);
    let other = node(world.there(), "other", network_there());
    let topics = topics();
    let names: Vec<_> = topics.iter().map(String::as_str).collect();
    let with_len: Vec<_> = names.iter().map(|&topic| (topic, LEN)).collect();
    for (from, to, host) in [(&robot, &other, world.there()), (&other, &robot, world.here())] {
        let subscriber = host.run(|| ours::Subscriber::new(to, &names));
        let mut publisher = ours::Publisher::new(from, &with_len);
        publisher.expect_matched(1);
        publisher.send(1, 1.0);
        subscriber.await_received(1);
    }
    assert_eq!(logged::warnings("group"), [""; 0]);
}

fn none_is_allowed_at_first(settings: Setting) {
    const LIMIT: &str = "/proc/sys/net/ipv4/igmp_max_memberships";
    let world = World::new(Mode::Network);
    let mut config = network();
    settings(&mut config);
    let before = fs::read_to_string(LIMIT).expect("Linux has this limit");
    logged::start();
    fs::write(LIMIT, "0").expect("it can be set in a namespace");
    let both = Both::open(&world, "robot", config);
    fs::write(LIMIT, before).expect("it can be set in a namespace");
    both.talk("groups are allowed");
    let warnings = logged::warnings("group");
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("net.ipv4.igmp_max_memberships"), "{warnings:#?}");
}

/// A real subscriber is in no more groups than its one socket may be.
fn to_the_real_ecal(their_mask: Ipv4Addr) {
    let world = World::new(Mode::Network);
    let topics = topics();
    let names: Vec<_> = topics.iter().map(String::as_str).collect();
    let with_len: Vec<_> = names.iter().map(|&topic| (topic, LEN)).collect();
    let robot = node(world.here(), "robot", network());
    let mut publisher = ours::Publisher::new(&robot, &with_len);
    let mut real = ecal::Subscriber::start_with_mask(world.there(), &names, their_mask);
    names.iter().for_each(|topic| drop(real.expect_matched(topic, 1)));
    publisher.expect_matched(1);
    publisher.send(1, 1.0);
    real.totals_with("a message on every topic", |rows| rows.len() == TOPICS);
}

fn from_the_real_ecal() {
    let world = World::new(Mode::Network);
    let topics = topics();
    let names: Vec<_> = topics.iter().map(String::as_str).collect();
    let with_len: Vec<_> = names.iter().map(|&topic| (topic, LEN)).collect();
    let robot = node(world.here(), "robot", network());
    let subscriber = ours::Subscriber::new(&robot, &names);
    let mut real = ecal::Publisher::start_with_mask(world.there(), &with_len, MASK);
    names.iter().for_each(|topic| drop(real.expect_matched(topic, 1)));
    subscriber.expect_matched(1);
    real.send(1, 1.0);
    subscriber.await_received(1);
}
