//! Waits for all sockets of the layer, and does what they are ready for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ferrocal_proto::{DropReason, TcpFrame, TcpFrameReader};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::addresses::Resolved;
use super::inbound::{self, Phase, Progress};
use super::inlet::{Readers, Target};
use super::outbound::{self, Left};
use super::port::Port;
use super::room::{self, Kind};
use super::{Command, Shared, WAKER};
use crate::connection::{is_from_here, prepare};
use crate::layer::Incoming;
use crate::outage::Outage;
use crate::resolver::Resolver;
use crate::source::{Flow, Ready, Source};
use crate::{Mode, descriptors, lock};

/// What is read at once, unless a long message is being read to its place.
const BUFFER_LEN: usize = 128 * 1024;
/// How often deadlines are looked at, while there are any.
const TICK: Duration = Duration::from_millis(250);
/// Events that are taken from the system at once.
const EVENTS: usize = 256;
/// Connections that are accepted for one port before it is another socket's turn.
const ACCEPTED_AT_ONCE: usize = 64;
/// What a subscriber may send up to the end of its handshake, in bytes. The handshake is short, but skipped frames may come
/// before it, for ever.
const MAX_BEFORE_HANDSHAKE: usize = 1024;
/// A pause after waiting has failed.
const PAUSE: Duration = Duration::from_millis(100);

/// All sockets of the layer.
pub(super) struct TcpSource {
    poll: Poll,
    events: Events,
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    resolver: Resolver,
    sockets: HashMap<Token, Socket>,
    next_token: usize,
    /// Sockets that have something to do, in turn.
    turns: VecDeque<Token>,
    waiting: HashSet<Token>,
    /// Those with a deadline, or with frames that wait.
    watched: HashSet<Token>,
    next_tick: Instant,
    /// The memory of all incomplete messages, in bytes.
    held: usize,
    /// There are as many connections as there may be.
    fullness: Outage,
    buffer: Vec<u8>,
    messages: Vec<Incoming>,
}

enum Socket {
    Listener(TcpListener, Arc<Port>),
    Subscriber(Subscriber),
    Publisher(Box<inbound::Connection>),
}

impl Socket {
    fn kind(&self) -> Option<Kind<'_>> {
        Some(match self {
            Self::Listener(..) => return None,
            Self::Subscriber(Subscriber { port, address, .. }) => Kind::new(false, &port.topic, *address),
            Self::Publisher(connection) => {
                let Target { source, topic, .. } = &connection.target;
                Kind::new(true, topic, *source)
            }
        })
    }
}

/// The connection of a subscriber to a publisher of this node.
struct Subscriber {
    connection: Arc<outbound::Connection>,
    port: Arc<Port>,
    address: IpAddr,
    /// What it sends, until its handshake has come.
    reader: TcpFrameReader,
    /// How many bytes those were.
    received: usize,
    deadline: Option<Instant>,
}

impl TcpSource {
    pub(super) fn new(poll: Poll, shared: Arc<Shared>, readers: Arc<Readers>, resolver: Resolver) -> Self {
        Self {
            poll,
            events: Events::with_capacity(EVENTS),
            shared,
            readers,
            resolver,
            sockets: HashMap::new(),
            next_token: 0,
            turns: VecDeque::new(),
            waiting: HashSet::new(),
            watched: HashSet::new(),
            next_tick: Instant::now(),
            held: 0,
            fullness: Outage::default(),
            buffer: vec![0; BUFFER_LEN],
            messages: Vec::new(),
        }
    }

    fn new_token(&mut self) -> Token {
        self.next_token += 1;
        Token(self.next_token)
    }

    /// Has a socket get its turn.
    fn schedule(&mut self, token: Token) {
        if self.waiting.insert(token) {
            self.turns.push_back(token);
        }
    }

