//! The examples `pub` and `sub` as programs: their options, their closing line and their exit codes.

use std::process::{ExitCode, Stdio};
use std::time::Duration;

use ferrocal::Node;
use ferrocal_integration_tests::ecal::{self, DataType};
use ferrocal_integration_tests::example::{self, Ended};
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::world::{Mode, World};

const HERE: Host = Host::first();

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let mut test = |name: &str, needs, body: fn(Mode)| {
            tests.push(Test::new(format!("{name}::{}", mode.name()), needs, move || body(mode)));
        };
        test("subscriber_first", &[Need::Examples], subscriber_first);
        test("publisher_first", &[Need::Examples], publisher_first);
        test("with_the_real_ecal", &[Need::Examples, Need::Ecal], with_the_real_ecal);
    }
    let mut test = |name: &str, body: fn()| tests.push(Test::new(name, &[Need::Examples], body));
    test("text_is_the_default", text_is_the_default);
    test("text_can_be_long", text_can_be_long);
    test("signals_end_them_in_good_order", signals_end_them_in_good_order);
    test("a_signal_ends_the_waiting_for_a_subscriber", a_signal_ends_the_waiting_for_a_subscriber);
    test("sub_says_that_nothing_comes", sub_says_that_nothing_comes);
    test("sub_ends_at_its_duration", sub_ends_at_its_duration);
    test("sub_ends_at_its_count", sub_ends_at_its_count);
    test("sub_fails_on_corrupt_messages", sub_fails_on_corrupt_messages);
    test("pub_waits_for_a_subscriber", pub_waits_for_a_subscriber);
    test("pub_goes_as_fast_as_it_can", pub_goes_as_fast_as_it_can);
    test("people_get_a_line_a_message", people_get_a_line_a_message);
    test("the_transport_is_chosen", the_transport_is_chosen);
    test("a_closed_pipe_ends_them_quietly", a_closed_pipe_ends_them_quietly);
    test("bad_options_are_named", bad_options_are_named);
    test("an_interface_that_is_not_there_is_named", an_interface_that_is_not_there_is_named);
    suite::main(tests)
}

/// The options of both that say where they are.
fn way(world: &World, host: Host) -> String {
    let interface = if host == world.here() { world.interface() } else { world.interface_there() };
    let interface = interface.map(|address| format!("--interface {address}")).unwrap_or_default();
    format!("--mode {} {interface} --transport socket --json", world.mode().name())
}

fn subscriber_first(mode: Mode) {
    let world = World::new(mode);
    let (here, there) = (way(&world, world.here()), way(&world, world.there()));
    let subscriber = example::start(world.there(), "sub", &format!("image --count 20 --verify ramp {there}"));
    let arguments = "image --count 20 --size 200000 --rate 50 --payload ramp --wait-for-subscriber 60";
    let publisher = Ended::of(example::start(world.here(), "pub", &format!("{arguments} {here}")));
    publisher.assert_all("image", "sent", 20, 200_000);
    assert_eq!(publisher.number("peers"), 1);
    let subscriber = Ended::of(subscriber);
    subscriber.assert_all("image", "received", 20, 200_000);
    // It may have all its messages before it has seen the publisher's second registration.
    assert!(subscriber.number("peers") <= 1, "{subscriber:?}");
}

fn publisher_first(mode: Mode) {
    let world = World::new(mode);
    let (here, there) = (way(&world, world.here()), way(&world, world.there()));
    let arguments = "--count 20 --size 20 --rate 100 --payload ramp --wait-for-subscriber 60";
    let publisher = example::start(world.here(), "pub", &format!("{arguments} {here}"));
    // It waits, as nobody has come yet.
    let arguments = format!("--count 20 --duration 60 --verify ramp {there}");
    let subscriber = Ended::of(example::start(world.there(), "sub", &arguments));
    subscriber.assert_all("hello", "received", 20, 20);
    Ended::of(publisher).assert_all("hello", "sent", 20, 20);
}

fn with_the_real_ecal(mode: Mode) {
    const LEN: usize = 65_507;
    let world = World::new(mode);
    // Without --interface, so by the system's routes.
    let way = format!("--mode {} --json", mode.name());

    let mut real = ecal::Subscriber::start(world.there(), mode, &["out"], 0);
    let arguments = format!("out --count 20 --size {LEN} --payload ramp --wait-for-subscriber 60 {way}");
    Ended::of(example::start(world.here(), "pub", &arguments)).assert_all("out", "sent", 20, LEN as u64);
    let rows = real.totals_with("20 messages", |rows| rows.iter().any(|row| row.received == 20));
    rows[0].assert_all(20, LEN);

    let mut real = ecal::Publisher::start(world.there(), mode, &[("in", LEN)], &DataType::default());
    let subscriber = example::start(world.here(), "sub", &format!("in --count 20 --verify ramp {way}"));
    real.expect_matched("in", 1);
    real.begin_sending(0, 50.0);
    Ended::of(subscriber).assert_all("in", "received", 20, LEN as u64);
    real.process.finish();
}

