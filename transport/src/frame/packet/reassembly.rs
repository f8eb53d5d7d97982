//! IPv4 fragments -> packets (RFC 791), bounded in memory and time.

use std::collections::VecDeque;
use std::mem;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::pieces::{Contradiction, Pieces};
use super::{FrameDrop, FrameDrops, IpReassemblyLimits, MAX_IPV4_PAYLOAD_LEN};

/// How many cleared buffers are kept for packets to come: as many as senders usually are in the middle of a packet.
const MAX_SPARES: usize = 8;

/// What the fragments of a packet have in common, besides the protocol: only UDP's come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
    pub(super) identification: u16,
}

/// One fragment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment<'a> {
    pub(super) key: Key,
    /// Where its bytes belong in the packet.
    pub(super) offset: usize,
    /// Whether it is not the packet's last.
    pub(super) more_follow: bool,
    pub(super) bytes: &'a [u8],
}

/// Puts packets together.
///
/// What it takes in is right, in that every byte of a packet it returns was in a fragment with the packet's key, at
/// that place, and no fragment that came meanwhile said otherwise. As in RFC 5722, fragments that contradict each
/// other make it ignore all fragments of their packet, those to come included. What cannot be noticed here, a packet of
/// fragments that were left of two, is for the UDP checksum to find.
#[derive(Debug)]
pub(super) struct Reassembler {
    limits: IpReassemblyLimits,
    /// The oldest first.
    waiting: VecDeque<Packet>,
    /// The last packet that was completed.
    complete: Vec<u8>,
    spares: Vec<Pieces>,
    drops: FrameDrops,
}

/// An incomplete packet.
#[derive(Debug)]
struct Packet {
    key: Key,
    /// When its newest bytes came.
    progress: Duration,
    /// Its length, once its last fragment has come.
    len: Option<usize>,
    pieces: Pieces,
    /// Whether all that is left to do is to ignore its fragments.
    is_ignored: bool,
}

impl Packet {
    fn insert(&mut self, now: Duration, fragment: &Fragment<'_>) -> Result<(), Contradiction> {
        let end = fragment.offset + fragment.bytes.len();
        let fits = match self.len {
            Some(len) if fragment.more_follow => end <= len,
            Some(len) => end == len,
            None => fragment.more_follow || end >= self.pieces.end(),
        };
        if !fits {
            return Err(Contradiction);
        }
        if self.pieces.insert(fragment.offset, fragment.bytes)? {
            self.progress = now;
        }
        if !fragment.more_follow {
            self.len = Some(end);
        }
        Ok(())
    }
}

impl Reassembler {
    pub(super) fn new(limits: IpReassemblyLimits) -> Self {
        Self {
            limits,
            waiting: VecDeque::new(),
            complete: Vec::new(),
            spares: Vec::new(),
            drops: FrameDrops::default(),
        }
    }

    /// Takes a fragment in and returns its packet's payload if that is complete now.
    ///
    /// # Errors
    /// [`FrameDrop::BadFragment`]; or [`FrameDrop::FragmentOverlap`] or [`FrameDrop::OverCap`] when the fragment's
    /// packet was given up.
    pub(super) fn push(&mut self, now: Duration, fragment: Fragment<'_>) -> Result<Option<&[u8]>, FrameDrop> {
        let Fragment { key, offset, more_follow, bytes } = fragment;
        let end = offset + bytes.len();
        let is_cut_right = !more_follow || bytes.len().is_multiple_of(8);
        if bytes.is_empty() || end > MAX_IPV4_PAYLOAD_LEN || !is_cut_right {
            return Err(FrameDrop::BadFragment);
        }

        let index = self.find(now, key).unwrap_or_else(|| self.open(now, key));
        let packet = &self.waiting[index];
        if packet.is_ignored {
            return Ok(None);
        }
        let index = self.make_room(index, packet.pieces.growth(offset, bytes.len()))?;
        let packet = &mut self.waiting[index];
        if packet.insert(now, &fragment).is_err() {
            self.discard(now, index);
            return Err(FrameDrop::FragmentOverlap);
        }
        if packet.len != Some(packet.pieces.len()) {
            return Ok(None);
        }

        let growth = packet.pieces.take_growth();
        let index = self.make_room(index, growth)?;
        if let Some(mut packet) = self.waiting.remove(index) {
            packet.pieces.take(&mut self.complete);
            self.recycle(packet.pieces);
        }
        Ok(Some(&self.complete))
    }