    fn run_commands(&mut self) {
        let commands = std::mem::take(&mut *lock(&self.shared.commands));
        for command in commands {
            match command {
                Command::Listen(listener, port) => {
                    let token = self.new_token();
                    let registry = self.poll.registry();
                    let listening = listener.and_then(|mut listener| {
                        registry.register(&mut listener, token, Interest::READABLE).map(|()| listener)
                    });
                    match listening {
                        Ok(listener) => {
                            self.sockets.insert(token, Socket::Listener(listener, port));
                        }
                        Err(error) => log::warn!(
                            "topic `{}`: no port could be opened for TCP, so nobody can connect: {error}",
                            port.topic
                        ),
                    }
                }
                Command::Close(port) => self.close_port(&port),
                Command::Flush(token) => self.schedule(token),
                Command::MakeRoom => self.close_slowest(),
                Command::Connect(target) => self.connect(target),
                Command::Resolved(resolved) => self.resolved(resolved),
                Command::Unread(topic) => {
                    let is_unread = |socket: &Socket| matches!(socket, Socket::Publisher(one) if one.target.topic == topic);
                    self.close_all(is_unread);
                }
            }
        }
    }

    fn close_port(&mut self, port: &Arc<Port>) {
        let mut ended = Vec::new();
        self.sockets.retain(|token, socket| match socket {
            Socket::Listener(_, of) => !Arc::ptr_eq(of, port),
            Socket::Subscriber(subscriber) if Arc::ptr_eq(&subscriber.port, port) => {
                // Those that are not closed yet get a turn.
                subscriber.connection.end();
                ended.push(*token);
                true
            }
            _ => true,
        });
        ended.into_iter().for_each(|token| self.schedule(token));
    }

    fn close_all(&mut self, is_meant: impl Fn(&Socket) -> bool) {
        let meant = self.sockets.iter().filter(|(_, socket)| is_meant(socket));
        let tokens: Vec<_> = meant.map(|(token, _)| *token).collect();
        tokens.into_iter().for_each(|token| self.close(token));
    }

    fn close(&mut self, token: Token) {
        self.watched.remove(&token);
        match self.sockets.remove(&token) {
            Some(Socket::Subscriber(Subscriber { connection, port, .. })) => {
                connection.close();
                port.remove(&connection);
                self.shared.counters.subscribers.fetch_sub(1, Ordering::Relaxed);
            }
            Some(Socket::Publisher(connection)) => {
                self.held -= connection.held();
                self.readers.disconnected(&connection.target);
                self.shared.counters.publishers.fetch_sub(1, Ordering::Relaxed);
            }
            Some(Socket::Listener(..)) | None => {}
        }
    }

