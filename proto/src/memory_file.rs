//! The heads of eCAL's memory files: those that messages are in, and those of registration.
//!
//! Every field is checked against what is there before it is used: whoever can write to a memory file can write anything.
//! Numbers are in the byte order of the host; this reads little-endian ones, which all hosts of the layer have.

mod broadcast;

pub use broadcast::{Broadcast, BroadcastEvent, BroadcastKind};

use crate::DropReason;

/// How the writer of a memory file lays out its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileLayout {
    /// 64-bit systems other than Windows: a head of 24 bytes.
    Wide,
    /// Windows, and 32-bit systems: a head of 12 bytes.
    Narrow,
}

impl FileLayout {
    /// That of this system's programs, if they are of 64 bits.
    pub const HOST: Self = if cfg!(windows) { Self::Narrow } else { Self::Wide };

    /// The length of the head in bytes.
    pub const fn head_len(self) -> usize {
        match self {
            Self::Wide => 24,
            Self::Narrow => 12,
        }
    }

    /// The longest file of this layout in bytes.
    pub const fn max_file_len(self) -> u64 {
        match self {
            Self::Wide => u64::MAX,
            Self::Narrow => u32::MAX as u64,
        }
    }
}

/// The head of every memory file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHead {
    /// How its numbers are laid out.
    pub layout: FileLayout,
    /// Bytes in use behind the head.
    pub used: u64,
    /// Bytes that can be used behind the head.
    pub max: u64,
}

impl FileHead {
    /// The longest head in bytes.
    pub const MAX_LEN: usize = 24;

    /// Reads the head of a file of `file_len` bytes from its start.
    ///
    /// # Errors
    /// [`DropReason::Truncated`] if the bytes are too few, [`DropReason::BadMemoryFile`] if the head is of no known layout
    /// or claims more than the file has.
    pub fn decode(bytes: &[u8], file_len: u64) -> Result<Self, DropReason> {
        let layout = match u16_at(bytes, 0)? {
            24 => FileLayout::Wide,
            12 => FileLayout::Narrow,
            _ => return Err(DropReason::BadMemoryFile),
        };
        let (used, max) = match layout {
            FileLayout::Wide => (u64_at(bytes, 8)?, u64_at(bytes, 16)?),
            FileLayout::Narrow => (u32_at(bytes, 4)?.into(), u32_at(bytes, 8)?.into()),
        };
        let room = file_len.checked_sub(layout.head_len() as u64).ok_or(DropReason::BadMemoryFile)?;
        if used > max || max > room {
            return Err(DropReason::BadMemoryFile);
        }
        Ok(Self { layout, used, max })
    }

    /// Writes the head into a buffer, and returns the part of it that the head takes.
    ///
    /// Lengths beyond what the [layout](FileLayout::max_file_len) can hold are written as the most that it can.
    pub fn encode<'a>(&self, into: &'a mut [u8; Self::MAX_LEN]) -> &'a [u8] {
        into.fill(0);
        into[0] = self.layout.head_len() as u8;
        match self.layout {
            FileLayout::Wide => {
                into[8..16].copy_from_slice(&self.used.to_le_bytes());
                into[16..].copy_from_slice(&self.max.to_le_bytes());
            }
            FileLayout::Narrow => {
                let [used, max] = [self.used, self.max].map(|len| u32::try_from(len).unwrap_or(u32::MAX));
                into[4..8].copy_from_slice(&used.to_le_bytes());
                into[8..12].copy_from_slice(&max.to_le_bytes());
            }
        }
        &into[..self.layout.head_len()]
    }
}

/// The message in a memory file, as its head describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MemoryMessage {
    /// Where its payload begins in the file.
    pub payload_offset: u64,
    /// The length of the payload in bytes.
    pub payload_len: u64,
    /// The publisher's count of its messages, from 1; 0 before the first.
    pub clock: u64,
    /// Microseconds since the Unix epoch.
    pub time_us: i64,
    /// A number that tells messages apart.
    pub hash: u64,
    /// Whether readers call callbacks while they hold the lock.
    pub zero_copy: bool,
    /// How long the writer waits until its readers acknowledge, in milliseconds; 0 if it does not.
    pub acknowledge_timeout_ms: i64,
}

/// The head of a message as this crate writes it.
const MESSAGE_HEAD_LEN: u16 = 64;
/// The shortest one that can be used: up to the clock and the send time.
const MIN_MESSAGE_HEAD_LEN: u16 = 40;
const ZERO_COPY: u8 = 1;

