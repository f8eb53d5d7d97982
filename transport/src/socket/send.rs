//! The send half: one blocking socket that all publishers share.

use std::io;
use std::net::Ipv4Addr;

use socket2::Socket;

use super::sys;
use crate::{MAX_DATAGRAM_LEN, SendError, SendHalf, SendLimits, Transmit};

pub(crate) struct Sender {
    pub(super) socket: Socket,
    /// The address of the interface that multicast leaves by, if one is configured.
    pub(super) outgoing: Option<Ipv4Addr>,
    pub(super) route: sys::Route,
    /// That the system grants.
    pub(super) receive_buffer_len: usize,
}

impl Sender {
    /// Another handle to its socket.
    pub(crate) fn try_clone(&self) -> io::Result<Socket> {
        self.socket.try_clone()
    }

    /// The port that its datagrams come from.
    pub(crate) fn port(&self) -> io::Result<u16> {
        let address = self.socket.local_addr()?.as_socket_ipv4();
        Ok(address.map_or(0, |address| address.port()))
    }
}

impl SendHalf for Sender {
    fn limits(&self) -> SendLimits {
        SendLimits {
            max_datagram_len: MAX_DATAGRAM_LEN,
            segment_len: self.route.segment_len(),
            receive_buffer_len: Some(self.receive_buffer_len),
        }
    }

    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError> {
        let (mut sent, mut renewed) = (0, false);
        while let Some(next) = batch.get(sent) {
            match sys::send(&self.socket, &self.route, &batch[sent..]) {
                Ok(count) => sent += count,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                // An interface that was gone for a while is another one to the system, though its address is the same.
                Err(_) if !renewed && self.choose_interface_again() => renewed = true,
                Err(source) => {
                    return Err(SendError { sent, destination: next.destination, len: next.len(), source });
                }
            }
        }
        Ok(())
    }
}

impl Sender {
    fn choose_interface_again(&self) -> bool {
        self.outgoing.is_some_and(|address| self.socket.set_multicast_if_v4(&address).is_ok())
    }
}
