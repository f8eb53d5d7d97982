//! Who is connected to whom: under rate limits, delays, floods, and changes.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ferrocal::transport::memory::Network;
use ferrocal::transport::{Receiver, Transmit, Transport, Wait};
use ferrocal::{
    DataType, DropReason, EntityId, LimitsConfig, Node, PublisherConfig, RegistrationConfig, SubscriberConfig,
};
use ferrocal_proto::{Action, Announcement, Header, Registration};

use super::faulty::{Fate, Faulty};
use super::forge::{self, Forger};
use super::wait::{HANG, until, within_hang};
use super::{config, logged, node};

const PORT: u16 = 14_000;

/// Reads the registrations of all nodes.
struct Listener(Box<dyn Receiver>);

impl Listener {
    fn new(network: &Network) -> Self {
        let receiver = network.host().receiver(PORT).unwrap();
        receiver.membership().join(config().udp.network.group).unwrap();
        Self(receiver)
    }

    /// Passes registrations to `done` until it returns `true`.
    fn read_until(&mut self, mut done: impl FnMut(Registration) -> bool) {
        let start = Instant::now();
        let mut is_done = false;
        while !is_done {
            assert!(start.elapsed() < HANG, "it hangs");
            let sink = &mut |datagram: ferrocal::transport::Datagram<'_>| {
                let (_, message) = Header::parse(datagram.bytes).unwrap();
                is_done |= done(Registration::decode(message).unwrap());
            };
            self.0.recv(Wait::sleep(HANG), sink).unwrap();
        }
    }
}

#[test]
fn a_rate_limit_delays_neither_registrations_nor_drops() {
    const ENTITIES: usize = 50;
    within_hang(|| {
        let network = Network::new(1);
        let mut listener = Listener::new(&network);
        let config = config().max_bytes_per_second(NonZeroU64::MIN);
        let node = Node::with_transport("limited", config, Arc::new(network.host())).unwrap();
        let limited = PublisherConfig::default().max_bytes_per_second(NonZeroU64::MIN);
        let publishers: Vec<_> = (0..ENTITIES)
            .map(|number| node.publisher_with::<[u8]>(&format!("a{number}"), limited.clone()).unwrap())
            .collect();
        let subscribers: Vec<_> =
            (0..ENTITIES).map(|number| node.subscriber::<[u8]>(&format!("b{number}")).unwrap()).collect();
        let mut seen: HashMap<EntityId, (u32, bool)> = publishers
            .iter()
            .map(|publisher| publisher.id())
            .chain(subscribers.iter().map(|subscriber| subscriber.id()))
            .map(|id| (id, (0, false)))
            .collect();
        // Payload that has to wait, and shall not hold up the others.
        let sending = node.publisher::<[u8]>("long").unwrap();
        let _receiving = node.subscriber::<[u8]>("long").unwrap();
        assert!(sending.wait_for_subscriber(HANG));
        thread::spawn(move || sending.send(&[0; 100_000]));
        drop((publishers, subscribers));
        listener.read_until(|Registration { action, announcement }| {
            if let Announcement::Publisher(info) | Announcement::Subscriber(info) = announcement
                && let Some((times, is_gone)) = seen.get_mut(&info.topic_id)
            {
                match action {
                    Action::Register => *times += 1,
                    Action::Unregister => *is_gone = true,
                }
            }
            seen.values().all(|&(times, is_gone)| times >= 2 && is_gone)
        });
    });
}

/// A publisher's topic and connections, if this is a registration of one.
fn connections(datagram: &Transmit<'_>) -> Option<(String, i32)> {
    if datagram.destination.port() != PORT {
        return None;
    }
    let registration = Registration::decode(&datagram.parts[1..].concat()).ok()?;
    match registration.announcement {
        Announcement::Publisher(info) => {
            Some((info.topic_name.to_string(), info.connections_local + info.connections_external))
        }
        _ => None,
    }
}

