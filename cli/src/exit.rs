//! How the program ends.

use std::fmt;
use std::io;
use std::process::ExitCode;

use anstyle::AnsiColor;

use crate::output::{clean, tell};

/// How the program ends. The numbers are a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All is well.
    Fine = 0,
    /// It failed.
    Failed = 1,
    /// The command line is wrong. clap ends with the same number.
    Usage = 2,
    /// Something was lost, or a check failed.
    Lost = 3,
    /// Nothing was found in time.
    NotFound = 4,
    /// Ctrl-C was pressed before there was a result.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error that ends the program with another number than 1.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Exit {
    /// An error that ends the program like this.
    pub(crate) fn because(self, message: impl Into<String>) -> anyhow::Error {
        Failure { exit: self, message: message.into() }.into()
    }

    /// Reports an error to people, and returns how to end.
    ///
    /// That nobody reads standard output any more, as after `| head -1`, is no error.
    pub(crate) fn report(error: &anyhow::Error) -> Self {
        let is_closed = |cause: &(dyn std::error::Error + 'static)| {
            cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        };
        if error.chain().any(is_closed) {
            return Self::Fine;
        }
        let style = AnsiColor::Red.on_default().bold();
        // It may quote what others sent.
        let text = format!("{error:#}");
        tell!("{style}error{style:#}: {}", clean(&text));
        error.downcast_ref::<Failure>().map_or(Self::Failed, |failure| failure.exit)
    }
}
