//! Peers that register nonsense: what a node, its monitor and others make of it.

use std::process::ExitCode;

use ferrocal::{ChangeKind, Config, DropReason, LatencyInfo, Registered, TopicInfo};
use ferrocal_integration_tests::pair::Pair;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Test};
use ferrocal_integration_tests::victim::{OTHER, TOPIC, Victim};
use ferrocal_integration_tests::{forge, wait};
use ferrocal_proto::{
    Action, Announcement, EntityId, PayloadSample, ProcessInfo, ProcessState, Registration, ServiceInfo,
};

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for (name, needs, make) in Pair::EACH {
        let mut test = |case: &str, body: fn(&Pair)| {
            tests.push(Test::new(format!("{case}::{name}"), needs, move || body(&make())));
        };
        test("a_type_that_changes_with_each_registration", changing_type);
        test("one_id_on_two_topics", one_id_on_two_topics);
        test("one_id_in_many_processes", one_id_in_many_processes);
        test("an_id_that_is_no_number", an_id_that_is_no_number);
        test("numbers_that_cannot_be", numbers_that_cannot_be);
        test("clocks_and_times_that_cannot_be", clocks_and_times_that_cannot_be);
        test("texts_of_the_greatest_length", texts_of_the_greatest_length);
        test("messages_that_are_sent_again", replayed_messages);
        test("registrations_that_are_sent_again", replayed_registrations);
        test("messages_of_the_silent_that_are_sent_again", messages_of_the_silent);
        test("a_peer_that_claims_this_nodes_identity", this_nodes_identity);
        test("a_peer_that_claims_anothers_identity", anothers_identity);
    }
    suite::main(tests)
}

fn hostile(id: u64) -> TopicInfo {
    forge::on_this_host(forge::topic_info("forged", 7, id, TOPIC))
}

fn number(id: u64) -> EntityId {
    EntityId::from_wire(id.to_string())
}

fn changing_type(pair: &Pair) {
    const TIMES: u64 = 500;
    const MAX_BYTES: usize = 200_000;
    let mut config = Config::default();
    config.limits.max_registry_bytes = MAX_BYTES;
    let mut victim = Victim::open(pair, config);
    // Nobody takes anything out of these.
    let (events, changes) = (victim.subscriber.events(), victim.monitor.changes());
    let before = victim.node.status();
    for time in 1..=TIMES {
        let mut info = hostile(1);
        info.data_type.name = format!("demo.Type{time}");
        info.data_type.descriptor = vec![time as u8; 10_000].into();
        victim.register(&forge::publisher(info));
        if time % 50 == 0 {
            let seen = victim.publisher(7, number(1), time);
            assert_eq!(seen.info.data_type.name, format!("demo.Type{time}"));
            victim.still_receives();
        }
    }
    let status = victim.node.status();
    assert_eq!((status.peers, status.drops.total()), (before.peers + 1, 0), "{status:?}");
    assert!(status.registry_bytes <= MAX_BYTES, "{status:?}");
    assert_eq!(victim.subscriber.publisher_count(), 1);
    assert!(events.dropped() > 0 && changes.dropped() > 0, "what waits is bounded, too");
    let newest = std::iter::from_fn(|| changes.try_recv()).last().expect("the newest ones are kept");
    assert_eq!(newest.kind, ChangeKind::Changed);
    let Registered::Publisher(info) = newest.what else { panic!("{newest:?}") };
    assert_eq!(info.data_type.name, format!("demo.Type{TIMES}"));
}

/// One entity cannot be on two topics: the newest registration counts.
fn one_id_on_two_topics(pair: &Pair) {
    const TIMES: u64 = 200;
    let mut victim = Victim::open(pair, Config::default());
    let before = victim.node.status().peers;
    for time in 1..=TIMES {
        let topic = if time % 2 == 0 { TOPIC } else { OTHER };
        victim.register(&forge::publisher(TopicInfo { topic_name: topic.into(), ..hostile(1) }));
        victim.publisher(7, number(1), time);
    }
    assert_eq!(victim.node.status().peers, before + 1);
    // Never twice in a row on one topic, so never connected.
    assert_eq!((victim.subscriber.publisher_count(), victim.other.publisher_count()), (0, 1));
    victim.still_receives();
    victim.register(&forge::publisher(hostile(1)));
    wait::until_eq("publishers", &1, || victim.subscriber.publisher_count());
    victim.register(&forge::publisher_gone(hostile(1)));
    wait::until_eq("publishers", &0, || victim.subscriber.publisher_count());
    victim.still_receives();
}

