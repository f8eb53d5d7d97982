//! Reads messages from all over an MCAP file in the order of their receive times.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::mem;

use anyhow::bail;
use mcap::McapError;
use mcap::records::{ChunkHeader, MessageHeader, Record, op};
use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};

use super::read::{MAX_CHUNK_LEN, MAX_READ_LEN, Range, explained};
use super::{human, lengths};

/// How much is held of stretches that overlap in time, decompressed. Two of the longest chunks have room, since neighbours may
/// overlap; recorders write chunks of a few MiB, of which this holds hundreds.
pub(super) const MAX_HELD_LEN: u64 = 2 * MAX_CHUNK_LEN;

/// A part of a file that holds messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// A chunk, or else consecutive messages outside of chunks.
    pub(super) is_chunk: bool,
    /// Of its first record.
    pub(super) offset: u64,
    pub(super) len: u64,
    /// Its length without compression.
    pub(super) full_len: u64,
    /// The receive times of its first and its last message.
    pub(super) times: (u64, u64),
}

/// Passes the messages of stretches to `each`, in the order of their receive times, until it returns `false`. Of a stretch that
/// is damaged, no message is passed.
///
/// # Errors
/// Those of `each`, when the file cannot be read, and when too much of it overlaps in time. Damage is passed to `damage`.
pub(super) fn in_order(
    file: &mut File,
    stretches: &[Stretch],
    range: &Range,
    max_held_len: u64,
    mut each: impl FnMut(&MessageHeader, &[u8]) -> anyhow::Result<bool>,
    mut damage: impl FnMut(String),
) -> anyhow::Result<()> {
    let mut order: Vec<_> = stretches.iter().filter(|stretch| range.overlaps(stretch.times)).collect();
    order.sort_by_key(|stretch| (stretch.times.0, stretch.offset));
    let mut order = order.into_iter().peekable();
    let (mut held, mut held_len) = (BinaryHeap::<Held>::new(), 0);
    // New memory for each stretch takes the system longer than reading it.
    let (mut buffer, mut spare) = (Vec::new(), Vec::new());
    loop {
        let time = held.peek().map(|first| first.key().0);
        if let Some(stretch) = order.next_if(|stretch| time.is_none_or(|time| stretch.times.0 < time)) {
            if held_len + stretch.full_len > max_held_len {
                bail!(
                    "more than {} of it overlap in time: `mcap sort` makes a file that can be read",
                    human(max_held_len)
                );
            }
            match Held::read(file, stretch, range, &mut buffer, mem::take(&mut spare))? {
                Ok(one) if one.messages.is_empty() => {}
                Ok(one) => {
                    held_len += one.len();
                    held.push(one);
                }
                Err(error @ McapError::UnsupportedCompression(_)) => return Err(explained(error)),
                Err(error) => damage(damaged_at(stretch.offset, error)),
            }
            continue;
        }
        let Some(mut first) = held.peek_mut() else { return Ok(()) };
        let (header, data) = first.message()?;
        if !each(&header, data)? {
            return Ok(());
        }
        first.next += 1;
        if first.next == first.messages.len() {
            let over = PeekMut::pop(first);
            held_len -= over.len();
            spare = over.records;
            spare.clear();
        }
    }
}

/// Says where a file is damaged.
pub(super) fn damaged_at(offset: u64, error: McapError) -> String {
    format!("damaged at byte {offset}: {:#}", explained(error))
}

