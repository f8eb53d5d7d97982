//! Networks of which a part works, or that refuse what is sent; and loopback, which local mode needs.

use std::net::Ipv4Addr;

use ferrocal::{Config, Destination, HashVersion, Node};
use ferrocal_integration_tests::example::{self, Ended};
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{logged, wait};

use ferrocal_proto::topic_group;

use crate::sides::{Both, Side, ip, network, network_there};
use crate::{Event, Setting};

type Body = fn(Setting);

/// eCAL's defaults.
const BASE: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 1);
const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 240);

pub(crate) const WITH_EVERY_BACKEND: [(&str, Body); 3] = [
    ("two_interfaces_one_down", two_interfaces_one_down),
    ("two_interfaces_one_without_a_carrier", two_interfaces_one_without_a_carrier),
    ("sending_is_refused", sending_is_refused),
];

pub(crate) const LOCAL: [(&str, Body); 2] =
    [("loopback_comes_late", loopback_comes_late), ("loopback_goes_and_comes", loopback_goes_and_comes)];

pub(crate) fn other_tests() -> Vec<Test> {
    vec![
        Test::new("trouble::pub_goes_on", &[Need::Examples], pub_goes_on),
        Test::new("trouble::one_topic_of_two_is_refused", &[], one_topic_of_two_is_refused),
        Test::new("trouble::a_group_without_a_route", &[], a_group_without_a_route),
        Test::new("trouble::topics_without_a_route", &[], topics_without_a_route),
    ]
}

/// A second interface of the robot, `second0` with the address 10.99.0.1, which is down.
pub(crate) struct SecondInterface;

impl SecondInterface {
    pub(crate) fn new() -> Self {
        ip("link add second0 type veth peer name second1");
        ip("addr add 10.99.0.1/24 dev second0");
        Self
    }
}

impl Drop for SecondInterface {
    fn drop(&mut self) {
        let _ = Host::first().ip("link del second0");
    }
}

fn two_interfaces_one_down(settings: Setting) {
    let world = World::new(Mode::Network);
    let _second = SecondInterface::new();
    let mut config = network();
    config.udp.interfaces = ["10.99.0.1", "veth-a"].map(|text| text.parse().expect("a selector")).into();
    settings(&mut config);
    logged::start();
    let both = Both::open(&world, "robot", config);
    both.talk("by the other interface");
    let warnings = logged::warnings("interface");
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(
        warnings[0].contains("`10.99.0.1`") && warnings[0].contains("veth-a (10.11.12.1)"),
        "{warnings:#?}"
    );
    ip("link set second1 up");
    ip("link set second0 up");
    wait::until("it is there", || !logged::lines(log::Level::Info, "`10.99.0.1` is there").is_empty());
    // The robot sends by the first one that works.
    both.other.reaches(&both.robot, "by the other interface, as before");
}

/// Nothing but the carrier tells that what is sent is lost.
fn two_interfaces_one_without_a_carrier(settings: Setting) {
    let world = World::new(Mode::Network);
    let _second = SecondInterface::new();
    ip("link set second0 up");
    let mut config = network();
    config.udp.interfaces = ["second0", "veth-a"].map(|text| text.parse().expect("a selector")).into();
    settings(&mut config);
    logged::start();
    let both = Both::open(&world, "robot", config);
    both.talk("by the other interface");
    wait::until("a warning", || {
        !logged::warnings("second0 (10.99.0.1) is up, but has no carrier").is_empty()
    });
    both.talk("by the other interface, as before");
    assert_eq!(logged::warnings("carrier").len(), 1);
    ip("link set second1 up");
    wait::until("it has one", || !logged::lines(log::Level::Info, "has a carrier now").is_empty());
}

/// What refuses to send, and the end of that.
const REFUSALS: [(&str, Event, Event); 4] = [
    ("unreachable", |_| replace_route("unreachable 239.0.0.0/8"), |_| restore_route("unreachable")),
    ("prohibited", |_| replace_route("prohibit 239.0.0.0/8"), |_| restore_route("prohibit")),
    ("a black hole", |_| replace_route("blackhole 239.0.0.0/8"), |_| restore_route("blackhole")),
    ("down", |_| ip("link set veth-a down"), |_| crate::up("veth-a")),
];

fn replace_route(route: &str) {
    ip("route del 239.0.0.0/8 dev veth-a");
    ip(&format!("route add {route}"));
}

fn restore_route(kind: &str) {
    ip(&format!("route del {kind} 239.0.0.0/8"));
    ip("route add 239.0.0.0/8 dev veth-a");
}

fn sending_is_refused(settings: Setting) {
    let world = World::new(Mode::Network);
    let mut config = network();
    settings(&mut config);
    let both = Both::open(&world, "robot", config);
    both.talk("before");
    let publisher = &both.robot.publisher;
    for (number, (what, refuse, end)) in REFUSALS.into_iter().enumerate() {
        logged::start();
        let before = publisher.stats().not_sent;
        refuse(&world);
        wait::until(what, || {
            publisher.send("lost").unwrap_or_else(|error| panic!("{what}: {error:?}"));
            publisher.stats().not_sent >= before + 3
        });
        // What was refused a moment ago is known.
        let warnings = logged::warnings("counted as not sent").len();
        assert!(warnings == 1 || number > 0 && warnings == 0, "{what}: {warnings}");
        end(&world);
        both.talk(&format!("after {what}"));
    }
}

