//! What an interface of the first host carries.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Instant;

use etherparse::{Ipv4Slice, NetSlice, SlicedPacket};
use ferrocal_pcap_lazy::pcap::{self, Active, Capture};

use crate::process::HANG;

/// A capture of all that an interface carries, in both directions.
pub struct Wiretap {
    capture: Capture<Active>,
    interface: String,
}

/// An IPv4 packet, or a fragment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The sender.
    pub source: Ipv4Addr,
    /// Where it is sent.
    pub destination: Ipv4Addr,
    /// Its time to live.
    pub ttl: u8,
    /// The number of its protocol, such as 17 for UDP.
    pub protocol: u8,
    /// The port it is sent to, if it is the start of a UDP datagram.
    pub port: Option<u16>,
}

/// The discard protocol, RFC 863.
const MARK_PORT: u16 = 9;

impl Wiretap {
    /// Begins to capture.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn new(interface: &str) -> Self {
        let open =
            || Capture::from_device(interface)?.immediate_mode(true).timeout(2).buffer_size(64 << 20).open();
        let capture = open().unwrap_or_else(|error| panic!("{interface}: {error}"));
        Self { capture, interface: interface.to_owned() }
    }

    /// The IPv4 packets so far. All that was sent before this call is among them: it sends one more itself, by the
    /// interface's address `from` to `to`, such as that of broadcast, and waits for that.
    ///
    /// # Panics
    /// When that one is not seen.
    pub fn packets(mut self, from: Ipv4Addr, to: Ipv4Addr) -> Vec<Packet> {
        let socket = UdpSocket::bind(SocketAddrV4::new(from, 0)).expect("a socket of the interface");
        socket.set_broadcast(true).expect("it may broadcast");
        socket.send_to(b"mark", SocketAddrV4::new(to, MARK_PORT)).expect("it is sent");
        let start = Instant::now();
        let mut packets = Vec::new();
        loop {
            let packet = match self.capture.next_packet() {
                Ok(packet) => parse(packet.data),
                Err(pcap::Error::TimeoutExpired) => None,
                Err(error) => panic!("{}: {error}", self.interface),
            };
            match packet {
                Some(packet) if packet.port == Some(MARK_PORT) => return packets,
                packet => packets.extend(packet),
            }
            assert!(start.elapsed() < HANG, "the mark is not seen on {}", self.interface);
        }
    }
}

fn parse(frame: &[u8]) -> Option<Packet> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { return None };
    let header = ip.header();
    Some(Packet {
        source: header.source_addr(),
        destination: header.destination_addr(),
        ttl: header.ttl(),
        protocol: header.protocol().0,
        port: port(ip),
    })
}

fn port(ip: &Ipv4Slice<'_>) -> Option<u16> {
    let header = ip.header();
    let starts = header.fragments_offset().value() == 0;
    let port = ip
        .payload()
        .payload
        .get(2..4)
        .filter(|_| starts && header.protocol() == etherparse::IpNumber::UDP)?;
    Some(u16::from_be_bytes([port[0], port[1]]))
}
