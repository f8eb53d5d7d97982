use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn key(identification: u16) -> Key {
    Key { source: Ipv4Addr::new(10, 0, 0, 1), destination: Ipv4Addr::new(239, 0, 0, 1), identification }
}

fn fragment(identification: u16, offset: usize, more_follow: bool, bytes: &[u8]) -> Fragment<'_> {
    Fragment { key: key(identification), offset, more_follow, bytes }
}

fn reassembler() -> Reassembler {
    Reassembler::new(IpReassemblyLimits::default())
}

#[test]
fn any_order_makes_the_packet() {
    let parts =
        [fragment(1, 0, true, &[1; 8]), fragment(1, 8, true, &[2; 16]), fragment(1, 24, false, &[3; 5])];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut reassembler = reassembler();
        let [first, second, third] = order.map(|index| parts[index]);
        assert_eq!(reassembler.push(MS, first), Ok(None));
        assert_eq!(reassembler.push(MS, second), Ok(None));
        let expected = [&[1; 8][..], &[2; 16], &[3; 5]].concat();
        assert_eq!(reassembler.push(MS, third), Ok(Some(&expected[..])), "{order:?}");
        assert_eq!(reassembler.waiting.len(), 0);
    }
}

#[test]
fn impossible_fragments_touch_nothing() {
    let mut reassembler = reassembler();
    assert_eq!(reassembler.push(MS, fragment(1, 0, true, &[1; 8])), Ok(None));
    let bytes = vec![1; MAX_IPV4_PAYLOAD_LEN];
    for bad in [
        fragment(1, 8, true, &bytes[..9]),
        fragment(1, 8, true, &[]),
        fragment(1, 8, false, &[]),
        fragment(1, 8, false, &bytes),
        fragment(1, 65_528, false, &[1]),
    ] {
        assert_eq!(reassembler.push(MS, bad), Err(FrameDrop::BadFragment), "{bad:?}");
    }
    assert_eq!(reassembler.push(MS, fragment(1, 8, false, &[2])), Ok(Some(&[1, 1, 1, 1, 1, 1, 1, 1, 2][..])));
    assert_eq!(reassembler.push(MS, fragment(2, 8, false, &bytes[8..])), Ok(None));
    assert_eq!(reassembler.push(MS, fragment(2, 0, true, &bytes[..8])), Ok(Some(&bytes[..])));
}

#[test]
fn one_stated_end_must_fit_all() {
    let (short, long) = (&[1; 8], &[1; 16]);
    let contradictions = [
        [fragment(1, 8, false, short), fragment(1, 16, false, short)],
        [fragment(1, 16, false, short), fragment(1, 8, false, short)],
        [fragment(1, 8, false, short), fragment(1, 8, true, long)],
        [fragment(1, 8, true, long), fragment(1, 8, false, short)],
    ];
    for [first, second] in contradictions {
        let mut reassembler = reassembler();
        assert_eq!(reassembler.push(MS, first), Ok(None));
        assert_eq!(reassembler.push(MS, second), Err(FrameDrop::FragmentOverlap), "{first:?} {second:?}");
    }
}

#[test]
fn a_contradiction_ends_the_packet_until_it_expires() {
    let mut reassembler = reassembler();
    assert_eq!(reassembler.push(MS, fragment(1, 0, true, &[1; 8])), Ok(None));
    assert_eq!(reassembler.push(2 * MS, fragment(1, 0, true, &[2; 8])), Err(FrameDrop::FragmentOverlap));
    for bytes in [[1; 8], [2; 8]] {
        assert_eq!(reassembler.push(3 * MS, fragment(1, 0, true, &bytes)), Ok(None));
        assert_eq!(reassembler.push(3 * MS, fragment(1, 8, false, &bytes)), Ok(None));
    }
    let later = 2 * MS + reassembler.limits.timeout;
    assert_eq!(reassembler.push(later, fragment(1, 0, true, &[2; 8])), Ok(None));
    assert!(reassembler.push(later, fragment(1, 8, false, &[2; 8])).is_ok_and(|packet| packet.is_some()));
    assert_eq!(reassembler.drops().total(), 0, "the error was returned");
}