/// What works for one topic does not make it news that it fails for the other.
fn one_topic_of_two_is_refused() {
    let world = World::new(Mode::Network);
    let node = open(network());
    let there = world.there().run(|| Node::with_config("there", network_there())).expect("a node opens");
    let [refused, other] = ["one", "other"].map(|topic| {
        let publisher = node.publisher::<str>(topic).expect("a good topic");
        let subscriber = there.subscriber::<str>(topic).expect("a good topic");
        assert!(publisher.wait_for_subscriber(HANG));
        (publisher, subscriber, topic_group(HashVersion::V2, BASE, MASK, topic))
    });
    assert!(refused.2 != other.2 && refused.2 != BASE);
    logged::start();
    ip(&format!("route add prohibit {}", refused.2));
    wait::until("it is refused", || {
        for (publisher, ..) in [&refused, &other] {
            publisher.send("hello").expect("that is no error");
        }
        refused.0.stats().not_sent >= 20
    });
    assert_eq!(other.0.stats().not_sent, 0);
    let warnings = logged::warnings("counted as not sent");
    assert!(warnings.len() == 1 && warnings[0].contains("topic `one`"), "{warnings:#?}");
    assert_eq!(logged::lines(log::Level::Info, "sent again"), [""; 0]);
}

fn open_locally(settings: Setting) -> [Side; 2] {
    let mut config = Config::default();
    settings(&mut config);
    let open = |name, topics| Side::open(Host::first(), name, config.clone(), topics);
    [open("one", ["a", "b"]), open("other", ["b", "a"])]
}

fn loopback_up() {
    ip("link set lo up");
    ip("link set lo multicast on");
}

fn loopback_comes_late(settings: Setting) {
    ip("link set lo down");
    logged::start();
    let [one, other] = open_locally(settings);
    loopback_up();
    one.reaches(&other, "loopback is up");
    other.reaches(&one, "loopback is up");
    for name in ["one", "other"] {
        let warnings = logged::warnings(&format!("node `{name}`"));
        assert_eq!(warnings.len(), 1, "said once: {warnings:#?}");
        assert!(warnings[0].contains("local mode needs the loopback interface"), "{warnings:#?}");
    }
}

fn loopback_goes_and_comes(settings: Setting) {
    let [one, other] = open_locally(settings);
    one.reaches(&other, "before");
    ip("link set lo down");
    wait::until("it is refused", || {
        one.publisher.send("lost").expect("loopback that is down is no error");
        one.publisher.stats().not_sent > 0
    });
    loopback_up();
    one.reaches(&other, "after");
    other.reaches(&one, "after");
}

fn pub_goes_on() {
    let world = World::new(Mode::Network);
    let subscriber = Side::open(world.there(), "subscriber", network_there(), ["unused", "topic"]).subscriber;
    let arguments = "topic --mode network --rate 100 --wait-for-subscriber 30 --json";
    let publisher = example::start(world.here(), "pub", arguments);
    wait::until_some("the first message", || subscriber.try_recv());
    ip("link set veth-a down");
    publisher.await_text("counted as not sent");
    while subscriber.try_recv().is_some() {}
    crate::up("veth-a");
    wait::until_some("a message after that", || subscriber.try_recv());
    publisher.interrupt();
    let ended = Ended::of(publisher);
    assert!(ended.status.success(), "{ended:?}");
}

fn open(config: Config) -> Node {
    logged::start();
    Node::with_config("robot", config).expect("a node opens")
}

fn a_group_without_a_route() {
    let _world = World::new(Mode::Network);
    let mut config = network();
    config.udp.network = Destination::new(Ipv4Addr::new(230, 1, 2, 3), 3);
    let _node = open(config);
    assert_eq!(logged::warnings("transport_layer.udp.network.group: 230.1.2.3").len(), 1);
    wait::until("it announces itself in vain", || !logged::warnings("cannot announce itself").is_empty());
    let warnings = logged::warnings("cannot announce itself");
    assert!(warnings[0].contains("230.1.2.3") && warnings.len() == 1, "{warnings:#?}");
}

/// Registration works, and nothing else would tell why no message comes.
fn topics_without_a_route() {
    let _world = World::new(Mode::Network);
    let mut config = network();
    config.udp.mask = Some(Ipv4Addr::new(240, 0, 0, 0));
    let node = open(config);
    let warnings = logged::warnings("transport_layer.udp.mask: 240.0.0.0");
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    let _subscribers: Vec<_> =
        (0..20).map(|number| node.subscriber::<str>(&format!("topic_{number}")).expect("it opens")).collect();
    let warnings = logged::warnings("cannot be joined");
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    assert!(warnings[0].contains("is there a route for it?"), "{warnings:#?}");
}
