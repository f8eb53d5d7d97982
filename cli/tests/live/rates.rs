//! What is measured.

use ferrocal_integration_tests::ecal::{DataType, Subscriber};
use serde_json::{Value, json};

use crate::common::Ended;
use crate::{PATIENCE, Side};

/// Within 10 %: on a busy machine, the first or the last message is received late. Unit tests of the figures are exact.
#[track_caller]
fn assert_close(told: &Value, truth: f64, what: &str) {
    let value = told.as_f64().unwrap_or_else(|| panic!("{what}: {told}"));
    assert!((value - truth).abs() <= truth / 10.0, "{what}: {value}, not {truth}");
}

pub(crate) fn rates_are_those_of_the_publisher(side: Side) {
    const LEN: usize = 200;
    // So many that it matters little when the first and the last one happen to be received.
    let (count, rate) = if side.is_local() { (5000, 1000.0) } else { (1500, 100.0) };
    let mut publisher = side.publisher("topic", LEN, &DataType::default());
    let options = ["topic", "--json", "--window", "1000", "--duration", PATIENCE];
    let mut measuring: Vec<_> =
        ["hz", "bw", "delay"].into_iter().map(|verb| side.start(&[&[verb], &options[..]].concat())).collect();
    let mut real = Subscriber::start_with(side.0.there(), side.0.mode(), &["--each"], "topic");
    publisher.expect_matched("topic", 4);
    publisher.send(count, rate);
    let lines: Vec<_> = measuring
        .iter_mut()
        .map(|process| process.expect("a line of all messages", |line| line["messages"] == count))
        .collect();
    // By the publisher's own times.
    let mut send_us = |clock: u64| {
        let event = real.process.expect("a message", |event| event["clock"] == clock);
        event["time_us"].as_f64().expect("a time")
    };
    let seconds = (-send_us(1) + send_us(count)) / 1e6;
    let truth = (count - 1) as f64 / seconds;
    let [hz, bw, delay] = &lines[..] else { panic!("{lines:?}") };
    assert_close(&hz["hz"], truth, "messages in a second");
    assert_close(&hz["mean_ms"], 1000.0 / truth, "milliseconds between messages");
    assert_close(&bw["bytes_per_s"], truth * LEN as f64, "bytes in a second");
    assert_eq!((&bw["mean_bytes"], &bw["p99_bytes"]), (&json!(LEN as f64), &json!(LEN as f64)));
    let ms = |key: &str| delay[key].as_f64().unwrap_or_else(|| panic!("{key} in {delay}"));
    assert!(0.0 < ms("min_ms") && ms("min_ms") <= ms("mean_ms") && ms("mean_ms") <= ms("max_ms"), "{delay}");
    for (line, process) in lines.iter().zip(measuring) {
        assert_eq!((&line["lost"], &line["tool_drops"]), (&json!(0), &json!(0)), "{line}");
        process.interrupt();
        Ended::of(process).text(0);
    }
}

pub(crate) fn what_the_tool_loses_is_told(side: Side) {
    // A message does not fit into the receive buffer.
    let config = std::env::temp_dir().join(format!("ferrocal-small-{}.yaml", std::process::id()));
    std::fs::write(&config, "transport_layer: { udp: { receive_buffer: 4096 } }\n")
        .expect("it can be written");
    let mut publisher = side.publisher("large", 5_000_000, &DataType::default());
    let measuring = side.start(&["hz", "large", "--config", &config.to_string_lossy()]);
    publisher.expect_matched("large", 1);
    publisher.begin_sending(0, 20.0);
    measuring.await_text("this tool was too slow: the system dropped ");
    measuring.terminate();
    let ended = Ended::of(measuring);
    let _ = std::fs::remove_file(&config);
    assert_eq!(ended.code, Some(3), "{ended:?}");
}
