//! Captured traffic of eCAL 6.1.1 and 5.13.4: every datagram decoded, every message put together and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use ferrocal_integration_tests::pcapfile::{self, Datagram};
use ferrocal_integration_tests::{protowire, ramp};
use ferrocal_proto::{
    Action, Announcement, Fragments, HEADER_LEN, HashVersion, Header, Kind, Limits, LogMessage,
    MAX_DATAGRAM_LEN, PayloadSample, Reassembler, Registration, TopicInfo, split_name, topic_group,
};

/// See wire-format.md, section 1.
const REGISTRATION_PORT: u16 = 14_000;
const LOGGING_PORT: u16 = 14_001;
const PAYLOAD_PORT: u16 = 14_002;
const GROUP_BASE: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 1);
const GROUP_MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 240);
const LOCAL_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

/// What is known of a capture.
struct Capture {
    file: &'static str,
    topic: &'static str,
    payload_messages: u64,
    payload_len: usize,
    payload_group: Ipv4Addr,
    /// Registration messages by process.
    registrations: [usize; 2],
    log_messages: usize,
    /// Name and encoding.
    data_type: (&'static str, &'static str),
    /// Whether the samples are of eCAL 6, whose every field a registration of ours has too.
    is_six: bool,
}

const SIX_SMALL: Capture = Capture {
    file: "ecal-6.1.1-network-small.pcap",
    topic: "hello",
    payload_messages: 10,
    payload_len: 20,
    payload_group: GROUP_BASE,
    registrations: [9, 6],
    log_messages: 2,
    data_type: ("demo.Point", "proto"),
    is_six: true,
};
const SIX_LARGE: Capture = Capture {
    file: "ecal-6.1.1-network-large.pcap",
    topic: "image",
    payload_messages: 3,
    payload_len: 200_000,
    payload_group: GROUP_BASE,
    registrations: [7, 6],
    log_messages: 2,
    data_type: ("", ""),
    is_six: true,
};
const SIX_LOCAL: Capture = Capture {
    file: "ecal-6.1.1-local.pcap",
    topic: "hello",
    payload_messages: 12,
    payload_len: 70_000,
    payload_group: LOCAL_BROADCAST,
    registrations: [11, 6],
    log_messages: 2,
    data_type: ("", ""),
    is_six: true,
};
const FIVE_SMALL: Capture = Capture {
    file: "ecal-5.13.4-network-small.pcap",
    topic: "hello",
    payload_messages: 10,
    payload_len: 20,
    payload_group: Ipv4Addr::new(239, 0, 0, 7),
    registrations: [9, 7],
    log_messages: 0,
    data_type: ("", ""),
    is_six: false,
};
const FIVE_LARGE: Capture = Capture {
    file: "ecal-5.13.4-network-large.pcap",
    topic: "image",
    payload_messages: 3,
    payload_len: 200_000,
    payload_group: Ipv4Addr::new(239, 0, 0, 12),
    registrations: [6, 6],
    log_messages: 0,
    data_type: ("", ""),
    is_six: false,
};

/// A message of a capture, with the datagrams it came in.
struct Message {
    bytes: Vec<u8>,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    datagrams: Vec<Vec<u8>>,
}

/// Puts all messages of a capture together; nothing may be dropped or left over.
fn messages(datagrams: &[Datagram]) -> Vec<Message> {
    let mut reassembler = Reassembler::new(Limits::default());
    let mut open: BTreeMap<SocketAddrV4, Vec<Vec<u8>>> = BTreeMap::new();
    let mut messages = Vec::new();
    for datagram in datagrams {
        let source = datagram.source;
        open.entry(source).or_default().push(datagram.bytes.clone());
        if let Some(message) = reassembler.push(datagram.time, source, &datagram.bytes) {
            messages.push(Message {
                bytes: message.as_slice().to_vec(),
                source,
                destination: datagram.destination,
                datagrams: open.remove(&source).expect("the datagram was just put there"),
            });
        }
    }
    assert_eq!(reassembler.drops().total(), 0, "{:?}", reassembler.drops());
    assert_eq!(reassembler.in_flight(), 0);
    assert_eq!(reassembler.buffered_bytes(), 0);
    assert!(open.is_empty());
    messages
}

/// The same message cut by us is the same datagrams, byte for byte.
fn assert_cut_the_same(message: &Message) {
    let (header, _) = Header::parse(&message.datagrams[0]).expect("a header");
    let (first, second) = message.bytes.split_at(message.bytes.len().min(100));
    let ours: Vec<Vec<u8>> = Fragments::new(header.id, [first, second], MAX_DATAGRAM_LEN)
        .expect("a message of this length can be cut")
        .map(|datagram| [&datagram.header[..], datagram.parts[0], datagram.parts[1]].concat())
        .collect();
    assert!(
        ours == message.datagrams,
        "cut into {} datagrams, captured {}",
        ours.len(),
        message.datagrams.len()
    );
}

