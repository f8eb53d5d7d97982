//! Reads measurements of eCAL: HDF5 files of the versions 2 to 6, one or a folder of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use ferrocal::DataType;
use hdf5_reader::group::Group;
use hdf5_reader::{Attribute, FileStorage, Hdf5File, OpenOptions};

use super::{Channel, Stamps};

/// The longest payload, table or descriptor that is read in bytes.
const MAX_LEN: usize = 1024 * 1024 * 1024;
/// How much longer than it is in the file a value can be, with deflate.
const MAX_RATIO: u64 = 1032;
/// What an entry takes in a file at least, in bytes: its row and its payload's header.
const MIN_ENTRY_LEN: u64 = 16;
/// How deep folders are searched.
const MAX_DEPTH: usize = 8;
/// The most files of a measurement.
const MAX_FILES: usize = 65_536;

/// A measurement of eCAL.
pub(crate) struct Measurement {
    files: Vec<MeasurementFile>,
    /// What cannot be read, and why.
    damage: Vec<String>,
}

/// A file of a measurement.
struct MeasurementFile {
    path: PathBuf,
    root: Group,
    /// In bytes.
    len: u64,
    version: String,
    channels: Vec<MeasurementChannel>,
}

struct MeasurementChannel {
    channel: Channel,
    entries: Vec<Entry>,
}

/// A message, as the table of its channel has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    received_us: i64,
    id: i64,
    clock: i64,
    sent_us: i64,
}

impl Measurement {
    /// Opens a file, or all `*.hdf5` in a folder.
    ///
    /// # Errors
    /// When nothing of it can be read.
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if !path.is_dir() {
            return Ok(Self { files: vec![MeasurementFile::open(path, "")?], damage: Vec::new() });
        }
        let mut paths = Vec::new();
        find(path, 0, &mut paths)?;
        paths.sort();
        if paths.is_empty() {
            bail!("{}: there is no *.hdf5 in this folder", path.display());
        }
        let mut measurement = Self { files: Vec::new(), damage: Vec::new() };
        let mut first = None;
        for file in paths {
            // A folder for each host.
            let host = file.parent().filter(|&parent| parent != path).and_then(Path::file_name);
            match MeasurementFile::open(&file, &host.unwrap_or_default().to_string_lossy()) {
                Ok(file) => measurement.files.push(file),
                Err(error) => {
                    measurement.damage.push(format!("{error:#}"));
                    first.get_or_insert(error);
                }
            }
        }
        match first {
            Some(error) if measurement.files.is_empty() => Err(error),
            _ => Ok(measurement),
        }
    }

    /// The versions of the files.
    pub(crate) fn versions(&self) -> Vec<&str> {
        let mut versions: Vec<_> = self.files.iter().map(|file| &*file.version).collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }

    pub(crate) fn files(&self) -> usize {
        self.files.len()
    }

    /// The files that cannot be read, and why.
    pub(crate) fn damage(&self) -> &[String] {
        &self.damage
    }

    /// The channels, and how many messages each has. One that is in several files comes once.
    pub(crate) fn channels(&self) -> Vec<(&Channel, u64)> {
        let mut all: Vec<(&Channel, u64)> = Vec::new();
        for one in self.files.iter().flat_map(|file| &file.channels) {
            let count = one.entries.len() as u64;
            match all.iter_mut().find(|(channel, _)| **channel == one.channel) {
                Some((_, sum)) => *sum += count,
                None => all.push((&one.channel, count)),
            }
        }
        all.sort_by(|(a, _), (b, _)| a.topic.cmp(&b.topic));
        all
    }

    #[cfg(test)]
    pub(crate) fn messages(&self) -> u64 {
        self.files.iter().flat_map(|file| &file.channels).map(|channel| channel.entries.len() as u64).sum()
    }

    /// The receive times of the first and the last message, in nanoseconds since the Unix epoch.
    pub(crate) fn times(&self) -> Option<(u64, u64)> {
        let entries = || self.files.iter().flat_map(|file| &file.channels).flat_map(|one| &one.entries);
        let times = || entries().map(|entry| nanos(entry.received_us));
        Some((times().min()?, times().max()?))
    }

    /// Passes all messages to `each`, in the order of their receive times, until it returns `false`. Messages of the same
    /// time come in the order in which they were written.
    ///
    /// # Errors
    /// Those of `each`. What cannot be read is passed to `damage`.
    pub(crate) fn each(
        &self,
        mut each: impl FnMut(&Channel, Stamps, &[u8]) -> anyhow::Result<bool>,
        mut damage: impl FnMut(String),
    ) -> anyhow::Result<()> {
        let mut all = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            for channel in &file.channels {
                all.extend(channel.entries.iter().map(|entry| (number, &channel.channel, entry)));
            }
        }
        let mut rooms: Vec<_> = self.files.iter().map(|file| Some(Room(file.len))).collect();
        all.sort_by_key(|(_, _, entry)| (entry.received_us, entry.id));
        for (number, channel, entry) in all {
            let file = &self.files[number];
            let Some(room) = &mut rooms[number] else { continue };
            let payload = match file.root.dataset(&entry.id.to_string()) {
                Ok(data) => {
                    if let Err(error) = room.take(stored_len(&data)) {
                        damage(format!("{}: from entry {} on: {error}", file.path.display(), entry.id));
                        rooms[number] = None;
                        continue;
                    }
                    data.read_raw_bytes()
                }
                Err(error) => Err(error),
            };
            let payload = match payload {
                Ok(payload) => payload,
                Err(error) => {
                    damage(format!(
                        "{}: entry {} of {}: {error}",
                        file.path.display(),
                        entry.id,
                        channel.topic
                    ));
                    continue;
                }
            };
            let stamps = Stamps {
                log_ns: nanos(entry.received_us),
                publish_ns: nanos(entry.sent_us),
                clock: entry.clock,
            };
            if !each(channel, stamps, &payload)? {
                break;
            }
        }
        Ok(())
    }
}

