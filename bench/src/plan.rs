//! What there is to measure: rows, of which those that are compared with each other make a group.

use ferrocal_integration_tests::world::Mode;

use crate::peers::Peer::{
    self, BareBatch, BareGso, BareLarge, BareSendto, BareSpin, Ecal, EcalShm, EcalShmInPlace, EcalShmNewest,
    Ferrocal, FerrocalBatch, FerrocalCallback, FerrocalInline, FerrocalShm, FerrocalShmInPlace,
    FerrocalShmNewest, FerrocalSpin, Iceoryx2, Iceoryx2InPlace, Lcm, Zenoh,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The highest rate that arrives, and what becomes of messages sent as fast as it goes.
    Throughput,
    RoundTrip,
    /// What 500 MB/s cost.
    Steady,
    /// What a message costs with many subscribers in one process.
    Subscribers,
    /// With many processes that subscribe.
    Processes,
    /// With many topics.
    Topics,
    /// With many nodes in both processes, each with a topic.
    Nodes,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::RoundTrip => "roundtrip",
            Self::Steady => "steady",
            Self::Subscribers => "subscribers",
            Self::Processes => "processes",
            Self::Topics => "topics",
            Self::Nodes => "nodes",
        }
    }
}

/// One candidate under one measurement.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub kind: Kind,
    pub place: Mode,
    pub size: usize,
    /// Who publishes, or pings, and who receives, or answers.
    pub peers: [Peer; 2],
    /// How many there are of what the kind names; else 1.
    pub count: usize,
}

impl Row {
    /// The name of the group that it is compared in, as `throughput/veth/1MB`.
    pub(crate) fn group(&self) -> String {
        format!("{}/{}/{}", self.kind.name(), place_name(self.place), size_name(self.size))
    }

    /// As `ferrocal`, or `ferrocal:ecal` where publisher and subscriber differ, or `ferrocal-x16` for many.
    pub(crate) fn candidate(&self) -> String {
        let mut name = match self.peers.map(Peer::name) {
            [publisher, subscriber] if publisher == subscriber => publisher,
            [publisher, subscriber] => format!("{publisher}:{subscriber}"),
        };
        if self.is_scaling() {
            name += &format!("-x{}", self.count);
        }
        name
    }

    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.group(), self.candidate())
    }

    /// Whether the real eCAL takes part.
    pub(crate) fn has_ecal(&self) -> bool {
        self.peers.iter().any(|peer| peer.is_ecal())
    }

    fn is_scaling(&self) -> bool {
        !matches!(self.kind, Kind::Throughput | Kind::RoundTrip | Kind::Steady)
    }

    /// The count, if it is one of this kind, else 1.
    pub(crate) fn count_of(&self, kinds: &[Kind]) -> usize {
        if kinds.contains(&self.kind) { self.count } else { 1 }
    }

    /// Messages a second, where the measurement does not look for the highest rate.
    pub(crate) fn rate(&self) -> f64 {
        match (self.kind, self.size) {
            (Kind::Steady, size) => 500e6 / size as f64,
            (_, 1_000_000..) => 50.0,
            _ => 2000.0,
        }
    }

    /// Whether each of the words of `filter`, between commas, is a part of the row's name or the start of one.
    fn matches(&self, filter: &str) -> bool {
        let name = self.name();
        let is = |part: &str, word: &str| {
            part.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        filter.split([',', '/']).all(|word| name.split('/').any(|part| is(part, word)))
    }
}

pub(crate) const fn place_name(place: Mode) -> &'static str {
    match place {
        Mode::Local => "loopback",
        Mode::Network => "veth",
    }
}

pub(crate) fn size_name(size: usize) -> String {
    match size {
        1_000_000.. => format!("{}MB", size / 1_000_000),
        1000.. => format!("{}kB", size / 1000),
        _ => format!("{size}B"),
    }
}

const MEGABYTE: usize = 1_000_000;

const STREAMS: &[[Peer; 2]] = &[
    [Ferrocal, Ferrocal],
    [FerrocalInline, FerrocalInline],
    [BareGso, BareGso],
    [BareLarge, BareLarge],
    [Ecal, Ecal],
    [Ferrocal, Ecal],
    [Ecal, Ferrocal],
    [Lcm, Lcm],
    [Zenoh, Zenoh],
];

