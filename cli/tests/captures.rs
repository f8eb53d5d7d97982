//! The verbs on capture files, and those that need no network.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use common::Ended;
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::pcapfile;
use ferrocal_integration_tests::suite::{self, Test};
use serde_json::{Value, json};

/// Captures of two versions of eCAL, and the hosts that send in them.
const SMALL: [&str; 2] = ["ecal-6.1.1-network-small.pcap", "ecal-5.13.4-network-small.pcap"];

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for file in SMALL {
        let mut test = |name: &str, body: fn(&str)| {
            tests.push(Test::new(format!("{name}::{file}"), &[], move || body(file)));
        };
        test("list_shows_what_registers", list_shows_what_registers);
        test("echo_shows_the_messages", echo_shows_the_messages);
        test("hz_is_that_of_the_send_times", hz_is_that_of_the_send_times);
    }
    let mut test = |name: &str, body: fn()| tests.push(Test::new(name, &[], body));
    test("local_and_large_captures_are_shown", local_and_large_captures_are_shown);
    test("delay_is_that_of_the_frames", delay_is_that_of_the_frames);
    test("an_interface_of_local_mode_is_refused", an_interface_of_local_mode_is_refused);
    test("what_is_waited_for_is_said", what_is_waited_for_is_said);
    test("bytes_have_a_type_of_any_name", bytes_have_a_type_of_any_name);
    test("what_a_capture_does_not_have_is_not_found", what_a_capture_does_not_have_is_not_found);
    test("what_was_skipped_of_a_capture_is_said_once", what_was_skipped_of_a_capture_is_said_once);
    test("why_a_capture_cannot_be_read_is_said_once", why_a_capture_cannot_be_read_is_said_once);
    test("config_names_where_values_come_from", config_names_where_values_come_from);
    test("config_refuses_what_every_node_refuses", config_refuses_what_every_node_refuses);
    test("the_executable_is_small", the_executable_is_small);
    test("completions_and_manuals_are_written", completions_and_manuals_are_written);
    suite::main(tests)
}

#[track_caller]
fn run(arguments: &[&str]) -> Ended {
    Ended::run(Host::first(), arguments)
}

fn file(name: &str) -> String {
    format!("file:{}", pcapfile::capture(name).display())
}

fn fast(name: &str) -> String {
    format!("file-fast:{}", pcapfile::capture(name).display())
}

/// The type that the publisher of a capture registered.
fn registered(name: &str) -> &'static str {
    if name.contains("6.1.1") { "demo.Point" } else { "" }
}

fn list_shows_what_registers(name: &str) {
    let rows = run(&["list", "--json", "--transport", &file(name)]).rows();
    let publisher = rows.iter().find(|row| row["kind"] == "publisher").expect("a publisher");
    assert_eq!(
        (&publisher["topic"], &publisher["clock"], &publisher["bytes"]),
        (&json!("hello"), &json!(10), &json!(20))
    );
    let type_name = registered(name);
    assert_eq!(publisher["type"], type_name, "{publisher}");
    assert!(rows.iter().any(|row| row["kind"] == "subscriber"), "{rows:?}");
    let text = run(&["list", "-t", "--transport", &file(name)]).text(0);
    assert!(text.lines().any(|line| line.starts_with("pub") && line.contains(type_name)), "{text}");
    assert!(run(&["nodes", "--transport", &file(name)]).text(0).lines().count() > 1);
    let info = run(&["info", "hello", "--transport", &file(name)]).text(0);
    assert!(info.contains("10 in all"), "{info}");
}

fn echo_shows_the_messages(name: &str) {
    for transport in [file(name), fast(name)] {
        let rows = run(&["echo", "hello", "--json", "--transport", &transport]).rows();
        let clocks: Vec<_> = rows.iter().map(|row| row["clock"].clone()).collect();
        assert_eq!(clocks, (1..=10).map(Value::from).collect::<Vec<_>>(), "{transport}");
        let is_right = |row: &Value| row["bytes"] == 20 && row["type"] == registered(name);
        assert!(rows.iter().all(is_right), "{rows:?}");
    }
}

fn hz_is_that_of_the_send_times(name: &str) {
    let rows = run(&["echo", "hello", "--json", "--transport", &fast(name)]).rows();
    let times: Vec<_> = rows.iter().filter_map(|row| row["send_time_us"].as_f64()).collect();
    let truth = 9.0 / ((times[9] - times[0]) / 1e6);
    // However fast the file is replayed.
    for transport in [file(name), fast(name)] {
        let arguments = ["hz", "hello", "--json", "--window", "1000", "--transport", &transport];
        let lines = run(&arguments).rows();
        let last = lines.last().expect("a line");
        assert_eq!((&last["messages"], &last["total"]), (&json!(10), &json!(10)), "{last}");
        let hz = last["hz"].as_f64().expect("a rate");
        assert!((hz - truth).abs() < truth / 1e6, "{hz}, not {truth}");
    }
}

