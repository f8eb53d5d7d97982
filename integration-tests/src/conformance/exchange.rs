//! Datagrams from a sender to a receiver.

use std::net::SocketAddrV4;
use std::time::Instant;

use ferrocal_transport::Transmit;

use super::{OTHER_PORT, PORT, Stage, send};
use crate::ramp;

pub(super) fn datagrams_of_every_length_arrive(stage: &Stage) {
    let max = stage.sender.limits().max_datagram_len;
    // Empty, around a header of eCAL, around what fits one Ethernet frame, around two, and the longest.
    let lens = [0, 1, 2, 23, 24, 25, 512, 1471, 1472, 1473, 2951, 2952, 2953, 9000, 32_768, max - 1, max];
    let datagrams = lens.map(|len| ramp::message(len as u64, len));
    let destination = SocketAddrV4::new(stage.pair.target(), PORT);
    let mut listener = stage.listen();

    // In one batch, and cut at different places.
    let cut = |datagram: &'static [u8], first: usize, second: usize| Transmit {
        destination,
        parts: [&datagram[..first], &datagram[first..second], &datagram[second..]],
    };
    let datagrams: [&'static [u8]; 17] = datagrams.map(|datagram| &*datagram.leak());
    let batch = datagrams.map(|datagram| cut(datagram, datagram.len() / 3, datagram.len() / 2));
    stage.sender.send(&batch).expect("datagrams are sent");
    for datagram in datagrams {
        assert!(listener.next_bytes() == datagram, "{} bytes in a batch", datagram.len());
    }

    // One by one, with empty pieces.
    for datagram in datagrams {
        let len = datagram.len();
        for (first, second) in [(0, 0), (0, len), (len, len), (len.min(24), len.min(24))] {
            stage.sender.send(&[cut(datagram, first, second)]).expect("a datagram is sent");
            assert!(listener.next_bytes() == datagram, "{len} bytes cut at {first} and {second}");
        }
    }
    stage.sender.send(&[]).expect("a batch may be empty");
}

pub(super) fn a_long_batch_arrives_in_order(stage: &Stage) {
    // Linux takes 1024 datagrams in one call at the most (UIO_MAXIOV).
    let datagrams: Vec<_> = (0..2500u32).map(u32::to_le_bytes).collect();
    let batch: Vec<&[u8]> = datagrams.iter().map(<[u8; 4]>::as_slice).collect();
    let mut listener = stage.listen();
    stage.send(PORT, &batch);
    for datagram in datagrams {
        assert_eq!(listener.next_bytes(), datagram);
    }
}

pub(super) fn what_is_kept_stays(stage: &Stage) {
    const LEN: usize = 60_000;
    let mut listener = stage.listen();
    let mut kept = Vec::new();
    for seed in 0..100 {
        stage.send(PORT, &[&ramp::message(seed, LEN)]);
        kept.push(listener.next());
    }
    for (seed, datagram) in (0..).zip(&kept) {
        assert!(datagram.kept == ramp::message(seed, LEN), "datagram {seed}");
        assert_eq!(
            datagram.in_place, stage.subject.has_system_ports,
            "only sockets receive into their own memory"
        );
    }
}

pub(super) fn each_sender_stays_in_order(stage: &Stage) {
    const COUNT: u8 = 200;
    let other = stage.pair.sender.sender().expect("a second sender opens");
    let mut listener = stage.listen();
    for n in 0..COUNT {
        stage.send(PORT, &[&[0, n]]);
        send(&*other, stage.pair.target(), PORT, &[&[1, n]]);
    }
    let mut next = [0; 2];
    let mut sources = [None; 2];
    for _ in 0..2 * u32::from(COUNT) {
        let datagram = listener.next();
        let sender = usize::from(datagram.bytes[0]);
        assert_eq!(datagram.bytes[1], next[sender], "of sender {sender}");
        assert_eq!(*sources[sender].get_or_insert(datagram.source), datagram.source);
        next[sender] += 1;
    }
    assert_ne!(sources[0], sources[1], "messages are kept apart by their sender's port");
}

pub(super) fn a_datagram_comes_with_its_source_and_time(stage: &Stage) {
    let mut listener = stage.listen();
    let before = Instant::now();
    stage.send(PORT, &[b"one", b"two"]);
    let (one, two) = (listener.next(), listener.next());
    let after = Instant::now();
    assert_eq!((one.bytes.as_slice(), two.bytes.as_slice()), (&b"one"[..], &b"two"[..]));
    for datagram in [&one, &two] {
        assert_eq!(*datagram.source.ip(), stage.pair.source);
        assert_ne!(datagram.source.port(), 0);
        assert!(before <= datagram.received && datagram.received <= after);
    }
    assert_eq!(one.source, two.source);
}

pub(super) fn only_the_port_is_received(stage: &Stage) {
    let mut listener = stage.listen();
    // Short, and in IPv4 fragments, of which only the first has a port.
    for len in [1, 9000] {
        stage.send(OTHER_PORT, &[&vec![0; len]]);
        stage.send(PORT, &[b"marker"]);
        assert_eq!(listener.next_bytes(), b"marker");
    }
}

pub(super) fn what_was_granted_is_reported(stage: &Stage) {
    let granted = stage.open().receiver.granted();
    assert_eq!(granted.backend, stage.pair.receiver.backend());
    // Of what this suite runs on, only Linux' sockets do that.
    assert_eq!(granted.joins_segments, stage.subject.has_system_ports);
}

pub(super) fn two_receivers_both_get_each_datagram(stage: &Stage) {
    let mut listeners = [stage.listen(), stage.listen()];
    for n in 0..10u8 {
        stage.send(PORT, &[&[n]]);
    }
    for listener in &mut listeners {
        for n in 0..10u8 {
            assert_eq!(listener.next_bytes(), [n]);
        }
    }
}

pub(super) fn a_closed_receiver_leaves_the_others_alone(stage: &Stage) {
    let mut stays = stage.listen();
    let closed = stage.listen();
    let membership = closed.receiver.membership();
    drop(closed);
    stage.send(PORT, &[b"one"]);
    assert_eq!(stays.next_bytes(), b"one");
    // A handle may outlive its receiver. Using it then harms nobody.
    let _ = membership.leave(stage.pair.target());
    drop(membership);
    stage.send(PORT, &[b"two"]);
    assert_eq!(stays.next_bytes(), b"two");
    let mut reopened = stage.listen();
    stage.send(PORT, &[b"three"]);
    assert_eq!(reopened.next_bytes(), b"three");
    assert_eq!(stays.next_bytes(), b"three");
}
