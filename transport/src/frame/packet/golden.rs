//! The captures of the real eCAL, decoded.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrocal_proto::{Header, Kind};

use super::{Decoder, IpReassemblyLimits, LinkType, Savefile, each_datagram};

const PAYLOAD_PORT: u16 = 14_002;
const PORTS: [u16; 3] = [14_000, 14_001, PAYLOAD_PORT];

struct Capture {
    file: &'static str,
    /// Frames in the file, and datagrams in them by port ([`PORTS`]).
    frames: usize,
    datagrams: [usize; 3],
    messages: usize,
    message_len: usize,
    /// Where the payload goes.
    destination: Ipv4Addr,
}

const CAPTURES: [Capture; 5] = [
    Capture {
        file: "ecal-6.1.1-network-small.pcap",
        frames: 27,
        datagrams: [15, 2, 10],
        messages: 10,
        message_len: 20,
        destination: Ipv4Addr::new(239, 0, 0, 1),
    },
    Capture {
        file: "ecal-6.1.1-network-large.pcap",
        frames: 432,
        datagrams: [13, 2, 15],
        messages: 3,
        message_len: 200_000,
        destination: Ipv4Addr::new(239, 0, 0, 1),
    },
    Capture {
        file: "ecal-5.13.4-network-small.pcap",
        frames: 26,
        datagrams: [16, 0, 10],
        messages: 10,
        message_len: 20,
        destination: Ipv4Addr::new(239, 0, 0, 7),
    },
    Capture {
        file: "ecal-5.13.4-network-large.pcap",
        frames: 429,
        datagrams: [12, 0, 15],
        messages: 3,
        message_len: 200_000,
        destination: Ipv4Addr::new(239, 0, 0, 12),
    },
    Capture {
        file: "ecal-6.1.1-local.pcap",
        frames: 55,
        datagrams: [17, 2, 36],
        messages: 12,
        message_len: 70_000,
        destination: Ipv4Addr::new(127, 255, 255, 255),
    },
];

#[derive(Debug, PartialEq, Eq)]
struct Datagram {
    time: Duration,
    source: SocketAddrV4,
    destination: SocketAddrV4,
    identification: u16,
    payload: Vec<u8>,
}

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/captures").join(file)
}

/// What our own code makes of a file, and the number of frames.
fn decoded(path: &Path) -> (Vec<Datagram>, usize) {
    let mut savefile = Savefile::open(path).expect("a capture file");
    let mut decoder = Decoder::new(&PORTS, IpReassemblyLimits::default());
    let (mut datagrams, mut frames) = (Vec::new(), 0);
    while let Some(frame) = savefile.next_frame().expect("a whole capture file") {
        frames += 1;
        let link = LinkType::from_dlt(frame.dlt).expect("a known link type");
        assert_eq!(frame.bytes.len(), frame.original_len);
        let udp = decoder
            .decode(frame.time.unwrap_or_default(), link, frame.bytes, frame.original_len)
            .expect("good frames only");
        datagrams.extend(udp.map(|udp| Datagram {
            time: frame.time.unwrap_or_default(),
            source: udp.source,
            destination: udp.destination,
            identification: udp.identification,
            payload: udp.payload.to_vec(),
        }));
    }
    decoder.expire(Duration::MAX);
    assert_eq!(decoder.drops().total(), 0, "no packet is incomplete");
    (datagrams, frames)
}

/// The same, by nothing but the offsets of fields in frames that are known to be whole and of UDP or ARP or IPv6.
fn expected(path: &Path) -> Vec<Datagram> {
    let file = std::fs::read(path).expect("a capture file");
    let little = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    let mut fragments = BTreeMap::<_, BTreeMap<usize, Vec<u8>>>::new();
    let mut datagrams = Vec::new();
    let mut at = 24;
    while at < file.len() {
        let time = Duration::new(little(at).into(), little(at + 4) * 1000);
        let frame = &file[at + 16..][..little(at + 8) as usize];
        at += 16 + frame.len();
        let big = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
        if big(12) != 0x0800 || frame[23] != 17 {
            continue;
        }
        let address = |at: usize| Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]);
        let (source, destination, identification) = (address(26), address(30), big(18));
        let bytes = frame[34..14 + usize::from(big(16))].to_vec();
        let packet = fragments.entry((source, destination, identification)).or_default();
        packet.insert(usize::from(big(20) & 0x1fff) * 8, bytes);
        // No frame of these files came out of order.
        if big(20) & 0x2000 == 0 {
            let packet = std::mem::take(packet).into_values().flatten().collect::<Vec<_>>();
            let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
            assert_eq!(usize::from(port(4)), packet.len());
            datagrams.push(Datagram {
                time,
                source: SocketAddrV4::new(source, port(0)),
                destination: SocketAddrV4::new(destination, port(2)),
                identification,
                payload: packet[8..].to_vec(),
            });
        }
    }
    datagrams
}

#[test]
fn every_datagram_of_the_captures() {
    for capture in CAPTURES {
        let path = path(capture.file);
        let (datagrams, frames) = decoded(&path);
        assert_eq!(datagrams, expected(&path), "{}", capture.file);
        let by_port =
            PORTS.map(|port| datagrams.iter().filter(|datagram| datagram.destination.port() == port).count());
        assert_eq!((frames, by_port), (capture.frames, capture.datagrams), "{}", capture.file);
        assert_eq!(by_port.iter().sum::<usize>(), datagrams.len());
    }
}

#[test]
fn every_payload_of_the_captures() {
    for capture in CAPTURES {
        let (datagrams, _) = decoded(&path(capture.file));
        let mut messages: Vec<Vec<u8>> = Vec::new();
        for datagram in datagrams.iter().filter(|datagram| datagram.destination.port() == PAYLOAD_PORT) {
            assert_eq!(*datagram.destination.ip(), capture.destination, "{}", capture.file);
            let mut parts = 0;
            each_datagram(&datagram.payload, |part| {
                parts += 1;
                let (header, bytes) = Header::parse(part).expect("an eCAL datagram");
                match header.kind {
                    Kind::Info | Kind::Whole => messages.push(bytes.to_vec()),
                    Kind::Fragment => messages.last_mut().expect("an info in front").extend(bytes),
                }
            });
            assert_eq!(parts, 1);
        }
        assert_eq!(messages.len(), capture.messages);
        for (number, message) in messages.iter().enumerate() {
            let ramp: Vec<_> = (0..capture.message_len).map(|byte| (byte * 31 + number) as u8).collect();
            let start = ramp.len().min(64);
            let at = message.windows(start).position(|window| window == &ramp[..start]).expect("the payload");
            assert!(message[at..].starts_with(&ramp), "{} {number}", capture.file);
        }
    }
}
