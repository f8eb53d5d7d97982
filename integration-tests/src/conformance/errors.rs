//! What cannot be done, and what that says.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use ferrocal_transport::{OpenError, Transmit};

use super::{PORT, Stage};
use crate::pair::GROUP;

pub(super) fn too_long_a_datagram_is_an_error(stage: &Stage) {
    let mut listener = stage.listen();
    let destination = SocketAddrV4::new(stage.pair.target(), PORT);
    let long = vec![0; stage.sender.limits().max_datagram_len + 1];
    let batch = [b"one".as_slice(), b"two", &long, b"four"]
        .map(|datagram| Transmit { destination, parts: [&datagram[..1], &datagram[1..], &[]] });
    let error = stage.sender.send(&batch).expect_err("it is too long");
    assert_eq!((error.sent, error.len, error.destination), (2, long.len(), destination), "{error}");
    assert!(error.source().is_some(), "the cause is kept");
    let error = stage.sender.send(&batch[2..]).expect_err("it is too long");
    assert_eq!((error.sent, error.len), (0, long.len()), "{error}");
    stage.send(PORT, &[b"marker"]);
    let received = [listener.next_bytes(), listener.next_bytes(), listener.next_bytes()];
    assert_eq!(received, [b"one".to_vec(), b"two".to_vec(), b"marker".to_vec()]);
}

pub(super) fn an_unknown_interface_is_no_error_of_opening(stage: &Stage) {
    let on_interface = stage.subject.on_interface.expect("the backend knows interfaces");
    let transport = on_interface(Ipv4Addr::new(10, 99, 98, 97));
    let receiver = transport.receiver(PORT).expect("the interface may come later");
    receiver.membership().join(GROUP).expect("the group is joined when the interface comes");
    let sender = transport.sender().expect("the interface may come later");
    let destination = SocketAddrV4::new(GROUP, PORT);
    let error =
        sender.send(&[Transmit { destination, parts: [b"lost", &[], &[]] }]).expect_err("no interface");
    let text = error.source.to_string();
    assert!(
        text.contains("`10.99.98.97`") && text.contains("(127.0.0.1)"),
        "what exists is reported: {text}"
    );
}

pub(super) fn a_port_that_is_not_shared_is_an_error(stage: &Stage) {
    // Every receiver is on the host of the test itself.
    let held = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT)).expect("the port is free");
    let error = stage.pair.receiver.receiver(PORT).err().expect("the port is held");
    assert!(matches!(error, OpenError::Bind { port: PORT, .. }), "{error}");
    assert!(error.to_string().contains("24000"), "{error}");
    assert!(error.source().is_some(), "the cause is kept");
    drop(held);
    let mut listener = stage.listen();
    stage.send(PORT, &[b"now it works"]);
    assert_eq!(listener.next_bytes(), b"now it works");
}
