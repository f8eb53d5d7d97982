//! Capture files as people have them, replayed by the example `sub`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use ferrocal_integration_tests::example::{self, Ended};
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::pcapfile;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};

const HERE: Host = Host::first();

/// What is special about a capture of ten messages of 20 bytes on `hello`, and its file.
const SITUATIONS: [(&str, &str, &str); 10] = [
    ("plain", "file", "ecal-6.1.1-network-small.pcap"),
    ("the_first_frame_has_time_0", "file", "wrapped/first-packet-time-0.pcap"),
    ("frames_without_times_come_first", "file", "wrapped/simple-then-enhanced.pcapng"),
    ("the_first_enhanced_packet_has_time_0", "file", "wrapped/first-enhanced-packet-time-0.pcapng"),
    ("as_fast_as_it_goes", "file-fast", "ecal-6.1.1-network-small.pcap"),
    ("a_pause_of_a_day", "file-fast", "wrapped/gap-of-a-day.pcap"),
    ("radiotap", "file-fast", "wrapped/radiotap.pcap"),
    ("ppi", "file-fast", "wrapped/ppi-ethernet.pcap"),
    ("obsolete_packet_blocks", "file-fast", "wrapped/obsolete-packet-block.pcapng"),
    ("gzip", "file-fast", "wrapped/gzip.pcap.gz"),
];

fn main() -> ExitCode {
    let mut tests = Vec::new();
    let needs = &[Need::Examples];
    for (situation, scheme, file) in SITUATIONS {
        let body = move || all_messages_are_received(&format!("{scheme}:{}", path(file).display()));
        tests.push(Test::new(situation, needs, body));
    }
    for name in ["-", "/dev/stdin"] {
        let test = format!("standard_input::{}", name.trim_matches('/'));
        tests.push(Test::new(test, needs, move || standard_input(name)));
    }
    let mut test = |name: &str, body: fn()| tests.push(Test::new(name, needs, body));
    test("cut_frames_are_reported", cut_frames_are_reported);
    test("unknown_link_types_are_named", unknown_link_types_are_named);
    test("a_file_that_is_still_being_written", a_file_that_is_still_being_written);
    test("why_a_gzip_cannot_be_read_is_said", why_a_gzip_cannot_be_read_is_said);
    test("a_gzip_that_ends_early", a_gzip_that_ends_early);
    test("a_directory_is_refused", a_directory_is_refused);
    test("a_topic_that_the_file_lacks_is_reported", a_topic_that_the_file_lacks_is_reported);
    test("silence_is_that_of_the_capture", silence_is_that_of_the_capture);
    test("sub_without_a_topic_lists_the_topics", sub_without_a_topic_lists_the_topics);
    test("pub_says_that_a_replay_sends_nothing", pub_says_that_a_replay_sends_nothing);
    suite::main(tests)
}

fn path(file: &str) -> PathBuf {
    pcapfile::capture(file)
}

#[track_caller]
fn assert_all(ended: Ended) {
    let ended = Ended { backend: "file", ..ended };
    ended.assert_all("hello", "received", 10, 20);
}

fn all_messages_are_received(transport: &str) {
    assert_all(Ended::of(example::start(
        HERE,
        "sub",
        &format!("--verify ramp --json --transport {transport}"),
    )));
}

fn standard_input(name: &str) {
    let arguments = format!("--verify ramp --json --transport file-fast:{name}");
    let mut subscriber = example::start(HERE, "sub", &arguments);
    subscriber.feed(&fs::read(path("wrapped/ppi-ethernet.pcap")).expect("the capture is there"));
    assert_all(Ended::of(subscriber));
}

/// What `sub` says about a capture.
#[track_caller]
fn transcript(arguments: &str) -> String {
    let log = [("RUST_LOG", "info")];
    let (status, transcript) = example::start_with(HERE, "sub", arguments, &log).last_text(HANG);
    assert!(status.success(), "{transcript}");
    transcript
}

#[track_caller]
fn assert_contains(transcript: &str, texts: &[&str]) {
    for text in texts {
        assert!(transcript.contains(text), "`{text}` is not in {transcript}");
    }
}

fn cut_frames_are_reported() {
    let file = path("wrapped/snapped-96.pcap");
    let transcript = transcript(&format!("hello --transport file:{}", file.display()));
    let texts = [
        "WARN",
        "27 frames were skipped because they were cut",
        "27 frames were read, and 0 datagrams played",
    ];
    assert_contains(&transcript, &texts);
}

fn unknown_link_types_are_named() {
    // As if it were of USB transfers.
    let mut bytes = fs::read(path("ecal-6.1.1-network-small.pcap")).expect("the capture is there");
    bytes[20..24].copy_from_slice(&220_u32.to_le_bytes());
    let file = std::env::temp_dir().join(format!("ferrocal-usb-{}.pcap", std::process::id()));
    fs::write(&file, bytes).expect("there is a folder for temporary files");
    let transcript = transcript(&format!("hello --transport file:{}", file.display()));
    let _ = fs::remove_file(&file);
    assert_contains(
        &transcript,
        &["WARN", "27 frames of link type 220 were skipped", "is over: 27 frames were read"],
    );
    assert_eq!(transcript.matches("link type 220").count(), 1, "{transcript}");
}

