//! From one kind of recording to another.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ferrocal::Config;
use mcap::records::MessageHeader;
use tempfile::NamedTempFile;

use super::frames::Frames;
use super::write::unwritten;
use super::{
    Capture, Channel, Compression, Kind, Measurement, Patterns, Range, Recording, Stamps, Writer, metadata,
};

/// What is to be converted, and how.
pub(crate) struct Conversion<'a> {
    pub(crate) input: &'a Path,
    pub(crate) output: &'a Path,
    /// Whether an output that is there gives way.
    pub(crate) overwrite: bool,
    pub(crate) compression: Compression,
    pub(crate) patterns: &'a Patterns,
    /// For the ports and limits of capture files.
    pub(crate) config: &'a Config,
}

/// What was converted.
#[derive(Debug, Default)]
pub(crate) struct Converted {
    pub(crate) messages: u64,
    /// Of payload.
    pub(crate) payload_bytes: u64,
    /// The publishers.
    pub(crate) channels: usize,
    /// The length of the output.
    pub(crate) bytes: u64,
    /// What could not be read, and why.
    pub(crate) damage: Vec<String>,
    /// Whether `go_on` returned `false`. There is no output then.
    pub(crate) is_stopped: bool,
}

/// Where the messages go.
enum Output {
    Mcap { writer: Box<Writer>, numbers: HashMap<usize, u16> },
    Frames { frames: Box<Frames>, path: PathBuf },
}

/// Converts a recording. The output is written beside its place, and put there when it is whole. `go_on` is asked with each
/// message.
///
/// # Errors
/// When the input cannot be read, or the output not be written. Nothing is left of the output then.
pub(crate) fn convert(
    conversion: &Conversion<'_>,
    mut go_on: impl FnMut(&Converted) -> bool,
) -> anyhow::Result<Converted> {
    let Conversion { input, output: path, overwrite, compression, patterns, config } = *conversion;
    if path.exists() && !overwrite {
        bail!("{}: the file is there already (--force replaces it)", path.display());
    }
    let kind = Kind::of(input)?;
    let opened = Source::open(kind, input, config, || go_on(&Converted::default()))?;
    let Some(source) = opened else { return Ok(Converted { is_stopped: true, ..Converted::default() }) };
    let temporary = temporary(path)?;
    let file = temporary.as_file().try_clone()?;
    let mut output = Output::new(path, file, config, compression)?;
    if let (Output::Mcap { writer, .. }, Source::Mcap(recording)) = (&mut output, &source) {
        for name in [metadata::ABOUT, metadata::LOSSES] {
            if let Some(entries) = recording.metadata(name) {
                writer.metadata(name, entries.clone())?;
            }
        }
    }
    let mut converted = Converted::default();
    let mut seen = HashMap::new();
    let mut damage = Vec::new();
    source.each(
        |number, channel, stamps, payload| {
            let is_wanted = *seen.entry(number).or_insert_with(|| patterns.matches(&channel.topic));
            if is_wanted {
                output.message(number, channel, stamps, payload)?;
                converted.messages += 1;
                converted.payload_bytes += payload.len() as u64;
            }
            converted.is_stopped = !go_on(&converted);
            Ok(!converted.is_stopped)
        },
        |text| {
            /// Of more, one would read the beginning only.
            const MAX_DAMAGE: usize = 1000;
            if damage.len() < MAX_DAMAGE {
                damage.push(text);
            }
        },
    )?;
    converted.damage = damage;
    converted.channels = seen.values().filter(|is_wanted| **is_wanted).count();
    if converted.is_stopped {
        return Ok(converted);
    }
    converted.bytes = output.finish()?;
    let persisted = if overwrite { temporary.persist(path) } else { temporary.persist_noclobber(path) };
    // Its own error says that of the system twice.
    persisted.map_err(|error| unwritten(path, error.error))?;
    Ok(converted)
}

/// A file beside the output, which is deleted unless it is put in its place.
fn temporary(path: &Path) -> anyhow::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".ferrocal-").suffix(".part");
    #[cfg(unix)]
    {
        use std::fs::Permissions;
        use std::os::unix::fs::PermissionsExt;
        // As those of other files: the system takes away what the user's mask says.
        builder.permissions(Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder).with_context(|| format!("{} cannot be written", path.display()))
}

