//! Situations, and what the checks say of them.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use ferrocal::{Config, DataType, EntityId, LatencyInfo, Layer, LayerKind, LayerParameters, Mode, TopicInfo};

use super::*;
use crate::doctor::facts::{
    Entity, Frames, Interface, Machine, Outcome, PortUse, Process, Program, ReversePath, Route, SelfTest,
    Settings, Stray, StrayKind, Wire,
};
use crate::doctor::firewall::Ruleset;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 1);

fn interface(name: &str, address: Ipv4Addr) -> Interface {
    Interface {
        name: name.into(),
        friendly_name: None,
        addresses: vec![(address, 24)],
        mtu: 1500,
        is_loopback: address.is_loopback(),
        is_up: true,
        has_carrier: true,
        has_multicast: true,
    }
}

fn process(host: &str, pid: i32, source: Ipv4Addr) -> Process {
    Process {
        sources: [source].into(),
        host: host.into(),
        pid,
        name: "/usr/bin/robot".into(),
        command_line: "robot".into(),
        unit: "robot".into(),
        version: "v6.1.1".into(),
        config_file: String::new(),
    }
}

fn entity(host: &str, pid: i32, source: Ipv4Addr, id: u64) -> Entity {
    let udp = Layer {
        kind: LayerKind::UdpMulticast,
        version: 2,
        enabled: true,
        active: true,
        parameters: LayerParameters::default(),
    };
    let info = TopicInfo {
        host_name: host.into(),
        process_id: pid,
        topic_id: EntityId::from_wire(id.to_string()),
        topic_name: "hello".into(),
        layers: vec![udp],
        connections_external: 1,
        ..TopicInfo::default()
    };
    Entity { source, watched: Duration::from_secs(4), info }
}

/// A healthy pair of hosts: a subscriber of this one, and a publisher of the other.
fn healthy() -> Facts {
    let role = |port, role| PortUse { port, role, failure: None, holders: Vec::new() };
    Facts {
        settings: Settings::new(&Config::default().mode(Mode::Network)),
        machine: Machine {
            host_name: "here".into(),
            interfaces: vec![interface("eth0", OWN), interface("lo", Ipv4Addr::LOCALHOST)],
            route: Route {
                source: Ok(OWN),
                entry: Ok(Some((Some("eth0".into()), Ipv4Addr::new(239, 0, 0, 0), 8))),
                has_default: false,
            },
            memberships: Ok([GROUP, Ipv4Addr::new(239, 0, 0, 7)]
                .map(|group| ("eth0".to_owned(), group))
                .into()),
            max_memberships: Ok(20),
            granted_buffer_len: Ok(16 << 20),
            reverse_path: Ok(ReversePath { filters: vec![("eth0".into(), 1)], dropped: 0 }),
            max_fragment_bytes: Ok(4 << 20),
            firewall: Ok(vec![Ruleset::default()]),
            ports: vec![role(14_000, "registration"), role(14_001, "logging"), role(14_002, "payload")],
            has_ipv6: Ok(true),
            container: Ok(None),
            raw_frames: Ok("libpcap".into()),
            ecal_processes: Ok(vec![Program { pid: 1, name: "robot".into() }]),
            unused_memory: Ok(Vec::new()),
        },
        wire: Wire {
            watched: Duration::from_secs(5),
            processes: vec![process("here", 1, OWN), process("there", 1, OTHER)],
            publishers: vec![entity("there", 1, OTHER, 1)],
            subscribers: vec![entity("here", 1, OWN, 2)],
            clock_differences: vec![("there".into(), 300)],
            unusable: Vec::new(),
            memory: None,
        },
        frames: Ok(Frames { strays: Vec::new(), heard: BTreeSet::from([("eth0".into(), OTHER)]) }),
        tests: vec![SelfTest { subject: "sockets".into(), is_in_use: true, outcome: Outcome::Passed }],
    }
}

fn troubles(facts: &Facts) -> Vec<Finding> {
    let findings = run(facts);
    let names: BTreeSet<_> = findings.iter().map(|finding| finding.check).collect();
    let all: BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
    assert!(names.is_subset(&all), "{names:?}");
    findings.into_iter().filter(Finding::is_trouble).collect()
}

