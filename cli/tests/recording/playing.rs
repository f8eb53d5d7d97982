//! `play`: what the real eCAL receives of a recording.

use std::collections::BTreeMap;
use std::io::Cursor;

use ferrocal::Node;
use ferrocal_integration_tests::ecal::{self, DataType};
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::suite::{Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{ours, ramp, wait};
use ferrocal_proto::{SIM_TIME_TOPIC, SimTime};
use mcap::records::MessageHeader;
use serde_json::{Value, json};

use crate::harness::{FERROCAL, Read, ended, folder, start_in, within};

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let body = move || the_real_ecal_receives_what_was_recorded(mode);
        let name = format!("the_real_ecal_receives_what_was_recorded::{}", mode.name());
        tests.push(Test::new(name, &[Need::Ecal], body));
    }
    let mut test = |name: &str, body: fn()| tests.push(Test::new(name, &[Need::Ecal], body));
    test("types_are_registered_as_recorded", types_are_registered_as_recorded);
    test("places_topics_and_names_are_chosen", places_topics_and_names_are_chosen);
    test("simulated_time_is_that_of_the_recording", simulated_time_is_that_of_the_recording);
    test("keys_pause_step_and_seek", keys_pause_step_and_seek);
    test("a_closed_terminal_ends_it", a_closed_terminal_ends_it);
    test("channels_that_cannot_be_published_are_left_out", channels_that_cannot_be_published_are_left_out);
    test("what_cannot_be_played_is_said", what_cannot_be_played_is_said);
    tests
}

/// Writes a recording of ramp messages, each with its topic and its time in milliseconds.
fn write(path: &str, messages: &[(&str, u64)]) {
    let mut file = Cursor::new(Vec::new());
    let mut writer = mcap::Writer::new(&mut file).expect("a file in memory");
    let mut clocks = BTreeMap::new();
    for (topic, time_ms) in messages {
        let channel = writer.add_channel(0, topic, "", &BTreeMap::new()).expect("a channel");
        let clock = clocks.entry(*topic).or_insert(0_u32);
        let log_time = START_NS + time_ms * 1_000_000;
        let header = MessageHeader {
            channel_id: channel,
            sequence: *clock + 1,
            log_time,
            publish_time: log_time - 5000,
        };
        writer.write_to_known_channel(&header, &ramp::message((*clock).into(), 100)).expect("it is written");
        *clock += 1;
    }
    writer.finish().expect("it is completed");
    drop(writer);
    std::fs::write(path, file.into_inner()).expect("a file can be written");
}

/// When the recordings of these tests start.
const START_NS: u64 = 1_700_000_000_000_000_000;

/// The next message that the real subscriber got.
#[track_caller]
fn received(subscriber: &mut ecal::Subscriber) -> Value {
    subscriber.process.event("message")
}

fn the_real_ecal_receives_what_was_recorded(mode: Mode) {
    const COUNT: u64 = 30;
    let world = World::new(mode);
    let folder = folder();
    let path = within(&folder, "a.mcap");
    let topics = [("small", 20), ("large", 200_000)];
    let mut publisher = ecal::Publisher::start(world.there(), mode, &topics, &DataType::default());
    let recorder = start_in(&world, &["record", "-o", &path, "--count", "60", "--json"]);
    publisher.expect_matched("small", 1);
    publisher.expect_matched("large", 1);
    publisher.send(COUNT, 50.0);
    let (code, line) = ended(recorder);
    assert_eq!((code, line["messages"].as_u64()), (0, Some(2 * COUNT)), "{line}");
    publisher.process.finish();
    let read = Read::of(&path);
    let recorded = |topic: &str| read.topic(topic).into_iter().cloned().collect::<Vec<_>>();

    let mut subscriber = ecal::Subscriber::start_with(world.there(), mode, &["--each", "small"], "large");
    let player = start_in(&world, &["play", &path, "--wait", "1", "--json"]);
    let mut by_topic = BTreeMap::<String, Vec<Value>>::new();
    let mut order = Vec::new();
    for _ in 0..2 * COUNT {
        let message = received(&mut subscriber);
        let topic = message["topic"].as_str().expect("a topic").to_owned();
        order.push(topic.clone());
        by_topic.entry(topic).or_default().push(message);
    }
    let (code, line) = ended(player);
    assert_eq!((code, line["messages"].as_u64()), (0, Some(2 * COUNT)), "{line}");
    let log_times: Vec<_> = read.messages.iter().filter_map(|message| message["log_ns"].as_u64()).collect();
    let recorded_for = (log_times.last().expect("messages") - log_times[0]) as f64 / 1e9;
    assert!(
        line["seconds"].as_f64() >= Some(recorded_for),
        "as long as the recording, {recorded_for} s: {line}"
    );
    for (topic, len) in topics {
        let (recorded, received) = (recorded(topic), &by_topic[topic]);
        assert_eq!(recorded.len(), received.len());
        for (clock, (recorded, received)) in (1..).zip(recorded.iter().zip(received)) {
            // A clock starts at 1, and its ramp at message 0: that it is intact says that it is the right one.
            assert_eq!(
                (&received["intact"], received["clock"].as_u64()),
                (&json!(true), Some(clock)),
                "{received}"
            );
            assert_eq!(received["bytes"], len, "{received}");
            let sent_us = recorded["publish_ns"].as_u64().expect("a time") / 1000;
            assert_eq!(received["time_us"], sent_us, "the send time is that of the recording");
        }
    }
    let expected: Vec<_> = read.messages.iter().filter_map(|message| message["topic"].as_str()).collect();
    assert_eq!(expected.len(), order.len());
}

