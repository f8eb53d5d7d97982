//! Bounds on what a node keeps.

use std::time::Duration;

use ferrocal_proto::Limits;
use ferrocal_transport::IpReassemblyLimits;

/// Bounds on what the network can make a node keep. Not in eCAL; `ferrocal.limits`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// Incomplete messages, and the longest message that is sent or received.
    pub reassembly: Limits,
    /// Incomplete IPv4 packets, in the raw-frame backend.
    pub ip_reassembly: IpReassemblyLimits,
    /// Servers and clients of services, and those that they talk to.
    pub service: ServiceLimits,
    /// Publishers and subscribers of other nodes. Default: 65536.
    pub max_peers: usize,
    /// All that is stored of other nodes, with their names and data types, in bytes. Default: 64 MiB.
    pub max_registry_bytes: usize,
    /// Publishers whose message clock a subscriber remembers. Default: 1024.
    pub max_publishers_per_subscriber: usize,
}

setters!(LimitsConfig {
    reassembly: Limits,
    ip_reassembly: IpReassemblyLimits,
    service: ServiceLimits,
    max_peers: usize,
    max_registry_bytes: usize,
    max_publishers_per_subscriber: usize,
});

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            reassembly: Limits::default(),
            ip_reassembly: IpReassemblyLimits::default(),
            service: ServiceLimits::default(),
            max_peers: 65_536,
            max_registry_bytes: 64 * 1024 * 1024,
            max_publishers_per_subscriber: 1024,
        }
    }
}

/// Bounds on what others can make the services of a node keep. Not in eCAL; `ferrocal.limits.service`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServiceLimits {
    /// The longest request or response in bytes. Default: 64 MiB.
    pub max_message_len: usize,
    /// The requests and responses that the node is receiving or answering, all together, in bytes. Beyond that, the
    /// connection that holds most is closed. Default: 256 MiB.
    pub max_bytes: usize,
    /// The connections of one server, and the servers that one client is connected to. Default: 256.
    pub max_connections: usize,
    /// How long the other side may take to connect, to agree on a version, and for the next bytes of a request or response
    /// that it has begun. Then the connection is closed. Default: 5 seconds.
    pub timeout: Duration,
}

setters!(ServiceLimits {
    max_message_len: usize,
    max_bytes: usize,
    max_connections: usize,
    timeout: Duration,
});

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            max_message_len: 64 * 1024 * 1024,
            max_bytes: 256 * 1024 * 1024,
            max_connections: 256,
            timeout: Duration::from_secs(5),
        }
    }
}
