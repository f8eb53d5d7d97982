//! One incomplete message.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::DropReason;

/// The memory a fragment that came ahead of its turn is charged beside its bytes.
pub(super) const FRAGMENT_OVERHEAD: usize = 64;

/// The memory set aside for the first bytes of a message, if it was announced as longer.
const MIN_CAPACITY: usize = 64 * 1024;

/// What a datagram that cannot be taken means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The datagram is dropped, and the message goes on without it.
    Datagram(DropReason),
    /// The message cannot be completed any more.
    Message(DropReason),
}

/// What the info told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Announced {
    num: u32,
    len: usize,
}

impl Announced {
    /// Whether a message can be as announced, with this many of its fragments and bytes received.
    fn allows(self, count: u32, len: usize) -> bool {
        match self.num.checked_sub(count) {
            Some(0) => len == self.len,
            // Every fragment has at least one byte.
            Some(missing) => len.saturating_add(missing as usize) <= self.len,
            None => false,
        }
    }
}

/// An incomplete message: its start, and what came ahead of its turn.
#[derive(Debug)]
pub(super) struct Partial {
    /// Grows from message to message.
    pub(super) age: u64,
    /// The memory charged for the message in bytes.
    pub(super) charged: usize,
    last_seen: Duration,
    announced: Option<Announced>,
    /// The fragments below `next`.
    start: Vec<u8>,
    /// The number of the fragment whose turn it is.
    next: u32,
    /// Fragments above `next`.
    ahead: BTreeMap<u32, Box<[u8]>>,
    ahead_len: usize,
}

impl Partial {
    pub(super) fn new(now: Duration, age: u64) -> Self {
        Self {
            age,
            charged: 0,
            last_seen: now,
            announced: None,
            start: Vec::new(),
            next: 0,
            ahead: BTreeMap::new(),
            ahead_len: 0,
        }
    }

    /// Notes that something was added.
    pub(super) fn touch(&mut self, now: Duration) {
        self.last_seen = now;
    }

    pub(super) fn is_expired(&self, now: Duration, timeout: Duration) -> bool {
        now.saturating_sub(self.last_seen) >= timeout
    }

    pub(super) fn is_complete(&self) -> bool {
        self.announced.is_some_and(|announced| announced.num == self.next)
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        self.start
    }

    /// The announced length, if there is nothing of it yet and no room either.
    pub(super) fn begins(&self) -> Option<usize> {
        self.announced
            .filter(|_| self.start.capacity() == 0 && self.ahead.is_empty())
            .map(|announced| announced.len)
    }

    /// Takes an empty buffer for what is to come.
    pub(super) fn fill(&mut self, buffer: Vec<u8>) {
        self.start = buffer;
    }

    /// Takes a fragment if nothing is special about it: it is its turn, nothing came ahead of it, and there is room. Then
    /// it tells whether the message is complete.
    pub(super) fn append(
        &mut self,
        now: Duration,
        timeout: Duration,
        number: u32,
        payload: &[u8],
    ) -> Option<bool> {
        let announced = self.announced?;
        let is_plain = number == self.next
            && self.ahead.is_empty()
            && !payload.is_empty()
            && payload.len() <= self.start.capacity() - self.start.len()
            && announced.allows(number.checked_add(1)?, self.start.len() + payload.len())
            && !self.is_expired(now, timeout);
        if !is_plain {
            return None;
        }
        self.start.extend_from_slice(payload);
        self.next += 1;
        self.touch(now);
        Some(self.is_complete())
    }

