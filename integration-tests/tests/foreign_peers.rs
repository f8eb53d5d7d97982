//! Peers that are not as one would like them: a list of situations, each with what happens in it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::time::Duration;

use ferrocal::{Config, HashVersion, LayersConfig, Mode as TransportMode, PublisherConfig, SubscriberConfig};
use ferrocal_integration_tests::ecal::{Publisher, Subscriber};
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::pair::{Injector, Pair};
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::totals::Totals;
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{forge, logged, ours, wait};
use ferrocal_proto::TopicInfo;
use ferrocal_transport::{Datagram, Transmit, Wait};
use log::Level;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    let mut test = |name: &str, needs, body: fn()| tests.push(Test::new(name, needs, body));

    // Text that is not UTF-8: everything works.
    test("a_host_name_in_latin_1::local", ECAL, || host_name_in_latin_1(Mode::Local));
    test("a_host_name_in_latin_1::network", ECAL, || host_name_in_latin_1(Mode::Network));
    test("a_unit_name_in_latin_1::local", ECAL, || unit_name_in_latin_1(Mode::Local));
    test("a_unit_name_in_latin_1::network", ECAL, || unit_name_in_latin_1(Mode::Network));
    test("hosts_whose_names_differ_in_a_byte_that_is_not_utf_8", &[], names_that_look_alike);
    test("payload_with_a_host_name_and_others_topics_in_latin_1", &[], payload_in_latin_1);

    // Registrations that are long, or cannot be used.
    test("a_type_with_a_descriptor_of_5_mib", ECAL, descriptor_of_5_mib);
    test("a_registration_that_cannot_be_used", &[], a_refused_registration_is_reported);

    // Settings that differ: the log says so once, with names and what to do.
    test("another_type_on_the_same_topic", &[], another_type_is_reported);
    test("a_publisher_by_shared_memory_only", ECAL, a_publisher_without_udp_is_reported);
    test("a_subscriber_by_shared_memory_only", ECAL, a_subscriber_without_udp_is_reported);
    test("a_reader_in_local_mode_at_a_node_in_network_mode", ECAL, a_local_reader_is_reported);

    test("a_publisher_of_ours_without_a_layer", &[], || {
        let config = PublisherConfig::default().layers(LayersConfig::NONE);
        own_settings_are_reported(Some(config), "enable `publisher.layer.udp` here");
    });
    test("a_publisher_of_ours_that_prefers_no_layer", &[], || {
        let config = PublisherConfig::default().priority_network(Vec::new());
        own_settings_are_reported(Some(config), "name `udp` in `publisher.priority_network` here");
    });
    test("a_subscriber_of_ours_without_a_layer", &[], || {
        own_settings_are_reported(None, "enable `subscriber.layer.udp` here");
    });

    // Other groups for the same topics.
    test("ecal_5_with_its_default_sends_to_ours", &[], || ecal_5_reaches_us(Config::default()));
    test("ecal_5_with_its_default_sends_to_ours_with_v1", &[], || ecal_5_reaches_us(v1()));
    test("ecal_5_reads_from_ours", &[], || ecal_5_is_reached(Config::default(), 1));
    test("ecal_5_reads_from_ours_with_v1", &[], || ecal_5_is_reached(v1(), 0));
    test("ecal_6_with_v1_and_its_mask", ECAL, || ecal_6_with("v1", "255.255.255.240", v1()));
    test("ecal_6_with_another_mask_than_ours", ECAL, || ecal_6_with("v2", "255.255.0.0", Config::default()));
    test("ours_among_themselves_use_the_topics_group", &[], ours_use_the_topics_group);

    // Nothing comes, or it comes from nowhere.
    test("payload_of_a_publisher_that_did_not_register", &[], an_unregistered_publisher_is_reported);
    test("a_subscriber_without_a_publisher", &[], a_lonely_subscriber_is_reported);
    test("a_publisher_without_a_subscriber", &[], a_lonely_publisher_is_reported);
    suite::main(tests)
}

