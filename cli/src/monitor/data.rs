//! What is known of the network.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrocal::{LogMessage, ProcessInfo, Seen, ServiceInfo, Snapshot, TopicInfo};

use super::history::{Histories, History};
use super::sheet::{Entity, Key};
use super::tabs::Fact;
use crate::row::{PUBLISHER, SUBSCRIBER};

/// What is registered.
#[derive(Debug, Default)]
pub(crate) struct Registered {
    pub(crate) processes: Vec<Arc<ProcessInfo>>,
    pub(crate) publishers: Vec<Arc<TopicInfo>>,
    pub(crate) subscribers: Vec<Arc<TopicInfo>>,
    pub(crate) servers: Vec<Arc<ServiceInfo>>,
    pub(crate) clients: Vec<Arc<ServiceInfo>>,
}

impl From<Snapshot> for Registered {
    fn from(snapshot: Snapshot) -> Self {
        fn infos<T>(seen: Vec<Seen<T>>) -> Vec<Arc<T>> {
            seen.into_iter().map(|seen| seen.info).collect()
        }
        Self {
            processes: infos(snapshot.processes),
            publishers: infos(snapshot.publishers),
            subscribers: infos(snapshot.subscribers),
            servers: infos(snapshot.servers),
            clients: infos(snapshot.clients),
        }
    }
}

/// What is known of the network.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) registered: Registered,
    /// What the node of this program says of itself.
    pub(crate) facts: Vec<Fact>,
    pub(crate) log: Log,
    /// Whether messages are those of a capture file, which were sent long ago.
    pub(crate) is_replay: bool,
    topics: Histories<Entity, TOPIC_VALUES>,
    traffic: Histories<Key, TRAFFIC_VALUES>,
    drops: HashMap<Entity, Drops>,
    sampled: Option<Instant>,
}

/// The values of a publisher or subscriber that have a history: messages in a second, and bytes of the latest one.
const TOPIC_VALUES: usize = 2;
pub(crate) const HZ: usize = 0;
pub(crate) const SIZE: usize = 1;
/// Those of a host or process: bytes in a second, sent and received, and messages in a second.
const TRAFFIC_VALUES: usize = 4;
pub(crate) const OUT: usize = 0;
pub(crate) const IN: usize = 1;
pub(crate) const MESSAGES_OUT: usize = 2;
pub(crate) const MESSAGES_IN: usize = 3;

/// How many values of a topic are kept: one is added each second.
const TOPIC_LEN: usize = 120;
/// How many of a host or process are kept: five minutes.
const TRAFFIC_LEN: usize = 300;
/// How often values are added to the histories: as often as processes register.
const SAMPLE: Duration = Duration::from_secs(1);
/// How long new drops are marked.
const FRESH: Duration = Duration::from_secs(10);

/// The drops of a subscriber, and when they grew.
#[derive(Debug)]
struct Drops {
    count: i32,
    grew: Option<Instant>,
}

/// Log lines, the newest ones.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) lines: VecDeque<(u64, LogMessage)>,
    bytes: usize,
    /// How many came in all.
    pub(crate) count: u64,
    /// How many were lost, because they came too fast.
    pub(crate) lost: u64,
    /// Why there are none, if they cannot be received.
    pub(crate) error: Option<String>,
}

impl Log {
    const MAX_LINES: usize = 5_000;
    const MAX_BYTES: usize = 16 * 1024 * 1024;

    pub(crate) fn push(&mut self, line: LogMessage) {
        self.bytes += cost(&line);
        self.lines.push_back((self.count, line));
        self.count += 1;
        while self.lines.len() > Self::MAX_LINES || self.bytes > Self::MAX_BYTES && self.lines.len() > 1 {
            if let Some((_, line)) = self.lines.pop_front() {
                self.bytes -= cost(&line);
            }
        }
    }
}

fn cost(line: &LogMessage) -> usize {
    let LogMessage { host_name, process_name, unit_name, content, .. } = line;
    200 + host_name.len() + process_name.len() + unit_name.len() + content.len()
}

impl Data {
    pub(crate) fn new() -> Self {
        Self {
            registered: Registered::default(),
            facts: Vec::new(),
            log: Log::default(),
            is_replay: false,
            topics: Histories::new(TOPIC_LEN),
            traffic: Histories::new(TRAFFIC_LEN),
            drops: HashMap::new(),
            sampled: None,
        }
    }

    /// Takes what is registered now.
    pub(crate) fn set(&mut self, now: Instant, registered: Registered) {
        self.registered = registered;
        if self.sampled.is_some_and(|at| now.saturating_duration_since(at) < SAMPLE) {
            return;
        }
        self.sampled = Some(now);
        self.sample(now);
    }

    fn sample(&mut self, now: Instant) {
        let mut topics = HashMap::new();
        let mut traffic = HashMap::from([(Key::Network, [0.0; TRAFFIC_VALUES])]);
        let mut drops = HashMap::new();
        for info in &self.registered.processes {
            let host = &info.host_name;
            traffic.entry(Key::Host(host.clone())).or_default();
            traffic.entry(Key::Process(host.clone(), info.process_id)).or_default();
        }
        for (kind, info) in self.entities() {
            let entity = entity(kind, info);
            let (hz, size) = (hz(info), size(info));
            let (bytes, messages) = if kind == PUBLISHER { (OUT, MESSAGES_OUT) } else { (IN, MESSAGES_IN) };
            let host = &info.host_name;
            for key in [Key::Network, Key::Host(host.clone()), Key::Process(host.clone(), info.process_id)] {
                let values = traffic.entry(key).or_default();
                values[bytes] += hz * size;
                values[messages] += hz;
            }
            let count = info.message_drops;
            let grew = match self.drops.get(&entity) {
                Some(before) if before.count < count => Some(now),
                Some(before) => before.grew,
                None => None,
            };
            drops.insert(entity.clone(), Drops { count, grew });
            topics.insert(entity, [hz, size]);
        }
        self.drops = drops;
        self.topics.add(topics);
        self.traffic.add(traffic);
    }

    /// All publishers and subscribers.
    pub(crate) fn entities(&self) -> impl Iterator<Item = (&'static str, &TopicInfo)> {
        let publishers = self.registered.publishers.iter().map(|info| (PUBLISHER, &**info));
        publishers.chain(self.registered.subscribers.iter().map(|info| (SUBSCRIBER, &**info)))
    }

    pub(crate) fn topic_history(&self, entity: &Entity) -> Option<&[History; TOPIC_VALUES]> {
        self.topics.get(entity)
    }

    pub(crate) fn traffic_history(&self, key: &Key) -> Option<&[History; TRAFFIC_VALUES]> {
        self.traffic.get(key)
    }

    /// Whether this subscriber lost messages in the last seconds.
    pub(crate) fn drops_now(&self, entity: &Entity) -> bool {
        let grew = self.drops.get(entity).and_then(|drops| drops.grew);
        grew.zip(self.sampled).is_some_and(|(grew, now)| now.saturating_duration_since(grew) < FRESH)
    }
}

pub(crate) fn entity(kind: &'static str, info: &TopicInfo) -> Entity {
    Entity { kind, host: info.host_name.clone(), pid: info.process_id, id: info.topic_id.get() }
}

/// Messages in a second, as registered.
pub(crate) fn hz(info: &TopicInfo) -> f64 {
    f64::from(info.data_frequency_mhz.max(0)) / 1000.0
}

/// Bytes of the latest message, as registered.
pub(crate) fn size(info: &TopicInfo) -> f64 {
    f64::from(info.topic_size.max(0))
}
