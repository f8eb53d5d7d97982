//! Payload over TCP: a connection for each publisher and each node that reads it, as eCAL makes them.
//!
//! A publisher listens on a port of its own ([`port`]) and sends to all who are connected. A subscriber's node connects
//! to the publishers that register a port ([`inlet`]). One thread, which delivery brings, does for all connections of
//! the node what takes time ([`source`]): `send` writes what the system takes at once, and leaves the rest to it.

mod addresses;
mod inbound;
mod inlet;
mod outbound;
mod port;
mod room;
mod source;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ferrocal_proto::{DropCounts, DropReason, LayerKind, MAX_TCP_HEAD_LEN};
use ferrocal_transport::Interrupt;
use mio::net::TcpListener;
use mio::{Poll, Token, Waker};

use crate::layer::{Layer, Opened, Outlet, Writer};
use crate::resolver::Resolver;
use crate::{AllowConfig, Config, Mode, NodeError, TcpConfig, TcpStatus, lock};
use addresses::Resolved;
use inlet::{Target, TcpInlet};
use outbound::Copies;
use port::{Port, TcpWriter};
use source::TcpSource;

/// The TCP layer of a node.
pub(crate) struct Tcp {
    shared: Arc<Shared>,
    /// What waits for all sockets, until the source has it.
    poll: Mutex<Option<Poll>>,
}

/// What the parts of the layer share.
struct Shared {
    config: TcpConfig,
    allow: AllowConfig,
    mode: Mode,
    /// The longest message, with what the layer adds, in bytes.
    max_message_len: usize,
    /// The memory that all incomplete messages may take, in bytes.
    max_bytes: usize,
    /// What waits for subscribers. It may take as much.
    copies: Arc<Copies>,
    /// What the source is to do next.
    commands: Mutex<Vec<Command>>,
    waker: Waker,
    is_interrupted: AtomicBool,
    counters: Arc<TcpCounters>,
}

/// What the source is to do.
enum Command {
    /// Accept connections for a publisher, or report why it has no port.
    Listen(io::Result<TcpListener>, Arc<Port>),
    /// End those of a publisher that is gone, once what waits is sent.
    Close(Arc<Port>),
    /// Go on writing.
    Flush(Token),
    /// Close the subscriber that takes longest for a message: there is no room for what waits for others.
    MakeRoom,
    /// Connect to a publisher.
    Connect(Target),
    /// Go on connecting, to addresses of a host's name.
    Resolved(Resolved),
    /// End the connections to the publishers of a topic that is not read any more.
    Unread(Arc<str>),
}

/// The token of the waker. Those of sockets are others.
const WAKER: Token = Token(usize::MAX);

/// What the layer counts, for others to read.
#[derive(Debug, Default)]
pub(crate) struct TcpCounters {
    /// Present connections to subscribers, and to publishers.
    subscribers: AtomicU64,
    publishers: AtomicU64,
    /// Connections that were refused because there were too many, or because they came from another host in local mode,
    /// and look-ups of hosts' names for which there was no room.
    refused: AtomicU64,
    /// Connections that were closed because the other side took too long.
    timed_out: AtomicU64,
    drops: Mutex<DropCounts>,
}

impl TcpCounters {
    pub(crate) fn status(&self) -> TcpStatus {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TcpStatus {
            subscribers: get(&self.subscribers),
            publishers: get(&self.publishers),
            refused: get(&self.refused),
            timed_out: get(&self.timed_out),
        }
    }

    /// What came and could not be used.
    pub(crate) fn drops(&self) -> DropCounts {
        lock(&self.drops).clone()
    }

    fn count(&self, reason: DropReason) {
        lock(&self.drops).count(reason);
    }
}

impl Tcp {
    /// Opens what waits for sockets. Ports are opened for publishers whose subscribers need them.
    pub(crate) fn open(config: &Config) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let limits = &config.limits.reassembly;
        let shared = Arc::new(Shared {
            config: config.tcp.clone(),
            allow: config.allow.clone(),
            mode: config.mode,
            max_message_len: limits.max_message_len,
            max_bytes: limits.max_bytes,
            copies: Copies::new(limits.max_bytes),
            commands: Mutex::default(),
            waker,
            is_interrupted: AtomicBool::new(false),
            counters: Arc::default(),
        });
        Ok(Self { shared, poll: Mutex::new(Some(poll)) })
    }

    pub(crate) fn counters(&self) -> Arc<TcpCounters> {
        self.shared.counters.clone()
    }
}

impl Layer for Tcp {
    fn kind(&self) -> LayerKind {
        LayerKind::Tcp
    }

    fn serves_publishers(&self) -> bool {
        true
    }

    fn writer(&self, outlet: &Outlet<'_>) -> Box<dyn Writer> {
        Box::new(TcpWriter::new(outlet, self.shared.clone()))
    }

    fn open(&self) -> Result<Opened, NodeError> {
        let gone = || NodeError::Thread(io::Error::other("the TCP layer was opened before"));
        let poll = lock(&self.poll).take().ok_or_else(gone)?;
        let inlet = Arc::new(TcpInlet::new(self.shared.clone()));
        let resolver = Resolver::new(self.shared.config.max_connections);
        let source = TcpSource::new(poll, self.shared.clone(), inlet.readers(), resolver);
        let interrupt = self.shared.clone();
        Ok(Opened { source: Box::new(source), inlet, interrupt, joins_segments: None })
    }
}

impl Shared {
    /// Has the source do something.
    fn command(&self, command: Command) {
        lock(&self.commands).push(command);
        self.wake();
    }

    /// As [`command`](Self::command), for what others decide how often it comes. Returns `false`, and counts that, if too
    /// much waits already.
    fn try_command(&self, command: Command) -> bool {
        let mut commands = lock(&self.commands);
        let has_room = commands.len() < self.config.max_connections;
        if has_room {
            commands.push(command);
            drop(commands);
            self.wake();
        } else {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log::warn!("the thread of TCP connections could not be woken: {error}");
        }
    }

    /// The longest body of a frame, in bytes.
    fn max_body_len(&self) -> usize {
        self.max_message_len.saturating_add(MAX_TCP_HEAD_LEN)
    }
}

impl Interrupt for Shared {
    fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::SeqCst);
        self.wake();
    }
}
