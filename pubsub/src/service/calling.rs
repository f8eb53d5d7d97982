//! The connection of a client to one server.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrocal_proto::{
    CallState, DropReason, EntityId, ServiceFrame, ServiceFrameKind, ServiceResponse, Text,
};
use mio::net::TcpStream;

use super::client_end::{ClientEnd, ServerIdentity};
use super::io::{Command, Next, Shared};
use super::link::{Broken, Link, Turn};
use super::listening::OWN;
use super::reply::{Reply, ReplyResult, ReplySender};
use super::room::{Place, Usage};
use super::{CallError, ServiceEventKind};
use crate::descriptors::is_one_of_the_last;
use crate::outage::LogBudget;
use crate::resolver::LookUp;

/// The time between two tries to connect, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// A call that waits for its response.
pub(crate) struct Call {
    frame: Vec<u8>,
    deadline: Option<Instant>,
    reply: ReplySender,
}

impl Call {
    /// `frame` is the request's; without a deadline, the call waits for ever.
    pub(crate) fn new(frame: Vec<u8>, deadline: Option<Instant>, reply: ReplySender) -> Self {
        Self { frame, deadline, reply }
    }

    pub(super) fn fail(self, why: CallError) {
        self.reply.send(Err(why));
    }

    fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }
}

/// What a server is known by: ids repeat between hosts and processes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Known {
    host_name: Text,
    process_id: i32,
    id: EntityId,
}

impl Known {
    pub(super) fn new(server: &ServerIdentity) -> Self {
        Self { host_name: server.host_name.clone(), process_id: server.process_id, id: server.id }
    }
}

/// The connection of a client to one server, also before there is one and between two.
pub(super) struct ClientSession {
    pub(super) token: usize,
    pub(super) client: Arc<ClientEnd>,
    pub(super) server: Arc<ServerIdentity>,
    /// Where its registrations come from.
    source: Ipv4Addr,
    port: u16,
    /// When it registered last. `None` when it has unregistered.
    registered: Option<Instant>,
    /// Where it was reached before, which is tried first.
    reached: Option<SocketAddr>,
    /// Where it may be reached.
    candidates: VecDeque<SocketAddr>,
    /// Whether its names are still to be looked up.
    has_names: bool,
    look_up: Option<LookUp>,
    state: State,
    link: Option<Link>,
    waiting: VecDeque<Call>,
    /// None of those that wait is late before this.
    earliest: Option<Instant>,
    calling: Option<Call>,
    /// Whether the program is told that it is connected. It stays so while a call that took too long ends its
    /// connection, and another one is opened.
    is_connected: bool,
    backoff: Duration,
    /// Whether the log said that it cannot be reached.
    is_reported: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It tries to connect then.
    Pausing(Instant),
    /// Its names are looked up, until then at most.
    Resolving(Instant),
    /// It connects, until then at most.
    Connecting(Instant),
    /// The server has to agree on a version, until then.
    Handshake(Instant),
    /// It can call.
    Ready,
}

