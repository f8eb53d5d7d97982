//! `record`: sessions of the real eCAL, and what happens when it goes wrong.

use std::fs;
use std::process::Command;

use ferrocal_integration_tests::ecal::{self, DataType};
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::suite::{Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{ramp, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{
    FERROCAL, HERE, Read, bytes, check, ended, folder, isolate, run, start, start_in, within,
};

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let body = move || a_real_session_is_read_by_python(mode);
        tests.push(Test::new(
            format!("a_real_session_is_read_by_python::{}", mode.name()),
            &[Need::Ecal],
            body,
        ));
    }
    let mut test = |name: &str, body: fn()| tests.push(Test::new(name, &[Need::Ecal], body));
    test("a_killed_recording_holds_what_was_flushed", a_killed_recording_holds_what_was_flushed);
    test("a_full_disk_leaves_what_was_written", a_full_disk_leaves_what_was_written);
    test("a_read_only_disk_is_named", a_read_only_disk_is_named);
    test("parts_and_patterns", parts_and_patterns);
    test("a_trigger_writes_what_was_before", a_trigger_writes_what_was_before);
    test("the_trigger_s_signal_alone_changes_nothing", the_trigger_s_signal_alone_changes_nothing);
    test("a_key_is_the_trigger", a_key_is_the_trigger);
    test("a_file_that_is_deleted_meanwhile_is_named", a_file_that_is_deleted_meanwhile_is_named);
    test("nothing_to_record_is_said", nothing_to_record_is_said);
    tests
}

/// Waits until a publisher has a subscriber on a topic.
#[track_caller]
fn matched(publisher: &mut Process, topic: &str) {
    ecal::expect_matched(publisher, topic, 1);
}

/// Checks that these messages are those of a ramp, in its order. What was lost on the way is not among them.
#[track_caller]
fn assert_ramp(messages: &[Value], len: usize) {
    let clock = |message: &Value| message["sequence"].as_u64().expect("a clock");
    assert!(messages.is_sorted_by(|a, b| clock(a) < clock(b)));
    for message in messages {
        // A clock starts at 1, and its ramp at message 0.
        assert!(ramp::is(&bytes(message), clock(message) - 1, len), "message {}", clock(message));
    }
}

fn a_real_session_is_read_by_python(mode: Mode) {
    const COUNT: usize = 25;
    let world = World::new(mode);
    let folder = folder();
    let path = within(&folder, "a.mcap");
    let arguments = ["text".to_owned(), "reading".to_owned()];
    let mut session = ecal::start(world.there(), mode, "session.py", &arguments);
    let recorder = start_in(&world, &["record", "-o", &path, "--json", "--description", "a test"]);
    matched(&mut session, "text");
    matched(&mut session, "reading");
    session.send_line(&format!("send {COUNT}"));
    session.event("sent");
    let sent: Vec<_> = (0..COUNT).map(|_| session.event("message")).collect();
    wait::until("all messages are in the file", || Read::of(&path).messages.len() == 2 * COUNT);
    recorder.interrupt();
    let (code, line) = ended(recorder);
    assert_eq!((code, line["messages"].as_u64()), (0, Some(2 * COUNT as u64)), "{line}");
    session.finish();

    check(&path, 2 * COUNT, &["protobuf", "utf-8"]);
    let read = Read::of(&path);
    assert_eq!(read.summary["complete"], true);
    assert_eq!(read.metadata("ferrocal")["description"], "a test");
    for (n, sent) in sent.iter().enumerate() {
        let (text, reading) = (read.topic("text")[n], read.topic("reading")[n]);
        assert_eq!((&text["data"], &reading["data"]), (&sent["text"], &sent["protobuf"]), "{n}");
        assert_eq!(reading["schema"], "robots.Reading");
        assert_eq!(reading["schema_encoding"], "protobuf");
        assert_eq!(reading["decoded"]["number"], (n + 1).to_string(), "64-bit numbers are text in JSON");
        assert!(reading["decoded"]["time"].as_str().is_some_and(|time| time.starts_with("1970-01-01T")));
        for message in [text, reading] {
            assert_eq!(message["sequence"], n + 1, "the clock");
            assert!(message["log_ns"].as_u64() > Some(0) && message["publish_ns"].as_u64() > Some(0));
            assert_eq!(message["metadata"]["ecal.unit"], "ecal_session", "{message}");
            assert_eq!(message["metadata"]["ecal.host"], world.there().name(), "{message}");
        }
        assert_eq!((&text["encoding"], &text["metadata"]["ecal.type"]), (&"utf-8".into(), &"string".into()));
    }
}

