//! The id of a publisher or a subscriber.

use core::fmt;

/// The id of a publisher or a subscriber, as registrations and payload samples carry it.
///
/// eCAL builds it of 24 bits of the process id, 24 random bits and a 16-bit counter, and writes it
/// in decimal; nobody takes it apart again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityId(u64);

impl EntityId {
    /// Makes an id of the low 24 bits of a process id and of a random number, and a counter.
    ///
    /// The random number is drawn once for a process, or once for an id; the counter tells the
    /// ids of a process apart.
    pub const fn new(process_id: u32, random: u32, counter: u16) -> Self {
        const LOW_24: u64 = 0xff_ffff;
        Self(((process_id as u64 & LOW_24) << 40) | ((random as u64 & LOW_24) << 16) | counter as u64)
    }

    /// Reads an id from a sample.
    ///
    /// A decimal number is taken as it is. eCAL 5.x allows any text, which is hashed (64-bit
    /// FNV-1a): the result still tells entities apart, but does not print as the text.
    pub fn from_wire(text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        let number = str::from_utf8(text).ok().filter(|text| !text.starts_with('+'));
        Self(number.and_then(|number| number.parse().ok()).unwrap_or_else(|| fnv_1a(text)))
    }

    /// Returns the id as a number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Hashes with 64-bit FNV-1a (RFC 9923).
fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn layout() {
        let id = EntityId::new(0xff12_3456, 0xffab_cdef, 0x789a);
        assert_eq!(id.get(), 0x1234_56ab_cdef_789a);
    }

    #[test]
    fn decimal_round_trips() {
        for id in ["0", "22986818493087744", "18446744073709551615"] {
            assert_eq!(EntityId::from_wire(id).to_string(), id);
        }
    }

    #[test]
    fn other_text_is_hashed() {
        assert_eq!(EntityId::from_wire("").get(), 0xcbf2_9ce4_8422_2325);
        assert_eq!(EntityId::from_wire("a").get(), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(EntityId::from_wire("foobar").get(), 0x8594_4171_f739_67e8);
        assert_eq!(EntityId::from_wire(b"\xff").get(), fnv_1a(b"\xff"), "not UTF-8");
        assert_ne!(EntityId::from_wire("+5"), EntityId::from_wire("5"));
        assert_eq!(EntityId::from_wire("18446744073709551616").get(), fnv_1a(b"18446744073709551616"));
    }
}
