//! A layer for tests: messages go through a plain queue within the process.
//!
//! It shows what another layer takes: this file, and its place in the list of layers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use ferrocal_proto::{EntityId, LayerKind};
use ferrocal_transport::{Interrupt, SendError};

use super::{
    Destination, Ended, Incoming, Inlet, Layer, Opened, Origin, Outgoing, Outlet, Reader, Sink, TooLong,
    Writer, Written,
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
    queue: VecDeque<(Arc<str>, Incoming)>,
    sinks: HashMap<Arc<str>, Vec<Arc<dyn Sink>>>,
    is_interrupted: bool,
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
            joins_segments: false,
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

    fn write(&mut self, messages: &[Outgoing<'_>]) -> Result<Written, SendError> {
        let incoming = messages.iter().map(|message| Incoming {
            payload: Bytes::copy_from_slice(message.payload),
            clock: message.clock,
            time_us: message.time_us,
            origin: self.origin.clone(),
            received: Instant::now(),
            received_ns: 0,
        });
        lock(&self.bus.state).queue.extend(incoming.map(|incoming| (self.topic.clone(), incoming)));
        self.bus.written.notify_all();
        Ok(Written::default())
    }

    fn check(&mut self, _: &Outgoing<'_>) -> Result<(), TooLong> {
        Ok(())
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

    fn forget(&self, topic: &str, host_name: &[u8], publisher: EntityId) {
        let sinks = lock(&self.state).sinks.get(topic).cloned().unwrap_or_default();
        sinks.iter().for_each(|sink| sink.forget(host_name, publisher));
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
