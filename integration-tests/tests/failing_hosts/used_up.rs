//! Descriptors, buffers and memory used up: by `setrlimit`, and by control groups (cgroups).

use std::process::Command;
use std::time::Duration;

use ferrocal::{Config, CreateError, DropReason, LayersConfig, Message, Node, NodeError};
use ferrocal_integration_tests::descriptors::Limited;
use ferrocal_integration_tests::memory_group::MemoryGroup;
use ferrocal_integration_tests::pair::Injector;
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::suite::{Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{forge, logged, ramp, wait};
use rustix::process::Signal;
use serde_json::json;

use super::{TOPIC, config, expect_heard};

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    let mut test =
        |name: &str, needs, body: Box<dyn FnOnce() + Send>| tests.push(Test::new(name, needs, body));
    test("buffers_at_the_minimum", &[], Box::new(buffers_at_the_minimum));
    test("no_descriptors_left", &[], Box::new(no_descriptors_left));
    test("clients_leave_descriptors", &[], Box::new(clients_leave_descriptors));
    for limit in [Limit::AddressSpace, Limit::Group] {
        let (name, needs): (_, &[Need]) = match limit {
            Limit::AddressSpace => ("address_space", &[]),
            Limit::Group => ("group", &[Need::MemoryGroup]),
        };
        test(
            &format!("little_memory_and_floods::{name}"),
            needs,
            Box::new(move || little_memory_and_floods(limit)),
        );
        for layer in LAYERS {
            let body = move || out_of_memory(limit, layer);
            test(&format!("out_of_memory::{name}::{layer}"), needs, Box::new(body));
        }
    }
    tests
}

/// The least that the system gives. What does not fit is lost, and counted.
fn buffers_at_the_minimum() {
    const LONG: u64 = 20;
    let mut config = config(Mode::Local, None, HANG);
    (config.udp.receive_buffer_len, config.udp.send_buffer_len) = (1, 1);
    let [sending, receiving] =
        ["sending", "receiving"].map(|name| Node::with_config(name, config.clone()).expect("a node opens"));
    let publisher = sending.publisher::<[u8]>("topic").expect("a good topic");
    let subscriber = receiving.subscriber::<[u8]>("topic").expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));
    for number in 0..10 {
        publisher.send(&ramp::message(number, 500)).expect("a message is sent");
        let message = subscriber.recv_timeout(HANG).expect("a short message fits");
        assert!(ramp::is(&message.payload, number, 500));
    }
    let granted = receiving.status().receive_buffer_len;
    assert!(granted < 10_000, "{granted} bytes are not the minimum");
    for number in 10..10 + LONG {
        publisher.send(&ramp::message(number, 300_000)).expect("a message is sent");
    }
    // A short one ends the account of those before it.
    let (mut sent, mut newest, mut is_short) = (10 + LONG, 0, false);
    wait::until("a short message, and the account of all up to it", || {
        if !is_short {
            publisher.send(&ramp::message(sent, 500)).expect("a message is sent");
            sent += 1;
        }
        while let Some(message) = subscriber.try_recv() {
            newest = message.clock.cast_unsigned();
            assert!(ramp::is(&message.payload, newest - 1, message.payload.len()), "{newest} is corrupt");
            is_short |= message.payload.len() == 500;
        }
        let stats = subscriber.stats();
        is_short && stats.received + stats.lost == newest
    });
    assert!(!receiving.status().has_failed && !sending.status().has_failed);
}

fn no_descriptors_left() {
    let open = |name| Node::with_config(name, config(Mode::Local, None, HANG));
    let [sending, receiving, idle] =
        ["sending", "receiving", "idle"].map(|name| open(name).expect("a node opens"));
    let publisher = sending.publisher::<str>("topic").expect("a good topic");
    let subscriber = receiving.subscriber::<str>("topic").expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));
    let exchange = |text: &str| {
        publisher.send(text).expect("a message is sent");
        assert_eq!(subscriber.recv_timeout(HANG).expect("it arrives").payload, text);
    };
    exchange("before");
    logged::start();
    let limit = Limited::none_left();
    wait::until("a look of each node at the interfaces", || {
        logged::warnings("the interfaces cannot be looked at").len() >= 3
    });
    for _ in 0..3 {
        let error = open("another").expect_err("no socket can be opened");
        assert!(matches!(error, NodeError::Open(_)), "{error:?}");
        // Its first subscriber takes a socket.
        let error = idle.subscriber::<str>("topic").expect_err("no socket can be opened");
        assert!(matches!(error, CreateError::Receive { .. }), "{error:?}");
        exchange("meanwhile");
    }
    // A further one of a node that has a socket takes none.
    let further = receiving.subscriber::<str>("topic").expect("it needs none");
    wait::until_eq("subscribers", &2, || publisher.subscriber_count());
    exchange("to both");
    assert_eq!(further.recv_timeout(HANG).expect("it arrives").payload, "to both");
    drop(limit);
    let late = idle.subscriber::<str>("topic").expect("there are descriptors again");
    let _another = open("another").expect("there are descriptors again");
    wait::until_eq("subscribers", &3, || publisher.subscriber_count());
    exchange("after");
    assert_eq!(late.recv_timeout(HANG).expect("it arrives").payload, "after");
}

