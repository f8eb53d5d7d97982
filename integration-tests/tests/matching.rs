//! Who finds whom: at the second registration, in any order, as configured, and no longer than it lasts.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ferrocal::transport::memory::Network;
use ferrocal::{Config, Mode as TransportMode, Node};
use ferrocal_integration_tests::netns::FIRST_ADDRESS;
use ferrocal_integration_tests::pair::Pair;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{forge, ours, wait};
use ferrocal_transport::{Config as TransportConfig, SocketTransport};

fn main() -> ExitCode {
    let mut tests = Vec::new();
    let mut test = |name: &str, body: fn()| tests.push(Test::new(name, &[], body));
    test("the_second_registration_connects", the_second_registration_connects);
    test("any_order_in_memory", any_order_in_memory);
    test("a_vanished_peer_is_forgotten_and_found_again", a_vanished_peer_is_forgotten_and_found_again);
    test("a_forged_peer_times_out", a_forged_peer_times_out);
    test("without_loopback_a_process_does_not_meet_itself", without_loopback);
    test("other_hosts_are_ignored_in_local_mode", other_hosts_are_ignored_in_local_mode);
    test("datagrams_of_other_hosts_are_dropped_in_local_mode", datagrams_of_other_hosts_are_dropped);
    test("without_multicast_loopback_only_other_hosts_are_reached", without_multicast_loopback);
    test("nodes_of_one_process_keep_apart", nodes_of_one_process_keep_apart);
    test("closing_one_node_of_a_process_leaves_the_others_matched", closing_one_node_of_a_process);
    for mode in Mode::ALL {
        let name = |name: &str| format!("{name}::{}", mode.name());
        tests.push(Test::new(name("any_order_on_sockets"), &[], move || any_order_on_sockets(mode)));
        tests.push(Test::new(name("closing_is_told_at_once"), &[], move || closing_is_told_at_once(mode)));
    }
    suite::main(tests)
}

/// Sockets on loopback.
fn sockets() -> Pair {
    Pair::on_loopback(Arc::new(SocketTransport::new(TransportConfig::default())))
}

const TOPIC: &str = "hello";

/// Settings with which nobody announces itself a second time by itself, and nobody is given up.
fn quiet() -> Config {
    let mut config = Config::default();
    config.registration.refresh = Duration::from_secs(3600);
    config.registration.timeout = Duration::from_secs(7200);
    config
}

/// Settings with which things happen fast, though no peer expires because the machine is busy for a moment.
fn brisk() -> Config {
    let mut config = Config::default().mode(TransportMode::Network);
    config.registration.refresh = Duration::from_millis(50);
    config.registration.timeout = Duration::from_secs(3);
    config
}

fn the_second_registration_connects() {
    let (node, injector) = Pair::memory(TransportMode::Network).node(quiet());
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let subscriber = node.subscriber::<[u8]>("other").expect("a good topic");
    let own = 2;
    wait::until_eq("own registrations", &own, || node.status().peers);

    let info = || forge::topic_info("forged", 7, 1, TOPIC);
    injector.registration(&[forge::whole(&forge::subscriber(info()))]);
    wait::until_eq("peers", &(own + 1), || node.status().peers);
    assert_eq!(publisher.subscriber_count(), 0, "one registration is not enough");
    injector.registration(&[forge::whole(&forge::subscriber(info()))]);
    wait::until_eq("subscribers", &1, || publisher.subscriber_count());

    let info = || forge::topic_info("forged", 7, 2, "other");
    injector.registration(&[forge::whole(&forge::publisher(info()))]);
    wait::until_eq("peers", &(own + 2), || node.status().peers);
    assert_eq!(subscriber.publisher_count(), 0, "one registration is not enough");
    injector.registration(&[forge::whole(&forge::publisher(info()))]);
    wait::until_eq("publishers", &1, || subscriber.publisher_count());

    // Who says that it leaves is gone at once, and has to be seen twice again.
    injector.registration(&[forge::whole(&forge::publisher_gone(info()))]);
    wait::until_eq("publishers", &0, || subscriber.publisher_count());
    injector.registration(&[forge::whole(&forge::publisher(info()))]);
    wait::until_eq("peers", &(own + 2), || node.status().peers);
    assert_eq!(subscriber.publisher_count(), 0, "one registration is not enough");
}

