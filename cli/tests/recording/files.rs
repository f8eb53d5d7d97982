//! `convert` and `rec-info`: captures, measurements of eCAL's own writer, and bad files.

use std::fs;

use ferrocal_integration_tests::ecal::{self, Release};
use ferrocal_integration_tests::ramp;
use ferrocal_integration_tests::suite::{Need, Test};
use serde_json::Value;

use crate::harness::{Read, bytes, capture, check, ended, folder, run, start, within};

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    let captures = [
        ("ecal-5.13.4-network-small.pcap", "hello", 10, 20),
        ("ecal-5.13.4-network-large.pcap", "image", 3, 200_000),
        ("ecal-6.1.1-network-small.pcap", "hello", 10, 20),
        ("ecal-6.1.1-network-large.pcap", "image", 3, 200_000),
        ("ecal-6.1.1-local.pcap", "hello", 12, 0),
        ("wrapped/gzip.pcap.gz", "hello", 10, 20),
        ("wrapped/simple-then-enhanced.pcapng", "hello", 10, 20),
        ("wrapped/gap-of-a-day.pcap", "hello", 10, 20),
    ];
    for (name, topic, count, len) in captures {
        let body = move || a_capture_becomes_mcap(name, topic, count, len);
        tests.push(Test::new(format!("captures::{name}"), &[Need::Ecal], body));
    }
    for (release, name) in [(Release::Current, "6.1.1"), (Release::Old, "6.0.1")] {
        for layout in ["python", "5.0", "6.0", "5.0 one-file-per-topic", "6.0 one-file-per-topic"] {
            let body = move || every_entry_of_a_measurement_is_converted(release, layout);
            let name = format!("every_entry_of_a_measurement_is_converted::{name} {layout}");
            tests.push(Test::new(name, &[Need::OldEcal], body));
        }
    }
    let mut test = |name: &str, body: fn()| tests.push(Test::new(name, &[Need::Ecal], body));
    test("mcap_becomes_a_capture", mcap_becomes_a_capture);
    test("files_of_other_programs_are_read", files_of_other_programs_are_read);
    test("bad_files_are_named", bad_files_are_named);
    tests
}

fn a_capture_becomes_mcap(name: &str, topic: &str, count: u64, len: usize) {
    let folder = folder();
    let output = within(&folder, "a.mcap");
    let input = capture(name);
    let (code, line) = ended(start(&["convert", input.to_str().expect("UTF-8"), &output, "--json"]));
    assert_eq!(code, 0, "{line}");
    let read = Read::of(&output);
    let messages = read.topic(topic);
    assert_eq!((messages.len() as u64, &line["damage"]), (count, &Value::Array(Vec::new())), "{line}");
    for (n, message) in (0..).zip(&messages) {
        let bytes = bytes(message);
        // 0 stands for messages of different lengths, whose first byte says which they are.
        let is_right = if len > 0 { ramp::is(&bytes, n, len) } else { ramp::holds(&bytes) };
        assert!(is_right, "message {n}");
        assert_eq!(message["sequence"], n + 1, "{message}");
        assert!(message["log_ns"].as_u64() >= message["publish_ns"].as_u64(), "{message}");
    }

    let mut info = start(&["rec-info", &output, "--json"]);
    let recording = info.expect("the recording", |line| line["kind"] == "recording");
    assert_eq!(
        (&recording["format"], recording["messages"].as_u64()),
        (&"mcap".into(), line["messages"].as_u64())
    );
    assert_eq!(recording["complete"], true, "{recording}");
    let publisher =
        info.expect("the publisher", |line| line["kind"] == "publisher" && line["topic"] == topic);
    assert_eq!(publisher["messages"], count, "{publisher}");
    let mut of_capture = start(&["rec-info", input.to_str().expect("UTF-8"), "--json"]);
    let same =
        of_capture.expect("the publisher", |line| line["kind"] == "publisher" && line["topic"] == topic);
    assert_eq!(same, publisher, "of the capture itself");
}

