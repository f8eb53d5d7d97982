//! What a message carries, and what a subscriber makes of it.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys::tick_ns;

/// Writes a message's number to both its ends, so that a message put together wrongly shows.
pub(crate) fn stamp(message: &mut [u8], number: u64) {
    let number = number.to_le_bytes();
    message[..8].copy_from_slice(&number);
    let end = message.len() - 8;
    message[end..].copy_from_slice(&number);
}

/// A message's number, unless its ends differ or its length is not `len`.
pub(crate) fn number(message: &[u8], len: usize) -> Option<u64> {
    let (first, last) = (message.first_chunk::<8>()?, message.last_chunk::<8>()?);
    (message.len() == len && first == last).then(|| u64::from_le_bytes(*first))
}

/// Counts what one subscriber received.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    received: AtomicU64,
    damaged: AtomicU64,
    /// When the last message came, to some milliseconds. The exact time costs more than to receive a short message.
    last_ns: AtomicU64,
}

impl Tally {
    /// Counts a message that should be `len` bytes long. No two threads may do so at once for one tally.
    pub(crate) fn take(&self, message: &[u8], len: usize) {
        self.count(number(message, len).is_some());
    }

    /// As [`take`](Self::take), of a message that lies elsewhere: whether its length is right, and its two ends.
    pub(crate) fn take_ends(&self, is_whole: bool, first: Option<[u8; 8]>, last: Option<[u8; 8]>) {
        self.count(is_whole && first.is_some() && first == last);
    }

    fn count(&self, is_intact: bool) {
        // Loads and stores are cheaper than one atomic addition.
        let add = |count: &AtomicU64| count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if is_intact {
            add(&self.received);
        } else {
            add(&self.damaged);
        }
        self.last_ns.store(tick_ns(), Ordering::Relaxed);
    }

    /// Messages, damaged ones, and the time of the last one.
    pub(crate) fn read(&self) -> (u64, u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.received), read(&self.damaged), read(&self.last_ns))
    }
}
