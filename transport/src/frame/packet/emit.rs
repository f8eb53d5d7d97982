//! UDP datagrams -> frames.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::checksum::Sum16BitWords;
use etherparse::ip_number;

use super::{IPV4_HEADER_LEN, LinkType, MAX_IPV4_PAYLOAD_LEN, UDP_HEADER_LEN, udp};

/// The least MTU that IPv4 allows, in bytes (RFC 791).
const MIN_MTU: usize = 68;
/// IPv4 fragments begin at multiples of this many bytes (RFC 791).
const FRAGMENT_UNIT: usize = 8;
/// In the IPv4 header's word of flags and fragment offset: more fragments follow.
const MORE_FRAGMENTS: u16 = 0x2000;

/// Writes a UDP datagram as frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Emit {
    /// The interface's hardware address.
    pub(crate) source_mac: [u8; 6],
    /// The receiver's hardware address; see [`multicast_mac`].
    pub(crate) destination_mac: [u8; 6],
    /// Who sends.
    pub(crate) source: SocketAddrV4,
    /// Where to.
    pub(crate) destination: SocketAddrV4,
    /// How many routers the packet may pass, plus one.
    pub(crate) ttl: u8,
    /// Tells the packet's fragments from those of others; must differ from packet to packet.
    pub(crate) identification: u16,
    /// The most that one frame carries behind its link header, in bytes.
    pub(crate) mtu: usize,
    /// What the frames begin with.
    pub(crate) link: LinkType,
}

impl Emit {
    /// Calls `each` with every frame of the datagram that consists of `parts` behind each other.
    ///
    /// `buffer` is scratch space; passing the same one again saves allocations. A datagram of more than
    /// [`MAX_DATAGRAM_LEN`](crate::MAX_DATAGRAM_LEN) bytes does not exist in IPv4: there is no frame for it.
    pub(crate) fn frames(&self, parts: [&[u8]; 3], buffer: &mut Vec<u8>, mut each: impl FnMut(&[u8])) {
        let datagram_len = UDP_HEADER_LEN + parts.iter().map(|part| part.len()).sum::<usize>();
        let Some(len_field) =
            u16::try_from(datagram_len).ok().filter(|_| datagram_len <= MAX_IPV4_PAYLOAD_LEN)
        else {
            return;
        };
        buffer.clear();
        self.link.write_header(self.source_mac, self.destination_mac, buffer);
        let link_len = buffer.len();
        let headers_len = link_len + IPV4_HEADER_LEN;
        buffer.resize(headers_len, 0);
        buffer.extend(udp::header(self.source.port(), self.destination.port(), len_field));
        for part in parts {
            buffer.extend_from_slice(part);
        }
        udp::set_checksum(*self.source.ip(), *self.destination.ip(), &mut buffer[headers_len..]);

        let room = self.mtu.max(MIN_MTU) - IPV4_HEADER_LEN;
        let fragment_len =
            if datagram_len <= room { datagram_len } else { room / FRAGMENT_UNIT * FRAGMENT_UNIT };
        for offset in (0..datagram_len).step_by(fragment_len) {
            let len = fragment_len.min(datagram_len - offset);
            let header = self.ip_header(offset, len, offset + len < datagram_len);
            // The headers go right in front of what they carry, over bytes of the frame that was passed on before.
            buffer.copy_within(..link_len, offset);
            buffer[offset + link_len..][..IPV4_HEADER_LEN].copy_from_slice(&header);
            each(&buffer[offset..offset + headers_len + len]);
        }
    }

    /// Returns the IPv4 header of the fragment with `len` bytes from `offset` on.
    fn ip_header(&self, offset: usize, len: usize, more_follow: bool) -> [u8; IPV4_HEADER_LEN] {
        // Neither is beyond 16 bits: a packet was checked to be within 65535 bytes.
        let [len_high, len_low] = ((IPV4_HEADER_LEN + len) as u16).to_be_bytes();
        let units = (offset / FRAGMENT_UNIT) as u16;
        let [offset_high, offset_low] = (units | if more_follow { MORE_FRAGMENTS } else { 0 }).to_be_bytes();
        let [id_high, id_low] = self.identification.to_be_bytes();
        let [s0, s1, s2, s3] = self.source.ip().octets();
        let [d0, d1, d2, d3] = self.destination.ip().octets();
        #[rustfmt::skip]
        let mut header = [
            // Version 4, a header of five words.
            0x45, 0, len_high, len_low,
            id_high, id_low, offset_high, offset_low,
            self.ttl, ip_number::UDP.0, 0, 0,
            s0, s1, s2, s3,
            d0, d1, d2, d3,
        ];
        let checksum = Sum16BitWords::new().add_slice(&header).ones_complement();
        header[10..12].copy_from_slice(&checksum.to_ne_bytes());
        header
    }
}