fn every_entry_of_a_measurement_is_converted(release: Release, layout: &str) {
    let folder = folder();
    let (measurement, output) = (within(&folder, "measurement"), within(&folder, "a.mcap"));
    fs::create_dir(&measurement).expect("a folder can be made");
    let arguments: Vec<_> = [&*measurement, "base"].into_iter().chain(layout.split(' ')).collect();
    let mut writer = ecal::script_of(release, "measurement.py", &arguments);
    let mut entries = Vec::new();
    loop {
        let next = writer.expect("an entry", |_| true);
        if next["event"] == "done" {
            break;
        }
        entries.push(next);
    }
    assert_eq!(entries.len(), 421, "what the script writes");
    let files = fs::read_dir(&measurement).expect("it is there").count();
    assert!(files > 1, "several files");
    let version = entries[0]["version"].as_str().expect("a version");
    assert_eq!(version, if layout.starts_with("6.0") { "6.0" } else { "5.0" });

    let (code, line) = ended(start(&["convert", &measurement, &output, "--json"]));
    assert_eq!((code, line["messages"].as_u64()), (0, Some(421)), "{line}");
    check(
        &output,
        421,
        if version == "6.0" { &["flatbuffer", "protobuf", "utf-8"] } else { &["", "protobuf", "utf-8"] },
    );
    let read = Read::of(&output);
    let mut expected: Vec<_> = entries
        .iter()
        .map(|entry| {
            let ns = |key: &str| entry[key].as_u64().expect("a time") * 1000;
            let text = |key: &str| entry[key].as_str().unwrap_or_default();
            let texts = ["topic", "publisher", "type", "encoding", "descriptor_sha256", "data"].map(text);
            (ns("received_us"), ns("sent_us"), entry["clock"].as_u64(), texts)
        })
        .collect();
    let mut converted: Vec<_> = read
        .messages
        .iter()
        .map(|message| {
            let ns = |key: &str| message[key].as_u64().expect("a time");
            let metadata = |key: &str| message["metadata"][key].as_str();
            let texts = [
                message["topic"].as_str().expect("a topic"),
                metadata("ecal.topic_id").unwrap_or("0"),
                metadata("ecal.type").expect("always there"),
                metadata("ecal.encoding").expect("always there"),
                message["schema_sha256"].as_str().unwrap_or_default(),
                message["data"].as_str().expect("bytes"),
            ];
            (ns("log_ns"), ns("publish_ns"), message["sequence"].as_u64(), texts)
        })
        .collect();
    assert!(converted.is_sorted_by_key(|(received, ..)| *received), "in the order of receive times");
    expected.sort_unstable();
    converted.sort_unstable();
    assert_eq!(expected, converted);
    let stamp = read.topic("stamps/a,b%c\u{e9}")[7];
    assert_eq!(stamp["schema"], "google.protobuf.Timestamp");
    assert!(stamp["decoded"].is_string() || stamp["decoded"].is_object(), "it was decoded: {stamp}");

    let (code, transcript) = run(&["rec-info", &measurement]);
    let told = format!("measurement {version} in {files} file");
    assert!(code == 0 && transcript.contains(&told), "{transcript}");
    // One file of several is a measurement, too.
    let one = fs::read_dir(&measurement).expect("it is there").flatten().next().expect("a file").path();
    let (code, transcript) = run(&["rec-info", one.to_str().expect("UTF-8")]);
    assert!(code == 0 && transcript.contains(&format!("measurement {version} in 1 file")), "{transcript}");
}

fn mcap_becomes_a_capture() {
    let folder = folder();
    let [first, frames, second] = ["1.mcap", "2.pcap", "3.mcap"].map(|name| within(&folder, name));
    let input = capture("ecal-6.1.1-network-large.pcap");
    for (from, to) in [(input.to_str().expect("UTF-8"), &first), (&first, &frames), (&frames, &second)] {
        let (code, line) = ended(start(&["convert", from, to, "--json"]));
        assert_eq!(code, 0, "{line}");
    }
    let strip = |path: &str| {
        let messages = Read::of(path).messages;
        assert!(!messages.is_empty());
        messages
    };
    assert_eq!(strip(&first), strip(&second));
    // Other verbs read it as a capture of real traffic.
    let (code, transcript) = run(&["list", "--transport", &format!("file:{frames}"), "--json"]);
    assert!(code == 0 && transcript.contains("\"topic\":\"image\""), "{transcript}");
}