/// What is wrong, the check that names it, and, of what mends it, the beginning.
type Situation = (&'static str, fn(&mut Facts), &'static str, &'static str);

const DROP: &str = r#"{"nftables":[
    {"chain":{"family":"inet","table":"filter","name":"input","hook":"input","policy":"accept"}},
    {"rule":{"family":"inet","table":"filter","chain":"input","expr":[
        {"match":{"op":"==","left":{"payload":{"protocol":"udp","field":"dport"}},"right":{"set":[1,{"range":[14000,14001]}]}}},
        {"counter":{"packets":0,"bytes":0}},{"drop":null}]}}]}"#;

const SITUATIONS: &[Situation] = &[
    ("down", |facts| facts.machine.interfaces[0].is_up = false, "interface", "ip link set eth0 up"),
    (
        "no address",
        |facts| {
            facts.machine.interfaces[0].addresses.clear();
            facts.wire.processes.remove(0);
            facts.machine.ecal_processes = Ok(Vec::new());
        },
        "interface",
        "ip address add",
    ),
    ("no carrier", |facts| facts.machine.interfaces[0].has_carrier = false, "interface", "ip link show eth0"),
    (
        "an interface that is not there",
        |facts| facts.settings.interfaces = vec!["eth9".parse().unwrap()],
        "interface",
        "ferrocal.interfaces",
    ),
    (
        "multicast off",
        |facts| facts.machine.interfaces[0].has_multicast = false,
        "multicast",
        "ip link set eth0 multicast on",
    ),
    ("short packets", |facts| facts.machine.interfaces[0].mtu = 576, "mtu", "ip link set eth0 mtu 1500"),
    (
        "no route",
        |facts| {
            facts.machine.route =
                Route { source: Err(ErrorKind::NetworkUnreachable), entry: Ok(None), has_default: false };
        },
        "route",
        "ip route replace 239.0.0.0/8 dev eth0",
    ),
    (
        "a route that refuses",
        |facts| {
            facts.machine.route.source = Err(ErrorKind::HostUnreachable);
            facts.machine.route.entry = Ok(Some((None, Ipv4Addr::new(239, 0, 0, 0), 16)));
        },
        "route",
        "ip route replace 239.0.0.0/16 dev eth0",
    ),
    (
        "a route to loopback",
        |facts| facts.machine.route.entry = Ok(Some((Some("lo".into()), Ipv4Addr::new(224, 0, 0, 0), 4))),
        "route",
        "ip route replace 224.0.0.0/4 dev eth0",
    ),
    (
        "few groups",
        |facts| facts.machine.max_memberships = Ok(2),
        "membership",
        "sysctl -w net.ipv4.igmp_max",
    ),
    (
        "a group that is not joined",
        |facts| facts.machine.memberships.as_mut().unwrap().clear(),
        "membership",
        "",
    ),
    (
        "strict rp_filter",
        |facts| facts.machine.reverse_path.as_mut().unwrap().dropped = 9,
        "rp_filter",
        "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0",
    ),
    (
        "no fragments",
        |facts| facts.machine.max_fragment_bytes = Ok(0),
        "fragments",
        "sysctl -w net.ipv4.ipfrag",
    ),
    (
        "a firewall",
        |facts| facts.machine.firewall = Ok(vec![Ruleset::of_nft(DROP).unwrap()]),
        "firewall",
        "nft insert rule inet filter input udp dport 14000-14002 accept",
    ),
    (
        "a port that is taken",
        |facts| {
            facts.machine.ports[0].failure = Some("Address already in use.".into());
            facts.machine.ports[0].holders = vec![Program { pid: 77, name: "other".into() }];
        },
        "port",
        "kill 77",
    ),
    ("a small buffer", |facts| facts.machine.granted_buffer_len = Ok(212_992), "buffer", ""),
    (
        "no IPv6",
        |facts| facts.machine.has_ipv6 = Ok(false),
        "ipv6",
        "sysctl -w net.ipv6.conf.all.disable_ipv6=0",
    ),
    (
        "a container in Docker's network",
        |facts| {
            facts.machine.container = Ok(Some("Docker".into()));
            facts.machine.interfaces[0].addresses = vec![(Ipv4Addr::new(172, 17, 0, 2), 16)];
            facts.machine.route.source = Ok(Ipv4Addr::new(172, 17, 0, 2));
            facts.wire.processes.remove(0);
            facts.machine.ecal_processes = Ok(Vec::new());
        },
        "container",
        "docker run --network host",
    ),
    (
        "raw frames are wanted and missing",
        |facts| {
            facts.settings.wants_raw = true;
            facts.machine.raw_frames = Err("not installed".into());
        },
        "raw_frames",
        "",
    ),
    (
        "the other host has this name",
        |facts| {
            facts.wire.processes[1].host = "here".into();
            facts.wire.publishers.clear();
        },
        "host_name",
        "hostname ",
    ),
    (
        "two hosts of one name elsewhere",
        |facts| {
            facts.wire.processes[1].sources.insert(Ipv4Addr::new(10, 0, 0, 3));
        },
        "host_name",
        "",
    ),
    (
        "two processes of one id",
        |facts| {
            let other = Process { name: "/usr/bin/camera".into(), ..process("there", 1, OTHER) };
            facts.wire.processes.push(other);
        },
        "process_id",
        "docker run",
    ),
    (
        "a program in local mode",
        |facts| facts.wire.processes.push(process("here", 2, Ipv4Addr::LOCALHOST)),
        "mode",
        "communication_mode: network",
    ),
    (
        "another port of registration",
        |facts| {
            let sender = Some(("there".to_owned(), 2));
            let stray = Stray {
                source: OTHER,
                destination: GROUP,
                port: 15_000,
                kind: StrayKind::Registration,
                sender,
            };
            facts.frames.as_mut().unwrap().strays.push(stray);
        },
        "ports",
        "registration.network.udp.port: 14000",
    ),
    (
        "another port of payload",
        |facts| {
            let kind = StrayKind::Payload("hello".into());
            let stray = Stray { source: OTHER, destination: GROUP, port: 15_002, kind, sender: None };
            facts.frames.as_mut().unwrap().strays.push(stray);
        },
        "ports",
        "transport_layer.udp.port: 14002",
    ),
    (
        "payload to the group of version 1",
        |facts| {
            let kind = StrayKind::Payload("hello".into());
            let group = ferrocal_proto::topic_group(
                ferrocal::HashVersion::V1,
                GROUP,
                Ipv4Addr::new(255, 255, 255, 240),
                "hello",
            );
            let stray = Stray { source: OTHER, destination: group, port: 14_002, kind, sender: None };
            facts.frames.as_mut().unwrap().strays.push(stray);
        },
        "groups",
        "transport_layer.udp.config_version: v2, transport_layer.udp.mask: 255.255.255.240",
    ),
    (
        "a reader that joined other groups",
        |facts| facts.machine.memberships = Ok([("eth0".to_owned(), GROUP)].into()),
        "groups",
        "transport_layer.udp.config_version: v2",
    ),
    (
        "a node of ferrocal with another mask",
        |facts| facts.wire.processes[1].version = "ferrocal 0.1.0+V2/255.255.255.0/239.0.0.1+gro".into(),
        "groups",
        "transport_layer.udp.config_version: v2",
    ),
    (
        "a program that does not register",
        |facts| {
            facts.machine.ecal_processes.as_mut().unwrap().push(Program { pid: 9, name: "mute".into() });
        },
        "registration",
        "registration.local.transport_type: udp",
    ),
    (
        "a reader by shared memory",
        |facts| facts.wire.subscribers[0].info.layers[0].kind = LayerKind::SharedMemory,
        "reader_layer",
        "subscriber.layer.udp.enable: true",
    ),
    (
        "a writer by shared memory",
        |facts| facts.wire.publishers[0].info.layers[0].kind = LayerKind::SharedMemory,
        "writer_layer",
        "publisher.layer.udp.enable: true",
    ),
    (
        "two types",
        |facts| {
            let named =
                |name: &str| DataType { name: name.into(), encoding: "proto".into(), ..DataType::default() };
            facts.wire.publishers[0].info.data_type = named("a.Pose");
            facts.wire.subscribers[0].info.data_type = named("b.Pose");
        },
        "type",
        "",
    ),
    ("a clock behind", |facts| facts.wire.clock_differences[0].1 = 60_000_000, "clock", "timedatectl"),
    (
        "messages from the future",
        |facts| {
            facts.wire.subscribers[0].info.latency =
                Some(LatencyInfo { count: 1, min_us: -50_000.0, ..LatencyInfo::default() });
        },
        "clock",
        "timedatectl",
    ),
    (
        "the other host does not hear this one",
        |facts| facts.wire.publishers[0].info.connections_external = 0,
        "one_way",
        "ferrocal doctor --listen",
    ),
    ("foreign datagrams", |facts| facts.wire.unusable.push((OTHER, 3)), "unusable", ""),
    (
        "a program that registers by UDP where the settings say shared memory",
        |facts| {
            facts.settings.mode = Mode::Local;
            facts
                .wire
                .processes
                .iter_mut()
                .for_each(|process| process.sources = [Ipv4Addr::LOCALHOST].into());
            facts.wire.memory = Some(Ok(BTreeSet::new()));
            let program = Program { pid: 1, name: "robot".into() };
            facts.machine.ecal_processes = Ok(vec![program]);
        },
        "registration",
        "registration.local.transport_type: udp",
    ),
    (
        "a failed self test",
        |facts| facts.tests[0].outcome = Outcome::Failed("nothing arrives".into()),
        "self_test",
        "",
    ),
];

