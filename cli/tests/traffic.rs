//! `ferrocal traffic`: rates of interfaces, and whose the bytes are.

#[expect(dead_code, reason = "other tests need more of it")]
mod common;

use std::net::UdpSocket;
use std::process::{Command, ExitCode};
use std::time::Instant;

use ferrocal::{Config, Node};
use ferrocal_integration_tests::forge;
use ferrocal_integration_tests::netns::{FIRST_ADDRESS, Host, SECOND_ADDRESS};
use ferrocal_integration_tests::process::Process;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{ecal, ours, wait};
use serde_json::Value;

/// The command, with arguments that spaces separate.
fn cli(host: Host, arguments: &str) -> Command {
    common::command(host, &arguments.split_whitespace().collect::<Vec<_>>())
}

/// Ends what prints all the time, in seconds, so that a test that fails has an end.
const PATIENCE: &str = "90";
/// Messages of so many bytes, so many of them.
const LEN: usize = 200_000;
const COUNT: u64 = 20;
const BYTES: u64 = LEN as u64 * COUNT;

fn main() -> ExitCode {
    const RAW: &[Need] = &[Need::RawFrames];
    suite::main(vec![
        Test::new("bytes_of_hosts_topics_and_processes", RAW, bytes_of_hosts_topics_and_processes),
        Test::new("bytes_of_the_real_ecal", &[Need::RawFrames, Need::Ecal], bytes_of_the_real_ecal),
        Test::new("fragments_that_are_lost", RAW, fragments_that_are_lost),
        Test::new("what_is_not_of_ecal", RAW, what_is_not_of_ecal),
        Test::new("loopback", RAW, loopback),
        Test::new("without_raw_frames", &[], without_raw_frames),
        Test::new("for_people", &[], for_people),
        Test::new("an_interface_that_is_not_there", &[], an_interface_that_is_not_there),
        Test::new("a_capture_file_is_refused", &[], a_capture_file_is_refused),
    ])
}

/// Traffic, as it runs on the first host.
struct Traffic {
    process: Process,
    /// Before it began to count seconds.
    spawned: Instant,
}

/// What it printed.
struct Printed {
    lines: Vec<Value>,
    code: Option<i32>,
}

impl Traffic {
    /// Starts it, and waits until it counts.
    #[track_caller]
    fn start(mode: Mode, arguments: &str) -> Self {
        let arguments =
            format!("traffic --mode {} --json --interval 0.2 --duration {PATIENCE} {arguments}", mode.name());
        Self::of(cli(Host::first(), &arguments))
    }

    /// Starts a command, and waits until it counts.
    #[track_caller]
    fn of(command: Command) -> Self {
        let spawned = Instant::now();
        let mut process = Process::spawn("traffic", command);
        process.expect("a first line", |line| line["kind"] == "interface");
        Self { process, spawned }
    }

    /// Waits until it has seen something.
    #[track_caller]
    fn await_line(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.process.expect(what, wanted)
    }

    /// Waits until every node has registered once more, as a new node hears, and until it has printed a line after that. It
    /// looks at what it heard before it prints.
    #[track_caller]
    fn await_registration(&mut self) {
        let config = Config::default().mode(ferrocal::Mode::Network);
        let node = Node::with_config("watching", config).expect("it opens");
        let monitor = node.monitor();
        wait::until("two registrations", || {
            monitor.snapshot().publishers.iter().any(|seen| seen.registrations >= 2)
        });
        let heard = self.spawned.elapsed().as_secs_f64();
        self.await_line("a line after that", |line| line["seconds"].as_f64() > Some(heard));
    }

    /// Ends it.
    #[track_caller]
    fn finish(self) -> Printed {
        self.process.interrupt();
        let (status, text) = self.process.last_text(ferrocal_integration_tests::process::HANG);
        let lines = text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("  ")?).ok());
        Printed { lines: lines.collect(), code: status.code() }
    }
}

impl Printed {
    #[track_caller]
    fn one(&self, kind: &str, key: &str, value: &str) -> &Value {
        let mut lines = self.lines.iter().filter(|line| line["kind"] == kind && line[key] == value);
        let line = lines.next().unwrap_or_else(|| panic!("no {kind} with {key} {value}: {:#?}", self.lines));
        assert!(lines.next().is_none(), "{kind} {value} is there twice: {:#?}", self.lines);
        line
    }
}

