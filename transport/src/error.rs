//! The errors, an enum for each operation.

use std::error::Error as StdError;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::{fmt, io};

use thiserror::Error;

/// An error with all its causes, on one line.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a>(pub &'a dyn StdError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        self.0.source().map_or(Ok(()), |source| write!(f, ": {}", Chain(source)))
    }
}

/// Why a receiver or a sender could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
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
        /// The operating system's error.
        source: io::Error,
    },
    /// A socket could not be set up.
    #[error("{option} could not be set on a UDP socket")]
    Socket {
        /// The socket option or step that failed.
        option: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
}

impl OpenError {
    /// Makes the error of a socket option or step.
    pub(crate) fn socket(option: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Socket { option, source }
    }
}

/// Why a multicast group could not be joined or left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MembershipError {
    /// The address is none of a group.
    #[error("{0} is not the address of a multicast group (224.0.0.0 to 239.255.255.255)")]
    NotMulticast(Ipv4Addr),
    /// The group is joined already.
    #[error("group {0} is joined already")]
    AlreadyJoined(Ipv4Addr),
    /// The group is not joined.
    #[error("group {0} is not joined")]
    NotJoined(Ipv4Addr),
}

/// Why a datagram was not sent.
#[derive(Debug, Error)]
#[error(
    "a datagram of {len} bytes to {destination} could not be sent; {sent} of its batch were sent before it"
)]
pub struct SendError {
    /// How many datagrams of the batch were sent before the one that failed.
    pub sent: usize,
    /// The destination of the datagram.
    pub destination: SocketAddrV4,
    /// Its length in bytes.
    pub len: usize,
    /// The operating system's error.
    pub source: io::Error,
}

impl SendError {
    /// The error of a backend of ours for a datagram that is too long for UDP.
    pub(crate) fn too_long() -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, "UDP has no datagrams of this length")
    }
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
        /// The operating system's error.
        source: io::Error,
    },
    /// The capture on an interface ended and cannot be opened again, although the interface exists. Captures on other
    /// interfaces continue.
    #[error("the capture on interface {interface} ended and cannot be opened again")]
    NoCapture {
        /// The interface.
        interface: String,
        /// The capture library's error.
        source: CaptureError,
    },
    /// The capture file ends here, or cannot be read further. Nothing follows.
    #[error("the capture file ends here")]
    EndOfFile(#[source] Option<SavefileError>),
}

/// An error of the capture library.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct CaptureError(pub(crate) Box<str>);

/// Why a capture file could not be read, or not further.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SavefileError {
    /// The file could not be opened.
    #[error("the capture file {} could not be opened", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The path is that of a directory.
    #[error("{} is a directory; name a capture file in it", .path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
    },
    /// The file could not be read any further.
    #[error("reading the capture file {} failed", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error, or what is wrong with a gzip file.
        source: io::Error,
    },
    /// The file is empty. A program that captures may not have written anything yet.
    #[error("the capture file {} is empty", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The file is of another format.
    #[error("{} is neither a pcap nor a pcapng file, nor such a file in gzip", .path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The file ends within a frame, or within what gzip packed. All frames before were read. So it is with a file that is
    /// still being written.
    #[error(
        "the capture file {} ends within a frame; if it is still being written, this follows it: \
         tail -c +1 -f FILE | PROGRAM, with the transport file:-",
        .path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
    },
    /// The file contradicts itself. All frames before were read.
    #[error("the capture file {} is damaged", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}
