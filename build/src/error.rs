//! Why `.proto` files are not compiled.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why `.proto` files were not compiled.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file cannot be read, or is not valid protobuf.
    #[error("{0:?}")]
    Proto(#[source] protox::Error),
    /// prost-build cannot generate or write the code.
    #[error("{0}")]
    Generate(#[source] io::Error),
    /// A file cannot be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system reported.
        source: io::Error,
    },
    /// There is neither the environment variable `OUT_DIR`, which cargo sets for build scripts, nor
    /// [`out_dir`](crate::Config::out_dir).
    #[error("neither OUT_DIR nor Config::out_dir is set")]
    NoOutDir,
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}

impl From<protox::Error> for Error {
    fn from(error: protox::Error) -> Self {
        Self::Proto(error)
    }
}

/// As [`Display`](fmt::Display), because that is what cargo shows of a build script whose `main` returns the error.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