/// Who takes the id of another one is another one, as long as its process is.
fn one_id_in_many_processes(pair: &Pair) {
    const PROCESSES: i32 = 20;
    let mut victim = Victim::open(pair, Config::default());
    let before = victim.node.status().peers;
    let own = victim.subscriber.id().get();
    for process_id in 100..100 + PROCESSES {
        let info = || forge::topic_info("forged", process_id, own, TOPIC);
        for _ in 0..2 {
            victim.register(&forge::publisher(forge::on_this_host(info())));
            victim.register(&forge::subscriber(forge::on_this_host(info())));
        }
    }
    wait::until_eq("publishers", &(PROCESSES as usize), || victim.subscriber.publisher_count());
    wait::until_eq("peers", &(before + 2 * PROCESSES as usize), || victim.node.status().peers);
    victim.still_receives();
    for process_id in 100..100 + PROCESSES {
        let info = || forge::topic_info("forged", process_id, own, TOPIC);
        victim.register(&forge::publisher_gone(forge::on_this_host(info())));
        victim.register(&forge::subscriber_gone(forge::on_this_host(info())));
    }
    wait::until_eq("peers", &before, || victim.node.status().peers);
    assert_eq!(victim.subscriber.publisher_count(), 0);
    victim.still_receives();
}

/// eCAL 5 has such ids, and eCAL 6 cannot read them.
fn an_id_that_is_no_number(pair: &Pair) {
    const NUMBER: &[u8; 10] = b"7777777777";
    let mut victim = Victim::open(pair, Config::default());
    let with_id = |message: Vec<u8>, id: &[u8; 10]| {
        let at = message.windows(NUMBER.len()).position(|bytes| bytes == NUMBER).expect("its id is in it");
        [&message[..at], id, &message[at + NUMBER.len()..]].concat()
    };
    let ids: [&[u8; 10]; 4] =
        [b"no number!", b"-777777777", b"\xff\xfe\0\x01\x02\x03\x04\x05\x06\x07", b"1e10000000"];
    for (count, id) in (1..).zip(ids) {
        for _ in 0..2 {
            victim.register(&with_id(forge::publisher(hostile(7_777_777_777)), id));
        }
        victim.publisher(7, EntityId::from_wire(id), 2);
        wait::until_eq("publishers", &count, || victim.subscriber.publisher_count());
    }
    victim.still_receives();
    for id in ids {
        victim.register(&with_id(forge::publisher_gone(hostile(7_777_777_777)), id));
    }
    wait::until_eq("publishers", &0, || victim.subscriber.publisher_count());
    assert_eq!(victim.node.status().drops.total(), 0);
}

fn numbers_that_cannot_be(pair: &Pair) {
    let mut victim = Victim::open(pair, Config::default());
    let latency = |value| LatencyInfo {
        count: u64::MAX,
        latest_us: value,
        min_us: value,
        max_us: value,
        mean_us: value,
        sum_of_squares_us2: value,
    };
    let values = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MAX, -1.0];
    for (id, value) in (1..).zip(values) {
        let info = TopicInfo {
            registration_clock: i32::MIN,
            topic_size: i32::MIN,
            connections_local: i32::MIN,
            connections_external: -1,
            message_drops: i32::MIN,
            data_id: i64::MIN,
            data_clock: i64::MIN,
            data_frequency_mhz: i32::MIN,
            latency: Some(latency(value)),
            ..hostile(id)
        };
        for _ in 0..2 {
            victim.register(&forge::publisher(info.clone()));
        }
        let seen = victim.publisher(7, number(id), 2);
        let shown = seen.info.latency.is_some();
        assert_eq!(shown, value.is_finite(), "{seen:?}");
        assert_eq!((seen.info.topic_size, seen.info.data_clock), (i32::MIN, i64::MIN), "as it registered");
    }
    wait::until_eq("publishers", &values.len(), || victim.subscriber.publisher_count());
    // A process and a service whose numbers are no better.
    let process = ProcessInfo {
        process_id: i32::MIN,
        registration_clock: i32::MIN,
        component_init_state: i32::MIN,
        ..process()
    };
    let service = ServiceInfo {
        host_name: hostile(1).host_name,
        process_id: -1,
        service_id: number(1),
        ..ServiceInfo::default()
    };
    for announcement in [Announcement::Process(process), Announcement::Server(service)] {
        victim.register(&Registration { action: Action::Register, announcement }.encode());
    }
    wait::until("they are shown", || {
        let snapshot = victim.monitor.snapshot();
        snapshot.processes.iter().any(|seen| seen.info.process_id == i32::MIN) && snapshot.servers.len() == 1
    });
    assert_eq!(victim.node.status().drops.total(), 0);
    victim.still_receives();
}

