//! The 24 bytes in front of every eCAL datagram.

use crate::DropReason;

/// The length of a datagram's header in bytes, fixed by the eCAL wire format.
pub const HEADER_LEN: usize = 24;

/// The length of the largest UDP datagram over IPv4 in bytes, header included.
///
/// It is the 65535 bytes of an IPv4 packet (RFC 791) less its header and the UDP header, and it
/// is the size eCAL itself cuts long messages into.
pub const MAX_DATAGRAM_LEN: usize = 65_507;

/// The first bytes of a datagram, fixed by the eCAL wire format.
const MAGIC: [u8; 4] = *b"ECAL";

/// The version of the header, fixed by the eCAL wire format.
const VERSION: u8 = 5;

/// What a datagram carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The announcement of a message that follows in fragments; it has no payload.
    Info,
    /// One fragment of a message.
    Fragment,
    /// A whole message.
    Whole,
}

/// The header of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// What the datagram carries.
    pub kind: Kind,
    /// The message the datagram is part of, per sender; −1 and meaningless for [`Kind::Whole`].
    pub id: i32,
    /// The number of fragments for [`Kind::Info`], the fragment's number from 0 for
    /// [`Kind::Fragment`], and 1 for [`Kind::Whole`].
    pub num: u32,
    /// The length of the whole message for [`Kind::Info`], else of the payload that follows the
    /// header; in bytes.
    pub len: u32,
}

impl Header {
    /// Encodes the header.
    #[inline]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let kind: u32 = match self.kind {
            Kind::Info => 1,
            Kind::Fragment => 2,
            Kind::Whole => 3,
        };
        let mut bytes = [0; HEADER_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[8..12].copy_from_slice(&kind.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.id.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.num.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.len.to_le_bytes());
        bytes
    }

    /// Splits a datagram into its header and its payload.
    ///
    /// The payload is as long as the header says, and empty for [`Kind::Info`]. The reserved bytes
    /// are not looked at.
    ///
    /// # Errors
    ///
    /// [`DropReason::Truncated`], [`DropReason::ForeignMagic`], [`DropReason::UnknownVersion`],
    /// [`DropReason::UnknownKind`], or [`DropReason::LengthMismatch`] when more or fewer bytes
    /// follow than the header says.
    #[inline]
    pub fn parse(datagram: &[u8]) -> Result<(Self, &[u8]), DropReason> {
        let (header, payload) = Self::split(datagram)?;
        if payload.len() != header.payload_len() {
            return Err(DropReason::LengthMismatch);
        }
        Ok((header, payload))
    }

    /// Returns the length of the datagram that starts with these bytes, as its header says.
    ///
    /// So a run of datagrams, as segmentation offload makes them, can be taken apart.
    #[inline]
    pub fn datagram_len(start: &[u8]) -> Option<usize> {
        let (header, _) = Self::split(start).ok()?;
        HEADER_LEN.checked_add(header.payload_len())
    }

    fn payload_len(&self) -> usize {
        match self.kind {
            Kind::Info => 0,
            Kind::Fragment | Kind::Whole => self.len as usize,
        }
    }

    #[inline]
    fn split(datagram: &[u8]) -> Result<(Self, &[u8]), DropReason> {
        let Some((head, payload)) = datagram.split_first_chunk::<HEADER_LEN>() else {
            let magic_len = datagram.len().min(MAGIC.len());
            let is_ours = datagram[..magic_len] == MAGIC[..magic_len];
            return Err(if is_ours { DropReason::Truncated } else { DropReason::ForeignMagic });
        };
        if !head.starts_with(&MAGIC) {
            return Err(DropReason::ForeignMagic);
        }
        if head[4] != VERSION {
            return Err(DropReason::UnknownVersion);
        }
        let word = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
        let kind = match u32::from_le_bytes(word(8)) {
            1 => Kind::Info,
            2 => Kind::Fragment,
            3 => Kind::Whole,
            _ => return Err(DropReason::UnknownKind),
        };
        let header = Self {
            kind,
            id: i32::from_le_bytes(word(12)),
            num: u32::from_le_bytes(word(16)),
            len: u32::from_le_bytes(word(20)),
        };
        Ok((header, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// A fragment as eCAL 6.1.1 sends it, with a payload of two bytes.
    const FRAGMENT: [u8; 26] = [
        b'E', b'C', b'A', b'L', 5, 0, 0, 0, 2, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 3, 0, 0, 0, 2, 0, 0, 0, 0xaa,
        0xbb,
    ];

    #[test]
    fn layout() {
        let header = Header { kind: Kind::Fragment, id: -2, num: 3, len: 2 };
        assert_eq!(header.encode(), FRAGMENT[..HEADER_LEN]);
        assert_eq!(Header::parse(&FRAGMENT), Ok((header, &[0xaa, 0xbb][..])));
    }

    #[test]
    fn every_kind_round_trips() {
        for (kind, payload_len) in [(Kind::Info, 0), (Kind::Fragment, 7), (Kind::Whole, 7)] {
            let header = Header { kind, id: i32::MIN, num: u32::MAX, len: 7 };
            let mut datagram = Vec::from(header.encode());
            datagram.resize(HEADER_LEN + payload_len, 1);
            assert_eq!(Header::parse(&datagram), Ok((header, &datagram[HEADER_LEN..])));
        }
    }

    #[test]
    fn damage_has_a_reason() {
        let damaged = |at: usize, value: u8| {
            let mut datagram = FRAGMENT;
            datagram[at] = value;
            Header::parse(&datagram).map(|_| ())
        };
        assert_eq!(damaged(0, b'e'), Err(DropReason::ForeignMagic));
        assert_eq!(damaged(4, 6), Err(DropReason::UnknownVersion));
        assert_eq!(damaged(8, 0), Err(DropReason::UnknownKind));
        assert_eq!(damaged(8, 4), Err(DropReason::UnknownKind));
        assert_eq!(damaged(11, 1), Err(DropReason::UnknownKind));
        assert_eq!(damaged(20, 1), Err(DropReason::LengthMismatch));
        assert_eq!(damaged(23, 1), Err(DropReason::LengthMismatch));
        assert_eq!(damaged(8, 1), Err(DropReason::LengthMismatch));
        assert_eq!(damaged(5, 1), Ok(()));
    }

    #[test]
    fn every_truncation_has_a_reason() {
        for len in 0..HEADER_LEN {
            assert_eq!(Header::parse(&FRAGMENT[..len]).map(|_| ()), Err(DropReason::Truncated));
        }
        assert_eq!(Header::parse(&FRAGMENT[..25]).map(|_| ()), Err(DropReason::LengthMismatch));
        assert_eq!(Header::parse(b"GET").map(|_| ()), Err(DropReason::ForeignMagic));
    }
}