    /// Takes what the info tells.
    pub(super) fn announce(&mut self, num: u32, len: usize, max_message_len: usize) -> Result<(), Refusal> {
        let announced = Announced { num, len };
        if let Some(before) = self.announced {
            return Err(Refusal::Datagram(if before == announced {
                DropReason::Duplicate
            } else {
                DropReason::Inconsistent
            }));
        }
        if len > max_message_len {
            return Err(Refusal::Message(DropReason::TooLong));
        }
        let highest = self.ahead.last_key_value().map(|(number, _)| *number);
        if highest.is_some_and(|number| number >= num) || self.next > num {
            return Err(Refusal::Message(DropReason::FragmentNumber));
        }
        if !announced.allows(self.count(), self.len()) {
            return Err(Refusal::Message(DropReason::LengthMismatch));
        }
        self.announced = Some(announced);
        Ok(())
    }

    /// Finds out whether a fragment, which must have at least one byte, can be inserted.
    pub(super) fn check(&self, number: u32, len: usize, max_message_len: usize) -> Result<(), Refusal> {
        let Announced { num, .. } =
            self.announced.unwrap_or(Announced { num: u32::MAX, len: max_message_len });
        if number >= num {
            return Err(Refusal::Datagram(DropReason::FragmentNumber));
        }
        if number < self.next || self.ahead.contains_key(&number) {
            return Err(Refusal::Datagram(DropReason::Duplicate));
        }
        let len = self.len().saturating_add(len);
        match self.announced {
            Some(announced) if !announced.allows(self.count() + 1, len) => {
                Err(Refusal::Message(DropReason::LengthMismatch))
            }
            None if len > max_message_len => Err(Refusal::Message(DropReason::TooLong)),
            _ => Ok(()),
        }
    }

    /// Returns the memory that a fragment takes in bytes; mostly none, when it comes in order.
    pub(super) fn cost(&self, number: u32, len: usize, max_message_len: usize) -> usize {
        if number != self.next {
            return len.saturating_add(FRAGMENT_OVERHEAD);
        }
        let needed = self.start.len() + len + self.following_len();
        if needed <= self.start.capacity() {
            return 0;
        }
        // An announced length is worth little: room grows with what was received. A message that
        // was not announced yet is likely to be a short one.
        let (len, factor) = match self.announced {
            Some(announced) => (announced.len, 4),
            None => (max_message_len, 2),
        };
        let roomy = needed.saturating_mul(factor).max(MIN_CAPACITY).min(len);
        roomy.max(needed) - self.start.capacity()
    }

    /// Inserts a fragment that was checked, and returns the memory that this freed in bytes.
    pub(super) fn insert(&mut self, number: u32, payload: &[u8], cost: usize) -> Result<usize, Refusal> {
        if number != self.next {
            self.ahead.insert(number, payload.into());
            self.ahead_len += payload.len();
            return Ok(0);
        }
        if cost > 0 {
            let room = self.start.capacity() - self.start.len() + cost;
            self.start.try_reserve_exact(room).map_err(|_| Refusal::Message(DropReason::OverCap))?;
        }
        self.start.extend_from_slice(payload);
        self.next += 1;
        let mut freed = 0;
        while let Some(fragment) = self.ahead.remove(&self.next) {
            self.start.extend_from_slice(&fragment);
            self.next += 1;
            self.ahead_len -= fragment.len();
            freed += fragment.len() + FRAGMENT_OVERHEAD;
        }
        Ok(freed)
    }

    #[cfg(test)]
    pub(super) fn memory_address(&self) -> *const u8 {
        self.start.as_ptr()
    }

    /// The memory taken in bytes, that of the message's own entry aside.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.start.capacity() + self.ahead_len + self.ahead.len() * FRAGMENT_OVERHEAD
    }

    /// The number of fragments received.
    fn count(&self) -> u32 {
        self.next + self.ahead.len() as u32
    }

    /// The bytes received.
    fn len(&self) -> usize {
        self.start.len() + self.ahead_len
    }

    /// The bytes of the fragments that follow the next one without a gap.
    fn following_len(&self) -> usize {
        self.ahead
            .iter()
            .zip(self.next + 1..)
            .take_while(|((number, _), expected)| **number == *expected)
            .map(|((_, fragment), _)| fragment.len())
            .sum()
    }
}
