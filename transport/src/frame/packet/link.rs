//! The headers in front of an IPv4 packet, by the link type that a capture states.
//!
//! Layouts: <https://www.tcpdump.org/linktypes.html>.

use super::FrameDrop;

/// The EtherType of IPv4.
const IPV4: u16 = 0x0800;
/// Stands for any other protocol where a link header has no EtherType.
const FOREIGN: u16 = 0;
/// The EtherTypes of VLAN tags: IEEE 802.1Q, 802.1ad, and what came before the latter.
const VLAN_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// The number of IPv4's address family: the same on every system, unlike that of IPv6.
const AF_INET: u32 = 2;
/// The ARP hardware type of Ethernet, which Linux cooked headers state.
const ARPHRD_ETHER: u16 = 1;
/// The Linux cooked packet type of what the capturing host itself sends.
const OUTGOING: u8 = 4;

/// What the frames of a capture begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LinkType {
    /// Ethernet, with VLAN tags or without.
    Ethernet,
    /// An address family in the byte order of the capturing machine: loopback on BSD, macOS and Npcap.
    Null,
    /// An address family in network byte order: loopback on OpenBSD.
    Loop,
    /// Linux "cooked", version 1: the `any` device.
    LinuxSll,
    /// Linux "cooked", version 2.
    LinuxSll2,
    /// Nothing: the frame is an IP packet.
    Raw,
}

impl LinkType {
    /// Returns the link type with a number, be it libpcap's (DLT) or that of capture files (LINKTYPE).
    pub(crate) fn from_dlt(dlt: i32) -> Option<Self> {
        Some(match dlt {
            0 => Self::Null,
            1 => Self::Ethernet,
            // Raw is 12 for libpcap on most systems, 14 on OpenBSD, and 101 in files; 228 says it is IPv4.
            12 | 14 | 101 | 228 => Self::Raw,
            108 => Self::Loop,
            113 => Self::LinuxSll,
            276 => Self::LinuxSll2,
            _ => return None,
        })
    }

    /// Splits the IPv4 packet off that a frame carries. `None` is a frame of another protocol.
    ///
    /// # Errors
    /// [`FrameDrop::Truncated`] when the frame ends within its link header.
    pub(super) fn parse(self, frame: &[u8]) -> Result<Option<&[u8]>, FrameDrop> {
        let (ethertype, packet) = self.split(frame).and_then(skip_vlan_tags).ok_or(FrameDrop::Truncated)?;
        Ok(Some(packet).filter(|_| ethertype == IPV4))
    }

    /// Splits the link header off, and returns its ethertype and what is behind it. `None` if the frame ends within it.
    fn split(self, frame: &[u8]) -> Option<(u16, &[u8])> {
        Some(match self {
            Self::Ethernet => {
                let (header, rest) = frame.split_first_chunk::<14>()?;
                let [.., high, low] = *header;
                (u16::from_be_bytes([high, low]), rest)
            }
            Self::Null | Self::Loop => {
                let (family, rest) = frame.split_first_chunk()?;
                // A capture file may come from a machine of the other byte order; no mirrored family is a valid one.
                let is_ipv4 = u32::from_be_bytes(*family) == AF_INET
                    || (self == Self::Null && u32::from_le_bytes(*family) == AF_INET);
                (if is_ipv4 { IPV4 } else { FOREIGN }, rest)
            }
            Self::LinuxSll => {
                let (header, rest) = frame.split_first_chunk::<16>()?;
                let [.., high, low] = *header;
                (u16::from_be_bytes([high, low]), rest)
            }
            Self::LinuxSll2 => {
                let (header, rest) = frame.split_first_chunk::<20>()?;
                let [high, low, ..] = *header;
                (u16::from_be_bytes([high, low]), rest)
            }
            Self::Raw => {
                let is_ipv6 = frame.first()? >> 4 == 6;
                (if is_ipv6 { FOREIGN } else { IPV4 }, frame)
            }
        })
    }

    /// Appends the header of a frame that carries an IPv4 packet.
    pub(super) fn write_header(self, source_mac: [u8; 6], destination_mac: [u8; 6], buffer: &mut Vec<u8>) {
        match self {
            Self::Ethernet => {
                buffer.extend(destination_mac);
                buffer.extend(source_mac);
                buffer.extend(IPV4.to_be_bytes());
            }
            Self::Null => buffer.extend(AF_INET.to_ne_bytes()),
            Self::Loop => buffer.extend(AF_INET.to_be_bytes()),
            Self::LinuxSll => {
                buffer.extend([0, OUTGOING]);
                buffer.extend(ARPHRD_ETHER.to_be_bytes());
                buffer.extend([0, 6]);
                buffer.extend(source_mac);
                buffer.extend([0, 0]);
                buffer.extend(IPV4.to_be_bytes());
            }
            Self::LinuxSll2 => {
                buffer.extend(IPV4.to_be_bytes());
                buffer.extend([0; 6]);
                buffer.extend(ARPHRD_ETHER.to_be_bytes());
                buffer.extend([OUTGOING, 6]);
                buffer.extend(source_mac);
                buffer.extend([0, 0]);
            }
            Self::Raw => {}
        }
    }
}

