//! The verbs.

mod doctor;
mod list;
mod traffic;

use clap::Subcommand;

use crate::exit::Exit;
use crate::session::Session;

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Verb {
    Doctor(doctor::Doctor),
    List(list::List),
    Traffic(traffic::Traffic),
}

impl Verb {
    /// Does it.
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Self::Doctor(doctor) => doctor.run(session),
            Self::List(list) => list.run(session),
            Self::Traffic(traffic) => traffic.run(session),
        }
    }
}
