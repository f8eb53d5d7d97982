//! A node's memory does not grow while it runs: as many bytes are in use after some messages as after ten times more.

use std::cell::Cell;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrocal::transport::memory::Network;
use ferrocal::{Config, Mode, Node};
use ferrocal_integration_tests::counting::Counting;
use ferrocal_integration_tests::pair::Pair;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Test};
use ferrocal_integration_tests::{forge, wait};

fn main() -> ExitCode {
    suite::main(vec![
        Test::new("the_count_sees_a_leak", &[], the_count_sees_a_leak),
        Test::new("messages", &[], messages),
        Test::new("messages_on_sockets", &[], messages_on_sockets),
        Test::new("lossy_traffic", &[], lossy_traffic),
        Test::new("peers_that_come_and_leave", &[], || peers(true)),
        Test::new("peers_that_come_and_vanish", &[], || peers(false)),
        Test::new("peers_whose_types_change", &[], peers_whose_types_change),
        Test::new("a_flood_of_peers_stays_within_the_limits", &[], a_flood_of_peers),
        Test::new("damaged_and_foreign_traffic", &[], damaged_traffic),
        Test::new("publishers_and_subscribers_of_its_own", &[], own_entities),
        Test::new("nodes", &[], nodes),
    ])
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What tables and buffers may vary by: less than a leak of one small allocation a time would come to.
const SLACK: i64 = 64 * 1024;

/// Runs `some` a number of times to fill tables and buffers, then ten times as often, and checks that no more memory
/// is in use after that. `settle` waits until nothing is under way.
///
/// A table keeps the size it once had, and how many peers are there at once is a matter of speed. So it may still grow,
/// but not time and again as a leak does.
#[track_caller]
fn check(times: u32, mut some: impl FnMut(u32), mut settle: impl FnMut()) {
    // A leak of 16 bytes a time has to show.
    assert!(10 * i64::from(times) * 16 > SLACK, "too few times to tell");
    (0..times).for_each(&mut some);
    settle();
    let mut grown = Vec::new();
    for round in 0..3 {
        let before = in_use();
        (times * (10 * round + 1)..times * (10 * round + 11)).for_each(&mut some);
        settle();
        // What is under way is freed sooner or later. What stays is a leak.
        let start = Instant::now();
        let mut more = in_use() - before;
        while more >= SLACK && start.elapsed() < HANG {
            more = in_use() - before;
        }
        if more < SLACK {
            return;
        }
        grown.push(more);
    }
    panic!("more bytes are in use after each round: {grown:?}");
}

/// The bytes in use, without what is needed for a moment only.
fn in_use() -> i64 {
    let now = || {
        std::thread::sleep(Duration::from_millis(10));
        Counting::in_use()
    };
    (0..20).map(|_| now()).min().expect("a number of times")
}

fn the_count_sees_a_leak() {
    let before = in_use();
    (0..10_000).for_each(|_| std::mem::forget(vec![0u8; 16]));
    assert!(in_use() - before >= SLACK, "a leak of 16 bytes a time was not seen");
}

/// Settings with which registrations are frequent.
fn config(mode: Mode) -> Config {
    let mut config = Config::default().mode(mode);
    config.registration.refresh = Duration::from_millis(10);
    config.registration.timeout = HANG;
    config.limits.max_publishers_per_subscriber = 16;
    config.subscriber.queue_len = 16;
    config
}

/// Settings with which incomplete messages are not kept for long. On a busy machine, that may end complete ones, too.
fn impatient(mode: Mode) -> Config {
    let mut config = config(mode);
    config.limits.reassembly.timeout = Duration::from_millis(100);
    config
}

fn messages() {
    let network = Network::new(1);
    exchange([&network.host(), &network.host()].map(|host| {
        Node::with_transport("node", config(Mode::Network), Arc::new(host.clone())).expect("a node opens")
    }));
}

fn messages_on_sockets() {
    exchange([0, 1].map(|_| Node::with_config("node", config(Mode::Local)).expect("a node opens")));
}

/// Messages of one datagram and of several, taken out at once.
fn exchange([sender, receiver]: [Node; 2]) {
    let publisher = sender.publisher::<[u8]>("hello").expect("a good topic");
    let subscriber = receiver.subscriber::<[u8]>("hello").expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG));
    let send = |n: u32| {
        let message = vec![0; if n.is_multiple_of(10) { 150_000 } else { 50 }];
        publisher.send(&message).expect("a message is sent");
        let message = subscriber.recv_timeout(HANG).expect("it arrives");
        assert_eq!(message.clock, i64::from(n) + 1);
    };
    // The memory of long messages is kept for a second or two, to be used again.
    check(2000, send, || std::thread::sleep(Duration::from_millis(2500)));
}

