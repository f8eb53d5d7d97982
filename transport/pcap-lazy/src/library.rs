//! What is known about the library in use.

use std::fmt;
use std::path::{Path, PathBuf};

/// The libpcap that this process uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    version: String,
    path: PathBuf,
    location: Location,
}

impl Library {
    pub(crate) fn new(version: String, path: PathBuf, location: Location) -> Self {
        Self { version, path, location }
    }

    /// What the library says of itself, such as `libpcap version 1.10.3 (with TPACKET_V3)` or
    /// `Npcap version 1.79, based on libpcap version 1.10.4`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The file it was loaded from; where the system does not tell, the name by which it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The kind of place where it was found.
    pub fn location(&self) -> Location {
        self.location
    }
}

impl fmt::Display for Library {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.version, self.path.display())
    }
}

/// Where a library was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Location {
    /// Where the dynamic linker of a Unix system looks.
    System,
    /// Windows: `System32\Npcap`, where Npcap always is.
    Npcap,
    /// Windows: `System32`, where Npcap is if it was installed in WinPcap-compatible mode. WinPcap itself, the
    /// predecessor without loopback support, is found there too.
    WinPcapCompatible,
}