impl MeasurementFile {
    fn open(path: &Path, host: &str) -> anyhow::Result<Self> {
        Self::read(path, host).with_context(|| format!("{}", path.display()))
    }

    fn read(path: &Path, host: &str) -> anyhow::Result<Self> {
        let len = path.metadata()?.len();
        let max_len = usize::try_from(len.saturating_mul(MAX_RATIO)).unwrap_or(MAX_LEN).min(MAX_LEN);
        let options = OpenOptions::default().with_max_read_bytes(max_len);
        let mut room = Room(len);
        let storage = Arc::new(FileStorage::open(path)?);
        let file = Hdf5File::from_storage_with_options(storage, options)?;
        let root = file.root_group()?;
        let attributes = root.attributes()?;
        let text = |name: &str| {
            let attribute = attributes.iter().find(|attribute| attribute.name == name)?;
            Some(String::from_utf8_lossy(content(attribute)).into_owned())
        };
        let version = text("Version").ok_or_else(|| anyhow!("an HDF5 file, but no measurement of eCAL"))?;
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        // The list itself is missing if it is longer than an attribute can be.
        let names: Vec<String> = match text("Channels") {
            Some(list) => list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            None => names(&root)?,
        };
        let mut channels = Vec::new();
        match major {
            Some(2..=5) => {
                for name in &names {
                    channels.extend(channel_5(&root, name, host, &mut room).with_context(|| name.clone())?);
                }
            }
            Some(6) => {
                for name in &names {
                    channels.extend(channels_6(&root, name, host, &mut room).with_context(|| name.clone())?);
                }
            }
            _ => bail!("a measurement of version {version}, which cannot be read; 2.0 to 6.0 can"),
        }
        Ok(Self { path: path.to_owned(), root, len, version, channels })
    }
}

/// How much more a file can hold, in bytes. A damaged one claims more, or the same again and again.
struct Room(u64);

impl Room {
    fn take(&mut self, len: u64) -> anyhow::Result<()> {
        self.0 = self.0.checked_sub(len).ok_or_else(|| anyhow!("it claims more than fits into the file"))?;
        Ok(())
    }
}

