//! What kind of recording a path is.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};

/// What kind of recording a path is. Its first bytes say it, not its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Mcap,
    /// A measurement of eCAL: an HDF5 file, or a folder with some.
    Measurement,
    /// pcap or pcapng, as it is or compressed with gzip.
    Capture,
}

impl Kind {
    /// Looks at a path.
    ///
    /// # Errors
    /// When it cannot be read, or is none of these.
    pub(crate) fn of(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let metadata = path.metadata().with_context(|| format!("{shown}"))?;
        if metadata.is_dir() {
            return Ok(Self::Measurement);
        }
        if !metadata.is_file() {
            bail!("{shown}: neither a file nor a folder");
        }
        let mut start = Vec::new();
        let file = File::open(path).with_context(|| format!("{shown}"))?;
        file.take(8).read_to_end(&mut start).with_context(|| format!("{shown}"))?;
        match &start[..] {
            start if start.starts_with(mcap::MAGIC) => Ok(Self::Mcap),
            b"\x89HDF\r\n\x1a\n" => Ok(Self::Measurement),
            [0x0a, 0x0d, 0x0d, 0x0a, ..] | [0x1f, 0x8b, ..] => Ok(Self::Capture),
            [0x28, 0xb5, 0x2f, 0xfd, ..]
            | [b'P', b'K', 3, 4, ..]
            | [0xfd, b'7', b'z', ..]
            | [b'B', b'Z', b'h', ..] => {
                bail!("{shown}: it is compressed; decompress it first")
            }
            [a, b, c, d, ..] if is_pcap([*a, *b, *c, *d]) => Ok(Self::Capture),
            [] => bail!("{shown}: the file is empty"),
            _ => bail!("{shown}: neither MCAP nor an HDF5 measurement nor a capture file"),
        }
    }
}

/// The magic numbers of pcap files in either byte order: with microseconds, with nanoseconds, and as modified by Kuznetzov.
fn is_pcap(magic: [u8; 4]) -> bool {
    const MAGIC: [u32; 3] = [0xa1b2_c3d4, 0xa1b2_3c4d, 0xa1b2_cd34];
    MAGIC.contains(&u32::from_le_bytes(magic)) || MAGIC.contains(&u32::from_be_bytes(magic))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mcap => "mcap",
            Self::Measurement => "measurement",
            Self::Capture => "capture",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_first_bytes_say_what_a_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (bytes, expected) in [
            (mcap::MAGIC, Some(Kind::Mcap)),
            (b"\x89HDF\r\n\x1a\nmore", Some(Kind::Measurement)),
            (b"\xd4\xc3\xb2\xa1\x02\0\x04\0", Some(Kind::Capture)),
            (b"\x4d\x3c\xb2\xa1\x02\0\x04\0", Some(Kind::Capture)),
            (b"\xa1\xb2\xc3\xd4\0\x02\0\x04", Some(Kind::Capture)),
            (b"\x0a\x0d\x0d\x0a\0\0\0\0", Some(Kind::Capture)),
            (b"\x1f\x8b\x08", Some(Kind::Capture)),
            (b"", None),
            (b"#!/bin/sh", None),
            (b"\x89MCAP", None),
            (b"\x28\xb5\x2f\xfd\x04", None),
        ] {
            fs::write(&path, bytes).unwrap();
            assert_eq!(Kind::of(&path).ok(), expected, "{bytes:?}");
        }
        assert_eq!(Kind::of(folder.path()).unwrap(), Kind::Measurement);
        fs::write(&path, b"PK\x03\x04").unwrap();
        assert!(Kind::of(&path).unwrap_err().to_string().contains("it is compressed"));
        let missing = Kind::of(&folder.path().join("missing")).unwrap_err();
        assert!(format!("{missing:#}").contains("missing"), "{missing:#}");
    }
}
