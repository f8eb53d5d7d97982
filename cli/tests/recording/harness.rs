//! The command, folders of the tests, and recordings as Python reads them.

use std::path::{Path, PathBuf};
use std::process::Command;

use ferrocal_integration_tests::ecal;
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::world::World;
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const HERE: Host = Host::first();

/// The built command.
pub(crate) const FERROCAL: &str = env!("CARGO_BIN_EXE_ferrocal");

/// A folder that is deleted with the test.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("there is a folder for temporary files")
}

/// A path in a folder, as text.
pub(crate) fn within(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().expect("a path in UTF-8").to_owned()
}

/// Has a command read no configuration of the machine's.
pub(crate) fn isolate(command: &mut Command) {
    command.env("HOME", "/nonexistent").env_remove("ECAL_DATA").env_remove("TRANSPORT");
    command.env_remove("FERROCAL_TRANSPORT").current_dir("/");
}

/// Starts the command on this host.
#[track_caller]
pub(crate) fn start(arguments: &[&str]) -> Process {
    let mut command = HERE.command(FERROCAL);
    command.args(arguments);
    isolate(&mut command);
    Process::spawn(&format!("ferrocal {}", arguments.join(" ")), command)
}

/// Starts the command in the world of a test.
#[track_caller]
pub(crate) fn start_in(world: &World, arguments: &[&str]) -> Process {
    let interface = world.interface().map(|interface| format!("--interface={interface}"));
    let mode = ["--mode", world.mode().name()];
    let arguments: Vec<_> = arguments.iter().copied().chain(mode).chain(interface.as_deref()).collect();
    start(&arguments)
}

/// Waits for the end of a command with `--json`. Returns its exit code and its last line.
#[track_caller]
pub(crate) fn ended(process: Process) -> (i32, Value) {
    let (status, line) = process.last_event(HANG);
    (status.code().unwrap_or(-1), line)
}

/// Runs the command to its end. Returns its exit code and what it wrote.
#[track_caller]
pub(crate) fn run(arguments: &[&str]) -> (i32, String) {
    let (status, transcript) = start(arguments).last_text(HANG);
    (status.code().unwrap_or(-1), transcript)
}

/// A recording as Python reads it: its summary, and its messages.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) summary: Value,
    pub(crate) messages: Vec<Value>,
}

impl Read {
    /// Reads a file.
    #[track_caller]
    pub(crate) fn of(path: &str) -> Self {
        let mut process = ecal::script("mcap_read.py", &[path]);
        let summary = process.event("summary");
        let mut messages = Vec::new();
        loop {
            let next = process.expect("a message", |event| event["event"] != "end");
            if next["event"] == "done" {
                return Self { summary, messages };
            }
            messages.push(next);
        }
    }

    /// The messages of a topic.
    pub(crate) fn topic(&self, topic: &str) -> Vec<&Value> {
        self.messages.iter().filter(|message| message["topic"] == topic).collect()
    }

    /// The last metadata record of a name.
    pub(crate) fn metadata(&self, name: &str) -> Value {
        let records = self.summary["metadata"].as_array().expect("a list");
        records
            .iter()
            .rev()
            .find(|record| record[0] == name)
            .map(|record| record[1].clone())
            .unwrap_or_default()
    }
}

/// Checks that a file has what Foxglove and other indexed readers rely on, so many messages, and messages of these encodings.
#[track_caller]
pub(crate) fn check(path: &str, messages: usize, encodings: &[&str]) {
    let checked = ecal::script("mcap_check.py", &[path]).event("checked");
    let expected = json!({"event": "checked", "broken": [], "messages": messages, "encodings": encodings});
    assert_eq!(checked, expected, "{path}");
}

/// The bytes of a message.
pub(crate) fn bytes(message: &Value) -> Vec<u8> {
    let digits = message["data"].as_str().expect("bytes");
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(digit).collect()
}

/// A capture that belongs to the tests.
pub(crate) fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../integration-tests/captures").join(name)
}