/// Passes the records of a chunk to `each`. The reader of the crate `mcap` for that has no limits.
pub(super) fn each_of_chunk(
    chunk: &[u8],
    mut each: impl FnMut(u8, &[u8]) -> Result<(), McapError>,
) -> Result<ChunkHeader, McapError> {
    if !lengths::fit(op::CHUNK, chunk) {
        return Err(cut_off());
    }
    let Record::Chunk { header: chunk_header, data } = mcap::parse_record(op::CHUNK, chunk)? else {
        return Err(cut_off());
    };
    if chunk_header.compression.is_empty() && lengths::all_fit(&data).is_none_or(|rest| !rest.is_empty()) {
        return Err(cut_off());
    }
    if chunk_header.uncompressed_size > MAX_CHUNK_LEN {
        return Err(McapError::ChunkTooLarge(chunk_header.uncompressed_size));
    }
    let options = LinearReaderOptions::default()
        .with_skip_start_magic(true)
        .with_skip_end_magic(true)
        .with_validate_chunk_crcs(true)
        .with_record_length_limit(MAX_CHUNK_LEN as usize);
    let mut reader = LinearReader::new_with_options(options);
    let mut head = [op::CHUNK; HEAD_LEN];
    head[1..].copy_from_slice(&(chunk.len() as u64).to_le_bytes());
    let mut source = head.as_slice().chain(chunk);
    while let Some(event) = reader.next_event() {
        match event? {
            LinearReadEvent::ReadRequest(wanted) => {
                let read = source.read(reader.insert(wanted.min(MAX_READ_LEN)))?;
                reader.notify_read(read);
            }
            LinearReadEvent::Record { opcode, data } if lengths::fit(opcode, data) => each(opcode, data)?,
            LinearReadEvent::Record { .. } => return Err(cut_off()),
        }
    }
    Ok(chunk_header)
}

pub(super) fn cut_off() -> McapError {
    io::Error::new(ErrorKind::InvalidData, "a record ends within a text").into()
}

/// What is in front of a record: its kind and its length.
const HEAD_LEN: usize = 9;

/// The messages of a stretch that are still to be passed on.
struct Held {
    offset: u64,
    /// The message records one behind the other.
    records: Vec<u8>,
    /// When each was received, and from where to where its record goes, in the order of the times.
    messages: Vec<(u64, usize, usize)>,
    /// The message that comes next.
    next: usize,
}

impl Held {
    /// Reads a stretch, with the memory of two that are empty. The inner error is damage of it.
    fn read(
        file: &mut File,
        stretch: &Stretch,
        range: &Range,
        buffer: &mut Vec<u8>,
        records: Vec<u8>,
    ) -> anyhow::Result<Result<Self, McapError>> {
        file.seek(SeekFrom::Start(stretch.offset))?;
        buffer.clear();
        file.take(stretch.len).read_to_end(buffer)?;
        let mut held = Self { offset: stretch.offset, records, messages: Vec::new(), next: 0 };
        let result = held.fill(stretch, buffer, range);
        Ok(result.map(|()| held))
    }

    fn fill(&mut self, stretch: &Stretch, bytes: &[u8], range: &Range) -> Result<(), McapError> {
        let mut take = |opcode: u8, record: &[u8]| {
            let Record::Message { header, .. } = mcap::parse_record(opcode, record)? else { return Ok(()) };
            if range.contains(header.log_time) {
                let start = self.records.len();
                self.records.extend_from_slice(record);
                // Otherwise, the index says less than the chunk.
                if self.records.len() as u64 > stretch.full_len {
                    return Err(McapError::ChunkTooLarge(self.records.len() as u64));
                }
                self.messages.push((header.log_time, start, self.records.len()));
            }
            Ok(())
        };
        if stretch.is_chunk {
            match lengths::split(bytes) {
                Some((op::CHUNK, chunk, [])) => {
                    each_of_chunk(
                        chunk,
                        |opcode, record| {
                            if opcode == op::MESSAGE { take(opcode, record) } else { Ok(()) }
                        },
                    )?
                }
                _ => {
                    let error = io::Error::new(ErrorKind::InvalidData, "not the chunk that the index names");
                    return Err(error.into());
                }
            };
        } else {
            let mut rest = bytes;
            while let Some((opcode, record, behind)) = lengths::split(rest) {
                take(opcode, record)?;
                rest = behind;
            }
            if !rest.is_empty() || (bytes.len() as u64) < stretch.len {
                return Err(McapError::UnexpectedEof);
            }
        }
        if !self.messages.is_sorted_by_key(|(time, ..)| *time) {
            self.messages.sort_by_key(|(time, ..)| *time);
        }
        Ok(())
    }

