//! `stop`: ask processes to end.

use std::fs;
use std::time::Duration;

use ferrocal::{ProcessInfo, Seen, Text, request_shutdown};
use serde::Serialize;

use crate::args::seconds;
use crate::exit::Exit;
use crate::network::Network;
use crate::output::{BAD, clean, tell};
use crate::session::{End, Session};

/// Ask processes of this computer to end, as eCAL's ecal_stop does.
///
/// Programs of eCAL end when they look at eCAL::Ok(), and those of ferrocal if they look at Node::shutdown_requested. It needs
/// 64-bit Linux with glibc, or 64-bit Windows.
///
/// Keys of --json, an object for each process: pid, unit, process, asked (whether it takes requests), error. Exit codes: 1 one
/// could not be asked, 4 one was not found, or --wait is over and one is still there.
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true).args(["targets", "all"]))]
pub(crate) struct Stop {
    /// A process id, the name that a process gave itself (its unit), or the file name of its executable.
    #[arg(value_name = "PROCESS")]
    targets: Vec<String>,
    /// All processes of this computer.
    #[arg(long, conflicts_with = "targets")]
    all: bool,
    /// Wait until they are gone, so long at most.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
}

/// A process that was asked, as `stop --json` prints it.
#[derive(Serialize)]
struct Row {
    pid: i32,
    unit: String,
    process: String,
    asked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Whether the system shows it. Else its registration is all that is known of it.
    #[serde(skip)]
    is_shown: bool,
}

impl Stop {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let network = Network::open(session, "stop")?;
        let host_name = Text::from(gethostname::gethostname().into_encoded_bytes());
        let (snapshot, end) = network.until(network.after(2.0), |_| false);
        let here: Vec<_> =
            snapshot.processes.iter().filter(|seen| seen.info.host_name == host_name).collect();
        let mut rows: Vec<_> =
            here.iter().filter(|seen| self.is_meant(&seen.info)).map(|seen| Row::of(seen)).collect();
        let is_unknown = |target: &&String| {
            let is_there = process_id(target).is_some_and(|pid| lives(pid) != Some(false));
            !is_there && !here.iter().any(|seen| is_named(&seen.info, target))
        };
        let unknown: Vec<_> = self.targets.iter().filter(is_unknown).collect();
        for pid in self.targets.iter().filter_map(|target| process_id(target)) {
            // One that is not registered may listen all the same.
            if lives(pid) != Some(false) && !rows.iter().any(|row| row.pid == pid) {
                rows.push(Row::new(pid, String::new(), String::new()));
            }
        }
        rows.sort_by_key(|row| row.pid);
        if rows.is_empty() {
            return match end {
                Some(End::Stopped) => Ok(Exit::Interrupted),
                _ => Err(Exit::NotFound.because("no such process was found on this computer")),
            };
        }
        for target in &unknown {
            tell!("{BAD}error{BAD:#}: no process `{}` was found on this computer", clean(target));
        }
        for row in &mut rows {
            match request_shutdown(row.pid.cast_unsigned()) {
                Ok(()) => row.asked = true,
                Err(error) => row.error = Some(format!("{:#}", anyhow::Error::from(error))),
            }
            row.print(session)?;
        }
        let mut exit = match rows.iter().all(|row| row.asked) {
            false => Exit::Failed,
            true if unknown.is_empty() => Exit::Fine,
            true => Exit::NotFound,
        };
        if let Some(time) = self.wait {
            session.out().flush()?;
            let is_gone = |snapshot: &ferrocal::Snapshot| {
                let is_registered = |pid: i32| {
                    let mut here = snapshot.processes.iter().filter(|seen| seen.info.host_name == host_name);
                    here.any(|seen| seen.info.process_id == pid)
                };
                let is_there = |row: &Row| match row.is_shown {
                    true => lives(row.pid) != Some(false),
                    false => is_registered(row.pid),
                };
                !rows.iter().any(|row| row.asked && is_there(row))
            };
            let (snapshot, end) = network.until(network.after(2.0) + time, is_gone);
            exit = match end {
                Some(End::Stopped) => Exit::Interrupted,
                _ if !is_gone(&snapshot) => {
                    return Err(Exit::NotFound.because("a process did not end in time"));
                }
                _ => exit,
            };
        }
        Ok(exit)
    }

    fn is_meant(&self, process: &ProcessInfo) -> bool {
        self.all || self.targets.iter().any(|target| is_named(process, target))
    }
}

impl Row {
    fn new(pid: i32, unit: String, process: String) -> Self {
        let is_shown = lives(pid) == Some(true) && may_run(pid, &process);
        Self { pid, unit, process, asked: false, error: None, is_shown }
    }

    fn of(seen: &Seen<ProcessInfo>) -> Self {
        let text = |text: &Text| text.to_str_lossy().into_owned();
        Self::new(seen.info.process_id, text(&seen.info.unit_name), text(&seen.info.process_name))
    }

    fn print(&self, session: &Session) -> anyhow::Result<()> {
        let out = &mut session.out();
        if session.common.json {
            return Ok(out.json(self)?);
        }
        let (pid, unit) = (self.pid, clean(&self.unit));
        match &self.error {
            None if unit.is_empty() => out.line(format_args!("asked process {pid} to end"))?,
            None => out.line(format_args!("asked process {pid} {unit} to end"))?,
            Some(error) if unit.is_empty() => tell!("{BAD}error{BAD:#}: {}", clean(error)),
            Some(error) => tell!("{BAD}error{BAD:#}: {unit}: {}", clean(error)),
        }
        Ok(())
    }
}

/// Whether a target is the id, the unit or the executable of a process.
fn is_named(process: &ProcessInfo, target: &str) -> bool {
    let file = process.process_name.to_str_lossy();
    let file = file.rsplit(['/', '\\']).next().unwrap_or_default();
    process.unit_name == *target || *file == *target || process.process_id.to_string() == target
}

/// Whether there is a process of this id, if the system shows that.
fn lives(pid: i32) -> Option<bool> {
    ferrocal_shm::lives(pid.cast_unsigned())
}

/// Whether a process may be the one that registered with this executable. In a container, another one can have its id.
fn may_run(pid: i32, executable: &str) -> bool {
    let file = |path: &str| {
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        path.rsplit('/').next().unwrap_or_default().to_owned()
    };
    match fs::read_link(format!("/proc/{pid}/exe")) {
        Ok(path) if !executable.is_empty() => file(&path.to_string_lossy()) == file(executable),
        _ => true,
    }
}

/// The process id that a target is, if it is one.
fn process_id(target: &str) -> Option<i32> {
    target.parse().ok().filter(|&id| id > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_ids_are_positive() {
        assert_eq!((process_id("1"), process_id("2147483647")), (Some(1), Some(i32::MAX)));
        for target in ["0", "-1", "4294967295", "robot", ""] {
            assert_eq!(process_id(target), None, "{target}");
        }
    }

    #[test]
    fn processes_are_meant_by_id_unit_and_file() {
        let process = ProcessInfo {
            process_id: 42,
            unit_name: "my robot".into(),
            process_name: "/usr/bin/robot".into(),
            ..ProcessInfo::default()
        };
        let is_meant =
            |target: &str| Stop { targets: vec![target.into()], all: false, wait: None }.is_meant(&process);
        assert!(is_meant("42") && is_meant("my robot") && is_meant("robot"));
        assert!(!is_meant("4") && !is_meant("") && !is_meant("bin/robot"));
        assert!(Stop { targets: vec![], all: true, wait: None }.is_meant(&process));
    }
}