/// `None` if the frame ends within a tag.
fn skip_vlan_tags((mut ethertype, mut rest): (u16, &[u8])) -> Option<(u16, &[u8])> {
    while VLAN_TAGS.contains(&ethertype) {
        let ([_, _, high, low], behind) = rest.split_first_chunk()?;
        (ethertype, rest) = (u16::from_be_bytes([*high, *low]), behind);
    }
    Some((ethertype, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

    /// The length of the header and the tags.
    fn parsed(link: LinkType, header: &[u8]) -> Result<Option<usize>, FrameDrop> {
        let frame = [header, &[0x45, 1, 2]].concat();
        let packet = link.parse(&frame)?;
        Ok(packet.map(|packet| {
            let len = frame.len() - packet.len();
            assert_eq!(packet, &frame[len..]);
            len
        }))
    }

    fn ethernet(behind_the_addresses: &[u8]) -> Vec<u8> {
        [&[0xff; 6], &MAC[..], behind_the_addresses].concat()
    }

    #[test]
    fn ethernet_with_and_without_tags() {
        let tagged = |bytes: &[u8]| parsed(LinkType::Ethernet, &ethernet(bytes));
        assert_eq!(tagged(&[0x08, 0]), Ok(Some(14)));
        assert_eq!(tagged(&[0x81, 0, 0x20, 5, 0x08, 0]), Ok(Some(18)));
        assert_eq!(tagged(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 5, 0x08, 0]), Ok(Some(22)));
        assert_eq!(tagged(&[0x81, 0, 0, 7, 0x81, 0, 0, 5, 0x08, 0]), Ok(Some(22)));
        assert_eq!(tagged(&[0x91, 0, 0, 7, 0x81, 0, 0, 5, 0x08, 0]), Ok(Some(22)));
        // IPv6, ARP, a length instead of a type, and ARP in a tag.
        for foreign in [&[0x86, 0xdd][..], &[0x08, 0x06], &[0, 46], &[0x81, 0, 0, 5, 0x08, 0x06]] {
            assert_eq!(tagged(foreign), Ok(None));
        }
    }

    #[test]
    fn loopback_in_either_byte_order() {
        assert_eq!(parsed(LinkType::Null, &[2, 0, 0, 0]), Ok(Some(4)));
        assert_eq!(parsed(LinkType::Null, &[0, 0, 0, 2]), Ok(Some(4)));
        assert_eq!(parsed(LinkType::Loop, &[0, 0, 0, 2]), Ok(Some(4)));
        assert_eq!(parsed(LinkType::Loop, &[2, 0, 0, 0]), Ok(None));
        // IPv6 on macOS and on Windows.
        assert_eq!(parsed(LinkType::Null, &[30, 0, 0, 0]), Ok(None));
        assert_eq!(parsed(LinkType::Null, &[23, 0, 0, 0]), Ok(None));
    }

    #[test]
    fn linux_cooked() {
        let sll = |mac_len: u8, protocol: [u8; 2]| {
            [&[0, 0, 0, 1, 0, mac_len][..], &MAC, &[0, 0], &protocol].concat()
        };
        assert_eq!(parsed(LinkType::LinuxSll, &sll(6, [8, 0])), Ok(Some(16)));
        assert_eq!(parsed(LinkType::LinuxSll, &sll(0, [8, 0])), Ok(Some(16)));
        assert_eq!(parsed(LinkType::LinuxSll, &sll(6, [8, 6])), Ok(None));
        let tagged = [sll(6, [0x81, 0]), vec![0, 5, 8, 0]].concat();
        assert_eq!(parsed(LinkType::LinuxSll, &tagged), Ok(Some(20)));

        let sll2 = |mac_len: u8, protocol: [u8; 2]| {
            [&protocol[..], &[0, 0, 0, 0, 0, 3, 0, 1, 0, mac_len], &MAC, &[0, 0]].concat()
        };
        assert_eq!(parsed(LinkType::LinuxSll2, &sll2(6, [8, 0])), Ok(Some(20)));
        assert_eq!(parsed(LinkType::LinuxSll2, &sll2(0, [8, 0])), Ok(Some(20)));
        assert_eq!(parsed(LinkType::LinuxSll2, &sll2(6, [0x86, 0xdd])), Ok(None));
    }

    #[test]
    fn raw() {
        assert_eq!(parsed(LinkType::Raw, &[]), Ok(Some(0)));
        assert_eq!(parsed(LinkType::Raw, &[0x60]), Ok(None));
        // Neither IPv4 nor IPv6, which the IPv4 parser finds out.
        assert_eq!(parsed(LinkType::Raw, &[0x10]), Ok(Some(0)));
    }

    #[test]
    fn short_frames_are_told() {
        let tagged = ethernet(&[0x81, 0, 0, 5, 0x08, 0]);
        for len in 0..tagged.len() {
            assert_eq!(LinkType::Ethernet.parse(&tagged[..len]).err(), Some(FrameDrop::Truncated), "{len}");
        }
        for (link, header_len) in [
            (LinkType::Null, 4),
            (LinkType::Loop, 4),
            (LinkType::LinuxSll, 16),
            (LinkType::LinuxSll2, 20),
            (LinkType::Raw, 1),
        ] {
            for len in 0..header_len {
                assert_eq!(link.parse(&[0; 20][..len]).err(), Some(FrameDrop::Truncated), "{link:?} {len}");
            }
            assert!(link.parse(&[0; 20][..header_len]).is_ok());
        }
    }

    #[test]
    fn numbers_of_libpcap_and_of_files() {
        assert_eq!(LinkType::from_dlt(1), Some(LinkType::Ethernet));
        assert_eq!(LinkType::from_dlt(0), Some(LinkType::Null));
        assert_eq!(LinkType::from_dlt(108), Some(LinkType::Loop));
        assert_eq!(LinkType::from_dlt(113), Some(LinkType::LinuxSll));
        assert_eq!(LinkType::from_dlt(276), Some(LinkType::LinuxSll2));
        for raw in [12, 14, 101, 228] {
            assert_eq!(LinkType::from_dlt(raw), Some(LinkType::Raw));
        }
        // Wi-Fi with radiotap.
        assert_eq!(LinkType::from_dlt(127), None);
    }
}
