//! The eCAL wire protocol, without IO.
//!
//! Bytes come in and values go out. This crate opens no socket, reads no clock and logs nothing:
//! the caller hands in datagrams and the time, and reads off what was dropped and why. It is
//! `no_std` and needs only `alloc`.
//!
//! On the way out, [`PayloadSample::encode_head`] or [`Registration::encode`] make a message, and
//! [`Fragments`] cuts it into datagrams. On the way in, a [`Reassembler`] turns datagrams back into
//! messages, for [`PayloadSample::decode`], [`Registration::decode`] or [`LogMessage::decode`].
//!
//! Whatever arrives from the network, nothing here panics, allocates by a length that was only
//! claimed, or loops.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod drops;
mod fragment;
mod header;
mod id;
mod log;
mod multicast;
mod reassemble;
mod registration;
mod sample;
mod wire;

/// The messages generated from `schema/`; the rest of the crate turns them into its own types.
#[allow(missing_docs, unreachable_pub, clippy::all)]
mod pb {
    include!(concat!(env!("OUT_DIR"), "/e_cal.pb.rs"));
}

pub use drops::{DropCounts, DropReason};
pub use fragment::{Datagram, FragmentError, Fragments};
pub use header::{HEADER_LEN, Header, Kind, MAX_DATAGRAM_LEN};
pub use id::EntityId;
pub use log::{LogLevel, LogMessage};
pub use multicast::{HashVersion, topic_group};
pub use reassemble::{Limits, Message, Reassembler};
pub use registration::{
    Action, Announcement, DataType, Layer, LayerKind, MAX_DESCRIPTOR_LEN, MAX_LAYERS, MAX_NAME_LEN,
    MAX_REGISTRATION_LEN, MAX_TEXT_LEN, MAX_TOPIC_NAME_LEN, ProcessInfo, ProcessState, Registration,
    Severity, TimeSyncState, TopicInfo,
};
pub use sample::{PayloadSample, SampleHead, split_name};
