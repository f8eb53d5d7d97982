//! What the status of a node says of its interfaces, and of the groups on each.

use std::fs;
use std::net::Ipv4Addr;

use ferrocal::{Config, GroupState, InterfaceState, InterfaceStatus, Node};
use ferrocal_integration_tests::netns::FIRST_ADDRESS;
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::world::{Mode, World};

use crate::Setting;
use crate::sides::{ip, network};
use crate::trouble::SecondInterface;

type Body = fn(Setting);

pub(crate) const WITH_EVERY_BACKEND: [(&str, Body); 4] = [
    ("an_interface_comes_and_goes", comes_and_goes),
    ("one_of_two_has_no_carrier", one_has_no_carrier),
    ("the_route_comes_and_goes", route_comes_and_goes),
    ("groups_are_refused", groups_are_refused),
];

const BASE: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 1);
/// That of the topic `hello`.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 7);

fn open(settings: Setting, interfaces: &[&str]) -> Node {
    let mut config: Config = network();
    config.udp.interfaces = interfaces.iter().map(|text| text.parse().expect("a selector")).collect();
    settings(&mut config);
    Node::with_config("robot", config).expect("a node opens")
}

/// What one chose an interface by, its name, how it is, and its groups.
type Row = (Option<String>, Option<String>, InterfaceState, Vec<(Ipv4Addr, GroupState)>);

fn rows(node: &Node) -> Vec<Row> {
    let row = |one: InterfaceStatus| {
        assert_eq!(one.name.is_some(), one.address.is_some(), "{one:?}");
        let groups = one.groups.iter().map(|group| (group.group, group.state)).collect();
        (one.selector.map(|selector| selector.to_string()), one.name, one.state, groups)
    };
    node.status().interfaces.into_iter().map(row).collect()
}

fn up(selector: Option<&str>, name: &str, groups: &[Ipv4Addr]) -> Row {
    let groups = groups.iter().map(|&group| (group, GroupState::Joined)).collect();
    (selector.map(str::to_owned), Some(name.to_owned()), InterfaceState::Up, groups)
}

fn without(selector: Option<&str>, state: InterfaceState) -> Row {
    (selector.map(str::to_owned), None, state, Vec::new())
}

#[track_caller]
fn expect(node: &Node, expected: &[Row]) {
    wait::until_eq("interfaces", &expected.to_vec(), || rows(node));
}

fn comes_and_goes(settings: Setting) {
    let world = World::new(Mode::Network);
    let node = open(settings, &["veth-a", "10.77.0.0/16"]);
    let missing = without(Some("10.77.0.0/16"), InterfaceState::Missing);
    expect(&node, &[up(Some("veth-a"), "veth-a", &[BASE]), missing.clone()]);
    assert_eq!(node.status().interfaces[0].address, Some(FIRST_ADDRESS));
    let subscriber = node.subscriber::<str>("hello").expect("a good topic");
    expect(&node, &[up(Some("veth-a"), "veth-a", &[BASE, GROUP]), missing.clone()]);
    world.second().remove_link().expect("it is there");
    expect(&node, &[without(Some("veth-a"), InterfaceState::Missing), missing.clone()]);
    world.second().make_link().expect("there is none");
    expect(&node, &[up(Some("veth-a"), "veth-a", &[BASE, GROUP]), missing.clone()]);
    drop(subscriber);
    expect(&node, &[up(Some("veth-a"), "veth-a", &[BASE]), missing]);
}

fn one_has_no_carrier(settings: Setting) {
    let _world = World::new(Mode::Network);
    let _second = SecondInterface::new();
    // Its other end stays down.
    ip("link set second0 up");
    let node = open(settings, &["10.99.0.1", "veth-a"]);
    let joined = vec![(BASE, GroupState::Joined)];
    let named = |state| (Some("10.99.0.1".to_owned()), Some("second0".to_owned()), state, joined.clone());
    let good = up(Some("veth-a"), "veth-a", &[BASE]);
    expect(&node, &[named(InterfaceState::NoCarrier), good.clone()]);
    ip("link set second1 up");
    expect(&node, &[named(InterfaceState::Up), good]);
}

fn route_comes_and_goes(settings: Setting) {
    let _world = World::new(Mode::Network);
    ip("route del 239.0.0.0/8 dev veth-a");
    let node = open(settings, &[]);
    let without_route = without(None, InterfaceState::NoRoute);
    // Raw frames are captured on all interfaces then.
    wait::until_eq("interfaces", &Some(without_route), || rows(&node).first().cloned());
    ip("route add 239.0.0.0/8 dev veth-a");
    expect(&node, &[up(None, "veth-a", &[BASE])]);
}

fn groups_are_refused(settings: Setting) {
    const LIMIT: &str = "/proc/sys/net/ipv4/igmp_max_memberships";
    let _world = World::new(Mode::Network);
    let before = fs::read_to_string(LIMIT).expect("Linux has this limit");
    fs::write(LIMIT, "0").expect("it can be set in a namespace");
    let node = open(settings, &["veth-a"]);
    let groups = vec![(BASE, GroupState::TooManyGroups)];
    let refused = (Some("veth-a".to_owned()), Some("veth-a".to_owned()), InterfaceState::Up, groups);
    let first = rows(&node);
    fs::write(LIMIT, before).expect("it can be set in a namespace");
    assert_eq!(first, [refused]);
    expect(&node, &[up(Some("veth-a"), "veth-a", &[BASE])]);
}