impl ClientSession {
    pub(super) fn new(
        token: usize,
        client: Arc<ClientEnd>,
        server: ServerIdentity,
        source: Ipv4Addr,
        port: u16,
        now: Instant,
    ) -> Self {
        Self {
            token,
            client,
            server: Arc::new(server),
            source,
            port,
            registered: Some(now),
            reached: None,
            candidates: VecDeque::new(),
            has_names: false,
            look_up: None,
            state: State::Pausing(now),
            link: None,
            waiting: VecDeque::new(),
            earliest: None,
            calling: None,
            is_connected: false,
            backoff: BACKOFF.0,
            is_reported: false,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// Whether a call can be made, or waits for nothing but other calls.
    pub(super) fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Whether it could not be connected to, and is tried again later, or by its names.
    pub(super) fn is_pausing(&self) -> bool {
        !self.is_connected && matches!(self.state, State::Pausing(_) | State::Resolving(_))
    }

    /// Its place among the servers of its client.
    pub(super) fn place(&self) -> Place<(Ipv4Addr, u16)> {
        let usage = if self.waiting() > 0 { Usage::Busy } else { Usage::Idle };
        Place { token: self.token, peer: (self.source, self.port), usage }
    }

    /// How many calls have no response yet.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + usize::from(self.calling.is_some())
    }

    /// When [something is due](Self::due).
    pub(super) fn deadline(&self, shared: &Shared) -> Option<Instant> {
        let of_state = match self.state {
            State::Pausing(at) | State::Resolving(at) | State::Connecting(at) | State::Handshake(at) => {
                Some(at)
            }
            State::Ready => self.stall(shared),
        };
        let calling = self.calling.as_ref().and_then(|call| call.deadline);
        // Without a connection, its end is seen by itself.
        let expiry = self.registered.filter(|_| !self.is_connected).map(|at| at + shared.expiry);
        [of_state, self.earliest, calling, expiry].into_iter().flatten().min()
    }

    /// When the server has kept a response waiting that it has begun, or a request that it is to read.
    fn stall(&self, shared: &Shared) -> Option<Instant> {
        let link = self.link.as_ref().filter(|link| link.is_amid_frame() || link.is_writing())?;
        Some(link.last_progress + shared.limits.timeout)
    }

    /// The server has registered again, or unregistered.
    pub(super) fn registered(&mut self, source: Ipv4Addr, port: u16, now: Instant) -> Next {
        if port == 0 {
            self.registered = None;
            return if self.is_connected { Next::Keep } else { Next::Drop };
        }
        self.registered = Some(now);
        if (self.source, self.port) != (source, port) {
            (self.source, self.port) = (source, port);
            // It is somewhere else now: no need to wait as long as for where it was.
            if let State::Pausing(at) = &mut self.state {
                *at = (*at).min(now + BACKOFF.0);
            }
        }
        Next::Keep
    }

    /// Begins to connect.
    pub(super) fn start(&mut self, shared: &mut Shared, now: Instant) -> Next {
        self.candidates = self.seen(shared.is_local, &shared.host_name);
        self.has_names = !shared.is_local;
        self.connect(shared, now)
    }

    /// Where it may be reached, without a look at its names.
    fn seen(&self, is_local: bool, host_name: &[u8]) -> VecDeque<SocketAddr> {
        let own = *host_name == *self.server.host_name;
        // In local mode, no name is looked up, as that may ask the network. Others have no say in where to connect to.
        let addresses: Vec<IpAddr> = match () {
            () if is_local => OWN.to_vec(),
            () if self.source.is_loopback() && !own => Vec::new(),
            () => vec![self.source.into()],
        };
        let seen = addresses.into_iter().map(|address| SocketAddr::new(address, self.port));
        let reached = self.reached.filter(|one| one.port() == self.port);
        reached.into_iter().chain(seen.filter(|one| Some(*one) != reached)).collect()
    }

    /// Tries the next address.
    fn connect(&mut self, shared: &mut Shared, now: Instant) -> Next {
        self.unlink(shared);
        while let Some(address) = self.candidates.pop_front() {
            match self.open(address, shared, now) {
                Ok(true) => {
                    self.state = State::Connecting(now + shared.limits.timeout);
                    return Next::Keep;
                }
                Ok(false) => {
                    shared.io.count(DropReason::RegistryFull);
                    return self.lost(shared, now);
                }
                Err(error) => self.report(address, &Broken::Io(error), shared, now),
            }
        }
        if std::mem::take(&mut self.has_names) {
            return self.resolve(shared, now);
        }
        self.lost(shared, now)
    }

    /// Begins to connect. Returns whether the program has a descriptor for that.
    fn open(&mut self, address: SocketAddr, shared: &Shared, now: Instant) -> std::io::Result<bool> {
        let stream = TcpStream::connect(address)?;
        if is_one_of_the_last(&stream) {
            return Ok(false);
        }
        let mut link = Link::new(stream, shared.limits.max_message_len.saturating_add(64 * 1024), now);
        shared.watch(link.stream(), self.token)?;
        self.link = Some(link);
        self.reached = Some(address);
        Ok(true)
    }

    /// Looks up the names that eCAL connects to. That may take seconds, and is done on another thread.
    fn resolve(&mut self, shared: &mut Shared, now: Instant) -> Next {
        /// Resolvers give up before.
        const MAX_TIME: Duration = Duration::from_secs(60);
        let (connection, io) = (self.token, shared.io.clone());
        let found = move |addresses| io.submit(Command::Resolved { connection, addresses });
        self.look_up = shared.resolver.look_up(&self.server.host_name, self.port, found);
        if self.look_up.is_none() {
            // There were too many. It is tried again like others that cannot be reached.
            return self.lost(shared, now);
        }
        self.state = State::Resolving(now + MAX_TIME);
        Next::Keep
    }

    pub(super) fn resolved(&mut self, addresses: Vec<SocketAddr>, shared: &mut Shared, now: Instant) -> Next {
        if !matches!(self.state, State::Resolving(_)) {
            return Next::Keep;
        }
        // Whose name it is, and who answers for it, are not trusted either.
        let (allowed, others): (VecDeque<_>, VecDeque<_>) =
            addresses.into_iter().partition(|address| shared.allow.allows_connection(address.ip()));
        others.iter().for_each(|_| shared.io.count(DropReason::SourceNotAllowed));
        self.candidates = allowed;
        self.connect(shared, now)
    }

    /// Logs once that the server cannot be reached, until it is.
    fn report(&mut self, address: SocketAddr, why: &Broken, shared: &mut Shared, now: Instant) {
        log::debug!("service `{}`: no connection to {address}: {why}", self.client.service);
        if let Some(end) = self.is_news(&mut shared.reports, now) {
            log::warn!(
                "service `{}`: the server of process {} on {} cannot be reached at {address}: {why}; trying again{end}",
                self.client.service,
                self.server.process_id,
                self.server.host_name,
            );
        }
    }

    /// Whether the log is to say that it cannot be reached. Returns the end of the line.
    fn is_news(&mut self, reports: &mut LogBudget, now: Instant) -> Option<&'static str> {
        let end = if self.is_reported { None } else { reports.take(now) };
        self.is_reported |= end.is_some();
        end
    }

