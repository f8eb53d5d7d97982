//! Why a frame was dropped, and how often.

use std::fmt;

use ferrocal_proto::{Counts, Reason};

/// Why a frame, or an IPv4 packet that came in fragments, was dropped.
///
/// Its `Display` is a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum FrameDrop {
    /// A frame ends before it should.
    Truncated,
    /// A frame was captured in part only: the capture's snap length is too small.
    Cut,
    /// In a capture file: a frame of a link type that is not supported.
    UnknownLinkType,
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

impl Reason for FrameDrop {
    const ALL: &'static [Self] = &[
        Self::Truncated,
        Self::Cut,
        Self::UnknownLinkType,
        Self::BadIpHeader,
        Self::BadFragment,
        Self::FragmentOverlap,
        Self::OverCap,
        Self::Expired,
        Self::BadUdpLength,
        Self::BadUdpChecksum,
    ];

    fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for FrameDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the frame ends too early",
            Self::Cut => "the frame was cut when it was captured",
            Self::UnknownLinkType => "the frame's link type is not supported",
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
pub type FrameDrops = Counts<FrameDrop>;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_slot_and_sentence() {
        let sentences: BTreeSet<_> = FrameDrop::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(sentences.len(), FrameDrop::ALL.len());
        for (slot, reason) in FrameDrop::ALL.iter().enumerate() {
            assert_eq!(reason.index(), slot);
        }
    }
}
