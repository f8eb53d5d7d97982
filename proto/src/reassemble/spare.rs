//! The memory of messages that were handed out, to be used again when nobody holds them any more.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

/// How many buffers are kept at the most, and how many bytes in all.
const MAX_BUFFERS: usize = 16;
const MAX_BYTES: usize = 64 * 1024 * 1024;

/// Messages that were handed out or given up. New memory for each would cost more than to fill it, as the system hands
/// it out page by page.
#[derive(Debug, Default)]
pub(super) struct Spare {
    buffers: VecDeque<Buffer>,
    bytes: usize,
}

#[derive(Debug)]
struct Buffer {
    message: Bytes,
    capacity: usize,
    /// Whether it was there at the last [`Spare::shrink`] already.
    aged: bool,
}

impl Spare {
    /// Makes a message of a buffer, and keeps the buffer for when the message is not needed any more.
    pub(super) fn hand_out(&mut self, buffer: Vec<u8>) -> Bytes {
        let capacity = buffer.capacity();
        let message = Bytes::from(buffer);
        if capacity <= MAX_BYTES {
            self.bytes += capacity;
            self.buffers.push_back(Buffer { message: message.clone(), capacity, aged: false });
            while self.buffers.len() > MAX_BUFFERS || self.bytes > MAX_BYTES {
                self.remove(0);
            }
        }
        message
    }

    /// Keeps the buffer of a message that came to nothing.
    pub(super) fn keep(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() > 0 {
            self.hand_out(buffer);
        }
    }

    /// Returns an empty buffer for a message of this length: one that is not much longer.
    pub(super) fn take(&mut self, len: usize) -> Option<Vec<u8>> {
        let fits = |buffer: &Buffer| {
            (len..=len.saturating_mul(2)).contains(&buffer.capacity) && buffer.message.is_unique()
        };
        // The one used last is the likeliest to be in the processor's cache.
        let at = self.buffers.iter().rposition(fits)?;
        let message = self.remove(at)?;
        let mut buffer = Vec::from(message.try_into_mut().ok()?);
        buffer.clear();
        Some(buffer)
    }

    /// Gives back what was not needed since the last call.
    pub(super) fn shrink(&mut self) {
        self.buffers.retain_mut(|buffer| {
            let keep = !buffer.aged;
            if !keep {
                self.bytes -= buffer.capacity;
            }
            buffer.aged = true;
            keep
        });
    }

    fn remove(&mut self, at: usize) -> Option<Bytes> {
        let Buffer { message, capacity, .. } = self.buffers.remove(at)?;
        self.bytes -= capacity;
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn a_buffer_is_used_again_once_its_message_is_gone() {
        let mut spare = Spare::default();
        let message = spare.hand_out(vec![1; 1000]);
        let address = message.as_ptr();
        let slice = message.slice(10..20);
        drop(message);
        assert_eq!(spare.take(1000), None, "a part of it is still held");
        drop(slice);
        assert_eq!(spare.take(1001), None, "too short");
        assert_eq!(spare.take(499), None, "much too long");
        let buffer = spare.take(1000).unwrap();
        assert_eq!((buffer.as_ptr(), buffer.len(), buffer.capacity()), (address, 0, 1000));
        assert_eq!(spare.bytes, 0);
    }

    #[test]
    fn only_so_much_is_kept() {
        let mut spare = Spare::default();
        for _ in 0..2 * MAX_BUFFERS {
            spare.hand_out(vec![0; 10]);
        }
        assert_eq!((spare.buffers.len(), spare.bytes), (MAX_BUFFERS, 10 * MAX_BUFFERS));
        spare.hand_out(vec![0; MAX_BYTES]);
        assert_eq!((spare.buffers.len(), spare.bytes), (1, MAX_BYTES));
        spare.hand_out(vec![0; MAX_BYTES + 1]);
        assert_eq!((spare.buffers.len(), spare.bytes), (1, MAX_BYTES));
    }

    #[test]
    fn what_is_not_needed_is_given_back() {
        let mut spare = Spare::default();
        spare.hand_out(vec![0; 10]);
        spare.shrink();
        spare.hand_out(vec![0; 20]);
        spare.shrink();
        assert_eq!((spare.buffers.len(), spare.bytes), (1, 20));
    }
}
