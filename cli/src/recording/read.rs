//! Reads an MCAP file: whole ones by their index, others by going through them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use mcap::records::{ChunkIndex, MessageHeader, Metadata, Record, op};
use mcap::sans_io::indexed_reader::{IndexedReadEvent, IndexedReader, IndexedReaderOptions};
use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};
use mcap::sans_io::summary_reader::{SummaryReadEvent, SummaryReader, SummaryReaderOptions};
use mcap::{McapError, Summary};

use super::{Channel, lengths};

/// The longest record that is read, chunks aside. Longer ones are no recordings of messages that can be sent.
const MAX_RECORD_LEN: usize = 512 * 1024 * 1024;
/// The longest chunk that is read, as it is and decompressed.
const MAX_CHUNK_LEN: u64 = 1024 * 1024 * 1024;
/// How much is read at once.
const MAX_READ_LEN: usize = 1024 * 1024;
/// Messages outside of chunks are read together up to this length.
const MAX_RUN_LEN: u64 = 4 * 1024 * 1024;

/// An MCAP file that is read.
pub(crate) struct Recording {
    path: PathBuf,
    /// In bytes.
    len: u64,
    summary: Summary,
    channels: HashMap<u16, Channel>,
    counts: BTreeMap<u16, u64>,
    metadata: Vec<Metadata>,
    /// Of the first and the last message.
    times: Option<(u64, u64)>,
    is_complete: bool,
    damage: Option<String>,
}

/// What is read of a recording: the messages from `start` on, those before `end`, of these channels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Range {
    /// In nanoseconds since the Unix epoch.
    pub(crate) start: Option<u64>,
    pub(crate) end: Option<u64>,
}

impl Recording {
    /// Opens a file. One without an index is read once: of it, or of a damaged one, what comes before the end is there.
    ///
    /// # Errors
    /// When it cannot be read, or is no MCAP file.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = || format!("{}", path.display());
        let mut file = File::open(path).with_context(shown)?;
        let len = file.metadata().with_context(shown)?.len();
        let mut recording = Self {
            path: path.to_owned(),
            len,
            summary: Summary::default(),
            channels: HashMap::new(),
            counts: BTreeMap::new(),
            metadata: Vec::new(),
            times: None,
            is_complete: true,
            damage: None,
        };
        match summary(&mut file, len).and_then(|summary| recording.take_summary(&mut file, summary)) {
            Ok(true) => {}
            // Without an index, or with one that cannot be right.
            Ok(false) | Err(_) => recording.scan(&mut file).with_context(shown)?,
        }
        let of_mcap = |(&id, channel): (&u16, &Arc<mcap::Channel<'_>>)| (id, Channel::of_mcap(channel));
        recording.channels = recording.summary.channels.iter().map(of_mcap).collect();
        Ok(recording)
    }

    /// The publishers by their numbers, and how many messages of each there are.
    pub(crate) fn channels(&self) -> impl Iterator<Item = (u16, &Channel, u64)> {
        let mut channels: Vec<_> = self.channels.iter().collect();
        channels.sort_by_key(|&(&id, channel)| (&channel.topic, id));
        channels.into_iter().map(|(&id, channel)| (id, channel, self.counts.get(&id).copied().unwrap_or(0)))
    }

