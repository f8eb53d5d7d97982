//! The verbs with the real eCAL as the other side.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{ExitCode, Stdio};

use common::{Ended, command, start};
use ferrocal_integration_tests::ecal::{self, DataType, Logging, Publisher, Subscriber};
use ferrocal_integration_tests::netns::FIRST_ADDRESS;
use ferrocal_integration_tests::process::Process;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use serde_json::{Value, json};

const TEXT: DataType<'_> = DataType { name: "string", encoding: "utf-8", descriptor: &[] };
/// Ends what prints all the time, in seconds, so that a test that fails has an end.
const PATIENCE: &str = "90";
/// The keys of `list --json`, which are a promise.
const LIST_KEYS: [&str; 16] = [
    "bytes",
    "clock",
    "connections_external",
    "connections_local",
    "drops",
    "encoding",
    "host",
    "hz",
    "id",
    "kind",
    "layers",
    "pid",
    "process",
    "topic",
    "type",
    "unit",
];

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let mut test = |name: &str, body: fn(Side)| {
            let body = move || body(Side(World::new(mode)));
            tests.push(Test::new(format!("{name}::{}", mode.name()), &[Need::Ecal], body));
        };
        test("list_and_info_show_the_peers", list_and_info_show_the_peers);
        test("echo_shows_protobuf", echo_shows_protobuf);
        test("pub_reaches_the_real_subscriber", pub_reaches_the_real_subscriber);
        test("logs_come_and_go", logs_come_and_go);
        test("rates_are_those_of_the_publisher", rates_are_those_of_the_publisher);
    }
    let mut test = |name: &str, body: fn(Side)| {
        let body = move || body(Side(World::new(Mode::Local)));
        tests.push(Test::new(name, &[Need::Ecal], body));
    };
    test("nodes_shows_processes", nodes_shows_processes);
    test("types_are_found_and_defined", types_are_found_and_defined);
    test("echo_shows_text_and_bytes", echo_shows_text_and_bytes);
    test("echo_selects_and_cuts", echo_selects_and_cuts);
    test("pub_makes_protobuf_of_json", pub_makes_protobuf_of_json);
    test("what_is_unknown_is_not_found", what_is_unknown_is_not_found);
    test("ctrl_c_ends_with_or_without_a_result", ctrl_c_ends_with_or_without_a_result);
    test("a_closed_output_is_a_quiet_end", a_closed_output_is_a_quiet_end);
    suite::main(tests)
}

/// Where a test takes place; the command runs here.
struct Side(World);

impl Side {
    fn arguments<'a>(&self, arguments: &[&'a str]) -> Vec<&'a str> {
        static INTERFACE: std::sync::LazyLock<String> =
            std::sync::LazyLock::new(|| FIRST_ADDRESS.to_string());
        let mut all = arguments.to_vec();
        if self.0.mode() == Mode::Network {
            all.extend(["--mode", "network", "--interface", INTERFACE.as_str()]);
        }
        all
    }

    #[track_caller]
    fn start(&self, arguments: &[&str]) -> Process {
        start(self.0.here(), &self.arguments(arguments))
    }

    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::run(self.0.here(), &self.arguments(arguments))
    }

    #[track_caller]
    fn publisher(&self, topic: &str, len: usize, data_type: &DataType<'_>) -> Publisher {
        Publisher::start(self.0.there(), self.0.mode(), &[(topic, len)], data_type)
    }

    #[track_caller]
    fn protobuf(&self) -> Process {
        ecal::start_protobuf(self.0.there(), self.0.mode(), "robot", "command")
    }

    fn is_local(&self) -> bool {
        self.0.mode() == Mode::Local
    }
}

