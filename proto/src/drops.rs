//! Why something received was dropped, and how often.

use core::fmt;

use crate::{Counts, Reason};

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
    /// A registration was refused because the registry is full: too many peers, or too much memory for them.
    RegistryFull,
    /// A datagram is from an address that the settings do not allow.
    SourceNotAllowed,
    /// A message is from a host whose name the settings do not allow.
    HostNotAllowed,
    /// The head of a memory file makes no sense, or claims more than the file has.
    BadMemoryFile,
    /// A message in shared memory changed while it was read.
    Torn,
    /// A message in shared memory could not be read, because somebody else held the lock of its file for too long.
    Locked,
    /// A memory file, or its lock or its event, was damaged or taken away while it was in use.
    MemoryFileLost,
}

impl Reason for DropReason {
    const ALL: &'static [Self] = &[
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
        Self::RegistryFull,
        Self::SourceNotAllowed,
        Self::HostNotAllowed,
        Self::BadMemoryFile,
        Self::Torn,
        Self::Locked,
        Self::MemoryFileLost,
    ];

    fn index(self) -> usize {
        self as usize
    }
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
            Self::RegistryFull => "too many peers, or too much memory for them",
            Self::SourceNotAllowed => "the datagram is from an address that is not allowed",
            Self::HostNotAllowed => "the message is from a host that is not allowed",
            Self::BadMemoryFile => "the head of the memory file makes no sense",
            Self::Torn => "the message in shared memory changed while it was read",
            Self::Locked => "the lock of the memory file was held for too long",
            Self::MemoryFileLost => "the memory file was damaged or taken away",
        })
    }
}

impl core::error::Error for DropReason {}

/// How often each [`DropReason`] was met.
///
/// One count is one datagram ignored, or one message given up; giving up a message counts once,
/// however many of its fragments were there.
pub type DropCounts = Counts<DropReason>;

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_its_own_slot_and_sentence() {
        let sentences: BTreeSet<_> = DropReason::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(sentences.len(), DropReason::ALL.len());
        for (slot, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), slot);
        }
    }
}