fn types_are_registered_as_recorded() {
    let world = World::new(Mode::Local);
    let folder = folder();
    let path = within(&folder, "a.mcap");
    let arguments = ["text".to_owned(), "reading".to_owned()];
    let mut session = ecal::start(world.there(), Mode::Local, "session.py", &arguments);
    let recorder = start_in(&world, &["record", "-o", &path, "--count", "2"]);
    ecal::expect_matched(&mut session, "text", 1);
    ecal::expect_matched(&mut session, "reading", 1);
    session.send_line("send 1");
    let sent = session.event("message");
    assert!(recorder.last_text(HANG).0.success());
    session.finish();

    // The real eCAL decodes by the descriptor that the player registers.
    let mut real = ecal::start_protobuf(world.there(), Mode::Local, "unused", "renamed");
    let mut monitor = ecal::Monitor::start(world.there(), Mode::Local);
    let player = start_in(
        &world,
        &["play", &path, "--topics", "reading", "--remap", "reading:=renamed", "--paused", "--json"],
    );
    let publisher = wait::until_some("the player registers", || {
        let snapshot = monitor.snapshot();
        snapshot["publishers"].as_array()?.iter().find(|row| row["topic"] == "renamed").cloned()
    });
    assert_eq!(
        (&publisher["type_name"], &publisher["encoding"]),
        (&json!("robots.Reading"), &json!("proto"))
    );
    let read = Read::of(&path);
    let reading = &read.topic("reading")[0];
    assert_eq!(reading["data"], sent["protobuf"]);
    assert!(publisher["descriptor"].as_str().is_some_and(|descriptor| descriptor.len() > 100));
    player.interrupt();
    assert_eq!(player.last_text(HANG).0.code(), Some(130), "nothing was published");

    let player = start_in(
        &world,
        &["play", &path, "--topics", "reading", "--remap", "reading:=renamed", "--wait", "1", "--json"],
    );
    let decoded = real.event("message");
    assert_eq!(decoded["type"], "robots.Reading");
    assert_eq!(ended(player).0, 0);
}

fn places_topics_and_names_are_chosen() {
    let world = World::new(Mode::Local);
    let folder = folder();
    let path = within(&folder, "a.mcap");
    let messages: Vec<_> = (0..10).flat_map(|n| [("a", n * 100), ("b", n * 100 + 1)]).collect();
    write(&path, &messages);
    let mut subscriber = ecal::Subscriber::start_with(world.there(), Mode::Local, &["--each"], "c");
    let arguments = [
        "play", &path, "--rate", "0", "--topics", "a", "-m", "a:=c", "--start", "0.25", "--end", "0.75",
        "--wait", "1", "--json",
    ];
    let (code, line) = ended(start_in(&world, &arguments));
    assert_eq!((code, line["messages"].as_u64()), (0, Some(5)), "{line}");
    for n in 3..8_u64 {
        let message = received(&mut subscriber);
        assert_eq!((&message["first"], &message["topic"]), (&json!(n), &json!("c")));
        assert_eq!(message["time_us"], (START_NS + n * 100_000_000 - 5000) / 1000);
    }
    // Again and again, until it is told to end.
    let arguments = [
        "play", &path, "--rate", "0", "--topics", "a", "-m", "a:=c", "--loop", "--count", "25", "--wait",
        "1", "--json",
    ];
    let (code, line) = ended(start_in(&world, &arguments));
    assert_eq!((code, line["messages"].as_u64()), (0, Some(25)), "{line}");
    for n in 0..25_u64 {
        assert_eq!(received(&mut subscriber)["first"], n % 10);
    }
}

fn simulated_time_is_that_of_the_recording() {
    let world = World::new(Mode::Local);
    let folder = folder();
    let path = within(&folder, "a.mcap");
    // Longer than the test.
    write(&path, &[("a", 0), ("a", 1_000_000)]);
    let node: Node = ours::node(&world, world.here(), "ours");
    let times = node.subscriber::<[u8]>(SIM_TIME_TOPIC).expect("a good topic");
    let _messages = node.subscriber::<[u8]>("a").expect("a good topic");
    let player = start_in(&world, &["play", &path, "--clock", "50", "--rate", "2", "--wait", "1", "--json"]);
    let mut last = 0;
    for _ in 0..20 {
        let message = times.recv_timeout(HANG).expect("a time");
        let time = SimTime::decode(&message.payload).expect("a good message");
        assert_eq!(time.factor, 2.0);
        assert!(time.nanoseconds >= START_NS.cast_signed() && time.nanoseconds >= last, "{time:?}");
        last = time.nanoseconds;
    }
    player.interrupt();
    let (code, line) = ended(player);
    assert_eq!((code, line["messages"].as_u64()), (0, Some(1)), "{line}");
}