impl Output {
    /// The end of its name says what an output is.
    fn new(path: &Path, file: File, config: &Config, compression: Compression) -> anyhow::Result<Self> {
        match path.extension().and_then(OsStr::to_str) {
            Some("mcap") => {
                let writer = Box::new(Writer::new(path, file, compression)?);
                Ok(Self::Mcap { writer, numbers: HashMap::new() })
            }
            Some("pcap") => {
                let frames = Frames::new(file, config).map_err(|error| of_frames(path, error))?;
                Ok(Self::Frames { frames: Box::new(frames), path: path.to_owned() })
            }
            _ => bail!("{}: the name must end in .mcap or .pcap", path.display()),
        }
    }

    fn message(
        &mut self,
        number: usize,
        channel: &Channel,
        stamps: Stamps,
        payload: &[u8],
    ) -> anyhow::Result<()> {
        match self {
            Self::Mcap { writer, numbers } => {
                let number = match numbers.get(&number) {
                    Some(number) => *number,
                    None => {
                        let id = writer.channel(channel)?;
                        numbers.insert(number, id);
                        id
                    }
                };
                writer.message(number, stamps, payload)
            }
            Self::Frames { frames, path } => {
                frames.message(number, channel, stamps, payload).map_err(|error| of_frames(path, error))
            }
        }
    }

    fn finish(self) -> anyhow::Result<u64> {
        match self {
            Self::Mcap { mut writer, .. } => writer.finish(),
            Self::Frames { frames, path } => frames.finish().map_err(|error| of_frames(&path, error)),
        }
    }
}

/// An error of a capture file that is written, which names it.
fn of_frames(path: &Path, error: anyhow::Error) -> anyhow::Error {
    match error.downcast() {
        Ok(error) => unwritten(path, error),
        Err(error) => error.context(path.display().to_string()),
    }
}

/// Where the messages come from.
enum Source {
    Mcap(Box<Recording>),
    Measurement(Measurement),
    Capture(Box<Capture>),
}

impl Source {
    /// Returns `None` if `go_on` returned `false`.
    fn open(
        kind: Kind,
        path: &Path,
        config: &Config,
        go_on: impl FnMut() -> bool,
    ) -> anyhow::Result<Option<Self>> {
        Ok(Some(match kind {
            Kind::Mcap => match Recording::open_while(path, go_on)? {
                Some(recording) => Self::Mcap(Box::new(recording)),
                None => return Ok(None),
            },
            Kind::Measurement => Self::Measurement(Measurement::open(path)?),
            Kind::Capture => Self::Capture(Box::new(Capture::open(path, config)?)),
        }))
    }

