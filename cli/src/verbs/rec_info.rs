//! `rec-info`: what a recording holds.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::bail;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::recording::{Capture, Channel, Kind, Measurement, Recording, Stamps, human, metadata, utc};
use crate::session::{End, Session};
use crate::table::{Align, Table};

/// Show what a recording holds: an MCAP file, a measurement of eCAL or a capture file.
///
/// Keys of --json: first an object with kind (recording), file, format (mcap, measurement or capture), bytes, messages,
/// start_ns and end_ns (receive times since 1970, null without messages), complete (whether it was completed), damage (what
/// cannot be read), about (what recorded it) and losses (what was lost while it was recorded); then one for each publisher with
/// kind (publisher), topic, type, encoding, descriptor_bytes, host, process, pid, unit, id and messages.
///
/// Of MCAP with an index, that alone is read: `convert` and `play` find out whether its chunks are damaged.
///
/// Ends with 3 if not all of it can be read.
#[derive(clap::Args)]
pub(crate) struct RecInfo {
    /// The recording.
    file: PathBuf,
}

/// What a recording holds.
struct Info {
    kind: Kind,
    versions: String,
    bytes: u64,
    times: Option<(u64, u64)>,
    channels: Vec<(Channel, u64)>,
    is_complete: bool,
    damage: Vec<String>,
    about: BTreeMap<String, String>,
    losses: BTreeMap<String, String>,
}

impl RecInfo {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let Some(info) = Info::of(&self.file, session)? else { return stopped_early(session) };
        if session.common.json {
            self.print_json(&info, session)?
        } else {
            self.print(&info, session)?
        }
        Ok(if info.damage.is_empty() && info.is_complete { Exit::Fine } else { Exit::Lost })
    }

    fn print(&self, info: &Info, session: &Session) -> anyhow::Result<()> {
        let out = &mut session.out();
        let messages: u64 = info.channels.iter().map(|(_, count)| count).sum();
        let line = |name: &str, value: &str| format!("{name:<10}{}", crate::output::clean(value));
        out.line(line("file", &self.file.to_string_lossy()))?;
        out.line(line("format", &format!("{}{}", info.kind, info.versions)))?;
        out.line(line("size", &format!("{} ({} bytes)", human(info.bytes), info.bytes)))?;
        out.line(line("messages", &messages.to_string()))?;
        if let Some((start, end)) = info.times {
            out.line(line("start", &utc(start)))?;
            out.line(line("end", &utc(end)))?;
            out.line(line("duration", &format!("{:.3} s", (end - start) as f64 / 1e9)))?;
        }
        if !info.is_complete {
            out.line(line("complete", "no"))?;
        }
        for damage in &info.damage {
            out.line(line("damage", damage))?;
        }
        for (name, entries) in [("about", &info.about), ("losses", &info.losses)] {
            for (key, value) in entries {
                out.line(line(name, &format!("{key}: {value}")))?;
            }
        }
        if info.channels.is_empty() {
            return Ok(());
        }
        out.line("")?;
        let heads =
            [("TOPIC", Align::Left), ("TYPE", Align::Left), ("HOST", Align::Left), ("UNIT", Align::Left)];
        let mut table = Table::new(heads.into_iter().chain([("MESSAGES", Align::Right)]));
        for (channel, count) in &info.channels {
            let texts =
                [&*channel.topic, &channel.type_text(), &channel.host, &channel.unit].map(str::to_owned);
            table.row(texts.into_iter().chain([count.to_string()]).map(Into::into));
        }
        table.print(out)?;
        Ok(())
    }

    fn print_json(&self, info: &Info, session: &Session) -> anyhow::Result<()> {
        let out = &mut session.out();
        let messages: u64 = info.channels.iter().map(|(_, count)| count).sum();
        out.json(&json!({
            "kind": "recording",
            "file": self.file.to_string_lossy(),
            "format": info.kind.to_string(),
            "bytes": info.bytes,
            "messages": messages,
            "start_ns": info.times.map(|(start, _)| start),
            "end_ns": info.times.map(|(_, end)| end),
            "complete": info.is_complete,
            "damage": info.damage,
            "about": info.about,
            "losses": info.losses,
        }))?;
        for (channel, count) in &info.channels {
            out.json(&json!({
                "kind": "publisher",
                "topic": channel.topic,
                "type": channel.data_type.name,
                "encoding": channel.data_type.encoding,
                "descriptor_bytes": channel.data_type.descriptor.len(),
                "host": channel.host,
                "process": channel.process,
                "pid": channel.process_id,
                "unit": channel.unit,
                // As text, since some readers of JSON round long numbers.
                "id": channel.topic_id.map_or(Value::Null, |id| id.to_string().into()),
                "messages": count,
            }))?;
        }
        Ok(())
    }
}

impl Info {
    /// Returns `None` if it is to end before all of a recording without an index was read.
    fn of(path: &Path, session: &Session) -> anyhow::Result<Option<Self>> {
        let kind = Kind::of(path)?;
        let mut info = Self {
            kind,
            versions: String::new(),
            bytes: size(path),
            times: None,
            channels: Vec::new(),
            is_complete: true,
            damage: Vec::new(),
            about: BTreeMap::new(),
            losses: BTreeMap::new(),
        };
        match kind {
            Kind::Mcap => {
                let Some(recording) = Recording::open_while(path, || session.end().is_none())? else {
                    return Ok(None);
                };
                info.times = recording.times();
                info.channels =
                    recording.channels().map(|(_, channel, count)| (channel.clone(), count)).collect();
                info.is_complete = recording.is_complete();
                info.damage = recording.damage().to_vec();
                for (name, entries) in
                    [(metadata::ABOUT, &mut info.about), (metadata::LOSSES, &mut info.losses)]
                {
                    *entries = recording.metadata(name).cloned().unwrap_or_default();
                }
            }
            Kind::Measurement => {
                let measurement = Measurement::open(path)?;
                let files = measurement.files();
                info.versions = format!(" {} in {files} file(s)", measurement.versions().join(", "));
                info.times = measurement.times();
                let channels = measurement.channels().into_iter();
                info.channels = channels.map(|(channel, count)| (channel.clone(), count)).collect();
                info.damage = measurement.damage().to_vec();
            }
            Kind::Capture => {
                let capture = Capture::open(path, &session.config()?)?;
                let (channels, times, damage) = (&mut info.channels, &mut info.times, &mut info.damage);
                let each = |number: usize, channel: &Channel, stamps: Stamps, _: &[u8]| {
                    if number == channels.len() {
                        channels.push((channel.clone(), 0));
                    }
                    channels[number].1 += 1;
                    let (first, last) = times.get_or_insert((stamps.log_ns, stamps.log_ns));
                    (*first, *last) = ((*first).min(stamps.log_ns), (*last).max(stamps.log_ns));
                    Ok(session.end().is_none())
                };
                capture.each(each, |text| damage.push(text))?;
                channels.sort_by(|(a, _), (b, _)| a.topic.cmp(&b.topic));
            }
        }
        Ok(Some(info))
    }
}

/// The end of a verb that was to read a recording first.
pub(super) fn stopped_early(session: &Session) -> anyhow::Result<Exit> {
    match session.end() {
        Some(End::Deadline) => {
            bail!("--duration is over, and the recording is not read yet: it has no index")
        }
        _ => Ok(Exit::Interrupted),
    }
}

/// The length of a file, or of all files in a folder and those inside.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    if !metadata.is_dir() {
        return path.metadata().map_or(0, |metadata| metadata.len());
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}