fn a_killed_recording_holds_what_was_flushed() {
    let world = World::new(Mode::Local);
    let folder = folder();
    let [path, mended] = ["a.mcap", "mended.mcap"].map(|name| within(&folder, name));
    let mut publisher = ecal::Publisher::start(HERE, Mode::Local, &[("ramp", 5000)], &DataType::default());
    let recorder = start_in(&world, &["record", "-o", &path, "--flush-interval", "0.1"]);
    publisher.expect_matched("ramp", 1);
    publisher.send(50, 0.0);
    // All of them are flushed by then. What follows may be or not.
    wait::until("50 messages are in the file", || Read::of(&path).messages.len() == 50);
    publisher.begin_sending(0, 200.0);
    wait::until("more messages are in the file", || Read::of(&path).messages.len() > 60);
    recorder.kill();
    publisher.begin_sending(1, 0.0);
    publisher.process.event("sent");

    let read = Read::of(&path);
    assert_eq!(read.summary["complete"], false);
    assert!(read.messages.len() > 60);
    assert_ramp(&read.messages, 5000);
    let (code, transcript) = run(&["rec-info", &path]);
    assert!(code == 3 && transcript.contains("not completed"), "{code} {transcript}");
    let (code, line) = ended(start(&["convert", &path, &mended, "--json"]));
    assert_eq!((code, line["messages"].as_u64()), (3, Some(read.messages.len() as u64)), "{line}");
    assert_eq!(Read::of(&mended).messages, read.messages);
    check(&mended, read.messages.len(), &[""]);
    drop(publisher);
}

fn a_full_disk_leaves_what_was_written() {
    let folder = folder();
    let disk = within(&folder, "disk");
    let copy = within(&folder, "copy.mcap");
    fs::create_dir(&disk).expect("a folder can be made");
    let mut publisher = ecal::Publisher::start(HERE, Mode::Local, &[("ramp", 100_000)], &DataType::default());
    // A disk of 12 MB, which nobody else sees, and which has room for two chunks at least.
    let script =
        "mount -t tmpfs -o size=12m none \"$1\" && \"$2\" record -o \"$1/a.mcap\" --mode local --json
        code=$?
        cp \"$1/a.mcap\" \"$3\" && exit $code";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", &disk, FERROCAL, &copy]);
    isolate(&mut command);
    let mut recorder = Process::spawn("ferrocal record on a small disk", command);
    publisher.expect_matched("ramp", 1);
    publisher.begin_sending(0, 200.0);
    let files = recorder.expect("the summary", |line| line["kind"] == "record")["files"].clone();
    let (status, transcript) = recorder.last_text(HANG);
    publisher.begin_sending(1, 0.0);
    publisher.process.event("sent");
    assert_eq!(status.code(), Some(1), "{transcript}");
    assert!(transcript.contains("the disk is full") && transcript.contains("can be read"), "{transcript}");
    assert!(!transcript.contains("panicked"), "{transcript}");
    let read = Read::of(&copy);
    assert!(read.messages.len() > 5, "{}", read.messages.len());
    let len = fs::metadata(&copy).expect("it is there").len();
    let told = (files[0]["messages"].as_u64(), files[0]["bytes"].as_u64());
    assert_eq!(told, (Some(read.messages.len() as u64), Some(len)), "{files}");
    assert_ramp(&read.messages, 100_000);
    let (code, transcript) = run(&["rec-info", &copy]);
    assert!(code == 3 && transcript.contains("not completed"), "{code} {transcript}");
}