fn keys_pause_step_and_seek() {
    let world = World::new(Mode::Local);
    let folder = folder();
    let path = within(&folder, "a.mcap");
    let messages: Vec<_> = (0..30).map(|n| ("a", n * 1000)).collect();
    write(&path, &messages);
    let mut subscriber = ecal::Subscriber::start_with(world.there(), Mode::Local, &["--each"], "a");
    let arguments = ["80", FERROCAL, "play", &path, "--mode", "local", "--paused", "--wait", "1", "--json"];
    let mut player = ecal::script("terminal.py", &arguments);
    shows(&mut player, "pause");
    for n in 0..3 {
        player.send_line("'s'");
        assert_eq!(received(&mut subscriber)["first"], n, "a step publishes the next message");
    }
    // From 2 s on: 10 s forth, 5 s back, and the message there.
    player.send_line(r"'\x1b[C\x1b[C\x1b[D'");
    player.send_line("'s'");
    assert_eq!(received(&mut subscriber)["first"], 7);
    player.send_line(r"'\x1b[H'");
    player.send_line("'s'");
    assert_eq!(received(&mut subscriber)["first"], 0, "home is the start");
    // Played from there on, as fast as that goes.
    player.send_line(&format!("'{} '", "+".repeat(15)));
    for n in 1..30 {
        assert_eq!(received(&mut subscriber)["first"], n);
    }
    let summary = player.expect("the summary", |line| line["kind"] == "play");
    assert_eq!(summary["messages"], 34, "{summary}");
    assert_eq!(player.event("ended")["code"], 0);
}

fn a_closed_terminal_ends_it() {
    let folder = folder();
    let path = within(&folder, "a.mcap");
    write(&path, &[("a", 0)]);
    let mut player =
        ecal::script("terminal.py", &["80", FERROCAL, "play", &path, "--mode", "local", "--paused"]);
    shows(&mut player, "pause");
    player.send_line("close");
    player.event("ended");
}

/// Waits until a program shows a text.
#[track_caller]
fn shows(terminal: &mut Process, text: &str) {
    terminal.expect(text, |event| {
        event["event"] == "shown" && event["text"].as_str().is_some_and(|shown| shown.contains(text))
    });
}

fn what_cannot_be_played_is_said() {
    let world = World::new(Mode::Local);
    let folder = folder();
    let [path, empty] = ["a.mcap", "empty.mcap"].map(|name| within(&folder, name));
    write(&path, &[("a", 0), ("a", 10)]);
    write(&empty, &[]);
    for (arguments, code, named) in [
        (&["play", &path, "--topics", "b"][..], 4, "topic b"),
        (&["play", &path, "-e", "^b"], 4, "no topic"),
        (&["play", &path, "--start", "5"], 4, "--start"),
        (&["play", &empty], 4, "no messages"),
        (&["play", &path, "--wait", "1", "--duration", "0.2"], 4, "subscribers"),
        (&["play", &path, "--delay", "60", "--duration", "0.2"], 4, "--delay"),
        (&["play", &path, "--remap", "a=b"], 2, "A:=B"),
        (&["play", &path, "--start", "then"], 2, "--start"),
    ] {
        let (status, transcript) = start_in(&world, arguments).last_text(HANG);
        assert_eq!(status.code(), Some(code), "{arguments:?}: {transcript}");
        assert!(
            transcript.contains(named) && !transcript.contains("panicked"),
            "{arguments:?}: {transcript}"
        );
    }
}

/// Other programs write topics without a name, and names of any length.
fn channels_that_cannot_be_published_are_left_out() {
    let world = World::new(Mode::Local);
    let folder = folder();
    let [path, bad] = ["a.mcap", "bad.mcap"].map(|name| within(&folder, name));
    let long = "z".repeat(65_535);
    write(&path, &[("", 0), ("a", 0), (&long, 1), ("", 2), ("a", 3)]);
    write(&bad, &[("", 0)]);
    let mut play = start_in(&world, &["play", &path, "--delay", "0", "--json"]);
    let line = play.expect("the summary", |line| line["kind"] == "play");
    assert_eq!((&line["messages"], &line["left_out"]), (&2.into(), &3.into()), "{line}");
    let (status, transcript) = play.last_text(HANG);
    assert_eq!(status.code(), Some(3), "{transcript}");
    for named in
        ["of 2 messages: topic: the name is empty", "of 1 message: topic: the name is 65535 bytes long"]
    {
        assert!(transcript.contains(named), "{named:?} in {transcript}");
    }
    let (status, transcript) = start_in(&world, &["play", &bad]).last_text(HANG);
    assert!(status.code() == Some(1) && transcript.contains("no channel"), "{status} {transcript}");
}
