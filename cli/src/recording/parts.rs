//! A recording in one file or in several parts.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use ferrocal::Bytes;

use super::numbers::{first_number, numbered};
use super::write::{MAX_CHANNELS, Taken, Written};
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
    /// Whether it was deleted or moved while it was written.
    pub(crate) gone: bool,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Written,
    /// The file has no number left for its publisher.
    LeftOut,
    /// There is no room for it in the quota.
    OverQuota,
}

/// Messages and bytes that a failure cut off, by publisher.
pub(crate) type Cut = BTreeMap<usize, (u64, u64)>;

/// Writes a recording in one file or in several parts, each of which can be read without the others.
pub(crate) struct Parts {
    base: PathBuf,
    compression: Compression,
    limits: Limits,
    about: BTreeMap<String, String>,
    losses: BTreeMap<String, String>,
    /// Whether the open part does not say them yet.
    are_losses_new: bool,
    /// When they may be written again.
    next_losses: Option<Instant>,
    /// The publishers, in the order in which they came.
    channels: BTreeMap<usize, Channel>,
    next_channel: usize,
    /// Those of the channels. Publishers of one type share one.
    descriptors: HashSet<Bytes>,
    /// What the channels take in memory, about.
    channels_len: usize,
    max_channels_len: usize,
    cut: Cut,
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
    /// Whether the file was deleted or moved.
    is_gone: bool,
}

/// How many bytes of losses are written in a second at most, on average. A program that is killed loses the last counts.
const LOSSES_PER_SECOND: f64 = 16.0 * 1024.0;

impl Parts {
    /// Begins a recording. With parts, their numbers follow the name, as in `NAME_0000.mcap`, behind those of earlier recordings.
    pub(crate) fn create(
        base: &Path,
        compression: Compression,
        limits: Limits,
        about: BTreeMap<String, String>,
        max_channels_len: usize,
    ) -> anyhow::Result<Self> {
        let mut next_number = 0;
        let open = if limits.has_parts() {
            next_number = first_number(base);
            Open::create_numbered(base, &mut next_number, compression, &about, &BTreeMap::new())?
        } else {
            Open::create(base, compression, &about, &BTreeMap::new())?
        };
        Ok(Self {
            base: base.to_owned(),
            compression,
            limits,
            about,
            losses: BTreeMap::new(),
            are_losses_new: false,
            next_losses: None,
            channels: BTreeMap::new(),
            next_channel: 0,
            descriptors: HashSet::new(),
            channels_len: 0,
            max_channels_len,
            cut: Cut::new(),
            open,
            next_number,
            finished: VecDeque::new(),
            deleted: 0,
        })
    }

    /// The file that is written.
    pub(crate) fn path(&self) -> &Path {
        self.open.writer.path()
    }

    /// The bytes of all files so far.
    pub(crate) fn len(&self) -> u64 {
        self.finished.iter().map(|part| part.bytes).sum::<u64>() + self.open.writer.len()
    }

    /// How many parts gave way to others, with those that were moved away before.
    pub(crate) fn deleted(&self) -> u64 {
        self.deleted
    }

    /// The number of the part that comes next, or a higher one.
    pub(crate) fn next_number(&self) -> u32 {
        self.next_number
    }

    /// Whether a publisher is known. Those of which the last part had no message are forgotten when another begins.
    pub(crate) fn has(&self, channel: usize) -> bool {
        self.channels.contains_key(&channel)
    }

    /// Adds a publisher, and returns its number in the recording. `None` if there is no room for it.
    pub(crate) fn channel(&mut self, mut channel: Channel) -> Option<usize> {
        let descriptor = &mut channel.data_type.descriptor;
        let shared = self.descriptors.get(descriptor).cloned();
        let len = if shared.is_some() { 0 } else { descriptor.len() };
        let len = len + held_len(&channel);
        if self.channels.len() >= MAX_CHANNELS || self.channels_len + len > self.max_channels_len {
            return None;
        }
        self.channels_len += len;
        match shared {
            Some(shared) => channel.data_type.descriptor = shared,
            None => _ = self.descriptors.insert(channel.data_type.descriptor.clone()),
        }
        let number = self.next_channel;
        self.next_channel += 1;
        self.channels.insert(number, channel);
        Some(number)
    }

    /// The descriptor of a publisher.
    pub(crate) fn descriptor(&self, channel: usize) -> Bytes {
        self.channels.get(&channel).map(|channel| channel.data_type.descriptor.clone()).unwrap_or_default()
    }

