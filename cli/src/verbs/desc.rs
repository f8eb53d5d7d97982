//! `desc`: the definition of a type.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use ferrocal::{DataType, DynamicType, Snapshot};
use serde::Serialize;

use crate::exit::Exit;
use crate::network::{Network, types_named, types_of_topic, types_that_define};
use crate::output::{DIM, Output, clean};
use crate::proto_text;
use crate::session::{End, Session};

/// Show the definition of a type, or of a topic's type, as .proto text or as a descriptor file.
///
/// Keys of --json, an object for each definition of that name: type, encoding, descriptor_bytes, proto (the .proto text of
/// each file by its name, or null), error (why there is none, or null).
#[derive(clap::Args)]
pub(crate) struct Desc {
    /// The type's name with its package, or the topic's.
    #[arg(value_name = "TYPE|TOPIC")]
    name: String,
    /// Write the descriptor to this file as it was registered, for protobuf a FileDescriptorSet; - is standard output.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it is there already.
    #[arg(long, requires = "out")]
    force: bool,
}

/// A definition, as `desc --json` prints it.
#[derive(Serialize)]
struct Definition<'a> {
    #[serde(rename = "type")]
    type_name: &'a str,
    encoding: &'a str,
    descriptor_bytes: usize,
    proto: Option<serde_json::Map<String, serde_json::Value>>,
    error: Option<String>,
}

impl Desc {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let network = Network::open(session, "desc")?;
        let has_descriptor = |types: &[DataType]| types.iter().any(|one| !one.descriptor.is_empty());
        let (snapshot, end) =
            network.until(network.after(2.0), |snapshot| has_descriptor(&self.types(snapshot)));
        let mut types = self.types(&snapshot);
        if types.is_empty() {
            types = types_that_define(&snapshot, &self.name);
        }
        let Some(first) = types.first() else {
            return match end {
                Some(End::Stopped) => Ok(Exit::Interrupted),
                _ => Err(Exit::NotFound.because(format!(
                    "no type or topic `{}` was found {}",
                    clean(&self.name),
                    network.place()
                ))),
            };
        };
        let out = &mut session.out();
        if let Some(path) = &self.out {
            if first.descriptor.is_empty() {
                return Err(no_descriptor(first));
            }
            self.write(path, &first.descriptor, out)?;
            return Ok(Exit::Fine);
        }
        // Programs of several versions may define it in several ways.
        let mut exit = Exit::Failed;
        let mut failed = None;
        for (number, data_type) in types.iter().filter(|one| same(one, first)).enumerate() {
            let files = files(data_type);
            if session.common.json {
                out.json(&definition(data_type, &files))?;
            }
            match files {
                Ok(files) if !session.common.json => {
                    if number > 0 {
                        out.line("")?;
                    }
                    print(&files, out)?;
                    exit = Exit::Fine;
                }
                Ok(_) => exit = Exit::Fine,
                Err(error) => failed = Some(error),
            }
        }
        match (exit, failed) {
            (Exit::Failed, Some(error)) => Err(error),
            _ => Ok(exit),
        }
    }

    fn write(&self, path: &Path, descriptor: &[u8], out: &mut Output) -> anyhow::Result<()> {
        if path == Path::new("-") {
            return Ok(out.bytes(descriptor)?);
        }
        let opened = match self.force {
            true => File::create(path),
            false => File::create_new(path),
        };
        let written = opened.and_then(|mut file| file.write_all(descriptor));
        written.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                anyhow!("{}: the file is there already (--force replaces it)", path.display())
            }
            _ => anyhow::Error::new(error).context(format!("{} cannot be written", path.display())),
        })
    }

    fn types(&self, snapshot: &Snapshot) -> Vec<DataType> {
        let of_topic = types_of_topic(snapshot, &self.name);
        if of_topic.is_empty() { types_named(snapshot, &self.name) } else { of_topic }
    }
}

/// Whether one is to be shown beside the other. What only names a type has nothing to show.
fn same(one: &DataType, first: &DataType) -> bool {
    !one.descriptor.is_empty() || first.descriptor.is_empty()
}

fn no_descriptor(data_type: &DataType) -> anyhow::Error {
    let DataType { name, encoding, .. } = data_type;
    let named = match (name.as_str(), encoding.as_str()) {
        ("", "") => "no type is registered".to_owned(),
        (name, encoding) => format!("type `{}` ({}) has no descriptor", clean(name), clean(encoding)),
    };
    Exit::Failed.because(named)
}

/// The files that define a type, by name: each behind those that it imports.
fn files(data_type: &DataType) -> anyhow::Result<Vec<(String, String)>> {
    if data_type.descriptor.is_empty() {
        return Err(no_descriptor(data_type));
    }
    let dynamic = DynamicType::new(data_type)
        .with_context(|| format!("type `{}` cannot be shown", clean(&data_type.name)))?;
    let pool = dynamic.descriptor().parent_pool();
    let text =
        |file: ferrocal::prost_reflect::FileDescriptor| (file.name().to_owned(), proto_text::file(&file));
    Ok(pool.files().map(text).collect())
}

fn definition<'a>(data_type: &'a DataType, files: &anyhow::Result<Vec<(String, String)>>) -> Definition<'a> {
    Definition {
        type_name: &data_type.name,
        encoding: &data_type.encoding,
        descriptor_bytes: data_type.descriptor.len(),
        proto: files
            .as_ref()
            .ok()
            .map(|files| files.iter().map(|(name, text)| (name.clone(), text.as_str().into())).collect()),
        error: files.as_ref().err().map(|error| format!("{error:#}")),
    }
}

fn print(files: &[(String, String)], out: &mut Output) -> std::io::Result<()> {
    for (number, (name, text)) in files.iter().enumerate() {
        if number > 0 {
            out.line("")?;
        }
        out.line(format_args!("{DIM}// {}{DIM:#}", clean(name)))?;
        text.lines().try_for_each(|line| out.line(clean(line)))?;
    }
    Ok(())
}
