//! Raw frames: received and sent at the network card, below the system's sockets.
//!
//! [`wanted`] and [`recent`] serve any source of frames; [`pcap`] captures them through Npcap or libpcap.

mod detect;
#[cfg(feature = "raw")]
mod pcap;
#[cfg(feature = "raw")]
mod recent;
#[cfg(feature = "raw")]
mod wanted;

pub use detect::{Detection, Provider, RawFrames, Unavailable, detect};
#[cfg(feature = "raw")]
pub use pcap::NpcapTransport;
