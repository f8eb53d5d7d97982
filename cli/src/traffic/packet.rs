//! What a frame holds, as far as it matters here.

use std::net::Ipv4Addr;

use etherparse::{IpNumber, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use ferrocal_proto::{HEADER_LEN, Header};

/// What a frame begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    Ethernet,
    /// So many bytes come before the IP packet.
    Ip(usize),
}

impl Link {
    /// By the number of libpcap (DLT).
    pub(crate) fn from_dlt(dlt: i32) -> Option<Self> {
        Some(match dlt {
            1 => Self::Ethernet,
            // Loopback of Npcap and BSD: the address family.
            0 | 108 => Self::Ip(4),
            12 | 14 | 101 | 228 => Self::Ip(0),
            113 => Self::Ip(16),
            276 => Self::Ip(20),
            _ => return None,
        })
    }
}

/// An IPv4 packet, or a fragment of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) content: Content<'a>,
}

/// What a packet holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content<'a> {
    /// A datagram, or its first fragment.
    Udp {
        source_port: u16,
        destination_port: u16,
        /// What was captured of it.
        payload: &'a [u8],
        /// If it is the first fragment of several.
        fragmented: Option<Fragment>,
    },
    /// A later fragment of a datagram.
    Fragment(Fragment),
    Other,
}

/// A fragment of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The number that all fragments of a packet have.
    pub(crate) id: u16,
    /// Where its bytes lie, in the packet without its header.
    pub(crate) start: usize,
    pub(crate) len: usize,
    pub(crate) is_last: bool,
}

impl<'a> Packet<'a> {
    /// None if the frame holds no IPv4.
    pub(crate) fn parse(link: Link, frame: &'a [u8]) -> Option<Self> {
        let sliced = match link {
            Link::Ethernet => LaxSlicedPacket::from_ethernet(frame).ok()?,
            Link::Ip(start) => LaxSlicedPacket::from_ip(frame.get(start..)?).ok()?,
        };
        let Some(LaxNetSlice::Ipv4(ip)) = &sliced.net else { return None };
        let header = ip.header();
        let is_first = header.fragments_offset().value() == 0;
        let is_fragmented = ip.is_payload_fragmented();
        let fragment = Fragment {
            id: header.identification(),
            start: usize::from(header.fragments_offset().value()) * 8,
            // What was captured may be shorter.
            len: usize::from(header.total_len()).saturating_sub(header.slice().len()),
            is_last: !header.more_fragments(),
        };
        let content = match &sliced.transport {
            Some(TransportSlice::Udp(udp)) => Content::Udp {
                source_port: udp.source_port(),
                destination_port: udp.destination_port(),
                payload: udp.payload(),
                fragmented: None,
            },
            // A transport is not looked for in fragments.
            _ if is_fragmented && ip.payload_ip_number() == IpNumber::UDP => {
                let bytes: &'a [u8] = ip.payload().payload;
                match bytes.split_first_chunk::<8>() {
                    Some((header, payload)) if is_first => Content::Udp {
                        source_port: u16::from_be_bytes([header[0], header[1]]),
                        destination_port: u16::from_be_bytes([header[2], header[3]]),
                        payload,
                        fragmented: Some(fragment),
                    },
                    _ => Content::Fragment(fragment),
                }
            }
            _ => Content::Other,
        };
        Some(Self { source: header.source_addr(), destination: header.destination_addr(), content })
    }
}

/// Splits a datagram of eCAL, or what is there of one: in the first packet of several, fewer bytes follow than the header
/// says.
pub(crate) fn split_datagram(datagram: &[u8]) -> Option<(Header, &[u8])> {
    if let Ok(parsed) = Header::parse(datagram) {
        return Some(parsed);
    }
    let (start, content) = datagram.split_first_chunk::<HEADER_LEN>()?;
    // The last four bytes tell the length.
    let mut start = *start;
    start[20..].fill(0);
    Header::parse(&start).ok().map(|(header, _)| (header, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_datagrams_and_fragments_are_told_apart() {
        let header = |fragment: [u8; 2]| {
            let [high, low] = fragment;
            let mut bytes =
                vec![0x45, 0, 0, 36, 0x12, 0x34, high, low, 3, 17, 0, 0, 10, 0, 0, 1, 239, 0, 0, 1];
            bytes.extend([0x36, 0xb0, 0x36, 0xb2, 0, 16, 0, 0]);
            bytes.extend(b"datagram");
            bytes
        };
        let content = |bytes: &[u8]| match Packet::parse(Link::Ip(0), bytes).unwrap().content {
            Content::Udp { source_port, destination_port, payload, fragmented } => {
                assert_eq!((source_port, destination_port, payload), (14_000, 14_002, &b"datagram"[..]));
                fragmented
            }
            Content::Fragment(fragment) => Some(fragment),
            Content::Other => None,
        };
        assert_eq!(content(&header([0, 0])), None);
        let first = Fragment { id: 0x1234, start: 0, len: 16, is_last: false };
        assert_eq!(content(&header([0x20, 0])), Some(first));
        assert_eq!(content(&header([0x20, 1])), Some(Fragment { start: 8, ..first }));
        assert_eq!(content(&header([0, 2])), Some(Fragment { start: 16, is_last: true, ..first }));
        let mut tcp = header([0, 0]);
        tcp[9] = 6;
        assert_eq!(Packet::parse(Link::Ip(0), &tcp).unwrap().content, Content::Other);
        for len in 0..header([0, 0]).len() {
            let _ = Packet::parse(Link::Ethernet, &header([0, 0])[..len]);
            let _ = Packet::parse(Link::Ip(4), &header([0, 0])[..len]);
        }
    }
}
