//! The port of a publisher, and what sends to those who are connected to it.

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use ferrocal_proto::{EntityId, LayerParameters, TcpFrameWriter};
use ferrocal_transport::SendError;

use super::addresses::listen;
use super::outbound::{Connection, Frames, MAX_FRAMES};
use super::{Command, Shared};
use crate::layer::{Destination, Endpoint, Outgoing, Outlet, TooLong, Writer, Written, sample_hash};
use crate::lock;

/// The port of a publisher, opened for its first subscriber.
pub(super) struct Port {
    shared: Arc<Shared>,
    pub(super) topic: Box<str>,
    state: Mutex<State>,
    /// Changes with the connections.
    version: AtomicU64,
    /// Frames that connections that are gone had not sent, until the next message counts them.
    given_up: AtomicU64,
}

#[derive(Default)]
struct State {
    port: Option<NonZeroU16>,
    connections: Vec<Arc<Connection>>,
    /// Whether the publisher is gone.
    is_closed: bool,
}

impl Port {
    /// Adds the connection of a subscriber. Returns whether there is still a publisher.
    pub(super) fn add(&self, connection: Arc<Connection>) -> bool {
        let mut state = lock(&self.state);
        if !state.is_closed {
            state.connections.push(connection);
            self.version.fetch_add(1, Ordering::Release);
        }
        !state.is_closed
    }

    pub(super) fn remove(&self, connection: &Arc<Connection>) {
        lock(&self.state).connections.retain(|one| !Arc::ptr_eq(one, connection));
        self.given_up.fetch_add(connection.given_up(), Ordering::Relaxed);
        self.version.fetch_add(1, Ordering::Release);
    }
}

impl std::fmt::Debug for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Port").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// What the publisher registers.
#[derive(Debug)]
struct PortEndpoint(Arc<Port>);

impl Endpoint for PortEndpoint {
    fn connect(&self, destinations: &[Destination]) {
        let Self(port) = self;
        let mut state = lock(&port.state);
        if destinations.is_empty() || state.port.is_some() || state.is_closed {
            return;
        }
        let listener = listen().map(|(listener, number)| {
            state.port = Some(number);
            listener
        });
        drop(state);
        // The source reports an error: locks are held here, and the program's logger may publish.
        port.shared.command(Command::Listen(listener, port.clone()));
    }

    fn parameters(&self) -> LayerParameters {
        LayerParameters { tcp_port: lock(&self.0.state).port, ..LayerParameters::default() }
    }
}

pub(super) struct TcpWriter {
    port: Arc<Port>,
    id: EntityId,
    frames: TcpFrameWriter,
    max_queue_bytes: usize,
    /// The connections, as of `version`.
    connections: Vec<Arc<Connection>>,
    version: u64,
    heads: Vec<u8>,
    ends: Vec<usize>,
    copies: Vec<Option<Bytes>>,
}

impl TcpWriter {
    pub(super) fn new(outlet: &Outlet<'_>, shared: Arc<Shared>) -> Self {
        let port = Port {
            shared,
            topic: outlet.topic.into(),
            state: Mutex::default(),
            version: AtomicU64::new(0),
            given_up: AtomicU64::new(0),
        };
        Self {
            port: Arc::new(port),
            id: outlet.id,
            frames: TcpFrameWriter::new(outlet.topic.as_bytes(), outlet.id),
            max_queue_bytes: outlet.config.tcp_queue_bytes,
            connections: Vec::new(),
            version: 0,
            heads: Vec::new(),
            ends: Vec::new(),
            copies: Vec::new(),
        }
    }
}

impl Writer for TcpWriter {
    /// All who are connected get all messages: who they are is not known.
    fn connect(&mut self, _: &[Destination]) {}

    fn endpoint(&self) -> Option<Arc<dyn Endpoint>> {
        Some(Arc::new(PortEndpoint(self.port.clone())))
    }

    fn write(&mut self, messages: &[Outgoing<'_>]) -> Result<Written, SendError> {
        let version = self.port.version.load(Ordering::Acquire);
        if version != self.version {
            self.connections.clone_from(&lock(&self.port.state).connections);
            self.version = version;
        }
        let given_up = self.port.given_up.swap(0, Ordering::Relaxed);
        let mut written = Written { overwritten: given_up, ..Written::default() };
        if self.connections.is_empty() {
            written.not_sent = messages.len() as u64;
            return Ok(written);
        }
        for messages in messages.chunks(MAX_FRAMES) {
            self.heads.clear();
            self.ends.clear();
            self.copies.clear();
            let mut payloads = [&[][..]; MAX_FRAMES];
            for (message, payload) in messages.iter().zip(&mut payloads) {
                let hash = sample_hash(self.id, message.clock);
                let len = message.payload.len();
                // What is too long was refused before.
                let _ = self.frames.put_head(&mut self.heads, message.clock, message.time_us, hash, len);
                self.ends.push(self.heads.len());
                *payload = message.payload;
            }
            let mut frames = Frames {
                heads: &self.heads,
                ends: &self.ends,
                payloads: &payloads[..messages.len()],
                copies: &mut self.copies,
            };
            for connection in &self.connections {
                written.overwritten += connection.send(&mut frames, self.max_queue_bytes);
            }
        }
        // They may be long.
        self.copies.clear();
        Ok(written)
    }

    fn check(&mut self, message: &Outgoing<'_>) -> Result<(), TooLong> {
        let max = self.port.shared.max_message_len;
        let len = message.payload.len();
        self.heads.clear();
        let fits = len <= max && self.frames.put_head(&mut self.heads, message.clock, 0, 0, len).is_some();
        if fits { Ok(()) } else { Err(TooLong { len, max }) }
    }
}

impl Drop for TcpWriter {
    fn drop(&mut self) {
        let mut state = lock(&self.port.state);
        state.is_closed = true;
        if state.port.is_some() {
            drop(state);
            self.port.shared.command(Command::Close(self.port.clone()));
        }
    }
}
