//! A recording in one file or in several parts.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::write::Written;
use super::{Channel, Compression, Stamps, Writer, metadata};

/// When a new part begins, and how much all of them take.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// A part has about as many bytes at most.
    pub(crate) split_size: Option<u64>,
    /// A part is as long at most, by receive times.
    pub(crate) split_time: Option<Duration>,
    /// All parts together have about as many bytes at most: if there are several, the oldest gives way. A recording in one
    /// file ends there.
    pub(crate) quota: Option<u64>,
}

impl Limits {
    fn has_parts(&self) -> bool {
        self.split_size.is_some() || self.split_time.is_some()
    }
}

/// A file of a recording.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Part {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) messages: u64,
}

/// Writes a recording in one file or in several parts, each of which can be read without the others.
pub(crate) struct Parts {
    base: PathBuf,
    compression: Compression,
    limits: Limits,
    about: BTreeMap<String, String>,
    losses: BTreeMap<String, String>,
    /// The publishers, in the order in which they came.
    channels: Vec<Channel>,
    open: Open,
    next_number: u32,
    finished: VecDeque<Part>,
    deleted: u64,
}

/// The part that is written.
struct Open {
    writer: Writer,
    /// The numbers of publishers in this part, by those in the recording.
    numbers: HashMap<usize, u16>,
    messages: u64,
    first_ns: u64,
}

impl Parts {
    /// Begins a recording. With parts, their numbers follow the name: `NAME_0000.mcap`.
    pub(crate) fn create(
        base: &Path,
        compression: Compression,
        limits: Limits,
        about: BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let path = if limits.has_parts() { numbered(base, 0) } else { base.to_owned() };
        let open = Open::create(&path, compression, &about, &BTreeMap::new())?;
        Ok(Self {
            base: base.to_owned(),
            compression,
            limits,
            about,
            losses: BTreeMap::new(),
            channels: Vec::new(),
            open,
            next_number: 1,
            finished: VecDeque::new(),
            deleted: 0,
        })
    }

    /// The bytes of all files so far.
    pub(crate) fn len(&self) -> u64 {
        self.finished.iter().map(|part| part.bytes).sum::<u64>() + self.open.writer.len()
    }

    /// How many parts gave way to others.
    pub(crate) fn deleted(&self) -> u64 {
        self.deleted
    }

    /// Adds a publisher, and returns its number in the recording.
    pub(crate) fn channel(&mut self, channel: Channel) -> usize {
        self.channels.push(channel);
        self.channels.len() - 1
    }

    /// Writes a message. Returns `false` instead if there is no room for it in the quota.
    pub(crate) fn message(&mut self, channel: usize, stamps: Stamps, payload: &[u8]) -> anyhow::Result<bool> {
        /// What a message takes besides its payload: its record, and its entry in the index.
        const OVERHEAD: u64 = 31 + 16;
        let len = payload.len() as u64 + OVERHEAD;
        let Limits { split_size, split_time, quota } = self.limits;
        let is_full = split_size.is_some_and(|max| self.open.writer.len() + len > max);
        let age = Duration::from_nanos(stamps.log_ns.saturating_sub(self.open.first_ns));
        let is_over = split_time.is_some_and(|max| age >= max);
        if self.open.messages > 0 && (is_full || is_over) {
            self.split()?;
        }
        if let Some(quota) = quota {
            while self.len() + len > quota {
                let Some(oldest) = self.finished.pop_front() else { break };
                let shown = oldest.path.display();
                fs::remove_file(&oldest.path).with_context(|| format!("{shown} cannot be deleted"))?;
                self.deleted += 1;
            }
            if self.len() + len > quota {
                return Ok(false);
            }
        }
        let open = &mut self.open;
        if open.messages == 0 {
            open.first_ns = stamps.log_ns;
        }
        let number = match open.numbers.get(&channel) {
            Some(number) => *number,
            None => {
                let number = open.writer.channel(&self.channels[channel])?;
                open.numbers.insert(channel, number);
                number
            }
        };
        open.writer.message(number, stamps, payload)?;
        open.messages += 1;
        Ok(true)
    }

    /// Says what was lost so far. It is in the file after the next flush.
    pub(crate) fn losses(&mut self, losses: BTreeMap<String, String>) -> anyhow::Result<()> {
        self.losses = losses;
        self.open.writer.metadata(metadata::LOSSES, self.losses.clone())
    }

    /// What was written can be read from now on.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.open.writer.flush()
    }

    /// Completes the recording. Returns its files, and whether the last one was completed; one without messages is deleted.
    pub(crate) fn finish(mut self) -> (Vec<Part>, anyhow::Result<()>) {
        let (part, result) = self.open.finish();
        if part.messages == 0 {
            let _ = fs::remove_file(&part.path);
        } else {
            self.finished.push_back(part);
        }
        (self.finished.into(), result)
    }

    fn split(&mut self) -> anyhow::Result<()> {
        let path = numbered(&self.base, self.next_number);
        self.next_number += 1;
        let next = Open::create(&path, self.compression, &self.about, &self.losses)?;
        let (part, result) = std::mem::replace(&mut self.open, next).finish();
        self.finished.push_back(part);
        result
    }
}

