//! The verbs.

mod convert;
mod list;
mod play;
mod rec_info;
mod record;

use clap::Subcommand;

use crate::exit::Exit;
use crate::session::Session;

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Verb {
    List(list::List),
    Record(record::Record),
    Play(play::Play),
    Convert(convert::Convert),
    RecInfo(rec_info::RecInfo),
}

impl Verb {
    /// Does it.
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        match self {
            Self::List(list) => list.run(session),
            Self::Record(record) => record.run(session),
            Self::Play(play) => play.run(session),
            Self::Convert(convert) => convert.run(session),
            Self::RecInfo(info) => info.run(session),
        }
    }
}