fn list_and_info_show_the_peers(side: Side) {
    let mut publisher = side.publisher("text", 20, &TEXT);
    let mut subscriber = Subscriber::start(side.0.there(), side.0.mode(), &["text"], 10);
    publisher.expect_matched("text", 1);
    subscriber.expect_matched("text", 1);
    publisher.send(10, 1000.0);
    subscriber.await_complete();

    // What they register is a second old at most.
    let mut watching = side.start(&["list", "--watch", "--json", "--duration", PATIENCE]);
    let row = watching
        .expect("a publisher with ten messages", |row| row["kind"] == "publisher" && row["clock"] == 10);
    let keys: Vec<_> = row.as_object().expect("an object").keys().map(String::as_str).collect();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, LIST_KEYS, "{row}");
    for (key, expected) in [
        ("topic", json!("text")),
        ("type", json!("string")),
        ("encoding", json!("utf-8")),
        ("host", json!(side.0.there().name())),
        ("pid", json!(publisher.process.id())),
        ("unit", json!("ecal_pub")),
        ("layers", json!(["udp"])),
        ("bytes", json!(20)),
        ("drops", json!(0)),
        ("connections_local", json!(1)),
        ("connections_external", json!(0)),
    ] {
        assert_eq!(row[key], expected, "{key} of {row}");
    }
    assert!(row["process"].as_str().is_some_and(|process| process.contains("python")), "{row}");
    assert!(row["id"].as_str().is_some_and(|id| id.parse::<u64>().is_ok()), "{row}");
    watching.expect("a subscriber with ten messages", |row| {
        row["kind"] == "subscriber" && row["clock"] == 10 && row["pid"] == subscriber.process.id()
    });
    watching.interrupt();
    Ended::of(watching).text(0);

    let listed = side.run(&["list", "-t"]).text(0);
    for line in [
        vec!["pub", "text", side.0.there().name(), "ecal_pub", "string"],
        vec!["sub", "text", side.0.there().name(), "ecal_sub"],
    ] {
        assert!(listed.lines().any(|row| line.iter().all(|cell| row.contains(cell))), "{line:?} in {listed}");
    }
    let kinds = |option| {
        let rows = side.run(&["list", "--json", option]).rows();
        rows.iter().map(|row| row["kind"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (kinds("--pubs"), kinds("--subs")),
        (vec!["publisher".to_owned()], vec!["subscriber".to_owned()])
    );

    let peers = side.run(&["info", "text", "--json"]).rows();
    let [publishing, subscribing] = &peers[..] else { panic!("{peers:?}") };
    assert_eq!((&publishing["kind"], &publishing["latency"]), (&json!("publisher"), &Value::Null));
    let latency = &subscribing["latency"];
    assert_eq!(latency["count"], 10, "{subscribing}");
    let us = |key: &str| latency[key].as_f64().unwrap_or_else(|| panic!("{key} in {latency}"));
    assert!(us("min_us") <= us("mean_us") && us("mean_us") <= us("max_us"), "{latency}");
    let udp = |layers: &Value| {
        layers
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["name"] == "udp" && one["active"] == true))
    };
    assert!(udp(&publishing["layer_states"]), "{publishing}");
    let text = side.run(&["info", "text"]).text(0);
    for part in ["text: publishers 1, subscribers 1", "10 in all", "udp active", "of 10 messages"] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

fn nodes_shows_processes(side: Side) {
    let publisher = side.publisher("a", 20, &TEXT);
    let rows = side.run(&["nodes", "--json"]).rows();
    let [row] = &rows[..] else { panic!("only the real one is to be shown: {rows:?}") };
    for (key, expected) in [
        ("host", json!(side.0.there().name())),
        ("pid", json!(publisher.process.id())),
        ("unit", json!("ecal_pub")),
        ("publishers", json!(1)),
        ("subscribers", json!(0)),
    ] {
        assert_eq!(row[key], expected, "{key} of {row}");
    }
    assert!(row["version"].as_str().is_some_and(|version| version.contains(ecal::VERSION)), "{row}");
    assert!(side.run(&["nodes"]).text(0).contains("ecal_pub"));
}

