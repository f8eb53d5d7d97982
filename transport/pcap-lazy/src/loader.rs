//! What the operating systems do differently about loading.

use std::path::PathBuf;

use crate::Location;

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::{Handle, candidates, locate, open};
#[cfg(windows)]
pub(crate) use windows::{Handle, candidates, locate, open};

/// A library to try.
pub(crate) struct Candidate {
    /// Its path, or a name for the dynamic linker to look for.
    pub(crate) path: PathBuf,
    pub(crate) location: Location,
}

/// Why a candidate was not opened.
pub(crate) enum NotOpened {
    Absent,
    Unusable(libloading::Error),
}
