//! `completions` and `man`.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Command;
use crate::exit::Exit;
use crate::output::tell;
use crate::session::Session;

/// Print the completions for a shell.
///
/// For bash: ferrocal completions bash > ~/.local/share/bash-completion/completions/ferrocal
#[derive(clap::Args)]
pub(crate) struct Completions {
    shell: Shell,
}

/// Write the manual pages to a folder.
#[derive(clap::Args)]
pub(crate) struct Man {
    /// It is made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Completions {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Command::command(), "ferrocal", &mut script);
        session.out().bytes(&script)?;
        Ok(Exit::Fine)
    }
}

impl Man {
    pub(crate) fn run(&self) -> anyhow::Result<Exit> {
        let folder = self.folder.display();
        fs::create_dir_all(&self.folder)
            .and_then(|()| clap_mangen::generate_to(Command::command(), &self.folder))
            .with_context(|| format!("the manual pages cannot be written to {folder}"))?;
        let first = self.folder.join("ferrocal.1");
        tell!("manual pages are in {folder}; man -l {} shows the first", first.display());
        Ok(Exit::Fine)
    }
}
