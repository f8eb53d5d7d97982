//! What tells samples from each other.

use ferrocal_proto::EntityId;

/// A number that no other sample has: readers of eCAL 5 take samples with equal ones for the same.
///
/// It lies between 2^62 and 2^63, so that it always takes 9 bytes on the wire.
pub(crate) fn sample_hash(id: EntityId, clock: i64) -> i64 {
    // The finalizer of SplitMix64 is a bijection, so one publisher's hashes differ from each other except in the bits
    // that are cut off.
    let mut hash = id.get().wrapping_add(clock.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    ((hash >> 1) | (1 << 62)).cast_signed()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn hashes_differ_and_take_the_same_room() {
        let ids = [EntityId::from_wire("1"), EntityId::from_wire("2")];
        let hashes: HashSet<_> =
            ids.iter().flat_map(|&id| (1..10_000).map(move |clock| sample_hash(id, clock))).collect();
        assert_eq!(hashes.len(), 2 * 9_999);
        assert!(hashes.iter().all(|&hash| hash >= 1 << 62));
    }
}