    /// Writes a message, if there is room for it.
    pub(crate) fn message(
        &mut self,
        channel: usize,
        stamps: Stamps,
        payload: &[u8],
    ) -> anyhow::Result<Outcome> {
        /// What a message takes besides its payload: its record, and its entry in the index.
        const OVERHEAD: u64 = 31 + 16;
        let len = payload.len() as u64 + OVERHEAD;
        let Limits { split_size, split_time, quota } = self.limits;
        let is_full = split_size.is_some_and(|max| self.open.writer.len() + len > max);
        let age = Duration::from_nanos(stamps.log_ns.saturating_sub(self.open.first_ns));
        let is_over = split_time.is_some_and(|max| age >= max);
        if self.open.messages > 0 && (is_full || is_over) {
            self.split(channel)?;
        }
        if let Some(quota) = quota {
            while self.len() + len > quota {
                let Some(oldest) = self.finished.pop_front() else { break };
                delete(&oldest.path)?;
                self.deleted += 1;
            }
            if self.len() + len > quota {
                return Ok(Outcome::OverQuota);
            }
        }
        let open = &mut self.open;
        let number = match open.numbers.get(&channel) {
            Some(number) => *number,
            None => {
                let Some(number) = open.writer.try_channel(&self.channels[&channel])? else {
                    return Ok(Outcome::LeftOut);
                };
                open.numbers.insert(channel, number);
                number
            }
        };
        if open.messages == 0 {
            open.first_ns = stamps.log_ns;
        }
        open.writer.message(number, stamps, payload)?;
        open.messages += 1;
        Ok(Outcome::Written)
    }

    /// Says what was lost so far. It is in the file after one of the next calls, the sooner the shorter it is, and when the
    /// part ends. Returns whether it was written now.
    pub(crate) fn losses(&mut self, losses: BTreeMap<String, String>, now: Instant) -> anyhow::Result<bool> {
        if self.losses != losses {
            self.losses = losses;
            self.are_losses_new = true;
        }
        if !self.are_losses_new || self.next_losses.is_some_and(|next| now < next) {
            return Ok(false);
        }
        let len: usize = self.losses.iter().map(|(name, count)| name.len() + count.len() + 8).sum();
        self.next_losses = Some(now + Duration::from_secs_f64(len as f64 / LOSSES_PER_SECOND));
        self.write_losses()?;
        Ok(true)
    }

    fn write_losses(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.are_losses_new) {
            self.open.writer.metadata(metadata::LOSSES, self.losses.clone())?;
        }
        Ok(())
    }

    /// What was written can be read from now on.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.open.writer.flush()?;
        self.open.look_for_file();
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn set_max_channels_len(&mut self, max: usize) {
        self.max_channels_len = max;
    }

    /// Fails as a disk does.
    #[cfg(test)]
    pub(crate) fn fail(&mut self) {
        self.open.writer.message(u16::MAX, Stamps::default(), b"of nobody").unwrap_err();
    }

    /// Completes the recording. Returns its files, what of the messages a failure cut off, by publisher, and whether the last
    /// file was completed; one without messages is deleted.
    pub(crate) fn finish(mut self) -> (Vec<Part>, Cut, anyhow::Result<()>) {
        let said = self.write_losses();
        let (part, cut, result) = self.open.finish();
        let result = said.and(result);
        self.cut.extend(cut);
        if part.messages == 0 {
            let _ = fs::remove_file(&part.path);
        } else {
            self.finished.push_back(part);
        }
        (self.finished.into(), self.cut, result)
    }

    /// Begins a part for a message of a publisher.
    fn split(&mut self, channel: usize) -> anyhow::Result<()> {
        self.write_losses()?;
        let Self { base, next_number, compression, about, losses, .. } = self;
        let next = Open::create_numbered(base, next_number, *compression, about, losses)?;
        let last = std::mem::replace(&mut self.open, next);
        self.forget_all_but(&last.numbers, channel);
        let (part, cut, result) = last.finish();
        self.cut.extend(cut);
        self.finished.push_back(part);
        result
    }

    /// Forgets publishers that sent nothing in the last part.
    fn forget_all_but(&mut self, numbers: &HashMap<usize, u16>, channel: usize) {
        self.channels.retain(|number, _| *number == channel || numbers.contains_key(number));
        self.descriptors =
            self.channels.values().map(|channel| channel.data_type.descriptor.clone()).collect();
        self.channels_len = self.channels.values().map(held_len).sum::<usize>()
            + self.descriptors.iter().map(Bytes::len).sum::<usize>();
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
        let mut open = Self { writer, numbers: HashMap::new(), messages: 0, first_ns: 0, is_gone: false };
        if let Err(error) = open.begin(about, losses) {
            // There is nothing in it.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        Ok(open)
    }

    /// Makes a part with a number that no file has, `number` or a higher one. The next number is behind it.
    fn create_numbered(
        base: &Path,
        number: &mut u32,
        compression: Compression,
        about: &BTreeMap<String, String>,
        losses: &BTreeMap<String, String>,
    ) -> anyhow::Result<Self> {
        loop {
            let created = Self::create(&numbered(base, *number), compression, about, losses);
            let is_taken = created.as_ref().err().is_some_and(anyhow::Error::is::<Taken>);
            match number.checked_add(1) {
                Some(next) => *number = next,
                None => return created,
            }
            if !is_taken {
                return created;
            }
        }
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

    /// Warns once when the file was deleted or moved. The rest is written all the same: who moved it has it.
    fn look_for_file(&mut self) {
        let path = self.writer.path();
        if !self.is_gone && matches!(path.try_exists(), Ok(false)) {
            log::warn!("{} is gone: it was deleted or moved while it was written", path.display());
            self.is_gone = true;
        }
    }

    /// Completes the part. Returns what a failure cut off it, too.
    fn finish(mut self) -> (Part, Cut, anyhow::Result<()>) {
        let path = self.writer.path().to_owned();
        let finished = self.writer.finish();
        self.look_for_file();
        let gone = self.is_gone;
        match finished {
            Ok(bytes) => (Part { path, bytes, messages: self.messages, gone }, Cut::new(), Ok(())),
            Err(error) => {
                let Written { len, messages } = self.writer.flushed();
                // Publishers that say the same of themselves are one in the file.
                let mut channels: HashMap<_, _> =
                    self.numbers.iter().map(|(channel, number)| (*number, *channel)).collect();
                let cut = self.writer.cut().iter();
                let cut = cut.filter_map(|(number, cut)| Some((channels.remove(number)?, *cut))).collect();
                (Part { path, bytes: len, messages, gone }, cut, Err(error))
            }
        }
    }
}

/// Deletes a part, unless somebody moved it away.
fn delete(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} cannot be deleted", path.display()))
        }
        _ => Ok(()),
    }
}