    /// How much it takes in bytes.
    fn len(&self) -> u64 {
        (self.records.len() + self.messages.len() * size_of::<(u64, usize, usize)>()) as u64
    }

    /// When its next message was received, and where the stretch is in the file.
    fn key(&self) -> (u64, u64) {
        (self.messages[self.next].0, self.offset)
    }

    /// The next message.
    fn message(&self) -> anyhow::Result<(MessageHeader, &[u8])> {
        /// Of what comes before the payload, from the specification of MCAP, "Message".
        const LEN: usize = size_of::<u16>() + size_of::<u32>() + 2 * size_of::<u64>();
        let (_, start, end) = self.messages[self.next];
        let record = &self.records[start..end];
        match mcap::parse_record(op::MESSAGE, record)? {
            Record::Message { header, .. } => Ok((header, &record[LEN..])),
            _ => bail!("no message"),
        }
    }
}

/// The one with the earliest message is the greatest: that is which the heap gives.
impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Held {}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A file with a stretch for each of the lists of receive times, and the stretches.
    fn file(all: &[&[u64]]) -> (File, Vec<Stretch>) {
        let (mut bytes, mut stretches) = (Vec::new(), Vec::new());
        for times in all {
            let offset = bytes.len() as u64;
            for time in *times {
                bytes.push(op::MESSAGE);
                bytes.extend_from_slice(&30_u64.to_le_bytes());
                bytes.extend_from_slice(&[0; 6]);
                bytes.extend_from_slice(&time.to_le_bytes());
                bytes.extend_from_slice(&[0; 16]);
            }
            let len = bytes.len() as u64 - offset;
            let times = (*times.iter().min().unwrap(), *times.iter().max().unwrap());
            stretches.push(Stretch { is_chunk: false, offset, len, full_len: len, times });
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (file, stretches)
    }

    fn read(all: &[&[u64]], range: &Range, max_held_len: u64) -> anyhow::Result<Vec<u64>> {
        let (mut file, stretches) = file(all);
        let mut times = Vec::new();
        let each = |header: &MessageHeader, data: &[u8]| {
            assert_eq!(data.len(), 8);
            times.push(header.log_time);
            Ok(true)
        };
        in_order(&mut file, &stretches, range, max_held_len, each, |damage| panic!("{damage}"))?;
        Ok(times)
    }

    #[test]
    fn messages_of_stretches_that_overlap_come_in_order() {
        let all: &[&[u64]] = &[&[5, 1, 9], &[2, 8], &[7, 3, 3, 4], &[10]];
        let range = Range { start: Some(3), end: Some(9) };
        assert_eq!(read(all, &Range::default(), MAX_HELD_LEN).unwrap(), [1, 2, 3, 3, 4, 5, 7, 8, 9, 10]);
        assert_eq!(read(all, &range, MAX_HELD_LEN).unwrap(), [3, 3, 4, 5, 7, 8]);
    }

    #[test]
    fn what_overlaps_is_held_up_to_a_length() {
        let behind: &[&[u64]] = &[&[1, 2], &[3, 4], &[5, 6], &[7, 8]];
        assert_eq!(read(behind, &Range::default(), 200).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
        let across: &[&[u64]] = &[&[1, 8], &[2, 7], &[3, 6], &[4, 5]];
        assert_eq!(read(across, &Range::default(), 1000).unwrap(), [1, 2, 3, 4, 5, 6, 7, 8]);
        let error = read(across, &Range::default(), 200).unwrap_err();
        assert!(error.to_string().contains("`mcap sort`"), "{error}");
    }
}
