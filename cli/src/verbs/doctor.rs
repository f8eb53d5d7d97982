//! `doctor`: why hosts do not see each other.

use std::io;
use std::time::Duration;

use ferrocal::{Config, Mode, Selection};

use crate::doctor::finding::{Finding, Status};
use crate::doctor::{call, checks, gather};
use crate::exit::Exit;
use crate::output::{BAD, DIM, HEAD, Output, clean, counted, tell};
use crate::session::{End, Session};

/// A publisher that knows of its subscriber registers it within two refreshes.
const WATCH: Duration = Duration::from_secs(5);

/// Find out why hosts do not see each other.
///
/// Looks at this computer and listens to the network for five seconds (`--duration`), sends messages to itself, and prints
/// what it found, how sure that is, and the command that mends it.
#[derive(clap::Args)]
#[command(after_help = after_help())]
pub(crate) struct Doctor {
    /// Also print what is fine, what is only good to know, and what could not be checked.
    #[arg(short, long)]
    all: bool,
    /// Send nothing: no messages of the self test.
    #[arg(long)]
    no_send: bool,
    /// Answer those who call from other hosts, until Ctrl-C or for `--duration`, and print what arrived.
    #[arg(long, conflicts_with = "call")]
    listen: bool,
    /// Call all who listen, and print what arrives at which size, each way: ten datagrams of each (`--count`).
    #[arg(long)]
    call: bool,
}

/// What `help doctor` ends with.
fn after_help() -> String {
    let mut help = "\
Exit codes: 0 no check failed, 3 one failed; --listen: 4 nobody called.
Keys of --json, one object a check and subject:
  check    the name of the check
  status   failed, warning, note, not_checked or ok
  subject  what it is about: an interface, a port, a topic, a host
  meaning  what was found, and what follows from it
  sure     certain, likely or possible
  mend     the command that mends it, or the line of ecal.yaml that does; empty if there is none
Checks:
"
    .to_owned();
    let about = checks::CHECKS.iter().map(|check| (check.name, check.about));
    let calls =
        [("call", "datagrams that arrive, with --call"), ("listen", "datagrams that arrive, with --listen")];
    for (name, about) in about.chain(calls) {
        help += &format!("  {name:<13} {about}\n");
    }
    help
}

impl Doctor {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let config = session.config()?;
        if matches!(config.transport, Selection::File(_) | Selection::FileFast(_)) {
            let message = "doctor looks at this computer and its network, and at no capture files; `list` and `info` read them";
            return Err(Exit::Usage.because(message));
        }
        if self.listen {
            return listen(session, &config);
        }
        if self.call {
            let findings = call::call(session, &config)?;
            if session.end() == Some(End::Stopped) {
                return Ok(Exit::Interrupted);
            }
            print(session, findings.iter())?;
            return Ok(exit(&findings));
        }
        let duration = session.common.duration.unwrap_or(WATCH);
        if !session.common.json {
            let seconds = duration.as_secs_f64();
            tell!("{DIM}Looking at this computer, and listening for {seconds} s ...{DIM:#}");
        }
        let facts = gather::facts(session, &config, duration, !self.no_send);
        if session.end() == Some(End::Stopped) {
            return Ok(Exit::Interrupted);
        }
        let mut findings = checks::run(&facts);
        // The worst come first, and those of one check stay together.
        findings.sort_by_key(|finding| finding.status);
        print(session, findings.iter().filter(|one| session.common.json || self.all || one.is_trouble()))?;
        if !session.common.json {
            summary(&findings, facts.wire.processes.len(), &mut session.out())?;
        }
        Ok(exit(&findings))
    }
}

fn listen(session: &Session, config: &Config) -> anyhow::Result<Exit> {
    if !session.common.json {
        let advice = match config.mode {
            Mode::Network => "Listening. Run `ferrocal doctor --call` on another host.",
            Mode::Local => {
                "Listening on this computer only, in local mode. `--mode network` hears other hosts."
            }
        };
        tell!("{DIM}{advice}{DIM:#}");
    }
    let mut exit_code = Exit::Fine;
    let end = call::listen(session, config, &mut |findings| {
        print(session, findings.iter())?;
        session.out().flush()?;
        if exit(&findings) == Exit::Lost {
            exit_code = Exit::Lost;
        }
        Ok(())
    })?;
    Ok(match end {
        None => exit_code,
        Some(End::Deadline) => Exit::NotFound,
        Some(End::Stopped) => Exit::Interrupted,
    })
}

fn exit(findings: &[Finding]) -> Exit {
    let has_failed = findings.iter().any(|finding| finding.status == Status::Failed);
    if has_failed { Exit::Lost } else { Exit::Fine }
}

fn print<'a>(session: &Session, findings: impl Iterator<Item = &'a Finding>) -> io::Result<()> {
    let out = &mut session.out();
    for finding in findings {
        if session.common.json {
            out.json(finding)?;
        } else {
            print_for_people(finding, out)?;
        }
    }
    Ok(())
}

fn print_for_people(finding: &Finding, out: &mut Output) -> io::Result<()> {
    let Finding { check, status, subject, meaning, sure, mend } = finding;
    let style = if *status == Status::Failed { BAD } else { HEAD };
    let subject = if subject.is_empty() { String::new() } else { format!(" {}", clean(subject)) };
    out.line(format_args!(
        "{style}{}{style:#} {HEAD}{check}{HEAD:#}{subject}: {}",
        status.name(),
        clean(meaning)
    ))?;
    if finding.is_trouble() {
        out.line(format_args!("  {DIM}how sure:{DIM:#} {}", sure.name()))?;
    }
    if !mend.is_empty() {
        out.line(format_args!("  {DIM}what mends it:{DIM:#} {}", clean(mend)))?;
    }
    Ok(())
}

fn summary(findings: &[Finding], processes: usize, out: &mut Output) -> io::Result<()> {
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    let counts = [Status::Failed, Status::Warning, Status::Note, Status::NotChecked, Status::Ok];
    let counts: Vec<_> = counts
        .into_iter()
        .filter(|&status| count(status) > 0)
        .map(|status| match status {
            Status::Warning | Status::Note => counted(count(status) as u64, status.name()),
            _ => format!("{} {}", count(status), status.name()),
        })
        .collect();
    out.line(format_args!(
        "{HEAD}{}{HEAD:#}; programs heard: {processes}. `--all` shows everything.",
        counts.join(", ")
    ))
}
