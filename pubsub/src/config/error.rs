//! Why settings are refused.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use crate::shown::Shown;

/// Why settings are refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value is of the wrong type or out of range.
    #[error("{}{key}: `{}` is not {expected}", before(.position), Shown(value.as_bytes()))]
    Value {
        /// The setting, by its name in `ecal.yaml` or in the environment.
        key: &'static str,
        /// Where it was read, if a file holds it.
        position: Option<FilePosition>,
        /// The value. The error's text has its first 120 characters at most.
        value: String,
        /// What is allowed.
        expected: Box<str>,
    },
    /// The configuration file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system reported.
        source: std::io::Error,
    },
    /// The configuration file is not YAML.
    #[error("{position}: not valid YAML: {message}")]
    Syntax {
        /// Where it is not.
        position: FilePosition,
        /// What is wrong.
        message: String,
    },
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FilePosition {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for FilePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

fn before(position: &Option<FilePosition>) -> String {
    position.as_ref().map(|position| format!("{position}: ")).unwrap_or_default()
}
