//! Limits on the reassembly of IPv4 packets.

use std::time::Duration;

/// Bounds on IPv4 packets that came in fragments of which some are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpReassemblyLimits {
    /// The most memory they may take, in bytes. When it is not enough, the oldest packets are given up. Default:
    /// 16 MiB.
    pub max_bytes: usize,
    /// The most packets that may be incomplete at a time; they are searched one by one. When they are more, the
    /// oldest is given up. Default: 256.
    pub max_packets: usize,
    /// How long a packet is kept while nothing more of it comes. Default: 500 ms.
    ///
    /// It must be short because the fragments of different packets are distinguished by no more than 16 bits: a sender
    /// that fills a 1 Gbit/s link with the shortest packets that need two fragments comes round in 0.8 s. The
    /// fragments of one packet follow each other without a pause, on slow links too.
    pub timeout: Duration,
}

impl Default for IpReassemblyLimits {
    fn default() -> Self {
        Self { max_bytes: 16 * 1024 * 1024, max_packets: 256, timeout: Duration::from_millis(500) }
    }
}