fn types_are_found_and_defined(side: Side) {
    let _robot = side.protobuf();
    let _untyped = side.publisher("bytes", 20, &DataType::default());
    for name in ["robots.Robot", "Robot"] {
        let found = side.run(&["find", name, "--json"]).rows();
        let expected = json!({"topic": "robot", "type": "robots.Robot", "encoding": "proto", "publishers": 1, "subscribers": 0});
        assert_eq!(found, [expected]);
    }
    side.run(&["find", "obot"]).failed(4, "no topic of type `obot` was found on this computer");

    let of_topic = side.run(&["desc", "robot"]).text(0);
    assert_eq!(side.run(&["desc", "robots.Robot"]).text(0), of_topic);
    assert_eq!(side.run(&["desc", "robots.Wheel"]).text(0), of_topic, "it is defined there, too");
    for line in
        ["// robot.proto", "package robots;", "  map<string, .robots.Wheel> named = 4;", "  oneof goal {"]
    {
        assert!(of_topic.lines().any(|one| one == line), "{line:?} in {of_topic}");
    }
    let json = side.run(&["desc", "robot", "--json"]).rows();
    assert!(json[0]["proto"]["robot.proto"].as_str().is_some_and(|text| text.contains("message Robot {")));

    side.run(&["desc", "bytes"]).failed(1, "no type is registered");
    side.run(&["desc", "nothing"]).failed(4, "no type or topic `nothing` was found");
}

/// A message of robots.Robot, as proto.py takes it.
fn robot(name: &str, speed: f64) -> Value {
    json!({"robotName": name, "state": "MOVING", "wheels": [{"radiusM": speed}], "serial": "18446744073709551615"})
}

/// The same as `echo` shows it.
fn shown(name: &str, speed: f64) -> Value {
    json!({"robot_name": name, "state": "MOVING", "wheels": [{"radius_m": speed}], "serial": "18446744073709551615"})
}

fn echo_shows_protobuf(side: Side) {
    let mut real = side.protobuf();
    let mut echo = side.start(&["echo", "robot", "--json", "--count", "2"]);
    ecal::expect_matched(&mut real, "robot", 1);
    for name in ["Ada", "Bob"] {
        real.send_line(&format!("send {}", robot(name, 0.25)));
        real.event("sent");
        let row = echo.expect("a message", |row| row["topic"] == "robot");
        assert_eq!((&row["message"], &row["type"]), (&shown(name, 0.25), &json!("robots.Robot")), "{row}");
        assert_eq!((&row["host"], &row["pid"]), (&json!(side.0.there().name()), &json!(real.id())), "{row}");
        let us = |key: &str| row[key].as_i64().unwrap_or_else(|| panic!("{key} in {row}"));
        assert!(
            us("send_time_us") > 1_700_000_000_000_000 && us("receive_time_us") >= us("send_time_us"),
            "{row}"
        );
        assert!(row.get("hex").is_none() && row.get("error").is_none(), "{row}");
    }
    Ended::of(echo).text(0);

    expect_unmatched(&mut real, "robot");
    let echo = side.start(&["echo", "robot", "--once", "-i"]);
    ecal::expect_matched(&mut real, "robot", 1);
    real.send_line(&format!("send {}", robot("Eve", 0.5)));
    let text = Ended::of(echo).text(0);
    let (info, message) = text.split_once('\n').unwrap_or_default();
    assert!(
        info.starts_with("robot clock 3 sent ") && info.contains(&format!("pid {}", real.id())),
        "{info}"
    );
    assert_eq!(
        message,
        "robot_name: \"Eve\"\nstate: MOVING\nwheels[0]:\n  radius_m: 0.5\nserial: 18446744073709551615\n---"
    );
}

fn echo_shows_text_and_bytes(side: Side) {
    let mut text = side.publisher("text", 1, &TEXT);
    let mut bytes = side.publisher("bytes", 3, &DataType::default());
    // Message n of the ramp begins with the byte n.
    let mut echo = side.start(&["echo", "text", "--json"]);
    text.expect_matched("text", 1);
    text.send(98, 1000.0);
    let row = echo.expect("the letter a", |row| row["clock"] == 98);
    assert_eq!((&row["message"], &row["encoding"], &row["bytes"]), (&json!("a"), &json!("utf-8"), &json!(1)));
    echo.interrupt();
    Ended::of(echo).text(0);

    let echo = side.start(&["echo", "bytes", "--count", "2"]);
    let hex = side.start(&["echo", "bytes", "--once", "--json"]);
    bytes.expect_matched("bytes", 2);
    bytes.send(2, 1000.0);
    assert_eq!(Ended::of(echo).text(0), "00 1f 3e\n01 20 3f");
    // What would control a terminal is written, too.
    expect_unmatched(&mut bytes.process, "bytes");
    let mut raw = command(side.0.here(), &["echo", "bytes", "--raw", "--count", "256"]);
    let raw = raw.stdout(Stdio::piped()).spawn().expect("it starts");
    bytes.expect_matched("bytes", 1);
    bytes.send(256, 1000.0);
    let expected: Vec<_> = (2..258).flat_map(|n| [0, 31, 62].map(|k| (n + k) as u8)).collect();
    assert!(raw.wait_with_output().expect("it ends").stdout == expected);
    assert_eq!(Ended::of(hex).rows()[0]["hex"], "001f3e");
}

