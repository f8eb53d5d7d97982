//! Why there is no library.

use std::path::PathBuf;

/// Why libpcap cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It is not there.
    #[error("{NAME} is not installed (tried {}); {HINT}", list(.tried))]
    Absent {
        /// The names or paths that were tried, in this order.
        tried: Vec<PathBuf>,
    },
    /// It is there, and the system cannot load it: damaged, for another processor, or something it needs is missing.
    #[error("{} cannot be loaded: {source}; {HINT}", .path.display())]
    Unusable {
        /// The name or path that was tried.
        path: PathBuf,
        /// What the system says.
        source: LoaderError,
    },
    /// It was loaded, and lacks a function without which there is no capture: very old, or something else of that name.
    #[error("{} is no {NAME}: it lacks {symbol}; {HINT}", .path.display())]
    Incomplete {
        /// The file that was loaded; where the system does not tell, the name by which it was found.
        path: PathBuf,
        /// The first function that is missing.
        symbol: &'static str,
    },
}

/// What the system says about a library that it cannot load.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoaderError(String);

#[cfg(not(target_os = "macos"))]
impl From<libloading::Error> for LoaderError {
    fn from(error: libloading::Error) -> Self {
        use std::error::Error;

        // On Windows the error itself says only which call failed.
        Self(error.source().map_or_else(|| error.to_string(), ToString::to_string))
    }
}

/// What the library is called among those who install it.
const NAME: &str = if cfg!(windows) { "Npcap" } else { "libpcap" };

/// What to do about an error.
const HINT: &str = if cfg!(windows) {
    "please install Npcap from https://npcap.com"
} else {
    "please install libpcap (package libpcap0.8 or libpcap)"
};

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
