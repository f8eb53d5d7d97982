//! The receive half: a socket a port, all drained in turn.

#[cfg(target_os = "linux")]
mod blocking;

use std::mem;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::net::UdpSocket;

use super::sys;
use crate::groups::Groups;
use crate::{Datagram, Membership, Mode, OpenError, ReceiveDrops, ReceiveError, ReceiveHalf};

pub(super) struct Port {
    pub(super) port: u16,
    pub(super) socket: Arc<UdpSocket>,
    pub(super) receive_buffer_len: usize,
}

pub(super) struct Receiver {
    ports: Vec<Port>,
    mode: Mode,
    groups: Arc<Groups>,
    buffers: sys::Buffers,
    /// For each port, what the kernel says it lost on it so far.
    lost: Vec<u32>,
    drops: ReceiveDrops,
    /// Whether a datagram that was held back told of a loss, and none came after it.
    is_after_loss: bool,
    /// The port to look at first, so that a busy one cannot starve the others.
    next: usize,
}

impl Receiver {
    pub(super) fn new(ports: Vec<Port>, mode: Mode, interfaces: Vec<Ipv4Addr>) -> Result<Self, OpenError> {
        let lost = vec![0; ports.len()];
        // Membership belongs to the socket itself, which its duplicates share.
        let duplicates = ports.iter().map(|port| SockRef::from(&*port.socket).try_clone());
        let duplicates = duplicates
            .collect::<Result<_, _>>()
            .map_err(|source| OpenError::Socket { option: "dup", source })?;
        let groups = Arc::new(Groups::new(duplicates, mode, interfaces));
        Ok(Self {
            ports,
            mode,
            groups,
            buffers: sys::Buffers::new(),
            lost,
            drops: ReceiveDrops::default(),
            is_after_loss: false,
            next: 0,
        })
    }
}

impl ReceiveHalf for Receiver {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Datagram<'_>),
    ) -> Poll<Result<(), ReceiveError>> {
        let Self { ports, mode, buffers, lost, drops, is_after_loss, next, .. } = self;
        let mut sink = from_here(*mode, drops, is_after_loss, sink);
        for turn in 0..ports.len() {
            let index = (*next + turn) % ports.len();
            let Port { port, socket, .. } = &ports[index];
            if let Poll::Ready(result) =
                sys::poll_recv(socket, *port, cx, buffers, &mut lost[index], &mut sink)
            {
                *next = index + 1;
                return Poll::Ready(result.map_err(|source| ReceiveError::Socket { port: *port, source }));
            }
        }
        Poll::Pending
    }

    #[cfg(target_os = "linux")]
    fn blocking(&mut self) -> Option<&mut dyn crate::BlockingReceive> {
        if self.ports.len() == 1 { Some(self) } else { None }
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.groups.clone()
    }

    fn drops(&self) -> ReceiveDrops {
        ReceiveDrops {
            buffer_full: self.lost.iter().map(|&lost| u64::from(lost)).sum(),
            ..self.drops.clone()
        }
    }

    fn receive_buffer_len(&self) -> usize {
        self.ports.iter().map(|port| port.receive_buffer_len).min().unwrap_or(0)
    }
}

/// Holds back what another host sent in local mode.
fn from_here(
    mode: Mode,
    drops: &mut ReceiveDrops,
    is_after_loss: &mut bool,
    sink: &mut dyn FnMut(Datagram<'_>),
) -> impl FnMut(Datagram<'_>) {
    let local = mode == Mode::Local;
    move |mut datagram| {
        datagram.is_after_loss |= mem::take(is_after_loss);
        if local && !datagram.source.ip().is_loopback() {
            drops.other_host += 1;
            *is_after_loss = datagram.is_after_loss;
        } else {
            sink(datagram);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_loss_is_told_of_even_if_the_next_datagram_is_held_back() {
        let datagram = |source, is_after_loss| Datagram {
            bytes: &[],
            memory: None,
            segment_len: 0,
            source: SocketAddrV4::new(source, 1),
            destination: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1),
            is_after_loss,
            received: Instant::now(),
        };
        let (mut drops, mut carried) = (ReceiveDrops::default(), false);
        let mut told = Vec::new();
        let mut take = |source, is_after_loss| {
            let mut sink = |datagram: Datagram<'_>| told.push(datagram.is_after_loss);
            from_here(Mode::Local, &mut drops, &mut carried, &mut sink)(datagram(source, is_after_loss));
        };
        let elsewhere = Ipv4Addr::new(192, 0, 2, 1);
        take(elsewhere, true);
        take(elsewhere, false);
        take(Ipv4Addr::LOCALHOST, false);
        take(Ipv4Addr::LOCALHOST, false);
        assert_eq!(told, [true, false]);
        assert_eq!(drops.other_host, 2);
    }
}
