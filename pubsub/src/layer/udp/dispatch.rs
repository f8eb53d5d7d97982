//! Passes the messages of a batch to the sinks of their topics, each of which is called once for all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use ferrocal_proto::{EntityId, Message, PayloadSample, SampleHead};
use ferrocal_transport::Datagram;

use super::readers::{Readers, Sinks};
use crate::AllowConfig;
use crate::layer::{Incoming, Origin, part_of};
use crate::source::Ready;
use crate::wire::Intake;

/// What came for each topic, and what is known of those it came from.
pub(super) struct Dispatch {
    readers: Arc<Readers>,
    /// Who may be heard.
    allow: AllowConfig,
    /// The topics that messages came for, with their sinks as of `version`.
    topics: Vec<Topic>,
    by_name: HashMap<Box<[u8]>, usize>,
    version: u64,
    /// The topics that have messages waiting.
    touched: Vec<usize>,
    /// The head of the newest message, with its topic and publisher: consecutive messages often have the same.
    head: SampleHead,
    latest: Option<(usize, Arc<Origin>)>,
    origins: HashMap<EntityId, Arc<Origin>>,
}

/// Messages for which a topic keeps room from batch to batch.
const KEPT_LEN: usize = 1024;
/// Publishers that are remembered. They are collected anew when there are more.
const MAX_ORIGINS: usize = 256;

struct Topic {
    sinks: Sinks,
    waiting: Vec<Incoming>,
}

impl Dispatch {
    pub(super) fn new(readers: Arc<Readers>, allow: AllowConfig) -> Self {
        Self {
            readers,
            allow,
            topics: Vec::new(),
            by_name: HashMap::new(),
            version: 0,
            touched: Vec::new(),
            head: SampleHead::default(),
            latest: None,
            origins: HashMap::new(),
        }
    }

    /// Takes a datagram. What it completes waits for [`deliver`](Self::deliver).
    pub(super) fn take(&mut self, intake: &mut Intake, datagram: Datagram<'_>, unsubscribed: &AtomicU64) {
        if self.touched.is_empty() {
            self.forget_old_sinks();
        }
        // The intake counts what cannot be used.
        let _ = intake.each_message(datagram, |message| {
            let bytes = message.as_slice();
            let known = self.head.decode(bytes);
            let (index, origin, sample) = match (&self.latest, known) {
                (Some((index, origin)), Some(sample)) => (*index, origin.clone(), sample),
                _ => {
                    let sample = PayloadSample::decode(bytes)?;
                    self.allow.check_host(sample.host_name)?;
                    let Some(index) = self.index(sample.topic_name) else {
                        // Topics may share a group, so this is nobody's fault.
                        unsubscribed.fetch_add(1, Ordering::Relaxed);
                        return Ok(());
                    };
                    let origin = self.origin(sample.host_name, sample.topic_id);
                    self.head.learn(bytes, &sample);
                    self.latest = Some((index, origin.clone()));
                    (index, origin, sample)
                }
            };
            let incoming = Incoming {
                payload: payload(&datagram, &message, sample.payload),
                clock: sample.clock,
                time_us: sample.time_us,
                origin,
                received: datagram.received,
                received_ns: 0,
            };
            let waiting = &mut self.topics[index].waiting;
            if waiting.is_empty() {
                self.touched.push(index);
            }
            waiting.push(incoming);
            Ok(())
        });
    }

    /// Passes on what waits.
    pub(super) fn deliver(&mut self, ready: &mut Ready) {
        for index in self.touched.drain(..) {
            self.topics[index].deliver(ready);
        }
        self.forget_old_sinks();
    }

    /// Counts the messages that were given up for their topics, as far as those are known.
    pub(super) fn count_lost(&mut self, intake: &mut Intake) {
        for message in intake.take_given_up() {
            if let Some(sample) = PayloadSample::decode_prefix(&message.start)
                && self.allow.check_host(sample.host_name).is_ok()
                && let Some(index) = self.index(sample.topic_name)
                // Without a clock, the next message's shows what is missing.
                && sample.clock > 0
            {
                let origin = self.origin(sample.host_name, sample.topic_id);
                self.topics[index].sinks.iter().for_each(|sink| sink.lost(&origin, sample.clock));
            }
        }
    }

    fn index(&mut self, name: &[u8]) -> Option<usize> {
        if let Some(&index) = self.by_name.get(name) {
            return Some(index);
        }
        // Nobody here reads a topic whose name is not UTF-8.
        let sinks = self.readers.sinks(str::from_utf8(name).ok()?)?;
        let index = self.topics.len();
        self.by_name.insert(name.into(), index);
        self.topics.push(Topic { sinks, waiting: Vec::new() });
        Some(index)
    }

    fn origin(&mut self, host_name: &[u8], topic_id: &[u8]) -> Arc<Origin> {
        let id = EntityId::from_wire(topic_id);
        if let Some(origin) = self.origins.get(&id)
            && *origin.host_name == *host_name
        {
            return origin.clone();
        }
        if self.origins.len() >= MAX_ORIGINS {
            self.origins.clear();
        }
        let origin = Arc::new(Origin { host_name: host_name.into(), id });
        self.origins.insert(id, origin.clone());
        origin
    }

    fn forget_old_sinks(&mut self) {
        let version = self.readers.version();
        if version != self.version {
            self.topics.clear();
            self.by_name.clear();
            self.origins.clear();
            self.latest = None;
            self.version = version;
        }
    }
}

impl Topic {
    fn deliver(&mut self, ready: &mut Ready) {
        let Some((last, others)) = self.sinks.split_last() else { return };
        for sink in others {
            sink.push(&mut self.waiting.iter().cloned(), ready);
        }
        last.push(&mut self.waiting.drain(..), ready);
        // A batch may have been exceptionally long.
        self.waiting.shrink_to(KEPT_LEN);
    }
}

/// The payload as bytes of its own. They share the memory of the message or datagram if they fill most of it.
fn payload(datagram: &Datagram<'_>, message: &Message<'_>, payload: &[u8]) -> Bytes {
    match message {
        Message::Whole(_) => datagram.keep(payload),
        Message::Assembled(bytes) => part_of(bytes, payload),
    }
}
