//! Hosts and programs that fail: killed and started again in every order, stopped for longer than their time-outs, out of
//! descriptors, memory or buffers; networks that change within a message; clocks that step.
//!
//! What the others go on with is what is tested. `changing_networks` has what changes between two messages, `restart` the
//! real eCAL as the one that is killed, and the tests of the crate `ferrocal` what callbacks may do.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, UNIX_EPOCH};

use ferrocal::{Clock, Config, Message, Node, Subscriber, SubscriberConfig};
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::suite::{self, Test};
use ferrocal_integration_tests::usage::Usage;
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{ours, ramp, wait};
use rustix::process::Signal;
use serde_json::json;

mod used_up;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [word, mode, address, name, timeout_ms] if word == "peer" => {
            let mode = if mode == "local" { Mode::Local } else { Mode::Network };
            run_peer(mode, address.parse().ok(), name, timeout_ms.parse().expect("a number"));
            return ExitCode::SUCCESS;
        }
        [word, layer, queue_bytes] if word == used_up::HOARDER => {
            used_up::run_hoarder(layer, queue_bytes.parse().expect("a number"));
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let mut test = |name: &str, body: fn(Mode)| {
            tests.push(Test::new(format!("{name}::{}", mode.name()), &[], move || body(mode)));
        };
        test("killed_and_started_in_every_order", killed_and_started_in_every_order);
        test("the_same_host_name_and_process_id_again", the_same_host_name_and_process_id_again);
        test("stopped_for_longer_than_its_time_out", stopped_for_longer_than_its_time_out);
    }
    let mut test = |name: &str, body: fn()| tests.push(Test::new(name, &[], body));
    test("two_hosts_with_one_name", two_hosts_with_one_name);
    test("networks_that_change_within_a_message", networks_that_change_within_a_message);
    test("clocks_that_step", clocks_that_step);
    test("ten_thousand_publishers", ten_thousand_publishers);
    tests.extend(used_up::tests());
    suite::main(tests)
}

/// The topic that all peers publish and subscribe to.
const TOPIC: &str = "peers";

const REFRESH: Duration = Duration::from_millis(50);

/// The settings of a node whose peers are forgotten after a time of the test's choice.
fn config(mode: Mode, interface: Option<Ipv4Addr>, timeout: Duration) -> Config {
    let mut config = Config::default().mode(mode.into());
    config.udp.interfaces.extend(interface.map(Into::into));
    config.registration.refresh = REFRESH;
    config.registration.timeout = timeout;
    config
}

/// A program that publishes its name all the time, and says whose names it hears.
fn run_peer(mode: Mode, interface: Option<Ipv4Addr>, name: &str, timeout_ms: u64) {
    let config = config(mode, interface, Duration::from_millis(timeout_ms));
    let node = Node::with_config(name, config).expect("a node opens");
    let publisher = node.publisher::<str>(TOPIC).expect("a good topic");
    let mut heard = BTreeMap::new();
    let _subscription = node
        .subscribe::<str>(TOPIC, move |message| {
            let known = heard.insert(message.payload.clone(), message.publisher.id);
            if known != Some(message.publisher.id) {
                println!("{}", json!({ "event": "heard", "name": message.payload }));
            }
        })
        .expect("a good topic");
    std::thread::scope(|scope| {
        let (ended, has_ended) = mpsc::channel::<()>();
        scope.spawn(move || {
            while has_ended.recv_timeout(Duration::from_millis(10)) == Err(mpsc::RecvTimeoutError::Timeout) {
                publisher.send(name).expect("a message is sent");
            }
        });
        // Until the test closes it.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(ended);
    });
}

/// What there is to start peers of on a host.
struct Place<'a> {
    world: &'a World,
    host: Host,
}

impl Place<'_> {
    fn arguments(&self, name: &str, timeout: Duration) -> [String; 5] {
        let interface =
            if self.host == Host::first() { self.world.interface() } else { self.world.interface_there() };
        let interface = interface.map_or("none".to_owned(), |address| address.to_string());
        let mode = self.world.mode().name().to_owned();
        ["peer".to_owned(), mode, interface, name.to_owned(), timeout.as_millis().to_string()]
    }

    fn start(&self, name: &str, timeout: Duration) -> Process {
        let mut command = self.host.command(std::env::current_exe().expect("its path is known"));
        command.args(self.arguments(name, timeout));
        Process::spawn(name, command)
    }
}

#[track_caller]
fn expect_heard(process: &mut Process, name: &str) {
    process.expect(&format!("name of {name}"), |event| event["event"] == "heard" && event["name"] == name);
}

