//! The UDP layer's settings.

use std::net::Ipv4Addr;

use ferrocal_proto::{HashVersion, MAX_DATAGRAM_LEN};
use ferrocal_transport::DEFAULT_RECEIVE_BUFFER_LEN;

use crate::{InterfaceSelector, SendPath};

/// The UDP layer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpConfig {
    /// Port of payload (`port`). Default: 14002.
    pub port: u16,
    /// How a topic's multicast group follows from its name (`config_version`). Default: [`HashVersion::V2`].
    pub hash_version: HashVersion,
    /// Which bits of the group base all topics share (`mask`); with [`HashVersion::V1`], those that differ. Default:
    /// `None`, which is 255.255.255.240, and with [`HashVersion::V1`] 0.0.0.15: the default of the eCAL that has it.
    pub mask: Option<Ipv4Addr>,
    /// Destination in local mode (`local`). Default: 127.255.255.255, TTL 1.
    pub local: Destination,
    /// Group base in network mode (`network`). Default: 239.0.0.1, TTL 3.
    pub network: Destination,
    /// The interfaces to receive multicast on, each named by its address (`10.0.0.7`), its network (`10.0.0.0/24`) or its
    /// name (`eth0`); the first that is there also sends. They need not exist when the node opens. Empty (the default)
    /// leaves the choice to the system's routes. Network mode only. Not in eCAL; `ferrocal.interfaces`.
    pub interfaces: Vec<InterfaceSelector>,
    /// Receive multicast on every interface, also on those that come later (`join_all_interfaces`). Sending follows
    /// `interfaces` or the system's routes. Default: `false`. Network mode only.
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
    /// The longest datagram to send, in bytes of UDP payload (`max_datagram_size`, of eCAL 6.2). Default: 65507, the most
    /// that UDP allows.
    pub max_datagram_len: usize,
    /// With [`Selection::Auto`](crate::Selection::Auto): prefer raw frames on every system, not on Windows only
    /// (`npcap_enabled`). Default: `false`.
    pub npcap_enabled: bool,
    /// How the raw-frame backend sends. Default: [`SendPath::Socket`]. Not in eCAL; `ferrocal.send`.
    pub send: SendPath,
}

setters!(UdpConfig {
    port: u16,
    hash_version: HashVersion,
    local: Destination,
    network: Destination,
    interfaces: Vec<InterfaceSelector>,
    join_all_interfaces: bool,
    loopback: bool,
    send_buffer_len: usize,
    receive_buffer_len: usize,
    max_datagram_len: usize,
    npcap_enabled: bool,
    send: SendPath,
} optional {
    mask: Ipv4Addr,
});

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            port: 14_002,
            hash_version: HashVersion::V2,
            mask: None,
            local: Destination::new(Ipv4Addr::new(127, 255, 255, 255), 1),
            network: Destination::new(Ipv4Addr::new(239, 0, 0, 1), 3),
            interfaces: Vec::new(),
            join_all_interfaces: false,
            loopback: true,
            send_buffer_len: 5_242_880,
            receive_buffer_len: DEFAULT_RECEIVE_BUFFER_LEN,
            max_datagram_len: MAX_DATAGRAM_LEN,
            npcap_enabled: false,
            send: SendPath::default(),
        }
    }
}

impl UdpConfig {
    /// The mask in force.
    pub(crate) fn effective_mask(&self) -> Ipv4Addr {
        self.mask.unwrap_or(match self.hash_version {
            HashVersion::V1 => Ipv4Addr::new(0, 0, 0, 15),
            HashVersion::V2 => Ipv4Addr::new(255, 255, 255, 240),
        })
    }

    /// What is unusual about the groups of network mode, if the system's routes are to lead to them.
    pub(crate) fn unusual_groups(&self) -> Option<String> {
        let Self { network: Destination { group, .. }, hash_version, interfaces, .. } = self;
        let mask = self.effective_mask();
        let (key, value) = if group.octets()[0] != 239 {
            ("network.group", *group)
        } else if *hash_version == HashVersion::V2 && mask.octets()[0] != 255 {
            ("mask", mask)
        } else {
            return None;
        };
        interfaces.is_empty().then(|| {
            format!(
                "transport_layer.udp.{key}: {value}: messages are sent to groups outside 239.0.0.0/8, which routers may treat \
                 in another way, and which a route for 239.0.0.0/8 does not lead to. Check the routes, or name interfaces \
                 (ferrocal.interfaces)"
            )
        })
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