    fn each(
        &self,
        mut each: impl FnMut(usize, &Channel, Stamps, &[u8]) -> anyhow::Result<bool>,
        mut damage: impl FnMut(String),
    ) -> anyhow::Result<()> {
        match self {
            Self::Mcap(recording) => {
                recording.damage().iter().for_each(|text| damage(text.clone()));
                let with_stamps = |channel: &Channel, header: &MessageHeader, payload: &[u8]| {
                    let stamps = Stamps {
                        log_ns: header.log_time,
                        publish_ns: header.publish_time,
                        clock: header.sequence.into(),
                    };
                    each(header.channel_id.into(), channel, stamps, payload)
                };
                recording.read(&Range::default(), with_stamps, damage)
            }
            Self::Measurement(measurement) => {
                measurement.damage().iter().for_each(|text| damage(text.clone()));
                let channels = measurement.channels();
                let mut numbers = HashMap::new();
                let with_number = |channel: &Channel, stamps: Stamps, payload: &[u8]| {
                    // A channel that is in several files is one. In a file, it is passed on at the same place.
                    let number = || channels.iter().position(|(one, _)| *one == channel).unwrap_or_default();
                    let number = *numbers.entry(std::ptr::from_ref(channel)).or_insert_with(number);
                    each(number, channel, stamps, payload)
                };
                measurement.each(with_number, damage)
            }
            Self::Capture(capture) => capture.each(each, damage),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn run(input: &Path, output: &Path, overwrite: bool) -> anyhow::Result<Converted> {
        let patterns = Patterns::default();
        let (compression, config) = (Compression::None, &Config::default());
        convert(&Conversion { input, output, overwrite, compression, patterns: &patterns, config }, |_| true)
    }

    fn capture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/captures").join(name)
    }

    type Message = (Channel, u64, u64, u32, Vec<u8>);

    fn messages(path: &Path) -> Vec<Message> {
        let recording = Recording::open(path).unwrap();
        let mut messages = Vec::new();
        let each = |channel: &Channel, header: &MessageHeader, data: &[u8]| {
            let (log, publish) = (header.log_time, header.publish_time);
            messages.push((channel.clone(), log, publish, header.sequence, data.to_vec()));
            Ok(true)
        };
        recording.each(&Range::default(), each).unwrap();
        messages
    }

    #[test]
    fn captures_survive_the_way_there_and_back() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "ecal-5.13.4-network-small",
            "ecal-5.13.4-network-large",
            "ecal-6.1.1-network-large",
            "ecal-6.1.1-local",
        ] {
            let [first, back, second] =
                ["1.mcap", "2.pcap", "3.mcap"].map(|end| folder.path().join(format!("{name}-{end}")));
            let converted = run(&capture(&format!("{name}.pcap")), &first, false).unwrap();
            assert!(converted.messages > 0 && converted.damage.is_empty(), "{name}: {converted:?}");
            run(&first, &back, false).unwrap();
            run(&back, &second, false).unwrap();
            assert_eq!(messages(&first), messages(&second), "{name}");
            assert_eq!(messages(&first).len() as u64, converted.messages);
        }
    }

    #[test]
    fn nothing_half_written_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (capture("ecal-6.1.1-network-small.pcap"), folder.path().join("a.mcap"));
        let left = || fs::read_dir(folder.path()).unwrap().count();
        let (patterns, config) = (Patterns::default(), Config::default());
        let conversion = Conversion {
            input: &input,
            output: &output,
            overwrite: false,
            compression: Compression::None,
            patterns: &patterns,
            config: &config,
        };
        let stopped = convert(&conversion, |converted| converted.messages < 3).unwrap();
        assert!(stopped.is_stopped && left() == 0, "{stopped:?}");
        let error = run(&input, &folder.path().join("a.txt"), false).unwrap_err();
        assert!(error.to_string().contains("must end in"), "{error}");
        assert_eq!(left(), 0);

        run(&input, &output, false).unwrap();
        let before = fs::read(&output).unwrap();
        let error = run(&input, &output, false).unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        assert_eq!((fs::read(&output).unwrap(), left()), (before, 1));
        run(&input, &output, true).unwrap();
        assert_eq!(left(), 1);
    }

    /// `/dev/full` refuses all, as a full disk does.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_named() {
        let channel = Channel { topic: "a".into(), ..Channel::default() };
        for name in ["a.mcap", "a.pcap"] {
            let file = File::options().write(true).open("/dev/full").unwrap();
            let opened = Output::new(Path::new(name), file, &Config::default(), Compression::None);
            let written = opened.and_then(|mut output| {
                output.message(0, &channel, Stamps::default(), &[7; 10_000_000])?;
                output.finish()
            });
            let error = format!("{:#}", written.unwrap_err());
            assert_eq!(
                (error.matches(name).count(), error.matches("the disk is full").count()),
                (1, 1),
                "{error}"
            );
        }
    }

    #[test]
    fn of_a_damaged_recording_the_rest_is_converted() {
        let folder = tempfile::tempdir().unwrap();
        let [whole, cut, mended] =
            ["whole.mcap", "cut.mcap", "mended.mcap"].map(|name| folder.path().join(name));
        run(&capture("ecal-6.1.1-network-small.pcap"), &whole, false).unwrap();
        let bytes = fs::read(&whole).unwrap();
        // The record that ends the messages.
        let end = bytes.windows(9).rposition(|window| window == [0x0f, 4, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        fs::write(&cut, &bytes[..end]).unwrap();
        let converted = run(&cut, &mended, false).unwrap();
        assert_eq!((converted.messages, converted.damage.len()), (10, 1), "{converted:?}");
        assert!(Recording::open(&mended).unwrap().is_complete());
        assert_eq!(messages(&mended), messages(&whole));
    }
}
