//! Cuts a message into datagrams, without copying it.

use core::fmt;
use core::iter::FusedIterator;

use crate::{HEADER_LEN, Header, Kind, MAX_DATAGRAM_LEN};

/// The datagrams of one message, in the order to send them.
///
/// A message that fits is one whole message; a longer one is its info, then its fragments.
#[derive(Clone, Debug)]
pub struct Fragments<'a> {
    id: i32,
    message: [&'a [u8]; 2],
    message_len: u32,
    /// Payload bytes of every fragment but the last, which may have fewer.
    chunk_len: u32,
    /// The number of fragments, or `None` when the message fits into one datagram.
    num: Option<u32>,
    /// Datagrams already given out.
    sent: u32,
}

impl<'a> Fragments<'a> {
    /// Cuts a message, given as two parts that follow each other.
    ///
    /// `id` tells the messages of one sender apart while they are on their way: eCAL draws it at
    /// random. `max_datagram_len` is in bytes, header included; eCAL uses [`MAX_DATAGRAM_LEN`].
    ///
    /// # Errors
    ///
    /// [`FragmentError::DatagramLen`] when the datagrams have no room for payload or are longer
    /// than UDP allows, [`FragmentError::MessageTooLong`] when the length of the message does not
    /// fit the header.
    pub fn new(id: i32, message: [&'a [u8]; 2], max_datagram_len: usize) -> Result<Self, FragmentError> {
        if !(HEADER_LEN + 1..=MAX_DATAGRAM_LEN).contains(&max_datagram_len) {
            return Err(FragmentError::DatagramLen);
        }
        let chunk_len = (max_datagram_len - HEADER_LEN) as u32;
        let message_len = message[0]
            .len()
            .checked_add(message[1].len())
            .and_then(|len| u32::try_from(len).ok())
            .ok_or(FragmentError::MessageTooLong)?;
        Ok(Self {
            id,
            message,
            message_len,
            chunk_len,
            num: (message_len > chunk_len).then(|| message_len.div_ceil(chunk_len)),
            sent: 0,
        })
    }

    /// Returns the bytes of the message from one position to another, still in two parts.
    fn slice(&self, start: usize, end: usize) -> [&'a [u8]; 2] {
        let [first, second] = self.message;
        let split = first.len();
        [
            &first[start.min(split)..end.min(split)],
            &second[start.saturating_sub(split)..end.saturating_sub(split)],
        ]
    }
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Datagram<'a>;

    fn next(&mut self) -> Option<Datagram<'a>> {
        if self.len() == 0 {
            return None;
        }
        let sent = self.sent;
        self.sent += 1;
        let (kind, id, num, range) = match (self.num, sent) {
            (None, _) => (Kind::Whole, -1, 1, 0..self.message_len),
            (Some(num), 0) => {
                let header = Header { kind: Kind::Info, id: self.id, num, len: self.message_len };
                return Some(Datagram { header: header.encode(), parts: [&[], &[]] });
            }
            (Some(_), sent) => {
                let number = sent - 1;
                let start = number * self.chunk_len;
                let end = start.saturating_add(self.chunk_len).min(self.message_len);
                (Kind::Fragment, self.id, number, start..end)
            }
        };
        let header = Header { kind, id, num, len: range.end - range.start };
        Some(Datagram {
            header: header.encode(),
            parts: self.slice(range.start as usize, range.end as usize),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let total = self.num.map_or(1, |num| num as usize + 1);
        let left = total - self.sent as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Fragments<'_> {}

impl FusedIterator for Fragments<'_> {}

/// One datagram to send: its header, then its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The encoded header.
    pub header: [u8; HEADER_LEN],
    /// The payload; either part may be empty.
    pub parts: [&'a [u8]; 2],
}

/// Why a message cannot be cut into datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FragmentError {
    /// The largest datagram has no room for payload, or is longer than UDP allows.
    DatagramLen,
    /// The message is longer than the 32-bit length of the header can tell.
    MessageTooLong,
}

impl fmt::Display for FragmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DatagramLen => {
                write!(f, "the largest datagram must have {} to {MAX_DATAGRAM_LEN} bytes", HEADER_LEN + 1)
            }
            Self::MessageTooLong => f.write_str("the message has more than 4294967295 bytes"),
        }
    }
}