fn a_file_that_is_still_being_written() {
    let bytes = fs::read(path("ecal-6.1.1-network-small.pcap")).expect("the capture is there");
    let file = std::env::temp_dir().join(format!("ferrocal-growing-{}.pcap", std::process::id()));
    fs::write(&file, &bytes[..bytes.len() - 1]).expect("there is a folder for temporary files");
    let transcript = transcript(&format!("hello --transport file-fast:{}", file.display()));
    let _ = fs::remove_file(&file);
    assert_contains(&transcript, &["ends within a frame", "tail -c +1 -f", "received message 1:"]);
}

/// A file for a test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("ferrocal-{}-{name}", std::process::id()));
        fs::write(&path, bytes).expect("there is a folder for temporary files");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn why_a_gzip_cannot_be_read_is_said() {
    let mut bytes = fs::read(path("wrapped/gzip.pcap.gz")).expect("the capture is there");
    // It ends with a checksum of 4 bytes and a length of 4.
    let checksum = bytes.len() - 8;
    bytes[checksum] ^= 1;
    let file = Scratch::new("damaged.pcap.gz", &bytes);
    for topic in ["hello", ""] {
        let transcript = transcript(&format!("{topic} --transport file-fast:{}", file.0.display()));
        let why = format!("reading the capture file {} failed: corrupt gzip stream", file.0.display());
        assert_contains(&transcript, &["received message 10:", &why]);
        // By the list and by the replay.
        let times = if topic.is_empty() { 2 } else { 1 };
        assert_eq!(transcript.matches(&why).count(), times, "{transcript}");
    }
}

fn a_gzip_that_ends_early() {
    let bytes = fs::read(path("wrapped/gzip.pcap.gz")).expect("the capture is there");
    let file = Scratch::new("cut.pcap.gz", &bytes[..bytes.len() / 2]);
    for topic in ["hello", ""] {
        let transcript = transcript(&format!("{topic} --transport file-fast:{}", file.0.display()));
        assert_contains(&transcript, &["ends within a frame", "tail -c +1 -f"]);
    }
}

fn a_directory_is_refused() {
    let arguments = format!("--transport file:{}", std::env::temp_dir().display());
    let (status, transcript) = example::start(HERE, "sub", &arguments).last_text(HANG);
    assert_eq!(status.code(), Some(1), "{transcript}");
    assert_contains(&transcript, &["is a directory; name a capture file in it"]);
}

fn a_topic_that_the_file_lacks_is_reported() {
    let file = path("ecal-6.1.1-network-large.pcap");
    for options in ["", "--json"] {
        let arguments = format!("nothing {options} --transport file-fast:{}", file.display());
        let transcript = transcript(&arguments);
        assert_contains(
            &transcript,
            &["! the capture ended without a message on topic nothing", "! topics in it: image (3 messages)"],
        );
        assert_eq!(transcript.matches("is over:").count(), 1, "read again without a word: {transcript}");
    }
    // There is no second look into what is piped.
    let mut piped = example::start(HERE, "sub", "nothing --transport file-fast:-");
    piped.feed(&fs::read(file).expect("the capture is there"));
    let (status, transcript) = piped.last_text(HANG);
    assert!(status.success(), "{transcript}");
    assert_contains(&transcript, &["! the capture ended without a message on topic nothing"]);
    assert!(!transcript.contains("topics in it"), "{transcript}");
}

fn silence_is_that_of_the_capture() {
    let process = example::start(HERE, "sub", "nothing --transport file:-");
    process
        .await_text("! no message on topic nothing yet; no publisher of it was found in the capture so far");
    process.interrupt();
    let (status, transcript) = process.last_text(HANG);
    assert!(status.success(), "{transcript}");
    assert!(!transcript.contains("the capture ended"), "{transcript}");
}

fn sub_without_a_topic_lists_the_topics() {
    let arguments = |file| format!("--transport file-fast:{}", path(file).display());
    let other = transcript(&arguments("ecal-6.1.1-network-large.pcap"));
    assert_contains(&other, &["image: 3 messages, without a type", "name one of them"]);
    assert!(!other.contains("received message"), "{other}");
    // The default topic is played.
    let hello = transcript(&arguments("ecal-6.1.1-network-small.pcap"));
    assert_contains(&hello, &["hello: 10 messages, demo.Point", "received message 1:"]);
}

fn pub_says_that_a_replay_sends_nothing() {
    let arguments = format!("--count 1 --transport file:{}", path("ecal-6.1.1-network-small.pcap").display());
    let (status, transcript) = example::start(HERE, "pub", &arguments).last_text(HANG);
    assert!(status.success(), "{transcript}");
    assert_contains(&transcript, &["WARN", "topic hello: a replay sends nothing"]);
}