    fn connections(&self) -> usize {
        let counters = &self.shared.counters;
        let count =
            counters.subscribers.load(Ordering::Relaxed) + counters.publishers.load(Ordering::Relaxed);
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// Whether there may be another connection of this kind, for which one of a kind with more of them is closed if need
    /// be: nobody can take the place of all topics with one.
    fn has_room(&mut self, kind: Kind<'_>) -> bool {
        let max = self.shared.config.max_connections;
        if self.connections() < max {
            self.fullness.worked();
            return true;
        }
        self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
        if self.fullness.failed() {
            log::warn!(
                "topic `{}`: there are {max} connections by TCP, so one is refused or closed; raise \
                 ferrocal.tcp.max_connections if there are so many peers",
                kind.topic
            );
        }
        let kinds = self.sockets.iter().filter_map(|(token, socket)| Some((*token, socket.kind()?)));
        let closed = room::to_close(kind, &kinds.collect::<Vec<_>>());
        closed.map(|token| self.close(token)).is_some()
    }

    fn connect(&mut self, target: Target) {
        // Another port of the same publisher is an older one.
        let is_older = |other: &Target| other.origin == target.origin && !other.is_same(&target);
        self.close_all(|socket| matches!(socket, Socket::Publisher(one) if is_older(&one.target)));
        let mode = self.shared.mode;
        let addresses = target.addresses(mode);
        // In local mode, no name is looked up, as that may ask the network. Others have no say in where to connect to.
        self.connect_to(target, addresses, mode == Mode::Local);
    }

    /// Goes on with the addresses of a host's name. Whose name it is, and who answers for it, are not trusted either.
    fn resolved(&mut self, Resolved { target, addresses }: Resolved) {
        let (allowed, others): (VecDeque<_>, VecDeque<_>) =
            addresses.into_iter().partition(|address| self.shared.allow.allows_connection(address.ip()));
        others.iter().for_each(|_| self.shared.counters.count(DropReason::SourceNotAllowed));
        self.connect_to(target, allowed, true);
    }

    /// Connects to the first of some addresses that does not refuse at once.
    fn connect_to(&mut self, target: Target, mut candidates: VecDeque<SocketAddr>, is_resolved: bool) {
        // The connection stays when a publisher is forgotten, and is good when it registers again.
        let is_same =
            |socket: &Socket| matches!(socket, Socket::Publisher(one) if one.target.is_same(&target));
        if !self.readers.is_wanted(&target) || self.sockets.values().any(is_same) {
            return;
        }
        if !self.has_room(Kind::new(true, &target.topic, target.source)) {
            return self.readers.disconnected(&target);
        }
        let mut failure = None;
        while let Some(address) = candidates.pop_front() {
            let token = self.new_token();
            let interest = Interest::READABLE | Interest::WRITABLE;
            let stream = TcpStream::connect(address).and_then(|mut stream| {
                self.poll.registry().register(&mut stream, token, interest).map(|()| stream)
            });
            match stream {
                Ok(stream) if descriptors::is_one_of_the_last(&stream) => {
                    self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                    return self.readers.disconnected(&target);
                }
                Ok(stream) => {
                    let deadline = Instant::now() + self.shared.config.connect_timeout;
                    let max = self.shared.max_body_len();
                    let mut connection = inbound::Connection::new(target, stream, deadline, max);
                    (connection.candidates, connection.is_resolved) = (candidates, is_resolved);
                    self.sockets.insert(token, Socket::Publisher(Box::new(connection)));
                    self.shared.counters.publishers.fetch_add(1, Ordering::Relaxed);
                    self.watched.insert(token);
                    return self.schedule(token);
                }
                Err(error) => failure = Some(error),
            }
        }
        self.give_up(target, is_resolved, failure);
    }

    /// A connection could not be made: tries the next address, if there is one.
    fn not_connected(&mut self, token: Token, failure: std::io::Error) {
        let Some(Socket::Publisher(connection)) = self.sockets.remove(&token) else { return };
        self.watched.remove(&token);
        self.held -= connection.held();
        self.shared.counters.publishers.fetch_sub(1, Ordering::Relaxed);
        let inbound::Connection { target, candidates, is_resolved, .. } = *connection;
        if candidates.is_empty() {
            self.give_up(target, is_resolved, Some(failure));
        } else {
            self.connect_to(target, candidates, is_resolved);
        }
    }

    /// No address is left: looks the name up, if that was not done.
    fn give_up(&mut self, target: Target, is_resolved: bool, failure: Option<std::io::Error>) {
        if !is_resolved {
            let (resolved, shared) = (target.clone(), self.shared.clone());
            let found = move |addresses| {
                shared.command(Command::Resolved(Resolved { target: resolved, addresses }));
            };
            let name = &target.origin.host_name;
            match self.resolver.look_up(name, target.port.get(), found) {
                // Whether it could be connected to is not known yet.
                Some(look_up) => self.readers.looks_up(&target, look_up),
                None => {
                    // Its next registration tries again.
                    self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                    self.readers.disconnected(&target);
                }
            }
            return;
        }
        if let Some(end) = self.readers.is_new_failure(&target) {
            let (address, nor) = match self.shared.mode {
                Mode::Local => (SocketAddr::from((Ipv4Addr::LOCALHOST, target.port.get())), ""),
                Mode::Network => (target.address(), ", nor by its host's name"),
            };
            let why = failure.map_or_else(|| "its name has no address".into(), |error| error.to_string());
            log::warn!(
                "topic `{}`: the publisher {} of process {} on {} cannot be connected to by TCP at {address}{nor}: {why}; \
                 trying again with each of its registrations{end}",
                target.topic,
                target.origin.id,
                target.process_id,
                target.origin.host_name,
            );
        }
        self.readers.disconnected(&target);
    }

    fn accept(&mut self, token: Token) {
        for _ in 0..ACCEPTED_AT_ONCE {
            let Some(Socket::Listener(listener, port)) = self.sockets.get(&token) else { return };
            let (mut stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                // Of the connection, which is gone by now.
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) =>
                {
                    continue;
                }
                Err(error) => {
                    log::debug!("{port:?}: a connection cannot be accepted: {error}");
                    // Nothing says when it can: the next tick tries again.
                    self.watched.insert(token);
                    return;
                }
            };
            let port = port.clone();
            if !self.shared.allow.allows_connection(peer.ip()) {
                self.shared.counters.count(DropReason::SourceNotAllowed);
                continue;
            }
            if self.shared.mode == Mode::Local && !is_from_here(&stream, peer) {
                self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if descriptors::is_one_of_the_last(&stream) {
                self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let address = peer.ip();
            if !self.has_room(Kind::new(false, &port.topic, address)) {
                continue;
            }
            let token = self.new_token();
            let interest = Interest::READABLE | Interest::WRITABLE;
            let prepared = prepare(&stream);
            if prepared.and_then(|()| self.poll.registry().register(&mut stream, token, interest)).is_err() {
                continue;
            }
            let connection = Arc::new(outbound::Connection::new(token, stream, self.shared.clone()));
            if !port.add(connection.clone()) {
                continue;
            }
            self.shared.counters.subscribers.fetch_add(1, Ordering::Relaxed);
            let deadline = Some(Instant::now() + self.shared.config.connect_timeout);
            let reader = TcpFrameReader::new(0);
            let subscriber = Subscriber { connection, port, address, reader, received: 0, deadline };
            self.sockets.insert(token, Socket::Subscriber(subscriber));
            self.watched.insert(token);
            self.schedule(token);
        }
        self.schedule(token);
    }

    /// Does what a socket is ready for, once.
    fn take_turn(&mut self, token: Token, ready: &mut Ready) {
        match self.sockets.get_mut(&token) {
            None => {}
            Some(Socket::Listener(..)) => self.accept(token),
            Some(Socket::Subscriber(subscriber)) => {
                let left = match subscriber.read(&mut self.buffer) {
                    Ok(()) => subscriber.connection.flush(),
                    Err(reason) => {
                        if let Some(reason) = reason {
                            self.shared.counters.count(reason);
                        }
                        Left::Closed
                    }
                };
                let has_deadline = subscriber.deadline.is_some();
                match left {
                    Left::Closed => self.close(token),
                    Left::More => self.schedule(token),
                    Left::Blocked => {
                        self.watched.insert(token);
                    }
                    Left::Nothing if !has_deadline => {
                        self.watched.remove(&token);
                    }
                    Left::Nothing => {}
                }
            }
            Some(Socket::Publisher(connection)) => {
                let was_open = connection.phase == Phase::Open;
                if let Err(error) = connection.advance() {
                    return self.not_connected(token, error);
                }
                let before = connection.held();
                let progress = connection.read(&mut self.buffer, &mut self.messages);
                let (held, phase) = (connection.held(), connection.phase);
                self.held = self.held - before + held;
                if phase == Phase::Open {
                    if !was_open {
                        self.readers.connected(&connection.target);
                    }
                    // What is incomplete has a deadline.
                    if held > 0 {
                        self.watched.insert(token);
                    } else {
                        self.watched.remove(&token);
                    }
                    let topic = connection.target.topic.clone();
                    self.deliver(&topic, ready);
                }
                match progress {
                    Progress::More => self.schedule(token),
                    Progress::Blocked => {}
                    Progress::Closed => self.close(token),
                    Progress::Unusable(reason) => {
                        self.shared.counters.count(reason);
                        self.close(token);
                    }
                }
                if self.held > self.shared.max_bytes {
                    self.close_largest(token);
                }
            }
        }
    }

    /// Closes the connection whose incomplete message takes most memory: those who hold much and send nothing are not to
    /// keep out who sends. It is `growing` if no other one holds more.
    fn close_largest(&mut self, growing: Token) {
        let held = self.sockets.iter().filter_map(|(token, socket)| match socket {
            Socket::Publisher(connection) => Some((connection.held(), *token == growing, *token)),
            _ => None,
        });
        if let Some((_, _, token)) = held.max() {
            self.shared.counters.count(DropReason::OverCap);
            self.close(token);
        }
    }

    /// Closes the subscriber that takes longest for a message.
    fn close_slowest(&mut self) {
        let begun = self.sockets.iter().filter_map(|(token, socket)| match socket {
            Socket::Subscriber(subscriber) => Some((subscriber.connection.begun()?, *token)),
            _ => None,
        });
        if let Some((_, token)) = begun.min() {
            self.shared.counters.count(DropReason::OverCap);
            self.close(token);
        }
        self.shared.copies.is_full.store(false, Ordering::Relaxed);
    }

    fn deliver(&mut self, topic: &str, ready: &mut Ready) {
        if self.messages.is_empty() {
            return;
        }
        if let Some(sinks) = self.readers.sinks(topic)
            && let Some((last, others)) = sinks.split_last()
        {
            for sink in others {
                sink.push(&mut self.messages.iter().cloned(), ready);
            }
            last.push(&mut self.messages.drain(..), ready);
        }
        self.messages.clear();
    }

    /// Closes what took too long.
    fn tick(&mut self, now: Instant) {
        let write_timeout = self.shared.config.write_timeout;
        let mut late = Vec::new();
        for &token in &self.watched {
            let is_late = match self.sockets.get(&token) {
                Some(Socket::Subscriber(Subscriber { connection, deadline, .. })) => {
                    deadline.is_some_and(|deadline| now >= deadline)
                        || connection.is_blocked_for(write_timeout, now)
                }
                // What waits to be read is progress.
                Some(Socket::Publisher(connection)) if connection.phase == Phase::Open => {
                    connection.is_stuck_for(write_timeout, now) && !self.waiting.contains(&token)
                }
                Some(Socket::Publisher(connection)) => {
                    connection.deadline().is_some_and(|deadline| now >= deadline)
                }
                // It could not accept.
                Some(Socket::Listener(..)) | None => true,
            };
            if is_late {
                late.push(token);
            }
        }
        for token in late {
            self.watched.remove(&token);
            match self.sockets.get(&token) {
                Some(Socket::Listener(..)) => self.schedule(token),
                Some(Socket::Publisher(connection))
                    if matches!(connection.phase, Phase::Connecting { .. }) =>
                {
                    self.shared.counters.timed_out.fetch_add(1, Ordering::Relaxed);
                    self.not_connected(token, ErrorKind::TimedOut.into());
                }
                Some(_) => {
                    self.shared.counters.timed_out.fetch_add(1, Ordering::Relaxed);
                    self.close(token);
                }
                None => {}
            }
        }
    }

    /// How long nothing needs to be done.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        if !self.turns.is_empty() {
            return Some(Duration::ZERO);
        }
        (!self.watched.is_empty()).then(|| self.next_tick.saturating_duration_since(now))
    }
}

