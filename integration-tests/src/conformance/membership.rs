//! Joining and leaving groups.

use std::net::Ipv4Addr;

use ferrocal_transport::MembershipError;

use super::{PORT, Stage};

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 7);
const OTHER_GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 8);

pub(super) fn joining_does_nothing(stage: &Stage) {
    let mut listener = stage.open(&[PORT]);
    let membership = listener.half.membership();
    stage.send(PORT, &[b"one"]);
    assert_eq!(listener.next_bytes(), b"one");
    membership.join(stage.pair.target()).expect("joining does nothing");
    stage.send(PORT, &[b"two"]);
    assert_eq!(listener.next_bytes(), b"two");
    membership.leave(stage.pair.target()).expect("leaving does nothing");
    stage.send(PORT, &[b"three"]);
    assert_eq!(listener.next_bytes(), b"three");
}

pub(super) fn groups_are_joined_and_left(stage: &Stage) {
    let mut listener = stage.listen(&[PORT]);
    let membership = listener.half.membership();
    for round in 0..3u8 {
        stage.send_to(GROUP, PORT, &[b"before it was joined"]);
        membership.join(GROUP).expect("a group can be joined");
        membership.join(OTHER_GROUP).expect("several groups can be joined");
        stage.send_to(GROUP, PORT, &[&[round]]);
        stage.send_to(OTHER_GROUP, PORT, &[&[round]]);
        for group in [GROUP, OTHER_GROUP] {
            let datagram = listener.next();
            assert_eq!(datagram.bytes, [round]);
            assert!([group, Ipv4Addr::UNSPECIFIED].contains(datagram.destination.ip()));
        }
        membership.leave(GROUP).expect("a group can be left");
        stage.send_to(GROUP, PORT, &[b"after it was left"]);
        // Comes last, so nothing else is on its way.
        stage.send_to(OTHER_GROUP, PORT, &[b"marker"]);
        assert_eq!(listener.next_bytes(), b"marker");
        membership.leave(OTHER_GROUP).expect("a group can be left");
        stage.send(PORT, &[b"marker"]);
        assert_eq!(listener.next_bytes(), b"marker", "one group is left, the others are not");
    }
}

pub(super) fn groups_are_of_one_half(stage: &Stage) {
    let mut members = stage.open(&[PORT]);
    members.half.membership().join(GROUP).expect("a group can be joined");
    let mut others = stage.listen(&[PORT]);
    stage.send_to(GROUP, PORT, &[b"to the group"]);
    stage.send(PORT, &[b"to the target"]);
    assert_eq!(members.next_bytes(), b"to the group");
    assert_eq!(others.next_bytes(), b"to the target");
    // Leaving is of one half, too.
    others.half.membership().join(GROUP).expect("a group can be joined by both");
    members.half.membership().leave(GROUP).expect("a group can be left");
    stage.send_to(GROUP, PORT, &[b"again"]);
    assert_eq!(others.next_bytes(), b"again");
    members.begin_to_wait();
}

pub(super) fn errors_have_types(stage: &Stage) {
    let mut listener = stage.open(&[PORT]);
    let membership = listener.half.membership();
    let not_joined = |error| matches!(error, MembershipError::NotJoined(group) if group == GROUP);
    assert!(not_joined(membership.leave(GROUP).expect_err("it was never joined")));
    membership.join(GROUP).expect("a group can be joined");
    let error = listener.half.membership().join(GROUP).expect_err("it is joined already");
    assert!(matches!(error, MembershipError::AlreadyJoined(group) if group == GROUP), "{error}");
    assert!(error.to_string().contains(&GROUP.to_string()), "{error}");
    stage.send_to(GROUP, PORT, &[b"once"]);
    stage.send_to(GROUP, PORT, &[b"marker"]);
    assert_eq!((listener.next_bytes(), listener.next_bytes()), (b"once".to_vec(), b"marker".to_vec()));
    membership.leave(GROUP).expect("a group can be left");
    assert!(not_joined(membership.leave(GROUP).expect_err("it was left")));
    // A unicast address is no group: the system refuses, or there would be nothing to receive.
    let error = membership.join(Ipv4Addr::new(10, 9, 8, 7)).expect_err("not a group");
    assert!(matches!(error, MembershipError::Join { .. }), "{error}");
}