/// What a payload takes in its file at least, in bytes. eCAL writes each in one piece; in several, it may be compressed.
fn stored_len(data: &hdf5_reader::Dataset) -> u64 {
    let len = data.raw_byte_len().map_or(0, |len| len as u64);
    if data.chunks().is_some() { len / MAX_RATIO } else { len }
}

/// Of a file without a list: the names of all that could be a channel.
fn names(root: &Group) -> anyhow::Result<Vec<String>> {
    let (groups, datasets) = root.member_names()?;
    let is_channel = |name: &String| name.parse::<u64>().is_err();
    Ok(groups.into_iter().chain(datasets).filter(is_channel).collect())
}

/// A channel of the versions up to 5. `None` without entries.
fn channel_5(
    root: &Group,
    name: &str,
    host: &str,
    room: &mut Room,
) -> anyhow::Result<Option<MeasurementChannel>> {
    let table = root.dataset(name)?;
    let attributes = table.attributes();
    let bytes = |name: &str| {
        let attribute = attributes.iter().find(|attribute| attribute.name == name);
        attribute.map(content).unwrap_or_default()
    };
    let type_text = String::from_utf8_lossy(bytes("Channel Type")).into_owned();
    let (encoding, type_name) = type_text.split_once(':').unwrap_or(("", &type_text));
    let data_type = DataType {
        name: type_name.to_owned(),
        encoding: encoding.to_owned(),
        descriptor: bytes("Channel Description").to_vec().into(),
    };
    room.take(data_type.descriptor.len() as u64)?;
    let entries = entries(&table, room)?;
    let channel = Channel { topic: unescaped(name), data_type, host: host.to_owned(), ..Channel::default() };
    Ok((!entries.is_empty()).then_some(MeasurementChannel { channel, entries }))
}

/// The publishers of a channel of version 6 that have entries.
fn channels_6(
    root: &Group,
    name: &str,
    host: &str,
    room: &mut Room,
) -> anyhow::Result<Vec<MeasurementChannel>> {
    let mut channels = Vec::new();
    for group in root.group(name)?.groups()? {
        let bytes = |name: &str| -> anyhow::Result<Vec<u8>> { Ok(group.dataset(name)?.read_raw_bytes()?) };
        let text = |name: &str| anyhow::Ok(String::from_utf8_lossy(&bytes(name)?).into_owned());
        let entries = entries(&group.dataset("DataTable")?, room)?;
        if entries.is_empty() {
            continue;
        }
        let id = group.name().rsplit('/').next().and_then(|id| u64::from_str_radix(id, 16).ok());
        let data_type = DataType {
            name: text("TypeName")?,
            encoding: text("TypeEncoding")?,
            descriptor: bytes("TypeDescriptor")?.into(),
        };
        room.take(data_type.descriptor.len() as u64)?;
        let channel = Channel {
            topic: unescaped(name),
            data_type,
            host: host.to_owned(),
            topic_id: id.filter(|&id| id != 0),
            ..Channel::default()
        };
        channels.push(MeasurementChannel { channel, entries });
    }
    Ok(channels)
}

/// Reads the table of a channel: receive time, id, clock, send time, sender. Older versions have fewer columns.
fn entries(table: &hdf5_reader::Dataset, room: &mut Room) -> anyhow::Result<Vec<Entry>> {
    let &[rows, columns @ 2..=64] = table.shape() else {
        bail!("its table has the shape {:?}", table.shape())
    };
    room.take(rows.saturating_mul(MIN_ENTRY_LEN))?;
    let rows = table.read_array::<i64>()?;
    let rows = rows.as_slice().ok_or_else(|| anyhow!("its table is in no order that is known"))?;
    let entry = |row: &[i64]| {
        let column = |number: usize| row.get(number).copied().unwrap_or(0);
        let received_us = row[0];
        let sent_us = if columns > 3 { column(3) } else { received_us };
        Entry { received_us, id: row[1], clock: column(2), sent_us }
    };
    Ok(rows.chunks_exact(usize::try_from(columns)?).map(entry).collect())
}

/// The bytes of a text. An empty one is written as a single NUL.
fn content(attribute: &Attribute) -> &[u8] {
    match &attribute.raw_data[..] {
        [0] => &[],
        content => content,
    }
}

