//! Peers that lie, that say nothing, and that are slow.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use ferrocal::{Config, DropReason, Node, TcpStatus};
use ferrocal_integration_tests::descriptors::Limited;
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_proto::TCP_HANDSHAKE;

use super::forged::{Forger, Peer, frame, port_of};
use super::tcp_only;

/// Bounds a hang.
const HANG: Duration = Duration::from_secs(60);
const TOPIC: &str = "trouble";

/// Settings with which peers need not register again, and are waited for as long as that.
fn config(world: &World, patience: Duration) -> Config {
    let mut config: Config = tcp_only(ours::config(world, world.here()));
    config.registration.timeout = Duration::from_secs(10_000);
    config.tcp.connect_timeout = patience;
    config.tcp.write_timeout = patience;
    config
}

fn node(world: &World, patience: Duration) -> Node {
    Node::with_config("troubled", config(world, patience)).expect("a node opens")
}

const IMPATIENT: Duration = Duration::from_millis(200);

fn status(node: &Node) -> TcpStatus {
    node.status().tcp.expect("the layer is there")
}

fn dropped(node: &Node, reason: DropReason) -> u64 {
    node.status().drops.get(reason)
}

/// Of a publisher of ours.
pub(crate) fn hostile_subscribers() {
    let world = World::new(Mode::Local);
    let node = node(&world, HANG);
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    let forger = Forger::new();
    (0..2).for_each(|_| forger.subscriber(1, TOPIC));
    assert!(publisher.wait_for_subscriber(HANG));
    let port = port_of(&node, TOPIC);

    // One says nothing. The others do not wait for it.
    let _silent = Peer::connect(port);
    // A body of 2^64 - 1 bytes, a header that is too short, payload in place of a handshake.
    for bytes in
        [&[12, 0, 1, 0, 255, 255, 255, 255, 255, 255, 255, 255][..], &[1, 0], &frame(1, TOPIC, 1, b"payload")]
    {
        let mut peer = Peer::connect(port);
        peer.write(bytes);
        peer.expect_closed();
    }
    assert_eq!(dropped(&node, DropReason::TooLong), 2);
    assert_eq!(dropped(&node, DropReason::BadSample), 1);
    // What is skipped, in place of a handshake: empty frames, and one of an unknown kind that is 2^63 - 1 bytes long.
    let empty = [12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].repeat(200);
    let unknown = [&[12, 0, 9, 0, 255, 255, 255, 255, 255, 255, 255, 127][..], &[0; 2000]].concat();
    for bytes in [empty, unknown] {
        let mut peer = Peer::connect(port);
        peer.write(&bytes);
        peer.expect_closed();
    }
    assert_eq!(dropped(&node, DropReason::TooLong), 4);
    // More than a handshake.
    let mut talkative = Peer::connect(port);
    talkative.shake_hands();
    talkative.write(&TCP_HANDSHAKE);
    talkative.expect_closed();
    assert_eq!(dropped(&node, DropReason::UnexpectedSample), 1);

    let mut bytewise = Peer::connect(port);
    bytewise.write_bytewise(&TCP_HANDSHAKE);
    assert!(bytewise.frame().is_some());
    publisher.send(b"to who is good").expect("it is sent");
    assert_eq!(bytewise.message(), Some((1, b"to who is good".to_vec())));
    drop(bytewise);
    wait::until_eq("connections", &1, || status(&node).subscribers);

    let node = self::node(&world, IMPATIENT);
    let publisher = node.publisher::<[u8]>("impatient").expect("a good name");
    (0..2).for_each(|_| forger.subscriber(1, "impatient"));
    assert!(publisher.wait_for_subscriber(HANG));
    Peer::connect(port_of(&node, "impatient")).expect_closed();
    wait::until_eq("its end", &(1, 0), || (status(&node).timed_out, status(&node).subscribers));
}

