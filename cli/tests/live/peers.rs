//! Who is there, and what they log.

use ferrocal_integration_tests::ecal::{self, DataType, Logging, Subscriber};
use serde_json::{Value, json};

use crate::common::Ended;
use crate::{PATIENCE, Side, TEXT};

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

pub(crate) fn list_and_info_show_the_peers(side: Side) {
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
    let route = &subscribing["routes"][0];
    assert_eq!(route["publisher"], publishing["id"], "{subscribing}");
    let reasons: Vec<_> = (0..3).map(|layer| route["layers"][layer]["reason"].as_str()).collect();
    // A publisher of another host is not reached by shared memory anyhow.
    assert!(reasons[0] == Some("off in the subscriber") || reasons[0] == Some("another host"), "{route}");
    assert_eq!(reasons[1..], [Some("carries the messages"), Some("off in the subscriber")], "{route}");
    let text = side.run(&["info", "text"]).text(0);
    for part in [
        "text: publishers 1, subscribers 1",
        "10 in all",
        "udp active",
        "of 10 messages",
        "route    udp from",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

pub(crate) fn nodes_shows_processes(side: Side) {
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

pub(crate) fn types_are_found_and_defined(side: Side) {
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

pub(crate) fn logs_come_and_go(side: Side) {
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

    side.run(&["logs", "--send", ""]).failed(2, "--send");
    side.run(&["logs", "--send", &"z".repeat(65_537)]).failed(2, "a text of 65537 bytes");
    side.run(&["logs", "--send", "from the command", "--level", "warning"]).text(0);
    let lines = real.lines_until("ferrocal logs", "from the command");
    assert_eq!(lines.last().expect("a line")["level"], "warning");
}