const ROUND_TRIPS: &[[Peer; 2]] = &[
    [Ferrocal, Ferrocal],
    [FerrocalCallback, FerrocalCallback],
    [FerrocalInline, FerrocalInline],
    [FerrocalSpin, FerrocalSpin],
    [BareGso, BareGso],
    [BareLarge, BareLarge],
    [BareSpin, BareSpin],
    [Ecal, Ecal],
    [Lcm, Lcm],
    [Zenoh, Zenoh],
];

/// What the other bare ones are in network mode, anyway.
const UNCONNECTED: &[[Peer; 2]] = &[[BareSendto, BareSendto]];

/// Within a host only.
const MEMORY: &[[Peer; 2]] = &[
    [FerrocalShm, FerrocalShm],
    [EcalShm, EcalShm],
    [FerrocalShm, EcalShm],
    [EcalShm, FerrocalShm],
    [Iceoryx2, Iceoryx2],
    [Iceoryx2InPlace, Iceoryx2InPlace],
];

/// Without a copy of what was received.
const IN_PLACE: &[[Peer; 2]] = &[[FerrocalShmInPlace, FerrocalShmInPlace], [EcalShmInPlace, EcalShmInPlace]];

/// As programs of eCAL do by default.
const NEWEST: &[[Peer; 2]] = &[
    [FerrocalShmNewest, FerrocalShmNewest],
    [EcalShmNewest, EcalShmNewest],
    [FerrocalShmNewest, EcalShmNewest],
    [EcalShmNewest, FerrocalShmNewest],
];

const BATCHES: &[[Peer; 2]] = &[[FerrocalBatch, FerrocalBatch], [BareBatch, BareBatch]];

/// All rows that one of `filters` selects; without any, all. Rows of one group follow each other.
pub(crate) fn rows(filters: &[String]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |kind, sizes: &[usize], all_peers: &[[Peer; 2]], counts: &[usize]| {
        for place in Mode::ALL {
            for &size in sizes {
                let is_short = kind == Kind::Throughput && size <= 1000;
                let batches = if is_short { BATCHES } else { &[] };
                let unconnected = if is_short && place == Mode::Local { UNCONNECTED } else { &[] };
                let has_memory = matches!(kind, Kind::Throughput | Kind::RoundTrip) && place == Mode::Local;
                let memory = if has_memory { MEMORY } else { &[] };
                let is_stream = kind == Kind::Throughput && size == MEGABYTE;
                let newest = if is_stream && place == Mode::Local { NEWEST } else { &[] };
                let is_long = kind == Kind::Throughput && size >= MEGABYTE;
                let in_place = if is_long && place == Mode::Local { IN_PLACE } else { &[] };
                let special = [unconnected, batches, memory, in_place, newest].into_iter().flatten();
                for &peers in all_peers.iter().chain(special) {
                    rows.extend(counts.iter().map(|&count| Row { kind, place, size, peers, count }));
                }
            }
        }
    };
    add(Kind::Throughput, &[64, 1000, 64_000, MEGABYTE, 8 * MEGABYTE], STREAMS, &[1]);
    add(Kind::RoundTrip, &[64, MEGABYTE], ROUND_TRIPS, &[1]);
    add(Kind::Steady, &[MEGABYTE], STREAMS, &[1]);
    let (many, same) = ([1, 4, 16], |peers: &[Peer]| peers.iter().map(|&peer| [peer; 2]).collect::<Vec<_>>());
    add(Kind::Subscribers, &[1000, MEGABYTE], &same(&[Ferrocal, FerrocalInline, Ecal, Zenoh]), &many);
    add(Kind::Processes, &[1000, MEGABYTE], &same(&[Ferrocal, Ecal]), &many);
    add(Kind::Topics, &[1000], &same(&[Ferrocal, Ecal, Zenoh]), &[1, 100, 1000]);
    // The real eCAL is one node a process.
    add(Kind::Nodes, &[1000], &same(&[Ferrocal]), &many);

    rows.retain(|row| row.peers.iter().all(|peer| peer.is_built()));
    rows.retain(|row| filters.is_empty() || filters.iter().any(|filter| row.matches(filter)));
    rows
}
