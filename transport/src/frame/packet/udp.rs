//! UDP (RFC 768), as it looks in a capture.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::checksum::Sum16BitWords;
use etherparse::{UdpHeaderSlice, ip_number};

use super::{FrameDrop, UDP_HEADER_LEN};

/// Splits the payload of an IPv4 packet into the UDP datagram's addresses and its payload.
///
/// Three kinds of checksum are accepted: a right one, none (0), and an *unfinished* one. A sender that leaves the
/// checksum to its network card puts in the sum of the pseudo header only, and that is what a capture on the sender,
/// on a loopback device or on a virtual card sees.
///
/// # Errors
/// [`FrameDrop::BadUdpLength`], [`FrameDrop::BadUdpChecksum`].
pub(super) fn parse(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    packet: &[u8],
) -> Result<(SocketAddrV4, SocketAddrV4, &[u8]), FrameDrop> {
    let header = UdpHeaderSlice::from_slice(packet).map_err(|_| FrameDrop::BadUdpLength)?;
    let datagram = match usize::from(header.length()) {
        // Offloads merge datagrams to more than the field can state.
        0 => packet,
        len => packet.get(..len).ok_or(FrameDrop::BadUdpLength)?,
    };
    let payload = datagram.get(UDP_HEADER_LEN..).ok_or(FrameDrop::BadUdpLength)?;
    if header.checksum() != 0 {
        let pseudo_header = pseudo_header(source, destination, datagram.len());
        // The sum's bytes are in the order of the packet's, whatever the machine's.
        let is_unfinished = !pseudo_header.ones_complement() == header.checksum().to_be();
        if !is_unfinished && pseudo_header.add_slice(datagram).ones_complement() != 0 {
            return Err(FrameDrop::BadUdpChecksum);
        }
    }
    let source = SocketAddrV4::new(source, header.source_port());
    let destination = SocketAddrV4::new(destination, header.destination_port());
    Ok((source, destination, payload))
}

/// Returns the destination port, if the start of a datagram is long enough to have one.
pub(super) fn destination_port(start: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*start.get(2)?, *start.get(3)?]))
}

/// Returns the header of a UDP datagram whose checksum is yet to be put in by [`set_checksum`].
pub(super) fn header(source_port: u16, destination_port: u16, datagram_len: u16) -> [u8; UDP_HEADER_LEN] {
    let [s0, s1] = source_port.to_be_bytes();
    let [d0, d1] = destination_port.to_be_bytes();
    let [l0, l1] = datagram_len.to_be_bytes();
    [s0, s1, d0, d1, l0, l1, 0, 0]
}

/// Puts the checksum into a UDP datagram that has none.
pub(super) fn set_checksum(source: Ipv4Addr, destination: Ipv4Addr, datagram: &mut [u8]) {
    let sum = pseudo_header(source, destination, datagram.len()).add_slice(datagram);
    if let Some(checksum) = datagram.get_mut(6..UDP_HEADER_LEN) {
        // 0 would mean that there is none.
        checksum.copy_from_slice(&sum.to_ones_complement_with_no_zero().to_ne_bytes());
    }
}

