//! The connections of a server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrocal_proto::{DropReason, ServiceFrame, ServiceFrameKind};
use mio::net::TcpStream;
use socket2::{Domain, Socket, Type};

use super::io::{Command, Io, Next, Shared};
use super::link::{Broken, Link, Turn};
use super::memory::MAX_HEAD_LEN;
use super::room::{Place, Usage};
use super::server_end::{ServerEnd, ServiceEventKind, count};
use crate::connection::{host_of, is_from_here};
use crate::descriptors::is_one_of_the_last;

/// After this time, what the system refused for lack of file descriptors, memory or threads is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(100);

/// Opens the port of a server. As eCAL's, it is one of the system's choice, on all addresses of IPv6 and IPv4, or of IPv4
/// alone where there is no IPv6.
///
/// In local mode, too: a client of eCAL connects to what the host's name resolves to, which can be any of its addresses.
/// Connections of other hosts are closed there when they are [accepted](Listener::accept), before a byte is read or sent.
pub(crate) fn listen() -> io::Result<std::net::TcpListener> {
    let open = |domain: Domain, address: SocketAddr| {
        let socket = Socket::new(domain, Type::STREAM, None)?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(128)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    open(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, 0).into()).or_else(|error: io::Error| {
        log::debug!("a server of services listens on IPv4 alone: {error}");
        open(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, 0).into())
    })
}

/// The port of a server.
pub(super) struct Listener {
    pub(super) server: Arc<ServerEnd>,
    listener: mio::net::TcpListener,
    token: usize,
    /// When to try again to accept.
    pub(super) retry: Option<Instant>,
}

impl Listener {
    pub(super) fn new(
        server: Arc<ServerEnd>,
        listener: std::net::TcpListener,
        shared: &mut Shared,
    ) -> io::Result<(usize, Self)> {
        let mut listener = mio::net::TcpListener::from_std(listener);
        let token = shared.new_token();
        shared.watch_reading(&mut listener, token)?;
        Ok((token, Self { server, listener, token, retry: None }))
    }

    /// Takes connections that wait.
    pub(super) fn accept(&mut self, shared: &mut Shared, now: Instant) -> Vec<(SocketAddr, TcpStream)> {
        const MAX_AT_ONCE: usize = 64;
        self.retry = None;
        let mut accepted = Vec::new();
        for _ in 0..MAX_AT_ONCE {
            match self.listener.accept() {
                Ok((stream, address))
                    if !shared.allow.allows_connection(address.ip())
                        || shared.is_local && !is_from_here(&stream, address) =>
                {
                    count(&self.server.counters.refused_hosts);
                }
                Ok((stream, _)) if is_one_of_the_last(&stream) => count(&self.server.counters.refused),
                Ok((stream, address)) => accepted.push((address, stream)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return accepted,
                Err(error) if is_of_one(&error) => {}
                Err(error) => {
                    log::debug!("service `{}`: no connection can be accepted: {error}", self.server.service);
                    self.retry = Some(now + RETRY);
                    return accepted;
                }
            }
        }
        shared.again.push(self.token);
        accepted
    }
}

/// Whether an error is one of the connection that was to be accepted, and not of the port.
fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// The connection of one client.
pub(super) struct ServerSession {
    pub(super) server: Arc<ServerEnd>,
    token: usize,
    address: SocketAddr,
    link: Link,
    state: State,
    /// The length of the request that is being answered.
    answering: usize,
    opened: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The client has still to say which versions it speaks.
    Handshake,
    /// A request may come.
    Idle,
    /// A method runs.
    Running,
    /// The response is written.
    Answering,
}

impl ServerSession {
    pub(super) fn new(
        token: usize,
        server: Arc<ServerEnd>,
        address: SocketAddr,
        stream: TcpStream,
        shared: &mut Shared,
        now: Instant,
    ) -> io::Result<Self> {
        let mut link = Link::new(stream, shared.limits.max_message_len.saturating_add(MAX_HEAD_LEN), now);
        shared.watch(link.stream(), token)?;
        // It may have sent already.
        shared.again.push(token);
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        Ok(Self { server, token, address, link, state: State::Handshake, answering: 0, opened: now })
    }

    /// Its place among the connections of its server.
    pub(super) fn place(&self) -> Place<IpAddr> {
        let usage = match self.state {
            State::Handshake => Usage::Handshake,
            State::Idle if !self.link.is_amid_frame() => Usage::Idle,
            State::Idle | State::Answering => Usage::Busy,
            State::Running => Usage::Running,
        };
        Place { token: self.token, peer: host_of(self.address.ip()), usage }
    }

