//! Takes datagrams from a receiver, one by one.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrocal_transport::{Datagram, Receiver, Wait};

use crate::process::HANG;

/// A received datagram.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) kept: Bytes,
    /// Whether what is kept lies where it was received.
    pub(super) in_place: bool,
    pub(super) source: SocketAddrV4,
    pub(super) received: Instant,
}

pub(super) struct Listener {
    pub(super) receiver: Box<dyn Receiver>,
    ready: VecDeque<Received>,
}

impl Listener {
    pub(super) fn new(receiver: Box<dyn Receiver>) -> Self {
        Self { receiver, ready: VecDeque::new() }
    }

    /// Waits for the next datagram.
    #[track_caller]
    pub(super) fn next(&mut self) -> Received {
        let Self { receiver, ready } = self;
        let start = Instant::now();
        loop {
            if let Some(received) = ready.pop_front() {
                return received;
            }
            assert!(start.elapsed() < HANG, "no datagram for {HANG:?}");
            let result = receiver.recv(Wait::sleep(HANG), &mut |datagram| take(ready, datagram));
            result.expect("receiving works");
        }
    }

    /// Waits for the next datagram and returns its bytes.
    #[track_caller]
    pub(super) fn next_bytes(&mut self) -> Vec<u8> {
        self.next().bytes
    }

    /// Expects that there is no datagram.
    #[track_caller]
    pub(super) fn expect_nothing(&mut self) {
        let Self { receiver, ready } = self;
        let result = receiver.recv(Wait::sleep(Duration::ZERO), &mut |datagram| take(ready, datagram));
        result.expect("receiving works");
        assert!(ready.is_empty(), "nothing was sent, and {ready:?} arrived");
    }
}

fn take(ready: &mut VecDeque<Received>, datagram: Datagram<'_>) {
    let mut rest = datagram.bytes;
    // Once even for an empty datagram.
    loop {
        let (bytes, behind) = rest.split_at(datagram.segment_len.min(rest.len()));
        let kept = datagram.keep(bytes);
        ready.push_back(Received {
            bytes: bytes.to_vec(),
            in_place: kept.as_ptr() == bytes.as_ptr(),
            kept,
            source: datagram.source,
            received: datagram.received,
        });
        if behind.is_empty() {
            return;
        }
        assert!(!bytes.is_empty(), "several datagrams without a length");
        rest = behind;
    }
}
