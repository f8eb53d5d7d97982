//! What is shown, and what is published.

use std::process::Stdio;

use ferrocal_integration_tests::ecal::{self, DataType, Subscriber};
use ferrocal_integration_tests::process::Process;
use serde_json::{Value, json};

use crate::common::{Ended, command};
use crate::{Side, TEXT, expect_unmatched};

/// A message of robots.Robot, as proto.py takes it.
fn robot(name: &str, speed: f64) -> Value {
    json!({"robotName": name, "state": "MOVING", "wheels": [{"radiusM": speed}], "serial": "18446744073709551615"})
}

/// The same as `echo` shows it.
fn shown(name: &str, speed: f64) -> Value {
    json!({"robot_name": name, "state": "MOVING", "wheels": [{"radius_m": speed}], "serial": "18446744073709551615"})
}

pub(crate) fn echo_shows_protobuf(side: Side) {
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

pub(crate) fn echo_shows_text_and_bytes(side: Side) {
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
    bytes.expect_matched("bytes", 1);
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

pub(crate) fn echo_selects_and_cuts(side: Side) {
    let mut real = side.protobuf();
    let filter = r#"wheels[0].radius_m > 1 && robot_name != "Bob""#;
    let arguments: [&[&str]; 8] = [
        &["echo", "robot", "-f", "wheels[0].radius_m", "--count", "3"],
        &["echo", "robot", "--filter", filter, "--field", "robot_name", "--count", "1"],
        &["echo", "robot", "--csv", "-f", "robot_name", "-f", "state", "--count", "3"],
        &["echo", "robot", "--csv", "--once"],
        &["echo", "robot", "--truncate", "2", "-f", "robot_name", "--once"],
        &["echo", "robot", "--json", "-f", "serial", "-f", "place", "--once"],
        &["echo", "robot", "--field", "wheels[0].width"],
        &["echo", "robot", "--filter", "state == \"IDLE\" || !(5 < wheels[0].width)"],
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
    ended[7].failed(2, "type `robots.Wheel` has no field `width`");
}

pub(crate) fn echo_says_that_a_type_has_no_descriptor(side: Side) {
    let bare = DataType { name: "robots.Bare", encoding: "proto", descriptor: &[] };
    let mut real = side.publisher("bare", 3, &bare);
    let text = side.start(&["echo", "bare", "--once"]);
    let json = side.start(&["echo", "bare", "--once", "--json"]);
    let quiet = side.start(&["echo", "bare", "--once", "--hex"]);
    real.expect_matched("bare", 3);
    real.send(1, 0.0);
    let reason = "type `robots.Bare` was registered without a descriptor";
    let text = Ended::of(text);
    assert_eq!(text.text(0), "00 1f 3e");
    assert!(text.err.iter().any(|line| line.contains(reason)), "{text:?}");
    let row = Ended::of(json).rows().remove(0);
    assert_eq!((&row["hex"], &row["error"]), (&json!("001f3e"), &json!(reason)), "{row}");
    let quiet = Ended::of(quiet);
    assert_eq!((quiet.text(0).as_str(), quiet.err.len()), ("00 1f 3e", 0), "{quiet:?}");
}

pub(crate) fn pub_reaches_the_real_subscriber(side: Side) {
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

pub(crate) fn pub_makes_protobuf_of_json(side: Side) {
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
    side.run(&["desc", "robot", "--out", &path]).failed(1, "--force");
    side.run(&["desc", "robot", "--out", &path, "--force"]).text(0);
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
