//! What was played of a capture, and what was not.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use ferrocal_proto::Reason;

use super::timeline::{MAX_PAUSE, Shortened};
use crate::frame::{FrameDrop, FrameDrops};

/// How many link types are named.
const MAX_NAMED: usize = 8;
/// How many link types are told apart.
const MAX_COUNTED: usize = 64;

/// What was read of a capture, and what became of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    /// Frames read.
    pub(super) frames: u64,
    /// Of those, the ones without a datagram of their own: of other protocols, and IPv4 fragments.
    pub(super) others: u64,
    /// Of those, the ones that could not be used.
    pub(super) dropped: FrameDrops,
    /// How many had a link type that is not supported, by its number.
    pub(super) unknown_link_types: BTreeMap<i32, u64>,
    /// Incomplete packets that were given up.
    pub(super) given_up: FrameDrops,
    /// Datagrams passed on.
    pub(super) played: u64,
    /// Datagrams to ports without a receiver.
    pub(super) unheard: u64,
    /// Datagrams that their receivers did not wait for.
    pub(super) unplayed: u64,
    pub(super) shortened: Shortened,
}

impl Counts {
    /// Counts a frame of a link type that is not supported. A file may name any number of them.
    pub(super) fn add_unknown_link_type(&mut self, dlt: i32) {
        let types = &mut self.unknown_link_types;
        if types.len() < MAX_COUNTED || types.contains_key(&dlt) {
            *types.entry(dlt).or_default() += 1;
        }
    }

    pub(super) fn drops(&self) -> FrameDrops {
        let mut drops = self.dropped.clone();
        drops.add(&self.given_up);
        drops
    }
}

/// What is logged when a replay is over.
///
/// Its `Display` is the closing line.
#[derive(Debug)]
pub(super) struct Summary {
    pub(super) path: PathBuf,
    pub(super) counts: Counts,
    /// Whether the file was read to its end.
    pub(super) is_over: bool,
}

impl Summary {
    /// Logs a warning for each link type that is not supported, one for frames that were cut, and the closing line.
    pub(super) fn log(&self) {
        self.warnings().iter().for_each(|warning| log::warn!("{warning}"));
        // Somebody may be waiting for what never comes.
        let level = if self.is_over && self.counts.played == 0 { log::Level::Warn } else { log::Level::Info };
        log::log!(level, "{self}");
    }

    fn warnings(&self) -> Vec<String> {
        let Self { path, counts, .. } = self;
        let named = counts.unknown_link_types.iter().take(MAX_NAMED).map(|(dlt, count)| {
            format!(
                "the capture file {}: {count} frames of link type {dlt} were skipped, which is not supported; \
                 its name is in https://www.tcpdump.org/linktypes.html",
                path.display()
            )
        });
        let others = counts.unknown_link_types.len().saturating_sub(MAX_NAMED);
        let others = (others > 0).then(|| {
            format!(
                "the capture file {}: {others} or more other link types are not supported",
                path.display()
            )
        });
        let cut = Some(counts.dropped.get(FrameDrop::Cut)).filter(|cut| *cut > 0).map(|cut| {
            format!(
                "the capture file {}: {cut} frames were skipped because they were cut when they were captured; \
                 capture whole frames (tcpdump -s 0)",
                path.display()
            )
        });
        named.chain(others).chain(cut).collect()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, counts, is_over } = self;
        let ended = if *is_over { "is over" } else { "was stopped before its end" };
        write!(
            f,
            "the replay of {} {ended}: {} frames were read, and {} datagrams played",
            path.display(),
            counts.frames,
            counts.played
        )?;
        let drops = counts.drops();
        let dropped = FrameDrop::ALL.iter().map(|reason| (drops.get(*reason), reason.to_string()));
        let skipped = [
            (counts.others, "frames without a UDP datagram over IPv4 of their own".to_owned()),
            (counts.unheard, "datagrams to other ports".to_owned()),
            (counts.unplayed, "datagrams that were not waited for".to_owned()),
        ];
        let skipped =
            skipped.into_iter().chain(dropped.map(|(count, why)| (count, format!("frames: {why}"))));
        for (count, what) in skipped.filter(|(count, _)| *count > 0) {
            write!(f, "; skipped {count} {what}")?;
        }
        let Shortened { pauses, by } = counts.shortened;
        if pauses > 0 {
            let (kept, by) = (MAX_PAUSE.as_secs(), by.as_secs());
            write!(f, "; {pauses} pauses were shortened to {kept} s each, by {by} s in all")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn everything_that_was_skipped_is_in_it() {
        let mut counts = Counts { frames: 100, others: 7, played: 60, unheard: 20, ..Counts::default() };
        counts.shortened = Shortened { pauses: 1, by: Duration::from_secs(86_390) };
        (0..3).for_each(|_| counts.dropped.count(FrameDrop::Cut));
        counts.given_up.count(FrameDrop::Expired);
        let summary = Summary { path: "a.pcap".into(), counts, is_over: true };
        assert_eq!(
            summary.to_string(),
            "the replay of a.pcap is over: 100 frames were read, and 60 datagrams played; \
             skipped 7 frames without a UDP datagram over IPv4 of their own; skipped 20 datagrams to other ports; \
             skipped 3 frames: the frame was cut when it was captured; \
             skipped 1 frames: the rest of the IPv4 packet never came; \
             1 pauses were shortened to 10 s each, by 86390 s in all"
        );
        assert!(matches!(&summary.warnings()[..], [cut] if cut.contains("3 frames were skipped")));
    }

    #[test]
    fn each_link_type_is_named_with_a_bound() {
        let unknown_link_types = (200..230).map(|dlt| (dlt, 5)).collect();
        let counts = Counts { unknown_link_types, ..Counts::default() };
        let warnings = Summary { path: "a.pcap".into(), counts, is_over: true }.warnings();
        assert_eq!(warnings.len(), MAX_NAMED + 1);
        assert!(warnings[0].contains("5 frames of link type 200 "), "{}", warnings[0]);
        assert!(warnings[MAX_NAMED].contains("22 or more other link types"), "{}", warnings[MAX_NAMED]);
    }
}