#[test]
fn peers_whose_registrations_wait_in_the_socket_do_not_expire() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    const TOPICS: usize = 20;
    for receive_buffer_len in [0, 1 << 20] {
        within_hang(move || {
            let network = Network::new(1);
            let registration =
                RegistrationConfig::default().refresh(Duration::from_millis(50)).timeout(TIMEOUT);
            let config = config().registration(registration);
            let hold_up = Arc::new(AtomicBool::new(false));
            // The connections that were registered last, and how often there were fewer than before.
            let connected = Arc::new(Mutex::new(HashMap::<String, i32>::new()));
            let dips = Arc::new(AtomicUsize::new(0));
            let registered = Arc::new(AtomicUsize::new(0));
            let transport = Faulty::new(&network).receive_buffer_len(receive_buffer_len);
            let transport = transport.on_receive({
                let hold_up = hold_up.clone();
                move |port| {
                    if port == PORT && hold_up.load(Ordering::SeqCst) {
                        // As a busy system would.
                        thread::sleep(TIMEOUT + TIMEOUT / 4);
                        hold_up.store(false, Ordering::SeqCst);
                    }
                }
            });
            let transport = transport.on_send({
                let (connected, dips, registered) = (connected.clone(), dips.clone(), registered.clone());
                move |datagram| {
                    if let Some((topic, connections)) = connections(datagram) {
                        let before = connected.lock().unwrap().insert(topic, connections);
                        dips.fetch_add(usize::from(before > Some(connections)), Ordering::SeqCst);
                        registered.fetch_add(1, Ordering::SeqCst);
                    }
                    Fate::Send
                }
            });
            let late = Node::with_transport("late", config.clone(), Arc::new(transport)).unwrap();
            let other = Node::with_transport("other", config, Arc::new(network.host())).unwrap();
            let topics: Vec<_> = (0..TOPICS).map(|number| format!("topic {number}")).collect();
            let publishers: Vec<_> =
                topics.iter().map(|topic| late.publisher::<str>(topic).unwrap()).collect();
            let _subscribers: Vec<_> =
                topics.iter().map(|topic| other.subscriber::<str>(topic).unwrap()).collect();
            until("all connections are registered", || {
                connected.lock().unwrap().values().filter(|&&connections| connections == 1).count() == TOPICS
            });
            hold_up.store(true, Ordering::SeqCst);
            until("the receiver was held up", || !hold_up.load(Ordering::SeqCst));
            let before = registered.load(Ordering::SeqCst);
            until("it goes on", || registered.load(Ordering::SeqCst) >= before + 3 * TOPICS);
            assert_eq!(dips.load(Ordering::SeqCst), 0, "{receive_buffer_len}");
            assert!(publishers.iter().all(|publisher| publisher.subscriber_count() == 1));
        });
    }
}

#[test]
fn a_changed_property_of_a_process_interrupts_no_connection() {
    const PEERS: u64 = 300;
    within_hang(|| {
        let network = Network::new(1);
        let config = config().registration(RegistrationConfig::default().timeout(2 * HANG));
        let node = Node::with_transport("node", config, Arc::new(network.host())).unwrap();
        let publisher = node.publisher::<str>("topic").unwrap();
        let forger = Forger::new(&network);
        let is_done = AtomicBool::new(false);
        let dips = thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let (mut last, mut dips) = (0, 0);
                while !is_done.load(Ordering::SeqCst) {
                    let count = publisher.subscriber_count();
                    dips += usize::from(count < last);
                    last = count;
                }
                dips
            });
            for id in 1..=PEERS {
                // The ends of two registrations of the process: with segments joined, and without.
                for version in ["ferrocal 1", "ferrocal 1", "ferrocal 1 +gro", "ferrocal 1"] {
                    forger.register(forge::process(id, version));
                    forger.register(Announcement::Subscriber(forge::topic("topic", id)));
                }
            }
            let all = publisher.wait_for_subscribers(PEERS as usize, HANG);
            is_done.store(true, Ordering::SeqCst);
            assert!(all);
            watch.join().unwrap()
        });
        assert_eq!(dips, 0);
    });
}

/// Floods the registry of a node; returns it and what it refused.
fn flood(limits: LimitsConfig, name_len: usize, peers: u64) -> (ferrocal::Status, u64) {
    let network = Network::new(1);
    let config = config().limits(limits);
    let flooded = Node::with_transport("flooded", config, Arc::new(network.host())).unwrap();
    let publisher = flooded.publisher::<str>("old").unwrap();
    let other = node(&network);
    let subscriber = other.subscriber::<str>("old").unwrap();
    assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));

    let forger = Forger::new(&network);
    let name = "x".repeat(name_len);
    for id in 1..=peers {
        forger.register(Announcement::Publisher(forge::topic(&format!("{name}{id}"), id)));
    }
    let refused = || flooded.status().drops.get(DropReason::RegistryFull);
    let known_before = 2;
    until("all were looked at", || flooded.status().peers as u64 + refused() >= known_before + peers);
    assert_eq!(publisher.subscriber_count(), 1);
    publisher.send("still there").unwrap();
    assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload, "still there");
    (flooded.status(), refused())
}

#[test]
fn the_memory_of_the_registry_is_bounded() {
    const MAX_BYTES: usize = 2 << 20;
    within_hang(|| {
        let limits = LimitsConfig::default().max_registry_bytes(MAX_BYTES);
        let (status, refused) = flood(limits, 60_000, 100);
        assert!(status.registry_bytes <= MAX_BYTES && status.registry_bytes > MAX_BYTES / 2, "{status:?}");
        assert!((60..100).contains(&refused), "{refused}");
    });
}

#[test]
fn the_number_of_peers_is_bounded() {
    within_hang(|| {
        let (status, refused) = flood(LimitsConfig::default().max_peers(10), 10, 20);
        assert_eq!((status.peers, refused), (10, 12));
        assert_eq!(status.drops.get(DropReason::OverCap), 0, "that is of incomplete messages");
    });
}

