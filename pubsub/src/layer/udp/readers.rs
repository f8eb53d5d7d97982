//! The topics that are read, and the sinks of their messages.

use std::collections::hash_map::RandomState;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use ferrocal_proto::EntityId;

use super::groups::Groups;
use crate::layer::{Ended, Inlet, Reader, Sink};
use crate::{Config, NodeError, lock};

/// The sinks of one topic. Replaced as a whole, so that the receiving thread can keep them.
pub(super) type Sinks = Arc<[Arc<dyn Sink>]>;

/// The sinks of each topic.
#[derive(Default)]
pub(super) struct Readers {
    topics: DashMap<Arc<str>, Sinks, RandomState>,
    /// Grows with each change of `topics`, and when a publisher is gone.
    version: AtomicU64,
    ended: Mutex<Option<Ended>>,
}

impl Readers {
    pub(super) fn sinks(&self, topic: &str) -> Option<Sinks> {
        Some(self.topics.get(topic)?.clone())
    }

    /// Changes when [`sinks`](Self::sinks) may return something else, and when a publisher is gone.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn add(&self, topic: &Arc<str>, sink: Arc<dyn Sink>) {
        {
            let mut sinks = self.topics.entry(topic.clone()).or_insert_with(|| Arc::new([]));
            *sinks = sinks.iter().cloned().chain([sink.clone()]).collect();
        }
        self.version.fetch_add(1, Ordering::Release);
        // After it was added: an end from now on reaches it by itself.
        let ended = *lock(&self.ended);
        if let Some(why) = ended {
            sink.end(why);
        }
    }

    fn remove(&self, topic: &Arc<str>, sink: &Arc<dyn Sink>) {
        if let Entry::Occupied(mut entry) = self.topics.entry(topic.clone()) {
            let rest: Sinks = entry.get().iter().filter(|one| !Arc::ptr_eq(one, sink)).cloned().collect();
            if rest.is_empty() {
                entry.remove();
            } else {
                *entry.get_mut() = rest;
            }
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    pub(super) fn end(&self, why: Ended) {
        lock(&self.ended).get_or_insert(why);
        let sinks: Vec<Sinks> = self.topics.iter().map(|entry| entry.value().clone()).collect();
        sinks.iter().flat_map(|sinks| sinks.iter()).for_each(|sink| sink.end(why));
    }
}

/// Opens readers.
pub(super) struct UdpInlet {
    config: Config,
    readers: Arc<Readers>,
    groups: Arc<Groups>,
}

impl UdpInlet {
    pub(super) fn new(config: Config, readers: Arc<Readers>, groups: Arc<Groups>) -> Self {
        Self { config, readers, groups }
    }
}

impl Inlet for UdpInlet {
    fn read(&self, topic: &Arc<str>, sink: Arc<dyn Sink>) -> Result<Box<dyn Reader>, NodeError> {
        let (readers, groups) = (self.readers.clone(), self.groups.clone());
        let mut reader = UdpReader { topic: topic.clone(), sink, joined: Vec::new(), readers, groups };
        let other = self.config.other_topic_group(topic);
        for group in [self.config.topic_group(topic)].into_iter().chain(other) {
            self.groups.join(group)?;
            reader.joined.push(group);
        }
        self.readers.add(topic, reader.sink.clone());
        Ok(Box::new(reader))
    }

    fn forget(&self, topic: &str, host_name: &[u8], publisher: EntityId) {
        if let Some(sinks) = self.readers.sinks(topic) {
            sinks.iter().for_each(|sink| sink.left(host_name, publisher));
            self.readers.version.fetch_add(1, Ordering::Release);
        }
    }

    fn end(&self, why: Ended) {
        self.readers.end(why);
    }
}

struct UdpReader {
    topic: Arc<str>,
    sink: Arc<dyn Sink>,
    joined: Vec<Ipv4Addr>,
    readers: Arc<Readers>,
    groups: Arc<Groups>,
}

impl Reader for UdpReader {}

impl Drop for UdpReader {
    fn drop(&mut self) {
        self.readers.remove(&self.topic, &self.sink);
        self.joined.iter().for_each(|&group| self.groups.leave(group));
    }
}
