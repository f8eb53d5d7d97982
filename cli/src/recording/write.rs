//! Writes an MCAP file.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, anyhow};
use mcap::records::MessageHeader;
use mcap::write::Metadata;
use mcap::{McapError, WriteOptions};

use super::behind::WriteBehind;
use super::chunks::Chunks;
#[cfg(target_os = "linux")]
use super::uncached::Uncached;
use super::{Channel, Stamps};

/// How many bytes of messages are collected for a chunk.
const CHUNK_LEN: u64 = 4 * 1024 * 1024;

/// How many publishers a file has at most. MCAP has 16 bits for their numbers and those of schemas, and 0 is no schema. `mcap`
/// does not count beyond the last one.
pub(super) const MAX_CHANNELS: usize = u16::MAX as usize - 1;

/// How the chunks of a file are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Compression {
    #[default]
    None,
    /// Small files, at some cost of processor time.
    #[cfg(feature = "compression")]
    Zstd,
    /// Little cost of processor time.
    #[cfg(feature = "compression")]
    Lz4,
}

impl Compression {
    fn of_mcap(self) -> Option<mcap::Compression> {
        match self {
            Self::None => None,
            #[cfg(feature = "compression")]
            Self::Zstd => Some(mcap::Compression::Zstd),
            #[cfg(feature = "compression")]
            Self::Lz4 => Some(mcap::Compression::Lz4),
        }
    }
}

/// Writes an MCAP file.
///
/// What was [flushed](Self::flush) can be read whatever happens then: chunks are written as a whole, and after a failure the
/// file ends behind the last one.
pub(crate) struct Writer {
    path: PathBuf,
    file: File,
    /// `None` after a failure.
    mcap: Option<mcap::Writer<Chunks>>,
    /// What was handed over to be written, in bytes.
    len: Arc<AtomicU64>,
    /// What was flushed.
    flushed: Written,
    /// Where the chunks end that were written since then. The last ones may still be on their way.
    chunks: Vec<(Written, Counts)>,
    /// The messages behind the last chunk.
    open: Counts,
    /// Those that a failure cut off.
    cut: Counts,
    /// Publishers so far: their numbers begin with 1.
    channels: usize,
    /// Messages so far.
    messages: u64,
    /// Bytes of payload since the last flush.
    pending: u64,
}

/// The error that there is a file of that name already.
#[derive(Debug)]
pub(super) struct Taken(PathBuf);

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is there already, and a recording replaces no file", self.0.display())
    }
}

impl std::error::Error for Taken {}

/// A part of the file that can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Written {
    /// In bytes.
    pub(crate) len: u64,
    pub(crate) messages: u64,
}

/// Messages and bytes of payload, by channel.
pub(crate) type Counts = HashMap<u16, (u64, u64)>;

