use std::net::Ipv4Addr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::MAX_DATAGRAM_LEN;
use crate::frame::{Emit, multicast_mac};

const LINKS: [LinkType; 6] = [
    LinkType::Ethernet,
    LinkType::Null,
    LinkType::Loop,
    LinkType::LinuxSll,
    LinkType::LinuxSll2,
    LinkType::Raw,
];
const NOW: Duration = Duration::from_secs(1);
const SOURCE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 40_000);
const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 0, 0, 1), 14_002);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const IP_AT: usize = 14;
const UDP_AT: usize = IP_AT + 20;

fn emit(link: LinkType, mtu: usize, identification: u16) -> Emit {
    Emit {
        source_mac: MAC,
        destination_mac: multicast_mac(*GROUP.ip()),
        source: SOURCE,
        destination: GROUP,
        ttl: 3,
        identification,
        mtu,
        link,
    }
}

fn frames(emit: &Emit, payload: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    emit.frames([payload, &[], &[]], &mut Vec::new(), |frame| frames.push(frame.to_vec()));
    frames
}

fn payload(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|place| (place * 31 + place / 256 + seed) as u8).collect()
}

fn decoder() -> Decoder {
    Decoder::new(&[GROUP.port()], IpReassemblyLimits::default())
}

/// One Ethernet frame, decoded by a decoder of its own.
fn decoded(frame: &[u8]) -> Result<Option<Vec<u8>>, FrameDrop> {
    decoder()
        .decode(NOW, LinkType::Ethernet, frame, frame.len())
        .map(|udp| udp.map(|udp| udp.payload.to_vec()))
}

/// An Ethernet frame with the payload `abc`.
fn abc() -> Vec<u8> {
    frames(&emit(LinkType::Ethernet, 1500, 7), b"abc").remove(0)
}

#[test]
fn what_was_emitted_is_decoded() {
    for mtu in [68, 576, 1500, 9000] {
        let fragment_len = (mtu - 20) / 8 * 8;
        let boundaries =
            [0, mtu - 28, fragment_len - 8, 2 * fragment_len - 8, 5 * fragment_len - 8, MAX_DATAGRAM_LEN];
        let lens = boundaries.into_iter().flat_map(|len| len.saturating_sub(9)..=len + 9);
        for (identification, len) in (0..).zip(lens.filter(|len| *len <= MAX_DATAGRAM_LEN)) {
            let link = LINKS[len % LINKS.len()];
            let payload = payload(len, mtu);
            let mut decoder = decoder();
            let frames = frames(&emit(link, mtu, identification), &payload);
            let (last, before) = frames.split_last().expect("at least one frame");
            for frame in before {
                assert_eq!(decoder.decode(NOW, link, frame, frame.len()), Ok(None));
            }
            let mac_at = match link {
                LinkType::Ethernet | LinkType::LinuxSll => Some(6),
                LinkType::LinuxSll2 => Some(12),
                _ => None,
            };
            assert!(mac_at.is_none_or(|at| last[at..].starts_with(&MAC)));
            let expected = Udp { source: SOURCE, destination: GROUP, payload: &payload, identification };
            assert_eq!(
                decoder.decode(NOW, link, last, last.len()),
                Ok(Some(expected)),
                "{link:?} {mtu} {len}"
            );
            assert_eq!(before.is_empty(), len + 28 <= mtu, "{mtu} {len}");
        }
    }
}

#[test]
fn datagrams_to_other_ports_are_passed_over_and_no_loss() {
    let other = Emit { destination: SocketAddrV4::new(*GROUP.ip(), 9), ..emit(LinkType::Ethernet, 1500, 7) };
    for len in [3, 5000] {
        let frames = frames(&other, &payload(len, 0));
        for first in 0..frames.len() {
            let mut decoder = decoder();
            let (late, early) = frames.split_at(first);
            for frame in [early, late].concat() {
                assert_eq!(decoder.decode(NOW, LinkType::Ethernet, &frame, frame.len()), Ok(None));
            }
            decoder.expire(Duration::MAX);
            assert_eq!(decoder.drops().total(), 0, "{len} {first}");
        }
    }
}

#[test]
fn padding_is_cut_off() {
    let mut frame = abc();
    frame.resize(60, 0xee);
    assert_eq!(decoded(&frame), Ok(Some(b"abc".to_vec())));
}

