//! One incomplete message.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::DropReason;

/// The memory a [`Run`] is charged beside its room for bytes.
pub(super) const RUN_OVERHEAD: usize = 128;

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

/// Fragments that follow each other, and came ahead of their turn.
#[derive(Debug)]
struct Run {
    bytes: Vec<u8>,
    /// How many they are.
    count: u32,
    /// The memory charged for the bytes, and those to come.
    room: usize,
}

/// An incomplete message: its start, and what came ahead of its turn.
#[derive(Debug)]
pub(super) struct Partial {
    /// Grows from message to message.
    pub(super) age: u64,
    /// The memory charged for the message in bytes.
    pub(super) charged: usize,
    last_seen: Duration,
    /// How many losses there had been then, of whatever datagrams.
    losses: u32,
    announced: Option<Announced>,
    /// The fragments below `next`.
    start: Vec<u8>,
    /// The number of the fragment whose turn it is.
    next: u32,
    /// Fragments above `next`, by the number of the first of each run. Runs that come to touch each other stay apart, so
    /// that no order of fragments has bytes moved again and again.
    ahead: BTreeMap<u32, Run>,
    ahead_count: u32,
    ahead_len: usize,
}

impl Partial {
    pub(super) fn new(now: Duration, losses: u32, age: u64) -> Self {
        Self {
            age,
            charged: 0,
            last_seen: now,
            losses,
            announced: None,
            start: Vec::new(),
            next: 0,
            ahead: BTreeMap::new(),
            ahead_count: 0,
            ahead_len: 0,
        }
    }