/// Two programs, each of which hears the other: one of them, then both, in every order of the kills and of the starts.
fn killed_and_started_in_every_order(mode: Mode) {
    let world = World::new(mode);
    let places = [world.here(), world.there()].map(|host| Place { world: &world, host });
    let mut count = 0;
    let mut start = |side: usize| {
        count += 1;
        let name = format!("{} {count}", ["left", "right"][side]);
        // Longer than the test: nothing of those that were killed runs out.
        (places[side].start(&name, HANG), name)
    };
    let mut sides = [0, 1].map(|side| Some(start(side)));
    let meet = |sides: &mut [Option<(Process, String)>; 2]| {
        let [Some((left, left_name)), Some((right, right_name))] = sides else { panic!("both run") };
        expect_heard(left, right_name);
        expect_heard(right, left_name);
    };
    meet(&mut sides);
    let orders: [(&[usize], &[usize]); 6] = [
        (&[0], &[0]),
        (&[1], &[1]),
        (&[0, 1], &[0, 1]),
        (&[0, 1], &[1, 0]),
        (&[1, 0], &[0, 1]),
        (&[1, 0], &[1, 0]),
    ];
    for (kills, starts) in orders {
        for &side in kills {
            sides[side].take().expect("it runs").0.kill();
        }
        for &side in starts {
            sides[side] = Some(start(side));
        }
        meet(&mut sides);
    }
}

/// A process of the same host name and id as the one before, which was killed and has not run out.
fn the_same_host_name_and_process_id_again(mode: Mode) {
    let world = World::new(mode);
    let node = Node::with_config("ours", config(mode, world.interface(), HANG)).expect("a node opens");
    let subscriber = node.subscriber::<str>(TOPIC).expect("a good topic");
    let place = Place { world: &world, host: world.there() };
    let mut ids = Vec::new();
    for round in 0..3 {
        let name = format!("round {round}");
        let mut command = place.host.command("unshare");
        command.args(["--pid", "--fork", "--kill-child", "--"]);
        command.arg(std::env::current_exe().expect("its path is known")).args(place.arguments(&name, HANG));
        let peer = Process::spawn(&name, command);
        let message = wait::until_some("a message of the new one", || {
            subscriber
                .try_recv()
                .filter(|message| message.payload == name && message.publisher.process_id.is_some())
        });
        assert_eq!(message.publisher.process_id, Some(1));
        assert_eq!(message.publisher.host_name, place.host.name());
        assert!(!ids.contains(&message.publisher.id), "{ids:?}");
        ids.push(message.publisher.id);
        peer.kill();
    }
    let stats = subscriber.stats();
    assert_eq!((stats.duplicate, stats.out_of_order), (0, 0), "{stats:?}");
}

/// As when a laptop's lid is closed: it neither hears nor says anything, and goes on where it was.
fn stopped_for_longer_than_its_time_out(mode: Mode) {
    const TIMEOUT: Duration = Duration::from_millis(500);
    let world = World::new(mode);
    let node = Node::with_config("ours", config(mode, world.interface(), TIMEOUT)).expect("a node opens");
    let publisher = node.publisher::<str>(TOPIC).expect("a good topic");
    let subscriber = node.subscriber::<str>(TOPIC).expect("a good topic");
    let mut peer = Place { world: &world, host: world.there() }.start("peer", TIMEOUT);
    let own = (1, 1);
    for round in 0..2 {
        let connections = || (publisher.subscriber_count(), subscriber.publisher_count());
        wait::until_eq("connections", &(2, 2), connections);
        let name = format!("round {round}");
        std::thread::scope(|scope| {
            let (ended, has_ended) = mpsc::channel::<()>();
            let (publisher, name) = (&publisher, &name);
            scope.spawn(move || {
                while has_ended.recv_timeout(REFRESH) == Err(mpsc::RecvTimeoutError::Timeout) {
                    publisher.send(name).expect("a message is sent");
                }
            });
            expect_heard(&mut peer, name);
            drop(ended);
        });
        // A message of the round before does not count.
        while subscriber.try_recv().is_some() {}
        wait::until("it is heard, too", || {
            subscriber.try_recv().is_some_and(|message| message.payload == "peer")
        });
        peer.signal(Signal::STOP);
        wait::until_eq("own connections", &own, connections);
        while subscriber.try_recv().is_some() {}
        publisher.send("while it is stopped").expect("a message is sent");
        peer.signal(Signal::CONT);
    }
    let stats = subscriber.stats();
    assert_eq!((stats.duplicate, stats.out_of_order), (0, 0), "{stats:?}");
}