/// Of a subscriber of ours.
pub(crate) fn hostile_publishers() {
    let world = World::new(Mode::Local);
    let node = node(&world, HANG);
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good name");
    let forger = Forger::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // Each registration makes a connection, once the one before has ended. It may not have been noticed.
    let connect = |before: u64| {
        wait::until("the end of the connection before", || status(&node).publishers == before);
        forger.publisher(1, TOPIC, port);
        Peer::accept(&listener)
    };

    let mut short = frame(1, TOPIC, 1, b"payload");
    short.truncate(short.len() - 1);
    short[4] -= 1;
    let mut foreign = frame(1, TOPIC, 1, b"payload");
    foreign[12..16].copy_from_slice(b"LACE");
    let cases = [
        (vec![12, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255], DropReason::TooLong),
        (vec![0, 0], DropReason::BadSample),
        (short, DropReason::LengthMismatch),
        (foreign, DropReason::ForeignMagic),
        (frame(2, TOPIC, 1, b"of somebody else"), DropReason::UnexpectedSample),
        (vec![12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1], DropReason::UnknownVersion),
    ];
    for (bytes, reason) in cases {
        let before = dropped(&node, reason);
        let mut peer = connect(0);
        assert!(peer.frame().is_some(), "the handshake");
        peer.write(&bytes);
        peer.expect_closed();
        assert_eq!(dropped(&node, reason), before + 1, "{reason:?}");
    }

    // A good one, a byte at a time, with a header of a later version.
    let mut good = connect(0);
    assert!(good.frame().is_some());
    let mut message = frame(1, TOPIC, 1, b"good");
    message.splice(12..12, [9; 4]);
    message[0] = 16;
    good.write_bytewise(&TCP_HANDSHAKE);
    good.write_bytewise(&message);
    assert_eq!(subscriber.recv_timeout(HANG).expect("a message").payload, &b"good"[..]);

    // It is not connected to a second time while it is there, and again once it is gone.
    let monitor = node.monitor();
    forger.publisher(1, TOPIC, port);
    // Once that is known, the node is through with the one before. Later, it would be connected to for that.
    forger.publisher(2, "another", port);
    wait::until("the other publisher", || {
        monitor.snapshot().publishers.iter().any(|seen| seen.info.topic_name == *"another")
    });
    good.write(&frame(1, TOPIC, 2, &[7; 100_000]));
    assert_eq!(subscriber.recv_timeout(HANG).expect("a message").payload.len(), 100_000);
    assert_eq!(status(&node).publishers, 1);
    // What it begins and does not end is not delivered.
    good.write(&frame(1, TOPIC, 2_000, &[7; 100_000])[..50_000]);
    drop(good);
    let mut again = connect(0);
    again.write(&TCP_HANDSHAKE);
    again.write(&frame(1, TOPIC, 3, b"again"));
    assert_eq!(subscriber.recv_timeout(HANG).expect("a message").payload, &b"again"[..]);
    assert_eq!(subscriber.stats().received, 3);

    // Nobody reads any more.
    drop(subscriber);
    again.expect_closed();

    // One accepts, and says nothing.
    let node = self::node(&world, IMPATIENT);
    let _subscriber = node.subscriber::<[u8]>("impatient").expect("a good name");
    forger.publisher(1, "impatient", port);
    let mut silent = Peer::accept(&listener);
    assert!(silent.frame().is_some());
    silent.expect_closed();
    wait::until_eq("its end", &(1, 0), || (status(&node).timed_out, status(&node).publishers));

    // One begins a message, and does not go on.
    let mut config = self::config(&world, HANG);
    config.tcp.write_timeout = IMPATIENT;
    let node = Node::with_config("impatient", config).expect("a node opens");
    let _subscriber = node.subscriber::<[u8]>("begun").expect("a good name");
    forger.publisher(1, "begun", port);
    let mut stuck = Peer::accept(&listener);
    assert!(stuck.frame().is_some());
    stuck.write(&TCP_HANDSHAKE);
    stuck.write(&frame(1, "begun", 1, &[7; 100_000])[..50_000]);
    stuck.expect_closed();
    wait::until_eq("its end", &(1, 0), || (status(&node).timed_out, status(&node).publishers));
}

/// A publisher whose end somebody else has registered.
pub(crate) fn a_publisher_that_registers_again() {
    let world = World::new(Mode::Local);
    let node = node(&world, HANG);
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good name");
    let forger = Forger::new();
    let listeners = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port"));
    let ports = listeners.each_ref().map(|listener| listener.local_addr().expect("an address").port());
    let accept = |listener| {
        let mut peer = Peer::accept(listener);
        assert!(peer.frame().is_some(), "the handshake");
        peer.write(&TCP_HANDSHAKE);
        peer
    };
    let expect = |peer: &mut Peer, clock, payload: &[u8]| {
        peer.write(&frame(1, TOPIC, clock, payload));
        assert_eq!(subscriber.recv_timeout(HANG).expect("a message").payload, payload);
    };

    forger.publisher(1, TOPIC, ports[0]);
    let mut good = accept(&listeners[0]);
    expect(&mut good, 1, b"before");
    forger.publisher_gone(1, TOPIC, ports[0]);
    forger.publisher(1, TOPIC, ports[0]);
    // Once this one is connected to, the node is through with the first.
    forger.publisher(2, TOPIC, ports[0]);
    let _other = accept(&listeners[0]);
    expect(&mut good, 2, b"after");
    assert_eq!(status(&node).publishers, 2);

    // Elsewhere, it is another one.
    forger.publisher(1, TOPIC, ports[1]);
    let mut moved = accept(&listeners[1]);
    good.expect_closed();
    expect(&mut moved, 3, b"elsewhere");
    assert_eq!(status(&node).publishers, 2);
}

