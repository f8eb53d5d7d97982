//! `doctor`: why hosts do not see each other.

use std::io;
use std::time::Duration;

use crate::doctor::finding::{Finding, Status};
use crate::doctor::{checks, gather};
use crate::exit::Exit;
use crate::output::{BAD, DIM, HEAD, Output, clean};
use crate::session::{End, Session};

/// A publisher that knows of its subscriber registers it within two refreshes.
const WATCH: Duration = Duration::from_secs(5);

/// Find out why hosts do not see each other.
///
/// Looks at this computer and listens to the network for five seconds (`--duration`), sends messages to itself, and prints
/// what it found, how sure that is, and the command that mends it.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Doctor {
    /// Also print what is fine, what is only good to know, and what could not be checked.
    #[arg(short, long)]
    all: bool,
    /// Send nothing: no messages of the self test.
    #[arg(long)]
    no_send: bool,
}

const AFTER_HELP: &str = "\
Exit codes: 0 no check failed, 3 one failed.
Keys of --json, one object a check and subject:
  check    the name of the check
  status   failed, warning, note, not_checked or ok
  subject  what it is about: an interface, a port, a topic, a host
  meaning  what was found, and what follows from it
  sure     certain, likely or possible
  mend     the command that mends it, or the line of ecal.yaml that does; empty if there is none";

impl Doctor {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let config = session.config()?;
        let duration = session.common.duration.unwrap_or(WATCH);
        if !session.common.json {
            let seconds = duration.as_secs_f64();
            anstream::eprintln!("{DIM}Looking at this computer, and listening for {seconds} s ...{DIM:#}");
        }
        let facts = gather::facts(session, &config, duration, !self.no_send);
        if session.end() == Some(End::Stopped) {
            return Ok(Exit::Interrupted);
        }
        let mut findings = checks::run(&facts);
        // The worst come first, and those of one check stay together.
        findings.sort_by_key(|finding| finding.status);
        let out = &mut session.out();
        if session.common.json {
            findings.iter().try_for_each(|finding| out.json(finding))?;
        } else {
            self.print(&findings, out)?;
            summary(&findings, facts.wire.processes.len(), out)?;
        }
        let has_failed = findings.iter().any(|finding| finding.status == Status::Failed);
        Ok(if has_failed { Exit::Lost } else { Exit::Fine })
    }

    fn print(&self, findings: &[Finding], out: &mut Output) -> io::Result<()> {
        let shown = findings.iter().filter(|finding| self.all || finding.is_trouble());
        for Finding { check, status, subject, meaning, sure, mend } in shown {
            let style = if *status == Status::Failed { BAD } else { HEAD };
            let about = checks::CHECKS.iter().find(|one| one.name == *check).map_or("", |one| one.about);
            let subject = if subject.is_empty() { String::new() } else { format!(": {}", clean(subject)) };
            out.line(format_args!(
                "{style}{}{style:#} {HEAD}{check}{HEAD:#}{subject} {DIM}({about}){DIM:#}",
                status.name()
            ))?;
            out.line(format_args!("  {}", clean(meaning)))?;
            if *status <= Status::Warning {
                out.line(format_args!("  {DIM}how sure:{DIM:#} {}", sure.name()))?;
            }
            if !mend.is_empty() {
                out.line(format_args!("  {DIM}what mends it:{DIM:#} {}", clean(mend)))?;
            }
        }
        Ok(())
    }
}

fn summary(findings: &[Finding], processes: usize, out: &mut Output) -> io::Result<()> {
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    let counts = [Status::Failed, Status::Warning, Status::Note, Status::NotChecked, Status::Ok];
    let counts: Vec<_> = counts
        .into_iter()
        .filter(|&status| count(status) > 0)
        .map(|status| format!("{} {}", count(status), status.name()))
        .collect();
    out.line(format_args!(
        "{HEAD}{}{HEAD:#}; programs heard: {processes}. `--all` shows everything.",
        counts.join(", ")
    ))
}
