//! Joining and leaving groups.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use ferrocal_transport::{MembershipError, Transmit, Wait};

use super::{PORT, Stage};
use crate::wait;

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 7);
const OTHER_GROUP: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 8);

pub(super) fn joining_does_nothing(stage: &Stage) {
    let mut listener = stage.open();
    let membership = listener.receiver.membership();
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
    let mut listener = stage.listen();
    let membership = listener.receiver.membership();
    for round in 0..3u8 {
        stage.send_to(GROUP, PORT, &[b"before it was joined"]);
        membership.join(GROUP).expect("a group can be joined");
        membership.join(OTHER_GROUP).expect("several groups can be joined");
        stage.send_to(GROUP, PORT, &[&[round]]);
        stage.send_to(OTHER_GROUP, PORT, &[&[round]]);
        assert_eq!([listener.next_bytes(), listener.next_bytes()], [[round], [round]]);
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

pub(super) fn groups_are_of_one_receiver(stage: &Stage) {
    let mut members = stage.open();
    members.receiver.membership().join(GROUP).expect("a group can be joined");
    let mut others = stage.listen();
    stage.send_to(GROUP, PORT, &[b"to the group"]);
    stage.send(PORT, &[b"to the target"]);
    assert_eq!(members.next_bytes(), b"to the group");
    assert_eq!(others.next_bytes(), b"to the target");
    // Leaving is of one receiver, too.
    others.receiver.membership().join(GROUP).expect("a group can be joined by both");
    members.receiver.membership().leave(GROUP).expect("a group can be left");
    stage.send_to(GROUP, PORT, &[b"again"]);
    assert_eq!(others.next_bytes(), b"again");
    members.expect_nothing();
}

pub(super) fn errors_have_types(stage: &Stage) {
    let mut listener = stage.open();
    let membership = listener.receiver.membership();
    let not_joined = |error| matches!(error, MembershipError::NotJoined(group) if group == GROUP);
    assert!(not_joined(membership.leave(GROUP).expect_err("it was never joined")));
    membership.join(GROUP).expect("a group can be joined");
    let error = listener.receiver.membership().join(GROUP).expect_err("it is joined already");
    assert!(matches!(error, MembershipError::AlreadyJoined(group) if group == GROUP), "{error}");
    assert!(error.to_string().contains(&GROUP.to_string()), "{error}");
    stage.send_to(GROUP, PORT, &[b"once"]);
    stage.send_to(GROUP, PORT, &[b"marker"]);
    assert_eq!((listener.next_bytes(), listener.next_bytes()), (b"once".to_vec(), b"marker".to_vec()));
    membership.leave(GROUP).expect("a group can be left");
    assert!(not_joined(membership.leave(GROUP).expect_err("it was left")));
    let unicast = Ipv4Addr::new(10, 9, 8, 7);
    let error = membership.join(unicast).expect_err("not a group");
    assert!(matches!(error, MembershipError::NotMulticast(group) if group == unicast), "{error}");
}

/// The system drops the membership with the interface, and the new one has another index.
pub(super) fn a_new_interface_is_followed(stage: &Stage) {
    let mut listener = stage.listen();
    stage.send(PORT, &[b"before"]);
    assert_eq!(listener.next_bytes(), b"before");
    if !stage.pair.replace_link() {
        return;
    }
    let destination = SocketAddrV4::new(stage.pair.target(), PORT);
    // Nothing reports when both sides use the new link.
    wait::until_some("a datagram over the new link", || {
        // Refused while the sender's interface is not up.
        let _ = stage.sender.send(&[Transmit { destination, parts: [b"after", &[], &[]] }]);
        let mut received = None;
        let wait = Wait::sleep(Duration::from_millis(10));
        let result = listener.receiver.recv(wait, &mut |datagram| received = Some(datagram.bytes.to_vec()));
        result.expect("a lost interface is no error");
        received.filter(|bytes| bytes == b"after")
    });
}