/// A process on this host.
fn process() -> ProcessInfo {
    let TopicInfo { host_name, shm_transport_domain, .. } = hostile(1);
    ProcessInfo { host_name, shm_transport_domain, process_id: 7, ..ProcessInfo::default() }
}

fn clocks_and_times_that_cannot_be(pair: &Pair) {
    let mut victim = Victim::open(pair, Config::default());
    for _ in 0..2 {
        victim.register(&forge::publisher(hostile(1)));
    }
    wait::until_eq("publishers", &1, || victim.subscriber.publisher_count());
    let send = |clock: i64, time_us: i64| {
        let sample = PayloadSample {
            topic_name: TOPIC.as_bytes(),
            topic_id: b"1",
            host_name: &hostile(1).host_name,
            clock,
            time_us,
            hash: i64::MIN,
            payload: b"x",
        };
        let mut message = Vec::new();
        sample.encode_head(&mut message);
        message.extend_from_slice(b"x");
        victim.injector.payload(&[forge::whole(&message)]);
    };
    for (clock, time_us) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN)] {
        send(clock, time_us);
        let message = victim.subscriber.recv_timeout(HANG).expect("each is newer than the one before");
        assert_eq!(message.clock, clock);
    }
    // Whatever comes after the greatest clock is old, until its publisher is made anew.
    send(1, 1);
    wait::until_eq("late messages", &1, || victim.subscriber.stats().out_of_order);
    let stats = victim.subscriber.stats();
    assert_eq!(stats.received, 2, "{stats:?}");
    assert!(stats.frequency.is_finite(), "{stats:?}");
    let latency = stats.latency.expect("it received");
    let numbers = [latency.latest_us, latency.min_us, latency.max_us, latency.mean_us];
    assert!(numbers.into_iter().all(f64::is_finite), "{latency:?}");
    victim.still_receives();
}

/// Each text as long as it may be is stored; longer ones are counted, and nothing is stored of them.
fn texts_of_the_greatest_length(pair: &Pair) {
    const NAME: usize = 4096;
    const TEXT: usize = 65_536;
    let mut victim = Victim::open(pair, Config::default());
    let before = victim.node.status();
    let topic = |len: usize| TopicInfo {
        process_name: "p".repeat(len).into(),
        unit_name: "u".repeat(len).into(),
        ..hostile(1)
    };
    let with_parameter = |len: usize| ProcessInfo { process_parameter: "x".repeat(len).into(), ..process() };
    let register = |announcement| Registration { action: Action::Register, announcement }.encode();
    victim.register(&register(Announcement::Publisher(topic(NAME + 1))));
    let state = ProcessState { info: "x".repeat(TEXT + 1).into(), ..ProcessState::default() };
    victim.register(&register(Announcement::Process(ProcessInfo { state, ..process() })));
    wait::until_eq("texts that are too long", &2, || victim.node.status().drops.get(DropReason::TooLong));
    assert_eq!(victim.node.status().peers, before.peers);
    assert!(victim.monitor.snapshot().processes.iter().all(|seen| seen.info.process_id != 7));
    victim.register(&register(Announcement::Publisher(topic(NAME))));
    // Of a command line, the start is stored.
    victim.register(&register(Announcement::Process(with_parameter(TEXT + 1))));
    let seen = victim.publisher(7, number(1), 1);
    assert_eq!(seen.info.unit_name.len(), NAME);
    wait::until("the process is shown", || {
        let processes = victim.monitor.snapshot().processes;
        processes.iter().any(|seen| seen.info.process_parameter.len() == TEXT)
    });
    let status = victim.node.status();
    assert_eq!((status.peers, status.drops.total()), (before.peers + 1, 2), "{status:?}");
    assert!(status.registry_bytes >= before.registry_bytes + 2 * NAME, "they are charged: {status:?}");
    victim.still_receives();
}