#[test]
fn old_parts_do_not_complete_a_packet_that_reuses_the_identification() {
    let mut reassembler = reassembler();
    let timeout = reassembler.limits.timeout;
    assert_eq!(reassembler.push(Duration::ZERO, fragment(1, 8, false, &[1; 8])), Ok(None));
    assert_eq!(reassembler.push(timeout, fragment(1, 0, true, &[2; 8])), Ok(None));
    assert_eq!(reassembler.drops().get(FrameDrop::Expired), 1);
    let expected = [2; 16];
    assert_eq!(reassembler.push(timeout, fragment(1, 8, false, &[2; 8])), Ok(Some(&expected[..])));
}

#[test]
fn only_new_bytes_keep_a_packet_alive() {
    let mut reassembler = reassembler();
    let timeout = reassembler.limits.timeout;
    assert_eq!(reassembler.push(Duration::ZERO, fragment(1, 0, true, &[1; 8])), Ok(None));
    assert_eq!(reassembler.push(timeout - MS, fragment(1, 8, true, &[1; 8])), Ok(None));
    assert_eq!(reassembler.push(2 * timeout - 2 * MS, fragment(1, 8, true, &[1; 8])), Ok(None));
    reassembler.expire(2 * timeout - 2 * MS);
    assert_eq!(reassembler.drops().total(), 0);
    reassembler.expire(2 * timeout - MS);
    assert_eq!(reassembler.drops().get(FrameDrop::Expired), 1);
    reassembler.expire(9 * timeout);
    assert_eq!(reassembler.drops().total(), 1);
}

#[test]
fn the_oldest_packet_gives_way() {
    let mut reassembler = Reassembler::new(IpReassemblyLimits { max_packets: 2, ..Default::default() });
    for identification in 1..=3 {
        assert_eq!(reassembler.push(MS, fragment(identification, 0, true, &[1; 8])), Ok(None));
    }
    assert_eq!(reassembler.drops().get(FrameDrop::OverCap), 1);
    assert!(reassembler.push(MS, fragment(2, 8, false, &[1])).is_ok_and(|packet| packet.is_some()));
    assert!(reassembler.push(MS, fragment(3, 8, false, &[1])).is_ok_and(|packet| packet.is_some()));
    assert_eq!(reassembler.push(MS, fragment(1, 8, false, &[1])), Ok(None));
}

#[test]
fn memory_is_taken_for_received_bytes_only() {
    let mut reassembler = reassembler();
    assert_eq!(reassembler.push(MS, fragment(1, 65_504, false, &[1; 8])), Ok(None));
    assert!((size_of::<Packet>()..512).contains(&reassembler.buffered_bytes()));
    // Received twice is not received more.
    for offset in (712..65_504).step_by(712) {
        assert_eq!(reassembler.push(MS, fragment(1, offset, true, &[1; 712])), Ok(None));
    }
    assert_eq!(reassembler.push(MS, fragment(1, 712, true, &[1; 1424])), Ok(None));
    assert!(reassembler.buffered_bytes() < 70_000, "{}", reassembler.buffered_bytes());
}

#[test]
fn a_cap_below_one_packet_drops_it() {
    let limits = IpReassemblyLimits { max_bytes: 1000, ..Default::default() };
    let mut reassembler = Reassembler::new(limits);
    assert_eq!(reassembler.push(MS, fragment(1, 0, true, &[1; 400])), Ok(None));
    assert_eq!(reassembler.push(MS, fragment(1, 400, true, &[1; 400])), Err(FrameDrop::OverCap));
    assert_eq!(reassembler.push(MS, fragment(2, 8, false, &[1])), Ok(None));
    assert!(reassembler.push(MS, fragment(2, 0, true, &[1; 8])).is_ok_and(|packet| packet.is_some()));
    let mut none = Reassembler::new(IpReassemblyLimits { max_bytes: 0, max_packets: 0, ..limits });
    assert_eq!(none.push(MS, fragment(1, 0, true, &[1; 8])), Err(FrameDrop::OverCap));
}

