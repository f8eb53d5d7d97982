use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::*;
use crate::FrameDrop;

const PAYLOAD: u16 = 14_002;
const REGISTRATION: u16 = 14_000;

fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/captures").join(name)
}

fn receiver() -> Box<dyn Receiver> {
    let transport = FileTransport::new(capture("ecal-6.1.1-network-small.pcap"));
    transport.receiver(PAYLOAD).expect("the file can be read")
}

/// Receives everything.
fn drain(receiver: &mut dyn Receiver) -> (Vec<Vec<u8>>, ReceiveError) {
    let mut datagrams = Vec::new();
    loop {
        let mut sink = |datagram: Datagram<'_>| datagrams.push(datagram.bytes.to_vec());
        if let Err(error) = receiver.recv(Wait::sleep(Duration::MAX), &mut sink) {
            return (datagrams, error);
        }
    }
}

/// Whether these are the ten messages that the captures in `wrapped` hold, in order.
#[track_caller]
fn assert_ramps(datagrams: &[Vec<u8>]) {
    assert_eq!(datagrams.len(), 10);
    for (n, datagram) in datagrams.iter().enumerate() {
        let ramp: Vec<_> = (0..20).map(|k| (k * 31 + n) as u8).collect();
        assert!(datagram.windows(20).any(|window| window == ramp), "message {n}");
    }
}

#[test]
fn everything_in_the_file_is_received() {
    let (datagrams, end) = drain(&mut *receiver());
    assert!(matches!(end, ReceiveError::EndOfFile(None)), "{end}");
    assert_eq!(datagrams.len(), 10);
}

/// At the pace of the capture, so that a wait of decades would show.
#[test]
fn frames_without_a_time_go_with_those_behind_them() {
    thread::scope(|scope| {
        for name in
            ["first-packet-time-0.pcap", "simple-then-enhanced.pcapng", "first-enhanced-packet-time-0.pcapng"]
        {
            scope.spawn(move || {
                let transport = FileTransport::new(capture("wrapped").join(name));
                let mut receiver = transport.receiver(PAYLOAD).expect("the file can be read");
                assert_ramps(&drain(&mut *receiver).0);
            });
        }
    });
}

#[test]
fn every_wrapping_is_read() {
    for name in [
        "radiotap.pcap",
        "ppi-ethernet.pcap",
        "obsolete-packet-block.pcapng",
        "gzip.pcap.gz",
        "gap-of-a-day.pcap",
    ] {
        let transport = FileTransport::fast(capture("wrapped").join(name));
        let mut receiver = transport.receiver(PAYLOAD).expect("the file can be read");
        let (datagrams, end) = drain(&mut *receiver);
        assert!(matches!(end, ReceiveError::EndOfFile(None)), "{name}: {end}");
        assert_ramps(&datagrams);
        assert_eq!(receiver.drops(), ReceiveDrops::default(), "{name}");
    }
}

#[test]
fn cut_frames_are_counted() {
    let transport = FileTransport::fast(capture("wrapped/snapped-96.pcap"));
    let mut receiver = transport.receiver(PAYLOAD).expect("the file can be read");
    assert!(drain(&mut *receiver).0.is_empty());
    let drops = receiver.drops().frames;
    assert!(drops.get(FrameDrop::Cut) >= 10, "{drops:?}");
    assert_eq!(drops.total(), drops.get(FrameDrop::Cut), "{drops:?}");
}

/// A pcap file with these frames: seconds and bytes.
fn pcap(link_type: u32, frames: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = [&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..], &[0; 8], &[0, 0, 4, 0]].concat();
    file.extend(link_type.to_le_bytes());
    for (seconds, bytes) in frames {
        let len = (bytes.len() as u32).to_le_bytes();
        file.extend([seconds.to_le_bytes(), [0; 4], len, len].as_flattened());
        file.extend(*bytes);
    }
    file
}

/// A datagram as an IPv4 packet without checksums.
fn packet(port: u16, payload: &[u8]) -> Vec<u8> {
    let len = |header: usize| ((header + payload.len()) as u16).to_be_bytes();
    let mut packet =
        [&[0x45, 0][..], &len(28), &[0; 4], &[1, 17, 0, 0], &[10, 0, 0, 1], &[239, 0, 0, 1]].concat();
    packet.extend([[0, 9], port.to_be_bytes(), len(8), [0; 2]].as_flattened());
    packet.extend(payload);
    packet
}