    /// Ignores the fragments of a packet that is not wanted, those to come included.
    pub(super) fn ignore(&mut self, now: Duration, key: Key) {
        let index = self.find(now, key).unwrap_or_else(|| self.open(now, key));
        self.discard(now, index);
        // Where there is no room for as much as its entry, nothing of it is kept to be ignored.
        let _ = self.make_room(index, 0);
    }

    /// Gives up the packets whose missing fragments have not come in time.
    pub(super) fn expire(&mut self, now: Duration) {
        for index in (0..self.waiting.len()).rev() {
            if self.is_stale(now, index) {
                self.give_up(index, FrameDrop::Expired);
            }
        }
    }

    /// How often a packet was given up, other than by an error that [`push`](Self::push) returned.
    pub(super) fn drops(&self) -> &FrameDrops {
        &self.drops
    }

    /// The memory taken for packets, in bytes.
    pub(super) fn buffered_bytes(&self) -> usize {
        let waiting = self.waiting.iter().map(|packet| size_of::<Packet>() + packet.pieces.allocated());
        let spares = self.spares.iter().map(Pieces::allocated);
        waiting.chain(spares).sum::<usize>() + self.complete.capacity()
    }

    /// The index of the packet with a key, unless what is there of it is too old to belong to a fragment of now.
    fn find(&mut self, now: Duration, key: Key) -> Option<usize> {
        let index = self.waiting.iter().rposition(|packet| packet.key == key)?;
        if self.is_stale(now, index) {
            self.give_up(index, FrameDrop::Expired);
            return None;
        }
        Some(index)
    }

    /// Starts a packet and returns its index.
    fn open(&mut self, now: Duration, key: Key) -> usize {
        self.expire(now);
        while self.waiting.len() >= self.limits.max_packets.max(1) {
            self.give_up(0, FrameDrop::OverCap);
        }
        let pieces = self.spares.pop().unwrap_or_default();
        self.waiting.push_back(Packet { key, progress: now, len: None, pieces, is_ignored: false });
        self.waiting.len() - 1
    }

    /// Sees to it that `growth` more bytes are within the limit, for the packet at `index`, whose new index it
    /// returns.
    ///
    /// # Errors
    /// [`FrameDrop::OverCap`] when the packet itself had to be given up.
    fn make_room(&mut self, mut index: usize, growth: usize) -> Result<usize, FrameDrop> {
        while self.buffered_bytes() + growth > self.limits.max_bytes {
            if !self.spares.is_empty() || self.complete.capacity() > 0 {
                self.spares.clear();
                self.complete = Vec::new();
                continue;
            }
            let oldest = self.waiting.pop_front();
            if index == 0 {
                return Err(FrameDrop::OverCap);
            }
            index -= 1;
            if oldest.is_some_and(|packet| !packet.is_ignored) {
                self.drops.count(FrameDrop::OverCap);
            }
        }
        Ok(index)
    }

    /// Keeps no more of a packet than that its fragments are to be ignored.
    fn discard(&mut self, now: Duration, index: usize) {
        let packet = &mut self.waiting[index];
        packet.is_ignored = true;
        packet.progress = now;
        let pieces = mem::take(&mut packet.pieces);
        self.recycle(pieces);
    }

    fn is_stale(&self, now: Duration, index: usize) -> bool {
        now.saturating_sub(self.waiting[index].progress) >= self.limits.timeout
    }

    fn give_up(&mut self, index: usize, reason: FrameDrop) {
        if let Some(packet) = self.waiting.remove(index) {
            // A contradiction has been counted already, and what is not wanted is no loss.
            if !packet.is_ignored {
                self.drops.count(reason);
            }
            self.recycle(packet.pieces);
        }
    }

    fn recycle(&mut self, mut pieces: Pieces) {
        if self.spares.len() < MAX_SPARES {
            pieces.clear();
            self.spares.push(pieces);
        }
    }
}

#[cfg(test)]
mod tests;