#[test]
fn a_conflict_of_data_types_is_logged_once_by_each_side() {
    logged::start();
    within_hang(|| {
        const TOPIC: &str = "a topic of two types";
        let network = Network::new(1);
        let registration = RegistrationConfig::default().refresh(Duration::from_millis(20));
        let config = config().registration(registration);
        let [a, b] = ["a", "b"]
            .map(|name| Node::with_transport(name, config.clone(), Arc::new(network.host())).unwrap());
        let data_type = DataType { name: "robots.Pose".into(), ..DataType::default() };
        let publisher = a.publisher::<str>(TOPIC).unwrap();
        let typed = SubscriberConfig::default().data_type(data_type);
        let subscriber = b.subscriber_with::<[u8]>(TOPIC, typed).unwrap();
        assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));
        publisher.send("connected all the same").unwrap();
        subscriber.recv_timeout(HANG).unwrap();
        let mut refreshes = 0;
        Listener::new(&network).read_until(|registration| {
            refreshes += usize::from(matches!(registration.announcement, Announcement::Publisher(_)));
            refreshes > 10
        });
        let logged = |type_name| logged::count(&["WARN", TOPIC, "`string`", type_name]);
        until("both sides log it", || logged("`robots.Pose`") >= 2);

        // One that comes when the publisher is known.
        let data_type = DataType { name: "robots.Twist".into(), ..DataType::default() };
        let typed = SubscriberConfig::default().data_type(data_type);
        let later = b.subscriber_with::<[u8]>(TOPIC, typed).unwrap();
        assert_eq!(later.publisher_count(), 1);
        until("both sides log it", || logged("`robots.Twist`") >= 2);
        assert_eq!((logged("`robots.Pose`"), logged("`robots.Twist`")), (2, 2));
    });
}

#[test]
fn waiting_for_several_subscribers() {
    within_hang(|| {
        let network = Network::new(1);
        let node = node(&network);
        let publisher = node.publisher::<str>("topic").unwrap();
        let _first = node.subscriber::<str>("topic").unwrap();
        assert!(publisher.wait_for_subscribers(1, HANG));
        assert!(!publisher.wait_for_subscribers(2, Duration::ZERO));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| publisher.wait_for_subscribers(2, HANG));
            let _second = node.subscriber::<str>("topic").unwrap();
            assert!(waiting.join().unwrap());
        });
        until("one is gone", || publisher.subscriber_count() == 1);
    });
}

#[test]
fn nodes_whose_topics_have_other_groups_reach_each_other() {
    let network = Network::new(1);
    let masked = |mask: [u8; 4]| {
        let config = config().udp(config().udp.mask(Ipv4Addr::from(mask)));
        Node::with_transport("node", config, Arc::new(network.host())).unwrap()
    };
    let (wide, narrow) = (masked([255, 255, 255, 0]), node(&network));
    // Other topics in the other direction: the subscribers of the first may not be gone for all by then.
    for (publishing, subscribing, topics) in [(&wide, &narrow, 0..8), (&narrow, &wide, 8..16)] {
        for topic in topics {
            let subscriber = subscribing.subscriber::<str>(&format!("topic {topic}")).unwrap();
            let publisher = publishing.publisher::<str>(&format!("topic {topic}")).unwrap();
            assert!(publisher.wait_for_subscriber(HANG));
            publisher.send("hello").unwrap();
            assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload, "hello");
        }
    }
}

/// A peer that comes and goes without end has a node announce itself no more often than it would in any case.
#[test]
fn who_comes_and_goes_is_not_answered_each_time() {
    /// In milliseconds.
    const ANSWER_EVERY: u128 = 20;
    const TIMES: usize = 1000;
    /// Process and subscriber, twice.
    const SENT_AT_ONCE: u128 = 4;
    within_hang(|| {
        let network = Network::new(1);
        let sent = Arc::new(AtomicUsize::new(0));
        let transport = Faulty::new(&network).on_send({
            let sent = sent.clone();
            move |_| {
                sent.fetch_add(1, Ordering::SeqCst);
                Fate::Send
            }
        });
        let node = Node::with_transport("asked", config(), Arc::new(transport)).unwrap();
        let subscriber = node.subscriber::<[u8]>("topic").unwrap();
        let forger = Forger::new(&network);
        let peer = || Announcement::Publisher(forge::topic("topic", 1));
        let start = Instant::now();
        sent.store(0, Ordering::SeqCst);
        for _ in 0..TIMES {
            // The first one may be an old one that comes late.
            (0..2).for_each(|_| forger.register(peer()));
            forger.unregister(peer());
        }
        // Some of them find the buffer full.
        until("they were read", || {
            forger.register(Announcement::Publisher(forge::topic("topic", 2)));
            subscriber.publishers().iter().any(|peer| peer.id == EntityId::from_wire("2"))
        });
        let sent = sent.load(Ordering::SeqCst) as u128;
        let elapsed = start.elapsed().as_millis();
        // And once for each second.
        let most = (elapsed / ANSWER_EVERY + elapsed / 1000 + 4) * SENT_AT_ONCE;
        assert!(sent <= most, "{sent} registrations in {elapsed} ms");
    });
}
