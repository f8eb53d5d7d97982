//! What can go wrong, an enum an operation.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use thiserror::Error;

use crate::{CaptureError, SavefileError};

/// Why a half of a transport could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No interface of this machine has an address that `interfaces` names.
    #[error("interfaces: no interface of this machine has the address {address}; it has {}", list(.available))]
    UnknownInterface {
        /// The address that was configured.
        address: Ipv4Addr,
        /// The IPv4 addresses this machine has.
        available: Vec<Ipv4Addr>,
    },
    /// No interface can be captured on.
    #[error("raw frames cannot be captured or sent")]
    Capture(#[source] CaptureError),
    /// A capture file cannot be read.
    #[error("the capture file cannot be read")]
    File(#[source] SavefileError),
    /// A port could not be bound.
    #[error(
        "port: UDP port {port} could not be bound; another program may hold it without sharing (address reuse). \
         Stop that program or configure another port"
    )]
    Bind {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// A socket could not be set up.
    #[error("{option} could not be set on a UDP socket")]
    Socket {
        /// The socket option or step that failed.
        option: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

fn list(addresses: &[Ipv4Addr]) -> String {
    let texts: Vec<_> = addresses.iter().map(Ipv4Addr::to_string).collect();
    if texts.is_empty() { "none".into() } else { texts.join(", ") }
}

/// Why a multicast group could not be joined or left.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The system refused to join.
    #[error(
        "group {group} could not be joined on {interface}; {}",
        if *.interface == Ipv4Addr::UNSPECIFIED {
            "is there a route for it? Name an interface, or add a route for 239.0.0.0/8"
        } else {
            "is the interface up? On Linux see also net.ipv4.igmp_max_memberships"
        }
    )]
    Join {
        /// The group.
        group: Ipv4Addr,
        /// Address of the interface; 0.0.0.0 is the one the system's routes choose.
        interface: Ipv4Addr,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused to leave.
    #[error("group {group} could not be left on {interface}")]
    Leave {
        /// The group.
        group: Ipv4Addr,
        /// Address of the interface; 0.0.0.0 is the one the system's routes choose.
        interface: Ipv4Addr,
        /// What the system said.
        source: io::Error,
    },
    /// The group is joined already.
    #[error("group {0} is joined already")]
    AlreadyJoined(Ipv4Addr),
    /// The group is not joined.
    #[error("group {0} is not joined")]
    NotJoined(Ipv4Addr),
}

/// Why a datagram did not leave.
#[derive(Debug, Error)]
#[error(
    "a datagram of {len} bytes to {destination} could not be sent; {sent} of its batch were sent before it"
)]
pub struct SendError {
    /// How many datagrams of the batch were sent before the one that failed.
    pub sent: usize,
    /// Where the datagram should have gone.
    pub destination: SocketAddrV4,
    /// Its length in bytes.
    pub len: usize,
    /// What the system said.
    pub source: io::Error,
}

/// Why nothing could be received at the moment.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// A socket failed.
    #[error("receiving on UDP port {port} failed")]
    Socket {
        /// The port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The capture on an interface ended, and was opened again or waits for the interface to come back.
    #[error("the capture on interface {interface} ended; it goes on when the interface is there")]
    Capture {
        /// The interface.
        interface: String,
        /// What the capture library said.
        source: CaptureError,
    },
    /// The capture on an interface ended, and cannot be opened again although the interface is there.
    #[error("the capture on interface {interface} ended and cannot be opened again")]
    NoCapture {
        /// The interface.
        interface: String,
        /// What the capture library said.
        source: CaptureError,
    },
    /// The capture file ends here, or cannot be read further. Nothing will follow.
    #[error("the capture file is over")]
    EndOfFile(#[source] Option<SavefileError>),
}