/// A subscriber that takes messages more slowly than they are sent, and then not at all.
pub(crate) fn a_slow_subscriber() {
    const COUNT: usize = 100;
    const LEN: usize = 1_000_000;
    let world = World::new(Mode::Local);
    let node = node(&world, HANG);
    let forger = Forger::new();
    for (topic, queue, loses) in [("latest", 0, true), ("all", COUNT * (LEN + 1000), false)] {
        let settings = node.config().publisher.clone().tcp_queue_bytes(queue);
        let publisher = node.publisher_with::<[u8]>(topic, settings).expect("a good name");
        (0..2).for_each(|_| forger.subscriber(1, topic));
        assert!(publisher.wait_for_subscriber(HANG));
        let mut slow = Peer::connect(port_of(&node, topic));
        slow.shake_hands();
        // Nothing is read meanwhile, and nobody waits for it.
        for number in 0..COUNT {
            publisher.send(&vec![number as u8; LEN]).expect("it is sent");
        }
        let overwritten = publisher.stats().overwritten;
        assert_eq!(overwritten > 0, loses, "{overwritten}");
        let mut clocks = Vec::new();
        while clocks.last() != Some(&(COUNT as i64)) {
            let (clock, payload) = slow.message().expect("the newest one comes");
            assert!(payload.len() == LEN && payload.iter().all(|byte| i64::from(*byte) == clock - 1));
            clocks.push(clock);
        }
        assert!(clocks.is_sorted());
        assert_eq!(clocks.len(), COUNT - overwritten as usize, "what did not come is counted");
    }

    let node = self::node(&world, IMPATIENT);
    let publisher = node.publisher::<[u8]>("never").expect("a good name");
    (0..2).for_each(|_| forger.subscriber(1, "never"));
    assert!(publisher.wait_for_subscriber(HANG));
    let mut stuck = Peer::connect(port_of(&node, "never"));
    stuck.shake_hands();
    wait::until_eq("the end of who takes nothing", &(1, 0), || {
        publisher.send(&vec![0; LEN]).expect("it is sent");
        (status(&node).timed_out, status(&node).subscribers)
    });
    publisher.send(b"to nobody").expect("it is sent");
    let taken = std::iter::from_fn(|| stuck.message()).count() as u64;
    let stats = publisher.stats();
    assert_eq!(
        taken + stats.overwritten + stats.not_sent,
        stats.published,
        "each is accounted for: {stats:?}"
    );
}