fn local_and_large_captures_are_shown() {
    for name in ["ecal-6.1.1-local.pcap", "ecal-6.1.1-network-large.pcap", "ecal-5.13.4-network-large.pcap"] {
        let rows = run(&["list", "--json", "--transport", &file(name)]).rows();
        let topics = rows.iter().filter(|row| row["kind"] == "publisher");
        let topics: Vec<_> = topics.filter_map(|row| row["topic"].as_str()).collect();
        assert!(!topics.is_empty(), "{name}");
        for topic in topics {
            let shown = run(&["echo", topic, "--json", "--transport", &fast(name)]);
            assert!(!shown.rows().is_empty(), "{topic} of {name}: {shown:?}");
        }
    }
}

fn delay_is_that_of_the_frames() {
    for name in SMALL {
        let delays =
            run(&["delay", "hello", "--json", "--window", "3600", "--transport", &file(name)]).rows();
        let last = delays.last().expect("a line");
        let new: u64 = delays.iter().filter_map(|line| line["new"].as_u64()).sum();
        assert_eq!(
            (&last["messages"], &last["total"], new, &last["lost"]),
            (&json!(10), &json!(10), 10, &json!(0))
        );
        // They were captured on the host that sent them.
        let [min, max] = ["min_ms", "max_ms"].map(|key| last[key].as_f64().expect("a number"));
        assert!(0.0 <= min && min <= max && max < 100.0, "{name}: {last}");
    }
}

fn an_interface_of_local_mode_is_refused() {
    run(&["list", "--mode", "local", "--interface", "lo"]).failed(2, "add --mode network");
    run(&["config", "--mode", "network", "--interface", "lo", "--set"]).text(0);
}

fn what_is_waited_for_is_said() {
    let start = |arguments: &[&str]| common::start(Host::first(), arguments);
    let no_type = start(&["pub", "goal", "{}", "--type", "robots.Goal", "--timeout", "2.5"]);
    let nobody = start(&["pub", "nobody", "hello", "--once", "--timeout", "2.5"]);
    for (process, waits, fails) in [
        (no_type, "waiting for a program that has the type robots.Goal", "no protobuf type `robots.Goal`"),
        (nobody, "waiting for 1 subscriber of topic nobody", "topic `nobody` has 0 subscribers, not 1"),
    ] {
        let ended = Ended::of(process);
        ended.failed(4, fails);
        assert!(ended.err[0].starts_with(waits), "{ended:?}");
    }
}

fn bytes_have_a_type_of_any_name() {
    let image = ["pub", "image", "--file", env!("CARGO_MANIFEST_PATH"), "--type", "image/jpeg"];
    let rows = run(&[&image[..], &["--count", "1", "--json"]].concat()).rows();
    assert_eq!((&rows[0]["type"], &rows[0]["encoding"]), (&json!("image/jpeg"), &json!("")), "{rows:?}");
    let one = run(&["pub", "greeting", "hello", "--count", "1"]);
    assert!(one.err[0].starts_with("published 1 message in "), "{one:?}");
}