/// What a publisher takes in memory without its descriptor, about.
fn held_len(channel: &Channel) -> usize {
    let Channel { topic, data_type, host, process, unit, .. } = channel;
    let texts = [topic, &data_type.name, &data_type.encoding, host, process, unit];
    size_of::<Channel>() + texts.into_iter().map(String::len).sum::<usize>() + 256
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{Range, Recording};

    fn record(base: &Path, limits: Limits, payload_len: usize) -> (Vec<Part>, u64) {
        let about = [("version".to_owned(), "1".to_owned())].into();
        let mut parts = Parts::create(base, Compression::None, limits, about, 1 << 20).unwrap();
        let channel = parts.channel(Channel { topic: "a".into(), ..Channel::default() }).unwrap();
        for clock in 0..20_u64 {
            let stamps = Stamps { log_ns: clock * 1_000_000_000, publish_ns: 0, clock: clock.cast_signed() };
            if parts.message(channel, stamps, &vec![7; payload_len]).unwrap() != Outcome::Written {
                break;
            }
            parts.flush().unwrap();
        }
        let deleted = parts.deleted();
        let (parts, cut, result) = parts.finish();
        result.unwrap();
        assert!(cut.is_empty());
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
    fn parts_take_numbers_that_no_file_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a_0004.mcap"), "of an earlier recording").unwrap();
        let limits = Limits { split_time: Some(Duration::from_secs(1)), ..Limits::default() };
        let mut parts = open(&path("a.mcap"), limits);
        fs::write(path("a_0006.mcap"), "of somebody else").unwrap();
        let channel = parts.channel(publisher(1, b"")).unwrap();
        for second in 0..3 {
            let stamps = Stamps { log_ns: second * 1_000_000_000, ..Stamps::default() };
            parts.message(channel, stamps, b"x").unwrap();
        }
        let written: Vec<_> = parts.finish().0.into_iter().map(|part| part.path).collect();
        assert_eq!(written, ["a_0005.mcap", "a_0007.mcap", "a_0008.mcap"].map(path));
        assert_eq!(fs::read(path("a_0006.mcap")).unwrap(), b"of somebody else");
    }

    #[test]
    fn a_part_that_was_moved_away_gives_way_as_others_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let limits = Limits { split_size: Some(50_000), quota: Some(120_000), ..Limits::default() };
        let mut parts = open(&path("a.mcap"), limits);
        let channel = parts.channel(publisher(1, b"")).unwrap();
        for number in 0..40 {
            if number == 10 {
                fs::rename(path("a_0000.mcap"), path("moved.mcap")).unwrap();
            }
            let outcome = parts.message(channel, Stamps::default(), &[7; 10_000]).unwrap();
            assert_eq!(outcome, Outcome::Written);
        }
        assert!(parts.deleted() > 1);
        assert!(path("moved.mcap").exists());
        fs::create_dir(path("folder")).unwrap();
        assert!(delete(&path("folder")).is_err());
    }

    /// Windows may keep the name until the file is closed.
    #[test]
    #[cfg(unix)]
    fn a_part_that_is_deleted_while_it_is_written_is_gone_and_the_next_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("a.mcap");
        let limits = Limits { split_time: Some(Duration::from_secs(1)), ..Limits::default() };
        let mut parts = open(&base, limits);
        let channel = parts.channel(publisher(1, b"")).unwrap();
        parts.message(channel, Stamps::default(), b"x").unwrap();
        fs::remove_file(numbered(&base, 0)).unwrap();
        let stamps = Stamps { log_ns: 2_000_000_000, ..Stamps::default() };
        parts.message(channel, stamps, b"y").unwrap();
        let (parts, _, result) = parts.finish();
        result.unwrap();
        assert_eq!(parts.iter().map(|part| part.gone).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn a_recording_of_nothing_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("a.mcap");
        assert_eq!(open(&base, Limits::default()).finish().0, []);
        assert!(!base.exists());
    }

    fn open(base: &Path, limits: Limits) -> Parts {
        Parts::create(base, Compression::None, limits, BTreeMap::new(), 1 << 26).unwrap()
    }

    fn publisher(id: u64, descriptor: &[u8]) -> Channel {
        let data_type =
            ferrocal::DataType { descriptor: descriptor.to_vec().into(), ..ferrocal::DataType::default() };
        Channel { topic: "a".into(), topic_id: Some(id), data_type, ..Channel::default() }
    }

    #[test]
    fn publishers_without_a_number_are_left_out_and_the_others_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("a.mcap");
        let mut parts = open(&base, Limits::default());
        let mut numbers = Vec::new();
        for id in 0..70_000 {
            let channel = parts.channel(publisher(id, b""));
            if let Some(channel) = channel {
                assert_eq!(
                    parts.message(channel, Stamps::default(), b"x").unwrap(),
                    Outcome::Written,
                    "{id}"
                );
            }
            numbers.extend(channel);
        }
        assert_eq!(numbers.len(), MAX_CHANNELS);
        assert_eq!(parts.message(numbers[0], Stamps::default(), b"y").unwrap(), Outcome::Written);
        let (parts, _, result) = parts.finish();
        result.unwrap();
        assert_eq!(parts[0].messages, MAX_CHANNELS as u64 + 1);
        assert!(Recording::open(&base).unwrap().is_complete());
    }

    #[test]
    fn descriptors_are_shared_and_take_so_much_at_most() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("a.mcap");
        let about = BTreeMap::new();
        let mut parts = Parts::create(&base, Compression::None, Limits::default(), about, 3_000_000).unwrap();
        let same = (0..100).filter_map(|id| parts.channel(publisher(id, &[7; 100_000])));
        assert_eq!(same.count(), 100, "one descriptor");
        let others = (0..100).filter_map(|id| parts.channel(publisher(id, &[id as u8; 100_001])));
        assert!((20..30).contains(&others.count()));
    }

    #[test]
    fn publishers_of_which_a_part_has_nothing_are_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { split_time: Some(Duration::from_secs(1)), ..Limits::default() };
        let mut parts = open(&folder.path().join("a.mcap"), limits);
        let [gone, stays] = [1, 2].map(|id| parts.channel(publisher(id, &[id as u8; 10])).unwrap());
        for (channel, second) in [(gone, 0), (stays, 0), (stays, 1), (stays, 2)] {
            let stamps = Stamps { log_ns: second * 1_000_000_000, ..Stamps::default() };
            parts.message(channel, stamps, b"x").unwrap();
        }
        assert_eq!((parts.has(gone), parts.has(stays), parts.descriptors.len()), (false, true, 1));
    }

    #[test]
    fn long_losses_are_written_seldom_and_when_the_file_ends() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("a.mcap");
        let mut parts = open(&base, Limits::default());
        let channel = parts.channel(publisher(1, b"")).unwrap();
        parts.message(channel, Stamps::default(), b"x").unwrap();
        let now = Instant::now();
        let name = "z".repeat(160 * 1024);
        let written = (0..30).filter(|second| {
            let losses = BTreeMap::from([(name.clone(), second.to_string())]);
            parts.losses(losses, now + Duration::from_secs(*second)).unwrap()
        });
        assert_eq!(written.collect::<Vec<_>>(), [0, 11, 22]);
        parts.finish().2.unwrap();
        let recording = Recording::open(&base).unwrap();
        assert_eq!(recording.metadata(metadata::LOSSES).unwrap()[&name], "29");
        assert!(base.metadata().unwrap().len() < 5 * name.len() as u64);
    }
}