/// Whoever sends what was sent before adds nothing to it, in whatever order and however late.
fn replayed_messages(pair: &Pair) {
    const MESSAGES: i64 = 200;
    let mut victim = Victim::open(pair, Config::default());
    for _ in 0..2 {
        victim.register(&forge::publisher(hostile(1)));
    }
    wait::until_eq("publishers", &1, || victim.subscriber.publisher_count());
    let send = |clock: i64| {
        let payload = forge::payload(TOPIC, 1, clock, &clock.to_le_bytes());
        victim.injector.payload(&[forge::whole(&payload)]);
    };
    let in_fragments = || {
        let message = forge::payload(TOPIC, 1, MESSAGES + 1, &[7; 3000]);
        let mut datagrams = vec![forge::info(5, 2, message.len() as u32)];
        datagrams
            .extend((0..).zip(message.chunks(2000)).map(|(number, chunk)| forge::fragment(5, number, chunk)));
        victim.injector.payload(&datagrams);
        datagrams.len() as u64
    };
    (1..=MESSAGES).for_each(send);
    let parts = in_fragments();
    wait::until_eq("messages", &(MESSAGES as u64 + 1), || victim.subscriber.stats().received);
    // All of them again, backwards, and the one in fragments.
    (1..=MESSAGES).rev().for_each(send);
    in_fragments();
    wait::until("they are counted", || {
        let stats = victim.subscriber.stats();
        stats.duplicate + stats.out_of_order == MESSAGES as u64
    });
    let drops = || victim.node.status().drops;
    wait::until_eq("fragments", &parts, || drops().get(DropReason::Duplicate));
    let stats = victim.subscriber.stats();
    // The newest is that in fragments. Of those before it, 127 are told apart.
    assert_eq!((stats.duplicate, stats.lost), (127, 0), "{stats:?}");
    let clocks: Vec<_> =
        std::iter::from_fn(|| victim.subscriber.try_recv()).map(|message| message.clock).collect();
    assert_eq!(clocks, (1..=MESSAGES + 1).collect::<Vec<_>>(), "each is delivered once");
    assert_eq!(drops().total(), parts);
    victim.still_receives();
}

/// The end of a publisher, recorded and sent when there is one again, cannot keep it away, and has nothing delivered twice.
fn replayed_registrations(pair: &Pair) {
    const TIMES: u64 = 100;
    let mut victim = Victim::open(pair, Config::default());
    let send = |victim: &Victim, clock: u64| {
        // The end is that of the publisher that sent it.
        let payload = forge::payload_from(&hostile(1).host_name, TOPIC, 1, clock.cast_signed(), b"x");
        victim.injector.payload(&[forge::whole(&payload)]);
    };
    let mut repeated = 0;
    for time in 1..=TIMES {
        for _ in 0..2 {
            victim.register(&forge::publisher(hostile(1)));
        }
        wait::until_eq("publishers", &1, || victim.subscriber.publisher_count());
        send(&victim, time);
        let message = victim.subscriber.recv_timeout(HANG).expect("it arrives");
        assert_eq!(message.clock, time.cast_signed());
        for _ in 0..2 {
            victim.register(&forge::publisher_gone(hostile(1)));
        }
        wait::until_eq("publishers", &0, || victim.subscriber.publisher_count());
        // All that it sent, too, and it counts as such.
        (1..=time).for_each(|clock| send(&victim, clock));
        repeated += time;
        wait::until_eq("repeated messages", &repeated, || victim.subscriber.stats().duplicate);
    }
    assert!(victim.subscriber.try_recv().is_none(), "{:?}", victim.subscriber.stats());
    assert_eq!((victim.node.status().drops.total(), victim.subscriber.stats().lost), (0, 0));
    victim.still_receives();
}

/// What is on its way twice is delivered once, even if its publisher is taken for gone between the two.
fn messages_of_the_silent(pair: &Pair) {
    let mut config = Config::default();
    config.registration.refresh = std::time::Duration::from_millis(20);
    config.registration.timeout = std::time::Duration::from_millis(200);
    let (node, injector) = pair.node(config);
    let subscriber = node.subscriber::<[u8]>(TOPIC).expect("a good topic");
    let send = |clock| {
        // As it registers.
        let payload = forge::payload_from(&hostile(1).host_name, TOPIC, 1, clock, b"x");
        injector.payload(&[forge::whole(&payload)]);
    };
    let connect = || {
        wait::until("a publisher", || {
            injector.registration(&[forge::whole(&forge::publisher(hostile(1)))]);
            subscriber.publisher_count() == 1
        });
    };
    let fall_silent = || wait::until_eq("publishers", &0, || subscriber.publisher_count());
    for clock in 1..=3 {
        send(clock);
        assert_eq!(subscriber.recv_timeout(HANG).expect("it arrives").clock, clock);
    }
    connect();
    fall_silent();
    (1..=3).for_each(send);
    wait::until_eq("repeated messages", &3, || subscriber.stats().duplicate);
    // It is there again. What it sent meanwhile was not for this subscriber.
    connect();
    send(10);
    assert_eq!(subscriber.recv_timeout(HANG).expect("it arrives").clock, 10);
    let stats = subscriber.stats();
    assert_eq!((stats.received, stats.lost, stats.out_of_order), (4, 0, 0), "{stats:?}");
}