    /// When the client has kept it waiting for too long.
    pub(super) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        match self.state {
            State::Handshake => Some(self.opened + timeout),
            State::Idle if !self.link.is_amid_frame() => None,
            State::Idle | State::Answering => Some(self.link.last_progress + timeout),
            State::Running => None,
        }
    }

    pub(super) fn stalled(&self, _: &Shared) -> Next {
        count(&self.server.counters.stalled);
        Next::Drop
    }

    /// Makes room for another connection.
    pub(super) fn evicted(&self) -> Next {
        self.broken(&Broken::Frame(DropReason::OverCap))
    }

    fn broken(&self, why: &Broken) -> Next {
        if matches!(why, Broken::Frame(_)) {
            count(&self.server.counters.broken);
        }
        log::debug!("service `{}`: the connection of {} ends: {why}", self.server.service, self.address);
        Next::Drop
    }

    /// Something can be read or written.
    pub(super) fn ready(&mut self, shared: &mut Shared, now: Instant) -> Next {
        match self.advance(shared, now) {
            Ok(()) => Next::Keep,
            Err(broken) => self.broken(&broken),
        }
    }

    fn advance(&mut self, shared: &mut Shared, now: Instant) -> Result<(), Broken> {
        if self.state == State::Answering {
            self.link.write(now)?;
            if self.link.is_writing() {
                return Ok(());
            }
            self.state = State::Idle;
            self.answering = 0;
            self.charge(shared)?;
        }
        while matches!(self.state, State::Handshake | State::Idle) {
            let turn = self.link.read(&mut shared.scratch, now);
            self.charge(shared)?;
            match turn? {
                Turn::Frame(frame) => self.take(frame, shared, now)?,
                Turn::Nothing => return Ok(()),
                Turn::Later => {
                    shared.again.push(self.token);
                    return Ok(());
                }
            }
        }
        // A client that does not wait for the response any more closes its connection.
        if self.state == State::Running { self.link.check_open() } else { Ok(()) }
    }

    fn take(&mut self, frame: ServiceFrame, shared: &mut Shared, now: Instant) -> Result<(), Broken> {
        match (self.state, frame.kind) {
            (State::Handshake, ServiceFrameKind::HandshakeRequest) if frame.agrees() => {
                self.state = State::Idle;
                self.link.agreed();
                self.server.event(ServiceEventKind::Connected, self.address);
                // It fits any buffer.
                self.link.send(ServiceFrame::handshake_response(), now)
            }
            (State::Idle, ServiceFrameKind::Request) => {
                self.answering = frame.payload.len();
                self.charge(shared)?;
                self.state = State::Running;
                shared.memory.use_held(self.token);
                let server = self.server.clone();
                let answer = Answer { io: shared.io.clone(), connection: self.token, frame: Vec::new() };
                shared
                    .io
                    .run_for(Some(self.token), Box::new(move || answer.bring(server.answer(&frame.payload))));
                Ok(())
            }
            _ => Err(Broken::Frame(DropReason::UnexpectedSample)),
        }
    }

    /// Writes what a method has answered.
    pub(super) fn answer(&mut self, frame: Vec<u8>, shared: &mut Shared, now: Instant) -> Next {
        if frame.is_empty() {
            // No method runs any more whose end would give back what it works on.
            self.state = State::Idle;
            return Next::Drop;
        }
        self.state = State::Answering;
        self.answering = frame.len();
        let sent = self.charge(shared).and_then(|()| self.link.send(frame, now));
        if let Err(broken) = sent {
            return self.broken(&broken);
        }
        self.ready(shared, now)
    }

    fn charge(&mut self, shared: &mut Shared) -> Result<(), Broken> {
        let bytes = self.link.buffered() + self.answering;
        if shared.memory.hold(self.token, bytes) { Ok(()) } else { Err(Broken::Frame(DropReason::OverCap)) }
    }

    pub(super) fn close(self, shared: &mut Shared) {
        // What has not begun is not begun, and what runs holds its request until it ends.
        if self.state == State::Running && !shared.io.cancel(self.token) {
            let _less = shared.memory.hold(self.token, self.answering);
            shared.memory.use_held(self.token);
        } else {
            shared.memory.release(self.token);
        }
        if self.state != State::Handshake {
            self.server.event(ServiceEventKind::Disconnected, self.address);
        }
    }
}

/// Brings the frame of a response back when it is dropped: it is empty if the method was never called.
struct Answer {
    io: Arc<Io>,
    connection: usize,
    frame: Vec<u8>,
}

impl Answer {
    fn bring(mut self, frame: Vec<u8>) {
        self.frame = frame;
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let frame = std::mem::take(&mut self.frame);
        self.io.submit(Command::Answer { connection: self.connection, frame });
    }
}

/// The addresses of this host that every server of eCAL can be reached at.
pub(super) const OWN: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