fn any_order_in_memory() {
    for publisher_first in [true, false] {
        let network = Network::new(1);
        let (first, second) = (network.host(), network.host());
        let config = Config::default().mode(TransportMode::Network);
        let open = |name, host| Node::with_transport(name, config.clone(), Arc::new(host));
        let (first, second) =
            (open("first", first).expect("a node opens"), open("second", second).expect("a node opens"));
        check_order(&first, &second, publisher_first);
    }
}

fn any_order_on_sockets(mode: Mode) {
    for publisher_first in [true, false] {
        let world = World::new(mode);
        let first = ours::node(&world, world.here(), "first");
        let second = ours::node(&world, world.there(), "second");
        check_order(&first, &second, publisher_first);
    }
}

/// A publisher on the one node and a subscriber on the other find each other, and a message arrives.
fn check_order(first: &Node, second: &Node, publisher_first: bool) {
    let (publisher, subscriber) = if publisher_first {
        let publisher = first.publisher::<[u8]>(TOPIC).expect("a good topic");
        // It has been seen before the other one comes.
        wait::until("the publisher is known", || second.status().peers == 1);
        (publisher, second.subscriber::<[u8]>(TOPIC).expect("a good topic"))
    } else {
        let subscriber = second.subscriber::<[u8]>(TOPIC).expect("a good topic");
        wait::until("the subscriber is known", || first.status().peers == 1);
        (first.publisher::<[u8]>(TOPIC).expect("a good topic"), subscriber)
    };
    assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));
    publisher.send(b"found").expect("a message is sent");
    let message = subscriber.recv_timeout(HANG).expect("it arrives");
    assert_eq!((message.clock, &message.payload[..]), (1, &b"found"[..]));
    assert_eq!(message.publisher.id, publisher.id());
}

fn a_vanished_peer_is_forgotten_and_found_again() {
    let network = Network::new(1);
    let [first, second] = ["first", "second"]
        .map(|name| Node::with_transport(name, brisk(), Arc::new(network.host())).expect("a node opens"));
    let publisher = first.publisher::<[u8]>(TOPIC).expect("a good topic");
    let subscriber = second.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let connections = || (publisher.subscriber_count(), subscriber.publisher_count());
    for round in 1..=3 {
        wait::until_eq("connections", &(1, 1), connections);
        publisher.send(b"found").expect("a message is sent");
        let message = subscriber.recv_timeout(HANG).expect("it arrives");
        assert_eq!(message.clock, 2 * round - 1);
        let cut = network.clone().with_loss(1.0);
        wait::until_eq("connections across a cut", &(0, 0), connections);
        // Each node knows its own half, too, which it may have heard of later than of the other's.
        wait::until_eq("peers across a cut", &(0, 0), || (first.status().peers, second.status().peers));
        publisher.send(b"to nobody").expect("that is no error");
        drop(cut.with_loss(0.0));
    }
}

fn a_forged_peer_times_out() {
    let (node, injector) = Pair::memory(TransportMode::Network).node(brisk());
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let registration = || forge::whole(&forge::subscriber(forge::topic_info("forged", 7, 1, TOPIC)));
    for _ in 0..2 {
        injector.registration(&[registration(), registration()]);
        wait::until_eq("subscribers", &1, || publisher.subscriber_count());
        wait::until_eq("subscribers after the timeout", &0, || publisher.subscriber_count());
        assert_eq!(node.status().peers, 1, "its own publisher is refreshed, and stays");
    }
}

