//! Why something received was dropped, and how often.

use core::fmt;

/// Why a datagram or a message was dropped.
///
/// Its `Display` is a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// A datagram or a message ends before it should.
    Truncated,
    /// A datagram does not start with the eCAL magic.
    ForeignMagic,
    /// A datagram carries another version of the eCAL header.
    UnknownVersion,
    /// A datagram is neither a message info, a fragment nor a whole message.
    UnknownKind,
    /// A stated length differs from the bytes that are there.
    LengthMismatch,
    /// A fragment without bytes, or a fragmented message announced as empty.
    Empty,
    /// A fragment's number is not below the message's number of fragments.
    FragmentNumber,
    /// A datagram contradicts what its message said before, or itself.
    Inconsistent,
    /// A datagram was received before.
    Duplicate,
    /// A message, or a field of it, is longer than the limit.
    TooLong,
    /// An incomplete message was given up to stay within the limits of memory.
    OverCap,
    /// An incomplete message was given up because nothing more of it came.
    Expired,
    /// An incomplete message was given up because a part of it was lost, as the receive buffer was full.
    Lost,
    /// A message is not a valid sample.
    BadSample,
    /// A valid sample is of a kind that does not belong on this channel.
    UnexpectedSample,
}

impl DropReason {
    /// Every reason, in the order of their declaration.
    const ALL: [Self; 15] = [
        Self::Truncated,
        Self::ForeignMagic,
        Self::UnknownVersion,
        Self::UnknownKind,
        Self::LengthMismatch,
        Self::Empty,
        Self::FragmentNumber,
        Self::Inconsistent,
        Self::Duplicate,
        Self::TooLong,
        Self::OverCap,
        Self::Expired,
        Self::Lost,
        Self::BadSample,
        Self::UnexpectedSample,
    ];
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the data ends too early",
            Self::ForeignMagic => "the datagram is not from eCAL",
            Self::UnknownVersion => "the eCAL header has an unknown version",
            Self::UnknownKind => "the datagram is of an unknown kind",
            Self::LengthMismatch => "a stated length differs from the bytes received",
            Self::Empty => "a fragment has no bytes",
            Self::FragmentNumber => "a fragment's number is out of range",
            Self::Inconsistent => "the datagram contradicts its message",
            Self::Duplicate => "the datagram was received before",
            Self::TooLong => "the message is longer than the limit",
            Self::OverCap => "too many or too large incomplete messages",
            Self::Expired => "the rest of the message never came",
            Self::Lost => "a part of the message was lost, as the receive buffer was full",
            Self::BadSample => "the message is not a valid sample",
            Self::UnexpectedSample => "the sample is of a kind that does not belong here",
        })
    }
}

impl core::error::Error for DropReason {}

/// How often each [`DropReason`] was met.
///
/// One count is one datagram ignored, or one message given up; giving up a message counts once,
/// however many of its fragments were there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropCounts([u64; DropReason::ALL.len()]);

impl DropCounts {
    /// Counts one drop.
    pub fn count(&mut self, reason: DropReason) {
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
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason as usize]
    }

    /// Returns every reason with its count, those at zero included.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().zip(self.0)
    }

    /// Returns the number of drops for any reason.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, n| sum.saturating_add(*n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_its_own_slot_and_sentence() {
        let sentences: BTreeSet<_> = DropReason::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(sentences.len(), DropReason::ALL.len());
        for (slot, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, slot);
        }
    }

    #[test]
    fn counts_add_up() {
        let mut counts = DropCounts::default();
        counts.count(DropReason::Truncated);
        counts.count(DropReason::UnexpectedSample);
        let mut sum = counts.clone();
        sum.add(&counts);
        assert_eq!(sum.get(DropReason::Truncated), 2);
        assert_eq!(sum.total(), 4);
        let met: std::vec::Vec<_> = sum.iter().filter(|(_, n)| *n > 0).collect();
        assert_eq!(met, [(DropReason::Truncated, 2), (DropReason::UnexpectedSample, 2)]);
    }
}
