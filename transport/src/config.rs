//! What a transport is told by its user.

use std::net::Ipv4Addr;

use crate::IpReassemblyLimits;

/// How far messages reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Only this host: broadcast to 127.255.255.255 on the loopback interface.
    #[default]
    Local,
    /// All hosts of the network: multicast.
    Network,
}

/// How the raw-frame backend sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SendPath {
    /// Through a socket, as eCAL does: what is sent is not what firewalls inspect.
    #[default]
    Socket,
    /// As raw frames too, in network mode. This host's own sockets are reached by a second path, which takes as long
    /// again for short messages: turn off [`Config::loopback`] where nothing on this host subscribes.
    Raw,
}

/// Settings of a transport, all of which have a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How far messages reach. Default: [`Mode::Local`].
    pub mode: Mode,
    /// The group that registrations are sent to. Default: 127.255.255.255.
    pub group: Ipv4Addr,
    /// Addresses of the interfaces to receive multicast on; it is sent through the first. Empty (the default) leaves
    /// the choice to the system's routes. Network mode only.
    pub interfaces: Vec<Ipv4Addr>,
    /// Receive multicast on every interface that has an IPv4 address. Default: `false`. Network mode only.
    pub join_all_interfaces: bool,
    /// Time to live of what is sent, in router hops. Default: 1.
    pub ttl: u8,
    /// Whether what is sent to a group reaches this host's own members of it. Default: `true`. Network mode only.
    pub loopback: bool,
    /// Send buffer to ask of the system, in bytes. Default: 5 MiB, as eCAL.
    pub send_buffer_len: usize,
    /// Receive buffer to ask of the system per port, in bytes. Default: 5 MiB, as eCAL.
    pub receive_buffer_len: usize,
    /// With [`Selection::Auto`](crate::Selection::Auto): prefer raw frames on every system, not on Windows only.
    /// Default: `false`.
    pub prefer_raw_frames: bool,
    /// How the raw-frame backend sends. Default: [`SendPath::Socket`].
    pub send: SendPath,
    /// Bounds on incomplete IPv4 packets in the raw-frame backend.
    pub ip_reassembly: IpReassemblyLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            group: Ipv4Addr::new(127, 255, 255, 255),
            interfaces: Vec::new(),
            join_all_interfaces: false,
            ttl: 1,
            loopback: true,
            send_buffer_len: 5 * 1024 * 1024,
            receive_buffer_len: 5 * 1024 * 1024,
            prefer_raw_frames: false,
            send: SendPath::default(),
            ip_reassembly: IpReassemblyLimits::default(),
        }
    }
}
