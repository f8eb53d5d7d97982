//! UDP sockets: multicast in network mode, broadcast on loopback in local mode.

mod queues;
mod receive;
mod send;
mod slots;
#[cfg_attr(target_os = "linux", path = "linux/mod.rs")]
#[cfg_attr(not(target_os = "linux"), path = "portable.rs")]
mod sys;

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::{Arc, Once};

use socket2::{Domain, Protocol, Socket, Type};

use crate::backend::Backend;
use crate::config::{Config, DEFAULT_RECEIVE_BUFFER_LEN, Mode};
use crate::error::OpenError;
use crate::membership::Follower;
use crate::seam::{Granted, Receiver, Sender, Transport};

pub use queues::ReceiveQueue;
pub(crate) use send::Sender as SocketSender;
pub use sys::{ReceiveQueues, sockets_of};

/// Sends and receives through the operating system's UDP sockets.
#[derive(Debug)]
pub struct SocketTransport {
    config: Config,
    follower: Arc<Follower>,
    send_buffer_reported: Once,
    receive_buffer_reported: Once,
}

impl SocketTransport {
    /// Makes a transport with these settings. Opens nothing yet.
    pub fn new(config: Config) -> Self {
        let follower = Arc::new(Follower::new(&config));
        Self::with_follower(config, follower)
    }

    /// Makes a transport that shares the thread of another one.
    pub(crate) fn with_follower(config: Config, follower: Arc<Follower>) -> Self {
        Self { config, follower, send_buffer_reported: Once::new(), receive_buffer_reported: Once::new() }
    }
}

impl Transport for SocketTransport {
    fn backend(&self) -> Backend {
        Backend::Socket
    }

    fn receiver(&self, port: u16) -> Result<Box<dyn Receiver>, OpenError> {
        let (socket, granted) = self.bind(port)?;
        Ok(Box::new(receive::Receiver::new(&self.config, &self.follower, port, socket, granted)))
    }

    fn sender(&self) -> Result<Arc<dyn Sender>, OpenError> {
        Ok(self.open_sender(self.config.ttl, self.config.loopback)?)
    }
}

impl SocketTransport {
    /// Opens a sender that reaches the members of a group on this host only: a time to live of 0 keeps multicast from
    /// the wire.
    #[cfg(feature = "raw")]
    pub(crate) fn sender_to_this_host(&self) -> Result<Arc<SocketSender>, OpenError> {
        self.open_sender(0, true)
    }

    fn open_sender(&self, multicast_ttl: u8, loopback: bool) -> Result<Arc<SocketSender>, OpenError> {
        let socket = udp_socket()?;
        let source = match self.config.mode {
            Mode::Local => {
                socket.set_broadcast(true).map_err(OpenError::socket("SO_BROADCAST"))?;
                // Loopback may come up later.
                #[cfg(target_os = "linux")]
                socket.set_freebind_v4(true).map_err(OpenError::socket("IP_FREEBIND"))?;
                Ipv4Addr::LOCALHOST
            }
            Mode::Network => {
                socket
                    .set_multicast_ttl_v4(multicast_ttl.into())
                    .map_err(OpenError::socket("IP_MULTICAST_TTL"))?;
                socket.set_multicast_loop_v4(loopback).map_err(OpenError::socket("IP_MULTICAST_LOOP"))?;
                Ipv4Addr::UNSPECIFIED
            }
        };
        // 0 keeps multicast on this host; the option for other destinations does not know it.
        socket.set_ttl_v4(u32::from(self.config.ttl).max(1)).map_err(OpenError::socket("IP_TTL"))?;
        let requested = self.config.send_buffer_len;
        socket.set_send_buffer_size(requested).map_err(OpenError::socket("SO_SNDBUF"))?;
        let granted = granted(socket.send_buffer_size().map_err(OpenError::socket("SO_SNDBUF"))?);
        if granted < requested {
            self.send_buffer_reported.call_once(|| {
                log::info!(
                    "the system granted a send buffer of {granted} bytes instead of {requested}; \
                     senders wait more often. On Linux: sysctl -w net.core.wmem_max={requested}"
                );
            });
        }
        socket
            .bind(&SocketAddrV4::new(source, 0).into())
            .map_err(|source| OpenError::Bind { port: 0, source })?;
        // Of another socket: nobody would read what others send to this one.
        let receive_buffer_len = set_receive_buffer(&udp_socket()?, self.config.receive_buffer_len)?;
        Ok(SocketSender::open(&self.config, &self.follower, socket, receive_buffer_len))
    }

    fn bind(&self, port: u16) -> Result<(UdpSocket, Granted), OpenError> {
        let socket = udp_socket()?;
        socket.set_reuse_address(true).map_err(OpenError::socket("SO_REUSEADDR"))?;
        // Linux and Windows share a multicast port by SO_REUSEADDR alone; the BSD family wants this one too.
        #[cfg(target_vendor = "apple")]
        socket.set_reuse_port(true).map_err(OpenError::socket("SO_REUSEPORT"))?;
        // Otherwise the socket gets every group that any program of this machine has joined.
        #[cfg(target_os = "linux")]
        if let Err(error) = socket.set_multicast_all_v4(false) {
            log::debug!("datagrams to other programs' groups are received, too: {error}");
        }
        let requested = self.config.receive_buffer_len;
        let receive_buffer_len = set_receive_buffer(&socket, requested)?;
        if receive_buffer_len < requested {
            self.receive_buffer_reported.call_once(|| {
                // Most systems grant less than the default, which the program may not need.
                let is_default = requested == DEFAULT_RECEIVE_BUFFER_LEN;
                log::log!(
                    if is_default { log::Level::Info } else { log::Level::Warn },
                    "the system granted a receive buffer of {receive_buffer_len} bytes instead of {requested}; \
                     long messages are sent more slowly, and those of others may be lost. \
                     On Linux: sysctl -w net.core.rmem_max={requested}"
                );
            });
        }
        socket
            .bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())
            .map_err(|source| OpenError::Bind { port, source })?;
        let joins_segments = sys::prepare(&socket);
        Ok((socket.into(), Granted { backend: Backend::Socket, receive_buffer_len, joins_segments }))
    }
}

fn udp_socket() -> Result<Socket, OpenError> {
    Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).map_err(OpenError::socket("socket"))
}

/// Returns the length that the system granted.
fn set_receive_buffer(socket: &Socket, requested: usize) -> Result<usize, OpenError> {
    socket.set_recv_buffer_size(requested).map_err(OpenError::socket("SO_RCVBUF"))?;
    Ok(granted(socket.recv_buffer_size().map_err(OpenError::socket("SO_RCVBUF"))?))
}

/// Linux doubles the requested length, to have room for its own bookkeeping, and reports that (socket(7)).
fn granted(reported: usize) -> usize {
    if cfg!(target_os = "linux") { reported / 2 } else { reported }
}