#[test]
fn ignored_packets_are_within_the_cap_of_memory() {
    let max_bytes = 2 * size_of::<Packet>();
    let mut reassembler = Reassembler::new(IpReassemblyLimits { max_bytes, ..Default::default() });
    for identification in 0..5 {
        reassembler.ignore(MS, key(identification));
        assert!(reassembler.buffered_bytes() <= max_bytes, "{identification}");
    }
    assert_eq!(reassembler.waiting.len(), 2);
    assert_eq!(reassembler.drops().total(), 0);
}

#[test]
fn a_contradiction_is_counted_once() {
    // Enough for the third packet alone.
    let max_bytes = size_of::<Packet>() + 1024 + 70;
    let mut reassembler = Reassembler::new(IpReassemblyLimits { max_bytes, ..Default::default() });
    assert_eq!(reassembler.push(MS, fragment(1, 0, true, &[1; 8])), Ok(None));
    assert_eq!(reassembler.push(MS, fragment(1, 0, true, &[2; 8])), Err(FrameDrop::FragmentOverlap));
    assert_eq!(reassembler.push(MS, fragment(2, 0, true, &[1; 8])), Ok(None));
    // Room is made by giving up both, of which the first has been reported.
    assert_eq!(reassembler.push(MS, fragment(3, 0, true, &[1; 1024])), Ok(None));
    assert_eq!(reassembler.waiting.len(), 1);
    assert_eq!(reassembler.drops().total(), 1);
    assert_eq!(reassembler.drops().get(FrameDrop::OverCap), 1);
}

#[test]
fn packets_differ_by_any_part_of_their_key() {
    let of = |source: u8, destination: u8, identification: u16| Key {
        source: Ipv4Addr::new(10, 0, 0, source),
        destination: Ipv4Addr::new(239, 0, 0, destination),
        identification,
    };
    let keys = [of(1, 1, 1), of(2, 1, 1), of(1, 2, 1), of(1, 1, 2)];
    let mut reassembler = reassembler();
    for (index, key) in keys.into_iter().enumerate() {
        let fragment = Fragment { key, offset: 0, more_follow: true, bytes: &[index as u8; 8] };
        assert_eq!(reassembler.push(MS, fragment), Ok(None));
    }
    for (index, key) in keys.into_iter().enumerate() {
        let fragment = Fragment { key, offset: 8, more_follow: false, bytes: &[index as u8; 8] };
        assert_eq!(reassembler.push(MS, fragment), Ok(Some(&[index as u8; 16][..])));
    }
}

#[test]
fn in_order_fragments_of_later_packets_allocate_nothing() {
    let mut reassembler = reassembler();
    let bytes = vec![7; 65_515];
    let mut sizes = Vec::new();
    for identification in 0..8 {
        for (index, chunk) in bytes.chunks(1480).enumerate() {
            let offset = index * 1480;
            let more_follow = offset + chunk.len() < bytes.len();
            let result = reassembler.push(MS, fragment(identification, offset, more_follow, chunk));
            assert_eq!(result.map(|packet| packet.is_some()), Ok(!more_follow));
        }
        sizes.push(reassembler.buffered_bytes());
    }
    // One buffer is returned while the next packet fills another.
    assert!((2 * 65_515..140_000).contains(&sizes[1]), "{}", sizes[1]);
    assert_eq!(sizes[1..], [sizes[1]; 7]);
}

/// The reassembly in its simplest form: a value for each place.
#[derive(Default)]
struct Model {
    packets: Vec<ModelPacket>,
    expired: u64,
    over_cap: u64,
}