/// eCAL has no authentication: one who poses as this node can disconnect what it has, but not for longer than until its next
/// refresh, and nothing else.
fn this_nodes_identity(pair: &Pair) {
    let mut config = Config::default();
    config.registration.refresh = std::time::Duration::from_millis(50);
    let mut victim = Victim::open(pair, config);
    let publisher = victim.node.publisher::<[u8]>(TOPIC).expect("a good topic");
    let connected = |victim: &Victim| {
        wait::until_eq("this node's own connections", &(1, 1), || {
            (publisher.subscriber_count(), victim.subscriber.publisher_count())
        });
    };
    connected(&victim);
    let process_id = i32::try_from(std::process::id()).expect("an id");
    let own = |id: EntityId, topic: &str| TopicInfo {
        topic_id: id,
        ..forge::on_this_host(forge::topic_info("forged", process_id, 0, topic))
    };
    let (publisher_id, subscriber_id) = (publisher.id(), victim.subscriber.id());
    let attacks = [
        forge::publisher_gone(own(publisher_id, TOPIC)),
        forge::subscriber_gone(own(subscriber_id, TOPIC)),
        // On another topic, in the other role, and with no layer.
        forge::publisher(own(publisher_id, OTHER)),
        forge::subscriber(own(subscriber_id, "elsewhere")),
        forge::publisher(own(subscriber_id, OTHER)),
        forge::subscriber(TopicInfo { layers: Vec::new(), ..own(subscriber_id, TOPIC) }),
        // The end of the process.
        Registration {
            action: Action::Unregister,
            announcement: Announcement::Process(ProcessInfo { process_id, ..process() }),
        }
        .encode(),
    ];
    for (time, attack) in (1..).zip(&attacks) {
        victim.register(attack);
        victim.register(attack);
        // Counted once all before it has been taken in.
        victim.injector.registration(&[Vec::new()]);
        let empty = || victim.node.status().drops.get(DropReason::Truncated);
        wait::until_eq("empty datagrams", &time, empty);
        victim.still_hears();
        connected(&victim);
    }
    // What poses as a subscriber in the wrong role stays until it expires.
    for _ in 0..2 {
        victim.register(&forge::publisher_gone(own(subscriber_id, OTHER)));
    }
    let mut clock = 0;
    // What was sent while nobody was connected is not delivered.
    wait::until("its own messages arrive", || {
        publisher.send(b"own").expect("a message is sent");
        clock += 1;
        victim.subscriber.try_recv().is_some_and(|message| message.clock <= clock)
    });
    assert_eq!(victim.node.status().drops.total(), attacks.len() as u64);
    wait::until_eq("publishers of the other topic", &1, || victim.other.publisher_count());
    victim.still_receives();
}

/// One who poses as another publisher is taken for it, on its topic only.
fn anothers_identity(pair: &Pair) {
    let mut victim = Victim::open(pair, Config::default());
    for _ in 0..2 {
        victim.register(&forge::publisher(hostile(1)));
    }
    wait::until_eq("publishers", &1, || victim.subscriber.publisher_count());
    // The id of the well-behaved one, on a topic that is not its own, and another id on its topic.
    for clock in [1, i64::MAX] {
        victim.injector.payload(&[forge::whole(&forge::payload(TOPIC, Victim::WELL_BEHAVED, clock, b"x"))]);
        assert_eq!(victim.subscriber.recv_timeout(HANG).expect("it arrives").clock, clock);
        victim.still_receives();
    }
    victim.injector.payload(&[forge::whole(&forge::payload(OTHER, 77, 1, b"x"))]);
    assert_eq!(victim.other.recv_timeout(HANG).expect("it arrives").clock, 1);
    victim.still_receives();
    // From other hosts, with the same ids.
    for host in ["", "forged2", "h\u{fffd}"] {
        let id = Victim::WELL_BEHAVED;
        victim.register(&forge::publisher_gone(forge::topic_info(host, 9999, id, OTHER)));
        victim.register(&forge::publisher_gone(forge::on_this_host(forge::topic_info(host, 7, id, OTHER))));
    }
    victim.still_receives();
}
