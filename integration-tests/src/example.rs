//! The examples `pub` and `sub` as processes.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;

use crate::netns::Host;
use crate::process::{HANG, Process};

/// The path of the built example `name`.
pub fn path(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("the path of the test is known");
    path.pop(); // the test itself
    path.pop(); // deps
    path.push("examples");
    path.push(name);
    path
}

/// A folder with settings for the examples, for the variable `ECAL_DATA`: they use this layer alone.
///
/// # Panics
/// When it cannot be written.
pub fn settings(layer: &str) -> String {
    let folder = std::env::temp_dir().join(format!("ferrocal-{layer}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    let layers = ["shm", "udp", "tcp"].map(|one| format!("{one}: {{ enable: {} }}", one == layer)).join(", ");
    let text = format!("publisher: {{ layer: {{ {layers} }} }}\nsubscriber: {{ layer: {{ {layers} }} }}\n");
    fs::write(folder.join("ecal.yaml"), text).expect("settings can be written");
    folder.into_os_string().into_string().expect("a plain path")
}

/// How often a test kills either side; many more times with `FERROCAL_KILLS`.
pub fn kills() -> u64 {
    std::env::var("FERROCAL_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

/// Starts an example on `host`; the arguments are those of a command line, parted by spaces.
///
/// It reads no configuration of the machine's.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn start(host: Host, name: &str, arguments: &str) -> Process {
    start_with(host, name, arguments, &[])
}

/// As [`start`], but in a namespace of process ids of its own, where the example's id is 1.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn start_as_process_1(host: Host, name: &str, arguments: &str) -> Process {
    let mut command = host.command("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--"]).arg(path(name));
    spawn(command, host, name, arguments, &[])
}

/// Starts an example with variables in its environment.
///
/// # Panics
/// When it cannot be started.
#[track_caller]
pub fn start_with(host: Host, name: &str, arguments: &str, environment: &[(&str, &str)]) -> Process {
    spawn(host.command(path(name)), host, name, arguments, environment)
}

#[track_caller]
fn spawn(
    mut command: Command,
    host: Host,
    name: &str,
    arguments: &str,
    environment: &[(&str, &str)],
) -> Process {
    command.args(arguments.split_whitespace());
    command
        .env("HOME", "/nonexistent")
        .env_remove("ECAL_DATA")
        .env_remove("TRANSPORT")
        .env_remove("FERROCAL_TRANSPORT");
    command.current_dir("/");
    command.envs(environment.iter().copied());
    Process::spawn(&format!("{name} {arguments} on {}", host.name()), command)
}

/// What an example said at its end.
#[derive(Debug)]
pub struct Ended {
    /// How it ended.
    pub status: ExitStatus,
    /// Its last line.
    pub line: Value,
    /// The backend that it is to have used: sockets, unless a test changes this.
    pub backend: &'static str,
}

impl Ended {
    /// Waits for the end of an example that was started with `--json`.
    ///
    /// # Panics
    /// When it does not end, or printed no line of JSON.
    #[track_caller]
    pub fn of(process: Process) -> Self {
        let (status, line) = process.last_event(HANG + Duration::from_secs(10));
        Self { status, line, backend: "socket" }
    }

    /// A field of the line as a whole number.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    pub fn number(&self, key: &str) -> u64 {
        self.line[key].as_u64().unwrap_or_else(|| panic!("{key} in {}", self.line))
    }

    /// Checks that it succeeded and that the line tells of `count` messages of `len` bytes, with every field that is
    /// promised, nothing dropped and nothing corrupt; `counted` is `sent` or `received`.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn assert_all(&self, topic: &str, counted: &str, count: u64, len: u64) {
        assert!(self.status.success(), "{self:?}");
        self.assert_line(topic, counted, count, count * len);
        assert_eq!((self.number("corrupt"), self.number("dropped")), (0, 0), "{self:?}");
    }

    /// Checks every field of the line that is promised, and that they agree with each other.
    ///
    /// # Panics
    /// When it is otherwise.
    #[track_caller]
    pub fn assert_line(&self, topic: &str, counted: &str, count: u64, bytes: u64) {
        let line = &self.line;
        assert_eq!(line["topic"], topic, "{line}");
        assert_eq!(line["backend"], self.backend, "{line}");
        assert_eq!((self.number(counted), self.number("bytes")), (count, bytes), "{line}");
        let _ = ["corrupt", "dropped", "peers"].map(|key| self.number(key));
        let seconds = line["seconds"].as_f64().unwrap_or_else(|| panic!("seconds in {line}"));
        let per_second = |key: &str| {
            assert!(line.get(key).is_some(), "{key} in {line}");
            line[key].as_f64()
        };
        let (messages, megabytes) = (per_second("msgs_per_s"), per_second("mb_per_s"));
        if count < 2 {
            assert_eq!((seconds, messages), (0.0, None), "{line}");
        } else {
            assert!(seconds > 0.0, "{line}");
            let is = |told: Option<f64>, expected: f64| {
                told.is_some_and(|told| (told - expected).abs() <= 1e-6 * expected.max(1.0))
            };
            assert!(is(messages, (count - 1) as f64 / seconds), "msgs_per_s in {line}");
            assert!(is(megabytes, bytes as f64 / 1e6 / seconds), "mb_per_s in {line}");
        }
    }
}