struct ModelPacket {
    key: Key,
    bytes: BTreeMap<usize, u8>,
    len: Option<usize>,
    progress: Duration,
    is_contradictory: bool,
}

impl Model {
    fn push(
        &mut self,
        limits: &IpReassemblyLimits,
        now: Duration,
        fragment: &Fragment<'_>,
    ) -> Result<Option<Vec<u8>>, FrameDrop> {
        let stale = |packet: &ModelPacket| now - packet.progress >= limits.timeout;
        let end = fragment.offset + fragment.bytes.len();
        if fragment.bytes.is_empty() || end > 65_515 || (fragment.more_follow && !end.is_multiple_of(8)) {
            return Err(FrameDrop::BadFragment);
        }
        let known = self.packets.iter().position(|packet| packet.key == fragment.key && !stale(packet));
        let index = known.unwrap_or_else(|| {
            self.expire(limits, now);
            if self.packets.len() == limits.max_packets {
                self.over_cap += u64::from(!self.packets.remove(0).is_contradictory);
            }
            self.packets.push(ModelPacket {
                key: fragment.key,
                bytes: BTreeMap::new(),
                len: None,
                progress: now,
                is_contradictory: false,
            });
            self.packets.len() - 1
        });
        let packet = &mut self.packets[index];
        if packet.is_contradictory {
            return Ok(None);
        }
        let new_len = if fragment.more_follow { packet.len } else { Some(end) };
        let mut places = packet.bytes.clone();
        places.extend((fragment.offset..).zip(fragment.bytes.iter().copied()));
        let differs = packet.bytes.iter().any(|(place, byte)| places[place] != *byte);
        let beyond = new_len.is_some_and(|len| places.keys().any(|place| *place >= len));
        if differs || beyond || (packet.len.is_some() && new_len != packet.len) {
            packet.is_contradictory = true;
            packet.progress = now;
            return Err(FrameDrop::FragmentOverlap);
        }
        if places.len() > packet.bytes.len() {
            packet.progress = now;
        }
        (packet.bytes, packet.len) = (places, new_len);
        if packet.len == Some(packet.bytes.len()) {
            return Ok(Some(self.packets.remove(index).bytes.into_values().collect()));
        }
        Ok(None)
    }