    /// Notes that something was added.
    pub(super) fn touch(&mut self, now: Duration, losses: u32) {
        self.last_seen = now;
        self.losses = losses;
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

    /// Takes a fragment if nothing is special about it: it comes behind the highest one so far, and there is room. Then
    /// it tells whether the message is complete.
    pub(super) fn append(
        &mut self,
        now: Duration,
        timeout: Duration,
        losses: u32,
        number: u32,
        payload: &[u8],
    ) -> Option<bool> {
        let announced = self.announced?;
        let is_allowed = number < announced.num
            && !payload.is_empty()
            && announced.allows(self.count() + 1, self.len() + payload.len())
            && !self.is_expired(now, timeout);
        let mut last = self.ahead.last_entry();
        let (bytes, next) = match &mut last {
            Some(run) => {
                let next = run.key() + run.get().count;
                (&mut run.get_mut().bytes, next)
            }
            None => (&mut self.start, self.next),
        };
        if !is_allowed || number != next || payload.len() > bytes.capacity() - bytes.len() {
            return None;
        }
        bytes.extend_from_slice(payload);
        if let Some(run) = &mut last {
            run.get_mut().count += 1;
            self.ahead_count += 1;
            self.ahead_len += payload.len();
        } else {
            self.next += 1;
        }
        self.touch(now, losses);
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
        if self.end() > num {
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
        let run = self.ahead.range(..=number).next_back();
        if number < self.next || run.is_some_and(|(first, run)| number < first + run.count) {
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

    /// Whether a fragment leaves a gap behind those before, and something was lost in between.
    pub(super) fn is_behind_loss(&self, losses: u32, number: u32) -> bool {
        self.losses != losses && number > self.end()
    }

    /// The number behind that of the highest fragment so far.
    fn end(&self) -> u32 {
        self.ahead.last_key_value().map_or(self.next, |(first, run)| first + run.count)
    }

    /// Returns the memory that a fragment takes in bytes; mostly none, when it comes in order.
    pub(super) fn cost(&self, number: u32, len: usize, max_message_len: usize) -> usize {
        let (bytes, needed, least) = if number == self.next {
            (&self.start, self.start.len() + len + self.following_len(), MIN_CAPACITY)
        } else if let Some(run) = self.run_before(number).and_then(|first| self.ahead.get(&first)) {
            (&run.bytes, run.bytes.len() + len, 0)
        } else {
            return len.saturating_add(RUN_OVERHEAD);
        };
        if needed <= bytes.capacity() {
            return 0;
        }
        // An announced length is worth little: room grows with what was received. A message that
        // was not announced yet is likely to be a short one.
        let (whole, factor) = match self.announced {
            Some(announced) => (announced.len, 4),
            None => (max_message_len, 2),
        };
        let missing = whole.saturating_sub(self.len() + len);
        let roomy = needed.saturating_mul(factor).max(least).min(needed.saturating_add(missing));
        roomy - bytes.capacity()
    }

    /// Inserts a fragment that was checked, and returns the memory that this freed in bytes.
    pub(super) fn insert(&mut self, number: u32, payload: &[u8], cost: usize) -> Result<usize, Refusal> {
        if number != self.next {
            return self.insert_ahead(number, payload, cost);
        }
        extend(&mut self.start, payload, cost)?;
        self.next += 1;
        let mut freed = 0;
        while let Some(run) = self.ahead.remove(&self.next) {
            self.start.extend_from_slice(&run.bytes);
            self.next += run.count;
            self.ahead_count -= run.count;
            self.ahead_len -= run.bytes.len();
            freed += run.room + RUN_OVERHEAD;
        }
        Ok(freed)
    }

    fn insert_ahead(&mut self, number: u32, payload: &[u8], cost: usize) -> Result<usize, Refusal> {
        let mut freed = 0;
        let before = self.run_before(number);
        if let Some(run) = before.and_then(|first| self.ahead.get_mut(&first)) {
            extend(&mut run.bytes, payload, cost)?;
            run.count += 1;
            run.room += cost;
        } else {
            // There is a gap behind the highest run, which is not likely to grow any more.
            if let Some(mut last) = self.ahead.last_entry().filter(|last| *last.key() < number) {
                let Run { bytes, room, .. } = last.get_mut();
                bytes.shrink_to_fit();
                freed = room.saturating_sub(bytes.len());
                *room -= freed;
            }
            let run = Run { bytes: payload.into(), count: 1, room: payload.len() };
            self.ahead.insert(number, run);
        }
        self.ahead_count += 1;
        self.ahead_len += payload.len();
        Ok(freed)
    }

    /// The first fragment of the run that ends just before this one.
    fn run_before(&self, number: u32) -> Option<u32> {
        let (&first, run) = self.ahead.range(..number).next_back()?;
        (first + run.count == number).then_some(first)
    }

    #[cfg(test)]
    pub(super) fn memory_address(&self) -> *const u8 {
        self.start.as_ptr()
    }

    #[cfg(test)]
    pub(super) fn runs(&self) -> usize {
        self.ahead.len()
    }

    /// The memory taken in bytes, that of the message's own entry aside.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        let room: usize = self.ahead.values().map(|run| run.bytes.capacity()).sum();
        self.start.capacity() + room + self.ahead.len() * RUN_OVERHEAD
    }

    /// The number of fragments received.
    fn count(&self) -> u32 {
        self.next + self.ahead_count
    }

    /// The bytes received.
    fn len(&self) -> usize {
        self.start.len() + self.ahead_len
    }

    /// The bytes of the fragments that follow the next one without a gap.
    fn following_len(&self) -> usize {
        let mut len = 0;
        let mut next = self.next + 1;
        while let Some(run) = self.ahead.get(&next) {
            len += run.bytes.len();
            next += run.count;
        }
        len
    }
}

/// Adds to bytes for which room costs so much.
fn extend(bytes: &mut Vec<u8>, payload: &[u8], cost: usize) -> Result<(), Refusal> {
    if cost > 0 {
        let room = bytes.capacity() - bytes.len() + cost;
        bytes.try_reserve_exact(room).map_err(|_| Refusal::Message(DropReason::OverCap))?;
    }
    bytes.extend_from_slice(payload);
    Ok(())
}