/// The program may need those that are left.
fn clients_leave_descriptors() {
    let [serving, calling] = ["serving", "calling"]
        .map(|name| Node::with_config(name, config(Mode::Local, None, HANG)).expect("a node opens"));
    let client = calling.client("service").expect("a good name");
    let limit = Limited::the_last();
    let server = serving.server("service").expect("some are left");
    wait::until("it does not connect", || calling.status().drops.get(DropReason::RegistryFull) > 0);
    assert_eq!((client.servers().len(), server.client_count()), (0, 0));
    drop(limit);
    assert!(client.wait_for_server(HANG));
}

/// The first argument of the program that [`run_hoarder`] is.
pub(crate) const HOARDER: &str = "hoard";
/// The topic that it never reads.
const HOARD: &str = "hoard";
const LAYERS: [&str; 3] = ["udp", "tcp", "shm"];

fn layers(layer: &str) -> LayersConfig {
    match layer {
        "udp" => LayersConfig::NONE.udp(true),
        "tcp" => LayersConfig::NONE.tcp(true),
        _ => LayersConfig::NONE.shm(true),
    }
}

fn local(layer: &str, timeout: Duration) -> Config {
    let mut config = config(Mode::Local, None, timeout);
    (config.publisher.layers, config.subscriber.layers) = (layers(layer), layers(layer));
    config
}

const MIB: u64 = 1 << 20;

/// A program that takes nothing from its queue, says when it hears others, and how much it has got.
pub(crate) fn run_hoarder(layer: &str, queue_bytes: usize) {
    let mut config = local(layer, HANG);
    config.limits.reassembly.max_bytes = 8 << 20;
    config.limits.reassembly.max_bytes_per_sender = 4 << 20;
    config.limits.max_registry_bytes = 4 << 20;
    (config.subscriber.queue_bytes, config.subscriber.queue_len) = (queue_bytes, usize::MAX);
    let node = Node::with_config("hoarder", config).expect("a node opens");
    let hear = |message: Message<str>| println!("{}", json!({ "event": "heard", "name": message.payload }));
    let _names = node.subscribe::<str>(TOPIC, hear).expect("a good topic");
    let hoard = node.subscriber::<[u8]>(HOARD).expect("a good topic");
    for _ in std::io::stdin().lines().map_while(Result::ok) {
        let (stats, status) = (hoard.stats(), node.status());
        let report = json!({
            "event": "report",
            "received": stats.received,
            "queue_full": stats.queue_full,
            "empty": status.drops.get(DropReason::Truncated),
            "too_many": status.drops.get(DropReason::OverCap),
            "unregistered": status.drops.get(DropReason::RegistryFull),
        });
        println!("{report}");
    }
}

/// What a hoarder has of a report.
fn report<const N: usize>(hoarder: &mut Process, keys: [&str; N]) -> [u64; N] {
    hoarder.send_line("report");
    let report = hoarder.event("report");
    keys.map(|key| report[key].as_u64().expect("a number"))
}

/// What keeps memory from a process.
#[derive(Clone, Copy, Debug)]
enum Limit {
    /// The system refuses more (`RLIMIT_AS`): it ends itself when it needs some.
    AddressSpace,
    /// The system promises more than it has, and kills it when it uses that.
    Group,
}

/// A hoarder that gets little memory.
struct Poor {
    process: Process,
    group: Option<MemoryGroup>,
}

impl Poor {
    fn new(limit: Limit, layer: &str, queue_bytes: u64) -> Self {
        let program = std::env::current_exe().expect("its path is known");
        let (group, mut command) = match limit {
            Limit::AddressSpace => {
                let mut command = Command::new("prlimit");
                // Threads have 2 MB each for their stacks, without using them.
                command.arg(format!("--as={}", 192 * MIB)).arg(program);
                (None, command)
            }
            Limit::Group => {
                let group = MemoryGroup::new(96 * MIB).unwrap_or_else(|error| panic!("{error}"));
                let command = group.command(&program);
                (Some(group), command)
            }
        };
        // Each arena of the C library reserves 64 MB, without using it.
        command.args([HOARDER, layer, &queue_bytes.to_string()]).env("MALLOC_ARENA_MAX", "1");
        Self { process: Process::spawn("hoarder", command), group }
    }
}