    fn expire(&mut self, limits: &IpReassemblyLimits, now: Duration) {
        self.packets.retain(|packet| {
            let is_stale = now - packet.progress >= limits.timeout;
            self.expired += u64::from(is_stale && !packet.is_contradictory);
            !is_stale
        });
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Push { identification: u16, variant: u8, base: usize, unit: usize, len: usize, more_follow: bool },
    Wait(u64),
    Expire,
}

fn operation() -> impl Strategy<Value = Operation> {
    // Few keys and few places, so that fragments meet; two contents per key, so that some contradict. The second base
    // is where the largest packet ends.
    let push =
        (prop_oneof![Just(0), Just(1), Just(u16::MAX)], 0..12_u8, 0..10_usize, 0..60_usize, any::<bool>())
            .prop_flat_map(|(identification, variant, unit, len, more_follow)| {
                let len = if more_follow { len.next_multiple_of(8) } else { len };
                let base = prop_oneof![9 => Just(0), 1 => Just(65_440)];
                base.prop_map(move |base| Operation::Push {
                    identification,
                    variant: u8::from(variant == 0),
                    base,
                    unit,
                    len,
                    more_follow,
                })
            });
    prop_oneof![40 => push, 2 => (0..15_u64).prop_map(Operation::Wait), 1 => Just(Operation::Expire)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn agrees_with_the_model(operations in vec(operation(), 1..120), max_packets in 1..4_usize) {
        let limits = IpReassemblyLimits { max_packets, timeout: 20 * MS, ..Default::default() };
        let (mut real, mut model) = (Reassembler::new(limits), Model::default());
        let mut now = Duration::ZERO;
        for operation in operations {
            match operation {
                Operation::Push { identification, variant, base, unit, len, more_follow } => {
                    let offset = base + unit * 8;
                    let bytes: Vec<u8> = (offset..offset + len).map(|place| place as u8 ^ (variant << 7)).collect();
                    let fragment = fragment(identification, offset, more_follow, &bytes);
                    let expected = model.push(&limits, now, &fragment);
                    prop_assert_eq!(real.push(now, fragment).map(|packet| packet.map(<[u8]>::to_vec)), expected);
                }
                Operation::Wait(ms) => now += Duration::from_millis(ms),
                Operation::Expire => {
                    real.expire(now);
                    model.expire(&limits, now);
                }
            }
            prop_assert_eq!(real.drops().get(FrameDrop::Expired), model.expired);
            prop_assert_eq!(real.drops().get(FrameDrop::OverCap), model.over_cap);
        }
    }

    /// Whatever comes, the memory stays within the cap, and what is completed nevertheless is right.
    #[test]
    fn stays_within_its_memory(
        fragments in vec((0..6_u16, 0..40_usize, 1..12_usize), 1..300),
        max_bytes in 200..4000_usize,
    ) {
        const LEN: usize = 350;
        let mut reassembler = Reassembler::new(IpReassemblyLimits { max_bytes, ..Default::default() });
        let packet = |identification: u16| -> Vec<u8> {
            (0..LEN).map(|place| (place as u8).wrapping_mul(31) ^ identification as u8).collect()
        };
        for (identification, unit, units) in fragments {
            let whole = packet(identification);
            let (offset, end) = (unit * 8, (unit + units) * 8);
            let more_follow = end < LEN;
            let fragment = fragment(identification, offset, more_follow, &whole[offset..end.min(LEN)]);
            if let Ok(Some(done)) = reassembler.push(MS, fragment) {
                prop_assert_eq!(done, &whole[..]);
            }
            prop_assert!(reassembler.buffered_bytes() <= max_bytes);
        }
    }

    /// Packets that fit are delivered, in whatever pieces and order they come.
    #[test]
    fn complete_packets_are_delivered(
        lens in vec(1..3000_usize, 1..6),
        cuts in vec((any::<Index>(), any::<Index>(), any::<Index>()), 0..60),
        order in any::<u64>(),
    ) {
        let mut fragments: Vec<(usize, usize, usize)> = Vec::new();
        let units = lens.iter().map(|len| len.div_ceil(8)).collect::<Vec<_>>();
        for (index, units) in units.iter().enumerate() {
            // The cuts that fell to this packet, and pieces across them that overlap.
            let mine = cuts.iter().filter(|(which, ..)| which.index(lens.len()) == index);
            let mut ends = vec![0, *units];
            for (_, from, to) in mine {
                let (from, to) = (from.index(*units), to.index(*units));
                ends.push(from);
                if from < to {
                    fragments.push((index, from, to));
                }
            }
            ends.sort_unstable();
            ends.dedup();
            fragments.extend(ends.windows(2).map(|pair| (index, pair[0], pair[1])));
        }
        fragments.extend(fragments.clone().into_iter().step_by(3));
        fastrand::Rng::with_seed(order).shuffle(&mut fragments);

        let mut reassembler = reassembler();
        let mut delivered = vec![0; lens.len()];
        for (index, from, to) in fragments {
            let whole: Vec<u8> = (0..lens[index]).map(|place| (place * 31 + index) as u8).collect();
            let bytes = &whole[from * 8..(to * 8).min(whole.len())];
            let more_follow = to < units[index];
            let result = reassembler.push(MS, fragment(index as u16, from * 8, more_follow, bytes));
            if let Some(done) = result.map_err(|reason| TestCaseError::fail(reason.to_string()))? {
                prop_assert_eq!(done, &whole[..]);
                delivered[index] += 1;
            }
        }
        prop_assert!(delivered.iter().all(|times| *times > 0), "{:?}", delivered);
    }
}