fn a_read_only_disk_is_named() {
    let folder = folder();
    let disk = within(&folder, "disk");
    fs::create_dir(&disk).expect("a folder can be made");
    let script =
        "mount -t tmpfs -o ro none \"$1\" && exec \"$2\" record -o \"$1/a.mcap\" --mode local --duration 60";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh", &disk, FERROCAL]);
    isolate(&mut command);
    let recorder = Process::spawn("ferrocal record on a read-only disk", command);
    let (status, transcript) = recorder.last_text(HANG);
    assert_eq!(status.code(), Some(1), "{transcript}");
    assert!(transcript.contains("a.mcap") && transcript.contains("Read-only"), "{transcript}");
}

fn parts_and_patterns() {
    let world = World::new(Mode::Local);
    let folder = folder();
    let base = within(&folder, "a.mcap");
    let arguments = [
        "record",
        "-o",
        &base,
        "-e",
        "^rec/",
        "-x",
        "skip",
        "--split-size",
        "100k",
        "--disk-quota",
        "350k",
        "--json",
    ];
    let recorder = start_in(&world, &arguments);
    recorder.await_text("recording to");
    let topics = [("rec/a", 10_000), ("rec/skip", 100), ("other", 100)];
    let mut publisher = ecal::Publisher::start(HERE, Mode::Local, &topics, &DataType::default());
    publisher.expect_matched("rec/a", 1);
    publisher.begin_sending(100, 0.0);
    publisher.process.event("sent");
    // A publisher that comes later.
    let mut later = ecal::Publisher::start(HERE, Mode::Local, &[("rec/later", 10)], &DataType::default());
    later.expect_matched("rec/later", 1);
    later.send(3, 0.0);
    let part = |number: usize| within(&folder, &format!("a_{number:04}.mcap"));
    let has_later = |number: usize| {
        fs::exists(part(number)).is_ok_and(|exists| exists)
            && !Read::of(&part(number)).topic("rec/later").is_empty()
    };
    wait::until("the last message is in a file", || (0..12).any(has_later));
    recorder.interrupt();
    let (code, line) = ended(recorder);
    assert_eq!((code, line["messages"].as_u64()), (0, Some(103)), "{line}");
    assert!(line["deleted_files"].as_u64() > Some(0), "{line}");
    let topics: Vec<_> =
        line["topics"].as_array().expect("a list").iter().map(|row| row["topic"].clone()).collect();
    assert_eq!(topics, ["rec/a", "rec/later"], "{line}");
    let files: Vec<_> = line["files"].as_array().expect("a list").to_vec();
    let total: u64 = files.iter().filter_map(|file| file["bytes"].as_u64()).sum();
    assert!(files.len() >= 2 && total < 400_000, "{line}");
    // What is left is the end, without a gap.
    let mut read = Vec::new();
    for file in &files {
        let path = file["path"].as_str().expect("a path");
        let of_file = Read::of(path);
        assert_eq!(of_file.summary["complete"], true);
        check(path, of_file.messages.len(), &[""]);
        assert_eq!(of_file.messages.len() as u64, file["messages"].as_u64().expect("a number"), "{file}");
        read.extend(of_file.topic("rec/a").into_iter().map(|message| message["sequence"].clone()));
    }
    let first = read[0].as_u64().expect("a clock");
    assert_eq!(read, (first..=100).map(Value::from).collect::<Vec<_>>());
}

fn a_trigger_writes_what_was_before() {
    let world = World::new(Mode::Local);
    for by_topic in [false, true] {
        let folder = folder();
        let path = within(&folder, "a.mcap");
        let mut arguments = vec!["record", "ramp", "-o", &path, "--pre-buffer", "3600", "--json"];
        if by_topic {
            arguments.extend(["--trigger-topic", "trigger"]);
        }
        let recorder = start_in(&world, &arguments);
        recorder.await_text("recording to");
        let topics = [("ramp", 100)];
        let mut publisher = ecal::Publisher::start(HERE, Mode::Local, &topics, &DataType::default());
        publisher.expect_matched("ramp", 1);
        publisher.send(20, 0.0);
        let mut trigger = ecal::Publisher::start(HERE, Mode::Local, &[("trigger", 1)], &DataType::default());
        if by_topic {
            trigger.expect_matched("trigger", 1);
            assert_eq!(Read::of(&path).messages.len(), 0, "nothing is written before");
            trigger.send(1, 0.0);
        } else {
            let id = Pid::from_raw(recorder.id().cast_signed()).expect("a process");
            kill_process(id, Signal::USR1).expect("it can be signalled");
        }
        wait::until("what was before is in the file", || Read::of(&path).messages.len() == 20);
        publisher.send(5, 0.0);
        wait::until("what came then is in the file", || Read::of(&path).messages.len() == 25);
        recorder.interrupt();
        let (code, line) = ended(recorder);
        assert_eq!(
            (code, &line["triggered"], line["messages"].as_u64()),
            (0, &Value::Bool(true), Some(25)),
            "{line}"
        );
        for (n, message) in (0..).zip(&Read::of(&path).messages) {
            assert!(ramp::is(&bytes(message), n, 100), "message {n}");
        }
    }
}