fn lossy_traffic() {
    let network = Network::new(7).with_loss(0.05).with_reordering(0.2).with_duplication(0.1);
    let hosts = [network.host(), network.host()];
    let [sender, receiver] = hosts.map(|host| {
        Node::with_transport("node", impatient(Mode::Network), Arc::new(host)).expect("a node opens")
    });
    let publisher = sender.publisher::<[u8]>("hello").expect("a good topic");
    // Nobody takes anything out while messages come, so the queue is full.
    let subscriber = receiver.subscriber::<[u8]>("hello").expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG));
    let send = |n: u32| {
        publisher.send(&vec![0; if n.is_multiple_of(2) { 150_000 } else { 50 }]).expect("a message is sent")
    };
    check(2000, send, || {
        let mut last = None;
        wait::until("everything was received or given up", || {
            // Incomplete messages are looked through once a second.
            std::thread::sleep(Duration::from_millis(1200));
            let now = Some((subscriber.stats(), receiver.status().drops));
            let settled = now == last;
            last = now;
            settled
        });
        // How many of those that wait are long ones is chance.
        while subscriber.try_recv().is_some() {}
    });
    let (stats, drops) = (subscriber.stats(), receiver.status().drops);
    assert!(stats.lost > 0 && stats.received > 0, "{stats:?}");
    // Which of the two comes first is a matter of speed.
    let given_up =
        [ferrocal::DropReason::Expired, ferrocal::DropReason::OverCap].map(|reason| drops.get(reason));
    assert!(given_up != [0, 0], "{drops:?}");
    assert!(drops.get(ferrocal::DropReason::Duplicate) > 0, "{drops:?}");
}

/// Publishers and subscribers of others, each on a topic of its own, one of them on a topic that this node has too.
fn peers(leave: bool) {
    let mut config = config(Mode::Network);
    if !leave {
        config.registration.timeout = Duration::from_millis(200);
    }
    let (node, injector) = Pair::memory(Mode::Network).node(config);
    let publisher = node.publisher::<[u8]>("hello").expect("a good topic");
    let subscriber = node.subscriber::<[u8]>("hello").expect("a good topic");
    let own = 2;
    wait::until_eq("own", &own, || node.status().peers);
    let sent = Cell::new(0);
    let come = |n: u32| {
        let topic = if n.is_multiple_of(2) { "hello".to_owned() } else { format!("topic {n}") };
        let info = |id: u64| forge::topic_info("forged", 7, u64::from(n) * 4 + id, &topic);
        let mut datagrams = Vec::new();
        for _ in 0..2 {
            datagrams.push(forge::whole(&forge::publisher(info(1))));
            datagrams.push(forge::whole(&forge::subscriber(info(2))));
        }
        injector.registration(&datagrams);
        injector.payload(&[forge::whole(&forge::payload(&topic, u64::from(n) * 4 + 1, 1, b"x"))]);
        sent.set(sent.get() + 1);
        if leave {
            injector.registration(&[
                forge::whole(&forge::publisher_gone(info(1))),
                forge::whole(&forge::subscriber_gone(info(2))),
            ]);
        }
        if n % 100 == 99 {
            wait::until("they are gone", || node.status().peers <= own);
            // What waits in the network takes memory, too.
            wait::until_eq("messages", &sent.get(), || {
                node.status().unsubscribed + subscriber.stats().received
            });
        }
    };
    // More at once than will ever be again, as tables keep the size they once had.
    (1_000_000..1_001_000).filter(|n| n % 100 != 99).for_each(come);
    check(2000, come, || {
        wait::until_eq("peers", &own, || node.status().peers);
        wait::until_eq("connections", &(1, 1), || {
            (publisher.subscriber_count(), subscriber.publisher_count())
        });
    });
    assert!(subscriber.stats().received > 0);
}

/// While nobody takes out the events and changes that this makes.
fn peers_whose_types_change() {
    let mut config = config(Mode::Network);
    config.limits.max_registry_bytes = 1 << 20;
    let (node, injector) = Pair::memory(Mode::Network).node(config);
    let monitor = node.monitor();
    let subscriber = node.subscriber::<[u8]>("hello").expect("a good topic");
    let (events, changes) = (subscriber.events(), monitor.changes());
    let change = |n: u32| {
        let mut info = forge::topic_info("forged", 7, 1, "hello");
        info.data_type.name = format!("demo.Type{n}");
        info.data_type.descriptor = n.to_le_bytes().repeat(1000).into();
        injector.registration(&[forge::whole(&forge::publisher(info))]);
        if n % 100 == 99 {
            wait::until("its newest type is known", || {
                let publishers = monitor.snapshot().publishers;
                publishers.iter().any(|seen| seen.info.data_type.name == format!("demo.Type{n}"))
            });
        }
    };
    check(2000, change, || {});
    assert!(events.dropped() > 0 && changes.dropped() > 0, "{} {}", events.dropped(), changes.dropped());
}