#[test]
fn options_are_skipped() {
    let mut frame = abc();
    frame[IP_AT] = 0x47;
    frame[IP_AT + 3] += 8;
    frame.splice(UDP_AT..UDP_AT, [0x94, 4, 0, 0, 1, 1, 1, 0]);
    assert_eq!(decoded(&frame), Ok(Some(b"abc".to_vec())));
    for len in IP_AT..frame.len() {
        assert_eq!(decoded(&frame[..len]), Err(FrameDrop::Truncated), "{len}");
    }
}

#[test]
fn packets_without_a_length_reach_to_the_end() {
    let mut frame = abc();
    frame[IP_AT + 2..IP_AT + 4].fill(0);
    assert_eq!(decoded(&frame), Ok(Some(b"abc".to_vec())));
    let cut = decoder().decode(NOW, LinkType::Ethernet, &frame, frame.len() + 1).map(|_| ());
    assert_eq!(cut, Err(FrameDrop::Cut));
    // Padding could not be distinguished from payload.
    frame[IP_AT + 6] = 0x20;
    assert_eq!(decoded(&frame), Err(FrameDrop::BadIpHeader));
}

#[test]
fn a_snap_length_may_cut_padding_only() {
    let frame = abc();
    let mut decoder = decoder();
    assert!(decoder.decode(NOW, LinkType::Ethernet, &frame, 60).is_ok_and(|udp| udp.is_some()));
    let cut = &frame[..frame.len() - 1];
    assert_eq!(decoder.decode(NOW, LinkType::Ethernet, cut, frame.len()), Err(FrameDrop::Cut));
}

#[test]
fn foreign_frames_are_no_drops() {
    let mut tcp = abc();
    tcp[IP_AT + 9] = 6;
    assert_eq!(decoded(&tcp), Ok(None));
    let mut fragment_of_icmp = tcp;
    fragment_of_icmp[IP_AT + 6] = 0x20;
    fragment_of_icmp[IP_AT + 9] = 1;
    assert_eq!(decoded(&fragment_of_icmp), Ok(None));
    let mut arp = abc();
    arp[13] = 6;
    assert_eq!(decoded(&arp), Ok(None));
}

#[test]
fn headers_that_contradict_themselves_are_told() {
    for (at, value) in [(0, 0x55), (0, 0x44), (3, 19)] {
        let mut frame = abc();
        frame[IP_AT + at] = value;
        assert_eq!(decoded(&frame), Err(FrameDrop::BadIpHeader), "{at} {value}");
    }
}

#[test]
fn checksums_left_to_the_network_card_are_no_matter() {
    let mut frame = abc();
    frame[IP_AT + 10..IP_AT + 12].copy_from_slice(&[0, 0]);
    frame[UDP_AT + 6..UDP_AT + 8].copy_from_slice(&[0, 0]);
    assert_eq!(decoded(&frame), Ok(Some(b"abc".to_vec())));
    frame[IP_AT + 10..IP_AT + 12].copy_from_slice(&[1, 2]);
    assert!(decoded(&frame).is_ok());
    frame[UDP_AT + 6..UDP_AT + 8].copy_from_slice(&[1, 2]);
    assert_eq!(decoded(&frame), Err(FrameDrop::BadUdpChecksum));
}

#[test]
fn fragments_of_two_packets_with_one_identification_make_none() {
    let [old, new] = [0, 1].map(|seed| frames(&emit(LinkType::Ethernet, 1500, 7), &payload(2000, seed)));
    let mut decoder = decoder();
    let mut push = |now: Duration, frame: &[u8]| {
        decoder.decode(now, LinkType::Ethernet, frame, frame.len()).map(|udp| udp.is_some())
    };
    // The first part of the old packet was lost.
    assert_eq!(push(NOW, &old[1]), Ok(false));
    assert_eq!(push(NOW, &new[0]), Err(FrameDrop::BadUdpChecksum));
    // Its second part was lost: the first parts contradict each other.
    assert_eq!(push(NOW, &old[0]), Ok(false));
    assert_eq!(push(NOW, &new[0]), Err(FrameDrop::FragmentOverlap));
    assert_eq!(push(NOW, &new[1]), Ok(false));
    // The new packet comes when the old one has expired.
    let later = NOW + IpReassemblyLimits::default().timeout;
    assert_eq!(push(later, &new[0]), Ok(false));
    assert_eq!(push(later, &new[1]), Ok(true));
}