fn the_trigger_s_signal_alone_changes_nothing() {
    let world = World::new(Mode::Local);
    let folder = folder();
    let recorder = start_in(&world, &["record", "-o", &within(&folder, "a.mcap")]);
    recorder.await_text("recording to");
    recorder.signal(Signal::USR1);
    recorder.interrupt();
    let (status, transcript) = recorder.last_text(HANG);
    assert_eq!(status.code(), Some(130), "{transcript}");
}

fn a_file_that_is_deleted_meanwhile_is_named() {
    let world = World::new(Mode::Local);
    let folder = folder();
    let path = within(&folder, "a.mcap");
    let mut publisher = ecal::Publisher::start(HERE, Mode::Local, &[("ramp", 100)], &DataType::default());
    let recorder = start_in(&world, &["record", "-o", &path, "--flush-interval", "0.1", "--json"]);
    publisher.expect_matched("ramp", 1);
    publisher.begin_sending(0, 200.0);
    fs::remove_file(&path).expect("it can be deleted");
    recorder.await_text("a.mcap is gone");
    recorder.interrupt();
    let (code, line) = ended(recorder);
    assert_eq!((code, &line["files"][0]["gone"]), (3, &Value::Bool(true)), "{line}");
    publisher.begin_sending(1, 0.0);
    publisher.process.event("sent");
}

fn a_key_is_the_trigger() {
    let folder = folder();
    let path = within(&folder, "a.mcap");
    let arguments =
        ["200", FERROCAL, "record", "ramp", "-o", &path, "--pre-buffer", "3600", "--mode", "local"];
    let mut recorder = ecal::script("terminal.py", &arguments);
    let mut publisher = ecal::Publisher::start(HERE, Mode::Local, &[("ramp", 100)], &DataType::default());
    publisher.expect_matched("ramp", 1);
    let mut shows = |text: &str| {
        recorder.expect(text, |event| {
            event["event"] == "shown" && event["text"].as_str().is_some_and(|shown| shown.contains(text))
        });
    };
    shows("waiting for a trigger (t)");
    publisher.send(3, 0.0);
    shows("waiting for a trigger (t)");
    recorder.send_line("'t'");
    wait::until("what was before is in the file", || Read::of(&path).messages.len() == 3);
    // The live line of a terminal.
    for part in ["rec 00:", "msg/s", "| 1 topic |", "lost 0, queue full 0", "free "] {
        let shown = |event: &Value| event["text"].as_str().is_some_and(|shown| shown.contains(part));
        recorder.expect(part, |event| event["event"] == "shown" && shown(event));
    }
    // As Ctrl-C on a terminal.
    recorder.send_line(r"'\x03'");
    assert_eq!(recorder.event("ended")["code"], 0);
}

fn nothing_to_record_is_said() {
    let world = World::new(Mode::Local);
    let folder = folder();
    let path = within(&folder, "a.mcap");
    let (status, transcript) =
        start_in(&world, &["record", "-o", &path, "--duration", "0.2"]).last_text(HANG);
    assert!(status.code() == Some(4) && transcript.contains("no message came"), "{status} {transcript}");
    let recorder = start_in(&world, &["record", "-o", &path]);
    recorder.await_text("recording to");
    recorder.interrupt();
    let (status, transcript) = recorder.last_text(HANG);
    assert_eq!(status.code(), Some(130), "{transcript}");
    assert!(!fs::exists(&path).expect("it can be looked for"), "no file without messages");
}
