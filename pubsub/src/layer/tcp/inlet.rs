//! The topics that are read, and the publishers to connect to for them.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ferrocal_proto::{EntityId, Text};

use super::{Command, Shared};
use crate::layer::{Ended, Inlet, Origin, Reader, RegisteredPublisher, Sink};
use crate::outage::LogBudget;
use crate::resolver::LookUp;
use crate::{Mode, NodeError, lock};

/// The sinks of one topic.
pub(super) type Sinks = Arc<[Arc<dyn Sink>]>;

/// A publisher to connect to.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) topic: Arc<str>,
    pub(super) origin: Arc<Origin>,
    pub(super) port: NonZeroU16,
    /// Where its registration came from.
    pub(super) source: IpAddr,
    pub(super) process_id: i32,
    pub(super) is_local: bool,
}

impl Target {
    /// Where it is most likely to be found.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.source, self.port.get())
    }

    /// Where it may be found, without a look at its host's name. In local mode, that is on loopback, whatever it registers.
    pub(super) fn addresses(&self, mode: Mode) -> VecDeque<SocketAddr> {
        let loopback = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.port.get());
        if mode == Mode::Local {
            return VecDeque::from([loopback]);
        }
        let mut addresses = VecDeque::from([self.address()]);
        if self.is_local && self.address() != loopback {
            addresses.push_back(loopback);
        }
        addresses
    }

    /// Whether it is the same port of the same publisher.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.origin == other.origin && self.port == other.port
    }
}

/// The sinks of each topic, and the publishers that the source has a connection to, or makes one.
#[derive(Default)]
pub(super) struct Readers(Mutex<State>);

#[derive(Default)]
struct State {
    topics: HashMap<Arc<str>, Sinks>,
    publishers: HashMap<Arc<Origin>, Publisher>,
    /// What the log says of those that cannot be connected to.
    reports: LogBudget,
    ended: Option<Ended>,
}

struct Publisher {
    target: Target,
    /// Whether the source has it.
    is_taken: bool,
    /// Whether the log said that it cannot be connected to.
    is_reported: bool,
    /// Its host's name is looked up. It is not any more when the publisher has gone, or registers another port.
    look_up: Option<LookUp>,
}

impl Readers {
    pub(super) fn sinks(&self, topic: &str) -> Option<Sinks> {
        lock(&self.0).topics.get(topic).cloned()
    }

    /// Whether the publisher is still to be connected to.
    pub(super) fn is_wanted(&self, target: &Target) -> bool {
        let state = lock(&self.0);
        state
            .publishers
            .get(&target.origin)
            .is_some_and(|known| known.is_taken && known.target.is_same(target))
    }

    /// Takes note that the connection to a publisher has ended. Its next registration makes another one.
    pub(super) fn disconnected(&self, target: &Target) {
        if let Some(known) = lock(&self.0).publishers.get_mut(&target.origin)
            && known.target.is_same(target)
        {
            known.is_taken = false;
        }
    }

    /// Keeps the look-up of a publisher's host for as long as it is to be connected to.
    pub(super) fn looks_up(&self, target: &Target, look_up: LookUp) {
        if let Some(known) = lock(&self.0).publishers.get_mut(&target.origin)
            && known.target.is_same(target)
        {
            known.look_up = Some(look_up);
        }
    }

    pub(super) fn connected(&self, target: &Target) {
        if let Some(known) = lock(&self.0).publishers.get_mut(&target.origin) {
            known.is_reported = false;
        }
    }

    /// Whether it is to be reported that a publisher cannot be connected to: once, until it can. Returns the end of the
    /// report.
    pub(super) fn is_new_failure(&self, target: &Target) -> Option<&'static str> {
        self.is_new_failure_at(target, Instant::now())
    }

    fn is_new_failure_at(&self, target: &Target, now: Instant) -> Option<&'static str> {
        let mut state = lock(&self.0);
        let State { publishers, reports, .. } = &mut *state;
        let known = publishers.get_mut(&target.origin)?;
        let end = if known.is_reported { None } else { reports.take(now) };
        known.is_reported |= end.is_some();
        end
    }
}

/// Opens readers.
pub(super) struct TcpInlet {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
}

impl TcpInlet {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, readers: Arc::default() }
    }

    pub(super) fn readers(&self) -> Arc<Readers> {
        self.readers.clone()
    }
}

impl Inlet for TcpInlet {
    fn read(&self, topic: &Arc<str>, sink: Arc<dyn Sink>) -> Result<Box<dyn Reader>, NodeError> {
        let ended = {
            let mut state = lock(&self.readers.0);
            let sinks = state.topics.entry(topic.clone()).or_insert_with(|| Arc::new([]));
            *sinks = sinks.iter().cloned().chain([sink.clone()]).collect();
            state.ended
        };
        if let Some(why) = ended {
            sink.end(why);
        }
        let (shared, readers) = (self.shared.clone(), self.readers.clone());
        Ok(Box::new(TcpReader { topic: topic.clone(), sink, shared, readers }))
    }