fn text_is_the_default() {
    let world = World::new(Mode::Local);
    let node = ours::node(&world, HERE, "ours");
    let subscriber = node.subscriber::<str>("hello").expect("a good topic");
    let publisher = example::start(HERE, "pub", "--count 3 --wait-for-subscriber 60 --json");
    for n in 0..3 {
        let message = subscriber.recv_timeout(HANG).expect("a message arrives");
        assert_eq!((message.payload, message.clock), (format!("hello world {n}"), n + 1));
    }
    Ended::of(publisher).assert_all("hello", "sent", 3, "hello world 0".len() as u64);

    // Cut, and filled up.
    for (size, expected) in [(5, "hello"), (16, "hello world 0...")] {
        let arguments = format!("--count 1 --size {size} --wait-for-subscriber 60 --json");
        let publisher = example::start(HERE, "pub", &arguments);
        assert_eq!(subscriber.recv_timeout(HANG).expect("a message arrives").payload, expected);
        Ended::of(publisher).assert_all("hello", "sent", 1, size);
    }
}

fn text_can_be_long() {
    let world = World::new(Mode::Local);
    let node = ours::node(&world, HERE, "ours");
    let subscriber = node.subscriber::<str>("hello").expect("a good topic");
    // Around the longest width that Rust's formatting takes, and far beyond it.
    for size in [65_535, 65_536, 5_000_000] {
        let arguments = format!("--count 1 --size {size} --wait-for-subscriber 60 --json");
        let publisher = example::start(HERE, "pub", &arguments);
        let payload = subscriber.recv_timeout(HANG).expect("a message arrives").payload;
        assert!(payload.starts_with("hello world 0...") && payload.len() as u64 == size, "{size}");
        Ended::of(publisher).assert_all("hello", "sent", 1, size);
    }
}

/// A node that finds only by a peer's own word that the peer is gone.
fn patient_node(world: &World) -> Node {
    let mut config = ours::config(world, HERE);
    config.registration.timeout = Duration::from_secs(3600);
    Node::with_config("patient", config).expect("a node opens")
}

fn signals_end_them_in_good_order() {
    let world = World::new(Mode::Local);
    let node = patient_node(&world);
    let publisher = node.publisher::<[u8]>("to_sub").expect("a good topic");
    let subscriber = node.subscriber::<[u8]>("from_pub").expect("a good topic");
    // It would send the next message in a quarter of an hour.
    let slow = "from_pub --payload ramp --size 4 --rate 0.001 --wait-for-subscriber 60";
    // `timeout` sends a signal to its child, and at once another one to the child's group.
    let twice = |process: &Process| {
        process.terminate();
        process.terminate();
    };
    let signals: [fn(&Process); 3] = [Process::interrupt, Process::terminate, twice];
    for signal in signals {
        let process = example::start(HERE, "sub", "to_sub");
        assert!(publisher.wait_for_subscriber(HANG));
        publisher.send(b"1234").expect("a message is sent");
        process.await_text("received message");
        signal(&process);
        expect_closing_line(process, "received: 1 messages of 4 bytes in all");
        wait::until_eq("subscribers", &0, || publisher.subscriber_count());

        let process = example::start(HERE, "sub", "to_sub --json");
        assert!(publisher.wait_for_subscriber(HANG));
        signal(&process);
        Ended::of(process).assert_all("to_sub", "received", 0, 0);
        wait::until_eq("subscribers", &0, || publisher.subscriber_count());

        let process = example::start(HERE, "pub", slow);
        process.await_text("sent message 1:");
        assert!(subscriber.recv_timeout(HANG).is_ok());
        signal(&process);
        expect_closing_line(process, "sent: 1 messages of 4 bytes in all");
        wait::until_eq("publishers", &0, || subscriber.publisher_count());

        let process = example::start(HERE, "pub", &format!("{slow} --json"));
        assert!(subscriber.wait_for_publisher(HANG) && subscriber.recv_timeout(HANG).is_ok());
        signal(&process);
        Ended::of(process).assert_all("from_pub", "sent", 1, 4);
        wait::until_eq("publishers", &0, || subscriber.publisher_count());
    }
    // Too few messages are a failure, whatever ends it.
    let process = example::start(HERE, "sub", "to_sub --count 2 --json");
    assert!(publisher.wait_for_subscriber(HANG));
    process.interrupt();
    assert_eq!(Ended::of(process).status.code(), Some(1));
}

