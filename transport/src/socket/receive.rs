//! The receive half: a socket a port, all drained in turn.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::UdpSocket;

use super::sys;
use crate::groups::Groups;
use crate::{Datagram, Membership, Mode, OpenError, ReceiveDrops, ReceiveError, ReceiveHalf};

pub(super) struct Port {
    pub(super) port: u16,
    pub(super) socket: UdpSocket,
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
    /// The port to look at first, so that a busy one cannot starve the others.
    next: usize,
}

impl Receiver {
    pub(super) fn new(ports: Vec<Port>, mode: Mode, interfaces: Vec<Ipv4Addr>) -> Result<Self, OpenError> {
        let lost = vec![0; ports.len()];
        // Membership belongs to the socket itself, which its duplicates share.
        let duplicates = ports.iter().map(|port| SockRef::from(&port.socket).try_clone());
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
        let Self { ports, mode, buffers, lost, drops, next, .. } = self;
        let local = *mode == Mode::Local;
        let mut sink = |datagram: Datagram<'_>| {
            if local && !datagram.source.ip().is_loopback() {
                drops.other_host += 1;
            } else {
                sink(datagram);
            }
        };
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

    fn set_busy_poll(&mut self, span: Duration) {
        self.buffers.set_busy_poll(span);
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