impl core::error::Error for FragmentError {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 31 + at / 251) as u8).collect()
    }

    /// Cuts a message split at `split`, and checks all that every cut has to keep.
    fn check(len: usize, split: usize, max_datagram_len: usize) -> usize {
        let message = pattern(len);
        let (first, second) = message.split_at(split);
        let fragments = Fragments::new(9, [first, second], max_datagram_len).unwrap();
        let datagrams: Vec<_> = fragments.clone().collect();
        assert_eq!(fragments.len(), datagrams.len());
        let mut joined = Vec::new();
        for (at, datagram) in datagrams.iter().enumerate() {
            let bytes = [&datagram.header[..], datagram.parts[0], datagram.parts[1]].concat();
            assert!(bytes.len() <= max_datagram_len);
            let (header, payload) = Header::parse(&bytes).unwrap();
            let num = datagrams.len() as u32 - 1;
            let expected = match at {
                0 if datagrams.len() == 1 => (Kind::Whole, -1, 1, len as u32),
                0 => (Kind::Info, 9, num, len as u32),
                _ => (Kind::Fragment, 9, at as u32 - 1, payload.len() as u32),
            };
            assert_eq!((header.kind, header.id, header.num, header.len), expected);
            if header.kind == Kind::Fragment && header.num + 1 < num {
                assert_eq!(bytes.len(), max_datagram_len);
            }
            if header.kind == Kind::Fragment {
                assert!(!payload.is_empty());
            }
            joined.extend_from_slice(payload);
        }
        assert!(joined == message);
        datagrams.len()
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes minutes there")]
    fn lengths() {
        for (len, datagrams) in
            [(0, 1), (1, 1), (1447, 1), (1448, 1), (1449, 3), (1472, 3), (2 * 1448, 3), (2 * 1448 + 1, 4)]
        {
            assert_eq!(check(len, len / 3, 1472), datagrams, "{len} bytes");
        }
        let max = MAX_DATAGRAM_LEN - HEADER_LEN;
        assert_eq!(check(max, 100, MAX_DATAGRAM_LEN), 1);
        assert_eq!(check(max + 1, 100, MAX_DATAGRAM_LEN), 3);
        assert_eq!(check(5_000_000, 100, MAX_DATAGRAM_LEN), 78);
        assert_eq!(check(5_000_000, 100, 1472), 3455);
    }

    #[test]
    fn parts_may_meet_anywhere() {
        let max_len = if cfg!(miri) { 8 } else { 39 };
        for len in 0..=max_len {
            for split in 0..=len {
                for chunk_len in 1..12 {
                    check(len, split, HEADER_LEN + chunk_len);
                }
            }
        }
    }

    #[test]
    fn counts_down() {
        let message = pattern(10);
        let mut fragments = Fragments::new(0, [&message, &[]], HEADER_LEN + 4).unwrap();
        for left in (0..4).rev() {
            assert!(fragments.next().is_some());
            assert_eq!(fragments.len(), left);
        }
        assert_eq!(fragments.next(), None);
        assert_eq!(fragments.next(), None);
    }

    #[test]
    fn datagrams_must_have_room() {
        let new = |max_datagram_len| Fragments::new(0, [&[], &[]], max_datagram_len).map(|_| ());
        assert_eq!(new(HEADER_LEN), Err(FragmentError::DatagramLen));
        assert_eq!(new(HEADER_LEN + 1), Ok(()));
        assert_eq!(new(MAX_DATAGRAM_LEN), Ok(()));
        assert_eq!(new(MAX_DATAGRAM_LEN + 1), Err(FragmentError::DatagramLen));
    }
}
