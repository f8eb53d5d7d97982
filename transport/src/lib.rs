//! Sends and receives datagrams for ferrocal. Knows no topics.
//!
//! A [`Transport`] opens [`Receiver`]s and [`Sender`]s. [`Backend`] lists the transports there are; [`select()`] chooses
//! one of them and reports why.
//!
//! # Features
//!
//! Both are on by default. Without them, sockets and the in-memory network remain.
//!
//! | feature | what it adds |
//! | --- | --- |
//! | `raw` | raw frames through Npcap (Windows) or libpcap: [`NpcapTransport`] |
//! | `replay` | replay of capture files: [`FileTransport`] |
//!
//! # Fork
//!
//! Transports, receivers and senders do not work in a forked child, because it has none of the parent's threads. Dropping
//! them there is safe: it neither hangs nor disturbs the parent. Open new ones in the child.

// The modules that need it say so.
#![deny(unsafe_code)]

mod backend;
mod config;
mod drops;
mod error;
mod frame;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod membership;
pub mod memory;
#[cfg(any(target_os = "linux", all(unix, feature = "raw")))]
mod poll;
mod raw;
#[cfg(feature = "replay")]
mod replay;
mod seam;
mod select;
mod selector;
mod socket;
mod status;
mod sync;

pub use backend::Backend;
pub use config::{
    Config, DEFAULT_RECEIVE_BUFFER_LEN, DEFAULT_SEND_BUFFER_LEN, LOOPBACK_BROADCAST, Mode, SendPath,
};
pub use drops::ReceiveDrops;
pub use error::{CaptureError, Chain, MembershipError, OpenError, ReceiveError, SavefileError, SendError};
pub use ferrocal_proto::MAX_DATAGRAM_LEN;
pub use frame::{FrameDrop, FrameDrops, IpReassemblyLimits};
#[cfg(feature = "raw")]
pub use raw::NpcapTransport;
pub use raw::{Detection, Provider, RawFrames, Unavailable, detect};
#[cfg(feature = "replay")]
pub use replay::FileTransport;
pub use seam::{
    Datagram, Granted, Interrupt, Membership, Receiver, SendLimits, Sender, Transmit, Transport, Wait,
};
pub use select::{
    Fallback, FallbackReason, ParseSelectionError, SelectError, Selected, Selection, SelectionReason, select,
};
pub use selector::{InterfaceSelector, ParseInterfaceError};
pub use socket::{ReceiveQueue, ReceiveQueues, SocketTransport, sockets_of};
pub use status::{GroupState, GroupStatus, InterfaceState, InterfaceStatus};
