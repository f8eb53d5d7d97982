//! The sender: one blocking socket that all publishers share.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use ferrocal_proto::MAX_DATAGRAM_LEN;
use socket2::Socket;

use super::sys;
use crate::config::Config;
use crate::error::SendError;
use crate::membership::{Follow, Follower, Interface};
use crate::seam::{self, SendLimits, Transmit};

pub(crate) struct Sender {
    socket: Socket,
    /// The address of the interface that multicast leaves by, if one is configured.
    outgoing: Option<Ipv4Addr>,
    route: sys::Route,
    /// What the system grants.
    receive_buffer_len: usize,
    _follower: Arc<Follower>,
}

impl Sender {
    pub(super) fn new(
        config: &Config,
        follower: &Arc<Follower>,
        socket: Socket,
        outgoing: Option<Ipv4Addr>,
        receive_buffer_len: usize,
    ) -> Arc<Self> {
        let route = sys::Route::new(config.group, &socket);
        Arc::new(Self { socket, outgoing, route, receive_buffer_len, _follower: follower.clone() })
    }

    /// Returns another handle to its socket.
    #[cfg(feature = "raw")]
    pub(crate) fn try_clone(&self) -> io::Result<Socket> {
        self.socket.try_clone()
    }

    /// Returns the port that its datagrams come from.
    #[cfg(feature = "raw")]
    pub(crate) fn port(&self) -> io::Result<u16> {
        let address = self.socket.local_addr()?.as_socket_ipv4();
        Ok(address.map_or(0, |address| address.port()))
    }

    /// Chooses the outgoing interface again. A removed interface that is made anew is another one to the system, though
    /// its address is the same.
    fn choose_interface_again(&self) -> bool {
        self.outgoing.is_some_and(|address| self.socket.set_multicast_if_v4(&address).is_ok())
    }
}

impl seam::Sender for Sender {
    fn limits(&self) -> SendLimits {
        SendLimits {
            max_datagram_len: MAX_DATAGRAM_LEN,
            segment_len: self.route.segment_len(),
            receive_buffer_len: Some(self.receive_buffer_len),
        }
    }

    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError> {
        let (mut sent, mut chose_again) = (0, false);
        while let Some(next) = batch.get(sent) {
            match sys::send(&self.socket, &self.route, &batch[sent..]) {
                Ok(count) => sent += count,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if !chose_again && self.choose_interface_again() => chose_again = true,
                Err(source) => {
                    return Err(SendError { sent, destination: next.destination, len: next.len(), source });
                }
            }
        }
        Ok(())
    }
}

impl Follow for Sender {
    fn follow(&self, _: &[Interface], have_changed: bool) {
        if have_changed {
            self.choose_interface_again();
            self.route.look_up(&self.socket);
        }
    }
}
