//! What can go wrong, an enum an operation.

use std::io;

use ferrocal_proto::MAX_NAME_LEN;
use ferrocal_transport as transport;
use thiserror::Error;

use crate::ConfigError;

/// Why a [`Node`](crate::Node) could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A setting makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The node's name is longer than other nodes read it.
    #[error("node: the name is {len} bytes long; {MAX_NAME_LEN} is the most")]
    Name {
        /// Its length in bytes.
        len: usize,
    },
    /// The backend that was asked for cannot be had.
    #[error(transparent)]
    Select(#[from] transport::SelectError),
    /// The backend could not be opened.
    #[error(transparent)]
    Open(#[from] transport::OpenError),
    /// The group of registration and payload is none that can be joined.
    #[error(transparent)]
    Join(#[from] transport::MembershipError),
    /// A thread or its event loop could not be started.
    #[error("a thread of the node could not be started")]
    Thread(#[source] io::Error),
}

/// Why a publisher or subscriber could not be created.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The topic's name cannot go on the wire.
    #[error(transparent)]
    Topic(#[from] TopicNameError),
    /// A setting of its own makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The name of the data type, or that of its encoding, is longer than other nodes read it.
    #[error(
        "topic `{topic}`: the name of its data type or encoding is {len} bytes long; {MAX_NAME_LEN} is the most"
    )]
    DataType {
        /// The topic.
        topic: String,
        /// Its length in bytes.
        len: usize,
    },
    /// The node cannot receive, or not join the topic's multicast group.
    #[error("topic `{topic}`: its messages cannot be received")]
    Receive {
        /// The topic.
        topic: String,
        /// Why.
        source: NodeError,
    },
    /// The thread that calls a callback could not be started.
    #[error("topic `{topic}`: a thread for its callback could not be started")]
    Thread {
        /// The topic.
        topic: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Why the log lines of others cannot be received.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogsError {
    /// The port cannot be opened.
    #[error(transparent)]
    Open(#[from] transport::OpenError),
    /// The group cannot be joined.
    #[error(transparent)]
    Join(#[from] transport::MembershipError),
    /// The thread that receives could not be started.
    #[error("a thread that receives log lines could not be started")]
    Thread(#[source] io::Error),
}

/// Why a topic's name cannot go on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TopicNameError {
    /// It is empty.
    #[error("topic: the name is empty")]
    Empty,
    /// It holds a NUL character, which ends a name on the wire.
    #[error("topic: the name holds a NUL character at byte {0}")]
    Nul(usize),
    /// It is longer than 65534 bytes: its length and a NUL must fit a 16-bit number on the wire.
    #[error("topic: the name is {0} bytes long; 65534 is the most")]
    TooLong(usize),
}

impl TopicNameError {
    pub(crate) fn check(topic: &str) -> Result<(), Self> {
        match topic.find('\0') {
            _ if topic.is_empty() => Err(Self::Empty),
            Some(position) => Err(Self::Nul(position)),
            None if topic.len() > usize::from(u16::MAX) - 1 => Err(Self::TooLong(topic.len())),
            None => Ok(()),
        }
    }
}

/// Why a message was not published.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The message is longer than `limits.reassembly.max_message_len`; nothing was sent.
    #[error(
        "topic `{topic}`: a message of {len} bytes is longer than limits.reassembly.max_message_len ({max})"
    )]
    TooLong {
        /// The topic.
        topic: String,
        /// Length of the message in bytes, its sample included.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The payload's own encoding failed; nothing was sent.
    #[error("topic `{topic}`: the message could not be encoded")]
    Encode {
        /// The topic.
        topic: String,
        /// What [`Payload::encode`](crate::Payload::encode) returned.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The transport could not send it all.
    #[error("topic `{topic}`: the message could not be sent")]
    Send {
        /// The topic.
        topic: String,
        /// Why.
        source: transport::SendError,
    },
    /// The thread that sends for asynchronous programs could not be started.
    #[error("topic `{topic}`: a thread to send the message could not be started")]
    Thread {
        /// The topic.
        topic: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a part of a [borrowed payload](crate::BorrowedPayload) cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PayloadReadError {
    /// The payload is shorter.
    #[error("{len} bytes from byte {offset} on cannot be read of a payload of {payload_len} bytes")]
    OutOfBounds {
        /// Where they begin.
        offset: usize,
        /// How many were to be read.
        len: usize,
        /// The length of the payload in bytes.
        payload_len: usize,
    },
    /// The payload lies in shared memory, and is not what the publisher sent any more.
    #[error("another program wrote to the shared memory of the payload, or shortened it")]
    Changed,
}

/// Why no message will come any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecvError {
    /// What was read from is closed, or what it was about is gone.
    #[error("it is closed, and nothing more will come")]
    Closed,
    /// The capture file that was replayed is over.
    #[error("the replay is over")]
    ReplayOver,
    /// A thread of the node has failed. Open another node.
    #[error("a thread of the node has failed; the node receives nothing any more")]
    NodeFailed,
}

/// Why there was no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// None arrived in time.
    #[error("no message arrived in time")]
    Timeout,
    /// None will come any more.
    #[error(transparent)]
    Ended(#[from] RecvError),
}
