//! The thread of a node's connections.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ferrocal_proto::{DropCounts, DropReason, EntityId};
use mio::{Events, Interest, Poll, Registry, Token, Waker, event::Source};

use super::CallError;
use super::calling::{Call, ClientSession, Known};
use super::client_end::{ClientEnd, ServerIdentity};
use super::listening::{Listener, RETRY, ServerSession};
use super::memory::Memory;
use super::pool::{Job, Owner, Pool};
use super::room;
use super::server_end::{ServerEnd, count};
use crate::connection::host_of;
use crate::outage::LogBudget;
use crate::resolver::Resolver;
use crate::{AllowConfig, Config, Mode, ServiceLimits, lock};

/// What the thread is told.
pub(crate) enum Command {
    /// A server is there.
    Listen { server: Arc<ServerEnd>, listener: std::net::TcpListener },
    /// A server is closed: so are its connections.
    CloseServer(EntityId),
    /// A method has answered the request that came on a connection.
    Answer { connection: usize, frame: Vec<u8> },
    /// A client is there.
    Client(Arc<ClientEnd>),
    /// A client is closed: so are its connections, and its calls.
    CloseClient(EntityId),
    /// A server registered for a client; it unregistered, if the port is 0.
    Server { client: EntityId, source: Ipv4Addr, port: u16, identity: ServerIdentity },
    /// The addresses of a server were looked up.
    Resolved { connection: usize, addresses: Vec<SocketAddr> },
    /// A call of this server, or of any.
    Call { client: EntityId, server: Option<Arc<ServerIdentity>>, call: Call },
}

/// What the thread is told things by.
pub(crate) struct Io {
    /// `None` when nobody listens any more.
    commands: Mutex<Option<Commands>>,
    /// The most registrations of servers that wait for the thread: others decide how many there are.
    max_servers: usize,
    waker: Waker,
    pool: Pool,
    drops: Mutex<DropCounts>,
}

/// What the thread is to do.
#[derive(Default)]
struct Commands {
    list: Vec<Command>,
    /// How many of them are [`Command::Server`].
    servers: usize,
}

const WAKE: Token = Token(0);

impl Io {
    /// Tells the thread something. It is dropped if the thread has ended.
    pub(crate) fn submit(&self, command: Command) {
        let refused = match &mut *lock(&self.commands) {
            Some(commands) => {
                if matches!(command, Command::Server { .. }) {
                    if commands.servers >= self.max_servers {
                        // It registers again.
                        return self.refuse_server();
                    }
                    commands.servers += 1;
                }
                commands.list.push(command);
                // It wakes up for the first one.
                if commands.list.len() > 1 {
                    return;
                }
                None
            }
            None => Some(command),
        };
        if refused.is_none()
            && let Err(error) = self.waker.wake()
        {
            log::error!("the thread of services cannot be woken: {error}");
        }
    }

    /// Counts the registration of a server that there was no room for.
    fn refuse_server(&self) {
        self.count(DropReason::RegistryFull);
    }

    /// Counts what came and could not be used.
    pub(super) fn count(&self, reason: DropReason) {
        lock(&self.drops).count(reason);
    }

    /// What came and could not be used.
    pub(super) fn drops(&self) -> DropCounts {
        lock(&self.drops).clone()
    }

    /// Runs code of the program on another thread.
    pub(crate) fn run(&self, job: Job) {
        self.run_for(None, job);
    }

    /// As [`run`](Self::run), for a connection.
    pub(super) fn run_for(&self, owner: Owner, job: Job) {
        self.pool.run(owner, job);
        if self.pool.is_short() {
            // The thread tries again to start one.
            let _ = self.waker.wake();
        }
    }

    /// Drops what a connection has to run, if it has not begun. Returns whether there was something.
    pub(super) fn cancel(&self, owner: usize) -> bool {
        self.pool.cancel(owner)
    }

    pub(super) fn stop(&self) {
        self.end();
        let _ = self.waker.wake();
        self.pool.stop();
    }

    fn end(&self) {
        let left = lock(&self.commands).take();
        // To drop a call runs code of the program.
        drop(left);
    }
}

