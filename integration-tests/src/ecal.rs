//! The real eCAL as peer: the scripts in `peers/`, run by the Python that has its wheel.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use ferrocal_proto::LatencyInfo;
use serde_json::Value;

use crate::netns::Host;
use crate::process::{HANG, Process};
use crate::totals::Totals;
use crate::wait;
use crate::world::Mode;

/// The eCAL that the tests are written against.
pub const VERSION: &str = "6.1.1";

/// Makes a peer wait an hour for a silent one, longer than any test.
const PATIENT: &str = "--registration-timeout=3600000";

/// An eCAL that is installed, in a Python environment of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// The one that the tests are written against.
    Current,
    /// One before it, for what differs.
    Old,
}

/// Starts a script of `peers/` that does without a running eCAL.
pub fn script(script: &str, arguments: &[&str]) -> Process {
    script_of(Release::Current, script, arguments)
}

/// As [`script`], with the Python of another eCAL.
pub fn script_of(release: Release, script: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(release.python());
    command.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script)).args(arguments);
    Process::spawn(script, command)
}

impl Release {
    const fn version(self) -> &'static str {
        match self {
            Self::Current => VERSION,
            Self::Old => "6.0.1",
        }
    }

    /// The variable that names the Python interpreter to use instead of the workspace's own environment, and the folder of
    /// that environment, which `./ci.sh test` makes.
    const fn python_names(self) -> (&'static str, &'static str) {
        match self {
            Self::Current => ("FERROCAL_ECAL_PYTHON", ".venv"),
            Self::Old => ("FERROCAL_OLD_ECAL_PYTHON", ".venv-6.0"),
        }
    }

    fn python(self) -> PathBuf {
        let (variable, folder) = self.python_names();
        let own = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(folder).join("bin/python");
        std::env::var_os(variable).map_or_else(own, PathBuf::from)
    }

    /// Checks once that it can be run.
    ///
    /// # Errors
    /// A sentence on what is missing.
    pub fn available(self) -> Result<(), String> {
        static CHECKED: [OnceLock<Result<(), String>>; 2] = [const { OnceLock::new() }; 2];
        CHECKED[self as usize].get_or_init(|| self.check()).clone()
    }

    fn check(self) -> Result<(), String> {
        const PROGRAM: &str = "import importlib.metadata as m; print(m.version('eclipse-ecal'))";
        let (python, wanted) = (self.python(), self.version());
        let hint = format!("(`./ci.sh test` installs it; {} names another Python)", self.python_names().0);
        let output = Command::new(&python)
            .args(["-c", PROGRAM])
            .output()
            .map_err(|error| format!("{} cannot be run: {error} {hint}", python.display()))?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if version == wanted {
            Ok(())
        } else if version.is_empty() {
            Err(format!("{} has no eclipse-ecal {hint}", python.display()))
        } else {
            Err(format!("{} has eclipse-ecal {version}, not {wanted} {hint}", python.display()))
        }
    }
}

/// Starts a script of `peers/` on `host`, which initializes eCAL.
///
/// # Panics
/// When it does not start.
#[track_caller]
pub fn start(host: Host, mode: Mode, script: &str, arguments: &[String]) -> Process {
    start_of(Release::Current, host, mode, script, arguments)
}

#[track_caller]
fn start_of(release: Release, host: Host, mode: Mode, script: &str, arguments: &[String]) -> Process {
    // eCAL finds servers and TCP publishers by the names of their hosts.
    let needs_names = script == "calls.py" || arguments.iter().any(|argument| argument == "--layer=tcp");
    let mut command = if needs_names {
        host.command_with_names(mode == Mode::Network, release.python())
    } else {
        host.command(release.python())
    };
    command
        .arg("-B") // leaves no compiled files in the source tree
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(script))
        .args(["--mode", mode.name()])
        .args(arguments);
    let mut process =
        Process::spawn(&format!("real {script} {} on {}", release.version(), host.name()), command);
    process.event("ready");
    process
}

