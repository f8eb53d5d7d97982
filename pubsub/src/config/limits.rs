//! Bounds on what a node keeps.

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
    max_peers: usize,
    max_registry_bytes: usize,
    max_publishers_per_subscriber: usize,
});

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            reassembly: Limits::default(),
            ip_reassembly: IpReassemblyLimits::default(),
            max_peers: 65_536,
            max_registry_bytes: 64 * 1024 * 1024,
            max_publishers_per_subscriber: 1024,
        }
    }
}