impl MemoryMessage {
    /// The longest that both heads together can be, as far as they are read, in bytes.
    pub const MAX_HEAD_LEN: usize = FileHead::MAX_LEN + MESSAGE_HEAD_LEN as usize;

    /// Reads both heads of a file of `file_len` bytes from its start.
    ///
    /// Heads of messages that are shorter or longer than eCAL's present one are understood.
    ///
    /// # Errors
    /// As [`FileHead::decode`]; [`DropReason::BadMemoryFile`] also if the file holds no message, and
    /// [`DropReason::LengthMismatch`] if the message is longer than the bytes in use.
    pub fn decode(bytes: &[u8], file_len: u64) -> Result<Self, DropReason> {
        let file = FileHead::decode(bytes, file_len)?;
        let bytes = bytes.get(file.layout.head_len()..).ok_or(DropReason::Truncated)?;
        let head_len = u16_at(bytes, 0)?;
        if head_len < MIN_MESSAGE_HEAD_LEN || u64::from(head_len) > file.used {
            return Err(DropReason::BadMemoryFile);
        }
        let payload_len = u64_at(bytes, 8)?;
        if payload_len > file.used - u64::from(head_len) {
            return Err(DropReason::LengthMismatch);
        }
        let has = |end: u16| head_len >= end;
        Ok(Self {
            payload_offset: file.layout.head_len() as u64 + u64::from(head_len),
            payload_len,
            clock: u64_at(bytes, 24)?,
            time_us: u64_at(bytes, 32)?.cast_signed(),
            hash: if has(48) { u64_at(bytes, 40)? } else { 0 },
            zero_copy: has(49) && *bytes.get(48).ok_or(DropReason::Truncated)? & ZERO_COPY != 0,
            acknowledge_timeout_ms: if has(64) { u64_at(bytes, 56)?.cast_signed() } else { 0 },
        })
    }

    /// The bytes of a file that holds messages with a payload of `payload_len` bytes at most.
    pub const fn file_len(payload_len: u64) -> u64 {
        payload_len.saturating_add(Self::MAX_HEAD_LEN as u64)
    }

    /// Writes both heads into a buffer, for a file of `file_len` bytes, and returns the part of it that they take. The
    /// payload follows at once; its offset here is not looked at.
    pub fn encode<'a>(
        &self,
        layout: FileLayout,
        file_len: u64,
        into: &'a mut [u8; Self::MAX_HEAD_LEN],
    ) -> &'a [u8] {
        let head_len = layout.head_len();
        let used = u64::from(MESSAGE_HEAD_LEN) + self.payload_len;
        let file = FileHead { layout, used, max: file_len.saturating_sub(head_len as u64) };
        into.fill(0);
        let message = &mut into[head_len..];
        message[..2].copy_from_slice(&MESSAGE_HEAD_LEN.to_le_bytes());
        message[8..16].copy_from_slice(&self.payload_len.to_le_bytes());
        message[24..32].copy_from_slice(&self.clock.to_le_bytes());
        message[32..40].copy_from_slice(&self.time_us.to_le_bytes());
        message[40..48].copy_from_slice(&self.hash.to_le_bytes());
        message[48] = if self.zero_copy { ZERO_COPY } else { 0 };
        message[56..64].copy_from_slice(&self.acknowledge_timeout_ms.to_le_bytes());
        into[..head_len].copy_from_slice(file.encode(&mut [0; FileHead::MAX_LEN]));
        &into[..head_len + usize::from(MESSAGE_HEAD_LEN)]
    }
}

/// Whether a name from a registration is one that eCAL gives its memory files: letters, digits and a few signs, but
/// nothing that leads out of the folder of shared memory.
pub fn is_memory_file_name(name: &[u8]) -> bool {
    // The kernel takes 255; the names of the lock and of the events are longer.
    const MAX_LEN: usize = 200;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.".contains(byte);
    !name.is_empty() && name.len() <= MAX_LEN && name[0] != b'.' && name.iter().all(is_plain)
}

fn array_at<const LEN: usize>(bytes: &[u8], at: usize) -> Result<[u8; LEN], DropReason> {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).copied().ok_or(DropReason::Truncated)
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16, DropReason> {
    array_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, DropReason> {
    array_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64, DropReason> {
    array_at(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests;
