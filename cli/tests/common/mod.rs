//! The command as a process of a test.

use std::process::Command;

use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::process::{HANG, Process};
use serde_json::Value;

/// The command, with these arguments. It reads no configuration of the machine's.
pub(crate) fn command(host: Host, arguments: &[&str]) -> Command {
    let mut command = host.command(env!("CARGO_BIN_EXE_ferrocal"));
    command.args(arguments);
    command.env("HOME", "/nonexistent").current_dir("/");
    for variable in ["ECAL_DATA", "TRANSPORT", "FERROCAL_TRANSPORT", "NO_COLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command
}

/// Starts the command on a host.
#[track_caller]
pub(crate) fn start(host: Host, arguments: &[&str]) -> Process {
    Process::spawn(&format!("ferrocal {}", arguments.join(" ")), command(host, arguments))
}

/// What the command said and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code.
    pub(crate) code: Option<i32>,
    /// The lines of standard output.
    pub(crate) out: Vec<String>,
    /// The lines of standard error.
    pub(crate) err: Vec<String>,
}

impl Ended {
    /// Waits for the end.
    #[track_caller]
    pub(crate) fn of(process: Process) -> Self {
        let (status, transcript) = process.last_text(HANG);
        let lines = |mark: &str| {
            transcript.lines().filter_map(|line| line.strip_prefix(mark)).map(str::to_owned).collect()
        };
        Self { code: status.code(), out: lines("  "), err: lines("! ") }
    }

    /// Runs the command to its end.
    #[track_caller]
    pub(crate) fn run(host: Host, arguments: &[&str]) -> Self {
        Self::of(start(host, arguments))
    }

    /// Checks the exit code, and returns the standard output.
    #[track_caller]
    pub(crate) fn text(&self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.out.join("\n")
    }

    /// Checks that it succeeded, and returns the objects of the standard output.
    #[track_caller]
    pub(crate) fn rows(&self) -> Vec<Value> {
        self.text(0);
        let row = |line: &String| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}: {self:?}"))
        };
        self.out.iter().map(row).collect()
    }

    /// Checks that it failed with this code, without a result, and said this.
    #[track_caller]
    pub(crate) fn failed(&self, code: i32, text: &str) {
        assert_eq!((self.code, &self.out[..]), (Some(code), &[][..]), "{self:?}");
        assert!(self.err.join("\n").contains(text), "{text:?} in {self:?}");
    }
}
