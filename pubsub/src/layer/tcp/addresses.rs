//! Where to listen, and where publishers may be found.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::inlet::Target;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// How long a connection is silent before the system asks whether the other side is still there, and then how often.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

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

/// Sets what all connections have.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (time, interval) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(time);
    #[cfg(any(target_os = "linux", target_os = "macos", target_os = "windows"))]
    let keepalive = keepalive.with_interval(interval);
    #[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "windows")))]
    let _ = interval;
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Whether a connection comes from this host.
pub(super) fn is_from_here(stream: &TcpStream, peer: SocketAddr) -> bool {
    let peer = peer.ip().to_canonical();
    peer.is_loopback() || stream.local_addr().is_ok_and(|local| local.ip().to_canonical() == peer)
}

/// The addresses that a publisher's host may have by its name.
pub(super) struct Resolved {
    pub(super) target: Target,
    pub(super) addresses: Vec<SocketAddr>,
}