#[track_caller]
fn number(line: &Value, key: &str) -> u64 {
    line[key].as_u64().unwrap_or_else(|| panic!("{key} in {line}"))
}

/// The payload and its headers: those of 24 bytes and of Ethernet, IP and UDP in each packet are less than a tenth.
#[track_caller]
fn assert_about(bytes: u64, payload: u64) {
    assert!((payload..payload + payload / 10).contains(&bytes), "{bytes} bytes for {payload} of payload");
}

/// Two nodes that talk. The publisher is on the second host, if there is one.
fn nodes(world: &World) -> (ours::Publisher, ours::Subscriber) {
    let (here, there) = (ours::node(world, world.here(), "here"), ours::node(world, world.there(), "there"));
    let subscriber = ours::Subscriber::new(&here, &["image"]);
    let publisher = ours::Publisher::new(&there, &[("image", LEN)]);
    publisher.expect_matched(1);
    subscriber.expect_matched(1);
    (publisher, subscriber)
}

fn bytes_of_hosts_topics_and_processes() {
    let world = World::new(Mode::Network);
    let (mut publisher, subscriber) = nodes(&world);
    let mut traffic = Traffic::start(Mode::Network, "");
    let interface = |line: &Value| line["kind"] == "interface" && line["interface"] == "veth-a";
    let before = number(&traffic.await_line("the interface", interface)["in"], "total");
    publisher.send(COUNT, 50.0);
    subscriber.await_received(COUNT);
    let all_came = |line: &Value| {
        interface(line) && line["in"]["total"].as_u64().is_some_and(|total| total >= before + BYTES)
    };
    let line = traffic.await_line("all bytes", all_came);
    assert_eq!(line["source"], "system");
    assert!(line["in"]["max"].as_f64() > line["out"]["max"].as_f64(), "{line}");
    // That says whose process it is.
    traffic.await_registration();
    let printed = traffic.finish();
    assert_eq!(printed.code, Some(0));
    let topic = printed.one("topic", "topic", "image");
    assert_eq!((number(topic, "messages"), number(topic, "fragments_lost")), (COUNT, 0), "{topic}");
    assert_about(number(topic, "bytes"), BYTES);
    assert_eq!((&topic["host"], &topic["unit"]), (&"host-b".into(), &"there".into()), "{topic}");
    assert_eq!(number(topic, "pid"), u64::from(std::process::id()));
    let process = printed.one("process", "unit", "there");
    assert_eq!(number(process, "bytes"), number(topic, "bytes"));
    let host = printed.one("host", "address", &SECOND_ADDRESS.to_string());
    assert_eq!(host["host"], "host-b");
    assert_about(number(host, "ecal"), BYTES);
    assert!(number(host, "registration") > 0 && number(host, "other") < BYTES / 100, "{host}");
    assert!(number(printed.one("host", "address", &FIRST_ADDRESS.to_string()), "ecal") < BYTES / 100);
}

fn bytes_of_the_real_ecal() {
    let world = World::new(Mode::Network);
    let mut publisher =
        ecal::Publisher::start(world.there(), Mode::Network, &[("image", LEN)], &ecal::DataType::default());
    let mut subscriber = ecal::Subscriber::start(world.here(), Mode::Network, &["image"], COUNT);
    publisher.expect_matched("image", 1);
    subscriber.expect_matched("image", 1);
    let traffic = Traffic::start(Mode::Network, "");
    publisher.send(COUNT, 50.0);
    subscriber.await_complete();
    let printed = traffic.finish();
    let topic = printed.one("topic", "topic", "image");
    assert_eq!((number(topic, "messages"), number(topic, "fragments_lost")), (COUNT, 0), "{topic}");
    assert_about(number(topic, "bytes"), BYTES);
}

fn fragments_that_are_lost() {
    let world = World::new(Mode::Network);
    let mut traffic = Traffic::start(Mode::Network, "");
    world.there().run(|| {
        let socket = UdpSocket::bind((SECOND_ADDRESS, 0)).expect("a port");
        let send = |bytes: &[u8]| socket.send_to(bytes, "239.0.0.1:14002").expect("it is sent");
        let message = forge::payload("image", 7, 1, &[0; 1000]);
        send(&forge::info(1, 5, 5000));
        send(&forge::fragment(1, 0, &message[..1000]));
        send(&forge::fragment(1, 3, &[0; 1000]));
    });
    let line =
        traffic.await_line("lost fragments", |line| line["kind"] == "ecal" && line["fragments_lost"] == 3);
    assert_eq!(line["datagrams_lost"], 0);
    let printed = traffic.finish();
    assert_eq!(printed.code, Some(3));
    let topic = printed.one("topic", "topic", "image");
    assert_eq!((number(topic, "fragments_lost"), number(topic, "messages")), (3, 0), "{topic}");
}