#[test]
fn a_healthy_pair_of_hosts_has_no_finding() {
    let findings = troubles(&healthy());
    assert!(findings.is_empty(), "{findings:#?}");
}

#[test]
fn each_situation_has_the_finding_that_names_it_and_no_other() {
    for (what, change, check, mend) in SITUATIONS {
        let mut facts = healthy();
        change(&mut facts);
        let findings = troubles(&facts);
        let names: Vec<_> = findings.iter().map(|finding| finding.check).collect();
        assert_eq!(names, [*check], "{what}: {findings:#?}");
        assert!(findings[0].mend.starts_with(mend), "{what}: {findings:#?}");
        assert!(findings[0].meaning.ends_with('.'), "{what}: {findings:#?}");
    }
}

#[test]
fn every_check_has_a_situation() {
    // What is never more than a note has a test of its own: `files_that_belong_to_nobody_are_a_note`.
    let notes = ["shared_memory"];
    let with: BTreeSet<_> = SITUATIONS.iter().map(|(_, _, check, _)| *check).chain(notes).collect();
    let all: BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(with, all);
}

#[test]
fn what_cannot_be_observed_is_not_checked_and_not_fine() {
    let mut facts = healthy();
    let unknown = || "it cannot be read".to_owned();
    let machine = &mut facts.machine;
    machine.memberships = Err(unknown());
    machine.max_memberships = Err(unknown());
    machine.granted_buffer_len = Err(unknown());
    machine.reverse_path = Err(unknown());
    machine.max_fragment_bytes = Err(unknown());
    machine.firewall = Err(unknown());
    machine.has_ipv6 = Err(unknown());
    machine.container = Err(unknown());
    machine.ecal_processes = Err(unknown());
    machine.unused_memory = Err(unknown());
    machine.route.entry = Err(unknown());
    facts.frames = Err(unknown());
    facts.tests.clear();
    let findings = run(&facts);
    assert!(!findings.iter().any(Finding::is_trouble), "{findings:#?}");
    let unchecked: BTreeSet<_> =
        findings.iter().filter(|one| one.status == Status::NotChecked).map(|one| one.check).collect();
    let expected = [
        "membership",
        "buffer",
        "rp_filter",
        "fragments",
        "firewall",
        "ipv6",
        "container",
        "shared_memory",
        "registration",
        "ports",
        "groups",
        "self_test",
    ];
    assert_eq!(unchecked, BTreeSet::from(expected));
}

