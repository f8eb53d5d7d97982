//! `convert`: from one kind of recording to another.

use std::path::PathBuf;

use anyhow::bail;
use serde_json::json;

use crate::exit::Exit;
use crate::output::counted;
use crate::recording::{self, Compression, Conversion, StatusLine, TopicArgs, human};
use crate::session::{End, Session};

/// Convert a recording: a capture file or a measurement of eCAL to MCAP, or MCAP to a capture file.
///
/// Reads pcap and pcapng, measurements of eCAL (HDF5 of the versions 2 to 6, a file or a folder with those of several hosts),
/// and MCAP, that of programs that were killed too. The end of OUTPUT says what is written: .mcap or .pcap. OUTPUT is there
/// when it is whole; if anything fails, nothing is left of it. A capture file holds what eCAL sends in network mode.
///
/// The times of a capture are those at which its frames were captured.
///
/// Keys of --json, in one object: kind (convert), input, output, messages, payload_bytes, publishers, bytes (of the output),
/// damage (what could not be read).
#[derive(clap::Args)]
pub(crate) struct Convert {
    /// What to read.
    input: PathBuf,
    /// What to write: NAME.mcap or NAME.pcap.
    output: PathBuf,
    /// Replace the output if it is there already.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    topics: TopicArgs,
    /// How MCAP is compressed.
    #[arg(long, value_enum, default_value_t)]
    compression: Compression,
}

impl Convert {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let (config, patterns) = (session.config()?, self.topics.patterns(&[]));
        let conversion = Conversion {
            input: &self.input,
            output: &self.output,
            overwrite: self.force,
            compression: self.compression,
            patterns: &patterns,
            config: &config,
        };
        let mut line = StatusLine::new();
        let mut end = None;
        let converted = recording::convert(&conversion, |so_far| {
            line.show(|| format!("{}, {}", counted(so_far.messages, "message"), human(so_far.payload_bytes)));
            end = session.end();
            end.is_none()
        })?;
        drop(line);
        if converted.is_stopped {
            return match end {
                Some(End::Deadline) => bail!("it took longer than --duration; nothing was written"),
                _ => Ok(Exit::Interrupted),
            };
        }
        for damage in &converted.damage {
            log::warn!("{}: {damage}; the rest is converted", self.input.display());
        }
        let out = &mut session.out();
        if session.common.json {
            out.json(&json!({
                "kind": "convert",
                "input": self.input.to_string_lossy(),
                "output": self.output.to_string_lossy(),
                "messages": converted.messages,
                "payload_bytes": converted.payload_bytes,
                "publishers": converted.channels,
                "bytes": converted.bytes,
                "damage": converted.damage,
            }))?;
        } else {
            out.line(format_args!(
                "{}: {} of {}, {}",
                self.output.display(),
                counted(converted.messages, "message"),
                counted(converted.channels as u64, "publisher"),
                human(converted.bytes)
            ))?;
        }
        Ok(if converted.damage.is_empty() { Exit::Fine } else { Exit::Lost })
    }
}
