//! Frames, IPv4 packets and UDP datagrams.

mod decode;
#[cfg_attr(not(feature = "raw"), allow(dead_code, reason = "only raw frames are sent"))]
mod emit;
#[cfg(all(test, feature = "replay"))]
mod golden;
mod link;
mod merged;
mod pieces;
mod reassembly;
#[cfg(feature = "replay")]
mod savefile;
mod udp;
#[cfg(feature = "replay")]
mod wrapped;

use super::{FrameDrop, FrameDrops, IpReassemblyLimits};

pub(crate) use decode::Decoder;
#[cfg(any(feature = "raw", fuzzing))]
pub(crate) use decode::Udp;
#[cfg(any(feature = "raw", fuzzing, test))]
pub(crate) use emit::{Emit, multicast_mac};
pub(crate) use link::LinkType;
pub(crate) use merged::each_datagram;
#[cfg(feature = "replay")]
pub(crate) use savefile::{SavedFrame, Savefile, is_standard_input};
#[cfg(feature = "replay")]
pub(crate) use wrapped::{Unwrapped, unwrap};

/// The length of an IPv4 header without options in bytes (RFC 791).
const IPV4_HEADER_LEN: usize = 20;
/// The length of a UDP header in bytes (RFC 768).
const UDP_HEADER_LEN: usize = 8;
/// The most that an IPv4 packet carries, in bytes: 65535 (RFC 791) less its header.
const MAX_IPV4_PAYLOAD_LEN: usize = 65_535 - IPV4_HEADER_LEN;
