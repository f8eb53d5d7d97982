//! The receive half: a socket a port, all drained in turn.

#[cfg(target_os = "linux")]
mod blocking;

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
        let mut sink = from_here(*mode, drops, sink);
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
    sink: &mut dyn FnMut(Datagram<'_>),
) -> impl FnMut(Datagram<'_>) {
    let local = mode == Mode::Local;
    move |datagram| {
        if local && !datagram.source.ip().is_loopback() {
            drops.other_host += 1;
        } else {
            sink(datagram);
        }
    }
}