/// A data type as eCAL registers it.
#[derive(Clone, Debug, Default)]
pub struct DataType<'a> {
    /// Its name, as `demo.Point`.
    pub name: &'a str,
    /// Its encoding, as `proto`.
    pub encoding: &'a str,
    /// Its descriptor.
    pub descriptor: &'a [u8],
}

impl DataType<'_> {
    fn arguments(&self) -> [String; 3] {
        let digits: String = self.descriptor.iter().map(|byte| format!("{byte:02x}")).collect();
        [
            format!("--type-name={}", self.name),
            format!("--encoding={}", self.encoding),
            format!("--descriptor={digits}"),
        ]
    }
}

/// Starts a process on `host` that publishes protobuf messages on one topic and tells those of the other.
///
/// # Panics
/// When it does not start.
#[track_caller]
pub fn start_protobuf(host: Host, mode: Mode, published: &str, subscribed: &str) -> Process {
    start(host, mode, "proto.py", &[published.to_owned(), subscribed.to_owned()])
}

/// Waits until `process` has told of `peers` others on `topic`.
///
/// # Panics
/// When that does not happen.
#[track_caller]
pub fn expect_matched(process: &mut Process, topic: &str, peers: usize) -> Value {
    process.expect(&format!("match of {peers} on {topic}"), |event| {
        event["event"] == "matched" && event["topic"] == topic && event["peers"] == peers
    })
}

/// A real publisher of ramp messages, on one topic or several.
#[derive(Debug)]
pub struct Publisher {
    /// The script.
    pub process: Process,
}

impl Publisher {
    /// Starts it on `host` with its topics and their message lengths.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start(host: Host, mode: Mode, topics: &[(&str, usize)], data_type: &DataType<'_>) -> Self {
        let mut arguments = data_type.arguments().to_vec();
        arguments.extend(topics.iter().map(|(topic, len)| format!("{topic}:{len}")));
        Self { process: start(host, mode, "pub.py", &arguments) }
    }

    /// As [`start`](Self::start) with one topic, but it gives up no peer that falls silent: one has to say that it
    /// leaves.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_patient(host: Host, mode: Mode, topic: &str, len: usize) -> Self {
        let arguments = [PATIENT.to_owned(), format!("{topic}:{len}")];
        Self { process: start(host, mode, "pub.py", &arguments) }
    }

    /// As [`start`](Self::start), but the groups of topics follow from this mask.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_with_mask(host: Host, topics: &[(&str, usize)], mask: Ipv4Addr) -> Self {
        let topics = topics.iter().map(|(topic, len)| format!("{topic}:{len}"));
        let arguments: Vec<_> = [format!("--mask={mask}")].into_iter().chain(topics).collect();
        Self { process: start(host, Mode::Network, "pub.py", &arguments) }
    }

    /// As [`start`](Self::start) with one topic and options of the script.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_with(host: Host, mode: Mode, options: &[&str], topic: &str, len: usize) -> Self {
        let topic = format!("{topic}:{len}");
        let arguments = options.iter().map(|option| (*option).to_owned()).chain([topic]);
        Self { process: start(host, mode, "pub.py", &arguments.collect::<Vec<_>>()) }
    }

    /// As [`start`](Self::start), of another eCAL, and with options of the script.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_of(
        release: Release,
        host: Host,
        mode: Mode,
        options: &[&str],
        topics: &[(&str, usize)],
    ) -> Self {
        let topics = topics.iter().map(|(topic, len)| format!("{topic}:{len}"));
        let arguments: Vec<_> = options.iter().map(|option| (*option).to_owned()).chain(topics).collect();
        Self { process: start_of(release, host, mode, "pub.py", &arguments) }
    }

    /// Waits for the event that brings the number of its subscribers on `topic` to `subscribers`.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn expect_matched(&mut self, topic: &str, subscribers: usize) -> Value {
        expect_matched(&mut self.process, topic, subscribers)
    }

    /// Sends `count` messages on every topic at `rate` Hz (0: as fast as it goes), and returns after the last.
    ///
    /// # Panics
    /// When eCAL says of one that it was not sent.
    #[track_caller]
    pub fn send(&mut self, count: u64, rate: f64) {
        self.begin_sending(count, rate);
        self.await_sent();
    }

    /// Sends a message on every topic with a send time, in microseconds since the epoch.
    ///
    /// # Panics
    /// When eCAL says of one that it was not sent.
    #[track_caller]
    pub fn send_at(&mut self, time_us: i64) {
        self.process.send_line(&format!("send_at {time_us}"));
        self.await_sent();
    }

    /// Sends a message with this payload on every topic.
    ///
    /// # Panics
    /// When eCAL says of one that it was not sent.
    #[track_caller]
    pub fn send_bytes(&mut self, payload: &[u8]) {
        let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        self.process.send_line(&format!("bytes {digits}"));
        self.await_sent();
    }

    /// Begins to send and returns at once; with `count` 0 it goes on until the next command.
    ///
    /// # Panics
    /// When the process has ended.
    #[track_caller]
    pub fn begin_sending(&mut self, count: u64, rate: f64) {
        self.process.send_line(&format!("send {count} {rate}"));
    }

    /// Waits for the end of what [`begin_sending`](Self::begin_sending) began, and returns the messages sent in all.
    ///
    /// # Panics
    /// When eCAL says of one that it was not sent.
    #[track_caller]
    pub fn await_sent(&mut self) -> u64 {
        let sent = self.process.event("sent");
        assert_eq!(sent["unsent"], 0, "the real publisher refused messages: {sent}");
        sent["total"].as_u64().expect("a number of messages")
    }
}