    /// Something can be read or written.
    pub(super) fn ready(&mut self, shared: &mut Shared, now: Instant) -> Next {
        match self.advance(shared, now) {
            Ok(()) => Next::Keep,
            Err(broken) => self.broken(&broken, shared, now),
        }
    }

    fn advance(&mut self, shared: &mut Shared, now: Instant) -> Result<(), Broken> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if let State::Connecting(until) = self.state {
            let stream = link.stream();
            if let Some(error) = stream.take_error().map_err(Broken::Io)? {
                return Err(Broken::Io(error));
            }
            if stream.peer_addr().is_err() {
                // Not yet.
                return Ok(());
            }
            self.state = State::Handshake(until);
            link.send(ServiceFrame::handshake_request(), now)?;
        }
        link.write(now)?;
        loop {
            let Some(link) = &mut self.link else { return Ok(()) };
            let turn = link.read(&mut shared.scratch, now);
            let bytes = link.buffered();
            if !shared.memory.hold(self.token, bytes) {
                return Err(Broken::Frame(DropReason::OverCap));
            }
            // What is not called has nothing to respond, and is to hold no memory with it.
            if self.state == State::Ready && self.calling.is_none() && link.is_amid_frame() {
                return Err(Broken::Frame(DropReason::UnexpectedSample));
            }
            match turn? {
                Turn::Frame(frame) => self.take(&frame, now)?,
                Turn::Nothing => return Ok(()),
                Turn::Later => {
                    shared.again.push(self.token);
                    return Ok(());
                }
            }
        }
    }

    fn take(&mut self, frame: &ServiceFrame, now: Instant) -> Result<(), Broken> {
        match (self.state, frame.kind) {
            (State::Handshake(_), ServiceFrameKind::HandshakeResponse) if frame.agrees() => {
                self.state = State::Ready;
                self.is_reported = false;
                if let Some(link) = &mut self.link {
                    link.agreed();
                }
                if !std::mem::replace(&mut self.is_connected, true) {
                    self.client.event(ServiceEventKind::Connected, &self.server);
                }
                self.call_next(now)
            }
            (State::Ready, ServiceFrameKind::Response) => {
                let response = ServiceResponse::decode(&frame.payload);
                let from = response.as_ref().ok().and_then(|response| response.service_id);
                if from.is_some_and(|id| id != self.server.id) {
                    // The port was given to another server before this one's registration expired.
                    return Err(Broken::Frame(DropReason::UnexpectedSample));
                }
                let call = self.calling.take().ok_or(Broken::Frame(DropReason::UnexpectedSample))?;
                self.backoff = BACKOFF.0;
                let reply =
                    response.map_err(CallError::BadResponse).and_then(|response| self.reply(response));
                call.reply.send(reply);
                self.call_next(now)
            }
            _ => Err(Broken::Frame(DropReason::UnexpectedSample)),
        }
    }

    fn reply(&self, response: ServiceResponse) -> ReplyResult {
        let ServiceResponse { state, error, ret_state, payload, .. } = response;
        match state {
            CallState::Executed => Ok(Reply { payload, ret_state, server: self.server.clone() }),
            CallState::Failed => Err(CallError::Failed { message: error.to_string(), ret_state }),
            CallState::None => Err(CallError::BadResponse(DropReason::BadSample)),
        }
    }

    /// Makes a call, after those that wait.
    pub(super) fn call(&mut self, call: Call, shared: &mut Shared, now: Instant) -> Next {
        self.earliest = [self.earliest, call.deadline].into_iter().flatten().min();
        self.waiting.push_back(call);
        match self.call_next(now) {
            Ok(()) => Next::Keep,
            Err(broken) => self.broken(&broken, shared, now),
        }
    }

    /// Makes the next call, if the connection is free for it.
    fn call_next(&mut self, now: Instant) -> Result<(), Broken> {
        if self.state != State::Ready || self.calling.is_some() {
            return Ok(());
        }
        let Some(link) = &mut self.link else { return Ok(()) };
        while let Some(mut call) = self.waiting.pop_front() {
            if call.is_late(now) {
                call.fail(CallError::Timeout);
                continue;
            }
            let frame = std::mem::take(&mut call.frame);
            self.calling = Some(call);
            return link.send(frame, now);
        }
        self.earliest = None;
        Ok(())
    }

    /// A deadline is over.
    pub(super) fn due(&mut self, shared: &mut Shared, now: Instant) -> Next {
        if self.earliest.is_some_and(|at| at <= now) {
            let (late, waiting): (VecDeque<_>, VecDeque<_>) =
                self.waiting.drain(..).partition(|call| call.is_late(now));
            self.waiting = waiting;
            self.earliest = self.waiting.iter().filter_map(|call| call.deadline).min();
            late.into_iter().for_each(|call| call.fail(CallError::Timeout));
        }
        if let Some(call) = self.calling.take_if(|call| call.is_late(now)) {
            call.fail(CallError::Timeout);
            // A later response could not be told from that of the next call.
            return self.start(shared, now);
        }
        if !self.is_connected && self.registered.is_none_or(|at| now >= at + shared.expiry) {
            return Next::Drop;
        }
        let timeout = Broken::Io(std::io::ErrorKind::TimedOut.into());
        match self.state {
            State::Pausing(at) if at <= now => self.start(shared, now),
            State::Resolving(at) if at <= now => self.lost(shared, now),
            State::Connecting(at) | State::Handshake(at) if at <= now => self.broken(&timeout, shared, now),
            State::Ready if self.stall(shared).is_some_and(|at| at <= now) => {
                self.broken(&timeout, shared, now)
            }
            _ => Next::Keep,
        }
    }

    /// Makes room for another connection.
    pub(super) fn evicted(&mut self, shared: &mut Shared, now: Instant) -> Next {
        self.broken(&Broken::Frame(DropReason::OverCap), shared, now)
    }

    /// The connection is of no use, or could not be made.
    fn broken(&mut self, why: &Broken, shared: &mut Shared, now: Instant) -> Next {
        if let Broken::Frame(reason) = why {
            shared.io.count(*reason);
        }
        match self.state {
            State::Connecting(_) | State::Handshake(_) => {
                if let Some(address) = self.reached.take() {
                    self.report(address, why, shared, now);
                }
                self.connect(shared, now)
            }
            _ => {
                log::debug!("service `{}`: the connection to a server ends: {why}", self.client.service);
                if let Broken::Frame(reason) = why
                    && let Some(call) = self.calling.take()
                {
                    call.fail(CallError::BadResponse(*reason));
                }
                self.lost(shared, now)
            }
        }
    }

    /// There is no connection: its calls end, and it is tried again as long as the server registers.
    fn lost(&mut self, shared: &mut Shared, now: Instant) -> Next {
        self.unlink(shared);
        self.disconnected(|| CallError::ConnectionLost);
        if self.registered.is_none() {
            return Next::Drop;
        }
        self.state = State::Pausing(now + self.backoff);
        self.backoff = (2 * self.backoff).min(BACKOFF.1);
        Next::Keep
    }

    fn unlink(&mut self, shared: &mut Shared) {
        self.link = None;
        self.look_up = None;
        shared.memory.release(self.token);
    }

    /// Ends its calls, and has the program hear of it.
    fn disconnected(&mut self, why: fn() -> CallError) {
        let calls = self.calling.take().into_iter().chain(self.waiting.drain(..));
        self.earliest = None;
        let calls: Vec<_> = calls.collect();
        if std::mem::take(&mut self.is_connected) {
            self.client.event(ServiceEventKind::Disconnected, &self.server);
        }
        calls.into_iter().for_each(|call| call.fail(why()));
    }

    /// The server is gone, or the client.
    pub(super) fn close(mut self, why: fn() -> CallError, shared: &mut Shared) {
        self.unlink(shared);
        self.disconnected(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::registry::Identity;
    use crate::service::pool::Pool;

    fn session(source: Ipv4Addr, port: u16, now: Instant) -> ClientSession {
        let config = Config::default();
        let (io, _thread) =
            crate::service::io::new(&config, b"host", crate::resolver::Resolver::new(1), Pool::default())
                .expect("the system has what it takes");
        let client = Arc::new(ClientEnd::new(&Identity::new("node", &config), "arm", io));
        let server = ServerIdentity {
            host_name: "host".into(),
            process_id: 7,
            process_name: "".into(),
            unit_name: "".into(),
            id: EntityId::from_wire("1"),
        };
        ClientSession::new(1, client, server, source, port, now)
    }

    #[test]
    fn a_server_that_comes_and_goes_does_not_fill_the_log() {
        let start = Instant::now();
        let (mut session, mut reports) = (session(Ipv4Addr::LOCALHOST, 1, start), LogBudget::default());
        for minute in [0, 1] {
            let now = start + Duration::from_secs(60 * minute);
            let flaps = (0..100).filter(|_| {
                // As if it had been reached.
                session.is_reported = false;
                let is_news = session.is_news(&mut reports, now).is_some();
                assert_eq!(session.is_news(&mut reports, now), None, "it is said once");
                is_news
            });
            assert_eq!(flaps.count(), 32);
        }
    }

    #[test]
    fn no_address_is_tried_twice() {
        let mut session = session(Ipv4Addr::LOCALHOST, 1, Instant::now());
        let [v4, v6] = OWN.map(|address| SocketAddr::new(address, 1));
        let seen = |session: &ClientSession, is_local| Vec::from(session.seen(is_local, b"host"));
        assert_eq!(seen(&session, true), [v4, v6]);
        for (reached, first_local, first) in [(v4, [v4, v6], vec![v4]), (v6, [v6, v4], vec![v6, v4])] {
            session.reached = Some(reached);
            assert_eq!(seen(&session, true), first_local);
            assert_eq!(seen(&session, false), first);
        }
        session.port = 2;
        assert_eq!(seen(&session, false), [SocketAddr::new(OWN[0], 2)], "where it was is another port");
    }

    #[test]
    fn a_server_that_registers_again_is_not_connected_to_earlier_unless_it_has_moved() {
        let [here, there] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(192, 0, 2, 1)];
        let now = Instant::now();
        let mut session = session(here, 1, now);
        let mut pause_after = |source, port| {
            session.state = State::Pausing(now + BACKOFF.1);
            session.registered(source, port, now);
            session.state
        };
        let (soon, late) = (State::Pausing(now + BACKOFF.0), State::Pausing(now + BACKOFF.1));
        assert_eq!(pause_after(here, 1), late);
        assert_eq!([pause_after(here, 2), pause_after(here, 2)], [soon, late]);
        assert_eq!([pause_after(there, 2), pause_after(there, 2)], [soon, late]);
    }
}