fn what_is_not_of_ecal() {
    let world = World::new(Mode::Network);
    let mut traffic = Traffic::start(Mode::Network, "");
    world.there().run(|| {
        let socket = UdpSocket::bind((SECOND_ADDRESS, 0)).expect("a port");
        for _ in 0..100 {
            socket.send_to(&[0; 1000], (FIRST_ADDRESS, 9)).expect("it is sent");
        }
    });
    traffic.await_line("the bytes", |line| {
        line["interface"] == "veth-a" && line["in"]["total"].as_u64().is_some_and(|total| total >= 100_000)
    });
    let printed = traffic.finish();
    let host = printed.one("host", "address", &SECOND_ADDRESS.to_string());
    assert_about(number(host, "other"), 100_000);
    assert!(number(host, "ecal") < 10_000, "{host}");
}

fn loopback() {
    let world = World::new(Mode::Local);
    let (mut publisher, subscriber) = nodes(&world);
    let traffic = Traffic::start(Mode::Local, "");
    publisher.send(COUNT, 50.0);
    subscriber.await_received(COUNT);
    let printed = traffic.finish();
    let topic = printed.one("topic", "topic", "image");
    assert_about(number(topic, "bytes"), BYTES);
    assert_eq!(number(topic, "messages"), COUNT);
}

/// As somebody else than root has it.
fn without_raw_frames() {
    let world = World::new(Mode::Network);
    let (mut publisher, subscriber) = nodes(&world);
    let arguments = ["--bounding-set=-net_raw", "--inh-caps=-net_raw", "--"];
    let mut command = Command::new("setpriv");
    command.args(arguments).arg(env!("CARGO_BIN_EXE_ferrocal"));
    command.args(["traffic", "--mode", "network", "--json", "--interval", "0.2", "--duration", PATIENCE]);
    command.env("HOME", "/nonexistent").current_dir("/");
    let mut traffic = Traffic::of(command);
    // It has heard of the publisher before it sends.
    traffic.await_registration();
    publisher.send(COUNT, 50.0);
    subscriber.await_received(COUNT);
    traffic.await_registration();
    let printed = traffic.finish();
    assert_eq!(printed.code, Some(0));
    let missing = printed.lines.iter().find(|line| line["kind"] == "missing").expect("what is missing");
    assert!(missing["why"].as_str().is_some_and(|why| why.contains("may not capture")), "{missing}");
    assert!(printed.lines.iter().all(|line| line["kind"] != "host" && line["kind"] != "ecal"));
    let topic = printed.one("topic", "topic", "image");
    assert_eq!((&topic["source"], number(topic, "messages")), (&"registration".into(), COUNT), "{topic}");
    assert_eq!(number(topic, "bytes"), BYTES);
}

fn for_people() {
    let _world = World::new(Mode::Network);
    let arguments = "traffic --mode network --interface veth-a --count 2 --interval 0.1 --bits";
    let output = cli(Host::first(), arguments).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(0), "{text}");
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with("veth-a in ")).collect();
    assert_eq!(lines.len(), 2, "{text}");
    for word in ["bit/s", "avg", "min", "max", "total"] {
        assert!(lines[0].contains(word), "{word} in {text}");
    }
    assert!(lines[1].chars().any(|char| ('▁'..='█').contains(&char)), "a graph in {text}");
    assert!(!text.contains("lo in"), "{text}");
}

fn an_interface_that_is_not_there() {
    let _world = World::new(Mode::Network);
    let arguments = "traffic --mode network --interface none --no-raw --count 1 --interval 0.1";
    let output = cli(Host::first(), arguments).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("this computer has no interface `none` that is up"), "{said}");
}

fn a_capture_file_is_refused() {
    let output =
        cli(Host::first(), "traffic --transport file:/dev/null --duration 1").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no capture files"));
}