fn what_a_capture_does_not_have_is_not_found() {
    let transport = file(SMALL[0]);
    for verb in ["echo", "hz"] {
        run(&[verb, "unknown", "--transport", &transport])
            .failed(4, "has no messages of topic `unknown`; it has hello");
    }
    let fields = run(&["echo", "hello", "--field", "x", "--count", "1", "--transport", &fast(SMALL[1])]);
    assert!(fields.err.iter().any(|line| line.contains("no fields")), "{fields:?}");
    run(&["info", "unknown", "--transport", &transport])
        .failed(4, "topic `unknown` was not found in this capture");
    run(&["list", "--transport", "file:/nowhere/missing.pcap"]).failed(1, "/nowhere/missing.pcap");
    let foreign = format!("file:{}", env!("CARGO_MANIFEST_PATH"));
    run(&["list", "--transport", &foreign]).failed(1, "Cargo.toml");
    let folder = concat!("file:", env!("CARGO_MANIFEST_DIR"));
    run(&["list", "--transport", folder]).failed(1, "is a directory; name a capture file in it");
    let measurement = concat!("file:", env!("CARGO_MANIFEST_DIR"), "/tests/data/measurement-6.0.hdf5");
    run(&["list", "--transport", measurement]).failed(2, "is a measurement, not a capture file");
    run(&["record", "-o", "-"]).failed(2, "name one");
    run(&["record", "-o", env!("CARGO_MANIFEST_PATH")]).failed(1, "is there already");
    run(&["echo", "hello", "--transport", "pigeon"]).failed(2, "pigeon");
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ferrocal-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("there is a folder for temporary files");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What `rec-info` and `convert` say on a capture.
fn read_by_both(capture: &Path, folder: &Folder) -> [Ended; 2] {
    let (capture, output) = (capture.to_string_lossy(), folder.0.join("converted.mcap"));
    [run(&["rec-info", &capture]), run(&["convert", &capture, &output.to_string_lossy()])]
}

#[track_caller]
fn assert_once(ended: &Ended, text: &str) {
    assert_eq!(ended.err.join("\n").matches(text).count(), 1, "{text:?} in {ended:?}");
}

fn what_was_skipped_of_a_capture_is_said_once() {
    for ended in read_by_both(&pcapfile::capture("wrapped/snapped-96.pcap"), &Folder::new("skipped")) {
        assert_once(&ended, "27 frames were skipped because they were cut");
        assert_once(&ended, "is over: 27 frames were read");
    }
}

fn why_a_capture_cannot_be_read_is_said_once() {
    let folder = Folder::new("unreadable");
    let mut bytes = fs::read(pcapfile::capture("wrapped/gzip.pcap.gz")).expect("the capture is there");
    // It ends with a checksum of 4 bytes and a length of 4.
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    let path = folder.0.join("damaged.pcap.gz");
    fs::write(&path, bytes).expect("it can be written");
    let why = format!("reading the capture file {} failed: corrupt gzip stream", path.display());
    let [info, converted] = read_by_both(&path, &folder);
    let text = info.text(3);
    assert!(text.contains("messages  10") && text.contains(&why), "{info:?}");
    assert_eq!(info.err, [""; 0]);
    assert_eq!(converted.code, Some(3), "{converted:?}");
    assert_once(&converted, &why);
}

fn config_names_where_values_come_from() {
    let folder = Folder::new("config");
    let path = folder.0.join("mine.yaml");
    fs::write(&path, "transport_layer:\n  udp:\n    port: 14102\n").expect("it can be written");
    let path = path.to_string_lossy();
    let rows = run(&["config", "--json", "--config", &path, "--mode", "network"]).rows();
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("{key}"));
    let port = row("transport_layer.udp.port");
    assert_eq!(
        (&port["value"], &port["origin"], &port["line"]),
        (&json!("14102"), &json!("file"), &json!(3))
    );
    assert_eq!(port["file"], *path);
    let mode = row("communication_mode");
    assert_eq!((&mode["value"], &mode["origin"]), (&json!("network"), &json!("command-line")));
    assert_eq!(row("registration.registration_refresh")["origin"], "default");
    let mask = row("transport_layer.udp.mask");
    assert_eq!((&mask["value"], &mask["remark"]), (&json!("255.255.255.240"), &json!("with v1 0.0.0.15")));
    assert_eq!(mode["remark"], Value::Null);
    let set = run(&["config", "--set", "--config", &path]).text(0);
    assert_eq!(set.lines().count(), 2, "{set}");
    assert!(set.contains("mine.yaml:3"), "{set}");
    run(&["config", "colour"]).failed(4, "no setting has `colour` in its key");
    run(&["config", "--config", "/nowhere/ecal.yaml"]).failed(1, "/nowhere/ecal.yaml");
}

fn config_refuses_what_every_node_refuses() {
    let folder = Folder::new("refused");
    let path = folder.0.join("mine.yaml");
    let path = path.to_string_lossy();
    for (settings, expected) in [
        ("transport_layer: { udp: { mask: 0.0.0.15 } }", "a mask for config_version v2"),
        ("registration: { registration_timeout: 500 }", "at least the registration_refresh (1000 ms)"),
    ] {
        fs::write(&*path, settings).expect("it can be written");
        run(&["list", "--duration", "1", "--config", &path]).failed(1, expected);
        for json in [&[][..], &["--json"]] {
            let ended = run(&[&["config", "--set", "--config", &path], json].concat());
            let (text, error) = (ended.text(1), ended.err.join("\n"));
            assert!(text.contains("mine.yaml") && error.contains(expected), "{ended:?}");
        }
    }
}

fn the_executable_is_small() {
    // Without optimisation, it may be any size.
    if cfg!(not(debug_assertions)) {
        let len = fs::metadata(env!("CARGO_BIN_EXE_ferrocal")).expect("it is built").len();
        assert!(len < 15_000_000, "{len} bytes");
    }
}

fn completions_and_manuals_are_written() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell]).text(0);
        assert!(script.contains("ferrocal") && script.contains("echo"), "{shell}");
    }
    let folder = Folder::new("man");
    let pages = folder.0.join("man1");
    run(&["man", &pages.to_string_lossy()]).text(0);
    for page in ["ferrocal.1", "ferrocal-list.1", "ferrocal-echo.1"] {
        let text = fs::read_to_string(pages.join(page)).unwrap_or_else(|error| panic!("{page}: {error}"));
        assert!(text.contains(".SH NAME"), "{page}");
    }
    run(&["man", "/proc/nowhere"]).failed(1, "cannot be written to /proc/nowhere");
}