/// Two hosts that were set up from one image. Here, even the process is the same.
fn two_hosts_with_one_name() {
    let world = World::new(Mode::Network);
    let renamed = world.there().command("hostname").arg(world.here().name()).status();
    assert!(renamed.expect("hostname runs").success());
    let nodes = [world.here(), world.there()].map(|host| (host, ours::node(&world, host, "same")));
    let received =
        nodes.each_ref().map(|(host, node)| host.run(|| ours::Subscriber::new(node, &["small", "large"])));
    for (_, node) in &nodes {
        let mut publisher = ours::Publisher::new(node, &[("small", 20), ("large", 3_000_000)]);
        publisher.expect_matched(2);
        publisher.send(3, 20.0);
        wait::until("they have left the publisher", || {
            received.iter().all(|one| one.stats("large").received >= 3)
        });
    }
    for received in &received {
        received.await_received(6);
        let rows = received.totals();
        assert_eq!(rows.len(), 4, "{rows:#?}");
        assert!(rows.iter().all(|row| (row.received, row.corrupt, row.dropped) == (3, 0, 0)), "{rows:#?}");
    }
}

/// What happens to the first host's network, and what has to happen after that for it to work again.
type Event = fn(&World);
const CHANGES: [(&str, Event, Event); 7] = [
    ("down and up", |_| ip("link set veth-a down"), |_| up("veth-a")),
    (
        "removed and made anew",
        |world| world.second().remove_link().unwrap(),
        |world| world.second().make_link().unwrap(),
    ),
    ("route", |_| ip("route del 239.0.0.0/8 dev veth-a"), |_| ip("route add 239.0.0.0/8 dev veth-a")),
    ("shorter packets", |_| ip("link set veth-a mtu 1000"), |_| ()),
    ("longer packets", |world| world.second().set_mtu(9000).unwrap(), |_| ()),
    (
        "address",
        |_| ip("addr flush dev veth-a"),
        |_| {
            ip("addr add 10.11.12.77/24 dev veth-a");
            ip("route add 239.0.0.0/8 dev veth-a");
        },
    ),
    (
        "name",
        |_| {
            ip("link set veth-a down");
            ip("link set veth-a name lan0");
        },
        |_| up("lan0"),
    ),
];

fn ip(arguments: &str) {
    Host::first().ip(arguments).unwrap_or_else(|error| panic!("{error}"));
}

fn up(link: &str) {
    ip(&format!("link set {link} up"));
    ip(&format!("route add 239.0.0.0/8 dev {link}"));
}

/// A long message is on its way in each direction when it happens. It may be lost; what arrives is right, and so is what is
/// sent afterwards.
fn networks_that_change_within_a_message() {
    /// Sent within a fifth of a second.
    const LEN: usize = 800_000;
    const RATE: u64 = 4_000_000;
    let world = World::new(Mode::Network);
    let nodes = [world.here(), world.there()].map(|host| {
        let mut config = ours::config(&world, host);
        config.publisher.max_bytes_per_second = std::num::NonZeroU64::new(RATE);
        (host, host.run(|| Node::with_config("node", config)).expect("a node opens"))
    });
    let table = ramp::Table::new(LEN);
    let sides: Vec<_> = [0, 1]
        .map(|from| {
            let topic = ["there", "back"][from];
            let publisher = nodes[from].1.publisher::<[u8]>(topic).expect("a good topic");
            let (host, node) = &nodes[1 - from];
            (publisher, host.run(|| node.subscriber::<[u8]>(topic)).expect("a good topic"))
        })
        .into();
    let take = |subscriber: &Subscriber<[u8]>| -> Option<Message<[u8]>> {
        let message = subscriber.try_recv()?;
        let number = message.clock.cast_unsigned() - 1;
        assert!(ramp::is(&message.payload, number, message.payload.len()), "message {number} is corrupt");
        Some(message)
    };
    for (what, change, mend) in CHANGES {
        wait::until(&format!("connections before {what}"), || {
            sides.iter().all(|(publisher, subscriber)| {
                publisher.subscriber_count() * subscriber.publisher_count() > 0
            })
        });
        let sent_by = |host: Host| host.counter("Udp:", "OutDatagrams").expect("a counter");
        let before = nodes.each_ref().map(|(host, _)| sent_by(*host));
        std::thread::scope(|scope| {
            for (publisher, _) in &sides {
                let send = || {
                    let number = publisher.stats().published;
                    publisher
                        .send(table.message(number, LEN))
                        .unwrap_or_else(|error| panic!("{what}: {error}"));
                };
                scope.spawn(send);
            }
            for ((host, _), before) in nodes.iter().zip(before) {
                wait::until("a part of it is sent", || sent_by(*host) > before + 20);
            }
            change(&world);
        });
        mend(&world);
        for (publisher, subscriber) in &sides {
            wait::until(&format!("a long message after {what}"), || {
                let number = publisher.stats().published;
                publisher.send(table.message(number, LEN)).unwrap_or_else(|error| panic!("{what}: {error}"));
                let mut newest = None;
                while let Some(message) = take(subscriber) {
                    newest = Some(message.clock.cast_unsigned() - 1);
                }
                newest >= Some(number)
            });
        }
    }
    for (publisher, subscriber) in &sides {
        let (sent, stats) = (publisher.stats(), subscriber.stats());
        assert_eq!((stats.duplicate, stats.out_of_order, stats.undecodable), (0, 0, 0), "{stats:?}");
        assert!(stats.received + stats.lost <= sent.published, "{sent:?} {stats:?}");
    }
}

