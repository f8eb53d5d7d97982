//! Payload through shared memory, between processes of one host, as eCAL has it: a memory file with the newest message of
//! a publisher, a lock for it, and an event for each process that reads.
//!
//! # Threads
//! An event of Linux is a condition of POSIX threads in a file: a thread can wait for one of them, and for nothing else
//! meanwhile. So each memory file that is read has a [thread](watch::FileWatch), as in eCAL. It passes messages to the queues, and
//! calls callbacks itself: nobody else needs to be woken. Only what takes long goes to the threads of the layer's
//! [`Source`](crate::source::Source), which otherwise look after waits that a dead peer would make last for ever.
//!
//! On Linux, a thread may also be lost for good: glibc waits for ever for one who was killed while he waited for the same lock
//! ([`NamedLock::unlock_and_wake`](ferrocal_shm::NamedLock::unlock_and_wake)). [`FileWatch::rescue`](watch::FileWatch::rescue) then
//! keeps the lock from the publisher, which takes another file that another thread reads. Nobody waits for the end of these
//! threads, and those that send never take that risk.
//!
//! # One event a process
//! eCAL's publishers have one event for each process, so the nodes of a process share what they read:
//! [`watch`] has the one table that all nodes of the process use.

mod inlet;
mod naming;
mod reading;
mod watch;
mod writer;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferrocal_proto::{DropCounts, LayerKind, TopicInfo};

use super::{Layer, Opened, Outlet, Writer};
use crate::{Config, NodeError, lock};
use inlet::{SharedInlet, ShmInlet, ShmSource};
use writer::ShmWriter;

/// Whoever holds an event's mutex for longer is dead. It is held for a few instructions, but a busy computer may take the
/// processor away in between, and what was not told then is not told again: an acknowledgement, or the last message.
const EVENT_TIMEOUT: Duration = Duration::from_millis(100);

/// The shared-memory layer of a node.
pub(crate) struct Shm {
    max_message_len: usize,
    counters: Arc<ShmCounters>,
}

/// What the layer counts, for others to read.
#[derive(Debug, Default)]
pub(crate) struct ShmCounters(Mutex<DropCounts>);

impl ShmCounters {
    pub(crate) fn drops(&self) -> DropCounts {
        lock(&self.0).clone()
    }
}

impl Shm {
    pub(crate) fn new(config: &Config) -> Self {
        Self { max_message_len: config.limits.reassembly.max_message_len, counters: Arc::default() }
    }

    /// Whether this system has it.
    pub(crate) const fn is_available() -> bool {
        ferrocal_shm::is_available()
    }

    pub(crate) fn counters(&self) -> Arc<ShmCounters> {
        self.counters.clone()
    }
}

impl Layer for Shm {
    fn kind(&self) -> LayerKind {
        LayerKind::SharedMemory
    }

    fn reaches(&self, subscriber: &TopicInfo, is_local: bool) -> bool {
        let is_enabled = |layer: &ferrocal_proto::Layer| layer.enabled && layer.kind == self.kind();
        ferrocal_shm::is_available() && is_local && subscriber.layers.iter().any(is_enabled)
    }

    fn writer(&self, outlet: &Outlet<'_>) -> Box<dyn Writer> {
        Box::new(ShmWriter::new(outlet, self.max_message_len))
    }

    fn open(&self) -> Result<Opened, NodeError> {
        let inlet = Arc::new(ShmInlet::new(self.max_message_len, self.counters.clone()));
        Ok(Opened {
            source: Box::new(ShmSource::new(inlet.clone())),
            interrupt: Arc::new(SharedInlet(inlet.clone())),
            inlet: Arc::new(SharedInlet(inlet)),
            joins_segments: None,
        })
    }
}