fn echo_selects_and_cuts(side: Side) {
    let mut real = side.protobuf();
    let filter = r#"wheels[0].radius_m > 1 && robot_name != "Bob""#;
    let arguments: [&[&str]; 7] = [
        &["echo", "robot", "-f", "wheels[0].radius_m", "--count", "3"],
        &["echo", "robot", "--filter", filter, "--field", "robot_name", "--count", "1"],
        &["echo", "robot", "--csv", "-f", "robot_name", "-f", "state", "--count", "3"],
        &["echo", "robot", "--csv", "--once"],
        &["echo", "robot", "--truncate", "2", "-f", "robot_name", "--once"],
        &["echo", "robot", "--json", "-f", "serial", "-f", "place", "--once"],
        &["echo", "robot", "--field", "wheels[0].width"],
    ];
    let processes: Vec<_> = arguments.iter().map(|arguments| side.start(arguments)).collect();
    ecal::expect_matched(&mut real, "robot", processes.len());
    for (name, radius) in [("Ada", 0.5), ("Bob", 1.5), ("Eve", 2.5)] {
        real.send_line(&format!("send {}", robot(name, radius)));
        real.event("sent");
    }
    let ended: Vec<_> = processes.into_iter().map(Ended::of).collect();
    let expected = [
        "0.5\n1.5\n2.5",
        "Eve",
        "robot_name,state\nAda,MOVING\nBob,MOVING\nEve,MOVING",
        "robot_name,state,wheels[0].radius_m,place,serial,image,time,extra,any\nAda,MOVING,0.5,,18446744073709551615,,,,",
        "Ad... (3 bytes)",
    ];
    for (ended, expected) in ended.iter().zip(expected) {
        assert_eq!(ended.text(0), expected);
    }
    assert_eq!(ended[5].rows()[0]["fields"], json!({"serial": u64::MAX, "place": null}));
    ended[6].failed(2, "type `robots.Wheel` has no field `width`");
}

fn pub_reaches_the_real_subscriber(side: Side) {
    let mut real = Subscriber::start_with(side.0.there(), side.0.mode(), &["--each"], "text");
    let once = side.run(&["pub", "text", "hello", "--once", "--json"]).rows();
    assert_eq!(
        (&once[0]["sent"], &once[0]["type"], &once[0]["encoding"]),
        (&json!(1), &json!("string"), &json!("utf-8"))
    );
    let message = real.process.event("message");
    assert_eq!((&message["bytes"], &message["first"]), (&json!(5), &json!(b'h')));

    let mut lines = side.start(&["pub", "text", "--stdin", "-w", "1", "--rate", "100", "--json"]);
    lines.feed(b"one\n\ntwo\r\nfour");
    for (bytes, clock) in [(3, 1), (3, 2), (4, 3)] {
        let message = real.process.event("message");
        assert_eq!((&message["bytes"], &message["clock"]), (&json!(bytes), &json!(clock)));
    }
    assert_eq!(Ended::of(lines).rows()[0]["published"], 3);

    side.run(&["pub", "text", "x", "-w", "1", "--rate", "200", "--count", "20"]).text(0);
    let clocks: Vec<_> = (0..20).map(|_| real.process.event("message")["clock"].clone()).collect();
    assert_eq!(clocks, (1..=20).map(Value::from).collect::<Vec<_>>());
}