fn without_loopback() {
    let mut config = brisk();
    config.registration.loopback = false;
    let (node, injector) = Pair::memory(TransportMode::Network).node(config);
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    // What is its own comes first, so it has been passed over when these two are matched.
    wait::until("others are matched", || {
        let (host, process) = ("forged", std::process::id().cast_signed());
        injector.registration(&[
            forge::whole(&forge::subscriber(forge::topic_info(host, process, 1, TOPIC))),
            forge::whole(&forge::publisher(forge::topic_info(host, process, 2, TOPIC))),
        ]);
        publisher.subscriber_count() > 0 && subscriber.publisher_count() > 0
    });
    assert_eq!((publisher.subscriber_count(), subscriber.publisher_count()), (1, 1));
    assert_eq!(node.status().peers, 2);
}

fn other_hosts_are_ignored_in_local_mode() {
    let (node, injector) = Pair::memory(TransportMode::Local).node(quiet());
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let own = 1;
    wait::until_eq("own registrations", &own, || node.status().peers);
    let foreign = || forge::whole(&forge::subscriber(forge::topic_info("elsewhere", 7, 1, TOPIC)));
    let local = |id| {
        let info = forge::topic_info("elsewhere", 7, id, TOPIC);
        forge::whole(&forge::subscriber(forge::on_this_host(info)))
    };
    injector.registration(&[foreign(), foreign(), foreign(), local(2), local(2)]);
    wait::until_eq("subscribers", &1, || publisher.subscriber_count());
    assert_eq!(node.status().peers, own + 1, "the one of another host was passed over");
    assert_eq!(node.status().drops.total(), 0, "it is no fault either");
}

/// Whatever their registration says: what comes from another host's address is not looked at.
fn datagrams_of_other_hosts_are_dropped() {
    let world = World::new(Mode::Network);
    let node = Node::with_config("ours", Config::default()).expect("a node opens");
    let _subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    wait::until_eq("own registrations", &1, || node.status().peers);
    let info = forge::on_this_host(forge::topic_info("", 7, 1, TOPIC));
    let datagram = forge::whole(&forge::subscriber(info));
    world.there().run(|| {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket opens");
        for port in [14_000, 14_002] {
            socket.send_to(&datagram, (FIRST_ADDRESS, port)).expect("a datagram is sent");
        }
    });
    wait::until_eq("datagrams of other hosts", &2, || node.status().receive_drops.other_host);
    assert_eq!((node.status().peers, node.status().drops.total()), (1, 0));
}

fn without_multicast_loopback() {
    let world = World::new(Mode::Network);
    let mut config = ours::config(&world, world.here());
    config.udp.loopback = false;
    let silent = Node::with_config("silent", config).expect("a node opens");
    let same_host = ours::node(&world, world.here(), "same host");
    let other_host = ours::node(&world, world.there(), "other host");
    let _publisher = silent.publisher::<[u8]>(TOPIC).expect("a good topic");
    let near = same_host.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let far = other_host.subscriber::<[u8]>(TOPIC).expect("a good topic");
    assert!(far.wait_for_publisher(HANG));
    // That took two registrations, of which the same host has heard none: it knows of the two subscribers alone.
    wait::until_eq("peers on the same host", &2, || same_host.status().peers);
    assert_eq!(near.publisher_count(), 0);
}

fn nodes_of_one_process_keep_apart() {
    let world = World::new(Mode::Network);
    // On the ports of network mode it would be heard there too, as it is with eCAL.
    let mut config = Config::default();
    config.registration.local_port = 25_000;
    config.udp.port = 25_002;
    let local = Node::with_config("local", config).expect("a node opens");
    let network = ours::node(&world, world.here(), "network");
    let mut config = ours::config(&world, world.here());
    config.registration.network_port = 24_000;
    config.udp.port = 24_002;
    config.limits.reassembly.max_message_len = 1000;
    let elsewhere = Node::with_config("other ports", config).expect("a node opens");

    let nodes = [("local", &local), ("network", &network), ("elsewhere", &elsewhere)];
    let pairs = nodes.map(|(name, node)| {
        let publisher = node.publisher::<str>(TOPIC).expect("a good topic");
        (name, publisher, node.subscriber::<str>(TOPIC).expect("a good topic"))
    });
    for (name, publisher, subscriber) in &pairs {
        assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG), "{name}");
    }
    for (name, publisher, _) in &pairs {
        publisher.send(name).expect("a message is sent");
    }
    for (name, publisher, subscriber) in &pairs {
        assert_eq!(subscriber.recv_timeout(HANG).expect("it arrives").payload, *name);
        assert_eq!((publisher.subscriber_count(), subscriber.publisher_count()), (1, 1), "{name}");
    }
    let long = "x".repeat(2000);
    for (name, publisher, subscriber) in &pairs {
        let sent = publisher.send(&long);
        assert_eq!(sent.is_ok(), *name != "elsewhere", "{sent:?}");
        if sent.is_ok() {
            assert_eq!(subscriber.recv_timeout(HANG).expect("it arrives").payload, long);
        }
        assert_eq!(subscriber.try_recv().map(|message| message.payload), None, "{name}");
    }
    for (name, node) in nodes {
        assert_eq!(node.status().peers, 2, "{name} knows its own publisher and subscriber alone");
    }
}

