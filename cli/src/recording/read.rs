//! Reads an MCAP file: whole ones by their index, others by going through them.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use mcap::records::{ChunkIndex, MessageHeader, Metadata, Record, op};
use mcap::sans_io::linear_reader::{LinearReadEvent, LinearReader, LinearReaderOptions};
use mcap::sans_io::summary_reader::{SummaryReadEvent, SummaryReader, SummaryReaderOptions};
use mcap::{McapError, Summary};

use super::stretch::{MAX_HELD_LEN, Stretch, cut_off, damaged_at, each_of_chunk, in_order};
use super::{Channel, lengths};

/// The longest record that is read, chunks aside. Longer ones are no recordings of messages that can be sent.
const MAX_RECORD_LEN: usize = 512 * 1024 * 1024;
/// The longest chunk that is read, as it is and decompressed.
pub(super) const MAX_CHUNK_LEN: u64 = 1024 * 1024 * 1024;
/// How much is read at once.
pub(super) const MAX_READ_LEN: usize = 1024 * 1024;
/// Messages outside of chunks are read together up to this length.
const MAX_RUN_LEN: u64 = 4 * 1024 * 1024;
/// Of how much damage it is said where it is. Of more, one would read the beginning only.
const MAX_DAMAGE: usize = 1000;

/// An MCAP file that is read.
pub(crate) struct Recording {
    path: PathBuf,
    /// In bytes.
    len: u64,
    stretches: Vec<Stretch>,
    channels: HashMap<u16, Channel>,
    counts: BTreeMap<u16, u64>,
    metadata: Vec<Metadata>,
    /// Of the first and the last message.
    times: Option<(u64, u64)>,
    is_complete: bool,
    damage: Vec<String>,
}

/// What is read of a recording: the messages from `start` on, those before `end`, of these channels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Range {
    /// In nanoseconds since the Unix epoch.
    pub(crate) start: Option<u64>,
    pub(crate) end: Option<u64>,
}

impl Range {
    pub(super) fn contains(&self, time: u64) -> bool {
        self.overlaps((time, time))
    }

    /// Whether times of it are among those from one to another.
    pub(super) fn overlaps(&self, (first, last): (u64, u64)) -> bool {
        self.start.is_none_or(|start| start <= last) && self.end.is_none_or(|end| first < end)
    }
}