impl Writer {
    /// Makes a file.
    ///
    /// # Errors
    /// [`Taken`] if it is there already.
    pub(crate) fn create(path: &Path, compression: Compression) -> anyhow::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Taken(path.to_owned()).into(),
            _ => anyhow::Error::new(error).context(format!("{} cannot be made", path.display())),
        })?;
        Self::new(path, file, compression).inspect_err(|_| {
            // There is nothing in it.
            let _ = fs::remove_file(path);
        })
    }

    /// Writes to an empty file. `path` is what errors name.
    pub(crate) fn new(path: &Path, file: File, compression: Compression) -> anyhow::Result<Self> {
        let options = WriteOptions::new()
            .compression(compression.of_mcap())
            .chunk_size(Some(CHUNK_LEN))
            // The parts have checksums of their own.
            .calculate_data_section_crc(false)
            .library(concat!("ferrocal ", env!("CARGO_PKG_VERSION")));
        let len = Arc::<AtomicU64>::default();
        let output = file.try_clone();
        #[cfg(target_os = "linux")]
        let output = output.and_then(Uncached::new);
        let behind = output.and_then(WriteBehind::new);
        let behind = behind.with_context(|| format!("{}", path.display()))?;
        let sink = Chunks::new(behind, len.clone());
        let mut writer = Self {
            path: path.to_owned(),
            file,
            mcap: None,
            len,
            flushed: Written::default(),
            chunks: Vec::new(),
            open: Counts::new(),
            cut: Counts::new(),
            channels: 0,
            messages: 0,
            pending: 0,
        };
        match options.create(sink) {
            Ok(mcap) => writer.mcap = Some(mcap),
            Err(error) => return Err(writer.error(error)),
        }
        writer.flush()?;
        Ok(writer)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The length of the file so far, with what was not flushed yet.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed) + self.pending
    }

    /// What can be read of the file, whatever happens. After a failure, that is all of it.
    pub(crate) fn flushed(&self) -> Written {
        self.flushed
    }

    /// What was written, and is not in the file after a failure.
    pub(crate) fn cut(&self) -> &Counts {
        &self.cut
    }

    /// Adds a publisher, and returns its number in this file.
    ///
    /// # Errors
    /// Also when the format has no number left for it.
    pub(crate) fn channel(&mut self, channel: &Channel) -> anyhow::Result<u16> {
        let number = self.try_channel(channel)?;
        number.ok_or_else(|| {
            let shown = self.path.display();
            anyhow!("{shown}: MCAP has no room for more publishers than there are; choose fewer topics")
        })
    }

    /// Adds a publisher. `None` if the format has no number left for it; the file goes on without it.
    pub(crate) fn try_channel(&mut self, channel: &Channel) -> anyhow::Result<Option<u16>> {
        if self.channels >= MAX_CHANNELS {
            return Ok(None);
        }
        let number = self.write(|mcap| {
            let schema = match channel.schema() {
                Some((name, encoding, data)) => mcap.add_schema(name, encoding, data)?,
                None => 0,
            };
            mcap.add_channel(schema, &channel.topic, channel.message_encoding(), &channel.metadata())
        })?;
        self.channels = self.channels.max(usize::from(number));
        Ok(Some(number))
    }

    /// Writes a message of a [channel](Self::channel).
    pub(crate) fn message(&mut self, channel: u16, stamps: Stamps, payload: &[u8]) -> anyhow::Result<()> {
        let header = MessageHeader {
            channel_id: channel,
            sequence: stamps.clock as u32,
            log_time: stamps.log_ns,
            publish_time: stamps.publish_ns,
        };
        let before = self.len.load(Ordering::Relaxed);
        self.write(|mcap| mcap.write_to_known_channel(&header, payload))?;
        // A chunk is written when the message that does not fit into it comes.
        let len = self.len.load(Ordering::Relaxed);
        if len > before {
            let written = Written { len, messages: self.messages };
            self.chunks.push((written, std::mem::take(&mut self.open)));
            self.pending = 0;
        }
        let (messages, bytes) = self.open.entry(channel).or_default();
        *messages += 1;
        *bytes += payload.len() as u64;
        self.pending += payload.len() as u64;
        self.messages += 1;
        Ok(())
    }

    /// Writes a record of metadata.
    pub(crate) fn metadata(&mut self, name: &str, entries: BTreeMap<String, String>) -> anyhow::Result<()> {
        self.write(|mcap| mcap.write_metadata(&Metadata { name: name.to_owned(), metadata: entries }))
    }

    /// Writes all to the file. It can be read from now on, whatever happens.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.write(|mcap| mcap.flush())?;
        self.pending = 0;
        self.flushed = Written { len: self.len.load(Ordering::Relaxed), messages: self.messages };
        self.chunks.clear();
        self.open.clear();
        Ok(())
    }

    /// Completes the file. Returns its length.
    pub(crate) fn finish(&mut self) -> anyhow::Result<u64> {
        // First what is worth more.
        self.flush()?;
        self.write(|mcap| mcap.finish())?;
        Ok(self.len.load(Ordering::Relaxed))
    }

    fn write<T>(
        &mut self,
        write: impl FnOnce(&mut mcap::Writer<Chunks>) -> Result<T, McapError>,
    ) -> anyhow::Result<T> {
        let Some(mcap) = &mut self.mcap else {
            return Err(anyhow!("{}: nothing can be written after a failure", self.path.display()));
        };
        write(mcap).map_err(|error| self.error(error))
    }

    /// Cuts the file behind what can be read, and says what happened.
    fn error(&mut self, error: McapError) -> anyhow::Error {
        if let Some(mcap) = self.mcap.take() {
            // Whole chunks may still be on their way. Behind an error of the file, none of them is written.
            drop(mcap.into_inner());
        }
        // The file holds a beginning of all that was written.
        let cut = self.file.metadata().and_then(|metadata| {
            let is_there = |(chunk, _): &&(Written, Counts)| chunk.len <= metadata.len();
            let last = self.chunks.iter().rev().find(is_there).map(|(chunk, _)| *chunk);
            self.flushed = last.unwrap_or(self.flushed);
            self.file.set_len(self.flushed.len)
        });
        let kept = self.flushed.len;
        let is_cut = |(chunk, _): &(Written, Counts)| chunk.len > kept;
        let chunks = std::mem::take(&mut self.chunks).into_iter().filter(is_cut).map(|(_, counts)| counts);
        for (channel, (messages, bytes)) in chunks.chain([std::mem::take(&mut self.open)]).flatten() {
            let cut = self.cut.entry(channel).or_default();
            *cut = (cut.0 + messages, cut.1 + bytes);
        }
        let error = match error {
            McapError::Io(error) => unwritten(&self.path, error),
            error => anyhow::Error::new(error).context(self.path.display().to_string()),
        };
        match cut {
            Ok(()) => error,
            Err(cut) => error.context(format!("it could not be cut behind what can be read ({cut})")),
        }
    }
}