fn nanos(us: i64) -> u64 {
    u64::try_from(us).unwrap_or(0).saturating_mul(1000)
}

/// A topic's name in place of the name of its table, in which `%XX` stands for some bytes.
fn unescaped(name: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), name.as_bytes());
    while let Some((&first, behind)) = rest.split_first() {
        let digits = behind.first_chunk::<2>().and_then(|digits| str::from_utf8(digits).ok());
        let is_hex = |digits: &&str| digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        match digits.filter(is_hex).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Finds the `*.hdf5` of a folder and of those inside. Links to folders are not followed.
fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let shown = || format!("{}", folder.display());
    for entry in fs::read_dir(folder).with_context(shown)? {
        let entry = entry.with_context(shown)?;
        let (path, kind) = (entry.path(), entry.file_type().with_context(shown)?);
        if kind.is_dir() && depth < MAX_DEPTH {
            find(&path, depth + 1, found)?;
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("hdf5"))
            && path.is_file()
        {
            if found.len() == MAX_FILES {
                bail!("{}: more than {MAX_FILES} files", folder.display());
            }
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Message = (String, String, u64, u64, i64, Vec<u8>);

    fn path(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
    }

    fn messages(measurement: &Measurement) -> Vec<Message> {
        let mut messages = Vec::new();
        let each = |channel: &Channel, stamps: Stamps, payload: &[u8]| {
            let Stamps { log_ns, publish_ns, clock } = stamps;
            let payload = payload.to_vec();
            let type_text = channel.type_text().into_owned();
            messages.push((channel.topic.clone(), type_text, log_ns, publish_ns, clock, payload));
            Ok(true)
        };
        measurement.each(each, |damage| panic!("{damage}")).unwrap();
        messages
    }

    /// What both files of the tests hold: `cli/tests/data/make.py` makes them.
    fn expected() -> Vec<Message> {
        let message = |topic: &str, kind: &str, log_us: u64, publish_us: u64, clock, payload: &[u8]| {
            let (topic, kind) = (topic.to_owned(), kind.to_owned());
            (topic, kind, log_us * 1000, publish_us * 1000, clock, payload.to_vec())
        };
        let (odd, plain) = ("a/b,c%ä", "plain");
        vec![
            message(odd, "demo.X (proto)", 1998, 1002, 3, b"xx"),
            message(odd, "demo.X (proto)", 1999, 1001, 2, b"x"),
            message(odd, "demo.X (proto)", 2000, 1000, 1, b""),
            message(plain, "string (utf-8)", 2000, 1000, 1, b"y0"),
            message(plain, "string (utf-8)", 2000, 1001, 2, b"y1"),
            message(plain, "string (utf-8)", 2000, 1002, 3, b"y2"),
        ]
    }

    #[test]
    fn both_versions_are_read() {
        for (name, version) in [("measurement-5.0.hdf5", "5.0"), ("measurement-6.0.hdf5", "6.0")] {
            let measurement = Measurement::open(&path(name)).unwrap();
            assert_eq!(measurement.versions(), [version]);
            assert_eq!(messages(&measurement), expected(), "{name}");
            assert_eq!((measurement.messages(), measurement.times()), (6, Some((1_998_000, 2_000_000))));
            let channels = measurement.channels();
            assert_eq!(channels[0].0.data_type.descriptor, b"de\0sc"[..]);
            let id = (version == "6.0").then_some(0x1234_5678_9abc_def0);
            assert_eq!((channels.len(), channels[0].0.topic_id, channels[1].0.topic_id), (2, id, None));
        }
    }

    #[test]
    fn a_folder_is_a_measurement_of_several_hosts() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("robot")).unwrap();
        fs::copy(path("measurement-5.0.hdf5"), folder.path().join("robot/robot.hdf5")).unwrap();
        fs::copy(path("measurement-6.0.hdf5"), folder.path().join("other.hdf5")).unwrap();
        fs::write(folder.path().join("robot/broken.hdf5"), b"\x89HDF\r\n\x1a\n").unwrap();
        let measurement = Measurement::open(folder.path()).unwrap();
        assert_eq!(measurement.messages(), 12);
        assert!(measurement.damage()[0].contains("broken.hdf5"), "{:?}", measurement.damage());
        let hosts: Vec<_> = measurement.channels().iter().map(|(channel, _)| channel.host.clone()).collect();
        assert_eq!(hosts.iter().filter(|host| *host == "robot").count(), 2, "{hosts:?}");
        let empty = tempfile::tempdir().unwrap();
        let error = Measurement::open(empty.path()).err().unwrap();
        assert!(format!("{error:#}").contains("no *.hdf5"), "{error:#}");
    }

    #[test]
    fn damage_anywhere_neither_panics_nor_fills_the_memory() {
        let folder = tempfile::tempdir().unwrap();
        let damaged = folder.path().join("damaged.hdf5");
        for name in ["measurement-5.0.hdf5", "measurement-6.0.hdf5"] {
            let bytes = fs::read(path(name)).unwrap();
            let mut random = 7_u64;
            let mut next = move || {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) as usize
            };
            for _ in 0..5000 {
                let mut bytes = bytes.clone();
                for _ in 0..1 + next() % 3 {
                    let position = next() % bytes.len();
                    bytes[position] = [0, 1, 0x7f, 0xff, next() as u8][next() % 5];
                }
                bytes.truncate(if next() % 4 == 0 { next() % bytes.len() } else { bytes.len() });
                fs::write(&damaged, bytes).unwrap();
                if let Ok(measurement) = Measurement::open(&damaged) {
                    measurement.each(|_, _, _| Ok(true), drop).unwrap();
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_into_the_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let damaged = folder.path().join("damaged.hdf5");
        let mut bytes = fs::read(path("measurement-6.0.hdf5")).unwrap();
        // A descriptor of 721 MB, of which the file has nothing.
        bytes[7703] = 43;
        fs::write(&damaged, bytes).unwrap();
        let error = Measurement::open(&damaged).err().unwrap();
        assert!(format!("{error:#}").contains("TypeDescriptor: resource limit"), "{error:#}");
        let mut room = Room(10);
        assert!(room.take(4).is_ok() && room.take(7).is_err() && room.take(6).is_ok());
    }

    #[test]
    fn a_payload_that_many_entries_name_is_read_as_often_as_it_would_fit() {
        const LEN: u64 = 2500;
        let folder = tempfile::tempdir().unwrap();
        let damaged = folder.path().join("damaged.hdf5");
        let mut bytes = fs::read(path("measurement-5.0.hdf5")).unwrap();
        assert_eq!(bytes.len() as u64 / LEN, 2);
        // The payload of entry 4 is longer: its dataspace, and where it is.
        for (at, was, is) in [(4400, 2, LEN), (4466, 2053, 0), (4474, 2, LEN)] {
            assert_eq!(bytes[at..at + 8], u64::to_le_bytes(was));
            bytes[at..at + 8].copy_from_slice(&is.to_le_bytes());
        }
        // All entries name it, and nothing is left of the file's length after two of them.
        for row in [2057, 2097, 2137, 2177, 2217, 2257] {
            bytes[row + 8] = 4;
        }
        fs::write(&damaged, bytes).unwrap();
        let (mut messages, mut texts) = (0, Vec::new());
        let each = |_: &Channel, _: Stamps, payload: &[u8]| {
            assert_eq!(payload.len() as u64, LEN);
            messages += 1;
            Ok(true)
        };
        Measurement::open(&damaged).unwrap().each(each, |text| texts.push(text)).unwrap();
        assert_eq!((messages, texts.len()), (2, 1), "{texts:?}");
        assert!(texts[0].contains("more than fits into the file"), "{texts:?}");
    }

    #[test]
    fn names_are_unescaped() {
        assert_eq!(unescaped("a%2Fb%2Cc%25%C3%A4"), "a/b,c%ä");
        assert_eq!(unescaped("%"), "%");
        assert_eq!(unescaped("%zz%+1%4"), "%zz%+1%4");
    }
}