#[test]
fn files_that_belong_to_nobody_are_a_note() {
    let mut facts = healthy();
    facts.machine.unused_memory = Ok((0..7).map(|number| format!("ecal_{number}")).collect());
    assert!(troubles(&facts).is_empty(), "{:#?}", troubles(&facts));
    let findings = run(&facts);
    let finding = findings.iter().find(|one| one.check == "shared_memory").unwrap();
    assert!(finding.meaning.starts_with("7 files"), "{finding:?}");
    assert!(finding.mend.ends_with(" /dev/shm/ecal_6"), "{finding:?}");
    assert!(finding.meaning.ends_with("They take memory, and nothing else."), "{finding:?}");
    facts.machine.unused_memory = Ok((0..3000).map(|number| format!("ecal_{number};id")).collect());
    let findings = run(&facts);
    let finding = findings.iter().find(|one| one.check == "shared_memory").unwrap();
    assert!(finding.mend.contains("rm '/dev/shm/ecal_0;id' '/dev/shm/ecal_1;id'"), "{finding:?}");
    assert!(finding.mend.len() < 5000 && finding.meaning.contains("removes 100"), "{finding:?}");
    facts.machine.unused_memory = Ok(vec!["ecal_shutdown_process_6_evt".into()]);
    let findings = run(&facts);
    let finding = findings.iter().find(|one| one.check == "shared_memory").unwrap();
    assert!(finding.meaning.contains("a request to end"), "{finding:?}");
}