impl Drop for Writer {
    /// Leaves what was flushed.
    fn drop(&mut self) {
        if let Some(mcap) = self.mcap.take() {
            drop(mcap.into_inner());
        }
    }
}

/// The error that a file could not be written. It names the file, and a full disk.
pub(super) fn unwritten(path: &Path, error: io::Error) -> anyhow::Error {
    let shown = path.display();
    let is_full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let context = if is_full { format!("{shown}: the disk is full") } else { shown.to_string() };
    anyhow::Error::new(error).context(context)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::recording::{Range, Recording};

    /// Bounds a hang. No test takes as long unless it fails.
    const HANG: Duration = Duration::from_secs(60);

    fn clocks(path: &Path) -> Vec<u32> {
        let recording = Recording::open(path).unwrap();
        let mut clocks = Vec::new();
        let each = |_: &Channel, header: &MessageHeader, _: &[u8]| {
            clocks.push(header.sequence);
            Ok(true)
        };
        recording.each(&Range::default(), each).unwrap();
        clocks
    }

    fn stamps(clock: i64) -> Stamps {
        Stamps { log_ns: clock.cast_unsigned(), publish_ns: 0, clock }
    }

    #[test]
    fn what_was_flushed_can_be_read_whatever_happens_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mcap");
        let mut writer = Writer::create(&path, Compression::None).unwrap();
        assert!(clocks(&path).is_empty(), "an empty recording is one, too");
        let id = writer.channel(&Channel { topic: "a".into(), ..Channel::default() }).unwrap();
        writer.message(id, stamps(1), b"first").unwrap();
        writer.flush().unwrap();
        writer.message(id, stamps(2), b"second").unwrap();
        assert_eq!(clocks(&path), [1]);
        assert!(!Recording::open(&path).unwrap().is_complete());
        assert!(Writer::create(&path, Compression::None).is_err(), "no file is overwritten");
        assert_eq!(writer.finish().unwrap(), path.metadata().unwrap().len());
        assert_eq!(clocks(&path), [1, 2]);
        assert!(Recording::open(&path).unwrap().is_complete());
    }

    #[test]
    fn chunks_are_written_when_they_are_full() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mcap");
        let mut writer = Writer::create(&path, Compression::None).unwrap();
        let id = writer.channel(&Channel::default()).unwrap();
        let payload = vec![7; CHUNK_LEN as usize / 4];
        for clock in 1..=12 {
            writer.message(id, stamps(clock), &payload).unwrap();
            let expected = clock.cast_unsigned() * payload.len() as u64;
            assert!((expected..expected + 2000).contains(&writer.len()), "{} of {expected}", writer.len());
        }
        let start = Instant::now();
        while clocks(&path).len() < 5 {
            assert!(start.elapsed() < HANG, "they are written without a flush");
        }
        drop(writer);
        assert!(clocks(&path).len() < 12, "an abandoned file holds what was written");
    }

    #[test]
    fn after_a_failure_the_file_ends_behind_the_last_whole_chunk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.mcap");
        let mut writer = Writer::create(&path, Compression::None).unwrap();
        let id = writer.channel(&Channel::default()).unwrap();
        let payload = vec![7; CHUNK_LEN as usize / 4];
        for clock in 1..=12 {
            writer.message(id, stamps(clock), &payload).unwrap();
        }
        assert!(writer.message(id + 1, stamps(13), b"of nobody").is_err());
        let Written { len, messages } = writer.flushed();
        assert_eq!((path.metadata().unwrap().len(), clocks(&path).len() as u64), (len, messages));
        assert_eq!(messages, 8, "two whole chunks");
        assert_eq!(writer.cut()[&id], (4, 4 * payload.len() as u64));
        assert!(writer.message(id, stamps(14), b"too late").is_err());
        drop(writer);
        assert_eq!(path.metadata().unwrap().len(), len);
    }

    /// `/dev/full` refuses all, as a full disk does.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_named() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let error = Writer::new(Path::new("a.mcap"), file, Compression::None).err().unwrap();
        // It cannot be cut, either.
        let expected = format!("a.mcap: the disk is full: {}", io::Error::from_raw_os_error(28));
        assert!(format!("{error:#}").ends_with(&expected), "{error:#}");
    }
}