const ECAL: &[Need] = &[Need::Ecal];
const TOPIC: &str = "hello";
/// Its group is 239.0.0.0 with v2, and 239.0.0.2 with v1.
const BAR: &str = "bar";
const BASE: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 1);
const PORT: u16 = 14_002;
const COUNT: u64 = 3;
const LEN: usize = 20;
/// A name in Latin-1.
const LATIN_1: &[u8] = b"h\xf6st";

fn v1() -> Config {
    let mut config = Config::default();
    config.udp.hash_version = HashVersion::V1;
    config
}

/// Settings with which things happen fast.
fn brisk() -> Config {
    let mut config = Config::default();
    config.registration.refresh = Duration::from_millis(50);
    // Forged peers register once.
    config.registration.timeout = Duration::from_secs(3600);
    config
}

/// A node in network mode in memory, and a way to send it whatever one likes.
fn node(config: Config) -> (ferrocal::Node, Injector) {
    logged::start();
    Pair::memory(TransportMode::Network).node(config)
}

/// Registers a peer until it is connected.
fn register(injector: &Injector, message: Vec<u8>) {
    for _ in 0..2 {
        injector.registration(&[forge::whole(&message)]);
    }
}

fn info(host_name: &str, topic: &str) -> TopicInfo {
    forge::topic_info(host_name, 7, 1, topic)
}

#[track_caller]
fn wait_for_warning(text: &str) -> String {
    wait::until_some(text, || logged::warnings(text).pop())
}

/// Messages go both ways between a real node with these options and one of ours.
fn exchange(world: &World, options: &[&str], config: Config) {
    let (there, mode) = (world.there(), world.mode());
    let mut subscriber = Subscriber::start_with(there, mode, options, "ours");
    let mut publisher = Publisher::start_with(there, mode, options, "real", LEN);
    let node = ferrocal::Node::with_config("ours", config).expect("a node opens");
    let receiving = ours::Subscriber::new(&node, &["real"]);
    let mut sending = ours::Publisher::new(&node, &[("ours", LEN)]);
    receiving.expect_matched(1);
    publisher.expect_matched("real", 1);
    sending.expect_matched(1);
    subscriber.expect_matched("ours", 1);
    publisher.send(COUNT, 50.0);
    sending.send(COUNT, 50.0);
    receiving.await_received(COUNT);
    receiving.totals()[0].assert_all(COUNT, LEN);
    let all = |rows: &[Totals]| rows.iter().any(|row| row.received == COUNT);
    subscriber.totals_with("all messages", all)[0].assert_all(COUNT, LEN);
    assert_eq!(node.status().drops.total(), 0, "{:?}", node.status());
}

fn host_name_in_latin_1(mode: Mode) {
    let world = World::new(mode);
    let _renamed = Renamed::new(world.there(), LATIN_1);
    exchange(&world, &[], ours::config(&world, world.here()));
}

/// A host that has another name until this is dropped.
struct Renamed(Host);

impl Renamed {
    fn new(host: Host, name: &[u8]) -> Self {
        host.run(|| rustix::system::sethostname(name)).expect("a host can be renamed");
        Self(host)
    }
}

impl Drop for Renamed {
    fn drop(&mut self) {
        let _ = self.0.run(|| rustix::system::sethostname(self.0.name().as_bytes()));
    }
}

fn unit_name_in_latin_1(mode: Mode) {
    let world = World::new(mode);
    exchange(&world, &["--latin-1", "--unit-name=für"], ours::config(&world, world.here()));
}

fn names_that_look_alike() {
    let (node, injector) = node(Config::default());
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    for (name, count) in [(&b"h\xf6st"[..], 1), (b"h\xe4st", 2), ("h\u{fffd}st".as_bytes(), 3)] {
        let info = TopicInfo { host_name: name.into(), ..info("", TOPIC) };
        register(&injector, forge::subscriber(info));
        wait::until_eq("subscribers", &count, || publisher.subscriber_count());
    }
}