/// What all connections of the thread work with.
pub(super) struct Shared {
    registry: Registry,
    pub(super) io: Arc<Io>,
    pub(super) resolver: Resolver,
    /// What the log says of servers that cannot be reached.
    pub(super) reports: LogBudget,
    pub(super) limits: ServiceLimits,
    /// Whether only programs of this host are to connect, and to be connected.
    pub(super) is_local: bool,
    pub(super) allow: AllowConfig,
    pub(super) host_name: Vec<u8>,
    /// A server that did not register for this time has ended.
    pub(super) expiry: Duration,
    pub(super) scratch: Vec<u8>,
    /// What all connections are receiving and answering, and what methods work on whose clients are gone.
    pub(super) memory: Memory,
    /// Connections on which more may be there to read.
    pub(super) again: Vec<usize>,
    last_token: usize,
}

impl Shared {
    /// A token that was never used before.
    pub(super) fn new_token(&mut self) -> usize {
        self.last_token += 1;
        self.last_token
    }

    /// Has events of a socket come under a token.
    pub(super) fn watch(&self, source: &mut impl Source, token: usize) -> std::io::Result<()> {
        self.registry.register(source, Token(token), Interest::READABLE | Interest::WRITABLE)
    }

    /// Has events of a socket that accepts come under a token.
    pub(super) fn watch_reading(&self, source: &mut impl Source, token: usize) -> std::io::Result<()> {
        self.registry.register(source, Token(token), Interest::READABLE)
    }
}

/// What a connection wants next.
pub(super) enum Next {
    /// To go on.
    Keep,
    /// To be forgotten.
    Drop,
}

/// The state of the thread.
struct Run {
    poll: Poll,
    shared: Shared,
    listeners: HashMap<usize, Listener>,
    servers: HashMap<usize, ServerSession>,
    clients: HashMap<EntityId, Client>,
    calls: HashMap<usize, ClientSession>,
}

struct Client {
    end: Arc<ClientEnd>,
    /// The connection to each server.
    connections: HashMap<Known, usize>,
    /// Whether there were too many servers, which was logged.
    is_full: bool,
}

/// Makes what the thread runs, and what it is told things by.
pub(super) fn new(
    config: &Config,
    host_name: &[u8],
    resolver: Resolver,
    pool: Pool,
) -> std::io::Result<(Arc<Io>, impl FnOnce() -> std::io::Result<()> + Send + 'static)> {
    let mut run = Run::new(config, host_name, resolver, pool)?;
    let io = run.shared.io.clone();
    let run = move || {
        let _end = EndOnDrop(run.shared.io.clone());
        run.run()
    };
    Ok((io, run))
}

