//! One datagram a system call, for every system that has no more than the standard socket calls.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use socket2::Socket;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::slots::Slots;
use crate::{Datagram, Mode, Transmit};

pub(super) fn prepare(_: &Socket) -> io::Result<()> {
    Ok(())
}

pub(super) struct Buffers(Slots);

impl Buffers {
    pub(super) fn new() -> Self {
        Self(Slots::new(1))
    }
}

pub(super) fn poll_recv(
    socket: &UdpSocket,
    port: u16,
    cx: &mut Context<'_>,
    buffers: &mut Buffers,
    _lost: &mut u32,
    sink: &mut dyn FnMut(Datagram<'_>),
) -> Poll<io::Result<()>> {
    let mut buffer = ReadBuf::new(buffers.0.writable(0));
    let source = match ready!(socket.poll_recv_from(cx, &mut buffer)) {
        Ok(SocketAddr::V4(source)) => source,
        Ok(SocketAddr::V6(_)) => unreachable!("the socket is an IPv4 socket"),
        // Windows reports here that an earlier datagram of ours found nobody (WSAECONNRESET); nothing is wrong.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Poll::Ready(Ok(())),
        Err(error) => return Poll::Ready(Err(error)),
    };
    let len = buffer.filled().len();
    let (slot, memory) = buffers.0.written(0);
    sink(Datagram {
        bytes: &slot[..len],
        memory: Some(memory),
        segment_len: len,
        is_after_loss: false,
        source,
        destination: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port),
        received: Instant::now(),
    });
    Poll::Ready(Ok(()))
}

/// No run of datagrams is sent in one call.
pub(super) struct Route;

impl Route {
    pub(super) fn new(_: Mode, _: &Socket) -> Self {
        Self
    }

    pub(super) fn segment_len(&self) -> Option<usize> {
        None
    }
}

/// Sends the first datagram of a batch that is not empty; tells how many that were.
pub(super) fn send(socket: &Socket, _: &Route, batch: &[Transmit<'_>]) -> io::Result<usize> {
    let Transmit { destination, parts } = batch[0];
    let slices = parts.map(IoSlice::new);
    socket.send_to_vectored(&slices, &destination.into())?;
    Ok(1)
}
