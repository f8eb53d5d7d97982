//! Puts the datagrams of a message back together, within bounds of memory and time.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddrV4;
use core::time::Duration;

use bytes::Bytes;

use crate::{DropCounts, DropReason, Header, Kind};

mod closed;
mod given_up;
mod partial;
mod spare;

use closed::Closed;
pub use given_up::GivenUp;
use given_up::GivenUpMessages;
use partial::{Partial, Refusal};
use spare::Spare;

/// The memory an incomplete message is charged beside its bytes, for the tables it is in.
const MESSAGE_OVERHEAD: usize = 256;

/// How much a [`Reassembler`] holds, and for how long.
///
/// Lengths are in bytes of memory set aside for incomplete messages: those received, room for more
/// of them, and a fixed amount for each message and each run of fragments that came ahead of their turn. The
/// room is at most three times what was received, or 64 KiB, and behind the start and behind each run no more than is
/// missing of the message, unless it is that of an earlier message: then it is at most twice what was announced. Up to
/// 64 MiB of such room are kept for a second or two beside these limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest message that is put together; 256 MiB by default.
    pub max_message_len: usize,
    /// The most memory for the messages of one sender; 512 MiB by default.
    pub max_bytes_per_sender: usize,
    /// The most memory for all messages; 1 GiB by default.
    pub max_bytes: usize,
    /// The most incomplete messages of one sender; 64 by default.
    pub max_messages_per_sender: usize,
    /// The most incomplete messages; 1024 by default.
    pub max_messages: usize,
    /// How long to wait for more of a message; 5 s by default, as eCAL does.
    ///
    /// It is counted from the last datagram that added to the message.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1024 * 1024;
        Self {
            max_message_len: 256 * MIB,
            max_bytes_per_sender: 512 * MIB,
            max_bytes: 1024 * MIB,
            max_messages_per_sender: 64,
            max_messages: 1024,
            timeout: Duration::from_secs(5),
        }
    }
}

/// A message that is complete: a sample name and a sample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'d> {
    /// It came in one datagram, and is borrowed from it.
    Whole(&'d [u8]),
    /// It came in fragments.
    Assembled(Bytes),
}

impl Message<'_> {
    /// Returns the bytes of the message.
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Whole(message) => message,
            Self::Assembled(message) => message,
        }
    }
}

/// Which message a datagram is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    source: SocketAddrV4,
    id: i32,
}

/// What the incomplete messages of one sender take.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    messages: usize,
    bytes: usize,
}

/// Puts the datagrams of messages back together.
///
/// Info and fragments may come in any order, interleaved with other messages and senders, and more
/// than once; fragments may be of any lengths. When a limit is reached, the oldest incomplete
/// message is given up, of the same sender or of all, depending on the limit. What comes later of
/// a message that was completed or given up is dropped for a while, and so is not taken for a new
/// one.
///
/// Fragments that come in order cost one copy, and no allocation for most; behind a gap, that holds for those that
/// follow each other, and they are copied once more if the gap is filled.
#[derive(Debug)]
pub struct Reassembler {
    limits: Limits,
    drops: DropCounts,
    messages: BTreeMap<Key, Partial>,
    /// The incomplete messages from the oldest to the newest.
    by_age: BTreeMap<u64, Key>,
    next_age: u64,
    senders: BTreeMap<SocketAddrV4, Usage>,
    bytes: usize,
    closed: Closed,
    given_up: GivenUpMessages,
    spare: Spare,
    /// How often datagrams were lost, and whether they were before the next one.
    losses: u32,
    is_after_loss: bool,
}