impl Recording {
    /// Opens a file. One without an index is read once, and `go_on` is asked meanwhile: of it, or of a damaged one, what is whole
    /// is there. Returns `None` if `go_on` returned `false`.
    ///
    /// # Errors
    /// When it cannot be read, or is no MCAP file.
    pub(crate) fn open_while(path: &Path, go_on: impl FnMut() -> bool) -> anyhow::Result<Option<Self>> {
        let shown = || format!("{}", path.display());
        let mut file = File::open(path).with_context(shown)?;
        let len = file.metadata().with_context(shown)?.len();
        let mut recording = Self {
            path: path.to_owned(),
            len,
            stretches: Vec::new(),
            channels: HashMap::new(),
            counts: BTreeMap::new(),
            metadata: Vec::new(),
            times: None,
            is_complete: true,
            damage: Vec::new(),
        };
        let summary = match summary(&mut file, len).and_then(|summary| recording.take(&mut file, summary)) {
            Ok(Some(summary)) => summary,
            // Without an index, or with one that cannot be right.
            Ok(None) | Err(_) => match recording.scan(&mut file, go_on).with_context(shown)? {
                Some(summary) => summary,
                None => return Ok(None),
            },
        };
        let of_mcap = |(&id, channel): (&u16, &Arc<mcap::Channel<'_>>)| (id, Channel::of_mcap(channel));
        recording.channels = summary.channels.iter().map(of_mcap).collect();
        Ok(Some(recording))
    }

    #[cfg(test)]
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        Ok(Self::open_while(path, || true)?.expect("it goes on"))
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

    /// What of the file cannot be read, as far as its index shows that, or all of it was read for want of one.
    pub(crate) fn damage(&self) -> &[String] {
        &self.damage
    }

    /// Passes messages to `each`, in the order of their receive times, until it returns `false`. Of a damaged chunk, no message is
    /// passed.
    ///
    /// # Errors
    /// Those of `each`, when the file cannot be read, and when too much of it overlaps in time. What is damaged is passed to
    /// `damage`, unless [`damage`](Self::damage) has it.
    pub(crate) fn read(
        &self,
        range: &Range,
        mut each: impl FnMut(&Channel, &MessageHeader, &[u8]) -> anyhow::Result<bool>,
        mut damage: impl FnMut(String),
    ) -> anyhow::Result<()> {
        let shown = || format!("{}", self.path.display());
        let mut file = File::open(&self.path).with_context(shown)?;
        let mut unknown = 0_u64;
        let mut error = None;
        let with_channel = |header: &MessageHeader, data: &[u8]| {
            let Some(channel) = self.channels.get(&header.channel_id) else {
                unknown += 1;
                return Ok(true);
            };
            each(channel, header, data).or_else(|its| {
                error = Some(its);
                Ok(false)
            })
        };
        in_order(&mut file, &self.stretches, range, MAX_HELD_LEN, with_channel, &mut damage)
            .with_context(shown)?;
        if unknown > 0 {
            damage(format!("{unknown} message(s) of channels that are not described"));
        }
        error.map_or(Ok(()), Err)
    }

    /// Passes messages as [`read`](Self::read) does, of a recording that has no damage.
    #[cfg(test)]
    pub(crate) fn each(
        &self,
        range: &Range,
        each: impl FnMut(&Channel, &MessageHeader, &[u8]) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let mut damage = Vec::new();
        self.read(range, each, |text| damage.push(text))?;
        if damage.is_empty() { Ok(()) } else { bail!("{damage:?}") }
    }

    /// Takes the index of the file. Returns `None` if it has none that can be used.
    fn take(&mut self, file: &mut File, summary: Option<Summary>) -> anyhow::Result<Option<Summary>> {
        let Some(mut summary) = summary else { return Ok(None) };
        let Some(stats) = &summary.stats else { return Ok(None) };
        let is_sane = |chunk: &ChunkIndex| {
            chunk.uncompressed_size <= MAX_CHUNK_LEN
                && chunk.chunk_start_offset.checked_add(chunk.chunk_length).is_some_and(|end| end <= self.len)
                && chunk.compressed_size <= chunk.chunk_length
        };
        let has_chunks = stats.message_count == 0 || !summary.chunk_indexes.is_empty();
        let knows_channels = stats.channel_message_counts.keys().all(|id| summary.channels.contains_key(id));
        if !has_chunks || !knows_channels || !summary.chunk_indexes.iter().all(is_sane) {
            return Ok(None);
        }
        let mut places: Vec<_> = summary
            .chunk_indexes
            .iter()
            .map(|chunk| (chunk.chunk_start_offset, chunk.chunk_length))
            .collect();
        places.sort_unstable();
        // One chunk that is named again and again would take the memory of many.
        if !places.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0) {
            return Ok(None);
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
            return Ok(None);
        }
        self.times = (stats.message_count > 0).then_some((stats.message_start_time, stats.message_end_time));
        self.counts.clone_from(&stats.channel_message_counts);
        let mut left = self.len;
        for index in &summary.metadata_indexes {
            left = left.checked_sub(index.length).context("an index that cannot be right")?;
            self.metadata.extend(read_metadata(file, index.offset, index.length, self.len)?);
        }
        self.stretches = std::mem::take(&mut summary.chunk_indexes)
            .into_iter()
            .map(|chunk| Stretch {
                is_chunk: true,
                offset: chunk.chunk_start_offset,
                len: chunk.chunk_length,
                full_len: chunk.uncompressed_size,
                times: (chunk.message_start_time, chunk.message_end_time),
            })
            .collect();
        Ok(Some(summary))
    }

    /// Goes through the file, and makes an index. Returns its channels, or `None` if `go_on` returned `false`.
    fn scan(&mut self, file: &mut File, mut go_on: impl FnMut() -> bool) -> anyhow::Result<Option<Summary>> {
        file.seek(SeekFrom::Start(0))?;
        self.metadata.clear();
        self.counts.clear();
        self.is_complete = false;
        let mut scan = Scan::default();
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
                    if !go_on() {
                        return Ok(None);
                    }
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
        match result {
            Ok(()) => {}
            Err(McapError::BadMagic) if !is_mcap => bail!("no MCAP file"),
            Err(McapError::UnexpectedEof) => scan.damage.push("it was not completed".to_owned()),
            Err(error) => scan.damage.push(damaged_at(offset, error)),
        }
        self.times = scan.times;
        self.counts = scan.counts;
        self.stretches = scan.stretches;
        self.damage = scan.damage;
        Ok(Some(scan.summary))
    }
}