/// A real subscriber that checks every message, on one topic or several.
#[derive(Debug)]
pub struct Subscriber {
    /// The script.
    pub process: Process,
}

impl Subscriber {
    /// Starts it on `host`; it counts as complete with `count` messages on every topic (0: never).
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start(host: Host, mode: Mode, topics: &[&str], count: u64) -> Self {
        let mut arguments = vec![format!("--count={count}")];
        arguments.extend(topics.iter().map(|topic| (*topic).to_owned()));
        Self { process: start(host, mode, "sub.py", &arguments) }
    }

    /// As [`start`](Self::start) with one topic, options of the script, and without a count.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_with(host: Host, mode: Mode, options: &[&str], topic: &str) -> Self {
        let arguments = options.iter().chain([&topic]).map(|argument| (*argument).to_owned());
        Self { process: start(host, mode, "sub.py", &arguments.collect::<Vec<_>>()) }
    }

    /// As [`start`](Self::start), of another eCAL, with options of the script, and without a count.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_of(release: Release, host: Host, mode: Mode, options: &[&str], topics: &[&str]) -> Self {
        let arguments: Vec<_> = options.iter().chain(topics).map(|argument| (*argument).to_owned()).collect();
        Self { process: start_of(release, host, mode, "sub.py", &arguments) }
    }

    /// Waits for the event that brings the number of its publishers on `topic` to `publishers`.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn expect_matched(&mut self, topic: &str, publishers: usize) -> Value {
        expect_matched(&mut self.process, topic, publishers)
    }

    /// As [`start`](Self::start), but it gives up no peer that falls silent: one has to say that it leaves.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_patient(host: Host, mode: Mode, topics: &[&str]) -> Self {
        let mut arguments = vec![PATIENT.to_owned()];
        arguments.extend(topics.iter().map(|topic| (*topic).to_owned()));
        Self { process: start(host, mode, "sub.py", &arguments) }
    }

    /// As [`start`](Self::start) with one topic and eCAL's own receive buffer, of 5 MiB, in place of the larger one of
    /// these tests.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_with_default_buffer(host: Host, mode: Mode, topic: &str, count: u64) -> Self {
        let arguments = ["--receive-buffer=5242880".to_owned(), format!("--count={count}"), topic.to_owned()];
        Self { process: start(host, mode, "sub.py", &arguments) }
    }

    /// As [`start`](Self::start), but the groups of topics follow from this mask.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_with_mask(host: Host, topics: &[&str], mask: Ipv4Addr) -> Self {
        let topics = topics.iter().map(|topic| (*topic).to_owned());
        let arguments: Vec<_> = [format!("--mask={mask}")].into_iter().chain(topics).collect();
        Self { process: start(host, Mode::Network, "sub.py", &arguments) }
    }

    /// Waits until `wanted` accepts what it received so far, a row per topic and publisher.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn totals_with(&mut self, what: &str, wanted: impl Fn(&[Totals]) -> bool) -> Vec<Totals> {
        wait::until_some(what, || {
            self.process.send_line("totals");
            let rows = rows(&self.process.event("totals"));
            wanted(&rows).then_some(rows)
        })
    }

    /// Waits until it has `count` messages on each of its `topics`, from all publishers together.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn await_received(&mut self, count: u64, topics: usize) {
        let all = topics as u64 * count;
        self.totals_with(&format!("{all} messages at the real subscriber"), |rows| {
            rows.iter().map(|row| row.received).sum::<u64>() >= all
        });
    }

    /// Waits until it has its messages on every topic.
    ///
    /// # Panics
    /// When it does not get them.
    #[track_caller]
    pub fn await_complete(&mut self) {
        self.process.event("complete");
    }

    /// Ends it and returns what it received, a row per topic and publisher.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn finish(self) -> Vec<Totals> {
        rows(&self.process.finish())
    }
}

