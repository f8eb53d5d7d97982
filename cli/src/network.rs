//! Who is there: on the network, or in a capture file.

use std::time::{Duration, Instant};

use ferrocal::{
    Config, DataType, DynamicType, LayerKind, Monitor, Node, Snapshot, TopicInfo, captured_registrations,
};

use crate::session::{End, Session, capture};

/// Registrations, of the network or of a capture file.
pub(crate) struct Network<'a> {
    session: &'a Session,
    source: Source,
    /// How often processes repeat what they have registered.
    pub(crate) refresh: Duration,
    started: Instant,
}

enum Source {
    /// The node is there for the monitor.
    Live(Node, Monitor),
    Capture(Snapshot),
}

impl<'a> Network<'a> {
    /// Begins to watch.
    pub(crate) fn open(session: &'a Session, verb: &str) -> anyhow::Result<Self> {
        let config = session.config()?;
        let refresh = config.registration.refresh;
        let source = match capture(&config) {
            Some(path) => Source::Capture(captured_registrations(path, &config)?),
            None => Source::live(session.open(verb, config)?),
        };
        Ok(Self { session, source, refresh, started: Instant::now() })
    }

    /// Begins to watch with a node that is open.
    pub(crate) fn of(session: &'a Session, node: Node) -> Self {
        let refresh = node.config().registration.refresh;
        Self { session, source: Source::live(node), refresh, started: Instant::now() }
    }

    /// Whether a capture file is looked at, in which nothing changes any more.
    pub(crate) fn is_capture(&self) -> bool {
        matches!(self.source, Source::Capture(_))
    }

    /// What is registered now, without this program.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut snapshot = match &self.source {
            Source::Live(_, monitor) => monitor.snapshot(),
            Source::Capture(snapshot) => return snapshot.clone(),
        };
        let is_own = |process_id: i32, unit_name: &[u8]| {
            process_id.cast_unsigned() == std::process::id() && unit_name.starts_with(b"ferrocal ")
        };
        snapshot.processes.retain(|seen| !is_own(seen.info.process_id, &seen.info.unit_name));
        snapshot.publishers.retain(|seen| !is_own(seen.info.process_id, &seen.info.unit_name));
        snapshot.subscribers.retain(|seen| !is_own(seen.info.process_id, &seen.info.unit_name));
        snapshot.servers.retain(|seen| !is_own(seen.info.process_id, &seen.info.unit_name));
        snapshot.clients.retain(|seen| !is_own(seen.info.process_id, &seen.info.unit_name));
        snapshot
    }

    /// Registrations that were not stored for lack of room.
    pub(crate) fn refused(&self) -> u64 {
        match &self.source {
            Source::Live(_, monitor) => monitor.refused(),
            Source::Capture(_) => 0,
        }
    }

    /// When all that registers every refresh has been heard of: after `--duration`, or so many refreshes.
    pub(crate) fn after(&self, refreshes: f64) -> Duration {
        if self.is_capture() {
            return Duration::ZERO;
        }
        self.session.common.duration.unwrap_or_else(|| self.refresh.mul_f64(refreshes))
    }

    /// Waits until what is registered is enough, or for so long since the beginning. Returns what is registered then, and
    /// why the wait ended before, if it did.
    pub(crate) fn until(
        &self,
        time: Duration,
        mut is_enough: impl FnMut(&Snapshot) -> bool,
    ) -> (Snapshot, Option<End>) {
        loop {
            let snapshot = self.snapshot();
            let left = time.saturating_sub(self.started.elapsed());
            if left.is_zero() || is_enough(&snapshot) {
                return (snapshot, None);
            }
            match self.session.wait(left.min(POLL)) {
                None => {}
                end => return (self.snapshot(), end),
            }
        }
    }

    /// Where nothing was found, for messages.
    pub(crate) fn place(&self) -> &'static str {
        match &self.source {
            Source::Capture(_) => "in this capture",
            Source::Live(node, _) => place(node.config()),
        }
    }
}

/// How often the registry is looked at.
const POLL: Duration = Duration::from_millis(20);

impl Source {
    fn live(node: Node) -> Self {
        let monitor = node.monitor();
        Self::Live(node, monitor)
    }
}

/// Where a node looks, for messages.
pub(crate) fn place(config: &Config) -> &'static str {
    match config.mode {
        ferrocal::Mode::Local => "on this computer (--mode network looks further)",
        _ => "on this network",
    }
}

/// The data types that a topic was registered with, those with a descriptor first, and each once.
pub(crate) fn types_of_topic(snapshot: &Snapshot, topic: &str) -> Vec<DataType> {
    types(snapshot, |info| info.topic_name == *topic)
}

/// The data types of this name.
pub(crate) fn types_named(snapshot: &Snapshot, name: &str) -> Vec<DataType> {
    types(snapshot, |info| info.data_type.name == name)
}

/// Protobuf types whose descriptors define this message, too, as that type.
pub(crate) fn types_that_define(snapshot: &Snapshot, name: &str) -> Vec<DataType> {
    let mut types = types(snapshot, |info| info.data_type.encoding == "proto");
    types.retain_mut(|data_type| {
        data_type.name = name.to_owned();
        DynamicType::new(data_type).is_ok()
    });
    types.dedup();
    types
}

fn types(snapshot: &Snapshot, is_meant: impl Fn(&TopicInfo) -> bool) -> Vec<DataType> {
    let mut types = Vec::<DataType>::new();
    for seen in snapshot.publishers.iter().chain(&snapshot.subscribers) {
        let data_type = &seen.info.data_type;
        if is_meant(&seen.info) && !types.contains(data_type) {
            types.push(data_type.clone());
        }
    }
    types.sort_by_key(|data_type| (data_type.descriptor.is_empty(), data_type.name.is_empty()));
    types
}

/// The name of a layer, as options of eCAL have it.
pub(crate) fn layer_name(kind: LayerKind) -> String {
    match kind {
        LayerKind::UdpMulticast => "udp".to_owned(),
        LayerKind::SharedMemory => "shm".to_owned(),
        LayerKind::Tcp => "tcp".to_owned(),
        // Of eCAL 5.
        LayerKind::Other(42) => "inproc".to_owned(),
        LayerKind::Other(number) => format!("layer {number}"),
    }
}