    fn registered(&self, publisher: &RegisteredPublisher<'_>) {
        let Some(port) = publisher.parameters.tcp_port else { return };
        let mut state = lock(&self.readers.0);
        let Some((topic, _)) = state.topics.get_key_value(publisher.topic) else { return };
        let origin = Arc::new(Origin { host_name: publisher.host_name.clone(), id: publisher.id });
        let source = IpAddr::V4(*publisher.source.ip());
        let target = Target {
            topic: topic.clone(),
            origin: origin.clone(),
            port,
            source,
            process_id: publisher.process_id,
            is_local: publisher.local,
        };
        match state.publishers.entry(origin) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                if known.is_taken && known.target.is_same(&target) {
                    return;
                }
                (known.target, known.is_taken, known.look_up) = (target.clone(), true, None);
            }
            Entry::Vacant(entry) => {
                let target = target.clone();
                entry.insert(Publisher { target, is_taken: true, is_reported: false, look_up: None });
            }
        }
        drop(state);
        if !self.shared.try_command(Command::Connect(target.clone())) {
            // It registers again.
            self.readers.disconnected(&target);
        }
    }

    /// What the publisher sent before it left may still come: its connection stays until it closes it.
    fn unregistered(&self, _: &str, host_name: &Text, publisher: EntityId) {
        let origin = Origin { host_name: host_name.clone(), id: publisher };
        lock(&self.readers.0).publishers.remove(&origin);
    }

    fn forget(&self, topic: &str, host_name: &[u8], publisher: EntityId) {
        let sinks = {
            let mut state = lock(&self.readers.0);
            state.publishers.retain(|origin, _| origin.id != publisher || *origin.host_name != *host_name);
            state.topics.get(topic).cloned()
        };
        sinks.iter().flat_map(|sinks| sinks.iter()).for_each(|sink| sink.left(host_name, publisher));
    }

    fn end(&self, why: Ended) {
        let topics: Vec<Sinks> = {
            let mut state = lock(&self.readers.0);
            state.ended.get_or_insert(why);
            state.topics.values().cloned().collect()
        };
        topics.iter().flat_map(|sinks| sinks.iter()).for_each(|sink| sink.end(why));
    }
}

struct TcpReader {
    topic: Arc<str>,
    sink: Arc<dyn Sink>,
    shared: Arc<Shared>,
    readers: Arc<Readers>,
}

impl Reader for TcpReader {}

impl Drop for TcpReader {
    fn drop(&mut self) {
        let mut state = lock(&self.readers.0);
        let Some(sinks) = state.topics.get_mut(&self.topic) else { return };
        *sinks = sinks.iter().filter(|one| !Arc::ptr_eq(one, &self.sink)).cloned().collect();
        if sinks.is_empty() {
            state.topics.remove(&self.topic);
            state.publishers.retain(|_, publisher| publisher.target.topic != self.topic);
            drop(state);
            self.shared.command(Command::Unread(self.topic.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;
    use crate::Config;
    use crate::layer::tcp::Tcp;
    use crate::layer::tcp::tests::{Nobody, register};

    #[test]
    fn a_publisher_that_comes_and_goes_does_not_fill_the_log() {
        let tcp = Tcp::open(&Config::default()).expect("the system has what it takes");
        let inlet = TcpInlet::new(tcp.shared.clone());
        let _reader = inlet.read(&"topic".into(), Arc::new(Nobody)).expect("it is read");
        register(&inlet, 1, 1);
        let target = lock(&inlet.readers.0).publishers.values().next().expect("it is known").target.clone();
        let start = Instant::now();
        for minute in [0, 1] {
            let now = start + Duration::from_secs(60 * minute);
            let flaps = (0..100).filter(|_| {
                inlet.readers.connected(&target);
                let is_new = inlet.readers.is_new_failure_at(&target, now).is_some();
                assert_eq!(inlet.readers.is_new_failure_at(&target, now), None, "it is said once");
                is_new
            });
            assert_eq!(flaps.count(), 32);
        }
    }

    #[test]
    fn what_others_want_is_bounded_and_forgotten() {
        let mut config = Config::default();
        config.tcp.max_connections = 3;
        let tcp = Tcp::open(&config).expect("the system has what it takes");
        let inlet = TcpInlet::new(tcp.shared.clone());
        let _reader = inlet.read(&"topic".into(), Arc::new(Nobody)).expect("it is read");
        let known = || lock(&inlet.readers.0).publishers.len();
        let waiting = || lock(&tcp.shared.commands).len();
        (1..=10).for_each(|port| register(&inlet, 1, port));
        assert_eq!((known(), waiting()), (1, 3));
        assert_eq!(tcp.shared.counters.refused.load(Ordering::Relaxed), 7);
        lock(&tcp.shared.commands).clear();
        register(&inlet, 1, 10);
        assert_eq!((known(), waiting()), (1, 1), "there is room again");
        register(&inlet, 1, 10);
        assert_eq!(waiting(), 1, "it is being connected to");
        register(&inlet, 2, 10);
        inlet.unregistered("topic", &"host".into(), EntityId::from_wire("1"));
        assert_eq!(known(), 1);
        inlet.forget("topic", b"host", EntityId::from_wire("2"));
        assert_eq!(known(), 0);
    }
}
