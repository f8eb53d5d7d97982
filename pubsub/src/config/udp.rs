//! The UDP layer's settings.

use std::net::Ipv4Addr;

use ferrocal_proto::HashVersion;
use ferrocal_transport::DEFAULT_RECEIVE_BUFFER_LEN;

use crate::SendPath;

/// The UDP layer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpConfig {
    /// Port of payload (`port`). Default: 14002.
    pub port: u16,
    /// How a topic's multicast group follows from its name (`config_version`). Default: [`HashVersion::V2`].
    pub hash_version: HashVersion,
    /// Which bits of the group base all topics share (`mask`). Default: 255.255.255.240; 0.0.0.15 with
    /// [`HashVersion::V1`] names the bits that differ.
    pub mask: Ipv4Addr,
    /// Destination in local mode (`local`). Default: 127.255.255.255, TTL 1.
    pub local: Destination,
    /// Group base in network mode (`network`). Default: 239.0.0.1, TTL 3.
    pub network: Destination,
    /// Addresses of the interfaces to receive multicast on; the first one also sends. Empty (the default) leaves the
    /// choice to the system's routes. Network mode only. Not in eCAL; `ferrocal.interfaces`.
    pub interfaces: Vec<Ipv4Addr>,
    /// Receive multicast on every interface (`join_all_interfaces`). Default: `false`. Network mode only.
    pub join_all_interfaces: bool,
    /// Whether other programs of this host receive what is sent. Default: `true`. Network mode only. Not in eCAL;
    /// `ferrocal.loopback`.
    pub loopback: bool,
    /// Send buffer to ask of the system, in bytes (`send_buffer`). Default: 5242880.
    pub send_buffer_len: usize,
    /// Receive buffer to ask of the system, in bytes (`receive_buffer`). Default: 16777216, or what the system grants of
    /// that; a real eCAL's is 5242880. A socket takes the memory only while datagrams wait in it. A capture of raw
    /// frames takes twice as much for each interface, from the start.
    ///
    /// A subscriber that does not run for 5 ms, because other programs occupy the processors, loses nothing of 3 GB/s
    /// with the default. Publishers assume that ferrocal's subscribers have as much as the system grants here, and the
    /// real eCAL's at most their default.
    pub receive_buffer_len: usize,
    /// With [`Selection::Auto`](crate::Selection::Auto): prefer raw frames on every system, not on Windows only
    /// (`npcap_enabled`). Default: `false`.
    pub npcap_enabled: bool,
    /// How the raw-frame backend sends. Default: [`SendPath::Socket`]. Not in eCAL; `ferrocal.send`.
    pub send: SendPath,
}

setters!(UdpConfig {
    port: u16,
    hash_version: HashVersion,
    mask: Ipv4Addr,
    local: Destination,
    network: Destination,
    interfaces: Vec<Ipv4Addr>,
    join_all_interfaces: bool,
    loopback: bool,
    send_buffer_len: usize,
    receive_buffer_len: usize,
    npcap_enabled: bool,
    send: SendPath,
});

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            port: 14_002,
            hash_version: HashVersion::V2,
            mask: Ipv4Addr::new(255, 255, 255, 240),
            local: Destination::new(Ipv4Addr::new(127, 255, 255, 255), 1),
            network: Destination::new(Ipv4Addr::new(239, 0, 0, 1), 3),
            interfaces: Vec::new(),
            join_all_interfaces: false,
            loopback: true,
            send_buffer_len: 5_242_880,
            receive_buffer_len: DEFAULT_RECEIVE_BUFFER_LEN,
            npcap_enabled: false,
            send: SendPath::default(),
        }
    }
}

/// An address to send to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Destination {
    /// The IPv4 address (`group`).
    pub group: Ipv4Addr,
    /// Time to live in router hops (`ttl`). With 0, multicast stays on this host.
    pub ttl: u8,
}

impl Destination {
    /// An address and a time to live in router hops.
    pub fn new(group: Ipv4Addr, ttl: u8) -> Self {
        Self { group, ttl }
    }
}

setters!(Destination { group: Ipv4Addr, ttl: u8 });