fn pub_makes_protobuf_of_json(side: Side) {
    let mut real = side.protobuf();
    let message = robot("Ada", 0.25);
    let text = message.to_string();
    let expect = |real: &mut Process| {
        let received = real.event("message");
        assert_eq!((&received["type"], &received["json"]), (&json!("robots.Robot"), &message));
    };
    // The type is known on the network.
    side.run(&["pub", "command", &text, "--type", "robots.Robot", "--once"]).text(0);
    expect(&mut real);

    // The descriptor file that `desc` writes defines it.
    let file = std::env::temp_dir().join(format!("ferrocal-descriptor-{}.bin", std::process::id()));
    let path = file.to_string_lossy();
    side.run(&["desc", "robot", "--out", &path]).text(0);
    side.run(&["pub", "command", &text, "-t", "robots.Robot", "--descriptor", &path, "--once"]).text(0);
    expect(&mut real);

    let arguments = ["pub", "command", "--stdin", "-t", "robots.Robot", "--descriptor", &path, "-w", "1"];
    let mut lines = side.start(&arguments);
    lines.feed(format!("{text}\n{{\"wheel\n{text}\n").as_bytes());
    expect(&mut real);
    expect(&mut real);
    Ended::of(lines).failed(1, "line 2 is skipped: it is not JSON of type `robots.Robot`");

    let bad = side.run(&["pub", "command", "{\"nme\": 1}", "-t", "robots.Robot", "--descriptor", &path]);
    bad.failed(1, "nme");
    let other = side.run(&["pub", "command", "{}", "-t", "robots.Cat", "--descriptor", &path]);
    other.failed(1, "does not define `robots.Cat`");
    let _ = std::fs::remove_file(&file);
    side.run(&["pub", "command", "{}", "-t", "robots.Cat", "--timeout", "1"])
        .failed(4, "no protobuf type `robots.Cat` was found");
}

fn logs_come_and_go(side: Side) {
    let mut real = Logging::start(side.0.there(), side.0.mode());
    let wanted =
        ["--level", "warning", "--unit", "ecal_log", "--pattern", "lidar", "--host", side.0.there().name()];
    let mut logs = side.start(&[&["logs", "--json", "-v"], &wanted[..]].concat());
    logs.await_text("log lines are received from now on");
    real.log("info", "the lidar is fine");
    real.log("error", "the radar is dirty");
    real.log("fatal", "the lidar is dirty");
    let row = logs.expect("a line", |row| row["unit"] == "ecal_log");
    assert_eq!((&row["text"], &row["level"]), (&json!("the lidar is dirty"), &json!("fatal")), "{row}");
    assert_eq!(row["host"], side.0.there().name());
    logs.interrupt();
    Ended::of(logs).text(0);

    side.run(&["logs", "--send", "from the command", "--level", "warning"]).text(0);
    let lines = real.lines_until("ferrocal logs", "from the command");
    assert_eq!(lines.last().expect("a line")["level"], "warning");
}

/// Waits for the event that leaves no peer on a topic.
#[track_caller]
fn expect_unmatched(process: &mut Process, topic: &str) {
    process.expect("that the peer is gone", |event| {
        event["event"] == "unmatched" && event["topic"] == topic && event["peers"] == 0
    });
}

/// Within 1 %.
#[track_caller]
fn assert_close(told: &Value, truth: f64, what: &str) {
    let value = told.as_f64().unwrap_or_else(|| panic!("{what}: {told}"));
    assert!((value - truth).abs() <= truth / 100.0, "{what}: {value}, not {truth}");
}