/// 100 000 topics, with long names, types and parameters, while a publisher's messages go on.
fn a_flood_of_peers() {
    const PEERS: u64 = 100_000;
    const MAX_BYTES: usize = 8 << 20;
    /// The registries' tables, that of the monitor, and what waits for who follows its changes.
    const TABLES: i64 = 4;
    let mut config = config(Mode::Network);
    config.limits.max_registry_bytes = MAX_BYTES;
    let pair = Pair::memory(Mode::Network);
    let (node, injector) = pair.node(config.clone());
    let monitor = node.monitor();
    let changes = monitor.changes();
    let subscriber = node.subscriber::<[u8]>("hello").expect("a good topic");
    // It hears of them, too.
    let sender = Node::with_transport("sender", config, pair.sender.clone()).expect("a node opens");
    let publisher = sender.publisher::<[u8]>("hello").expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));
    let before = in_use();
    let mut peak = before;
    for n in 0..PEERS {
        let mut info = forge::topic_info("forged", 7, n, &format!("topic {n} {}", "t".repeat(1000)));
        info.data_type.descriptor = vec![0; 5000].into();
        let process = ferrocal_proto::ProcessInfo {
            host_name: "forged".into(),
            process_id: i32::try_from(n).expect("not that many"),
            process_parameter: "x".repeat(5000).into(),
            ..ferrocal_proto::ProcessInfo::default()
        };
        let message = match n % 4 {
            0 => forge::process(process),
            1 => forge::subscriber(info),
            _ => forge::publisher(info),
        };
        injector.registration(&[forge::whole(&message)]);
        if n % 500 == 499 {
            // Counted once all before it has been taken in.
            injector.registration(&[Vec::new()]);
            for node in [&node, &sender] {
                wait::until_eq("empty datagrams", &(n / 500 + 1), || {
                    node.status().drops.get(ferrocal::DropReason::Truncated)
                });
            }
            publisher.send(b"on time").expect("a message is sent");
            subscriber.recv_timeout(HANG).expect("messages of others arrive");
            peak = peak.max(Counting::in_use());
        }
    }
    let status = node.status();

    assert!(peak - before < TABLES * MAX_BYTES as i64, "{} bytes: {status:?}", peak - before);
    assert!(status.registry_bytes <= MAX_BYTES, "{status:?}");
    assert!(status.drops.get(ferrocal::DropReason::RegistryFull) > PEERS / 2, "{status:?}");
    assert!(monitor.refused() > PEERS / 2 && changes.dropped() > 0, "{}", monitor.refused());
    assert_eq!((subscriber.publisher_count(), subscriber.stats().lost), (1, 0));
}

fn damaged_traffic() {
    let (node, injector) = Pair::memory(Mode::Network).node(impatient(Mode::Network));
    let subscriber = node.subscriber::<[u8]>("hello").expect("a good topic");
    let send = |n: u32| {
        let id = n.cast_signed();
        let garbage = vec![n as u8; n as usize % 100];
        let datagrams = [
            garbage.clone(),
            forge::whole(&garbage),
            forge::info(id, 3, 3000),
            forge::fragment(id, 0, &[0; 1000]),
            forge::fragment(id, 2, &[0; 1000]),
        ];
        injector.payload(&datagrams);
        injector.registration(&datagrams);
        injector.payload(&[forge::whole(&forge::payload("hello", u64::from(n), 1, b"x"))]);
        let message = subscriber.recv_timeout(HANG).expect("it arrives");
        assert_eq!(message.publisher.id.get(), u64::from(n));
    };
    check(1000, send, || {
        let mut last = 0;
        wait::until("the incomplete are given up", || {
            std::thread::sleep(Duration::from_millis(1200));
            let now = node.status().drops.total();
            now == std::mem::replace(&mut last, now)
        });
    });
}

fn own_entities() {
    let network = Network::new(1);
    let [node, other] = [network.host(), network.host()].map(|host| {
        Node::with_transport("node", config(Mode::Network), Arc::new(host)).expect("a node opens")
    });
    let stays = other.subscriber::<[u8]>("hello").expect("a good topic");
    let create = |n: u32| {
        let publisher = node.publisher::<[u8]>("hello").expect("a good topic");
        let subscriber = node.subscriber::<[u8]>(&format!("topic {n}")).expect("a good topic");
        publisher.send(b"maybe").expect("that is no error");
        if n.is_multiple_of(50) {
            assert!(publisher.wait_for_subscriber(HANG));
        }
        drop((publisher, subscriber));
        if n.is_multiple_of(50) {
            wait::until_eq("peers", &(1, 1), || (node.status().peers, other.status().peers));
            while stays.try_recv().is_some() {}
        }
    };
    check(500, create, || {
        wait::until_eq("peers", &(1, 1), || (node.status().peers, other.status().peers));
        while stays.try_recv().is_some() {}
    });
}

fn nodes() {
    let network = Network::new(1);
    let hosts = [network.host(), network.host()];
    let open = |host: usize| {
        Node::with_transport("node", config(Mode::Network), Arc::new(hosts[host].clone()))
            .expect("a node opens")
    };
    let stays = open(0);
    let subscriber = stays.subscriber::<[u8]>("hello").expect("a good topic");
    let create = |n: u32| {
        let node = open(1);
        let publisher = node.publisher::<[u8]>("hello").expect("a good topic");
        if n.is_multiple_of(50) {
            assert!(publisher.wait_for_subscriber(HANG));
            publisher.send(b"x").expect("a message is sent");
            assert!(subscriber.recv_timeout(HANG).is_ok());
        }
    };
    check(500, create, || wait::until_eq("peers", &1, || stays.status().peers));
}
