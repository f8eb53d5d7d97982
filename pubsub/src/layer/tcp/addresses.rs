//! Where to listen, and where publishers may be found.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use super::inlet::Target;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Opens a port for everybody, with IPv6 if this system has it.
pub(super) fn listen() -> io::Result<(TcpListener, NonZeroU16)> {
    let listener = listen_on(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, 0).into())
        .or_else(|_| listen_on(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, 0).into()))?;
    let port = listener.local_addr()?.port();
    let port = NonZeroU16::new(port).ok_or_else(|| io::Error::other("the system gave no port"))?;
    Ok((listener, port))
}

fn listen_on(domain: Domain, address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// The addresses that a publisher's host may have by its name.
pub(super) struct Resolved {
    pub(super) target: Target,
    pub(super) addresses: Vec<SocketAddr>,
}