fn rows(event: &Value) -> Vec<Totals> {
    event["rows"].as_array().into_iter().flatten().map(Totals::from_row).collect()
}

/// A real server of a service, and a client of it in the same process.
#[derive(Debug)]
pub struct Service {
    /// The script.
    pub process: Process,
}

impl Service {
    /// Starts both on `host`, with one method, `echo`.
    ///
    /// # Panics
    /// When they do not start.
    #[track_caller]
    pub fn start(host: Host, mode: Mode, name: &str) -> Self {
        Self::start_of(Release::Current, host, mode, name)
    }

    /// As [`start`](Self::start), of another eCAL.
    ///
    /// # Panics
    /// When they do not start.
    #[track_caller]
    pub fn start_of(release: Release, host: Host, mode: Mode, name: &str) -> Self {
        Self { process: start_of(release, host, mode, "service.py", &[name.to_owned()]) }
    }
}

/// A real server of one service, and a real client of another.
#[derive(Debug)]
pub struct Calls {
    /// The script.
    pub process: Process,
}

impl Calls {
    /// Starts both on `host`.
    ///
    /// # Panics
    /// When they do not start.
    #[track_caller]
    pub fn start(release: Release, host: Host, mode: Mode, served: &str, called: &str) -> Self {
        Self { process: start_of(release, host, mode, "calls.py", &[served.to_owned(), called.to_owned()]) }
    }

    /// Waits until the real client is connected to so many servers.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn expect_connected(&mut self, servers: usize) {
        self.process.send_line(&format!("connected {servers}"));
        self.process.event("connected");
    }

    /// Has the real client call all its servers, and returns what it got of each. `timeout_ms` is eCAL's: -1 is none.
    ///
    /// # Panics
    /// When it gets nothing.
    #[track_caller]
    pub fn call(&mut self, method: &str, timeout_ms: i64, request: &str) -> Vec<Value> {
        self.process.send_line(&format!("call {method} {timeout_ms} {request}"));
        self.process.event("called")["rows"].as_array().cloned().unwrap_or_default()
    }

    /// Has the real client call `echo` with a message of this length. Returns whether each server gave it back whole.
    ///
    /// # Panics
    /// When it gets nothing.
    #[track_caller]
    pub fn call_long(&mut self, len: usize) -> Vec<Value> {
        self.process.send_line(&format!("long echo {len}"));
        self.process.event("called")["rows"].as_array().cloned().unwrap_or_default()
    }

    /// Has the real client call `echo` so many times at once with the numbers from 0, and returns those that came back.
    ///
    /// # Panics
    /// When they do not.
    #[track_caller]
    pub fn call_many(&mut self, count: u64) -> Vec<u64> {
        self.process.send_line(&format!("many echo {count}"));
        let answers = self.process.event("many");
        answers["answers"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
    }
}

