//! The messages that were given up, for the caller to find out whose they were.

use alloc::vec::{Drain, Vec};
use core::net::SocketAddrV4;

use crate::DropReason;

/// How many messages are remembered until the caller takes them.
const MAX_MESSAGES: usize = 64;

/// How many bytes of the start of each.
const MAX_START_LEN: usize = 1024;

/// An incomplete message that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GivenUp {
    /// Who sent it.
    pub source: SocketAddrV4,
    /// Why it was given up.
    pub reason: DropReason,
    /// Its first bytes, 1 KiB at most, for [`PayloadSample::decode_prefix`](crate::PayloadSample::decode_prefix). Empty
    /// if its first fragment had not been received.
    pub start: Vec<u8>,
}

/// The messages that were given up and not taken yet.
#[derive(Debug, Default)]
pub(super) struct GivenUpMessages(Vec<GivenUp>);

impl GivenUpMessages {
    /// Adds one, unless there are too many.
    pub(super) fn push(&mut self, source: SocketAddrV4, reason: DropReason, start: &[u8]) {
        if self.0.len() < MAX_MESSAGES {
            let start = start[..start.len().min(MAX_START_LEN)].into();
            self.0.push(GivenUp { source, reason, start });
        }
    }

    pub(super) fn take(&mut self) -> Drain<'_, GivenUp> {
        self.0.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn only_so_much_is_remembered() {
        let mut given_up = GivenUpMessages::default();
        for port in 0..2 * MAX_MESSAGES as u16 {
            let source = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            given_up.push(source, DropReason::Expired, &[7; 2 * MAX_START_LEN]);
        }
        let mut count = 0;
        for (port, GivenUp { source, start, .. }) in given_up.take().enumerate() {
            assert_eq!(usize::from(source.port()), port, "the first ones");
            assert_eq!(start, [7; MAX_START_LEN]);
            count += 1;
        }
        assert_eq!(count, MAX_MESSAGES);
        assert_eq!(given_up.take().count(), 0);
    }
}
