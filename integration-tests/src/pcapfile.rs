//! A minimal reader of capture files: Ethernet, IPv4 with its fragments put together, UDP.

use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use etherparse::defrag::IpDefragPool;
use etherparse::{NetSlice, SlicedPacket, UdpSlice};

/// Of the file header, see draft-ietf-opsawg-pcap: the magic number for little-endian microseconds.
const MAGIC: u32 = 0xa1b2_c3d4;
/// The length of the file header.
const FILE_HEADER_LEN: usize = 24;
/// The length of the header in front of each packet.
const PACKET_HEADER_LEN: usize = 16;
/// The link type of Ethernet.
const ETHERNET: u32 = 1;

/// A UDP datagram of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// When its last packet was captured, since the Unix epoch.
    pub time: Duration,
    /// The sender.
    pub source: SocketAddrV4,
    /// The receiver, often a group.
    pub destination: SocketAddrV4,
    /// The UDP payload.
    pub bytes: Vec<u8>,
    /// Whether it came in several IPv4 fragments.
    pub was_fragmented: bool,
}

/// The path of one of the captures that belong to the tests.
pub fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(name)
}

/// Reads all UDP datagrams of a capture file, in the order in which they were completed.
///
/// # Panics
/// When the file is not a whole little-endian capture of Ethernet, or a packet in it is damaged or incomplete.
pub fn read(path: &Path) -> Vec<Datagram> {
    let file = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(word(&file, 0), MAGIC, "{} is no capture in microseconds", path.display());
    assert_eq!(word(&file, 20), ETHERNET, "{} is not of Ethernet", path.display());

    let mut pool = IpDefragPool::<Duration, ()>::new();
    let mut datagrams = Vec::new();
    let mut rest = &file[FILE_HEADER_LEN..];
    while !rest.is_empty() {
        let time = Duration::new(word(rest, 0).into(), word(rest, 4) * 1000);
        let captured_len = word(rest, 8) as usize;
        assert_eq!(word(rest, 8), word(rest, 12), "a packet was cut when it was captured");
        let (packet, behind) = rest[PACKET_HEADER_LEN..].split_at(captured_len);
        rest = behind;
        datagrams.extend(parse(packet, time, &mut pool));
    }
    pool.retain(|time| panic!("the datagram of {time:?} misses IPv4 fragments"));
    datagrams
}

fn parse(packet: &[u8], time: Duration, pool: &mut IpDefragPool<Duration, ()>) -> Option<Datagram> {
    let sliced = SlicedPacket::from_ethernet(packet).expect("a valid packet");
    let Some(NetSlice::Ipv4(ip)) = &sliced.net else {
        return None;
    };
    let header = ip.header();
    let joined;
    let was_fragmented = ip.is_payload_fragmented();
    let payload = if was_fragmented {
        joined = pool.process_sliced_packet(&sliced, time, ()).expect("valid IPv4 fragments")?;
        joined.payload.as_slice()
    } else {
        ip.payload().payload
    };
    if header.protocol() != etherparse::IpNumber::UDP {
        return None;
    }
    let udp = UdpSlice::from_slice(payload).expect("a valid UDP header");
    Some(Datagram {
        time,
        source: SocketAddrV4::new(Ipv4Addr::from(header.source()), udp.source_port()),
        destination: SocketAddrV4::new(Ipv4Addr::from(header.destination()), udp.destination_port()),
        bytes: udp.payload().to_vec(),
        was_fragmented,
    })
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..at + 4).expect("a whole capture file");
    u32::from_le_bytes(word.try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_fragments_together() {
        let datagrams = read(&capture("ecal-6.1.1-network-large.pcap"));
        let largest = datagrams.iter().max_by_key(|datagram| datagram.bytes.len()).expect("some datagrams");
        assert!(largest.was_fragmented);
        assert_eq!(largest.bytes.len(), 65_507);
        assert_eq!(largest.bytes[..4], *b"ECAL");
        assert!(datagrams.iter().any(|datagram| !datagram.was_fragmented));
    }
}