/// A file that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, content: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("ferrocal-{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("there is a folder for temporary files");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn unknown_link_types_are_counted() {
    let file = Scratch::new("usb.pcap", &pcap(220, &[(1, b"one"), (2, b"two")]));
    let transport = FileTransport::fast(file.0.clone());
    let mut receiver = transport.receiver(PAYLOAD).expect("the file can be read");
    assert!(drain(&mut *receiver).0.is_empty());
    assert_eq!(receiver.drops().frames.get(FrameDrop::UnknownLinkType), 2);
}

#[test]
fn a_receiver_that_comes_later_misses_nothing() {
    let payload = packet(PAYLOAD, b"payload");
    let registration = packet(REGISTRATION, b"registration");
    let file = Scratch::new("later.pcap", &pcap(101, &[(1, &payload), (1, &registration), (1, &payload)]));
    for transport in [FileTransport::new(file.0.clone()), FileTransport::fast(file.0.clone())] {
        let mut first = transport.receiver(REGISTRATION).expect("the file can be read");
        assert_eq!(drain(&mut *first).0, [b"registration"]);
        let mut second = transport.receiver(PAYLOAD).expect("the file can be read");
        assert_eq!(drain(&mut *second).0, [b"payload"; 2]);
        // Once all are gone, it begins anew.
        drop((first, second));
        let mut again = transport.receiver(PAYLOAD).expect("the file can be read");
        assert_eq!(drain(&mut *again).0, [b"payload"; 2]);
    }
}

#[test]
fn what_nobody_receives_gives_way_to_what_somebody_does() {
    // More than is held, in front of what is received.
    let large = packet(PAYLOAD, &[7; 60_000]);
    let small = packet(REGISTRATION, b"registration");
    let mut frames = vec![(1, &large[..]); 1000];
    frames.push((1, &small));
    let file = Scratch::new("large.pcap", &pcap(101, &frames));
    for transport in [FileTransport::new(file.0.clone()), FileTransport::fast(file.0.clone())] {
        let mut receiver = transport.receiver(REGISTRATION).expect("the file can be read");
        assert_eq!(drain(&mut *receiver).0, [b"registration"]);
        // The newest are still held.
        let mut late = transport.receiver(PAYLOAD).expect("the file can be read");
        let held = drain(&mut *late).0.len();
        assert!((100..1000).contains(&held), "{held}");
        // With a receiver from the beginning on, it is waited for.
        drop((receiver, late));
        let mut registrations = transport.receiver(REGISTRATION).expect("the file can be read");
        let mut payload = transport.receiver(PAYLOAD).expect("the file can be read");
        assert_eq!(drain(&mut *payload).0.len(), 1000);
        assert_eq!(drain(&mut *registrations).0, [b"registration"]);
    }
}

#[test]
fn a_file_that_ends_within_a_frame_is_played_up_to_there() {
    let payload = packet(PAYLOAD, b"payload");
    let mut bytes = pcap(101, &[(1, &payload), (1, &payload)]);
    bytes.pop();
    let file = Scratch::new("growing.pcap", &bytes);
    let transport = FileTransport::new(file.0.clone());
    let mut receiver = transport.receiver(PAYLOAD).expect("the file can be read");
    let (datagrams, end) = drain(&mut *receiver);
    assert_eq!(datagrams, [b"payload"]);
    let ReceiveError::EndOfFile(Some(error @ SavefileError::Truncated { .. })) = end else { panic!("{end}") };
    assert!(error.to_string().contains("tail -c +1 -f"), "{error}");
}