/// eCAL's logging, of all levels in both directions.
#[derive(Debug)]
pub struct Logging {
    process: Process,
}

impl Logging {
    /// Starts it on `host`.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start(host: Host, mode: Mode) -> Self {
        Self { process: start(host, mode, "log.py", &[]) }
    }

    /// Logs a line; `level` is a name as `warning` or `debug4`.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn log(&mut self, level: &str, text: &str) {
        self.process.send_line(&format!("log {level} {text}"));
        self.process.event("logged");
    }

    /// Waits until a line with this text came from a unit, and returns all that came from it before, and this one.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn lines_until(&mut self, unit: &str, last: &str) -> Vec<Value> {
        let mut lines = Vec::new();
        wait::until(&format!("a line `{last}` of {unit}"), || {
            self.process.send_line("take");
            let came = self.process.event("logs");
            let came = came["rows"].as_array().into_iter().flatten().cloned();
            lines.extend(came.filter(|row| row["unit"] == unit));
            lines.last().is_some_and(|row| row["text"] == last)
        });
        lines
    }
}

/// eCAL's monitoring.
#[derive(Debug)]
pub struct Monitor {
    process: Process,
}

impl Monitor {
    /// Starts it on `host`.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start(host: Host, mode: Mode) -> Self {
        Self { process: start(host, mode, "monitor.py", &[]) }
    }

    /// As [`start`](Self::start), of another eCAL.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_of(release: Release, host: Host, mode: Mode) -> Self {
        Self { process: start_of(release, host, mode, "monitor.py", &[]) }
    }

    /// As [`start`](Self::start), but what falls silent stays listed: it has to say that it leaves.
    ///
    /// # Panics
    /// When it does not start.
    #[track_caller]
    pub fn start_patient(host: Host, mode: Mode) -> Self {
        Self { process: start(host, mode, "monitor.py", &[PATIENT.to_owned()]) }
    }

    /// What it sees now: `processes`, `publishers`, `subscribers`.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn snapshot(&mut self) -> Value {
        self.process.send_line("snapshot");
        self.process.event("snapshot")
    }

    /// What the subscribers registered of their messages' latency, by their ids.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn latencies(&mut self) -> BTreeMap<String, LatencyInfo> {
        self.process.send_line("latencies");
        let event = self.process.event("latencies");
        let number = |row: &Value, key: &str| {
            row[key].as_str().and_then(|text| text.parse().ok()).expect("a number as text")
        };
        let latency = |row: &Value| LatencyInfo {
            count: row["count"].as_u64().expect("a number"),
            latest_us: number(row, "latest"),
            min_us: number(row, "min"),
            max_us: number(row, "max"),
            mean_us: number(row, "mean"),
            sum_of_squares_us2: number(row, "variance"),
        };
        let rows = event["rows"].as_array().into_iter().flatten();
        rows.map(|row| (row["topic_id"].as_str().expect("a text").to_owned(), latency(row))).collect()
    }

    /// Asks again and again until `wanted` accepts what it sees; monitoring has no events of its own.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn snapshot_with(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let snapshot = self.snapshot();
            if wanted(&snapshot) {
                return snapshot;
            }
            assert!(start.elapsed() < HANG, "monitoring shows no {what}, but {snapshot:#}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}