/// With its limits below what the system gives, a program withstands all that fills memory.
fn little_memory_and_floods(limit: Limit) {
    const LEN: usize = 1_000_000;
    /// Each flood is of many times the memory there is.
    const MESSAGES: u64 = 600;
    let world = World::new(Mode::Local);
    let mut poor = Poor::new(limit, "udp", 16 * MIB);
    let hoarder = &mut poor.process;
    let node = Node::with_config("ours", local("udp", HANG)).expect("a node opens");
    let publisher = node.publisher::<[u8]>(HOARD).expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG));
    let mut received = [0; 2];
    while received[0] < MESSAGES {
        for _ in 0..4 {
            publisher.send(&vec![0; LEN]).expect("a message is sent");
        }
        received = report(hoarder, ["received", "queue_full"]);
    }
    let [received, dropped] = received;
    assert!(received - dropped <= 16, "{received} received, {dropped} dropped");

    let injector = Injector::in_world(&world);
    // What waits in its sockets is not to be lost.
    let settle = |hoarder: &mut Process| {
        let [before] = report(hoarder, ["empty"]);
        wait::until("an empty datagram on each port", || {
            injector.payload(&[Vec::new()]);
            injector.registration(&[Vec::new()]);
            report(hoarder, ["empty"])[0] >= before + 2
        });
    };
    for id in 0..1000 {
        let mut unfinished = vec![forge::info(id, 100, 100 * 60_000)];
        unfinished.extend((0..4).map(|number| forge::fragment(id, number, &[0; 60_000])));
        injector.payload(&unfinished);
        injector.registration(&unfinished);
        let topic = format!("{id}{}", "x".repeat(50_000));
        let info = forge::on_this_host(forge::topic_info("forged", 7, id.unsigned_abs().into(), &topic));
        injector.registration(&[forge::whole(&forge::publisher(info))]);
        settle(hoarder);
    }
    let [too_many, unregistered] = report(hoarder, ["too_many", "unregistered"]);
    assert!(too_many > 500 && unregistered > 500, "{too_many} {unregistered}");

    // And it is calm: it still hears what others say.
    let names = node.publisher::<str>(TOPIC).expect("a good topic");
    assert!(names.wait_for_subscriber(HANG));
    names.send("the last one").expect("a message is sent");
    expect_heard(hoarder, "the last one");
    assert_eq!(poor.group.as_ref().map_or(0, MemoryGroup::kills), 0);
}

/// A subscriber whose limits are above what the system gives ends for want of memory, in the middle of a message. That costs
/// its publisher and other subscribers nothing: it is forgotten, and one that comes later gets messages.
fn out_of_memory(limit: Limit, layer: &str) {
    /// In one datagram: longer ones are refused before memory runs out, where the system refuses memory.
    const LEN: usize = 50_000;
    const TIMEOUT: Duration = Duration::from_secs(2);
    let _world = World::new(Mode::Local);
    let node = Node::with_config("ours", local(layer, TIMEOUT)).expect("a node opens");
    let other = Node::with_config("other", local(layer, HANG)).expect("a node opens");
    let publisher = node.publisher::<[u8]>(HOARD).expect("a good topic");
    let subscriber = other.subscriber::<[u8]>(HOARD).expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));
    let table = ramp::Table::new(LEN);
    // Who dies with the lock of a memory file costs what is sent until all have the next file. It is counted.
    let patience = if layer == "shm" { Duration::from_millis(100) } else { HANG };
    let exchange = || {
        wait::until("a message at the other subscriber", || {
            let number = publisher.stats().published;
            publisher.send(table.message(number, LEN)).expect("a message is sent");
            while let Ok(message) = subscriber.recv_timeout(patience) {
                let clock = message.clock.cast_unsigned();
                assert!(ramp::is(&message.payload, clock - 1, LEN), "message {clock} is corrupt");
                if clock == number + 1 {
                    return true;
                }
            }
            false
        });
        publisher.stats().published
    };
    // By TCP and shared memory, what is sent before there is a connection reaches nobody.
    wait::until("a connection", || {
        publisher.send(table.message(publisher.stats().published, LEN)).expect("a message is sent");
        subscriber.recv_timeout(Duration::from_millis(20)).is_ok()
    });
    exchange();
    let before = (publisher.stats().published, subscriber.stats());

    let mut poor = Poor::new(limit, layer, u64::MAX / 2);
    wait::until_eq("subscribers", &2, || publisher.subscriber_count());
    let mut end = None;
    while end.is_none() {
        exchange();
        end = poor.process.end();
    }
    let signal = std::os::unix::process::ExitStatusExt::signal(&end.expect("it has ended"));
    let expected = match limit {
        Limit::AddressSpace => Signal::ABORT,
        Limit::Group => Signal::KILL,
    };
    assert_eq!(signal, Some(expected.as_raw()), "{end:?}");
    assert_eq!(poor.group.as_ref().map_or(1, MemoryGroup::kills), 1);
    wait::until_eq("subscribers", &1, || {
        exchange();
        publisher.subscriber_count()
    });

    let mut rich = Command::new(std::env::current_exe().expect("its path is known"));
    rich.args([HOARDER, layer, "1000000"]);
    let mut rich = Process::spawn("another hoarder", rich);
    wait::until("messages at the one that came later", || {
        exchange();
        report(&mut rich, ["received"])[0] >= 10
    });
    let (sent, stats) = (exchange() - before.0, subscriber.stats());
    let (received, lost) = (stats.received - before.1.received, stats.lost - before.1.lost);
    assert_eq!(received + lost, sent, "{stats:?}");
    assert!(lost == 0 || layer == "shm", "the other one has lost {lost}");
}