fn rates_are_those_of_the_publisher(side: Side) {
    const COUNT: u64 = 1000;
    let rate = if side.is_local() { 1000.0 } else { 100.0 };
    let mut publisher = side.publisher("topic", 2000, &DataType::default());
    let options = ["topic", "--json", "--window", "1000", "--duration", PATIENCE];
    let mut measuring: Vec<_> =
        ["hz", "bw", "delay"].into_iter().map(|verb| side.start(&[&[verb], &options[..]].concat())).collect();
    let mut real = Subscriber::start_with(side.0.there(), side.0.mode(), &["--each"], "topic");
    publisher.expect_matched("topic", 4);
    publisher.send(COUNT, rate);
    let lines: Vec<_> = measuring
        .iter_mut()
        .map(|process| process.expect("a line of all messages", |line| line["messages"] == COUNT))
        .collect();
    // By the publisher's own times.
    let mut send_us = |clock: u64| {
        let event = real.process.expect("a message", |event| event["clock"] == clock);
        event["time_us"].as_f64().expect("a time")
    };
    let seconds = (-send_us(1) + send_us(COUNT)) / 1e6;
    let truth = (COUNT - 1) as f64 / seconds;
    let [hz, bw, delay] = &lines[..] else { panic!("{lines:?}") };
    assert_close(&hz["hz"], truth, "messages in a second");
    assert_close(&hz["mean_ms"], 1000.0 / truth, "milliseconds between messages");
    assert_close(&bw["bytes_per_s"], truth * 2000.0, "bytes in a second");
    assert_eq!((&bw["mean_bytes"], &bw["p99_bytes"]), (&json!(2000.0), &json!(2000.0)));
    let ms = |key: &str| delay[key].as_f64().unwrap_or_else(|| panic!("{key} in {delay}"));
    assert!(0.0 < ms("min_ms") && ms("min_ms") <= ms("mean_ms") && ms("mean_ms") <= ms("max_ms"), "{delay}");
    for (line, process) in lines.iter().zip(measuring) {
        assert_eq!((&line["lost"], &line["tool_drops"]), (&json!(0), &json!(0)), "{line}");
        process.interrupt();
        Ended::of(process).text(0);
    }
}

fn what_is_unknown_is_not_found(side: Side) {
    let _publisher = side.publisher("known", 20, &DataType::default());
    side.run(&["info", "unknown"]).failed(4, "topic `unknown` was not found on this computer");
    side.run(&["list", "unknown"])
        .failed(4, "no publisher or subscriber of a topic like `unknown` was found");
    side.run(&["list", "--subs"]).failed(4, "no subscriber was found");
    for verb in ["echo", "hz", "bw", "delay"] {
        side.run(&[verb, "unknown", "--timeout", "1"])
            .failed(4, "no message came on topic `unknown`; no publisher of it was found on this computer");
    }
    side.run(&["echo", "known", "--timeout", "2"])
        .failed(4, "no message came on topic `known`; it has a publisher");
    side.run(&["pub", "unknown", "text", "--once", "--timeout", "1"])
        .failed(4, "topic `unknown` has 0 subscribers, not 1");
    side.run(&["logs", "--duration", "0.5", "--pattern", "never"]).failed(4, "no such line came in time");
    side.run(&["echo", "known", "--duration", "0.5"]).failed(4, "no message came");
    side.run(&["echo"]).failed(2, "required");
    side.run(&["echo", "known", "--filter", "a = 1"]).failed(2, "--filter");
}

fn ctrl_c_ends_with_or_without_a_result(side: Side) {
    let mut publisher = side.publisher("topic", 20, &DataType::default());
    for verb in ["echo", "hz"] {
        let waiting = side.start(&[verb, "topic"]);
        publisher.expect_matched("topic", 1);
        waiting.interrupt();
        assert_eq!(Ended::of(waiting).code, Some(130), "{verb}");
        expect_unmatched(&mut publisher.process, "topic");
    }
    for verb in ["echo", "hz"] {
        let mut showing = side.start(&[verb, "topic", "--json", "--duration", PATIENCE]);
        publisher.expect_matched("topic", 1);
        publisher.send(3, 1000.0);
        showing.expect("a message", |row| row["topic"] == "topic");
        showing.terminate();
        Ended::of(showing).text(0);
        expect_unmatched(&mut publisher.process, "topic");
    }
}

fn a_closed_output_is_a_quiet_end(side: Side) {
    let mut publisher = side.publisher("topic", 20, &DataType::default());
    let mut child = command(side.0.here(), &["echo", "topic"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    publisher.expect_matched("topic", 1);
    publisher.begin_sending(0, 100.0);
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    drop(out);
    let mut err = String::new();
    let _ = child.stderr.take().expect("it is piped").read_to_string(&mut err);
    let status = child.wait().expect("it ends");
    assert_eq!((status.code(), err.as_str()), (Some(0), ""), "after {line}");
}