    #[cfg(test)]
    pub(crate) fn messages(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The receive times of the first and the last message, in nanoseconds since the Unix epoch.
    pub(crate) fn times(&self) -> Option<(u64, u64)> {
        self.times
    }

    /// The metadata records of a name, the last one first.
    pub(crate) fn metadata(&self, name: &str) -> Option<&BTreeMap<String, String>> {
        self.metadata.iter().rev().find(|metadata| metadata.name == name).map(|metadata| &metadata.metadata)
    }

    /// Whether the file was completed. One of a program that was killed was not.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Why no more of the file can be read, if it was not completed or is damaged.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Passes messages to `each`, in the order of their receive times, until it returns `false`.
    ///
    /// # Errors
    /// Those of `each`, and when the file cannot be read.
    pub(crate) fn each(
        &self,
        range: &Range,
        mut each: impl FnMut(&Channel, &MessageHeader, &[u8]) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let shown = || format!("{}", self.path.display());
        let mut file = File::open(&self.path).with_context(shown)?;
        let mut options = IndexedReaderOptions::new().with_record_length_limit(MAX_CHUNK_LEN as usize);
        if let Some(start) = range.start {
            options = options.starting_at(start);
        }
        if let Some(end) = range.end {
            options = options.ending_before(end);
        }
        let mut reader = IndexedReader::new_with_options(&self.summary, options).with_context(shown)?;
        let mut buffer = Vec::new();
        while let Some(event) = reader.next_event() {
            match event.map_err(explained).with_context(shown)? {
                IndexedReadEvent::ReadChunkRequest { offset, length } => {
                    file.seek(SeekFrom::Start(offset)).with_context(shown)?;
                    buffer.clear();
                    let wanted = length as u64;
                    let read = (&mut file).take(wanted).read_to_end(&mut buffer).with_context(shown)?;
                    if read < length {
                        bail!("{}: it ends within a chunk", self.path.display());
                    }
                    reader
                        .insert_chunk_record_data(offset, &buffer)
                        .map_err(explained)
                        .with_context(shown)?;
                }
                IndexedReadEvent::Message { header, data } => {
                    let Some(channel) = self.channels.get(&header.channel_id) else {
                        bail!("{}: a message of a channel that is not described", self.path.display());
                    };
                    if !each(channel, &header, data)? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the index of the file. Returns whether it has one that can be used.
    fn take_summary(&mut self, file: &mut File, summary: Option<Summary>) -> anyhow::Result<bool> {
        let Some(summary) = summary else { return Ok(false) };
        let Some(stats) = &summary.stats else { return Ok(false) };
        let is_sane = |chunk: &ChunkIndex| {
            chunk.uncompressed_size <= MAX_CHUNK_LEN
                && chunk.chunk_start_offset.checked_add(chunk.chunk_length).is_some_and(|end| end <= self.len)
                && chunk.compressed_size <= chunk.chunk_length
        };
        let has_chunks = stats.message_count == 0 || !summary.chunk_indexes.is_empty();
        let knows_channels = stats.channel_message_counts.keys().all(|id| summary.channels.contains_key(id));
        if !has_chunks || !knows_channels || !summary.chunk_indexes.iter().all(is_sane) {
            return Ok(false);
        }
        // Messages outside of chunks are in no index.
        let of_chunks = summary.chunk_indexes.iter().map(|chunk| {
            let indexes = chunk.message_index_offsets.len();
            (indexes, chunk.message_start_time, chunk.message_end_time)
        });
        let (mut start, mut end) = (u64::MAX, 0);
        of_chunks.filter(|(indexes, ..)| *indexes > 0).for_each(|(_, first, last)| {
            (start, end) = (start.min(first), end.max(last));
        });
        if stats.message_count > 0 && (start, end) != (stats.message_start_time, stats.message_end_time) {
            return Ok(false);
        }
        self.times = (stats.message_count > 0).then_some((stats.message_start_time, stats.message_end_time));
        self.counts.clone_from(&stats.channel_message_counts);
        for index in &summary.metadata_indexes {
            self.metadata.extend(read_metadata(file, index.offset, index.length, self.len)?);
        }
        self.summary = summary;
        Ok(true)
    }

    /// Goes through the file, and makes an index.
    fn scan(&mut self, file: &mut File) -> anyhow::Result<()> {
        file.seek(SeekFrom::Start(0))?;
        self.summary = Summary::default();
        self.metadata.clear();
        self.is_complete = false;
        let mut scan = Scan { summary: &mut self.summary, counts: &mut self.counts, times: None, run: None };
        let options = LinearReaderOptions::default()
            .with_emit_chunks(true)
            .with_skip_end_magic(true)
            .with_record_length_limit(MAX_CHUNK_LEN as usize);
        let mut reader = LinearReader::new_with_options(options);
        let mut offset = mcap::MAGIC.len() as u64;
        let mut is_mcap = false;
        let result = loop {
            match reader.next_event() {
                // Only at the end of the file is that right.
                None => break Err(McapError::UnexpectedEof),
                Some(Err(error)) => break Err(error),
                Some(Ok(LinearReadEvent::ReadRequest(wanted))) => {
                    // What a damaged file claims is not allocated at once.
                    let read = file.read(reader.insert(wanted.min(MAX_READ_LEN)))?;
                    reader.notify_read(read);
                }
                Some(Ok(LinearReadEvent::Record { opcode, data })) => {
                    is_mcap = true;
                    let len = 9 + data.len() as u64;
                    match opcode {
                        _ if !lengths::fit(opcode, data) => break Err(cut_off()),
                        op::DATA_END | op::FOOTER => {
                            self.is_complete = true;
                            break Ok(());
                        }
                        op::METADATA => match mcap::parse_record(opcode, data) {
                            Ok(Record::Metadata(metadata)) => self.metadata.push(metadata),
                            Ok(_) => {}
                            Err(error) => break Err(error),
                        },
                        _ if opcode != op::CHUNK && data.len() > MAX_RECORD_LEN => {
                            break Err(McapError::RecordTooLarge { opcode, len });
                        }
                        _ => {
                            if let Err(error) = scan.record(opcode, data, offset) {
                                break Err(error);
                            }
                        }
                    }
                    offset += len;
                }
            }
        };
        self.times = scan.times;
        match result {
            Ok(()) => {}
            Err(McapError::BadMagic) if !is_mcap => bail!("no MCAP file"),
            Err(McapError::UnexpectedEof) => self.damage = Some("it was not completed".to_owned()),
            Err(error) => self.damage = Some(format!("damaged at byte {offset}: {:#}", explained(error))),
        }
        Ok(())
    }
}

/// Makes an index of the records of a file.
struct Scan<'a> {
    summary: &'a mut Summary,
    counts: &'a mut BTreeMap<u16, u64>,
    times: Option<(u64, u64)>,
    /// Where the last of consecutive records outside of chunks ends.
    run: Option<u64>,
}

impl Scan<'_> {
    fn record(&mut self, opcode: u8, data: &[u8], offset: u64) -> Result<(), McapError> {
        let len = 9 + data.len() as u64;
        match opcode {
            op::SCHEMA | op::CHANNEL => self.describe(mcap::parse_record(opcode, data)?)?,
            op::CHUNK => {
                let chunk = data;
                let Record::Chunk { header, data } = mcap::parse_record(opcode, data)? else { return Ok(()) };
                if header.compression.is_empty()
                    && lengths::all_fit(&data).is_none_or(|rest| !rest.is_empty())
                {
                    return Err(cut_off());
                }
                if header.uncompressed_size > MAX_CHUNK_LEN {
                    return Err(McapError::ChunkTooLarge(header.uncompressed_size));
                }
                let times = (header.message_start_time, header.message_end_time);
                let mut has_messages = false;
                each_of_chunk(chunk, |opcode, data| {
                    match mcap::parse_record(opcode, data)? {
                        Record::Message { header, .. } => {
                            self.count(&header);
                            has_messages = true;
                        }
                        record => self.describe(record)?,
                    }
                    Ok(())
                })?;
                if has_messages {
                    self.summary.chunk_indexes.push(ChunkIndex {
                        message_start_time: times.0,
                        message_end_time: times.1,
                        chunk_start_offset: offset,
                        chunk_length: len,
                        // Empty, it would mean that no channel has messages.
                        message_index_offsets: self.summary.channels.keys().map(|&id| (id, 0)).collect(),
                        message_index_length: 0,
                        compression: header.compression,
                        compressed_size: header.compressed_size,
                        uncompressed_size: header.uncompressed_size,
                    });
                }
            }
            op::MESSAGE => {
                let Record::Message { header, .. } = mcap::parse_record(opcode, data)? else { return Ok(()) };
                self.count(&header);
                self.add_to_run(&header, offset, len)?;
                return Ok(());
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes a message outside of chunks: it is indexed as one of an uncompressed chunk, whose header is not looked at.
    fn add_to_run(&mut self, header: &MessageHeader, offset: u64, len: u64) -> Result<(), McapError> {
        /// From the start of a chunk record to its data.
        const HEAD_LEN: u64 = 49;
        let time = header.log_time;
        if self.run == Some(offset)
            && let Some(chunk) = self.summary.chunk_indexes.last_mut()
            && chunk.uncompressed_size < MAX_RUN_LEN
        {
            chunk.message_start_time = chunk.message_start_time.min(time);
            chunk.message_end_time = chunk.message_end_time.max(time);
            chunk.uncompressed_size += len;
            chunk.compressed_size += len;
            chunk.chunk_length += len;
            chunk.message_index_offsets.insert(header.channel_id, 0);
        } else {
            let start = offset.checked_sub(HEAD_LEN).ok_or(McapError::BadChunkStartOffset(offset))?;
            self.summary.chunk_indexes.push(ChunkIndex {
                message_start_time: time,
                message_end_time: time,
                chunk_start_offset: start,
                chunk_length: HEAD_LEN + len,
                message_index_offsets: [(header.channel_id, 0)].into(),
                message_index_length: 0,
                compression: String::new(),
                compressed_size: len,
                uncompressed_size: len,
            });
        }
        self.run = Some(offset + len);
        Ok(())
    }

    fn count(&mut self, header: &MessageHeader) {
        *self.counts.entry(header.channel_id).or_default() += 1;
        let time = header.log_time;
        let (first, last) = self.times.get_or_insert((time, time));
        (*first, *last) = ((*first).min(time), (*last).max(time));
    }

    fn describe(&mut self, record: Record<'_>) -> Result<(), McapError> {
        match record {
            Record::Schema { header, data } => {
                let data = data.into_owned().into();
                let schema =
                    mcap::Schema { id: header.id, name: header.name, encoding: header.encoding, data };
                self.summary.schemas.entry(header.id).or_insert_with(|| Arc::new(schema));
            }
            Record::Channel(channel) => {
                let schema = self.summary.schemas.get(&channel.schema_id).cloned();
                if schema.is_none() && channel.schema_id != 0 {
                    return Err(McapError::UnknownSchema(channel.topic, channel.schema_id));
                }
                let mcap::records::Channel { id, topic, message_encoding, metadata, .. } = channel;
                let channel = mcap::Channel { id, topic, schema, message_encoding, metadata };
                self.summary.channels.entry(id).or_insert_with(|| Arc::new(channel));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Passes the records of a chunk to `each`. The reader of the crate `mcap` for that has no limits.
fn each_of_chunk(
    chunk: &[u8],
    mut each: impl FnMut(u8, &[u8]) -> Result<(), McapError>,
) -> Result<(), McapError> {
    let options = LinearReaderOptions::default()
        .with_skip_start_magic(true)
        .with_skip_end_magic(true)
        .with_validate_chunk_crcs(true)
        .with_record_length_limit(MAX_CHUNK_LEN as usize);
    let mut reader = LinearReader::new_with_options(options);
    let mut head = [op::CHUNK; 9];
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
    Ok(())
}

/// Reads the index at the end of a file. `None` without one.
fn summary(file: &mut File, len: u64) -> anyhow::Result<Option<Summary>> {
    let options =
        SummaryReaderOptions::default().with_file_size(len).with_record_length_limit(MAX_RECORD_LEN);
    if !has_sound_summary(file, len)? {
        bail!("an index that cannot be right");
    }
    let mut reader = SummaryReader::new_with_options(options);
    while let Some(event) = reader.next_event() {
        match event? {
            SummaryReadEvent::ReadRequest(wanted) => {
                let read = file.read(reader.insert(wanted.min(MAX_READ_LEN)))?;
                reader.notify_read(read);
            }
            SummaryReadEvent::SeekRequest(to) => reader.notify_seeked(file.seek(to)?),
        }
    }
    Ok(reader.finish())
}

/// Whether the texts of the index at the end of a file end within their records. The file is at its start afterwards.
fn has_sound_summary(file: &mut File, len: u64) -> anyhow::Result<bool> {
    /// The record at the end, which says where the index starts, and what follows it.
    const FOOTER_LEN: u64 = 9 + 20 + mcap::MAGIC.len() as u64;
    let mut footer = [0; FOOTER_LEN as usize];
    let Some(end) = len.checked_sub(FOOTER_LEN) else { return Ok(true) };
    file.seek(SeekFrom::Start(end))?;
    file.read_exact(&mut footer)?;
    let start = u64::from_le_bytes(footer[9..17].try_into()?);
    let mut records = Vec::new();
    // Without an index, it says 0.
    if (1..end).contains(&start) {
        if end - start > MAX_RECORD_LEN as u64 {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(start))?;
        file.read_to_end(&mut records)?;
    }
    file.rewind()?;
    Ok(lengths::all_fit(&records).is_some())
}

fn read_metadata(file: &mut File, offset: u64, len: u64, file_len: u64) -> anyhow::Result<Option<Metadata>> {
    if !(9..MAX_RECORD_LEN as u64).contains(&len) || offset.checked_add(len).is_none_or(|end| end > file_len)
    {
        bail!("an index that cannot be right");
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut record = Vec::new();
    file.take(len).read_to_end(&mut record)?;
    let Some((&[op::METADATA], rest)) = record.split_first_chunk() else { bail!("no metadata") };
    let record = rest.get(8..).unwrap_or_default();
    if !lengths::fit(op::METADATA, record) {
        bail!("no metadata");
    }
    match mcap::parse_record(op::METADATA, record)? {
        Record::Metadata(metadata) => Ok(Some(metadata)),
        _ => Ok(None),
    }
}

fn cut_off() -> McapError {
    io::Error::new(ErrorKind::InvalidData, "a record ends within a text").into()
}

/// Says what can be done about an error.
fn explained(error: McapError) -> anyhow::Error {
    match &error {
        McapError::UnsupportedCompression(name) => {
            let hint = if cfg!(feature = "compression") {
                "`mcap compress --compression none` makes a file that can be read"
            } else {
                "this build reads no compressed recordings (cargo feature `compression`)"
            };
            anyhow::anyhow!("it is compressed with {name}: {hint}")
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Cursor;

    use mcap::WriteOptions;

    use super::*;
    use crate::recording::{Compression, Stamps, Writer};

    fn times(recording: &Recording, range: &Range) -> Vec<u64> {
        let mut times = Vec::new();
        let each = |_: &Channel, header: &MessageHeader, _: &[u8]| {
            times.push(header.log_time);
            Ok(true)
        };
        recording.each(range, each).unwrap();
        times
    }

    /// Messages at 1, 3, 2, 4 and 6, 5 in two chunks.
    fn write(path: &Path) {
        let mut writer = Writer::create(path, Compression::None).unwrap();
        for (topic, logged) in [("a", [1, 3, 2]), ("b", [4, 6, 5])] {
            let id = writer.channel(&Channel { topic: topic.into(), ..Channel::default() }).unwrap();
            for log_ns in logged {
                writer.message(id, Stamps { log_ns, publish_ns: 0, clock: 1 }, b"payload").unwrap();
            }
            writer.flush().unwrap();
        }
        writer.metadata("about", [("key".to_owned(), topic_text())].into()).unwrap();
        writer.finish().unwrap();
    }

    fn topic_text() -> String {
        "value".to_owned()
    }

    #[test]
    fn messages_come_in_order_and_from_a_range() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mcap");
        write(&path);
        let recording = Recording::open(&path).unwrap();
        assert!(recording.is_complete());
        assert_eq!((recording.messages(), recording.times()), (6, Some((1, 6))));
        assert_eq!(recording.metadata("about").unwrap()["key"], "value");
        assert_eq!(times(&recording, &Range::default()), [1, 2, 3, 4, 5, 6]);
        assert_eq!(times(&recording, &Range { start: Some(2), end: Some(5) }), [2, 3, 4]);
    }

    #[test]
    fn a_file_cut_anywhere_can_be_read_as_far_as_it_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (path, cut) = (folder.path().join("a.mcap"), folder.path().join("cut.mcap"));
        write(&path);
        let bytes = fs::read(&path).unwrap();
        let mut lens = Vec::new();
        for len in 0..bytes.len() {
            fs::write(&cut, &bytes[..len]).unwrap();
            if let Ok(recording) = Recording::open(&cut) {
                let read = times(&recording, &Range::default());
                assert!([0, 3, 6].contains(&read.len()), "{read:?}");
                assert!(lens.last() <= Some(&read.len()), "a longer part holds no less");
                lens.push(read.len());
            }
        }
        assert_eq!((lens.first(), lens.last()), (Some(&0), Some(&6)));
    }

    #[test]
    fn damage_anywhere_neither_panics_nor_fills_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (path, damaged) = (folder.path().join("a.mcap"), folder.path().join("damaged.mcap"));
        write(&path);
        let bytes = fs::read(&path).unwrap();
        for position in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[position] = value;
                fs::write(&damaged, bytes).unwrap();
                if let Ok(recording) = Recording::open(&damaged) {
                    let _ = recording.each(&Range::default(), |_, _, _| Ok(true));
                }
            }
        }
    }

    #[test]
    fn lengths_that_claim_too_much_neither_panic_nor_fill_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let (path, damaged) = (folder.path().join("a.mcap"), folder.path().join("damaged.mcap"));
        write(&path);
        let bytes = fs::read(&path).unwrap();
        let topic = bytes.windows(5).position(|window| window == b"\x01\0\0\0a").unwrap();
        // Without the index, the file is gone through.
        let end = bytes.windows(9).position(|window| window == b"\x0f\x04\0\0\0\0\0\0\0").unwrap();
        for position in 0..bytes.len() - 8 {
            for len in [bytes.len(), end] {
                let mut bytes = bytes[..len].to_vec();
                for byte in bytes.iter_mut().skip(position).take(8) {
                    *byte = 0xff;
                }
                fs::write(&damaged, &bytes).unwrap();
                if let Ok(recording) = Recording::open(&damaged) {
                    let _ = recording.each(&Range::default(), |_, _, _| Ok(true));
                }
            }
        }
        let mut bytes = bytes[..end].to_vec();
        bytes[topic + 3] = 0x7f;
        fs::write(&damaged, &bytes).unwrap();
        let recording = Recording::open(&damaged).unwrap();
        assert!(recording.damage().unwrap().contains("ends within a text"), "{:?}", recording.damage());
    }

    #[test]
    fn messages_outside_of_chunks_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mcap");
        let mut file = Cursor::new(Vec::new());
        let mut writer = WriteOptions::new().use_chunks(false).create(&mut file).unwrap();
        let channel = writer.add_channel(0, "a", "", &BTreeMap::new()).unwrap();
        for log_time in [5, 1, 3] {
            let header = MessageHeader { channel_id: channel, sequence: 0, log_time, publish_time: 0 };
            writer.write_to_known_channel(&header, b"payload").unwrap();
        }
        writer.finish().unwrap();
        drop(writer);
        fs::write(&path, file.into_inner()).unwrap();
        let recording = Recording::open(&path).unwrap();
        assert!(recording.is_complete());
        assert_eq!(times(&recording, &Range::default()), [1, 3, 5]);
    }

    #[test]
    fn what_is_no_mcap_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mcap");
        fs::write(&path, b"no recording at all").unwrap();
        let error = Recording::open(&path).err().unwrap();
        assert!(format!("{error:#}").contains("no MCAP file"), "{error:#}");
    }
}