fn check(capture: &Capture) {
    let datagrams = pcapfile::read(&pcapfile::capture(capture.file));
    for datagram in &datagrams {
        let (header, payload) = Header::parse(&datagram.bytes).expect("a header");
        assert_eq!(header.encode(), datagram.bytes[..HEADER_LEN]);
        assert_eq!(header.kind == Kind::Info, payload.is_empty());
    }

    let messages = messages(&datagrams);
    let of_port = |port| messages.iter().filter(move |message| message.destination.port() == port);
    for message in &messages {
        assert_cut_the_same(message);
    }
    assert_eq!(of_port(LOGGING_PORT).count(), capture.log_messages);
    for message in of_port(LOGGING_PORT) {
        check_log(message);
    }
    let publishers = check_registrations(capture, of_port(REGISTRATION_PORT));
    assert_eq!(publishers.len(), 1, "one publisher was captured");
    check_payload(capture, &publishers, of_port(PAYLOAD_PORT));
    let known = [REGISTRATION_PORT, LOGGING_PORT, PAYLOAD_PORT];
    assert!(messages.iter().all(|message| known.contains(&message.destination.port())));
}

fn check_log(message: &Message) {
    let log = LogMessage::decode(&message.bytes).expect("a log message");
    assert!(log.time_us > 1_600_000_000_000_000, "{log:?} is of our days");
    assert!(!log.host_name.is_empty() && !log.content.is_empty() && log.process_id > 0, "{log:?}");
    assert_eq!(LogMessage::decode(&log.encode()), Ok(log));
}

/// Checks all registrations and returns the ids of the topic's publishers, as eCAL writes them.
fn check_registrations<'a>(
    capture: &Capture,
    messages: impl Iterator<Item = &'a Message>,
) -> BTreeSet<String> {
    let mut by_source: BTreeMap<SocketAddrV4, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut publishers = BTreeSet::new();
    for message in messages {
        *by_source.entry(message.source).or_default() += 1;
        let registration = Registration::decode(&message.bytes).expect("a registration");
        let encoded = registration.encode();
        assert_eq!(Registration::decode(&encoded).as_ref(), Ok(&registration));
        assert_eq!(split_name(&encoded).expect("a sample name").0, b"reg_sample");
        if capture.is_six {
            assert_same_fields(&message.bytes, &encoded);
        }
        match &registration.announcement {
            Announcement::Process(process) => {
                assert!(!process.host_name.is_empty() && process.process_id > 0, "{process:?}");
                seen.insert("process");
            }
            Announcement::Publisher(topic) => {
                check_topic(capture, topic);
                if registration.action == Action::Register {
                    assert_eq!(topic.data_type.name, capture.data_type.0);
                    assert_eq!(topic.data_type.encoding, capture.data_type.1);
                }
                publishers.insert(topic.topic_id.to_string());
                seen.insert("publisher");
            }
            Announcement::Subscriber(topic) => {
                check_topic(capture, topic);
                seen.insert("subscriber");
            }
            other => panic!("nobody announced {other:?}"),
        }
    }
    let mut counts: Vec<usize> = by_source.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(counts, capture.registrations);
    assert_eq!(seen, BTreeSet::from(["process", "publisher", "subscriber"]));
    publishers
}

fn check_topic(capture: &Capture, topic: &TopicInfo) {
    assert_eq!(topic.topic_name, capture.topic);
    assert!(!topic.host_name.is_empty() && topic.process_id > 0, "{topic:?}");
}

/// Compares two messages field by field, by a reader that shares nothing with the one under test.
fn assert_same_fields(theirs: &[u8], ours: &[u8]) {
    let fields = |message| {
        let mut fields = protowire::fields(split_name(message).expect("a sample name").1);
        // Statistics on the latency of the data, which we do not keep.
        fields.retain(|path, _| !path.starts_with(&[5, 31]));
        fields
    };
    assert_eq!(fields(theirs), fields(ours));
}

fn check_payload<'a>(
    capture: &Capture,
    publishers: &BTreeSet<String>,
    messages: impl Iterator<Item = &'a Message>,
) {
    let mut count = 0;
    let mut last_time_us = 0;
    for message in messages {
        let sample = PayloadSample::decode(&message.bytes).expect("a payload sample");
        assert_eq!(split_name(&message.bytes).expect("a sample name").0, capture.topic.as_bytes());
        assert_eq!(sample.topic_name, capture.topic.as_bytes());
        let topic_id = str::from_utf8(sample.topic_id).expect("a decimal number");
        assert!(publishers.contains(topic_id), "{topic_id} was never registered");
        assert!(ramp::is(sample.payload, count, capture.payload_len), "the bytes of message {count}");
        assert!(sample.time_us > last_time_us);
        assert_eq!(*message.destination.ip(), capture.payload_group);
        last_time_us = sample.time_us;
        count += 1;

        let mut encoded = Vec::new();
        sample.encode_head(&mut encoded);
        encoded.extend_from_slice(sample.payload);
        assert_eq!(PayloadSample::decode(&encoded), Ok(sample));
    }
    assert_eq!(count, capture.payload_messages);
    if !capture.is_six {
        let group = topic_group(HashVersion::V2, GROUP_BASE, GROUP_MASK, capture.topic);
        assert_eq!(group, capture.payload_group);
    }
}

#[test]
fn ecal_6_network_small() {
    check(&SIX_SMALL);
}

#[test]
fn ecal_6_network_large() {
    check(&SIX_LARGE);
}

#[test]
fn ecal_6_local() {
    check(&SIX_LOCAL);
}

#[test]
fn ecal_5_network_small() {
    check(&FIVE_SMALL);
}

#[test]
fn ecal_5_network_large() {
    check(&FIVE_LARGE);
}
