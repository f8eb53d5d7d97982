//! Why a frame was dropped, and how often.

use std::fmt;

/// Why a frame, or an IPv4 packet that came in fragments, was dropped.
///
/// Its `Display` is a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FrameDrop {
    /// A frame ends before it should, or was captured in part only.
    Truncated,
    /// An IPv4 header contradicts itself.
    BadIpHeader,
    /// An IPv4 fragment is empty, ends beyond 65535 bytes, or is not the last and ends within an 8-byte unit.
    BadFragment,
    /// IPv4 fragments contradict each other, so that all of their packet is dropped (in the spirit of RFC 5722).
    FragmentOverlap,
    /// An incomplete IPv4 packet was given up to stay within the limits of memory.
    OverCap,
    /// An incomplete IPv4 packet was given up because nothing more of it came.
    Expired,
    /// A UDP header states a length that cannot be.
    BadUdpLength,
    /// A UDP checksum is wrong, and not because the sender left it to its network card.
    BadUdpChecksum,
}

impl FrameDrop {
    /// Every reason, in the order of their declaration.
    const ALL: [Self; 8] = [
        Self::Truncated,
        Self::BadIpHeader,
        Self::BadFragment,
        Self::FragmentOverlap,
        Self::OverCap,
        Self::Expired,
        Self::BadUdpLength,
        Self::BadUdpChecksum,
    ];
}

impl fmt::Display for FrameDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the frame ends too early",
            Self::BadIpHeader => "the IPv4 header contradicts itself",
            Self::BadFragment => "the IPv4 fragment has an impossible length",
            Self::FragmentOverlap => "IPv4 fragments contradict each other",
            Self::OverCap => "too many or too large incomplete IPv4 packets",
            Self::Expired => "the rest of the IPv4 packet never came",
            Self::BadUdpLength => "the UDP header states an impossible length",
            Self::BadUdpChecksum => "the UDP checksum is wrong",
        })
    }
}

impl std::error::Error for FrameDrop {}

/// How often each [`FrameDrop`] was met.
///
/// One count is one frame dropped, or one incomplete packet given up; giving up a packet counts once, however many of
/// its fragments were there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameDrops([u64; FrameDrop::ALL.len()]);

impl FrameDrops {
    /// Counts one drop.
    pub(crate) fn count(&mut self, reason: FrameDrop) {
        let count = &mut self.0[reason as usize];
        *count = count.saturating_add(1);
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count = count.saturating_add(more);
        }
    }

    /// Returns how often one reason was met.
    pub fn get(&self, reason: FrameDrop) -> u64 {
        self.0[reason as usize]
    }

    /// Returns every reason with its count, those at zero included.
    pub fn iter(&self) -> impl Iterator<Item = (FrameDrop, u64)> + '_ {
        FrameDrop::ALL.into_iter().zip(self.0)
    }

    /// Returns the number of drops for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_slot_and_sentence() {
        let sentences: BTreeSet<_> = FrameDrop::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(sentences.len(), FrameDrop::ALL.len());
        for (slot, reason) in FrameDrop::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, slot);
        }
    }

    #[test]
    fn counts_add_up() {
        let mut counts = FrameDrops::default();
        counts.count(FrameDrop::Truncated);
        counts.count(FrameDrop::BadUdpChecksum);
        let mut sum = counts.clone();
        sum.add(&counts);
        assert_eq!(sum.get(FrameDrop::Truncated), 2);
        assert_eq!(sum.total(), 4);
        let met: Vec<_> = sum.iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(met, [(FrameDrop::Truncated, 2), (FrameDrop::BadUdpChecksum, 2)]);
    }
}