/// Returns the hardware address that a multicast group is sent to: its last 23 bits behind a fixed prefix (RFC 1112).
pub(crate) fn multicast_mac(group: Ipv4Addr) -> [u8; 6] {
    let [_, a, b, c] = group.octets();
    [0x01, 0x00, 0x5e, a & 0x7f, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_DATAGRAM_LEN;

    const EMIT: Emit = Emit {
        source_mac: [2, 0, 0, 0, 0, 1],
        destination_mac: [1, 0, 0x5e, 1, 2, 3],
        source: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 40_000),
        destination: SocketAddrV4::new(Ipv4Addr::new(239, 129, 2, 3), 14_002),
        ttl: 3,
        identification: 0x1234,
        mtu: 1500,
        link: LinkType::Ethernet,
    };

    fn frames(emit: &Emit, parts: [&[u8]; 3]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        // What is left of an earlier call does not matter.
        emit.frames(parts, &mut vec![0xee; 100], |frame| frames.push(frame.to_vec()));
        frames
    }

    /// The IPv4 packet, its checksums computed by another program.
    #[rustfmt::skip]
    const PACKET: [u8; 31] = [
        0x45, 0, 0, 31, 0x12, 0x34, 0, 0, 3, 17, 0xaa, 0x15, 10, 0, 0, 1, 239, 129, 2, 3,
        0x9c, 0x40, 0x36, 0xb2, 0, 11, 0x6c, 0xfd, b'a', b'b', b'c',
    ];

    #[test]
    fn layout() {
        let headers: [(LinkType, &[u8]); 6] = [
            (LinkType::Ethernet, &[1, 0, 0x5e, 1, 2, 3, 2, 0, 0, 0, 0, 1, 8, 0]),
            (LinkType::Null, &2_u32.to_ne_bytes()),
            (LinkType::Loop, &[0, 0, 0, 2]),
            (LinkType::LinuxSll, &[0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0]),
            (LinkType::LinuxSll2, &[8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 6, 2, 0, 0, 0, 0, 1, 0, 0]),
            (LinkType::Raw, &[]),
        ];
        for (link, header) in headers {
            let expected = [header, &PACKET].concat();
            for parts in [[&b"abc"[..], b"", b""], [b"", b"a", b"bc"], [b"a", b"b", b"c"]] {
                assert_eq!(frames(&Emit { link, ..EMIT }, parts), [&expected[..]], "{link:?}");
            }
        }
    }

    #[test]
    fn fragments_fill_the_mtu() {
        for (mtu, count) in [(576, 119), (1500, 45), (9000, 8), (65_535, 1)] {
            let datagram = vec![1; MAX_DATAGRAM_LEN];
            let frames = frames(&Emit { mtu, ..EMIT }, [&datagram[..7], &datagram[7..], b""]);
            assert_eq!(frames.len(), count);
            let mut offset = 0;
            for (index, frame) in frames.iter().enumerate() {
                let [_, _, len_high, len_low, id_high, id_low, at_high, at_low, ..] = frame[14..] else {
                    panic!("a header");
                };
                let len = usize::from(u16::from_be_bytes([len_high, len_low]));
                assert_eq!(len + 14, frame.len());
                assert!(len <= mtu);
                assert_eq!([id_high, id_low], [0x12, 0x34]);
                let is_last = index + 1 == count;
                let word = u16::from_be_bytes([at_high, at_low]);
                assert_eq!(word, (offset / 8) as u16 | if is_last { 0 } else { 0x2000 });
                assert_eq!(Sum16BitWords::new().add_slice(&frame[14..34]).ones_complement(), 0);
                assert!(is_last || len + 8 > mtu, "a fragment that could be longer");
                offset += len - 20;
            }
            assert_eq!(offset, MAX_DATAGRAM_LEN + 8);
        }
    }

    #[test]
    fn what_fits_is_not_cut() {
        assert_eq!(frames(&EMIT, [&[1; 1472], b"", b""]).len(), 1);
        assert_eq!(frames(&EMIT, [&[1; 1472], b"1", b""]).len(), 2);
    }

    #[test]
    fn an_impossible_mtu_is_taken_for_the_least() {
        for mtu in [0, 20, 27, 67] {
            assert_eq!(frames(&Emit { mtu, ..EMIT }, [&[1; 500], b"", b""]).len(), 11);
        }
    }

    #[test]
    fn there_are_no_longer_datagrams() {
        let datagram = vec![1; MAX_DATAGRAM_LEN + 1];
        for parts in [[&datagram[..], b"", b""], [&datagram[1..], b"", b"1"]] {
            assert!(frames(&EMIT, parts).is_empty());
        }
    }

    #[test]
    fn multicast_addresses() {
        assert_eq!(multicast_mac(Ipv4Addr::new(239, 0, 0, 1)), [1, 0, 0x5e, 0, 0, 1]);
        assert_eq!(multicast_mac(Ipv4Addr::new(224, 255, 128, 255)), [1, 0, 0x5e, 0x7f, 128, 255]);
    }
}
