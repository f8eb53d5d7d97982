//! Takes datagrams from a receive half, one by one.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddrV4;
use std::task::Poll;
use std::time::{Duration, Instant};

use ferrocal::Bytes;
use ferrocal_transport::ReceiveHalf;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use crate::process::HANG;

/// A received datagram.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) kept: Bytes,
    /// Whether what is kept lies where it was received.
    pub(super) in_place: bool,
    pub(super) source: SocketAddrV4,
    pub(super) destination: SocketAddrV4,
    pub(super) received: Instant,
}

pub(super) struct Listener<'r> {
    pub(super) half: Box<dyn ReceiveHalf>,
    runtime: &'r Runtime,
    ready: VecDeque<Received>,
    /// Whether the next wait is one in the system call, where the half has that. It is every other one.
    blocks: bool,
}

impl<'r> Listener<'r> {
    pub(super) fn new(runtime: &'r Runtime, half: Box<dyn ReceiveHalf>) -> Self {
        Self { half, runtime, ready: VecDeque::new(), blocks: false }
    }

    /// Waits for the next datagram.
    #[track_caller]
    pub(super) fn next(&mut self) -> Received {
        while self.ready.is_empty() {
            let Self { half, runtime, ready, blocks } = self;
            if std::mem::replace(blocks, !*blocks)
                && let Some(half) = half.blocking()
            {
                let result = half.recv(Duration::ZERO, HANG, &mut |datagram| take(ready, datagram));
                result.expect("receiving works");
                continue;
            }
            let poll = poll_fn(|cx| half.poll_recv(cx, &mut |datagram| take(ready, datagram)));
            match runtime.block_on(async { timeout(HANG, poll).await }) {
                Ok(result) => result.expect("receiving works"),
                Err(_) => panic!("no datagram for {HANG:?}"),
            }
        }
        self.ready.pop_front().expect("one is ready")
    }

    /// Waits for the next datagram and returns its bytes.
    #[track_caller]
    pub(super) fn next_bytes(&mut self) -> Vec<u8> {
        self.next().bytes
    }

    /// Polls once, and expects to be told to wait.
    #[track_caller]
    pub(super) fn begin_to_wait(&mut self) {
        let Self { half, runtime, ready, .. } = self;
        let poll = poll_fn(|cx| Poll::Ready(half.poll_recv(cx, &mut |datagram| take(ready, datagram))));
        assert!(runtime.block_on(poll).is_pending(), "nothing was sent, and {ready:?} arrived");
    }
}

fn take(ready: &mut VecDeque<Received>, datagram: ferrocal_transport::Datagram<'_>) {
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
            destination: datagram.destination,
            received: datagram.received,
        });
        if behind.is_empty() {
            return;
        }
        assert!(!bytes.is_empty(), "a run of datagrams without a length");
        rest = behind;
    }
}