impl Open {
    fn create(
        path: &Path,
        compression: Compression,
        about: &BTreeMap<String, String>,
        losses: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        let writer = Writer::create(path, compression)?;
        let mut open = Self { writer, numbers: HashMap::new(), messages: 0, first_ns: 0 };
        if let Err(error) = open.begin(about, losses) {
            // There is nothing in it.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(open)
    }

    fn begin(
        &mut self,
        about: &BTreeMap<String, String>,
        losses: &BTreeMap<String, String>,
    ) -> anyhow::Result<()> {
        self.writer.metadata(metadata::ABOUT, about.clone())?;
        if !losses.is_empty() {
            self.writer.metadata(metadata::LOSSES, losses.clone())?;
        }
        self.writer.flush()
    }

    fn finish(mut self) -> (Part, anyhow::Result<()>) {
        let path = self.writer.path().to_owned();
        match self.writer.finish() {
            Ok(bytes) => (Part { path, bytes, messages: self.messages }, Ok(())),
            Err(error) => {
                let Written { len, messages } = self.writer.flushed();
                (Part { path, bytes: len, messages }, Err(error))
            }
        }
    }
}

/// The path of a part.
fn numbered(base: &Path, number: u32) -> PathBuf {
    let stem = base.file_stem().unwrap_or_default().to_string_lossy();
    let extension = base.extension().unwrap_or("mcap".as_ref()).to_string_lossy();
    base.with_file_name(format!("{stem}_{number:04}.{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{Range, Recording};

    fn record(base: &Path, limits: Limits, payload_len: usize) -> (Vec<Part>, u64) {
        let about = [("version".to_owned(), "1".to_owned())].into();
        let mut parts = Parts::create(base, Compression::None, limits, about).unwrap();
        let channel = parts.channel(Channel { topic: "a".into(), ..Channel::default() });
        for clock in 0..20_u64 {
            let stamps = Stamps { log_ns: clock * 1_000_000_000, publish_ns: 0, clock: clock.cast_signed() };
            if !parts.message(channel, stamps, &vec![7; payload_len]).unwrap() {
                break;
            }
            parts.flush().unwrap();
        }
        let deleted = parts.deleted();
        let (parts, result) = parts.finish();
        result.unwrap();
        (parts, deleted)
    }

    fn clocks(path: &Path) -> Vec<u32> {
        let recording = Recording::open(path).unwrap();
        assert_eq!(recording.metadata(metadata::ABOUT).unwrap()["version"], "1");
        let mut clocks = Vec::new();
        let each = |channel: &Channel, header: &mcap::records::MessageHeader, _: &[u8]| {
            assert_eq!(channel.topic, "a");
            clocks.push(header.sequence);
            Ok(true)
        };
        recording.each(&Range::default(), each).unwrap();
        clocks
    }

    #[test]
    fn parts_are_split_by_time_and_by_size_and_each_is_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let time = Limits { split_time: Some(Duration::from_secs(8)), ..Limits::default() };
        let (parts, _) = record(&folder.path().join("time.mcap"), time, 10);
        assert_eq!(parts.iter().map(|part| part.messages).collect::<Vec<_>>(), [8, 8, 4]);
        assert_eq!(parts[1].path, folder.path().join("time_0001.mcap"));
        assert_eq!(clocks(&parts[1].path), (8..16).collect::<Vec<_>>());

        let size = Limits { split_size: Some(50_000), ..Limits::default() };
        let (parts, _) = record(&folder.path().join("size.mcap"), size, 10_000);
        assert_eq!(parts.iter().map(|part| part.messages).sum::<u64>(), 20);
        assert_eq!(parts.len(), 5);
        for part in &parts {
            assert_eq!(part.bytes, part.path.metadata().unwrap().len());
        }
    }

    #[test]
    fn a_quota_deletes_the_oldest_part_or_ends_a_single_file() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { split_size: Some(50_000), quota: Some(120_000), ..Limits::default() };
        let (parts, deleted) = record(&folder.path().join("ring.mcap"), limits, 10_000);
        assert!(deleted > 0);
        assert!(parts.iter().map(|part| part.bytes).sum::<u64>() < 130_000);
        assert!(!folder.path().join("ring_0000.mcap").exists());
        assert_eq!(clocks(&parts.last().unwrap().path).last(), Some(&19));

        let limits = Limits { quota: Some(120_000), ..Limits::default() };
        let (parts, _) = record(&folder.path().join("single.mcap"), limits, 10_000);
        assert_eq!(parts.len(), 1);
        assert_eq!(clocks(&parts[0].path), (0..11).collect::<Vec<_>>());
    }

    #[test]
    fn a_recording_of_nothing_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("a.mcap");
        let parts = Parts::create(&base, Compression::None, Limits::default(), BTreeMap::new()).unwrap();
        assert_eq!(parts.finish().0, []);
        assert!(!base.exists());
    }
}
