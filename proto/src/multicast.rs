//! The multicast group of a topic.

use core::net::Ipv4Addr;

/// How a topic's name becomes its group, eCAL's `config_version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashVersion {
    /// The default of eCAL 5.x; its usual mask is `0.0.0.15`.
    V1,
    /// The default of eCAL 6.x; its usual mask is `255.255.255.240`.
    #[default]
    V2,
}

/// Returns the multicast group that carries a topic in network mode.
///
/// `base` is the group base (`239.0.0.1` unless configured). In version 1, `mask` has the bits set
/// that come from the topic's name; in version 2, those that come from the base.
///
/// The rules are those of the eCAL wire format.
pub fn topic_group(version: HashVersion, base: Ipv4Addr, mask: Ipv4Addr, topic: &str) -> Ipv4Addr {
    match version {
        HashVersion::V1 => topic_group_v1(base, mask, topic),
        HashVersion::V2 => topic_group_v2(base, mask, topic),
    }
}

fn topic_group_v1(base: Ipv4Addr, mask: Ipv4Addr, topic: &str) -> Ipv4Addr {
    let hash = hash(topic).to_be_bytes();
    let mask = mask.octets();
    Ipv4Addr::new(
        first_three_characters(base),
        hash[5] & mask[1],
        hash[6] & mask[2],
        // 0 and 1 are left to registration.
        (hash[7] & mask[3]).max(2),
    )
}

fn topic_group_v2(base: Ipv4Addr, mask: Ipv4Addr, topic: &str) -> Ipv4Addr {
    let base = base.to_bits();
    let mask = mask.to_bits();
    let place = |host: u32| (base & mask) | (host & !mask);
    let mut group = place(hash(topic) as u32);
    if group == base {
        group = place(base.wrapping_add(1));
    }
    Ipv4Addr::from_bits(group)
}

/// Reads the first three characters of the address as a number, as eCAL 5.x does.
///
/// That is the first octet for every multicast address, since those have three digits there.
fn first_three_characters(base: Ipv4Addr) -> u8 {
    base.octets()[0]
}

/// Hashes a topic's name as eCAL does: FNV-1's steps in 64 bits, with the constants for 32.
fn hash(topic: &str) -> u64 {
    topic.bytes().fold(2_166_136_261, |hash: u64, byte| hash.wrapping_mul(16_777_619) ^ u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 1);

    #[test]
    fn version_2() {
        let mask = Ipv4Addr::new(255, 255, 255, 240);
        for (topic, last) in [("hello", 7), ("person", 6), ("foo", 3), ("bar", 0), ("topic_a", 6)] {
            let group = topic_group(HashVersion::V2, BASE, mask, topic);
            assert_eq!(group, Ipv4Addr::new(239, 0, 0, last), "{topic}");
        }
    }

    #[test]
    fn version_2_keeps_off_the_group_base() {
        for mask in [Ipv4Addr::new(255, 255, 255, 240), Ipv4Addr::new(255, 255, 255, 254)] {
            let mut moved = false;
            for n in 0..64 {
                let topic = alloc::format!("t{n}");
                let group = topic_group(HashVersion::V2, BASE, mask, &topic);
                assert_ne!(group, BASE);
                let hash = (hash(&topic) as u32) & !mask.to_bits();
                moved |= hash == BASE.to_bits() & !mask.to_bits();
            }
            assert!(moved, "no topic met the group base");
        }
    }

    #[test]
    fn version_1() {
        let mask = Ipv4Addr::new(0, 0, 0, 15);
        // The low bits are those of version 2, but 0 and 1 become 2.
        for (topic, last) in [("hello", 7), ("person", 6), ("foo", 3), ("bar", 2)] {
            let group = topic_group(HashVersion::V1, BASE, mask, topic);
            assert_eq!(group, Ipv4Addr::new(239, 0, 0, last), "{topic}");
        }
    }

    #[test]
    fn version_1_uses_every_octet_of_the_mask() {
        let hash = hash("hello");
        let mask = Ipv4Addr::new(0, 0x0f, 0xf0, 0xff);
        assert_eq!(
            topic_group(HashVersion::V1, BASE, mask, "hello").octets(),
            [239, (hash >> 16) as u8 & 0x0f, (hash >> 8) as u8 & 0xf0, hash as u8]
        );
    }

    #[test]
    fn no_mask_leaves_only_the_base() {
        let mask = Ipv4Addr::BROADCAST;
        assert_eq!(topic_group(HashVersion::V2, BASE, mask, "hello"), BASE);
    }
}
