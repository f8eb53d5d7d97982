//! One datagram for each system call, on every system that has only the standard socket calls.

use std::collections::HashSet;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::queues::ReceiveQueue;
use super::slots::Slots;
use crate::seam::{Datagram, Transmit, Wait};

/// How long a system call waits at most. No call wakes another thread from it on every system, so each wait is cut into
/// pieces, and an interrupt is seen between them.
const PIECE: Duration = Duration::from_millis(50);
/// The system's time-outs are at least this long.
const SHORTEST: Duration = Duration::from_millis(1);

/// Looks at the receive buffers of other processes' sockets: only Linux shows them.
#[derive(Debug)]
pub struct ReceiveQueues(Infallible);

impl ReceiveQueues {
    /// Returns that there is no such look.
    ///
    /// # Errors
    /// Always, on this system.
    pub fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Calls `each` for every socket that is bound to `port`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn of_port(&mut self, _port: u16, _each: impl FnMut(ReceiveQueue)) -> io::Result<()> {
        match self.0 {}
    }
}

/// The sockets of a process: none, on this system.
pub fn sockets_of(_process: u32) -> HashSet<u32> {
    HashSet::new()
}

/// Returns that consecutive datagrams are not joined.
pub(super) fn prepare(_: &Socket) -> bool {
    false
}

/// The waiting thread looks for itself.
pub(super) fn interrupt(_: &UdpSocket) {}

pub(super) struct Buffers {
    slots: Slots,
    /// How long a call waits, once that is set.
    timeout: Option<Duration>,
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self { slots: Slots::new(1), timeout: None }
    }
}

/// Waits for a datagram. Does not poll: [`Wait::busy_poll`] has no effect.
pub(super) fn recv(
    socket: &UdpSocket,
    buffers: &mut Buffers,
    wait: Wait,
    is_interrupted: &AtomicBool,
    _lost: &mut u64,
    sink: &mut dyn FnMut(Datagram<'_>),
) -> io::Result<()> {
    let deadline = Instant::now().checked_add(wait.timeout);
    let piece = wait.timeout.clamp(SHORTEST, PIECE);
    if buffers.timeout != Some(piece) {
        socket.set_read_timeout(Some(piece))?;
        buffers.timeout = Some(piece);
    }
    while !is_interrupted.load(Ordering::SeqCst) {
        match socket.recv_from(buffers.slots.writable(0)) {
            Ok(_) if is_interrupted.load(Ordering::SeqCst) => break,
            Ok((len, SocketAddr::V4(source))) => {
                let (slot, memory) = buffers.slots.written(0);
                sink(Datagram {
                    bytes: &slot[..len],
                    memory: Some(memory),
                    segment_len: len,
                    is_after_loss: false,
                    source,
                    received: Instant::now(),
                });
                break;
            }
            Ok((_, SocketAddr::V6(_))) => unreachable!("the socket is an IPv4 socket"),
            // Windows reports here that an earlier datagram of ours found nobody (WSAECONNRESET). Nothing is wrong.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    break;
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Nothing is known of the route: no segments are sent.
pub(super) struct Route;

impl Route {
    pub(super) fn new(_: Ipv4Addr) -> Self {
        Self
    }

    pub(super) fn look_up(&self, _: &Socket) {}

    pub(super) fn segment_len(&self) -> Option<usize> {
        None
    }
}

/// Sends the first datagram of a batch that is not empty. Returns how many were sent.
pub(super) fn send(socket: &Socket, _: &Route, batch: &[Transmit<'_>]) -> io::Result<usize> {
    let Transmit { destination, parts } = batch[0];
    let slices = parts.map(IoSlice::new);
    socket.send_to_vectored(&slices, &destination.into())?;
    Ok(1)
}
