//! Reading and writing protobuf fields in place.

use alloc::vec::Vec;

use crate::DropReason;

/// A field's value; fixed-width numbers, which the samples do not use, are only skipped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> Value<'a> {
    pub(crate) fn varint(self) -> Result<u64, DropReason> {
        match self {
            Value::Varint(value) => Ok(value),
            _ => Err(DropReason::BadSample),
        }
    }

    pub(crate) fn bytes(self) -> Result<&'a [u8], DropReason> {
        match self {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(DropReason::BadSample),
        }
    }
}

/// The fields of a message, one after the other; groups, which proto3 does not have, are refused.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    /// Returns the next field's number and value.
    // A call a field makes decoding take half as long again.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, DropReason> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| DropReason::BadSample)?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed
            }
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| DropReason::BadSample)?;
                Value::Bytes(self.take(len)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed
            }
            _ => return Err(DropReason::BadSample),
        };
        match key >> 3 {
            0 => Err(DropReason::BadSample),
            number => Ok(Some((number, value))),
        }
    }

    /// Returns the next field's number and what is there of its bytes, if they end behind the data.
    pub(crate) fn cut(&mut self) -> Option<(u32, &'a [u8])> {
        let key = u32::try_from(self.varint().ok()?).ok()?;
        let len = self.varint().ok()?;
        (key & 7 == 2 && len > self.0.len() as u64).then_some((key >> 3, self.0))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, DropReason> {
        match *self.0 {
            [byte @ ..0x80, ref rest @ ..] => {
                self.0 = rest;
                Ok(byte.into())
            }
            _ => self.long_varint(),
        }
    }

    /// Reads eight bytes at once if they are there.
    #[inline]
    fn long_varint(&mut self) -> Result<u64, DropReason> {
        let (mut value, mut shift) = (0, 0);
        if let Some((&word, rest)) = self.0.split_first_chunk() {
            let word = u64::from_le_bytes(word);
            let ends = !word & CONTINUES;
            if ends != 0 {
                self.take(ends.trailing_zeros() as usize / 8 + 1)?;
                // Up to the first end.
                return Ok(squeeze(word & (ends ^ (ends - 1))));
            }
            (self.0, value, shift) = (rest, squeeze(word), 56);
        }
        for shift in (shift..64).step_by(7) {
            let byte = self.take(1)?[0];
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(DropReason::BadSample)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], DropReason> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(DropReason::BadSample)?;
        self.0 = rest;
        Ok(taken)
    }
}

/// The bits of the eight bytes of a varint that say that it goes on.
const CONTINUES: u64 = 0x8080_8080_8080_8080;

/// Joins the seven bits of each byte.
#[inline]
const fn squeeze(bytes: u64) -> u64 {
    let bytes = (bytes & 0x007f_007f_007f_007f) | (bytes & 0x7f00_7f00_7f00_7f00) >> 1;
    let bytes = (bytes & 0x0000_3fff_0000_3fff) | (bytes & 0x3fff_0000_3fff_0000) >> 2;
    (bytes & 0x0fff_ffff) | (bytes & 0x0fff_ffff_0000_0000) >> 4
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes a varint that is as long as `room`.
#[inline]
pub(crate) fn fill_with_varint(room: &mut [u8], mut value: u64) {
    let Some((last, others)) = room.split_last_mut() else { return };
    for byte in others {
        *byte = value as u8 | 0x80;
        value >>= 7;
    }
    *last = value as u8;
}

/// Appends a varint field.
pub(crate) fn put_varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// Appends the tag and the length of a field of bytes, text or a message.
pub(crate) fn put_len_prefix(out: &mut Vec<u8>, number: u32, len: usize) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, len as u64);
}

/// Appends a text field.
pub(crate) fn put_text_field(out: &mut Vec<u8>, number: u32, text: &[u8]) {
    put_len_prefix(out, number, text.len());
    out.extend_from_slice(text);
}

/// The most bytes that a varint takes.
pub(crate) const MAX_VARINT_LEN: usize = 10;

/// Returns the length of a varint in bytes.
pub(crate) const fn varint_len(value: u64) -> usize {
    // A seventh of the number of bits, rounded up, for as many bits as there can be.
    ((value | 1).ilog2() as usize * 9 + 73) / 64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn varints_round_trip() {
        for shift in 0..64 {
            for value in [1 << shift, (1 << shift) - 1, u64::MAX << shift] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, value);
                let len = bytes.len();
                assert_eq!(len, varint_len(value));
                let mut room = vec![0; len];
                fill_with_varint(&mut room, value);
                assert_eq!(room, bytes);
                // Whatever is behind it.
                for behind in [&[][..], &[0; 9], &[0xff; 9]] {
                    bytes.truncate(len);
                    bytes.extend_from_slice(behind);
                    let mut fields = Fields(&bytes);
                    assert_eq!(fields.varint(), Ok(value));
                    assert_eq!(fields.0, behind);
                }
            }
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        let read = |bytes: &[u8]| Fields(bytes).varint();
        assert_eq!(read(&[0x80, 0x80, 0]), Ok(0));
        assert_eq!(
            read(&[0x81, 0x80, 0x80, 0, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Ok(1),
            "longer than it need be"
        );
        assert_eq!(read(&[0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]), Ok(1));
        assert_eq!(read(&[0xff; 9]), Err(DropReason::BadSample));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok(u64::MAX));
        assert_eq!(
            read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
            Err(DropReason::BadSample)
        );
        assert_eq!(read(&[0x80; 20]), Err(DropReason::BadSample));
    }

    #[test]
    fn damage_is_refused() {
        let bad = |bytes: &[u8]| matches!(Fields(bytes).next(), Err(DropReason::BadSample));
        assert!(bad(&[0x0b]), "group");
        assert!(bad(&[0x0c]), "end of a group");
        assert!(bad(&[0x0e, 0]), "wire type 6");
        assert!(bad(&[0x00, 0]), "field 0");
        assert!(bad(&[0x0a, 1]), "short bytes");
        assert!(bad(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), "a huge length");
        assert!(bad(&[0x09, 0, 0, 0, 0, 0, 0, 0]), "short fixed64");
        assert!(bad(&[0x0d, 0, 0, 0]), "short fixed32");
    }
}
