//! Services: who is there, and calls.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use ferrocal::{Bytes, DataType};
use ferrocal_integration_tests::ecal::{Calls, Release};
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::process::HANG;
use serde_json::{Value, json};

use crate::common::Ended;
use crate::{PATIENCE, Side};

/// A protobuf type: `message Point { double x = 1; }` of the package `demo`.
fn point() -> DataType {
    let source = "syntax = \"proto3\"; package demo; message Point { double x = 1; }";
    let file = protox::file::File::from_source("point.proto", source).unwrap();
    let set = ferrocal::prost_reflect::prost_types::FileDescriptorSet {
        file: vec![file.file_descriptor_proto().clone()],
    };
    use ferrocal::prost::Message;
    DataType { name: "demo.Point".into(), encoding: "proto".into(), descriptor: set.encode_to_vec().into() }
}

pub(crate) fn services_are_listed_and_called(side: Side) {
    let mut real = Calls::start(Release::Current, side.0.there(), side.0.mode(), "real", "ours");
    let node = ours::node(&side.0, side.0.here(), "our unit");
    let server = node.server("ours").unwrap();
    server.method_with::<[u8], [u8]>("mirror", point(), point(), Ok::<Bytes, _>).unwrap();
    real.expect_connected(1);

    let rows = side.run(&["services", "--json"]).rows();
    let row = |kind: &str, service: &str| {
        let mut rows = rows.iter().filter(|row| row["kind"] == kind && row["service"] == service);
        rows.next().unwrap_or_else(|| panic!("{kind} of {service} in {rows:?}"))
    };
    let echo = row("server", "real")["methods"].as_array().unwrap().iter().find(|one| one["name"] == "echo");
    let echo_keys = json!({
        "name": "echo", "request": "Ask", "request_encoding": "raw", "response": "Answer", "response_encoding": "",
        "calls": 0,
    });
    assert_eq!(echo, Some(&echo_keys));
    assert_eq!(row("server", "real")["pid"], real.process.id());
    assert_eq!(row("client", "ours")["port"], json!(null));
    assert_eq!(
        (&row("server", "ours")["port"], &row("server", "ours")["unit"]),
        (&json!(server.port()), &json!("our unit"))
    );
    let table = side.run(&["services", "our"]).text(0);
    assert!(table.contains("mirror  demo.Point  demo.Point      0") && !table.contains("real"), "{table}");

    assert_eq!(side.run(&["call", "real", "echo", "hello"]).text(0), "hello");
    assert_eq!(side.run(&["call", "real", "echo", "00ff", "--hex"]).text(0), "00 ff");
    assert_eq!(side.run(&["call", "real", "sorry", "x"]).text(0), "# returned -5\nsorry: x");
    let json = side.run(&["call", "ours", "mirror", r#"{"x": 1.5}"#, "--json", "--all"]).rows();
    assert_eq!(json.len(), 1);
    assert_eq!((&json[0]["value"], &json[0]["ret_state"]), (&json!({"x": 1.5}), &json!(0)));
    assert_eq!(json[0]["type"], "demo.Point");
    assert_eq!(server.stats().calls, 1);
    side.run(&["call", "ours", "mirror", "{"]).failed(1, "it is not JSON of type `demo.Point`");
    side.run(&["call", "real", "nothing"]).failed(4, "no method `nothing`; it has `echo`, `hang`, `sorry`");
    side.run(&["call", "nobody", "x", "--timeout", "0.1"])
        .failed(4, "no server of service `nobody` was found");

    let (entered, wait_entered) = channel();
    let (release, released) = channel::<()>();
    let released = Mutex::new(released);
    let hang = move |bytes| {
        let _ = entered.send(());
        let _ = released.lock().unwrap().recv();
        Ok(bytes)
    };
    server.method::<[u8], [u8]>("hang", hang).unwrap();
    let waiting = side.start(&["call", "ours", "hang", "--timeout", PATIENCE]);
    wait_entered.recv_timeout(HANG).unwrap();
    waiting.interrupt();
    assert_eq!(Ended::of(waiting).code, Some(130));
    drop(release);

    real.process.send_line("stopped");
    real.process.event("looking");
    let stop = side.run(&["stop", "ecal_calls", "nobody", "--json"]);
    // The one that is there was asked, and the other one is not forgotten.
    let asked: serde_json::Value = serde_json::from_str(&stop.text(4)).unwrap();
    assert_eq!((&asked["pid"], &asked["asked"]), (&json!(real.process.id()), &json!(true)));
    assert!(stop.err.join("").contains("no process `nobody`"), "{stop:?}");
    real.process.event("stopped");
    drop(server);
}

pub(crate) fn each_server_has_an_outcome(side: Side) {
    let node = ours::node(&side.0, side.0.here(), "ours");
    let good = node.server("mirrors").unwrap();
    good.method_with::<[u8], [u8]>("mirror", point(), point(), Ok::<Bytes, _>).unwrap();
    let damaged = node.server("mirrors").unwrap();
    let bad_type = DataType { descriptor: vec![0xff].into(), ..point() };
    damaged.method_with::<[u8], [u8]>("mirror", bad_type, point(), Ok::<Bytes, _>).unwrap();
    let other = node.server("mirrors").unwrap();
    other.method::<[u8], [u8]>("window", Ok).unwrap();

    let called = side.run(&["call", "mirrors", "mirror", r#"{"x": 1.5}"#, "--all", "--json"]);
    called.text(1);
    let rows = called.out.iter().map(|line| serde_json::from_str(line).unwrap());
    let (answers, errors): (Vec<Value>, Vec<Value>) = rows.partition(|row: &Value| row["error"].is_null());
    let values: Vec<_> = answers.iter().map(|row| &row["value"]).collect();
    assert_eq!(values, [&json!({"x": 1.5})], "{called:?}");
    let has = |text: &str| errors.iter().any(|row| row["error"].as_str().unwrap().contains(text));
    assert!(has("`demo.Point` cannot be used") && has("no method `mirror`; it has `window`"), "{called:?}");
    assert_eq!((errors.len(), good.stats().calls), (2, 1));
}