#[test]
fn what_is_no_capture_is_refused_at_once() {
    let empty = Scratch::new("empty.pcap", b"");
    for (path, text) in [
        (PathBuf::from("/nowhere/missing.pcap"), "could not be opened"),
        (empty.0.clone(), "is empty"),
        (std::env::temp_dir(), "is a directory"),
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"), "is neither a pcap nor a pcapng file"),
    ] {
        let Err(OpenError::File(error)) = FileTransport::new(path).receiver(PAYLOAD) else {
            panic!("{text}")
        };
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn every_datagram_can_be_read_without_a_receiver() {
    let transport = FileTransport::new(capture("wrapped/gap-of-a-day.pcap"));
    let mut payload = Vec::new();
    let mut registrations = 0;
    let mut times = Vec::new();
    let result = transport.each_datagram(&mut |port, captured, datagram| {
        times.push(captured.expect("the file says when"));
        match port {
            PAYLOAD => payload.push(datagram.bytes.to_vec()),
            REGISTRATION => registrations += 1,
            _ => {}
        }
    });
    result.expect("the file is whole");
    assert_ramps(&payload);
    assert!(registrations > 0);
    let pauses = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    assert!(pauses.max() > Some(Duration::from_secs(80_000)), "the times are those of the file: {times:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_pipe_is_read_once_as_it_comes() {
    let (reader, mut writer) = std::io::pipe().expect("the system has pipes");
    // The path by which a shell passes a pipe on.
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let transport = FileTransport::new(path.into());
    let mut registrations = transport.receiver(REGISTRATION).expect("nothing is read yet");
    let mut payload = transport.receiver(PAYLOAD).expect("nothing is read yet");
    let file = pcap(101, &[(1, &packet(PAYLOAD, b"first")), (5, &packet(REGISTRATION, b"second"))]);
    let second = file.len() - 16 - packet(REGISTRATION, b"second").len();
    // The header comes in parts, and the second frame when the first one is here.
    for part in [&file[..3], &file[3..24], &file[24..second]] {
        writer.write_all(part).expect("it is read");
    }
    let mut received = Vec::new();
    while received.is_empty() {
        let mut sink = |datagram: Datagram<'_>| received.extend_from_slice(datagram.bytes);
        payload.recv(Wait::sleep(Duration::MAX), &mut sink).expect("the pipe is open");
    }
    assert_eq!(received, b"first");
    writer.write_all(&file[second..]).expect("it is read");
    drop(writer);
    let (datagrams, end) = drain(&mut *registrations);
    assert!(matches!(end, ReceiveError::EndOfFile(None)), "{end}, after {datagrams:?}");
    assert_eq!(datagrams, [b"second"]);
    assert!(matches!(drain(&mut *payload), (rest, ReceiveError::EndOfFile(None)) if rest.is_empty()));
}

#[test]
#[cfg(target_os = "linux")]
fn a_pipe_that_brings_nothing_holds_nobody_up() {
    let (reader, _writer) = std::io::pipe().expect("the system has pipes");
    // Open for good: the thread that reads opens the path when it gets to it, and the number may be another test's pipe then.
    let path = format!("/proc/self/fd/{}", std::os::fd::IntoRawFd::into_raw_fd(reader));
    let mut receiver = FileTransport::new(path.into()).receiver(PAYLOAD).expect("nothing is read yet");
    receiver.recv(Wait::sleep(Duration::ZERO), &mut |_| panic!("nothing came")).expect("it may still come");
    receiver.interrupter().interrupt();
    receiver.recv(Wait::sleep(Duration::MAX), &mut |_| panic!("nothing came")).expect("it is interrupted");
}

#[test]
fn a_timeout_returns() {
    let mut receiver = receiver();
    for _ in 0..5 {
        receiver.recv(Wait::sleep(Duration::ZERO), &mut |_| {}).expect("the file goes on");
    }
}

#[test]
fn an_interrupt_ends_the_present_and_every_later_wait() {
    let mut receiver = receiver();
    let interrupter = receiver.interrupter();
    let receiving = thread::spawn(move || {
        let mut count = 0;
        while count < 1 {
            receiver.recv(Wait::sleep(Duration::MAX), &mut |_| count += 1).expect("the file goes on");
        }
        receiver
    });
    let mut receiver = receiving.join().expect("a datagram comes");
    interrupter.interrupt();
    for _ in 0..100 {
        let result = receiver.recv(Wait::sleep(Duration::MAX), &mut |_| panic!("it was interrupted"));
        result.expect("the end of the file is not reached");
    }
}