#[test]
fn files_that_are_registered_are_in_use_though_nobody_is_seen_to_have_them() {
    let mut facts = healthy();
    let parameters = LayerParameters { memory_files: vec!["ecal_3".into()], ..LayerParameters::default() };
    let layer = Layer { parameters, ..facts.wire.publishers[0].info.layers[0].clone() };
    facts.wire.publishers[0].info.layers = vec![layer];
    let names = ["ecal_3", "ecal_33", "ecal_3_7_ack_evt", "ecal_3_mtx"];
    facts.machine.unused_memory = Ok(names.map(str::to_owned).into());
    let mend_of = |facts: &Facts| {
        let findings = run(facts);
        findings.iter().find(|one| one.check == "shared_memory").unwrap().mend.clone()
    };
    assert_eq!(mend_of(&facts), "rm /dev/shm/ecal_33");
    facts.machine.unused_memory = Ok(vec!["ecal_3".into()]);
    assert_eq!(mend_of(&facts), "");
}

#[test]
fn registrations_by_shared_memory_are_fine_where_the_settings_say_so() {
    let mut facts = healthy();
    facts.settings.mode = Mode::Local;
    facts.wire.processes.iter_mut().for_each(|process| process.sources = [Ipv4Addr::LOCALHOST].into());
    facts.machine.ecal_processes = Ok(vec![Program { pid: 9, name: "robot".into() }]);
    facts.wire.memory = Some(Ok([(facts.machine.host_name.clone(), 9)].into()));
    assert!(troubles(&facts).is_empty(), "{:#?}", troubles(&facts));
    let findings = run(&facts);
    let finding = findings.iter().find(|one| one.check == "registration").unwrap();
    assert!(finding.meaning.contains("by shared memory, as these settings say"), "{finding:?}");
    facts.wire.memory = Some(Err("No node can be opened.".into()));
    let findings = run(&facts);
    let finding = findings.iter().find(|one| one.check == "registration").unwrap();
    assert_eq!(finding.status, Status::NotChecked);
}

#[test]
fn local_mode_needs_no_network() {
    let mut facts = healthy();
    facts.settings.mode = Mode::Local;
    facts.wire.processes.iter_mut().for_each(|process| process.sources = [Ipv4Addr::LOCALHOST].into());
    facts.machine.interfaces.remove(0);
    facts.machine.route.source = Err(ErrorKind::NetworkUnreachable);
    assert!(troubles(&facts).is_empty(), "{:#?}", troubles(&facts));
    facts.machine.interfaces[0].is_up = false;
    let findings = troubles(&facts);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].mend, "ip link set lo up");
}

#[test]
fn a_self_test_of_an_interface_that_is_not_used_is_a_note() {
    let mut facts = healthy();
    let outcome = Outcome::Failed("nothing arrives".into());
    facts.tests.push(SelfTest { subject: "sockets, vpn0".into(), is_in_use: false, outcome });
    assert!(troubles(&facts).is_empty(), "{:#?}", troubles(&facts));
}

#[test]
fn a_symptom_is_a_note_beside_its_cause() {
    let mut facts = healthy();
    facts.machine.interfaces[0].has_multicast = false;
    facts.tests[0].outcome = Outcome::Failed("nothing arrives".into());
    let findings = troubles(&facts);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].check, "multicast");
}
