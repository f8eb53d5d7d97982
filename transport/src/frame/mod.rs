//! Frames as a network card sees them: taken apart, put together, read from capture files.
//!
//! Nothing here opens a socket, calls libpcap or reads a clock. Bytes and the time come in, datagrams and frames go
//! out, and whatever the bytes are, nothing panics, loops, or allocates by a length that was only claimed.
//!
//! Supported: Ethernet with any number of VLAN tags, the link types of loopback devices and of Linux's `any` device,
//! IPv4 with options and in fragments, UDP. Not supported and passed over in silence, because a capture's filter lets
//! foreign traffic through: IPv6, everything but UDP, 802.3 frames with a length in place of a type.

mod drops;
mod limits;

#[cfg(any(feature = "raw", feature = "replay"))]
mod decode;
#[cfg(any(feature = "raw", fuzzing, test))]
mod emit;
#[cfg(all(test, feature = "replay"))]
mod golden;
#[cfg(any(feature = "raw", feature = "replay"))]
mod link;
#[cfg(any(feature = "raw", feature = "replay"))]
mod merged;
#[cfg(any(feature = "raw", feature = "replay"))]
mod pieces;
#[cfg(any(feature = "raw", feature = "replay"))]
mod reassembly;
#[cfg(feature = "replay")]
mod savefile;
#[cfg(any(feature = "raw", feature = "replay"))]
mod udp;

pub use drops::{FrameDrop, FrameDrops};
pub use limits::IpReassemblyLimits;

#[cfg(any(feature = "raw", feature = "replay"))]
pub(crate) use decode::{Decoder, Udp};
#[cfg(any(feature = "raw", fuzzing, test))]
pub(crate) use emit::{Emit, multicast_mac};
#[cfg(any(feature = "raw", feature = "replay"))]
pub(crate) use link::LinkType;
#[cfg(any(feature = "raw", feature = "replay"))]
pub(crate) use merged::each_datagram;
#[cfg(feature = "replay")]
pub(crate) use savefile::{SavedFrame, Savefile};

/// The length of an IPv4 header without options in bytes (RFC 791).
const IPV4_HEADER_LEN: usize = 20;
/// The length of a UDP header in bytes (RFC 768).
const UDP_HEADER_LEN: usize = 8;
/// The most that an IPv4 packet carries, in bytes: 65535 (RFC 791) less its header.
const MAX_IPV4_PAYLOAD_LEN: usize = 65_535 - IPV4_HEADER_LEN;
