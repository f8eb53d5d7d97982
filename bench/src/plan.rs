//! What there is to measure: rows, of which those that are compared with each other make a group.

use ferrocal_integration_tests::world::Mode;

use crate::peers::Peer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The highest rate that arrives, and what becomes of messages sent as fast as it goes.
    Throughput,
    RoundTrip,
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::RoundTrip => "roundtrip",
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
}

impl Row {
    /// The name of the group that it is compared in, as `throughput/veth/1MB`.
    pub(crate) fn group(&self) -> String {
        format!("{}/{}/{}", self.kind.name(), place_name(self.place), size_name(self.size))
    }

    /// As `ferrocal`, or `ferrocal:ecal` where publisher and subscriber differ.
    pub(crate) fn candidate(&self) -> String {
        match self.peers.map(Peer::name) {
            [publisher, subscriber] if publisher == subscriber => publisher,
            [publisher, subscriber] => format!("{publisher}:{subscriber}"),
        }
    }

    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.group(), self.candidate())
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

/// All rows that one of `filters` selects; without any, all. Rows of one group follow each other.
pub(crate) fn rows(filters: &[String]) -> Vec<Row> {
    let mut rows = Vec::new();
    for place in Mode::ALL {
        for size in [64, 1000, 64_000, 1_000_000, 8_000_000] {
            let peers = throughput_peers(size);
            rows.extend(peers.map(|peers| Row { kind: Kind::Throughput, place, size, peers }));
        }
    }
    for place in Mode::ALL {
        for size in [64, 1_000_000] {
            let peers = round_trip_peers(size);
            rows.extend(peers.map(|peers| Row { kind: Kind::RoundTrip, place, size, peers }));
        }
    }
    rows.retain(|row| filters.is_empty() || filters.iter().any(|filter| row.matches(filter)));
    rows
}

fn throughput_peers(_size: usize) -> impl Iterator<Item = [Peer; 2]> {
    use Peer::{BareGso, BareLarge, Ecal, Ferrocal};
    [
        [Ferrocal, Ferrocal],
        [BareGso, BareGso],
        [BareLarge, BareLarge],
        [Ecal, Ecal],
        [Ferrocal, Ecal],
        [Ecal, Ferrocal],
    ]
    .into_iter()
}

fn round_trip_peers(size: usize) -> impl Iterator<Item = [Peer; 2]> {
    use Peer::{BareGso, BareLarge, BareSpin, Ecal, Ferrocal};
    // A message in one datagram is the same to both ways of making several.
    let several = size > 1000;
    [Ferrocal, BareLarge, BareGso, BareSpin, Ecal]
        .into_iter()
        .filter(move |peer| several || *peer != BareGso)
        .map(|peer| [peer, peer])
}