/// Nobody is told anything any more, even if the thread panicked.
struct EndOnDrop(Arc<Io>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Run {
    fn new(config: &Config, host_name: &[u8], resolver: Resolver, pool: Pool) -> std::io::Result<Self> {
        const SCRATCH_LEN: usize = 64 * 1024;
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let io = Arc::new(Io {
            commands: Mutex::new(Some(Commands::default())),
            max_servers: config.limits.service.max_connections,
            waker,
            pool,
            drops: Mutex::default(),
        });
        let shared = Shared {
            registry: poll.registry().try_clone()?,
            io,
            resolver,
            reports: LogBudget::default(),
            limits: config.limits.service.clone(),
            is_local: config.mode == Mode::Local,
            allow: config.allow.clone(),
            host_name: host_name.to_vec(),
            expiry: config.registration.timeout,
            scratch: vec![0; SCRATCH_LEN],
            memory: Memory::new(&config.limits.service),
            again: Vec::new(),
            last_token: WAKE.0,
        };
        Ok(Self {
            poll,
            shared,
            listeners: HashMap::new(),
            servers: HashMap::new(),
            clients: HashMap::new(),
            calls: HashMap::new(),
        })
    }

    /// Runs until the node ends.
    ///
    /// # Errors
    /// When the system does not let it wait any more.
    fn run(&mut self) -> std::io::Result<()> {
        let mut events = Events::with_capacity(256);
        loop {
            let timeout = if self.shared.again.is_empty() {
                self.deadline().map(|deadline| deadline.saturating_duration_since(Instant::now()))
            } else {
                Some(Duration::ZERO)
            };
            match self.poll.poll(&mut events, timeout) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            let commands = match &mut *lock(&self.shared.io.commands) {
                Some(commands) => std::mem::take(commands),
                None => return Ok(()),
            };
            let now = Instant::now();
            commands.list.into_iter().for_each(|command| self.command(command, now));
            for event in &events {
                self.ready(event.token().0, now);
            }
            for token in std::mem::take(&mut self.shared.again) {
                self.ready(token, now);
            }
            self.expire(now);
        }
    }

    /// When something is to be done at the latest.
    fn deadline(&self) -> Option<Instant> {
        let timeout = self.shared.limits.timeout;
        let listeners = self.listeners.values().filter_map(|listener| listener.retry);
        let servers = self.servers.values().filter_map(|session| session.deadline(timeout));
        let calls = self.calls.values().filter_map(|session| session.deadline(&self.shared));
        let threads = self.shared.io.pool.is_short().then(|| Instant::now() + RETRY);
        listeners.chain(servers).chain(calls).chain(threads).min()
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Listen { server, listener } => match Listener::new(server, listener, &mut self.shared) {
                Ok((token, listener)) => {
                    self.listeners.insert(token, listener);
                    // Clients may have come before this.
                    self.ready(token, now);
                }
                Err(error) => log::error!("a server of services cannot listen: {error}"),
            },
            Command::CloseServer(id) => {
                self.listeners.retain(|_, listener| listener.server.id != id);
                let closed: Vec<_> = self.servers.extract_if(|_, session| session.server.id == id).collect();
                closed.into_iter().for_each(|(_, session)| session.close(&mut self.shared));
            }
            Command::Answer { connection, frame } => {
                if !self.servers.contains_key(&connection) {
                    // Its client is gone.
                    self.shared.memory.release(connection);
                }
                self.server(connection, |session, shared| session.answer(frame, shared, now));
            }
            Command::Client(end) => {
                self.clients.insert(end.id, Client { end, connections: HashMap::new(), is_full: false });
            }
            Command::CloseClient(id) => {
                let Some(client) = self.clients.remove(&id) else { return };
                for token in client.connections.into_values() {
                    if let Some(session) = self.calls.remove(&token) {
                        session.close(|| CallError::Closed, &mut self.shared);
                    }
                }
            }
            Command::Server { client, source, port, identity } => {
                self.server_registered(client, source, port, identity, now);
            }
            Command::Resolved { connection, addresses } => {
                self.call(connection, |session, shared| session.resolved(addresses, shared, now));
            }
            Command::Call { client, server, call } => self.begin_call(client, server.as_deref(), call, now),
        }
    }

    fn server_registered(
        &mut self,
        id: EntityId,
        source: Ipv4Addr,
        port: u16,
        identity: ServerIdentity,
        now: Instant,
    ) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let key = Known::new(&identity);
        if let Some(&token) = client.connections.get(&key) {
            self.call(token, |session, _| session.registered(source, port, now));
            return;
        }
        if port == 0 {
            return;
        }
        if client.connections.len() >= self.shared.limits.max_connections {
            if !std::mem::replace(&mut client.is_full, true) {
                log::warn!(
                    "service `{}`: the client connects to {} servers at most (limits.service.max_connections)",
                    client.end.service,
                    self.shared.limits.max_connections
                );
            }
            self.shared.io.refuse_server();
            if !self.make_room(id, (source, port)) {
                return;
            }
        }
        let Some(client) = self.clients.get_mut(&id) else { return };
        let token = self.shared.new_token();
        client.connections.insert(key, token);
        let session = ClientSession::new(token, client.end.clone(), identity, source, port, now);
        self.calls.insert(token, session);
        self.call(token, |session, shared| session.start(shared, now));
    }

    /// Gives up one of a client's servers for another one: one that cannot be reached at present, or of a port that
    /// registers as many. Returns whether there was one.
    fn make_room(&mut self, client: EntityId, newcomer: (Ipv4Addr, u16)) -> bool {
        let tokens = self.clients.get(&client).into_iter().flat_map(|client| client.connections.values());
        let sessions: Vec<_> = tokens.filter_map(|token| self.calls.get(token)).collect();
        let unreachable = sessions.iter().filter(|session| session.is_pausing());
        let oldest = unreachable.map(|session| session.token).min();
        let chosen = oldest.or_else(|| {
            let places: Vec<_> = sessions.iter().map(|session| session.place()).collect();
            room::make_room(&places, &newcomer)
        });
        if let Some(token) = chosen {
            self.call(token, |_, _| Next::Drop);
        }
        chosen.is_some()
    }

    /// Whether there may be another connection of this address to a server. One is closed for it if need be.
    fn has_room(&mut self, server: &ServerEnd, address: IpAddr) -> bool {
        let sessions = || self.servers.values().filter(|session| session.server.id == server.id);
        if sessions().count() < self.shared.limits.max_connections {
            return true;
        }
        count(&server.counters.refused);
        let places: Vec<_> = sessions().map(ServerSession::place).collect();
        let chosen = room::make_room(&places, &host_of(address));
        if let Some(token) = chosen {
            self.server(token, |_, _| Next::Drop);
        }
        chosen.is_some()
    }

    /// Has the connection with the fewest calls make this one. One that is opened anew comes last: its server may answer nothing
    /// any more.
    fn begin_call(&mut self, id: EntityId, server: Option<&ServerIdentity>, call: Call, now: Instant) {
        let sessions = self.clients.get(&id).into_iter().flat_map(|client| client.connections.values());
        let chosen = sessions
            .filter_map(|token| self.calls.get(token))
            .filter(|session| session.is_connected() && server.is_none_or(|one| *one == *session.server))
            .min_by_key(|session| (!session.is_ready(), session.waiting(), session.token));
        match chosen.map(|session| session.token) {
            Some(token) => self.call(token, |session, shared| session.call(call, shared, now)),
            None => call.fail(super::CallError::NoServer),
        }
    }

    fn ready(&mut self, token: usize, now: Instant) {
        if let Some(listener) = self.listeners.get_mut(&token) {
            let server = listener.server.clone();
            for (address, stream) in listener.accept(&mut self.shared, now) {
                if !self.has_room(&server, address.ip()) {
                    continue;
                }
                let token = self.shared.new_token();
                match ServerSession::new(token, server.clone(), address, stream, &mut self.shared, now) {
                    Ok(session) => {
                        self.servers.insert(token, session);
                    }
                    Err(error) => log::debug!("a connection of {address} cannot be watched: {error}"),
                }
            }
        } else if self.servers.contains_key(&token) {
            self.server(token, |session, shared| session.ready(shared, now));
        } else {
            self.call(token, |session, shared| session.ready(shared, now));
        }
    }

    fn expire(&mut self, now: Instant) {
        if self.shared.io.pool.is_short() {
            self.shared.io.pool.take_up();
        }
        let retry = |listener: &Listener| listener.retry.is_some_and(|at| at <= now);
        let listeners: Vec<_> =
            self.listeners.iter().filter(|(_, one)| retry(one)).map(|(&token, _)| token).collect();
        listeners.into_iter().for_each(|token| self.ready(token, now));
        let timeout = self.shared.limits.timeout;
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= now);
        let servers: Vec<_> = self
            .servers
            .iter()
            .filter(|(_, session)| is_due(session.deadline(timeout)))
            .map(|(&token, _)| token)
            .collect();
        for token in servers {
            self.server(token, |session, shared| session.stalled(shared));
        }
        let calls: Vec<_> = self
            .calls
            .iter()
            .filter(|(_, session)| is_due(session.deadline(&self.shared)))
            .map(|(&token, _)| token)
            .collect();
        for token in calls {
            self.call(token, |session, shared| session.due(shared, now));
        }
    }

    /// Has something done with the connection of a server, if it is still there.
    fn server(&mut self, token: usize, f: impl FnOnce(&mut ServerSession, &mut Shared) -> Next) {
        if let Some(mut session) = self.servers.remove(&token) {
            match f(&mut session, &mut self.shared) {
                Next::Keep => {
                    self.servers.insert(token, session);
                }
                Next::Drop => session.close(&mut self.shared),
            }
        }
        self.close_evicted();
    }

    /// Has something done with the connection of a client, if it is still there.
    fn call(&mut self, token: usize, f: impl FnOnce(&mut ClientSession, &mut Shared) -> Next) {
        if let Some(mut session) = self.calls.remove(&token) {
            match f(&mut session, &mut self.shared) {
                Next::Keep => {
                    self.calls.insert(token, session);
                }
                Next::Drop => {
                    if let Some(client) = self.clients.get_mut(&session.client.id) {
                        client.connections.remove(&Known::new(&session.server));
                    }
                    session.close(|| CallError::ConnectionLost, &mut self.shared);
                }
            }
        }
        self.close_evicted();
    }

    /// Closes the connections that have made room for what another one receives.
    fn close_evicted(&mut self) {
        while let Some(token) = self.shared.memory.next_evicted() {
            self.server(token, |session, _| session.evicted());
            self.call(token, |session, shared| session.evicted(shared, Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use mio::net::TcpStream;

    use super::*;
    use crate::registry::Identity;

    #[test]
    fn a_host_with_many_addresses_keeps_no_other_one_out() {
        let mut config = Config::default();
        config.limits.service.max_connections = 3;
        let server = Arc::new(ServerEnd::new(&Identity::new("node", &config), "arm", 1, 1));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        for (present, other) in [
            (["127.0.0.1", "127.0.0.2", "::1"], "10.0.0.1"),
            (["2001:db8::1", "2001:db8::2", "2001:db8::3"], "2001:db8:0:1::1"),
        ] {
            let mut run = Run::new(&config, b"host", Resolver::new(1), Pool::default())
                .expect("the system has what it takes");
            for (token, address) in (1..).zip(present) {
                let stream = TcpStream::connect(listener.local_addr().expect("a port")).expect("it connects");
                let address = SocketAddr::new(address.parse().expect("an address"), 1);
                assert!(run.has_room(&server, address.ip()));
                let session = ServerSession::new(
                    token,
                    server.clone(),
                    address,
                    stream,
                    &mut run.shared,
                    Instant::now(),
                );
                run.servers.insert(token, session.expect("it is watched"));
            }
            assert!(run.has_room(&server, other.parse().expect("an address")));
            assert_eq!(run.servers.len(), 2);
        }
        assert_eq!(server.stats().refused, 2);
    }

    fn registration(number: u64) -> Command {
        let id = EntityId::from_wire(number.to_string());
        let identity = ServerIdentity {
            host_name: "host".into(),
            process_id: 7,
            process_name: "".into(),
            unit_name: "".into(),
            id,
        };
        Command::Server { client: EntityId::from_wire("1"), source: Ipv4Addr::LOCALHOST, port: 1, identity }
    }

    #[test]
    fn registrations_of_servers_wait_within_bounds() {
        let mut config = Config::default();
        config.limits.service.max_connections = 3;
        let resolver = Resolver::new(1);
        let (io, _thread) =
            new(&config, b"host", resolver, Pool::default()).expect("the system has what it takes");
        (0..10).for_each(|number| io.submit(registration(number)));
        // What the program wants is not among them.
        io.submit(Command::CloseClient(EntityId::from_wire("1")));
        let waiting = || lock(&io.commands).as_ref().map(|commands| commands.list.len());
        assert_eq!((waiting(), io.drops().get(DropReason::RegistryFull)), (Some(4), 7));
        let taken = std::mem::take(lock(&io.commands).as_mut().expect("nobody stopped it"));
        io.submit(registration(11));
        assert_eq!((taken.list.len(), waiting(), io.drops().total()), (4, Some(1), 7), "there is room again");
    }
}