#[test]
fn expiry_and_memory() {
    let frames = frames(&emit(LinkType::Ethernet, 1500, 7), &payload(60_000, 0));
    let mut decoder = decoder();
    for frame in &frames[1..] {
        assert_eq!(decoder.decode(NOW, LinkType::Ethernet, frame, frame.len()), Ok(None));
    }
    assert!((58_000..80_000).contains(&decoder.buffered_bytes()), "{}", decoder.buffered_bytes());
    decoder.expire(NOW + Duration::from_secs(1));
    assert_eq!(decoder.drops().get(FrameDrop::Expired), 1);
}

proptest! {
    /// Datagrams of several senders, their fragments shuffled, some twice, one perhaps lost, identifications wrapping:
    /// all that is whole is delivered, and nothing else.
    #[test]
    fn shuffled_fragments(
        datagrams in vec((0..3_u8, 0..4_000_usize, 68..1600_usize), 1..12),
        first_identification in prop_oneof![Just(u16::MAX), any::<u16>()],
        lost in any::<Index>(),
        seed in any::<u64>(),
    ) {
        let mut sent = Vec::new();
        let mut identifications = [first_identification; 3];
        for (index, (sender, len, mtu)) in datagrams.iter().enumerate() {
            // Each sender counts for itself.
            let identification = &mut identifications[usize::from(*sender)];
            let mut emit = emit(LinkType::Ethernet, *mtu, *identification);
            *identification = identification.wrapping_add(1);
            emit.source.set_ip(Ipv4Addr::new(10, 0, 0, *sender));
            let payload = payload(*len, index);
            for frame in frames(&emit, &payload) {
                sent.push((index, emit, payload.clone(), frame));
            }
        }
        let lost = sent.swap_remove(lost.index(sent.len())).0;
        sent.extend(sent.clone().into_iter().step_by(4));
        fastrand::Rng::with_seed(seed).shuffle(&mut sent);

        let mut decoder = decoder();
        let mut delivered = vec![0; datagrams.len()];
        for (index, emit, payload, frame) in &sent {
            let udp = decoder.decode(NOW, LinkType::Ethernet, frame, frame.len());
            if let Some(udp) = udp.map_err(|reason| TestCaseError::fail(reason.to_string()))? {
                prop_assert_eq!(udp.payload, &payload[..]);
                prop_assert_eq!((udp.source, udp.identification), (emit.source, emit.identification));
                delivered[*index] += 1;
            }
        }
        for (index, times) in delivered.into_iter().enumerate() {
            prop_assert_eq!(times > 0, index != lost, "{}", index);
        }
    }

    /// Nothing panics, whatever comes, and nothing is buffered beyond the limit.
    #[test]
    fn damaged_frames(
        frames_to_damage in vec((0..3_u16, 0..300_usize, 0..LINKS.len()), 1..8),
        damage in vec((any::<Index>(), any::<Index>(), prop_oneof![any::<u8>(), Just(0), Just(255)]), 0..20),
        cuts in vec((any::<Index>(), any::<Index>()), 0..3),
    ) {
        let limits = IpReassemblyLimits { max_bytes: 2000, max_packets: 3, ..Default::default() };
        let mut all = Vec::new();
        for (identification, len, link) in frames_to_damage {
            let link = LINKS[link];
            all.extend(frames(&emit(link, 68, identification), &payload(len, 0)).into_iter().map(|frame| (link, frame)));
        }
        for (frame, at, value) in damage {
            // Headers are where damage matters most.
            let index = frame.index(all.len());
            let frame = &mut all[index].1;
            let len = frame.len().min(48);
            frame[at.index(len)] = value;
        }
        for (frame, len) in cuts {
            let index = frame.index(all.len());
            let frame = &mut all[index].1;
            frame.truncate(len.index(frame.len() + 1).max(1));
        }
        let mut decoder = Decoder::new(&[GROUP.port()], limits);
        for (link, frame) in &all {
            let udp = decoder.decode(NOW, *link, frame, frame.len());
            if let Ok(Some(udp)) = udp {
                prop_assert!(udp.payload.len() <= 400);
            }
            prop_assert!(decoder.buffered_bytes() <= limits.max_bytes);
        }
    }

    #[test]
    fn garbage(frame in vec(any::<u8>(), 0..120), link in prop::sample::select(&LINKS), wire_len in 0..200_usize) {
        let mut decoder = decoder();
        let _ = decoder.decode(NOW, link, &frame, wire_len);
        // An IPv4 header of UDP in front, so that more of it is reached.
        let mut ip = vec![0x45, 0, 0, frame.len() as u8, 0, 0, 0, 0, 1, 17];
        ip.extend(frame);
        let _ = decoder.decode(NOW, LinkType::Raw, &ip, wire_len);
    }
}