/// Starts the sum over a UDP datagram.
fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, datagram_len: usize) -> Sum16BitWords {
    // Only what offloads merged is longer than 16 bits can state, and no longer than a frame.
    let len = datagram_len as u32;
    Sum16BitWords::new()
        .add_4bytes(source.octets())
        .add_4bytes(destination.octets())
        .add_2bytes([0, ip_number::UDP.0])
        .add_4bytes(len.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const DESTINATION: Ipv4Addr = Ipv4Addr::new(239, 0, 0, 1);

    fn datagram(payload: &[u8]) -> Vec<u8> {
        let len = (UDP_HEADER_LEN + payload.len()) as u16;
        let mut datagram = [&header(1234, 14_002, len)[..], payload].concat();
        set_checksum(SOURCE, DESTINATION, &mut datagram);
        datagram
    }

    fn payload(datagram: &[u8]) -> Result<&[u8], FrameDrop> {
        parse(SOURCE, DESTINATION, datagram).map(|(_, _, payload)| payload)
    }

    /// The sum of 16-bit words as RFC 1071 describes it.
    fn folded_sum(words: &[u16]) -> u16 {
        let sum = words.iter().fold(0_u32, |sum, word| sum + u32::from(*word));
        let once = (sum & 0xffff) + (sum >> 16);
        ((once & 0xffff) + (once >> 16)) as u16
    }

    /// The unfinished checksum of a datagram of this length.
    fn unfinished(len: u16) -> [u8; 2] {
        folded_sum(&[0x0a00, 0x0001, 0xef00, 0x0001, 17, len]).to_be_bytes()
    }

    #[test]
    fn addresses_and_payload() {
        let datagram = datagram(b"abc");
        let (source, destination, payload) = parse(SOURCE, DESTINATION, &datagram).expect("a right checksum");
        assert_eq!(source, SocketAddrV4::new(SOURCE, 1234));
        assert_eq!(destination, SocketAddrV4::new(DESTINATION, 14_002));
        assert_eq!(payload, b"abc");
    }

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        let words = [0x0a00, 0x0001, 0xef00, 0x0001, 17, 11, 1234, 14_002, 11, 0x6162, 0x6300];
        assert_eq!(datagram(b"abc")[6..8], (!folded_sum(&words)).to_be_bytes());
    }

    #[test]
    fn any_wrong_bit_is_noticed() {
        let right = datagram(b"some bytes, an odd number of them, more than a few.");
        assert!(payload(&right).is_ok());
        for bit in 0..right.len() * 8 {
            let mut wrong = right.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let matters = match bit / 8 {
                // A shorter length leaves another sum; a longer one is beyond the end.
                4 | 5 => payload(&wrong).is_err(),
                _ => payload(&wrong) == Err(FrameDrop::BadUdpChecksum),
            };
            assert!(matters, "{bit}");
        }
    }

    #[test]
    fn a_sum_of_zero_is_not_no_checksum() {
        // The payload makes the sum 0xffff, and so the checksum 0, which stands for none and is sent as 0xffff.
        let base = datagram(&[0, 0]);
        let datagram = datagram(&base[6..8]);
        assert_eq!(datagram[6..8], [0xff, 0xff]);
        assert!(payload(&datagram).is_ok());
        let mut wrong = datagram;
        wrong[9] ^= 1;
        assert_eq!(payload(&wrong), Err(FrameDrop::BadUdpChecksum));
    }

    #[test]
    fn no_and_unfinished_checksums_are_accepted() {
        let mut datagram = datagram(b"abc");
        datagram[6..8].copy_from_slice(&[0, 0]);
        assert_eq!(payload(&datagram), Ok(&b"abc"[..]));
        datagram[6..8].copy_from_slice(&unfinished(11));
        assert_eq!(payload(&datagram), Ok(&b"abc"[..]));
        datagram[6..8].copy_from_slice(&unfinished(12));
        assert_eq!(payload(&datagram), Err(FrameDrop::BadUdpChecksum));
    }

    #[test]
    fn lengths() {
        let mut padded = datagram(b"abc");
        padded.extend([9; 20]);
        assert_eq!(payload(&padded), Ok(&b"abc"[..]));
        for len in 0..11 {
            assert_eq!(payload(&padded[..len]), Err(FrameDrop::BadUdpLength), "{len}");
        }
        for len in 1..8 {
            padded[4..6].copy_from_slice(&[0, len]);
            assert_eq!(payload(&padded), Err(FrameDrop::BadUdpLength), "{len}");
        }
        assert_eq!(payload(&datagram(b"")), Ok(&b""[..]));
    }

    #[test]
    fn no_length_means_all() {
        let mut merged = header(1, 2, 0).to_vec();
        merged.extend([5; 100_000]);
        assert_eq!(payload(&merged), Ok(&[5; 100_000][..]));
        set_checksum(SOURCE, DESTINATION, &mut merged);
        assert_eq!(payload(&merged).map(<[u8]>::len), Ok(100_000));
    }
}
