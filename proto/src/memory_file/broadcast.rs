//! The file by which processes of one host learn of each other's registrations: a queue of news.

use alloc::vec::Vec;

use super::{FileHead, FileLayout, u32_at, u64_at};
use crate::DropReason;

/// What a broadcast file holds behind its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broadcast {
    /// The newest last.
    pub events: Vec<BroadcastEvent>,
    /// How many events the queue has room for.
    pub capacity: u64,
}

/// News of one payload file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BroadcastEvent {
    /// Of the process that the payload file belongs to.
    pub process_id: i32,
    /// Nanoseconds of the host's monotonic clock.
    pub timestamp_ns: i64,
    /// Names the payload file, with the domain.
    pub event_id: u64,
    /// What happened to it.
    pub kind: BroadcastKind,
}

/// What happened to a payload file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BroadcastKind {
    /// It was made.
    Created,
    /// It is gone.
    Removed,
    /// It has other content.
    Updated,
}

const VERSION: u32 = 1;
const HEAD_LEN: usize = 24;
const QUEUE_HEAD_LEN: usize = 32;
const EVENT_LEN: usize = 24;

impl Broadcast {
    /// The most events that are read or written, of a queue that claims to have room for more.
    pub const MAX_CAPACITY: u64 = 1 << 16;

    /// The length of a file for `capacity` events in bytes.
    pub fn file_len(layout: FileLayout, capacity: u64) -> u64 {
        let events = capacity.min(Self::MAX_CAPACITY) * EVENT_LEN as u64;
        layout.head_len() as u64 + (HEAD_LEN + QUEUE_HEAD_LEN) as u64 + events
    }

    /// Reads a whole file, which a 64-bit program of a system with this layout has written.
    ///
    /// # Errors
    /// As [`FileHead::decode`], and [`DropReason::BadMemoryFile`] if the file is of another layout, or an index or a length
    /// of the queue is out of range. Single events that make no sense are left out.
    pub fn decode(bytes: &[u8], layout: FileLayout) -> Result<Self, DropReason> {
        let file = FileHead::decode(bytes, bytes.len() as u64)?;
        if file.layout != layout {
            // The indices have the size of that system's pointers.
            return Err(DropReason::BadMemoryFile);
        }
        let bytes = bytes.get(layout.head_len()..).ok_or(DropReason::Truncated)?;
        let bytes = usize::try_from(file.max).ok().and_then(|max| bytes.get(..max)).unwrap_or(bytes);
        if u32_at(bytes, 0)? != VERSION {
            return Err(DropReason::UnknownVersion);
        }
        let offset = usize::try_from(u64_at(bytes, 4)?).map_err(|_| DropReason::BadMemoryFile)?;
        let queue = bytes.get(offset..).ok_or(DropReason::BadMemoryFile)?;
        let [back, front, len, capacity] = [0, 8, 16, 24].map(|at| u64_at(queue, at));
        let (back, front, len, capacity) = (back?, front?, len?, capacity?);
        let slots = &queue[QUEUE_HEAD_LEN..];
        let has_room = capacity <= Self::MAX_CAPACITY && capacity * EVENT_LEN as u64 <= slots.len() as u64;
        if !has_room || len > capacity || (len > 0 && (front >= capacity || back >= capacity)) {
            return Err(DropReason::BadMemoryFile);
        }
        let mut events = Vec::new();
        for index in 0..len {
            let slot = ((front + index) % capacity) as usize * EVENT_LEN;
            events.extend(BroadcastEvent::decode(&slots[slot..])?);
        }
        Ok(Self { events, capacity })
    }

    /// Writes a whole file that begins with its oldest event, for as many as `capacity`; the oldest of more than that are
    /// left out.
    pub fn encode(&self, layout: FileLayout) -> Vec<u8> {
        let capacity = self.capacity.clamp(1, Self::MAX_CAPACITY);
        let kept = self.events.len().min(capacity as usize);
        let events = &self.events[self.events.len() - kept..];
        let len = Self::file_len(layout, capacity);
        let max = len - layout.head_len() as u64;
        let head = FileHead { layout, used: max, max };
        let newest = events.last().map_or(0, |event| event.timestamp_ns);
        let mut bytes = Vec::with_capacity(len as usize);
        bytes.extend_from_slice(head.encode(&mut [0; FileHead::MAX_LEN]));
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(HEAD_LEN as u64).to_le_bytes());
        bytes.extend_from_slice(&newest.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for number in [kept.saturating_sub(1) as u64, 0, kept as u64, capacity] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        events.iter().for_each(|event| event.encode(&mut bytes));
        bytes.resize(len as usize, 0);
        bytes
    }
}

impl BroadcastEvent {
    fn decode(bytes: &[u8]) -> Result<Option<Self>, DropReason> {
        let kind = match u32_at(bytes, 20)? {
            1 => BroadcastKind::Created,
            2 => BroadcastKind::Removed,
            3 => BroadcastKind::Updated,
            _ => return Ok(None),
        };
        Ok(Some(Self {
            process_id: u32_at(bytes, 0)?.cast_signed(),
            timestamp_ns: u64_at(bytes, 4)?.cast_signed(),
            event_id: u64_at(bytes, 12)?,
            kind,
        }))
    }

    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.process_id.to_le_bytes());
        bytes.extend_from_slice(&self.timestamp_ns.to_le_bytes());
        bytes.extend_from_slice(&self.event_id.to_le_bytes());
        let kind: u32 = match self.kind {
            BroadcastKind::Created => 1,
            BroadcastKind::Removed => 2,
            BroadcastKind::Updated => 3,
        };
        bytes.extend_from_slice(&kind.to_le_bytes());
    }
}