impl Reassembler {
    /// Creates one that holds nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            drops: DropCounts::default(),
            messages: BTreeMap::new(),
            by_age: BTreeMap::new(),
            next_age: 0,
            senders: BTreeMap::new(),
            bytes: 0,
            closed: Closed::default(),
            given_up: GivenUpMessages::default(),
            spare: Spare::default(),
            losses: 0,
            is_after_loss: false,
        }
    }

    /// Takes a datagram, and returns the message that it completes.
    ///
    /// `now` is the time since any fixed moment, the same for all calls. Drops are counted; see
    /// [`drops`](Self::drops).
    // Most messages fit a datagram, and need nothing of what is beyond this.
    #[inline]
    pub fn push<'d>(
        &mut self,
        now: Duration,
        source: SocketAddrV4,
        datagram: &'d [u8],
    ) -> Option<Message<'d>> {
        let is_after_loss = mem::take(&mut self.is_after_loss);
        let message = match Header::parse(datagram) {
            Ok((Header { kind: Kind::Whole, .. }, payload))
                if payload.len() <= self.limits.max_message_len =>
            {
                return Some(Message::Whole(payload));
            }
            Ok((header, payload)) => self.accept(now, source, header, payload, is_after_loss),
            Err(reason) => Err(reason),
        };
        message.unwrap_or_else(|reason| {
            self.drops.count(reason);
            None
        })
    }

    /// Tells that datagrams were lost before the next one that is pushed, as a receive buffer was full.
    ///
    /// A message of which the next fragment leaves a gap is not waited for then, even if the loss was of others, nor one
    /// of which that next datagram is a fragment, and the first to come: taking what comes of them would only have more
    /// messages lost. Without a loss, a gap may be filled later.
    pub fn note_loss(&mut self) {
        self.losses = self.losses.wrapping_add(1);
        self.is_after_loss = true;
    }

    /// Gives up the messages that nothing was added to for the timeout, and memory that was kept for new ones in vain.
    ///
    /// To be called now and then, such as once a second: between calls, they only take memory.
    pub fn expire(&mut self, now: Duration) {
        let timeout = self.limits.timeout;
        let expired: Vec<Key> = self
            .messages
            .iter()
            .filter(|(_, partial)| partial.is_expired(now, timeout))
            .map(|(key, _)| *key)
            .collect();
        for key in expired {
            self.give_up(now, key, DropReason::Expired);
        }
        self.spare.shrink();
    }

    /// Returns what was dropped.
    pub fn drops(&self) -> &DropCounts {
        &self.drops
    }

    /// Returns the messages that were given up since the last call, so that they count for their topics at once.
    ///
    /// To be called after each batch of datagrams and after [`expire`](Self::expire). Of more than 64 at a time, only the
    /// first 64 are there; [`drops`](Self::drops) counts all.
    pub fn take_given_up(&mut self) -> impl Iterator<Item = GivenUp> + '_ {
        self.given_up.take()
    }

    /// Returns the memory set aside for incomplete messages in bytes, as [`Limits`] counts it.
    pub fn buffered_bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of incomplete messages.
    pub fn in_flight(&self) -> usize {
        self.messages.len()
    }

    /// Takes what is no whole message, or too long.
    fn accept(
        &mut self,
        now: Duration,
        source: SocketAddrV4,
        header: Header,
        payload: &[u8],
        is_after_loss: bool,
    ) -> Result<Option<Message<'static>>, DropReason> {
        let key = Key { source, id: header.id };
        let complete = match header.kind {
            Kind::Whole => return Err(DropReason::TooLong),
            Kind::Info => self.accept_info(now, key, header.num, header.len),
            Kind::Fragment => self.accept_fragment(now, key, header.num, payload, is_after_loss),
        };
        match complete {
            Ok(false) => Ok(None),
            Ok(true) => {
                let partial = self.close(now, key, DropReason::Duplicate);
                Ok(partial.map(|partial| Message::Assembled(self.spare.hand_out(partial.into_vec()))))
            }
            Err(Refusal::Datagram(reason)) => Err(reason),
            Err(Refusal::Message(reason)) => {
                self.give_up(now, key, reason);
                Ok(None)
            }
        }
    }

    /// Takes an info, and returns whether it completes the message.
    fn accept_info(&mut self, now: Duration, key: Key, num: u32, len: u32) -> Result<bool, Refusal> {
        match (num, len) {
            (0, _) => return Err(Refusal::Datagram(DropReason::FragmentNumber)),
            (_, 0) => return Err(Refusal::Datagram(DropReason::Empty)),
            // Every fragment has at least one byte.
            _ if num > len => return Err(Refusal::Datagram(DropReason::Inconsistent)),
            _ => {}
        }
        let (len, max_message_len) = (len as usize, self.limits.max_message_len);
        let losses = self.losses;
        let partial = self.open(now, key)?;
        partial.announce(num, len, max_message_len)?;
        partial.touch(now, losses);
        Ok(partial.is_complete())
    }

    /// Takes a fragment, and returns whether it completes the message.
    fn accept_fragment(
        &mut self,
        now: Duration,
        key: Key,
        number: u32,
        payload: &[u8],
        is_after_loss: bool,
    ) -> Result<bool, Refusal> {
        let timeout = self.limits.timeout;
        let losses = self.losses;
        if let Some(partial) = self.messages.get_mut(&key)
            && let Some(complete) = partial.append(now, timeout, losses, number, payload)
        {
            return Ok(complete);
        }
        if payload.is_empty() {
            return Err(Refusal::Datagram(DropReason::Empty));
        }
        // The number of fragments is above it, and would not fit the header.
        if number == u32::MAX {
            return Err(Refusal::Datagram(DropReason::FragmentNumber));
        }
        if is_after_loss && !self.messages.contains_key(&key) {
            let reason = self.closed.find(now, timeout, key).unwrap_or_else(|| {
                // Of the first fragment, at least the topic is known.
                let start = if number == 0 { payload } else { &[] };
                self.given_up.push(key.source, DropReason::Lost, start);
                self.closed.insert(now, key, DropReason::Lost);
                DropReason::Lost
            });
            return Err(Refusal::Datagram(reason));
        }
        let max_message_len = self.limits.max_message_len;
        let partial = self.open(now, key)?;
        partial.check(number, payload.len(), max_message_len)?;
        if partial.is_behind_loss(losses, number) {
            return Err(Refusal::Message(DropReason::Lost));
        }
        // Not before: when datagrams are lost, many a message is no more than its info.
        if let Some(len) = partial.begins()
            && let Some(buffer) = self.spare.take(len)
        {
            self.reserve(now, key, buffer.capacity())?.fill(buffer);
        }
        let partial = self.get(key)?;
        let cost = partial.cost(number, payload.len(), max_message_len);
        let partial = if cost == 0 { partial } else { self.reserve(now, key, cost)? };
        let freed = partial.insert(number, payload, cost)?;
        partial.touch(now, losses);
        let complete = partial.is_complete();
        if freed > 0 {
            self.release(key, freed);
        }
        Ok(complete)
    }

    /// Returns the incomplete message, a new one unless it is known.
    fn open(&mut self, now: Duration, key: Key) -> Result<&mut Partial, Refusal> {
        let timeout = self.limits.timeout;
        match self.messages.get(&key) {
            Some(partial) if partial.is_expired(now, timeout) => {
                self.give_up(now, key, DropReason::Expired);
                Err(Refusal::Datagram(DropReason::Expired))
            }
            Some(_) => self.get(key),
            None => {
                if let Some(reason) = self.closed.find(now, timeout, key) {
                    return Err(Refusal::Datagram(reason));
                }
                self.messages.insert(key, Partial::new(now, self.losses, self.next_age));
                self.by_age.insert(self.next_age, key);
                self.next_age += 1;
                self.senders.entry(key.source).or_default().messages += 1;
                self.reserve(now, key, MESSAGE_OVERHEAD)
            }
        }
    }

    fn get(&mut self, key: Key) -> Result<&mut Partial, Refusal> {
        let partial = self.messages.get_mut(&key);
        partial.ok_or(Refusal::Datagram(DropReason::OverCap))
    }

    /// Charges a message with more memory, and gives up older ones to have it.
    fn reserve(&mut self, now: Duration, key: Key, cost: usize) -> Result<&mut Partial, Refusal> {
        loop {
            let victim = if self.is_sender_over(key.source, cost) {
                self.oldest_of(key.source)
            } else if self.is_over(cost) {
                self.by_age.values().next().copied()
            } else {
                break;
            };
            match victim {
                Some(victim) if victim != key => self.give_up(now, victim, DropReason::OverCap),
                _ => return Err(Refusal::Message(DropReason::OverCap)),
            }
        }
        self.bytes += cost;
        self.senders.entry(key.source).or_default().bytes += cost;
        let partial = self.get(key)?;
        partial.charged += cost;
        Ok(partial)
    }

    fn is_sender_over(&self, source: SocketAddrV4, cost: usize) -> bool {
        let usage = self.senders.get(&source).copied().unwrap_or_default();
        usage.messages > self.limits.max_messages_per_sender
            || usage.bytes.saturating_add(cost) > self.limits.max_bytes_per_sender
    }

    fn is_over(&self, cost: usize) -> bool {
        self.messages.len() > self.limits.max_messages
            || self.bytes.saturating_add(cost) > self.limits.max_bytes
    }

    fn oldest_of(&self, source: SocketAddrV4) -> Option<Key> {
        let key = |id| Key { source, id };
        self.messages
            .range(key(i32::MIN)..=key(i32::MAX))
            .min_by_key(|(_, partial)| partial.age)
            .map(|(key, _)| *key)
    }

    /// Takes back what a message was charged.
    fn release(&mut self, key: Key, freed: usize) {
        if let Some(partial) = self.messages.get_mut(&key) {
            partial.charged -= freed;
            self.bytes -= freed;
            if let Some(usage) = self.senders.get_mut(&key.source) {
                usage.bytes -= freed;
            }
        }
    }

    /// Drops an incomplete message, and what comes of it from now on.
    fn give_up(&mut self, now: Duration, key: Key, reason: DropReason) {
        self.drops.count(reason);
        if let Some(partial) = self.close(now, key, reason) {
            let start = partial.into_vec();
            self.given_up.push(key.source, reason, &start);
            self.spare.keep(start);
        }
    }

    /// Takes a message out of the tables; what comes of it from now on has a reason to be dropped.
    fn close(&mut self, now: Duration, key: Key, reason: DropReason) -> Option<Partial> {
        let partial = self.messages.remove(&key)?;
        self.by_age.remove(&partial.age);
        self.bytes -= partial.charged;
        if let Some(usage) = self.senders.get_mut(&key.source) {
            usage.bytes -= partial.charged;
            usage.messages -= 1;
            if usage.messages == 0 {
                self.senders.remove(&key.source);
            }
        }
        self.closed.insert(now, key, reason);
        Some(partial)
    }
}

#[cfg(test)]
mod tests;