#[track_caller]
fn expect_closing_line(process: Process, start: &str) {
    let (status, transcript) = process.last_text(HANG);
    assert!(status.success(), "{status}: {transcript}");
    let last = transcript.lines().last().unwrap_or_default();
    assert!(last.trim_start().starts_with(start), "not {start}, but {transcript}");
}

fn a_signal_ends_the_waiting_for_a_subscriber() {
    let process = example::start(HERE, "pub", "lonely --wait-for-subscriber 3600");
    process.await_text("topic lonely");
    process.interrupt();
    expect_closing_line(process, "sent: 0 messages");
}

fn sub_says_that_nothing_comes() {
    for (options, expected) in [
        ("--mode local", "no message on topic nothing yet; no publisher of it was found on this computer"),
        (
            "--mode local --json",
            "no message on topic nothing yet; no publisher of it was found on this computer",
        ),
        ("--mode network", "no message on topic nothing yet; no publisher of it was found on this network"),
    ] {
        let _network = (options == "--mode network").then(|| World::new(Mode::Network));
        let process = example::start(HERE, "sub", &format!("nothing {options}"));
        process.await_text(&format!("! {expected}"));
        process.interrupt();
        let (status, transcript) = process.last_text(HANG);
        assert!(status.success(), "{transcript}");
        assert_eq!(transcript.matches(expected).count(), 1, "once: {transcript}");
    }
    let world = World::new(Mode::Local);
    let node = ours::node(&world, HERE, "ours");
    let _silent = node.publisher::<[u8]>("nothing").expect("a good topic");
    example::start(HERE, "sub", "nothing")
        .await_text("! no message on topic nothing yet; publishers found: 1");
}

fn sub_ends_at_its_duration() {
    let ended = Ended::of(example::start(HERE, "sub", "nothing --duration 0.2 --json"));
    ended.assert_all("nothing", "received", 0, 0);
    assert_eq!(ended.number("peers"), 0);
    let ended = Ended::of(example::start(HERE, "sub", "nothing --duration 0.2 --count 1 --json"));
    assert_eq!(ended.status.code(), Some(1), "its count was not reached");
    ended.assert_line("nothing", "received", 0, 0);

    // Some messages, but too few.
    let publisher = example::start(HERE, "pub", "some --rate 20 --size 4");
    let ended = Ended::of(example::start(HERE, "sub", "some --duration 4 --count 1000 --json"));
    publisher.interrupt();
    assert_eq!(ended.status.code(), Some(1), "its count was not reached");
    let received = ended.number("received");
    ended.assert_line("some", "received", received, 4 * received);
}

fn sub_ends_at_its_count() {
    let world = World::new(Mode::Local);
    let node = ours::node(&world, HERE, "ours");
    let publisher = node.publisher::<[u8]>("many").expect("a good topic");
    for count in [1, 2] {
        let arguments = format!("many --count {count} --duration 3600 --json");
        let subscriber = example::start(HERE, "sub", &arguments);
        assert!(publisher.wait_for_subscriber(HANG));
        for _ in 0..5 {
            publisher.send(b"123456").expect("a message is sent");
        }
        Ended::of(subscriber).assert_all("many", "received", count, 6);
        wait::until_eq("subscribers", &0, || publisher.subscriber_count());
    }
}

fn sub_fails_on_corrupt_messages() {
    let world = World::new(Mode::Local);
    let node = ours::node(&world, HERE, "ours");
    let publisher = node.publisher::<[u8]>("ramp").expect("a good topic");
    let subscriber = example::start(HERE, "sub", "ramp --count 4 --verify ramp --json");
    assert!(publisher.wait_for_subscriber(HANG));
    for message in [&b""[..], b"\x07\x26\x45", b"\x07\x26\x46", b"\x00\x00"] {
        publisher.send(message).expect("a message is sent");
    }
    let ended = Ended::of(subscriber);
    assert_eq!(ended.status.code(), Some(1), "two were corrupt");
    ended.assert_line("ramp", "received", 4, 8);
    assert_eq!((ended.number("corrupt"), ended.number("dropped")), (2, 0));
}