impl Subscriber {
    /// Reads what a subscriber sends: the handshake. After it, nothing is to come. So it does not take long, however fast
    /// the subscriber sends.
    ///
    /// # Errors
    /// When the connection is to be closed, and why if it is the subscriber's fault.
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Option<DropReason>> {
        loop {
            let count = match (&self.connection.stream).read(buffer) {
                Ok(0) => return Err(None),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(None),
            };
            let mut bytes = &buffer[..count];
            if self.deadline.is_none() {
                return Err(Some(DropReason::UnexpectedSample));
            }
            self.received += count;
            if self.received > MAX_BEFORE_HANDSHAKE {
                return Err(Some(DropReason::TooLong));
            }
            match self.reader.read(&mut bytes) {
                Ok(None) => {}
                Ok(Some(TcpFrame::Handshake(_))) if bytes.is_empty() => {
                    self.deadline = None;
                    self.connection.accept();
                }
                Ok(Some(_)) => return Err(Some(DropReason::UnexpectedSample)),
                Err(reason) => return Err(Some(reason)),
            }
        }
    }
}

impl Source for TcpSource {
    fn receive(&mut self, ready: &mut Ready) -> Flow {
        if self.shared.is_interrupted.load(Ordering::SeqCst) {
            return Flow::Continue;
        }
        let now = Instant::now();
        let timeout = self.timeout(now);
        if let Err(error) = self.poll.poll(&mut self.events, timeout) {
            if error.kind() == ErrorKind::Interrupted {
                return Flow::Continue;
            }
            log::warn!("waiting for TCP connections has failed: {error}");
            return Flow::Pause(PAUSE);
        }
        let tokens: Vec<_> = self.events.iter().map(|event| event.token()).collect();
        tokens.into_iter().filter(|token| *token != WAKER).for_each(|token| self.schedule(token));
        self.run_commands();
        if let Some(token) = self.turns.pop_front() {
            self.waiting.remove(&token);
            self.take_turn(token, ready);
        }
        let now = Instant::now();
        if now >= self.next_tick {
            self.next_tick = now + TICK;
            self.tick(now);
        }
        Flow::Continue
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::Ipv4Addr;

    use ferrocal_proto::{EntityId, TCP_HANDSHAKE};

    use super::super::Tcp;
    use super::*;
    use crate::layer::{Destination, Layer, Outgoing, Outlet, Writer};
    use crate::{Config, PublisherConfig};

    /// The writer of a publisher that listens, and its port.
    fn publisher(layer: &Tcp) -> (Box<dyn Writer>, SocketAddr) {
        let config = PublisherConfig::default();
        let outlet =
            Outlet { topic: "topic", id: EntityId::from_wire("1"), host_name: b"host", config: &config };
        let writer = layer.writer(&outlet);
        let endpoint = writer.endpoint().unwrap();
        endpoint.connect(&[Destination {
            id: EntityId::from_wire("2"),
            host_name: "host".into(),
            process_id: 7,
            local: true,
            joins_segments: false,
            shares_groups: false,
        }]);
        let port = endpoint.parameters().tcp_port.unwrap();
        (writer, (Ipv4Addr::LOCALHOST, port.get()).into())
    }

    #[test]
    fn many_that_connect_leave_others_their_turn() {
        let layer = Tcp::open(&Config::default()).unwrap();
        let mut source = Layer::open(&layer).unwrap().source;
        let mut receive = || {
            source.receive(&mut Ready::new());
            layer.shared.counters.subscribers.load(Ordering::Relaxed) as usize
        };
        let (_writer, address) = publisher(&layer);
        assert_eq!(receive(), 0, "it listens");
        let connect = |_| std::net::TcpStream::connect(address).unwrap();
        let _peers: Vec<_> = (0..ACCEPTED_AT_ONCE + 10).map(connect).collect();
        assert_eq!(receive(), ACCEPTED_AT_ONCE);
        // Their turns come before the others are accepted.
        for _ in 0..ACCEPTED_AT_ONCE {
            assert_eq!(receive(), ACCEPTED_AT_ONCE);
        }
        assert_eq!(receive(), ACCEPTED_AT_ONCE + 10);
    }

    /// Each of them is in the middle of another message.
    #[test]
    fn many_that_are_slow_take_no_more_memory_than_all_may() {
        // More than the system takes of a connection that nobody reads.
        const LEN: usize = 32 << 20;
        const ROOM: usize = 3;
        let mut config = Config::default();
        config.limits.reassembly.max_bytes = ROOM * (LEN + 1000);
        let layer = Tcp::open(&config).unwrap();
        let mut source = Layer::open(&layer).unwrap().source;
        let (mut writer, address) = publisher(&layer);
        let payload = vec![7; LEN];
        let mut peers: Vec<std::net::TcpStream> = Vec::new();
        let mut overwritten = Vec::new();
        for clock in 1..=5 {
            let mut peer = std::net::TcpStream::connect(address).unwrap();
            peer.write_all(&TCP_HANDSHAKE).unwrap();
            peer.set_nonblocking(true).unwrap();
            let mut answer = [0; TCP_HANDSHAKE.len()];
            while peer.peek(&mut answer).is_err() {
                layer.shared.wake();
                source.receive(&mut Ready::new());
            }
            peers.push(peer);
            let message = Outgoing { clock, time_us: 0, payload: &payload };
            overwritten.push(writer.write(&[message]).unwrap().overwritten);
            assert!(layer.shared.copies.bytes() <= config.limits.reassembly.max_bytes, "message {clock}");
        }
        layer.shared.wake();
        source.receive(&mut Ready::new());
        let is_open = |mut peer: &std::net::TcpStream| {
            let mut rest = Vec::new();
            peer.read_to_end(&mut rest).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        };
        let open: Vec<_> = peers.iter().map(is_open).collect();
        // The first one was closed for what came after the fourth message, for which there was no room.
        assert_eq!(open, [false, true, true, false, true]);
        assert_eq!(overwritten, [0, 0, 1, 4, 3], "a newer one, nobody's message, and two of the first one");
    }
}