fn files_of_other_programs_are_read() {
    let folder = folder();
    for compression in ["none", "lz4", "zstd"] {
        let [path, output] =
            ["", "-converted"].map(|end| within(&folder, &format!("{compression}{end}.mcap")));
        ecal::script("mcap_write.py", &[&path, compression]).event("done");
        if compression != "none" && cfg!(not(feature = "compression")) {
            let (code, transcript) = run(&["convert", &path, &output]);
            assert_eq!(code, 1, "{transcript}");
            assert!(transcript.contains(&format!("compressed with {compression}")), "{transcript}");
            assert!(!fs::exists(&output).expect("it can be looked for"), "nothing half written is left");
            continue;
        }
        let (code, line) = ended(start(&["convert", &path, &output, "--json"]));
        assert_eq!((code, line["messages"].as_u64()), (0, Some(100)), "{line}");
        let read = Read::of(&output);
        assert_eq!(read.messages.len(), 100);
        for (n, message) in read.messages.iter().enumerate() {
            assert_eq!(bytes(message), format!("{{\"n\": {n}}}").as_bytes(), "{message}");
            assert_eq!((&message["encoding"], &message["schema"]), (&"json".into(), &"State".into()));
        }
    }
}

fn bad_files_are_named() {
    let folder = folder();
    let [text, empty, output] = ["text.mcap", "empty.mcap", "out.mcap"].map(|name| within(&folder, name));
    fs::write(&text, "no recording").expect("a file can be written");
    fs::write(&empty, "").expect("a file can be written");
    let missing = within(&folder, "missing.mcap");
    let small = capture("ecal-6.1.1-network-small.pcap");
    let small = small.to_str().expect("UTF-8");
    let newer = within(&folder, "newer.hdf5");
    fs::write(&newer, b"\x89HDF\r\n\x1a\nand nothing else").expect("a file can be written");
    for (arguments, code, named) in [
        (&["rec-info", &text][..], 1, "neither MCAP nor"),
        (&["rec-info", &empty], 1, "is empty"),
        (&["rec-info", &missing], 1, "missing.mcap"),
        (&["rec-info", &newer], 1, "newer.hdf5"),
        (&["rec-info"], 2, "FILE"),
        (&["convert", &text, &output], 1, "neither MCAP nor"),
        (&["convert", small, &text], 1, "--force"),
        (&["convert", small, "/nonexistent/out.mcap"], 1, "/nonexistent/out.mcap"),
        (&["convert", small, &within(&folder, "a.bag")], 1, ".mcap or .pcap"),
        (&["play", small], 1, "convert"),
        (&["play", &text], 1, "neither MCAP nor"),
        (&["play", &missing, "--rate=-1"], 2, "--rate"),
        (&["record", "-e", "["], 2, "--regex"),
        (&["record", "--transport", &format!("file:{small}")], 2, "convert"),
        (&["record", "--split-size", "1G", "--disk-quota", "1G"], 2, "--disk-quota"),
        (&["record", "-o", "/nonexistent/a.mcap"], 1, "/nonexistent/a.mcap"),
        (&["record", "-o", &text], 1, "text.mcap"),
        (&["record", "--trigger-topic", "a"], 2, "--pre-buffer"),
    ] {
        let (ended, transcript) = run(arguments);
        assert_eq!(ended, code, "{arguments:?}: {transcript}");
        assert!(transcript.contains(named), "{arguments:?}: {transcript}");
        assert!(!transcript.contains("panicked"), "{arguments:?}: {transcript}");
    }
    let taken = within(&folder, "folder.mcap");
    fs::create_dir(&taken).expect("a folder can be made");
    let (ended, transcript) = run(&["convert", small, &taken, "--force"]);
    assert_eq!((ended, transcript.matches("os error").count()), (1, 1), "{transcript}");
    let names: Vec<_> = fs::read_dir(folder.path()).expect("it is there").flatten().collect();
    assert_eq!(names.len(), 4, "nothing half written is left: {names:?}");
}