fn payload_in_latin_1() {
    let (node, injector) = node(Config::default());
    let subscriber = node.subscriber::<[u8]>("h\u{fffd}st").expect("a good topic");
    let send = |topic: &[u8], payload: &'static [u8]| {
        let sample = ferrocal_proto::PayloadSample {
            topic_name: topic,
            topic_id: b"7",
            host_name: LATIN_1,
            clock: 1,
            payload,
            ..ferrocal_proto::PayloadSample::default()
        };
        let mut message = Vec::new();
        sample.encode_head(&mut message);
        injector.payload(&[forge::whole(&[&message, payload].concat())]);
    };
    // A topic that is written in the same way, but is not this one.
    send(LATIN_1, b"of another topic");
    send("h\u{fffd}st".as_bytes(), b"of this topic");
    let message = subscriber.recv_timeout(HANG).expect("it arrives");
    assert_eq!((&message.payload[..], &*message.publisher.host_name), (&b"of this topic"[..], "h\u{fffd}st"));
    let status = node.status();
    assert_eq!((status.unsubscribed, status.drops.total()), (1, 0), "{status:?}");
}

fn descriptor_of_5_mib() {
    let world = World::new(Mode::Local);
    exchange(&world, &["--descriptor-len=5242880"], ours::config(&world, world.here()));
}

fn a_refused_registration_is_reported() {
    let (_node, injector) = node(Config::default());
    let broken = forge::whole(b"\x01\0\0\x08\x02");
    for _ in 0..3 {
        injector.registration(std::slice::from_ref(&broken));
    }
    // Never put together, so never decoded.
    injector.registration(&[forge::info(1, 10_000, u32::MAX)]);
    wait_for_warning("longer than the limit");
    let lines = logged::warnings("a registration from 10.0.0.1:");
    assert!(lines.len() == 2 && lines[0].contains("not a valid sample"), "{lines:#?}");
}

fn another_type_is_reported() {
    let (node, injector) = node(Config::default());
    let _subscriber = node.subscriber::<str>(TOPIC).expect("a good topic");
    let with_type = |host: &str| {
        let mut info = info(host, TOPIC);
        info.data_type.name = "demo.Point\n".into();
        info
    };
    for _ in 0..3 {
        register(&injector, forge::publisher(with_type("first")));
        injector.registration(&[forge::whole(&forge::publisher_gone(with_type("first")))]);
    }
    register(&injector, forge::publisher(with_type("second")));
    wait_for_warning("second");
    let lines = logged::warnings("topic `hello`: this node's data type is `string`");
    assert_eq!(lines.len(), 2, "once for each: {lines:#?}");
    assert!(
        lines[0].contains("process 7 on first is `demo.Point\\n`") && lines[0].contains("same type"),
        "{lines:#?}"
    );
}

fn a_publisher_without_udp_is_reported() {
    logged::start();
    let world = World::new(Mode::Local);
    let node = ours::node(&world, world.here(), "ours");
    let _subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let _publisher = Publisher::start_with(world.there(), Mode::Local, &["--layer=shm"], TOPIC, LEN);
    let line = wait_for_warning("the publisher of `ecal_pub`");
    assert!(line.contains("topic `hello`") && line.contains("`publisher.layer.udp`"), "{line}");
    // One that sends by UDP is none of them.
    let mut good = Publisher::start_with(world.there(), Mode::Local, &["--unit-name=good"], TOPIC, LEN);
    good.expect_matched(TOPIC, 1);
    assert_eq!(logged::warnings("the publisher of").len(), 1);
}

