//! What leaves a host, and who is heard by it: no more than the settings say.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::num::NonZeroU16;
use std::process::ExitCode;
use std::sync::Arc;

use ferrocal::{
    Config, DropCounts, DropReason, LayersConfig, LogLevel, Mode, Node, Selection, SendPath, Status,
};
use ferrocal_integration_tests::netns::{
    FIRST_ADDRESS, FIRST_LINK, FIRST_NAME, Host, SECOND_ADDRESS, SecondHost,
};
use ferrocal_integration_tests::pair::{GROUP, Pair};
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::wiretap::{Packet, Wiretap};
use ferrocal_integration_tests::{forge, logged, wait};
use ferrocal_proto::{HashVersion, LayerKind, topic_group};
use ferrocal_transport::{Config as TransportConfig, NpcapTransport, SocketTransport, Transport};

fn main() -> ExitCode {
    const RAW: &[Need] = &[Need::RawFrames];
    let mut tests = Vec::new();
    for (name, needs, make) in [
        ("memory", &[][..], memory as fn() -> Pair),
        ("sockets", &[], sockets),
        ("raw_frames", RAW, raw_frames),
    ] {
        let mut test = |case: &str, body: fn(&Pair)| {
            tests.push(Test::new(format!("{case}::{name}"), needs, move || body(&make())));
        };
        test("only_allowed_networks_are_heard", only_allowed_networks);
        test("only_allowed_hosts_are_heard", only_allowed_hosts);
    }
    tests.push(Test::new("only_allowed_networks_can_connect", &[], only_allowed_networks_can_connect));
    let mut test = |name: &str, body: fn()| tests.push(Test::new(name, RAW, body));
    // The capture is libpcap's.
    test("local_mode_stays_on_loopback::sockets", || local_mode_stays_on_loopback(Selection::Socket));
    test("local_mode_stays_on_loopback::raw_frames", || local_mode_stays_on_loopback(Selection::Npcap));
    test("local_mode_connects_on_loopback", local_mode_connects_on_loopback);
    test("network_mode_keeps_to_its_settings::sockets", || network_mode(Selection::Socket, SendPath::Socket));
    test("network_mode_keeps_to_its_settings::raw_frames", || network_mode(Selection::Npcap, SendPath::Raw));
    suite::main(tests)
}

/// Two hosts in memory.
fn memory() -> Pair {
    Pair::memory(Mode::Network)
}

fn sockets() -> Pair {
    Pair::on_two_hosts(|interface| Arc::new(SocketTransport::new(on(interface))))
}

fn raw_frames() -> Pair {
    Pair::on_two_hosts(|interface| -> Arc<dyn Transport> {
        Arc::new(NpcapTransport::new(on(interface)).expect("raw frames can be had"))
    })
}

fn on(interface: Ipv4Addr) -> TransportConfig {
    TransportConfig {
        mode: Mode::Network,
        group: GROUP,
        interfaces: vec![interface.into()],
        ..TransportConfig::default()
    }
}

/// What all hosts of the link receive.
const BROADCAST: Ipv4Addr = Ipv4Addr::new(10, 11, 12, 255);
const TOPIC: &str = "hello";

fn drops(status: &Status, reason: DropReason) -> u64 {
    status.drops.get(reason)
}

/// What comes from other networks is not even decoded.
fn only_allowed_networks(pair: &Pair) {
    /// Of them, none is ever allowed.
    const ELSEWHERE: &str = "10.99.0.0/16";
    /// Two registrations, garbage for the port of registrations, a message, and garbage for the port of messages.
    const REFUSED: u64 = 5;
    let info = || forge::topic_info("forged", 7, 1, TOPIC);
    let mut config = Config::default();
    config.allow.networks = vec![ELSEWHERE.parse().expect("a network")];
    let (node, injector) = pair.node(config.clone());
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let logs = node.logs().expect("log lines can be received");
    let before = drops(&node.status(), DropReason::SourceNotAllowed);
    let garbage = b"no eCAL".to_vec();
    let registration = forge::whole(&forge::publisher(info()));
    let log = vec![garbage.clone(), garbage.clone()];
    let payload = forge::whole(&forge::payload(TOPIC, 1, 1, b"x"));
    injector.registration(&[registration.clone(), registration.clone(), garbage.clone()]);
    injector.payload(&[payload, garbage]);
    injector.log(&log);
    // The node's own registrations are among what is refused.
    wait::until("they are refused", || {
        drops(&node.status(), DropReason::SourceNotAllowed) >= before + REFUSED
            && logs.stats().drops.get(DropReason::SourceNotAllowed) == log.len() as u64
    });
    let status = node.status();
    assert_eq!(status.drops.total(), drops(&status, DropReason::SourceNotAllowed), "nothing was decoded");
    assert_eq!((status.peers, status.unsubscribed, subscriber.stats().received), (0, 0, 0), "{status:?}");
    drop((subscriber, logs, node));

    config.allow.networks.push(pair.source.into());
    let (node, injector) = pair.node(config);
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    injector.registration(&[registration.clone(), registration]);
    assert!(subscriber.wait_for_publisher(HANG));
    injector.payload(&[forge::whole(&forge::payload(TOPIC, 1, 2, b"x"))]);
    assert_eq!(subscriber.recv_timeout(HANG).expect("it is allowed").clock, 2);
}