fn closing_one_node_of_a_process() {
    let world = World::new(Mode::Local);
    let mut config = quiet();
    config.registration.refresh = Duration::from_millis(100);
    let open = |name| Node::with_config(name, config.clone()).expect("a node opens");
    let (stays, observer) = (open("stays"), open("observes"));
    let publisher = stays.publisher::<[u8]>(TOPIC).expect("a good topic");
    let subscriber = observer.subscriber::<[u8]>(TOPIC).expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));
    // A peer that says nothing again, so that nothing but the closing can change what is known of it.
    let injector = sockets().node(config.clone()).1;
    let info = || {
        let info = forge::topic_info("", std::process::id().cast_signed(), 1, "other");
        forge::whole(&forge::publisher(forge::on_this_host(info)))
    };
    let other = observer.subscriber::<[u8]>("other").expect("a good topic");
    injector.registration(&[info(), info()]);
    wait::until_eq("publishers", &1, || other.publisher_count());

    let closes = ours::node(&world, world.here(), "closes");
    let closing = closes.publisher::<[u8]>("closing").expect("a good topic");
    let observed = observer.subscriber::<[u8]>("closing").expect("a good topic");
    assert!(observed.wait_for_publisher(HANG) && closing.wait_for_subscriber(HANG));
    drop(closing);
    drop(closes);
    wait::until_eq("publishers of the node that closed", &0, || observed.publisher_count());
    // Whatever the closing node said last is heard before what comes now.
    let marker = stays.publisher::<[u8]>("closing").expect("a good topic");
    assert!(observed.wait_for_publisher(HANG));
    assert_eq!(marker.topic(), "closing");
    assert_eq!(other.publisher_count(), 1, "what belongs to another node of the process stays");
    assert_eq!(subscriber.publisher_count(), 1);
}

fn closing_is_told_at_once(mode: Mode) {
    let world = World::new(mode);
    let mut config = ours::config(&world, world.here());
    config.registration.timeout = Duration::from_secs(3600);
    let stays = Node::with_config("stays", config).expect("a node opens");
    let publisher = stays.publisher::<[u8]>("to").expect("a good topic");
    let subscriber = stays.subscriber::<[u8]>("from").expect("a good topic");
    let connections = || (publisher.subscriber_count(), subscriber.publisher_count());
    for _ in 0..3 {
        let leaves = ours::node(&world, world.there(), "leaves");
        let to = leaves.subscriber::<[u8]>("to").expect("a good topic");
        let from = leaves.publisher::<[u8]>("from").expect("a good topic");
        wait::until_eq("connections", &(1, 1), connections);
        assert!(from.wait_for_subscriber(HANG));
        drop(to);
        wait::until_eq("connections without a subscriber", &(0, 1), connections);
        // A node lives as long as what was made from it.
        drop(leaves);
        from.send(b"still here").expect("a message is sent");
        assert_eq!(subscriber.recv_timeout(HANG).expect("it arrives").payload, b"still here"[..]);
        drop(from);
        wait::until_eq("connections without a publisher", &(0, 0), connections);
    }
}
