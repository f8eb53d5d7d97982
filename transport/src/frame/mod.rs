//! Frames as a network card sees them: taken apart, put together, read from capture files.
//!
//! Nothing here opens a socket, calls libpcap or reads a clock. Bytes and the time come in, datagrams and frames go
//! out, and whatever the bytes are, nothing panics, loops, or allocates by a length that was only claimed.
//!
//! Supported: Ethernet with any number of VLAN tags, the link types of loopback devices and of Linux's `any` device,
//! IPv4 with options and in fragments, UDP. Not supported and passed over in silence, because a capture's filter lets
//! foreign traffic through: IPv6, everything but UDP, 802.3 frames with a length in place of a type.

#[cfg_attr(
    not(any(feature = "raw", feature = "replay")),
    allow(dead_code, reason = "no frames are counted without the packets")
)]
mod drops;
mod limits;
#[cfg(any(feature = "raw", feature = "replay"))]
mod packet;

pub use drops::{FrameDrop, FrameDrops};
pub use limits::IpReassemblyLimits;

#[cfg(any(feature = "raw", feature = "replay"))]
pub(crate) use packet::*;