/// A server of services, and a publisher over TCP.
fn only_allowed_networks_can_connect() {
    let second = SecondHost::new().unwrap_or_else(|error| panic!("{error}"));
    let mut config = Config::default().mode(Mode::Network);
    config.udp.interfaces = vec![FIRST_ADDRESS.into()];
    config.allow.networks = vec![FIRST_ADDRESS.into()];
    config.publisher.layers = LayersConfig::NONE.tcp(true);
    config.subscriber.layers = LayersConfig::NONE.tcp(true);
    let node = Node::with_config("guarded", config).expect("a node opens");
    let monitor = node.monitor();
    let server = node.server("here").expect("a server opens");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG));
    // A message that is sent before a connection is made reaches nobody.
    wait::until("its own messages arrive", || {
        publisher.send(b"x").expect("a message is sent");
        subscriber.try_recv().is_some()
    });
    let tcp_port = wait::until_some("the port of the publisher", || {
        let publishers = monitor.snapshot().publishers;
        publishers.iter().flat_map(|seen| &seen.info.layers).find_map(|layer| layer.parameters.tcp_port)
    });
    // What is closed at once says nothing, if it does not refuse to be read at all.
    let read = |port: u16| {
        let mut stream = TcpStream::connect((FIRST_ADDRESS, port)).expect("the port is open");
        stream.set_read_timeout(Some(HANG)).expect("a time");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_or(0, |len| len)
    };
    let read_all = || [server.port(), tcp_port.get()].map(read);
    assert_eq!(second.host().run(read_all), [0, 0]);
    assert_eq!(server.stats().refused_hosts, 1);
    assert_eq!(drops(&node.status(), DropReason::SourceNotAllowed), 1);
    publisher.send(b"after").expect("a message is sent");
    wait::until("its own messages arrive", || {
        subscriber.try_recv().is_some_and(|message| &message.payload[..] == b"after")
    });
}

/// Nothing is stored of hosts with other names, whatever they send.
fn only_allowed_hosts(pair: &Pair) {
    const FRIEND: &str = "friend";
    let mut config = Config::default();
    config.allow.host_names = vec![FIRST_NAME.into(), FRIEND.into()];
    let (node, injector) = pair.node(config);
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let monitor = node.monitor();
    wait::until_eq("the node hears itself", &1, || node.status().peers);
    let info = |host: &str, id| forge::topic_info(host, 7, id, TOPIC);
    let process = ferrocal_proto::ProcessInfo {
        host_name: "forged".into(),
        process_id: 7,
        ..ferrocal_proto::ProcessInfo::default()
    };
    // Four registrations, a message in a datagram, and one in two that never comes to its end.
    let registrations = [
        forge::process(process),
        forge::publisher(info("forged", 1)),
        forge::publisher(info("Friend", 1)),
        forge::subscriber(info("", 1)),
    ];
    injector.registration(&registrations.map(|message| forge::whole(&message)));
    injector.payload(&[forge::whole(&forge::payload(TOPIC, 1, 1, b"x"))]);
    wait::until_eq("what is refused", &5, || drops(&node.status(), DropReason::HostNotAllowed));
    let status = node.status();
    let mut expected = DropCounts::default();
    (0..5).for_each(|_| expected.count(DropReason::HostNotAllowed));
    assert_eq!((&status.drops, status.peers, status.unsubscribed), (&expected, 1, 0));
    assert!(monitor.snapshot().processes.iter().all(|seen| *seen.info.host_name == *FIRST_NAME.as_bytes()));

    injector.registration(
        &[forge::publisher(info(FRIEND, 2)), forge::publisher(info(FRIEND, 2))].map(|it| forge::whole(&it)),
    );
    assert!(subscriber.wait_for_publisher(HANG));
    assert_eq!(subscriber.stats().received, 0);
}

/// A node that does all that nodes do, in an order that ends with a message of its own that arrived.
fn live(config: Config) -> Node {
    let mut config = config;
    config.logging.udp.enable = true;
    config.logging.console.enable = false;
    let node = Node::with_config("live", config).expect("a node opens");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG));
    node.log(LogLevel::Info, "hello");
    for len in [1, 100_000] {
        publisher.send(&vec![7; len]).expect("a message is sent");
        assert_eq!(subscriber.recv_timeout(HANG).expect("it arrives").payload.len(), len);
    }
    drop((publisher, subscriber));
    node
}