fn pub_waits_for_a_subscriber() {
    let arguments = "lonely --count 5 --wait-for-subscriber 0.2 --json";
    let ended = Ended::of(example::start(HERE, "pub", arguments));
    assert!(!ended.status.success(), "nobody came");
    ended.assert_line("lonely", "sent", 0, 0);
    // Without that option it does not wait.
    let ended = Ended::of(example::start(HERE, "pub", "lonely --count 5 --rate 0 --size 7 --json"));
    ended.assert_all("lonely", "sent", 5, 7);
    assert_eq!(ended.number("peers"), 0);
}

fn pub_goes_as_fast_as_it_can() {
    let ended = Ended::of(example::start(
        HERE,
        "pub",
        "fast --count 100000 --rate 0 --payload ramp --size 100 --json",
    ));
    ended.assert_all("fast", "sent", 100_000, 100);
}

fn people_get_a_line_a_message() {
    let subscriber = example::start(HERE, "sub", "lines --count 3");
    let publisher = example::start(HERE, "pub", "lines --count 3 --wait-for-subscriber 60");
    for (process, wanted) in [(publisher, "sent message "), (subscriber, "received message ")] {
        let (status, transcript) = process.last_text(HANG);
        assert!(status.success(), "{transcript}");
        for n in 1..=3 {
            let line = format!("{wanted}{n}:");
            assert_eq!(transcript.matches(&line).count(), 1, "{line} in {transcript}");
        }
    }
}

fn the_transport_is_chosen() {
    for name in ["pub", "sub"] {
        let end = if name == "sub" { "--duration 0.1" } else { "--count 1" };
        let variable = [("FERROCAL_TRANSPORT", "pigeon")];
        let (status, transcript) = example::start_with(HERE, name, end, &variable).last_text(HANG);
        assert_eq!(status.code(), Some(1), "{transcript}");
        assert!(transcript.contains("FERROCAL_TRANSPORT: `pigeon`"), "{transcript}");
        // This name may be somebody else's.
        let variable = [("TRANSPORT", "pigeon")];
        let (status, transcript) = example::start_with(HERE, name, end, &variable).last_text(HANG);
        assert!(status.success(), "{transcript}");
        assert!(transcript.contains("TRANSPORT: `pigeon`"), "{transcript}");
        // The command line wins over the environment.
        let arguments = format!("--transport socket --json {end}");
        for (arguments, value) in [(arguments.as_str(), "npcap"), (&format!("--json {end}"), "socket")] {
            let ended = Ended::of(example::start_with(HERE, name, arguments, &[("TRANSPORT", value)]));
            assert!(ended.status.success(), "{ended:?}");
            assert_eq!(ended.line["backend"], "socket");
        }
    }
}

/// As with `pub | head`.
fn a_closed_pipe_ends_them_quietly() {
    let mut command = HERE.command("timeout");
    command.arg(HANG.as_secs().to_string()).arg(example::path("pub")).env_remove("ECAL_DATA");
    let mut publisher =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    drop(publisher.stdout.take());
    let output = publisher.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// It may come later, so they go on.
fn an_interface_that_is_not_there_is_named() {
    for (name, arguments) in [("pub", "--count 1"), ("sub", "--duration 0.1")] {
        let arguments = format!("--mode network --interface 10.99.98.97 {arguments}");
        let (status, transcript) = example::start(HERE, name, &arguments).last_text(HANG);
        assert!(status.success(), "{name}: {status} {transcript}");
        assert!(transcript.contains("10.99.98.97"), "{name}: {transcript}");
    }
}

fn bad_options_are_named() {
    for (name, arguments, named) in [
        ("pub", "--rate=-1 --count 1", "--rate"),
        ("pub", "--payload noise", "noise"),
        ("pub", "--size 4294967296 --count 1", "--size"),
        ("sub", "--verify noise", "noise"),
        ("sub", "--duration never", "never"),
        ("sub", "--duration=1e300", "--duration"),
        ("pub", "--rate=nan --count 1", "--rate"),
        ("sub", "--duration=-1", "--duration"),
        ("sub", "--mode global", "global"),
        ("sub", "--transport pigeon", "pigeon"),
        ("pub", "--wait-for-subscriber=-1 --count 1", "--wait-for-subscriber"),
        ("pub", "--wait-for-subscriber=1e300 --count 1", "--wait-for-subscriber"),
    ] {
        let (status, transcript) = example::start(HERE, name, arguments).last_text(HANG);
        assert!(matches!(status.code(), Some(1 | 2)), "{name} {arguments}: {status} {transcript}");
        assert!(transcript.contains(named), "{name} {arguments}: {transcript}");
        assert!(!transcript.contains("panicked"), "{name} {arguments}: {transcript}");
    }
}
