use std::{vec, vec::Vec};

use core::net::Ipv4Addr;

use super::*;
use crate::{Fragments, HEADER_LEN, PayloadSample};

const START: Duration = Duration::from_secs(100);

fn sender(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}

fn info(id: i32, num: u32, len: u32) -> Vec<u8> {
    Header { kind: Kind::Info, id, num, len }.encode().into()
}

fn fragment(id: i32, num: u32, payload: &[u8]) -> Vec<u8> {
    let header = Header { kind: Kind::Fragment, id, num, len: payload.len() as u32 };
    [&header.encode()[..], payload].concat()
}

/// Pushes datagrams of one sender, and returns the messages.
fn push_all<'d>(reassembler: &mut Reassembler, datagrams: &'d [Vec<u8>]) -> Vec<Message<'d>> {
    datagrams.iter().filter_map(|datagram| reassembler.push(START, sender(1), datagram)).collect()
}

fn drops(reassembler: &Reassembler) -> Vec<(DropReason, u64)> {
    reassembler.drops().iter().filter(|(_, count)| *count > 0).collect()
}

/// Pushes datagrams that complete nothing, and expects the drops and the number of messages left.
fn expect(datagrams: &[Vec<u8>], expected: &[(DropReason, u64)], in_flight: usize) {
    let limits = Limits { max_message_len: 100, ..Limits::default() };
    let mut reassembler = Reassembler::new(limits);
    assert_eq!(push_all(&mut reassembler, datagrams), []);
    assert_eq!(drops(&reassembler), expected);
    assert_eq!(reassembler.in_flight(), in_flight);
    assert_eq!(reassembler.buffered_bytes() == 0, in_flight == 0);
    assert_eq!(reassembler.senders.is_empty(), in_flight == 0);
    assert_eq!(reassembler.by_age.len(), in_flight);
}

#[test]
fn a_whole_message_is_borrowed() {
    let mut reassembler = Reassembler::new(Limits::default());
    let header = Header { kind: Kind::Whole, id: -1, num: 1, len: 3 };
    let datagram = [&header.encode()[..], b"abc"].concat();
    assert_eq!(reassembler.push(START, sender(1), &datagram), Some(Message::Whole(&datagram[HEADER_LEN..])));
    let mut reassembler = Reassembler::new(Limits { max_message_len: 2, ..Limits::default() });
    assert_eq!(reassembler.push(START, sender(1), &datagram), None);
    assert_eq!(drops(&reassembler), [(DropReason::TooLong, 1)]);
}

