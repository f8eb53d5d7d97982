//! UDP sockets: multicast in network mode, broadcast on loopback in local mode.

mod receive;
mod send;
mod slots;
#[cfg_attr(target_os = "linux", path = "linux/mod.rs")]
#[cfg_attr(not(target_os = "linux"), path = "portable.rs")]
mod sys;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Once};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Backend, Config, Mode, OpenError, ReceiveHalf, SendHalf, Transport, interfaces};

pub(crate) use send::Sender as SocketSender;

/// Sends and receives through the operating system's UDP sockets.
#[derive(Debug)]
pub struct SocketTransport {
    config: Config,
    send_buffer_told: Once,
    receive_buffer_told: Once,
}

impl SocketTransport {
    /// A transport with these settings; nothing is opened yet.
    pub fn new(config: Config) -> Self {
        Self { config, send_buffer_told: Once::new(), receive_buffer_told: Once::new() }
    }

    fn socket() -> Result<Socket, OpenError> {
        Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).map_err(option("socket"))
    }

    /// Tells what was granted.
    fn set_receive_buffer(socket: &Socket, config: &Config) -> Result<usize, OpenError> {
        socket.set_recv_buffer_size(config.receive_buffer_len).map_err(option("SO_RCVBUF"))?;
        Ok(granted(socket.recv_buffer_size().map_err(option("SO_RCVBUF"))?))
    }
}

impl Transport for SocketTransport {
    fn backend(&self) -> Backend {
        Backend::Socket
    }

    fn open(&self, ports: &[u16]) -> Result<Box<dyn ReceiveHalf>, OpenError> {
        let interfaces = interfaces::to_join(&self.config)?;
        let sockets = ports.iter().map(|&port| self.bind(port)).collect::<Result<Vec<_>, _>>()?;
        Ok(Box::new(receive::Receiver::new(sockets, self.config.mode, interfaces)?))
    }

    fn sender(&self) -> Result<Arc<dyn SendHalf>, OpenError> {
        Ok(Arc::new(self.open_sender(self.config.ttl, self.config.loopback)?))
    }
}

impl SocketTransport {
    /// A sender that reaches the members of a group on this host only: a time to live of 0 keeps multicast from the
    /// wire.
    pub(crate) fn sender_to_this_host(&self) -> Result<send::Sender, OpenError> {
        self.open_sender(0, true)
    }

    fn open_sender(&self, multicast_ttl: u8, loopback: bool) -> Result<send::Sender, OpenError> {
        interfaces::to_join(&self.config)?;
        let socket = Self::socket()?;
        let source = match self.config.mode {
            Mode::Local => {
                socket.set_broadcast(true).map_err(option("SO_BROADCAST"))?;
                Ipv4Addr::LOCALHOST
            }
            Mode::Network => {
                if let Some(outgoing) = self.config.interfaces.first() {
                    socket.set_multicast_if_v4(outgoing).map_err(option("IP_MULTICAST_IF"))?;
                }
                socket.set_multicast_ttl_v4(multicast_ttl.into()).map_err(option("IP_MULTICAST_TTL"))?;
                socket.set_multicast_loop_v4(loopback).map_err(option("IP_MULTICAST_LOOP"))?;
                Ipv4Addr::UNSPECIFIED
            }
        };
        socket.set_ttl_v4(self.config.ttl.into()).map_err(option("IP_TTL"))?;
        socket.set_send_buffer_size(self.config.send_buffer_len).map_err(option("SO_SNDBUF"))?;
        let granted = granted(socket.send_buffer_size().map_err(option("SO_SNDBUF"))?);
        let asked = self.config.send_buffer_len;
        if granted < asked {
            self.send_buffer_told.call_once(|| {
                log::info!(
                    "the system granted a send buffer of {granted} bytes where {asked} were asked; \
                     senders wait more often. On Linux: sysctl -w net.core.wmem_max={asked}"
                );
            });
        }
        socket
            .bind(&SocketAddrV4::new(source, 0).into())
            .map_err(|source| OpenError::Bind { port: 0, source })?;
        let outgoing = self.config.interfaces.first().copied().filter(|_| self.config.mode == Mode::Network);
        // Not of the socket that sends: nobody would take from it what others send there.
        let receive_buffer_len = Self::set_receive_buffer(&Self::socket()?, &self.config)?;
        let route = sys::Route::new(self.config.mode, &socket);
        Ok(send::Sender { socket, outgoing, route, receive_buffer_len })
    }

    fn bind(&self, port: u16) -> Result<receive::Port, OpenError> {
        let socket = Self::socket()?;
        socket.set_reuse_address(true).map_err(option("SO_REUSEADDR"))?;
        // Linux and Windows share a multicast port by SO_REUSEADDR alone; the BSD family wants this one too.
        #[cfg(target_vendor = "apple")]
        socket.set_reuse_port(true).map_err(option("SO_REUSEPORT"))?;
        // Otherwise the socket gets every group that any program of this machine has joined.
        #[cfg(target_os = "linux")]
        socket.set_multicast_all_v4(false).map_err(option("IP_MULTICAST_ALL"))?;
        let granted = Self::set_receive_buffer(&socket, &self.config)?;
        let asked = self.config.receive_buffer_len;
        if granted < asked {
            self.receive_buffer_told.call_once(|| {
                log::warn!(
                    "the system granted a receive buffer of {granted} bytes where {asked} were asked; \
                     long messages are sent more slowly, and those of others may be lost. \
                     On Linux: sysctl -w net.core.rmem_max={asked}"
                );
            });
        }
        socket
            .bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())
            .map_err(|source| OpenError::Bind { port, source })?;
        sys::prepare(&socket).map_err(option("IP_RECVORIGDSTADDR or SO_RXQ_OVFL"))?;
        socket.set_nonblocking(true).map_err(option("O_NONBLOCK"))?;
        let socket = tokio::net::UdpSocket::from_std(socket.into()).map_err(option("tokio's reactor"))?;
        Ok(receive::Port { port, socket: Arc::new(socket), receive_buffer_len: granted })
    }
}

/// Linux doubles what it is asked for, to have room for its own bookkeeping, and reports that (socket(7)).
fn granted(reported: usize) -> usize {
    if cfg!(target_os = "linux") { reported / 2 } else { reported }
}

fn option(option: &'static str) -> impl Fn(std::io::Error) -> OpenError {
    move |source| OpenError::Socket { option, source }
}
