//! The receiver: one socket.

use std::mem;
use std::net::UdpSocket;
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use super::sys;
use crate::config::{Config, Mode};
use crate::drops::ReceiveDrops;
use crate::error::ReceiveError;
use crate::membership::{Follow, Follower, Groups};
use crate::seam::{self, Datagram, Granted, Interrupt, Membership, Wait};

pub(super) struct Receiver {
    port: u16,
    mode: Mode,
    socket: Arc<UdpSocket>,
    granted: Granted,
    groups: Arc<Groups>,
    interrupter: Arc<Interrupter>,
    buffers: sys::Buffers,
    /// The number of datagrams that the kernel has reported as lost.
    lost: u64,
    drops: ReceiveDrops,
    /// Whether a loss was reported with a datagram of another host, and no datagram was passed on since.
    is_after_loss: bool,
    _follower: Arc<Follower>,
}

impl Receiver {
    pub(super) fn new(
        config: &Config,
        follower: &Arc<Follower>,
        port: u16,
        socket: UdpSocket,
        granted: Granted,
    ) -> Self {
        let socket = Arc::new(socket);
        let groups = Arc::new(Groups::new(socket.clone(), config.mode, follower.refusals()));
        if config.mode == Mode::Network {
            groups.follow(&follower.look());
            follower.add(&groups);
        }
        let interrupter = Arc::new(Interrupter {
            is_interrupted: AtomicBool::new(false),
            socket: Arc::downgrade(&socket),
            process: process::id(),
        });
        Self {
            port,
            mode: config.mode,
            socket,
            granted,
            groups,
            interrupter,
            buffers: sys::Buffers::new(),
            lost: 0,
            drops: ReceiveDrops::default(),
            is_after_loss: false,
            _follower: follower.clone(),
        }
    }
}

impl seam::Receiver for Receiver {
    fn recv(&mut self, wait: Wait, sink: &mut dyn FnMut(Datagram<'_>)) -> Result<(), ReceiveError> {
        let Self { port, mode, socket, interrupter, buffers, lost, drops, is_after_loss, .. } = self;
        let mut sink = from_this_host(*mode, drops, is_after_loss, sink);
        sys::recv(socket, buffers, wait, &interrupter.is_interrupted, lost, &mut sink)
            .map_err(|source| ReceiveError::Socket { port: *port, source })
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.interrupter.clone()
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.groups.clone()
    }

    fn drops(&self) -> ReceiveDrops {
        ReceiveDrops { buffer_full: self.lost, ..self.drops.clone() }
    }

    fn granted(&self) -> Granted {
        self.granted
    }
}

struct Interrupter {
    is_interrupted: AtomicBool,
    socket: Weak<UdpSocket>,
    /// The process that opened the receiver. A forked child shares the socket, and must not shut it down.
    process: u32,
}

impl Interrupt for Interrupter {
    fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::SeqCst);
        if let Some(socket) = self.socket.upgrade().filter(|_| self.process == process::id()) {
            sys::interrupt(&socket);
        }
    }
}

/// In local mode, drops what another host sent.
fn from_this_host(
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
    use std::net::{Ipv4Addr, SocketAddrV4};
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_loss_is_reported_even_if_the_next_datagram_is_dropped() {
        let datagram = |source, is_after_loss| Datagram {
            bytes: &[],
            memory: None,
            segment_len: 0,
            source: SocketAddrV4::new(source, 1),
            is_after_loss,
            received: Instant::now(),
        };
        let (mut drops, mut carried) = (ReceiveDrops::default(), false);
        let mut reported = Vec::new();
        let mut take = |source, is_after_loss| {
            let mut sink = |datagram: Datagram<'_>| reported.push(datagram.is_after_loss);
            from_this_host(Mode::Local, &mut drops, &mut carried, &mut sink)(datagram(source, is_after_loss));
        };
        let elsewhere = Ipv4Addr::new(192, 0, 2, 1);
        take(elsewhere, true);
        take(elsewhere, false);
        take(Ipv4Addr::LOCALHOST, false);
        take(Ipv4Addr::LOCALHOST, false);
        assert_eq!(reported, [true, false]);
        assert_eq!(drops.other_host, 2);
    }
}
