//! A layer for tests: messages go through a plain queue within the process.
//!
//! It shows what another layer takes: this file, and its place in the list of layers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use ferrocal_proto::{EntityId, LayerKind, LayerParameters};
use ferrocal_transport::{Interrupt, SendError};

use super::{
    Destination, Ended, Endpoint, Incoming, Inlet, Layer, Opened, Origin, Outgoing, Outlet, Reader,
    RegisteredPublisher, Sink, TooLong, Writer, Written,
};
use crate::source::{Flow, Ready, Source};
use crate::{NodeError, lock};

/// What the nodes that share it write, one of them reads.
#[derive(Clone, Default)]
pub(crate) struct InProcess(Arc<Bus>);

#[derive(Default)]
struct Bus {
    state: Mutex<State>,
    written: Condvar,
}

#[derive(Default)]
struct State {
    /// The name of the file that publishers register. It is another one after each message that is the longest so far.
    file: String,
    longest: usize,
    destinations: Vec<Destination>,
    registered: Vec<(EntityId, LayerParameters)>,
    queue: VecDeque<(Arc<str>, Incoming)>,
    sinks: HashMap<Arc<str>, Vec<Arc<dyn Sink>>>,
    is_interrupted: bool,
    /// Whether the next endpoint that is to know subscribers waits, and whether one does.
    hold: Option<bool>,
}

impl InProcess {
    /// What the endpoint of the latest publisher knows.
    pub(crate) fn destinations(&self) -> Vec<Destination> {
        lock(&self.0.state).destinations.clone()
    }

    /// Waits for the registration of a publisher with this file.
    pub(crate) fn wait_for_file(&self, publisher: EntityId, file: &str) {
        let state = lock(&self.0.state);
        let is_missing = |state: &mut State| {
            !state
                .registered
                .iter()
                .any(|(id, with)| *id == publisher && with.memory_files.iter().any(|name| name == file))
        };
        drop(self.0.written.wait_while(state, is_missing).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until a thread is held.
    pub(crate) fn wait_for_held(&self) {
        let state = lock(&self.0.state);
        let is_missing = |state: &mut State| state.hold != Some(true);
        drop(self.0.written.wait_while(state, is_missing).unwrap_or_else(PoisonError::into_inner));
    }

    /// Has the thread stop that next has an endpoint know its subscribers, until this is called with `false`.
    pub(crate) fn hold(&self, holds: bool) {
        lock(&self.0.state).hold = holds.then_some(false);
        self.0.written.notify_all();
    }
}

impl Layer for InProcess {
    fn kind(&self) -> LayerKind {
        LayerKind::SharedMemory
    }

    fn writer(&self, outlet: &Outlet<'_>) -> Box<dyn Writer> {
        let origin = Arc::new(Origin { host_name: outlet.host_name.into(), id: outlet.id });
        Box::new(QueueWriter { bus: self.0.clone(), topic: outlet.topic.into(), origin })
    }

    fn open(&self) -> Result<Opened, NodeError> {
        Ok(Opened {
            source: Box::new(QueueSource(self.0.clone())),
            inlet: self.0.clone(),
            interrupt: self.0.clone(),
            joins_segments: None,
        })
    }
}

struct QueueWriter {
    bus: Arc<Bus>,
    topic: Arc<str>,
    origin: Arc<Origin>,
}

impl Writer for QueueWriter {
    fn connect(&mut self, _: &[Destination]) {}

    fn endpoint(&self) -> Option<Arc<dyn Endpoint>> {
        Some(self.bus.clone())
    }

    fn write(&mut self, messages: &[Outgoing<'_>]) -> Result<Written, SendError> {
        let incoming = messages.iter().map(|message| Incoming {
            payload: Bytes::copy_from_slice(message.payload),
            clock: message.clock,
            time_us: message.time_us,
            origin: self.origin.clone(),
            received: Instant::now(),
            received_ns: 0,
        });
        let mut state = lock(&self.bus.state);
        state.queue.extend(incoming.map(|incoming| (self.topic.clone(), incoming)));
        let longest = messages.iter().map(|message| message.payload.len()).max().unwrap_or(0);
        let registers_anew = longest > state.longest;
        if registers_anew {
            (state.longest, state.file) = (longest, format!("file of {longest} bytes"));
        }
        drop(state);
        self.bus.written.notify_all();
        Ok(Written { registers_anew, ..Written::default() })
    }

    fn check(&mut self, _: &Outgoing<'_>) -> Result<(), TooLong> {
        Ok(())
    }
}

impl Endpoint for Bus {
    fn connect(&self, destinations: &[Destination]) {
        let mut state = lock(&self.state);
        if state.hold == Some(false) && !destinations.is_empty() {
            state.hold = Some(true);
            self.written.notify_all();
            let is_held = |state: &mut State| state.hold.is_some();
            state = self.written.wait_while(state, is_held).unwrap_or_else(PoisonError::into_inner);
        }
        state.destinations = destinations.to_vec();
    }

    fn parameters(&self) -> LayerParameters {
        LayerParameters { memory_files: vec![(*lock(&self.state).file).into()], ..LayerParameters::default() }
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").finish_non_exhaustive()
    }
}

struct QueueSource(Arc<Bus>);

impl Source for QueueSource {
    fn receive(&mut self, ready: &mut Ready) -> Flow {
        let state = lock(&self.0.state);
        let is_empty = |state: &mut State| !state.is_interrupted && state.queue.is_empty();
        let mut state = self.0.written.wait_while(state, is_empty).unwrap_or_else(PoisonError::into_inner);
        let Some((topic, message)) = state.queue.pop_front() else { return Flow::Continue };
        let sinks = state.sinks.get(&topic).cloned().unwrap_or_default();
        drop(state);
        sinks.iter().for_each(|sink| sink.push(&mut std::iter::once(message.clone()), ready));
        Flow::Continue
    }
}

impl Inlet for Bus {
    fn read(&self, topic: &Arc<str>, sink: Arc<dyn Sink>) -> Result<Box<dyn Reader>, NodeError> {
        lock(&self.state).sinks.entry(topic.clone()).or_default().push(sink);
        Ok(Box::new(QueueReader))
    }

    fn registered(&self, publisher: &RegisteredPublisher<'_>) {
        lock(&self.state).registered.push((publisher.id, publisher.parameters.clone()));
        self.written.notify_all();
    }

    fn forget(&self, topic: &str, host_name: &[u8], publisher: EntityId) {
        let sinks = lock(&self.state).sinks.get(topic).cloned().unwrap_or_default();
        sinks.iter().for_each(|sink| sink.left(host_name, publisher));
    }

    fn end(&self, why: Ended) {
        let sinks = lock(&self.state).sinks.clone();
        sinks.values().flatten().for_each(|sink| sink.end(why));
    }
}

impl Interrupt for Bus {
    fn interrupt(&self) {
        lock(&self.state).is_interrupted = true;
        self.written.notify_all();
    }
}

/// A test's topics stay open until its end.
struct QueueReader;

impl Reader for QueueReader {}
