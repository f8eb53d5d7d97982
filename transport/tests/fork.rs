//! What a forked child does with its copies of the parent's transports.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use ferrocal_transport::memory::Network;
use ferrocal_transport::{Backend, Config, Mode, SocketTransport, Transmit, Transport, Wait};
#[cfg(feature = "raw")]
use ferrocal_transport::{Detection, NpcapTransport, detect};

const PORT: u16 = 24_010;
/// Only a bound for what would hang.
const HANG_SECONDS: u32 = 60;

/// Transports whose threads run.
fn transports() -> Vec<Arc<dyn Transport>> {
    let network = || Config {
        mode: Mode::Network,
        group: Ipv4Addr::new(239, 0, 0, 1),
        join_all_interfaces: true,
        ..Config::default()
    };
    #[cfg_attr(not(feature = "raw"), expect(unused_mut, reason = "nothing is added"))]
    let mut all: Vec<Arc<dyn Transport>> = vec![
        Arc::new(SocketTransport::new(Config::default())),
        Arc::new(SocketTransport::new(network())),
        Arc::new(Network::new(1).host()),
    ];
    #[cfg(feature = "raw")]
    if let Detection::Present(_) = detect() {
        all.push(Arc::new(NpcapTransport::new(network()).expect("raw frames are available")));
    }
    all
}

#[test]
fn dropping_in_a_forked_child_neither_hangs_nor_disturbs_the_parent() {
    for transport in transports() {
        let backend = transport.backend();
        let mut receiver = transport.receiver(PORT).expect("a receiver opens");
        let interrupter = receiver.interrupter();
        let sender = transport.sender().expect("a sender opens");
        // SAFETY: the child calls only what this test is about, and ends without returning.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: it takes a number.
            unsafe { libc::alarm(HANG_SECONDS) };
            interrupter.interrupt();
            drop((receiver, interrupter, sender, transport));
            // SAFETY: it takes a number.
            unsafe { libc::_exit(0) };
        }
        assert!(child > 0, "fork works");
        let mut status = 0;
        // SAFETY: the pointer is to an integer that outlives the call.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(libc::WIFEXITED(status), "{backend}: the child hung");

        let address = match backend {
            Backend::Memory => Ipv4Addr::new(10, 0, 0, 1),
            _ => Ipv4Addr::LOCALHOST,
        };
        let destination = SocketAddrV4::new(address, PORT);
        sender.send(&[Transmit { destination, parts: [b"x", &[], &[]] }]).expect("a datagram is sent");
        let mut count = 0;
        while count == 0 {
            let wait = Wait::sleep(Duration::from_secs(HANG_SECONDS.into()));
            receiver.recv(wait, &mut |_| count += 1).expect("the parent's receiver works");
        }
    }
}