fn a_subscriber_without_udp_is_reported() {
    logged::start();
    let world = World::new(Mode::Local);
    let node = ours::node(&world, world.here(), "ours");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let _subscriber = Subscriber::start_with(world.there(), Mode::Local, &["--layer=shm"], TOPIC);
    let line = wait_for_warning("the subscriber of `ecal_sub`");
    assert!(line.contains("it reads by shm") && line.contains("`subscriber.layer.udp`"), "{line}");
    let _good = Subscriber::start_with(world.there(), Mode::Local, &["--unit-name=good"], TOPIC);
    assert!(publisher.wait_for_subscriber(HANG));
    assert_eq!(logged::warnings("the subscriber of").len(), 1);
}

/// A publisher of these settings, or a subscriber without a layer, and a peer with UDP on another host.
fn own_settings_are_reported(publisher: Option<PublisherConfig>, what_to_do: &str) {
    let mut config = Config::default();
    // A peer's publisher is reported after some of them.
    config.registration.refresh = Duration::from_millis(20);
    let (node, injector) = node(config);
    let (mut publishes, mut subscribes) = (None, None);
    let peer = if let Some(config) = publisher {
        publishes = Some(node.publisher_with::<[u8]>(TOPIC, config).expect("a good topic"));
        forge::subscriber(info("far", TOPIC))
    } else {
        let config = SubscriberConfig::default().layers(LayersConfig::NONE);
        subscribes = Some(node.subscriber_with::<[u8]>(TOPIC, config).expect("a good topic"));
        forge::publisher(info("far", TOPIC))
    };
    let line = wait::until_some("a warning", || {
        register(&injector, peer.clone());
        logged::warnings("nothing").pop()
    });
    assert!(line.contains(what_to_do), "{line}");
    drop((publishes, subscribes));
}

fn a_local_reader_is_reported() {
    logged::start();
    let world = World::new(Mode::Network);
    let node = ours::node(&world, world.here(), "ours");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let _there = Subscriber::start_with(world.there(), Mode::Network, &["--unit-name=good"], TOPIC);
    let _here = Subscriber::start_with(world.here(), Mode::Local, &[], TOPIC);
    let line = wait_for_warning("`ecal_sub`");
    assert!(line.contains("is in local mode") && line.contains("`communication_mode`"), "{line}");
    assert!(publisher.wait_for_subscribers(2, HANG));
    assert_eq!(logged::warnings("is in local mode").len(), 1);
}

/// eCAL 5 sends the payload of `bar` to 239.0.0.2, as it does by default.
fn ecal_5_reaches_us(config: Config) {
    let pair = Pair::memory(TransportMode::Network);
    let (node, _injector) = pair.node(config);
    let subscriber = node.subscriber::<[u8]>(BAR).expect("a good topic");
    let sender = pair.sender.sender().expect("a sender opens");
    let datagram = forge::whole(&forge::payload(BAR, 7, 1, b"from eCAL 5"));
    let destination = SocketAddrV4::new(Ipv4Addr::new(239, 0, 0, 2), PORT);
    sender.send(&[Transmit { destination, parts: [&datagram, &[], &[]] }]).expect("it is sent");
    let message = subscriber.recv_timeout(HANG).expect("it arrives");
    assert_eq!(&message.payload[..], b"from eCAL 5");
}

