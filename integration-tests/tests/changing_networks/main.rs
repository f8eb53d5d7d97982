//! Networks that come late, go away and change while nodes are open: a list of situations.
//!
//! A robot on the first host exchanges messages with another node on the second host. A situation is what happens to the
//! robot's network. Most are tried with every backend, and with every way to choose interfaces at once.

mod groups;
mod sides;
mod status;
mod trouble;

use std::process::ExitCode;

use ferrocal::{Config, Selection, SendPath};
use ferrocal_integration_tests::netns::FIRST_ADDRESS;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{logged, wait};

use sides::{Both, ip, network};

/// Something that happens to the robot's network.
type Event = fn(&World);
/// A change of the robot's settings.
type Setting = fn(&mut Config);

/// What the network lacks when the robot's node opens, and how it comes. How many of the ways to choose interfaces cannot
/// even send without it.
const STARTED_BEFORE_THE_NETWORK: [(&str, Event, Event, &[&str]); 4] = [
    (
        "no_interface",
        |world| world.second().remove_link().unwrap(),
        |world| world.second().make_link().unwrap(),
        &ALL_CHOICES,
    ),
    ("interface_down", |_| ip("link set veth-a down"), |_| up("veth-a"), &ALL_CHOICES),
    (
        "no_address",
        |_| ip("addr flush dev veth-a"),
        |_| {
            ip("addr add 10.11.12.1/24 dev veth-a");
            ip("route add 239.0.0.0/8 dev veth-a");
        },
        &ALL_CHOICES,
    ),
    (
        "no_route",
        |_| ip("route del 239.0.0.0/8 dev veth-a"),
        |_| ip("route add 239.0.0.0/8 dev veth-a"),
        &["by_route", "all"],
    ),
];

/// What happens while the robot's node is open.
const WHILE_OPEN: [(&str, Event); 5] = [
    ("removed_and_made_anew", |world| world.second().replace_link().unwrap()),
    ("down_and_up", |_| {
        ip("link set veth-a down");
        up("veth-a");
    }),
    ("address_changes", |_| {
        ip("addr flush dev veth-a");
        ip("addr add 10.11.12.77/24 dev veth-a");
        ip("route add 239.0.0.0/8 dev veth-a");
    }),
    ("renamed", |_| {
        ip("link set veth-a down");
        ip("link set veth-a name lan0");
        up("lan0");
    }),
    ("route_goes_and_comes", |_| {
        logged::start();
        ip("route del 239.0.0.0/8 dev veth-a");
        wait::until("it is missed", || !logged::warnings("cannot announce itself").is_empty());
        ip("route add 239.0.0.0/8 dev veth-a");
    }),
];

/// How the robot's settings choose its interfaces.
const CHOICES: [(&str, Setting); 5] = [
    ("by_route", |_| {}),
    ("all", |config| config.udp.join_all_interfaces = true),
    ("by_address", |config| config.udp.interfaces.push(FIRST_ADDRESS.into())),
    ("by_network", |config| config.udp.interfaces.push("10.11.12.0/24".parse().unwrap())),
    ("by_name", |config| config.udp.interfaces.push("veth-a".parse().unwrap())),
];
const ALL_CHOICES: [&str; 5] = ["by_route", "all", "by_address", "by_network", "by_name"];

const SOCKETS: (&str, &[Need], Setting) = ("sockets", &[], |_| {});
const RAW: (&str, &[Need], Setting) =
    ("raw", &[Need::RawFrames], |config| config.transport = Selection::Npcap);
const RAW_SENDING: (&str, &[Need], Setting) = ("raw_sending", &[Need::RawFrames], |config| {
    config.transport = Selection::Npcap;
    config.udp.send = SendPath::Raw;
});

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for (backend, needs, settings) in [SOCKETS, RAW, RAW_SENDING] {
        let mut test = |name: &str, body: Box<dyn FnOnce() + Send>| {
            tests.push(Test::new(format!("{name}::{backend}"), needs, body));
        };
        for (name, before, after, silent) in STARTED_BEFORE_THE_NETWORK {
            let body = move || started_before(settings, before, after, silent);
            test(&format!("started_before::{name}"), Box::new(body));
        }
        for (name, change) in WHILE_OPEN {
            test(&format!("while_open::{name}"), Box::new(move || while_open(settings, change)));
        }
        for (name, body) in groups::WITH_EVERY_BACKEND {
            test(&format!("groups::{name}"), Box::new(move || body(settings)));
        }
        for (name, body) in status::WITH_EVERY_BACKEND {
            test(&format!("status::{name}"), Box::new(move || body(settings)));
        }
        for (name, body) in trouble::WITH_EVERY_BACKEND {
            test(&format!("trouble::{name}"), Box::new(move || body(settings)));
        }
    }
    // In local mode nothing is sent as raw frames.
    for (backend, needs, settings) in [SOCKETS, RAW] {
        for (name, body) in trouble::LOCAL {
            let name = format!("local::{name}::{backend}");
            tests.push(Test::new(name, needs, move || body(settings)));
        }
    }
    tests.extend(groups::with_the_real_ecal());
    tests.extend(trouble::other_tests());
    suite::main(tests)
}

fn up(link: &str) {
    ip(&format!("link set {link} up"));
    ip(&format!("route add 239.0.0.0/8 dev {link}"));
}

#[track_caller]
fn open_all(world: &World, settings: Setting) -> Vec<Both> {
    let open = |(name, choose): (&str, Setting)| {
        let mut config = network();
        choose(&mut config);
        settings(&mut config);
        Both::open(world, name, config)
    };
    CHOICES.map(open).into()
}

fn started_before(settings: Setting, before: Event, after: Event, silent: &[&str]) {
    let world = World::new(Mode::Network);
    before(&world);
    logged::start();
    let all = open_all(&world, settings);
    after(&world);
    for both in &all {
        both.talk("the network has come");
    }
    for (name, _) in CHOICES {
        let warnings = logged::warnings(&format!("node `{name}`"));
        assert_eq!(warnings.len(), usize::from(silent.contains(&name)), "said once by {name}: {warnings:#?}");
    }
}

fn while_open(settings: Setting, change: Event) {
    let world = World::new(Mode::Network);
    let all = open_all(&world, settings);
    for both in &all {
        both.talk("before");
    }
    change(&world);
    for both in &all {
        both.talk("after");
    }
}