/// Makes an index of the records of a file.
#[derive(Default)]
struct Scan {
    /// The channels and their types.
    summary: Summary,
    stretches: Vec<Stretch>,
    counts: BTreeMap<u16, u64>,
    times: Option<(u64, u64)>,
    damage: Vec<String>,
}

impl Scan {
    fn record(&mut self, opcode: u8, data: &[u8], offset: u64) -> Result<(), McapError> {
        let len = 9 + data.len() as u64;
        match opcode {
            op::SCHEMA | op::CHANNEL => self.describe(mcap::parse_record(opcode, data)?)?,
            op::CHUNK => match self.chunk(data, offset) {
                // What comes behind it can be whole.
                Err(error) if !matches!(error, McapError::UnsupportedCompression(_)) => {
                    if self.damage.len() < MAX_DAMAGE {
                        self.damage.push(damaged_at(offset, error));
                    }
                }
                result => result?,
            },
            op::MESSAGE => {
                let Record::Message { header, .. } = mcap::parse_record(opcode, data)? else { return Ok(()) };
                self.count(&header);
                self.add_to_run(&header, offset, len);
            }
            _ => {}
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: &[u8], offset: u64) -> Result<(), McapError> {
        let (mut counts, mut times) = (BTreeMap::<u16, u64>::new(), None);
        // Nothing of it counts unless all of it is right.
        let mut described = BTreeMap::new();
        let header = each_of_chunk(chunk, |opcode, data| {
            match mcap::parse_record(opcode, data)? {
                Record::Message { header, .. } => {
                    *counts.entry(header.channel_id).or_default() += 1;
                    extend(&mut times, (header.log_time, header.log_time));
                }
                Record::Schema { header, data } if !self.summary.schemas.contains_key(&header.id) => {
                    let key = (opcode, header.id);
                    let own = || Record::Schema { header, data: data.into_owned().into() };
                    described.entry(key).or_insert_with(own);
                }
                Record::Channel(channel) if !self.summary.channels.contains_key(&channel.id) => {
                    described.entry((opcode, channel.id)).or_insert(Record::Channel(channel));
                }
                _ => {}
            }
            Ok(())
        })?;
        described.into_values().try_for_each(|record| self.describe(record))?;
        for (id, count) in counts {
            *self.counts.entry(id).or_default() += count;
        }
        if let Some(times) = times {
            extend(&mut self.times, times);
            self.stretches.push(Stretch {
                is_chunk: true,
                offset,
                len: 9 + chunk.len() as u64,
                full_len: header.uncompressed_size.max(header.compressed_size),
                times,
            });
        }
        Ok(())
    }

    /// Takes a message outside of chunks.
    fn add_to_run(&mut self, header: &MessageHeader, offset: u64, len: u64) {
        let time = header.log_time;
        if let Some(run) = self.stretches.last_mut()
            && !run.is_chunk
            && run.offset + run.len == offset
            && run.len < MAX_RUN_LEN
        {
            run.times = (run.times.0.min(time), run.times.1.max(time));
            run.len += len;
            run.full_len += len;
        } else {
            self.stretches.push(Stretch { is_chunk: false, offset, len, full_len: len, times: (time, time) });
        }
    }

    fn count(&mut self, header: &MessageHeader) {
        *self.counts.entry(header.channel_id).or_default() += 1;
        extend(&mut self.times, (header.log_time, header.log_time));
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

fn extend(times: &mut Option<(u64, u64)>, (from, to): (u64, u64)) {
    let (first, last) = times.get_or_insert((from, to));
    (*first, *last) = ((*first).min(from), (*last).max(to));
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

/// Says what can be done about an error.
pub(super) fn explained(error: McapError) -> anyhow::Error {
    match &error {
        McapError::UnsupportedCompression(name) => {
            let hint = if cfg!(feature = "compression") {
                "`mcap compress --compression none` makes a file that can be read"
            } else {
                "this build reads no compressed recordings (cargo feature `compression`)"
            };
            anyhow::anyhow!("it is compressed with {name}: {hint}")
        }
        // In front of that, the crate says that it is an error of input or output.
        McapError::Io(inner) if inner.kind() == ErrorKind::InvalidData => anyhow::anyhow!("{inner}"),
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

    /// The times of what can be read, and what cannot.
    fn rest(path: &Path) -> (Vec<u64>, Vec<String>) {
        let recording = Recording::open(path).unwrap();
        let (mut times, mut damage) = (Vec::new(), recording.damage().to_vec());
        let each = |_: &Channel, header: &MessageHeader, _: &[u8]| {
            times.push(header.log_time);
            Ok(true)
        };
        recording.read(&Range::default(), each, |text| damage.push(text)).unwrap();
        (times, damage)
    }

    /// Where the record begins that ends the messages. Without what follows, a file has no index.
    fn end_of_data(bytes: &[u8]) -> usize {
        bytes.windows(9).position(|window| window == b"\x0f\x04\0\0\0\0\0\0\0").unwrap()
    }

    #[test]
    fn of_a_damaged_chunk_no_message_is_passed_and_of_the_others_all_are() {
        let folder = tempfile::tempdir().unwrap();
        let (path, damaged) = (folder.path().join("a.mcap"), folder.path().join("damaged.mcap"));
        write(&path);
        let whole = fs::read(&path).unwrap();
        let payload = whole.windows(7).position(|window| window == b"payload").unwrap();
        // A bit of a payload, and the length of its record.
        for at in [payload, payload - 29] {
            for len in [whole.len(), end_of_data(&whole)] {
                let mut bytes = whole[..len].to_vec();
                bytes[at + 1] ^= 1;
                fs::write(&damaged, bytes).unwrap();
                let (times, damage) = rest(&damaged);
                assert_eq!(times, [4, 5, 6], "byte {at} of {len}");
                let is_cut = usize::from(len < whole.len());
                assert_eq!(damage.len(), 1 + is_cut, "{damage:?}");
                assert!(damage[0].starts_with("damaged at byte "), "{damage:?}");
            }
        }
    }

    #[test]
    fn an_index_that_names_a_part_of_the_file_twice_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let (path, damaged) = (folder.path().join("a.mcap"), folder.path().join("damaged.mcap"));
        write(&path);
        let whole = fs::read(&path).unwrap();
        let is_index = |window: &[u8]| window[0] == op::CHUNK_INDEX && window[2..9] == [0; 7];
        let end = end_of_data(&whole);
        let mut places = whole[end..].windows(9).enumerate().filter(|(_, window)| is_index(window));
        // Behind the times, where the chunk is and how long.
        let [first, second] = [(); 2].map(|()| end + places.next().unwrap().0 + 9 + 16);
        let place = |at: usize| u64::from_le_bytes(whole[at..at + 8].try_into().unwrap());
        let (offset, len) = (place(first), place(first + 8));
        for offset in [offset, offset + 1] {
            let mut bytes = whole.clone();
            bytes[second..second + 8].copy_from_slice(&offset.to_le_bytes());
            bytes[second + 8..second + 16].copy_from_slice(&len.to_le_bytes());
            fs::write(&damaged, bytes).unwrap();
            assert_eq!(rest(&damaged), (vec![1, 2, 3, 4, 5, 6], vec![]));
        }
    }

    #[test]
    fn who_is_to_end_reads_no_file_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let (path, cut) = (folder.path().join("a.mcap"), folder.path().join("cut.mcap"));
        write(&path);
        let bytes = fs::read(&path).unwrap();
        fs::write(&cut, &bytes[..end_of_data(&bytes)]).unwrap();
        assert!(Recording::open_while(&path, || false).unwrap().is_some(), "the index is short");
        assert!(Recording::open_while(&cut, || false).unwrap().is_none());
        assert!(Recording::open_while(&cut, || true).unwrap().is_some());
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
        let end = end_of_data(&bytes);
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
        assert!(recording.damage()[0].contains("ends within a text"), "{:?}", recording.damage());
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