/// A subscriber that eCAL 5.13 registered gets what we send, whatever its settings are, and is reported if they may
/// differ from ours.
fn ecal_5_is_reached(config: Config, reports: usize) {
    logged::start();
    let pair = Pair::memory(TransportMode::Network);
    let (node, injector) = pair.node(config);
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let mut base = pair.sender.receiver(PORT).expect("a receiver opens");
    base.membership().join(BASE).expect("a group can be joined");
    let registration = include_bytes!("../../proto/tests/data/ecal-5.13.4-subscriber.bin");
    register(&injector, registration.to_vec());
    wait::until_eq("subscribers", &1, || publisher.subscriber_count());
    publisher.send(b"to eCAL 5").expect("it is sent");
    expect(&mut *base, b"to eCAL 5");
    register(&injector, forge::subscriber(info("marker", TOPIC)));
    wait::until_eq("subscribers", &2, || publisher.subscriber_count());
    let lines = logged::warnings("is of eCAL 5");
    assert_eq!(lines.len(), reports, "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("config_version: v1")), "{lines:#?}");
}

/// Waits for a datagram that ends with these bytes.
#[track_caller]
fn expect(receiver: &mut dyn ferrocal_transport::Receiver, end: &[u8]) {
    let mut is_there = false;
    while !is_there {
        let mut has_come = false;
        let sink = &mut |datagram: Datagram<'_>| {
            has_come = true;
            is_there |= datagram.bytes.ends_with(end);
        };
        receiver.recv(Wait::sleep(HANG), sink).expect("it receives");
        assert!(has_come, "nothing comes");
    }
}

fn ecal_6_with(version: &str, mask: &str, config: Config) {
    let world = World::new(Mode::Network);
    let mut config = config.mode(TransportMode::Network);
    config.udp.interfaces = ours::config(&world, world.here()).udp.interfaces;
    exchange(&world, &[&format!("--config-version={version}"), &format!("--mask={mask}")], config);
}

fn ours_use_the_topics_group() {
    let pair = Pair::memory(TransportMode::Network);
    let (node, _injector) = pair.node(Config::default());
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let mut own = pair.sender.receiver(PORT).expect("a receiver opens");
    own.membership().join(Ipv4Addr::new(239, 0, 0, 7)).expect("a group can be joined");
    assert!(publisher.wait_for_subscriber(HANG));
    publisher.send(b"among ourselves").expect("it is sent");
    expect(&mut *own, b"among ourselves");
    assert_eq!(&subscriber.recv_timeout(HANG).expect("it arrives").payload[..], b"among ourselves");
}

fn an_unregistered_publisher_is_reported() {
    let (node, injector) = node(brisk());
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    register(&injector, forge::publisher(info("forged", TOPIC)));
    let mut clock = 0;
    let line = wait::until_some("a report", || {
        clock += 1;
        for publisher in [1, 2] {
            injector.payload(&[forge::whole(&forge::payload(TOPIC, publisher, clock, b"x"))]);
            subscriber.recv_timeout(HANG).expect("it arrives");
        }
        logged::warnings("not registered here").pop()
    });
    assert!(line.contains("topic `hello`: messages come from publisher 2 on forged"), "{line}");
    assert_eq!(logged::warnings("not registered here").len(), 1, "the other one is registered");
}

fn a_lonely_subscriber_is_reported() {
    let (node, injector) = node(brisk());
    register(&injector, forge::publisher(info("forged", "helo")));
    wait::until_eq("peers", &1, || node.status().peers);
    let _subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let line = wait::until_some("a line", || logged::lines(Level::Info, "topic `hello`").pop());
    for text in ["this subscriber has no publisher", "publishers of `helo`", "network mode", "14000"] {
        assert!(line.contains(text), "{line}");
    }
}

fn a_lonely_publisher_is_reported() {
    let (node, injector) = node(brisk());
    let mut reader = info("forged", TOPIC);
    reader.layers[0].enabled = false;
    register(&injector, forge::subscriber(reader));
    wait::until_eq("peers", &1, || node.status().peers);
    let _publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let line = wait::until_some("a line", || logged::lines(Level::Info, "topic `hello`").pop());
    assert!(line.contains("this publisher has no subscriber"), "{line}");
    assert!(line.contains("1 on this topic cannot be reached"), "{line}");
    // Once only: the second publisher is refreshed after the first one.
    let _other = node.publisher::<[u8]>("other").expect("a good topic");
    wait::until("another line", || !logged::lines(Level::Info, "topic `other`").is_empty());
    assert_eq!(logged::lines(Level::Info, "topic `hello`").len(), 1);
}