#[test]
fn every_order_completes_once() {
    let datagrams = [info(1, 3, 6), fragment(1, 0, b"a"), fragment(1, 1, b"bc"), fragment(1, 2, b"def")];
    for order in 0..4 * 4 * 4 * 4 {
        let order: Vec<usize> = (0..4).map(|digit| order >> (2 * digit) & 3).collect();
        if (0..4).any(|at| !order.contains(&at)) {
            continue;
        }
        let mut reassembler = Reassembler::new(Limits::default());
        for (pushed, at) in order.iter().enumerate() {
            let message = reassembler.push(START, sender(1), &datagrams[*at]);
            assert_eq!(message.is_some(), pushed == 3, "{order:?}");
            assert!(message.is_none_or(|message| message.as_slice() == b"abcdef"));
        }
        assert_eq!(reassembler.buffered_bytes(), 0);
        assert_eq!(reassembler.drops().total(), 0);
        assert_eq!(push_all(&mut reassembler, &datagrams), []);
        assert_eq!(drops(&reassembler), [(DropReason::Duplicate, 4)]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes minutes there")]
fn what_is_sent_is_received() {
    let mut reassembler = Reassembler::new(Limits::default());
    let message: Vec<u8> = (0..5_000_000_u32).map(|at| (at * 31 + at / 999) as u8).collect();
    let (head, payload) = message.split_at(77);
    for (id, max_datagram_len) in [(1, 1472), (2, 65_507)] {
        let datagrams: Vec<_> = Fragments::new(id, [head, payload], max_datagram_len)
            .unwrap()
            .map(|datagram| [&datagram.header[..], datagram.parts[0], datagram.parts[1]].concat())
            .collect();
        let messages = push_all(&mut reassembler, &datagrams);
        assert!(matches!(&messages[..], [Message::Assembled(received)] if *received == message));
    }
    assert_eq!(reassembler.buffered_bytes(), 0);
    assert_eq!(reassembler.drops().total(), 0);
}

#[test]
fn contradictions_have_a_reason() {
    use DropReason::{Duplicate, Empty, FragmentNumber, Inconsistent, LengthMismatch, TooLong};
    expect(&[info(1, 0, 0)], &[(FragmentNumber, 1)], 0);
    expect(&[info(1, 1, 0)], &[(Empty, 1)], 0);
    expect(&[info(1, 5, 4)], &[(Inconsistent, 1)], 0);
    expect(&[fragment(1, 0, b"")], &[(Empty, 1)], 0);
    expect(&[fragment(1, u32::MAX, b"a")], &[(FragmentNumber, 1)], 0);

    expect(&[info(1, 2, 5), fragment(1, 2, b"a")], &[(FragmentNumber, 1)], 1);
    let [third, fourth, fifth] = [2, 3, 4].map(|number| fragment(1, number, b"a"));
    expect(&[info(1, 4, 50), third, fourth, fifth], &[(FragmentNumber, 1)], 1);
    expect(&[info(1, 2, 5), info(1, 2, 5)], &[(Duplicate, 1)], 1);
    expect(&[info(1, 2, 5), info(1, 2, 6)], &[(Inconsistent, 1)], 1);
    expect(&[info(1, 2, 5), info(1, 3, 5)], &[(Inconsistent, 1)], 1);
    expect(&[fragment(1, 0, b"a"), fragment(1, 0, b"a")], &[(Duplicate, 1)], 1);
    expect(&[fragment(1, 3, b"a"), fragment(1, 3, b"a")], &[(Duplicate, 1)], 1);

    // What cannot become a message any more is given up at once, and stays so.
    expect(&[fragment(1, 2, b"a"), info(1, 2, 5), info(1, 3, 5)], &[(FragmentNumber, 2)], 0);
    expect(&[fragment(1, 0, b"a"), fragment(1, 1, b"a"), info(1, 1, 5)], &[(FragmentNumber, 1)], 0);
    expect(&[fragment(1, 0, b"abcdef"), info(1, 2, 5)], &[(LengthMismatch, 1)], 0);
    expect(&[fragment(1, 0, b"abcd"), info(1, 1, 5)], &[(LengthMismatch, 1)], 0);
    expect(&[info(1, 2, 5), fragment(1, 0, b"abcdef")], &[(LengthMismatch, 1)], 0);
    expect(&[info(1, 2, 5), fragment(1, 1, b"abcdef")], &[(LengthMismatch, 1)], 0);
    expect(&[info(1, 2, 5), fragment(1, 1, b"ab"), fragment(1, 0, b"ab")], &[(LengthMismatch, 1)], 0);
    // No byte is left for the other fragment.
    expect(&[info(1, 2, 5), fragment(1, 1, b"abcde")], &[(LengthMismatch, 1)], 0);
    expect(&[info(1, 2, 101), fragment(1, 0, b"a")], &[(TooLong, 2)], 0);
    expect(&[fragment(1, 7, &[0; 100]), fragment(1, 9, b"a")], &[(TooLong, 1)], 0);
}

#[test]
fn expires_after_the_last_news() {
    let limits = Limits { timeout: Duration::from_secs(5), ..Limits::default() };
    let mut reassembler = Reassembler::new(limits);
    let second = |n| START + Duration::from_secs(n);
    let one = sender(1);
    reassembler.push(second(0), one, &info(1, 3, 6));
    reassembler.push(second(4), one, &fragment(1, 0, b"a"));
    // A duplicate is no news.
    reassembler.push(second(8), one, &fragment(1, 0, b"a"));
    reassembler.expire(second(8));
    assert_eq!(reassembler.in_flight(), 1);
    reassembler.expire(second(9));
    assert_eq!(reassembler.in_flight(), 0);
    assert_eq!(reassembler.buffered_bytes(), 0);
    // What comes later does not start it anew, until the id may be used again.
    reassembler.push(second(13), one, &fragment(1, 1, b"a"));
    assert_eq!(reassembler.in_flight(), 0);
    assert_eq!(drops(&reassembler), [(DropReason::Duplicate, 1), (DropReason::Expired, 2)]);
    reassembler.push(second(14), one, &fragment(1, 1, b"a"));
    assert_eq!(reassembler.in_flight(), 1);
}

#[test]
fn expires_without_being_told() {
    let mut reassembler = Reassembler::new(Limits::default());
    reassembler.push(START, sender(1), &info(1, 1, 1));
    let late = START + Duration::from_secs(5);
    assert_eq!(reassembler.push(late, sender(1), &fragment(1, 0, b"a")), None);
    assert_eq!(drops(&reassembler), [(DropReason::Expired, 2)]);
    assert_eq!(reassembler.in_flight(), 0);
}

#[test]
fn a_clock_that_goes_back_does_no_harm() {
    let mut reassembler = Reassembler::new(Limits::default());
    reassembler.push(START, sender(1), &info(1, 1, 1));
    assert!(reassembler.push(Duration::ZERO, sender(1), &fragment(1, 0, b"a")).is_some());
}

#[test]
fn claims_take_no_memory() {
    let mut reassembler = Reassembler::new(Limits::default());
    reassembler.push(START, sender(1), &info(1, 1000, 200 << 20));
    assert_eq!(reassembler.buffered_bytes(), MESSAGE_OVERHEAD);
    reassembler.push(START, sender(1), &fragment(1, 999, b"a"));
    assert!(reassembler.buffered_bytes() < 1024);
    reassembler.push(START, sender(1), &fragment(1, 0, b"a"));
    assert!(reassembler.buffered_bytes() < (64 << 10) + 1024);
    for number in 1..20 {
        reassembler.push(START, sender(1), &fragment(1, number, &[0; 60_000]));
        let received = 60_000 * number as usize;
        assert!(reassembler.buffered_bytes() <= 4 * received + 1024);
    }
}

#[test]
fn a_gap_that_a_loss_left_is_not_waited_for() {
    let mut reassembler = Reassembler::new(Limits::default());
    let datagrams = [info(1, 4, 4), fragment(1, 0, b"a"), fragment(1, 2, b"c"), fragment(1, 3, b"d")];
    assert_eq!(push_all(&mut reassembler, &datagrams[..2]), []);
    reassembler.note_loss();
    assert_eq!(push_all(&mut reassembler, &datagrams[2..]), []);
    assert_eq!(drops(&reassembler), [(DropReason::Lost, 2)], "one message, and what came of it then");
    assert_eq!(reassembler.in_flight(), 0);
}

#[test]
fn a_message_whose_info_was_lost_is_not_waited_for() {
    let mut reassembler = Reassembler::new(Limits::default());
    reassembler.note_loss();
    assert_eq!(push_all(&mut reassembler, &[fragment(1, 0, b"a"), info(1, 1, 1)]), []);
    assert_eq!(drops(&reassembler), [(DropReason::Lost, 2)]);
    assert_eq!(push_all(&mut reassembler, &[fragment(2, 0, b"a"), info(2, 1, 1)]).len(), 1);
}

#[test]
fn a_message_whose_info_was_lost_gives_up_no_other() {
    let mut reassembler = Reassembler::new(Limits { max_messages: 1, ..Limits::default() });
    assert_eq!(push_all(&mut reassembler, &[info(1, 1, 1)]), []);
    reassembler.note_loss();
    assert_eq!(push_all(&mut reassembler, &[fragment(2, 0, b"a"), fragment(1, 0, b"a")]).len(), 1);
    assert_eq!(drops(&reassembler), [(DropReason::Lost, 1)]);
}

#[test]
fn losses_elsewhere_leave_a_message_alone() {
    let mut reassembler = Reassembler::new(Limits::default());
    let datagrams = [
        info(1, 4, 4),
        fragment(1, 0, b"a"),
        fragment(1, 1, b"b"),
        // Here a gap is no loss, but another order.
        fragment(1, 3, b"d"),
        fragment(1, 2, b"c"),
    ];
    for datagram in &datagrams[..3] {
        reassembler.note_loss();
        assert_eq!(reassembler.push(START, sender(1), datagram), None);
    }
    assert_eq!(push_all(&mut reassembler, &datagrams[3..]).len(), 1);
    assert_eq!(reassembler.drops().total(), 0);
}

#[test]
fn the_memory_of_a_lost_message_is_used_again() {
    let mut reassembler = Reassembler::new(Limits::default());
    let half = [7; 100_000];
    push_all(&mut reassembler, &[info(1, 2, 200_000), fragment(1, 0, &half)]);
    let address = reassembler.messages.values().next().unwrap().memory_address();
    reassembler.expire(START + Duration::from_secs(5));
    assert_eq!(drops(&reassembler), [(DropReason::Expired, 1)]);
    // All that is there of the second message is its info, which needs no memory.
    let datagrams = [info(2, 2, 200_000), info(3, 2, 200_000), fragment(3, 0, &half), fragment(3, 1, &half)];
    let messages = push_all(&mut reassembler, &datagrams);
    let [Message::Assembled(message)] = &messages[..] else { panic!("one message, of fragments") };
    assert_eq!(message.as_ptr(), address);
    assert_eq!(message[..], [7; 200_000]);
}

#[test]
fn a_flood_harms_only_its_sender() {
    let limits = Limits { max_messages_per_sender: 3, ..Limits::default() };
    let mut reassembler = Reassembler::new(limits);
    reassembler.push(START, sender(2), &info(0, 1, 1));
    for id in 0..5 {
        reassembler.push(START, sender(1), &info(id, 1, 1));
    }
    assert_eq!(reassembler.in_flight(), 4);
    assert_eq!(drops(&reassembler), [(DropReason::OverCap, 2)]);
    assert!(reassembler.push(START, sender(2), &fragment(0, 0, b"a")).is_some());
    // The oldest had to go.
    for (id, completes) in [(0, false), (1, false), (2, true), (3, true), (4, true)] {
        let is_complete = reassembler.push(START, sender(1), &fragment(id, 0, b"a")).is_some();
        assert_eq!(is_complete, completes, "message {id}");
    }
}

#[test]
fn the_oldest_of_all_goes_first() {
    let limits = Limits { max_messages: 2, ..Limits::default() };
    let mut reassembler = Reassembler::new(limits);
    for port in [3, 1, 2] {
        reassembler.push(START, sender(port), &info(0, 1, 1));
    }
    assert_eq!(reassembler.in_flight(), 2);
    for (port, completes) in [(3, false), (1, true), (2, true)] {
        let is_complete = reassembler.push(START, sender(port), &fragment(0, 0, b"a")).is_some();
        assert_eq!(is_complete, completes, "sender {port}");
    }
}

#[test]
fn a_message_over_the_bytes_of_its_sender_is_given_up() {
    let limits = Limits { max_bytes_per_sender: 2000, ..Limits::default() };
    let mut reassembler = Reassembler::new(limits);
    reassembler.push(START, sender(1), &fragment(1, 1, &[0; 600]));
    reassembler.push(START, sender(1), &fragment(2, 1, &[0; 600]));
    assert_eq!(reassembler.in_flight(), 2);
    // First the older message goes, then the message itself.
    reassembler.push(START, sender(1), &fragment(2, 3, &[0; 600]));
    assert_eq!(reassembler.in_flight(), 1);
    reassembler.push(START, sender(1), &fragment(2, 5, &[0; 600]));
    assert_eq!(reassembler.in_flight(), 0);
    assert_eq!(drops(&reassembler), [(DropReason::OverCap, 2)]);
}

#[test]
fn no_limit_is_too_small() {
    let limits = Limits {
        max_message_len: 0,
        max_bytes_per_sender: 0,
        max_bytes: 0,
        max_messages_per_sender: 0,
        max_messages: 0,
        timeout: Duration::ZERO,
    };
    let mut reassembler = Reassembler::new(limits);
    let datagrams = vec![info(1, 1, 1), fragment(1, 0, b"a"), fragment(2, 0, b"a")];
    assert_eq!(push_all(&mut reassembler, &datagrams), []);
    assert_eq!(reassembler.in_flight(), 0);
    assert_eq!(reassembler.buffered_bytes(), 0);
}

#[test]
fn what_follows_a_gap_stays_together() {
    let mut reassembler = Reassembler::new(Limits::default());
    let datagrams: Vec<_> = (0..100).map(|number| fragment(1, number, &[number as u8])).collect();
    let runs = |reassembler: &Reassembler| reassembler.messages.values().next().unwrap().runs();
    push_all(&mut reassembler, &[info(1, 100, 100)]);
    push_all(&mut reassembler, &datagrams[..40]);
    push_all(&mut reassembler, &datagrams[41..70]);
    push_all(&mut reassembler, &datagrams[71..]);
    assert_eq!(runs(&reassembler), 2);
    push_all(&mut reassembler, &datagrams[45..75]);
    assert_eq!(drops(&reassembler), [(DropReason::Duplicate, 29)]);
    assert_eq!(runs(&reassembler), 2, "which touch each other now");
    let messages = push_all(&mut reassembler, &datagrams[40..41]);
    let [Message::Assembled(message)] = &messages[..] else { panic!("one message, of fragments") };
    assert!(message.iter().copied().eq(0..100));
}

#[test]
fn losses_take_no_more_memory_than_the_message() {
    let mut reassembler = Reassembler::new(Limits::default());
    let payload = [1; 60_000];
    reassembler.push(START, sender(1), &info(1, 100, 6_000_000));
    for number in (0..100).filter(|number| number % 20 != 10) {
        reassembler.push(START, sender(1), &fragment(1, number, &payload));
    }
    let memory = reassembler.buffered_bytes();
    assert!(memory < 6_000_000 + 1_000_000, "{memory} bytes");
}

#[test]
fn the_memory_charged_is_the_memory_taken() {
    let mut reassembler = Reassembler::new(Limits::default());
    let payload = [1; 60_000];
    let alone = payload.len() + partial::RUN_OVERHEAD;
    for (number, memory) in [
        (3, alone),
        (1, 2 * alone),
        // Twice the two of a run.
        (2, 4 * payload.len() + partial::RUN_OVERHEAD + alone),
        (5, 4 * payload.len() + partial::RUN_OVERHEAD + 2 * alone),
        // Twice the first four, and the one that is still ahead of its turn.
        (0, 8 * payload.len() + alone),
        (4, 8 * payload.len()),
    ] {
        reassembler.push(START, sender(1), &fragment(1, number, &payload));
        let taken: usize = reassembler.messages.values().map(Partial::memory).sum();
        assert_eq!(taken, memory, "after fragment {number}");
        assert_eq!(reassembler.buffered_bytes(), MESSAGE_OVERHEAD + memory, "after fragment {number}");
    }
}

/// What `take_given_up` returns, as source's port, reason and start.
fn given_up(reassembler: &mut Reassembler) -> Vec<(u16, DropReason, Vec<u8>)> {
    let messages = reassembler.take_given_up();
    messages.map(|message| (message.source.port(), message.reason, message.start)).collect()
}

#[test]
fn a_message_given_up_names_its_topic_at_once() {
    let sample = PayloadSample { topic_name: b"scan", topic_id: b"7", clock: 3, ..PayloadSample::default() };
    let mut head = Vec::new();
    PayloadSample { payload: &[0; 5000], ..sample }.encode_head(&mut head);
    let datagrams: Vec<_> = Fragments::new(1, [&head, &[0; 5000]], 1472)
        .unwrap()
        .map(|datagram| [&datagram.header[..], datagram.parts[0], datagram.parts[1]].concat())
        .collect();
    type GiveUp = fn(&mut Reassembler, &[Vec<u8>]);
    let ways: [(DropReason, GiveUp); 3] = [
        (DropReason::Expired, |reassembler, _| reassembler.expire(START + Duration::from_secs(5))),
        (DropReason::Lost, |reassembler, datagrams| {
            reassembler.note_loss();
            assert_eq!(push_all(reassembler, &datagrams[3..]), []);
        }),
        (DropReason::OverCap, |reassembler, _| assert_eq!(push_all(reassembler, &[info(2, 1, 1)]), [])),
    ];
    for (reason, give_up) in ways {
        let mut reassembler = Reassembler::new(Limits { max_messages_per_sender: 1, ..Limits::default() });
        assert_eq!(push_all(&mut reassembler, &datagrams[..2]), []);
        assert_eq!(reassembler.take_given_up().count(), 0);
        give_up(&mut reassembler, &datagrams);
        let messages: Vec<_> = reassembler.take_given_up().collect();
        let [GivenUp { source, reason: given_up_for, start }] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!((*source, *given_up_for), (sender(1), reason));
        assert_eq!(PayloadSample::decode_prefix(start), Some(sample));
    }
}

#[test]
fn a_message_given_up_without_its_start_says_only_whose_it_was() {
    let mut reassembler = Reassembler::new(Limits::default());
    push_all(&mut reassembler, &[info(1, 3, 3), fragment(1, 1, b"b")]);
    reassembler.expire(START + Duration::from_secs(5));
    assert_eq!(given_up(&mut reassembler), [(1, DropReason::Expired, vec![])]);
    // The info was lost, and so may be what is before the fragment that came.
    for (id, number, start) in [(2, 0, &b"a"[..]), (3, 1, b"")] {
        reassembler.note_loss();
        push_all(&mut reassembler, &[fragment(id, number, b"a"), fragment(id, 2, b"a")]);
        assert_eq!(given_up(&mut reassembler), [(1, DropReason::Lost, start.to_vec())]);
    }
}