/// Beside another interface, which carries multicast, too.
fn local_mode_stays_on_loopback(backend: Selection) {
    let _second = SecondHost::new().unwrap_or_else(|error| panic!("{error}"));
    let [outside, loopback] = [FIRST_LINK, "lo"].map(Wiretap::new);
    drop(live(Config::default().transport(backend)));
    let packets = outside.packets(FIRST_ADDRESS, BROADCAST);
    assert!(packets.is_empty(), "{packets:?}");
    let inside = loopback.packets(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
    let ports: BTreeSet<_> = inside.iter().filter_map(|packet| packet.port).collect();
    assert!(ports.is_superset(&[14_000, 14_001, 14_002].into()), "{ports:?}");
    assert!(inside.iter().all(|packet| packet.destination.is_loopback() && packet.ttl <= 1), "{inside:?}");
}

/// A publisher that poses as one of this host, with an address of another one for a name.
fn local_mode_connects_on_loopback() {
    logged::start();
    let _second = SecondHost::new().unwrap_or_else(|error| panic!("{error}"));
    let outside = Wiretap::new(FIRST_LINK);
    let mut config = Config::default();
    config.subscriber.layers = LayersConfig::NONE.tcp(true);
    let node = Node::with_config("local", config).expect("a node opens");
    let _subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let mut info = forge::on_this_host(forge::topic_info("", 7, 1, TOPIC));
    info.host_name = SECOND_ADDRESS.to_string().into();
    info.layers[0].kind = LayerKind::Tcp;
    // Nobody is there, on either host.
    info.layers[0].parameters.tcp_port = NonZeroU16::new(9);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.set_broadcast(true).expect("it may broadcast");
    let registration = forge::whole(&forge::publisher(info));
    socket.send_to(&registration, (Ipv4Addr::new(127, 255, 255, 255), 14_000)).expect("it is sent");
    wait::until("it cannot be connected to", || {
        !logged::warnings("cannot be connected to by TCP").is_empty()
    });
    let packets = outside.packets(FIRST_ADDRESS, BROADCAST);
    assert!(packets.is_empty(), "{packets:?}");
}

/// Of two interfaces, one is named, with a group and a time to live of its own.
fn network_mode(backend: Selection, send: SendPath) {
    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 7, 7, 1);
    const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 240);
    const TTL: u8 = 5;
    const OTHER: &str = "other";
    const OTHER_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 11, 13, 1);
    const UDP: u8 = 17;
    const IGMP: u8 = 2;
    let _second = SecondHost::new().unwrap_or_else(|error| panic!("{error}"));
    let ip = |arguments: &str| Host::first().ip(arguments).expect("an interface");
    ip("link add other type veth peer name other-peer");
    ip(&format!("addr add {OTHER_ADDRESS}/24 dev {OTHER}"));
    ip("link set other-peer up");
    ip("link set other up");
    wait::until("the other link is up", || {
        let shown = Host::first().command("ip").args(["-o", "link", "show", "dev", OTHER]).output();
        String::from_utf8_lossy(&shown.expect("ip runs").stdout).contains("state UP")
    });
    // The routes would choose it.
    ip("route add 239.7.0.0/16 dev other");
    let [named, other] = [FIRST_LINK, OTHER].map(Wiretap::new);

    let mut config = Config::default().mode(Mode::Network).transport(backend);
    config.udp.interfaces = vec![FIRST_ADDRESS.into()];
    config.udp.network.group = GROUP;
    config.udp.network.ttl = TTL;
    config.udp.send = send;
    drop(live(config));

    let packets = other.packets(OTHER_ADDRESS, Ipv4Addr::new(10, 11, 13, 255));
    assert!(packets.is_empty(), "{packets:?}");
    let packets = named.packets(FIRST_ADDRESS, BROADCAST);
    ip("link del other");
    let groups = [GROUP, topic_group(HashVersion::V2, GROUP, MASK, TOPIC)];
    let is_as_set = |packet: &&Packet| {
        packet.protocol == UDP
            && packet.source == FIRST_ADDRESS
            && groups.contains(&packet.destination)
            && packet.ttl == TTL
            && packet.port.is_none_or(|port| (14_000..=14_002).contains(&port))
    };
    // Linux has a time to live of its own for the reports of groups.
    let is_report = |packet: &&Packet| packet.protocol == IGMP && packet.ttl == 1;
    let others: Vec<_> = packets.iter().filter(|packet| !is_as_set(packet) && !is_report(packet)).collect();
    assert!(others.is_empty(), "{others:?}");
    let ports: BTreeSet<_> = packets.iter().filter_map(|packet| packet.port).collect();
    assert_eq!(ports, [14_000, 14_001, 14_002].into(), "what has other groups is not sent at all");
}