/// The clock of the program steps back and forth, as far as it goes, while messages and registrations go on.
fn clocks_that_step() {
    let now = Arc::new(AtomicU64::new(1_700_000_000));
    let clock = {
        let now = now.clone();
        move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed))
    };
    let mut config = config(Mode::Local, None, HANG);
    config.clock = Clock::program(clock);
    let [sending, receiving] =
        ["sending", "receiving"].map(|name| Node::with_config(name, config.clone()).expect("a node opens"));
    let publisher = sending.publisher::<str>("topic").expect("a good topic");
    let subscriber = receiving.subscriber::<str>("topic").expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));
    let events = publisher.events();
    /// The latest that a message can hold, in microseconds; and the latest that Linux knows.
    const LATEST: u64 = i64::MAX as u64 / 1_000_000;
    const BEYOND: u64 = i64::MAX as u64;
    for seconds in [1_700_003_600, 1_699_996_400, 0, LATEST, 1_700_000_000, BEYOND, 0] {
        now.store(seconds, Ordering::Relaxed);
        for round in 0..20 {
            publisher.send("a message").expect("a message is sent");
            let message =
                subscriber.recv_timeout(HANG).unwrap_or_else(|error| panic!("{seconds}: {round}: {error}"));
            if seconds <= LATEST {
                assert_eq!(message.send_time, UNIX_EPOCH + Duration::from_secs(seconds));
            }
        }
        let (stats, sent) = (subscriber.stats(), publisher.stats());
        assert!(stats.frequency.is_finite() && sent.frequency.is_finite(), "{stats:?} {sent:?}");
    }
    // Something new is matched by its second registration: by then, both nodes have looked for peers that ran out.
    for (seconds, topic) in [(BEYOND, "beyond"), (0, "0")] {
        now.store(seconds, Ordering::Relaxed);
        let new_publisher = sending.publisher::<str>(topic).expect("a good topic");
        let new_subscriber = receiving.subscriber::<str>(topic).expect("a good topic");
        assert!(new_publisher.wait_for_subscriber(HANG) && new_subscriber.wait_for_publisher(HANG));
    }
    publisher.send("still connected").expect("a message is sent");
    assert_eq!(subscriber.recv_timeout(HANG).expect("it arrives").payload, "still connected");
    let kinds: Vec<_> = std::iter::from_fn(|| events.try_recv()).map(|event| event.kind).collect();
    assert_eq!(kinds, [ferrocal::EventKind::Connected], "nobody went meanwhile");
    let stats = subscriber.stats();
    assert_eq!((stats.lost, stats.duplicate, stats.out_of_order), (0, 0, 0), "{stats:?}");
}

/// Publishers and subscribers that come and go leave no descriptor, thread or memory behind.
fn ten_thousand_publishers() {
    const COUNT: u64 = 10_000;
    let mut config = config(Mode::Local, None, HANG);
    config.subscriber = SubscriberConfig::default().queue_len(16);
    let [node, other] =
        ["node", "other"].map(|name| Node::with_config(name, config.clone()).expect("a node opens"));
    let _stays = other.subscriber::<[u8]>("topic 0").expect("a good topic");
    let _own = node.subscriber::<[u8]>("stays").expect("a good topic");
    let create = |count: u64| {
        for number in 0..count {
            let topic = format!("topic {}", number % 100);
            let publisher = node.publisher::<[u8]>(&topic).expect("a good topic");
            publisher.send(&[0; 100]).expect("a message is sent");
            if number % 10 == 0 {
                drop(node.subscriber::<[u8]>(&topic).expect("a good topic"));
            }
            drop(publisher);
            // So that what a node has not read yet fits into its receive buffer.
            if number % 100 == 99 {
                wait::until_eq("peers", &[2, 2], || [node.status().peers, other.status().peers]);
            }
        }
    };
    let usage = || Usage::of(std::process::id());
    create(COUNT);
    let mut grown = Vec::new();
    // Tables keep the size they once had, and how many peers are there at once is a matter of speed.
    for _ in 0..3 {
        let before = usage();
        create(COUNT);
        // Some of what there was may end only now.
        wait::until_eq("descriptors and threads", &(before.descriptors, before.threads), || {
            let now = usage();
            (now.descriptors.max(before.descriptors), now.threads.max(before.threads))
        });
        let now = usage();
        // 50 bytes of each would show.
        if now.memory_kb < before.memory_kb + 500 {
            return;
        }
        grown.push((before, now));
    }
    panic!("it grows: {grown:?}");
}