/// More connections than there may be, of subscribers and to publishers together.
pub(crate) fn too_many_connections() {
    const MAX: usize = 3;
    let world = World::new(Mode::Local);
    let mut config = config(&world, HANG);
    config.tcp.max_connections = MAX;
    let node = Node::with_config("full", config).expect("a node opens");
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    let _subscriber = node.subscriber::<[u8]>("of others").expect("a good name");
    let forger = Forger::new();
    (0..2).for_each(|_| forger.subscriber(1, TOPIC));
    assert!(publisher.wait_for_subscriber(HANG));
    let port = port_of(&node, TOPIC);
    let mut good: Vec<_> = (0..MAX).map(|_| Peer::connect(port)).collect();
    good.iter_mut().for_each(Peer::shake_hands);
    for refused in 1..=10 {
        Peer::connect(port).expect_closed();
        wait::until_eq("refused ones", &refused, || status(&node).refused);
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let other_port = listener.local_addr().expect("an address").port();
    // The newest of one topic makes room for another topic, but not for more of that than there are of its own.
    forger.publisher(2, "of others", other_port);
    let mut other = Peer::accept(&listener);
    assert!(other.frame().is_some(), "the handshake");
    good.pop().expect("there are some").expect_closed();
    forger.publisher(3, "of others", other_port);
    wait::until_eq("refused ones", &12, || status(&node).refused);
    wait::until_eq("connections", &(MAX as u64 - 1, 1), || {
        (status(&node).subscribers, status(&node).publishers)
    });
    publisher.send(b"to who came first").expect("it is sent");
    for peer in &mut good {
        assert_eq!(peer.message(), Some((1, b"to who came first".to_vec())));
    }
    // There is room again.
    good.pop();
    wait::until_eq("connections", &(MAX as u64 - 2), || status(&node).subscribers);
    forger.publisher(3, "of others", other_port);
    assert!(Peer::accept(&listener).frame().is_some(), "the handshake");
}

/// The program may need those that are left.
pub(crate) fn connections_leave_descriptors() {
    let world = World::new(Mode::Local);
    let node = node(&world, HANG);
    let publisher = node.publisher::<[u8]>(TOPIC).expect("a good name");
    let forger = Forger::new();
    (0..2).for_each(|_| forger.subscriber(1, TOPIC));
    assert!(publisher.wait_for_subscriber(HANG));
    let port = port_of(&node, TOPIC);
    let mut first = Peer::connect(port);
    first.shake_hands();
    let limit = Limited::the_last();
    let mut peers = Vec::new();
    let seen = || status(&node).subscribers + status(&node).refused;
    while status(&node).refused == 0 {
        let before = seen();
        peers.push(Peer::connect(port));
        wait::until("it is accepted or refused", || seen() > before);
    }
    // Nor are there any for connections to those that register.
    let _subscriber = node.subscriber::<[u8]>("other").expect("a good name");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let other = listener.local_addr().expect("an address").port();
    let refused = status(&node).refused;
    forger.publisher(2, "other", other);
    wait::until("it is not connected to", || status(&node).refused > refused);
    drop(limit);
    Peer::connect(port).shake_hands();
    assert_eq!(Peer::accept(&listener).frame(), None, "it was closed at once");
    forger.publisher(2, "other", other);
    assert!(Peer::accept(&listener).frame().is_some(), "the handshake");
}

/// Publishers that begin long messages and do not end them take no more memory than all may take together.
pub(crate) fn messages_that_never_end() {
    const MAX_BYTES: usize = 4_000_000;
    let world = World::new(Mode::Local);
    let mut config = config(&world, HANG);
    config.limits.reassembly.max_bytes = MAX_BYTES;
    let node = Node::with_config("patient", config).expect("a node opens");
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good name");
    let forger = Forger::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let connect = |id| {
        forger.publisher(id, TOPIC, port);
        let mut peer = Peer::accept(&listener);
        assert!(peer.frame().is_some(), "the handshake");
        peer.write(&TCP_HANDSHAKE);
        peer
    };
    let mut good = connect(1);
    for (count, id) in (1..).zip(2..6) {
        let mut endless = connect(id);
        // It is closed meanwhile.
        let _ = endless.stream.write_all(&frame(id, TOPIC, 1, &[0; 3 * MAX_BYTES])[..2 * MAX_BYTES]);
        endless.expect_closed();
        assert_eq!(dropped(&node, DropReason::OverCap), count);
    }
    good.write(&frame(1, TOPIC, 1, &[7; 100_000]));
    assert_eq!(subscriber.recv_timeout(HANG).expect("a message").payload.len(), 100_000);
}

/// Publishers that take nearly all memory for incomplete messages, and send nothing more.
pub(crate) fn messages_that_wait() {
    let world = World::new(Mode::Local);
    let mut config = config(&world, HANG);
    config.limits.reassembly.max_bytes = 6_400_000;
    let node = Node::with_config("patient", config).expect("a node opens");
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good name");
    let forger = Forger::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let connect = |id| {
        forger.publisher(id, TOPIC, port);
        let mut peer = Peer::accept(&listener);
        assert!(peer.frame().is_some(), "the handshake");
        peer.write(&TCP_HANDSHAKE);
        peer
    };
    let mut good = connect(1);
    // Each takes 2 MiB.
    let _silent = [2, 3, 4].map(|id| {
        let mut peer = connect(id);
        peer.write(&frame(id, TOPIC, 1, &[0; 3_000_000])[..1_500_000]);
        peer
    });
    let mut clock = 0;
    let mut send = || {
        clock += 1;
        good.write(&frame(1, TOPIC, clock, &[7; 300_000]));
        assert_eq!(subscriber.recv_timeout(HANG).expect("a message").clock, clock);
    };
    // None of these is given up for what waits.
    wait::until("the end of one of the others", || {
        send();
        dropped(&node, DropReason::OverCap) > 0
    });
    (0..10).for_each(|_| send());
    assert_eq!((dropped(&node, DropReason::OverCap), status(&node).publishers), (1, 3));
}
