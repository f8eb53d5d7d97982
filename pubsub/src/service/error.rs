//! What can go wrong with services.

use std::error::Error as StdError;
use std::io;

use ferrocal_proto::{DropReason, MAX_METHODS, MAX_NAME_LEN};
use thiserror::Error;

/// Why a server, a client or a method of a service could not be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The name of the service or the method is empty, or longer than others read it.
    #[error("service: the name of a service or method has 1 to {MAX_NAME_LEN} bytes; this one has {len}")]
    Name {
        /// Its length in bytes.
        len: usize,
    },
    /// The service has as many methods as others read.
    #[error("service `{service}`: a service has {MAX_METHODS} methods at most")]
    TooManyMethods {
        /// The service.
        service: String,
    },
    /// No port can be listened on.
    #[error("service `{service}`: the server cannot listen on any port")]
    Listen {
        /// The service.
        service: String,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that calls and answers could not be started.
    #[error("service `{service}`: the thread for services could not be started")]
    Thread {
        /// The service.
        service: String,
        /// What the system said.
        source: io::Error,
    },
}

impl ServiceError {
    pub(crate) const fn check_name(name: &str) -> Result<(), Self> {
        match name.len() {
            1..=MAX_NAME_LEN => Ok(()),
            len => Err(Self::Name { len }),
        }
    }
}

/// Why a call has no response.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CallError {
    /// No server of the service is connected, or not the one that was chosen. Nothing was sent.
    #[error("no server is connected")]
    NoServer,
    /// No response came in time. The server may have been called, and its response will be ignored.
    #[error("no response came in time")]
    Timeout,
    /// The connection to the server ended before the response came. The server may have been called.
    #[error("the connection to the server was lost before it answered")]
    ConnectionLost,
    /// The server answered that it does not know the method, or that the method failed.
    #[error("the server says: {message}")]
    Failed {
        /// What it said.
        message: String,
        /// The number that it returned; its meaning is the service's own. Servers of eCAL return 0.
        ret_state: i64,
    },
    /// The request is longer than `limits.service.max_message_len`. Nothing was sent.
    #[error("a request of {len} bytes is longer than limits.service.max_message_len ({max})")]
    TooLong {
        /// The length of the request in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The request could not be encoded. Nothing was sent.
    #[error("the request could not be encoded")]
    Encode(#[source] Box<dyn StdError + Send + Sync>),
    /// The response is not of the type that was expected.
    #[error("the response could not be decoded")]
    Decode(#[source] Box<dyn StdError + Send + Sync>),
    /// What the server sent is no response, or longer than `limits.service.max_message_len`
    /// ([`DropReason::TooLong`]), or there is no room for it within `limits.service.max_bytes` ([`DropReason::OverCap`]).
    #[error("the server's response cannot be used: {0}")]
    BadResponse(DropReason),
    /// The client or its node was closed meanwhile, or a thread of the node has failed.
    #[error("the client was closed, or its node has failed")]
    Closed,
}
