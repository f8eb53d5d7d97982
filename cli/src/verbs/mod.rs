//! The verbs.

mod list;

use clap::Subcommand;

use crate::exit::Exit;
use crate::session::Session;

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Verb {
    List(list::List),
}

impl Verb {
    /// Does it.
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Self::List(list) => list.run(session),
        }
    }
}
