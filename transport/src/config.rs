//! The settings of a transport.

use std::net::Ipv4Addr;

use crate::frame::IpReassemblyLimits;
use crate::selector::InterfaceSelector;

/// The broadcast address of the loopback network.
pub const LOOPBACK_BROADCAST: Ipv4Addr = Ipv4Addr::new(127, 255, 255, 255);

/// Default length of send buffers in bytes: 5 MiB, as in eCAL.
pub const DEFAULT_SEND_BUFFER_LEN: usize = 5 * 1024 * 1024;
/// Default length of receive buffers in bytes: 16 MiB. It holds what comes in 5 ms at 3 GB/s. With eCAL's 5 MiB, a
/// subscriber lost some 0.4 % of a stream of 1 MB messages over a veth whenever it did not run for 2 ms.
pub const DEFAULT_RECEIVE_BUFFER_LEN: usize = 16 * 1024 * 1024;

/// How far messages reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Only this host: broadcast on the loopback interface.
    #[default]
    Local,
    /// All hosts of the network: multicast.
    Network,
}

/// How the raw-frame backend sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SendPath {
    /// Through a socket, as eCAL does. Firewalls seldom inspect outgoing datagrams.
    #[default]
    Socket,
    /// As raw frames, in network mode. This host's own sockets need a second transmission through a socket, which doubles
    /// the time to send short messages. Turn off [`Config::loopback`] if nothing on this host subscribes.
    Raw,
}

/// Settings of a transport. All of them have a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How far messages reach. Default: [`Mode::Local`].
    pub mode: Mode,
    /// The address that most datagrams are sent to: a multicast group in network mode. The route to it decides the
    /// outgoing interface and the length of segments. Default: [`LOOPBACK_BROADCAST`], for local mode.
    pub group: Ipv4Addr,
    /// The interfaces to receive multicast on. Multicast is sent through the first of them that is there. If empty (the
    /// default), the system's routes decide. Network mode only.
    pub interfaces: Vec<InterfaceSelector>,
    /// Receive multicast on every interface that has an IPv4 address, also on those that come later. Default: `false`. Network mode only.
    pub join_all_interfaces: bool,
    /// Time to live of sent packets, in router hops. Default: 1.
    pub ttl: u8,
    /// Whether this host's own members of a group receive what it sends to the group. Default: `true`. Network mode
    /// only.
    pub loopback: bool,
    /// Length of the send buffer to request from the system, in bytes. Default: [`DEFAULT_SEND_BUFFER_LEN`].
    pub send_buffer_len: usize,
    /// Length of each receive buffer to request from the system, in bytes. Default:
    /// [`DEFAULT_RECEIVE_BUFFER_LEN`], or what the system grants of that.
    pub receive_buffer_len: usize,
    /// With [`Selection::Auto`](crate::Selection::Auto): prefer raw frames on every system, not only on Windows.
    /// Default: `false`.
    pub prefer_raw_frames: bool,
    /// How the raw-frame backend sends. Default: [`SendPath::Socket`].
    pub send: SendPath,
    /// Limits on incomplete IPv4 packets in the raw-frame backend.
    pub ip_reassembly: IpReassemblyLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            group: LOOPBACK_BROADCAST,
            interfaces: Vec::new(),
            join_all_interfaces: false,
            ttl: 1,
            loopback: true,
            send_buffer_len: DEFAULT_SEND_BUFFER_LEN,
            receive_buffer_len: DEFAULT_RECEIVE_BUFFER_LEN,
            prefer_raw_frames: false,
            send: SendPath::default(),
            ip_reassembly: IpReassemblyLimits::default(),
        }
    }
}
