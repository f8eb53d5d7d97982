//! A child process that tells events as JSON lines: the peer scripts and the examples.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::wait;

/// How long an event may take before the other side counts as hanging.
///
/// No test measures time by it: one that passes never comes near.
pub const HANG: Duration = Duration::from_secs(60);

/// A running child process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Events that came before the one somebody waited for.
    pending: VecDeque<Value>,
    /// Everything it wrote, for the report of a failure.
    transcript: Arc<Mutex<String>>,
    /// Those who fill it; they end with the process.
    readers: Vec<JoinHandle<()>>,
    reported: bool,
}

impl Process {
    /// Starts `command`; `name` is what reports call it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[track_caller]
    pub fn spawn(name: &str, mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        let transcript = Arc::new(Mutex::new(String::new()));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (sender, lines) = channel();
        let to_events = move |line| {
            let _ = sender.send(line);
        };
        let readers = vec![
            read_lines(stdout.expect("standard output is piped"), " ", &transcript, to_events),
            read_lines(stderr.expect("standard error is piped"), "!", &transcript, drop),
        ];
        let stdin = child.stdin.take();
        Self {
            name: name.to_owned(),
            child,
            stdin,
            lines,
            pending: VecDeque::new(),
            transcript,
            readers,
            reported: false,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn send_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        if let Err(error) = writeln!(stdin, "{line}").and_then(|()| stdin.flush()) {
            self.fail(&format!("does not read its input: {error}"));
        }
    }

    /// Writes to its standard input, and closes it.
    ///
    /// # Panics
    /// When it has ended.
    #[track_caller]
    pub fn feed(&mut self, bytes: &[u8]) {
        let mut stdin = self.stdin.take().expect("standard input is open");
        if let Err(error) = stdin.write_all(bytes) {
            self.fail(&format!("does not read its input: {error}"));
        }
    }

    /// Waits for the first event that `wanted` accepts, and takes it out; the others stay for later.
    ///
    /// # Panics
    /// When the process ends before, or nothing is heard of it for [`HANG`].
    #[track_caller]
    pub fn expect(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.pending.iter().position(&wanted) {
            return self.pending.remove(at).expect("the position was just found");
        }
        let start = Instant::now();
        loop {
            match self.next_event(HANG.saturating_sub(start.elapsed())) {
                Ok(event) if wanted(&event) => return event,
                Ok(event) => self.pending.push_back(event),
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("told no {what} for {HANG:?}")),
                Err(RecvTimeoutError::Disconnected) => self.fail(&format!("ended without {what}")),
            }
        }
    }

    /// Waits for the event with this name.
    ///
    /// # Panics
    /// As [`expect`](Self::expect).
    #[track_caller]
    pub fn event(&mut self, name: &str) -> Value {
        self.expect(&format!("`{name}`"), |event| event["event"] == name)
    }

    /// Waits for its end and returns how it ended and its last line of JSON.
    ///
    /// Its standard input stays open: for the examples, which end by themselves.
    ///
    /// # Panics
    /// When it prints no JSON, or goes on for `bound`.
    #[track_caller]
    pub fn last_event(mut self, bound: Duration) -> (ExitStatus, Value) {
        let start = Instant::now();
        loop {
            match self.next_event(bound.saturating_sub(start.elapsed())) {
                Ok(event) => self.pending.push_back(event),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.fail(&format!("goes on after {bound:?}")),
            }
        }
        let status = self.wait(bound.saturating_sub(start.elapsed()));
        match self.pending.pop_back() {
            Some(event) => (status, event),
            None => self.fail("printed no JSON"),
        }
    }

    /// Waits for its end and returns how it ended and all it wrote, to standard error too.
    ///
    /// # Panics
    /// When it goes on for `bound`.
    #[track_caller]
    pub fn last_text(mut self, bound: Duration) -> (ExitStatus, String) {
        let start = Instant::now();
        while let Some(reader) = self.readers.pop() {
            while !reader.is_finished() {
                if start.elapsed() > bound {
                    self.fail(&format!("goes on after {bound:?}"));
                }
                thread::sleep(Duration::from_millis(2));
            }
        }
        let status = self.wait(bound.saturating_sub(start.elapsed()));
        let transcript = self.transcript.lock().expect("no reader panics").clone();
        (status, transcript)
    }

    /// Closes its standard input, upon which a peer script tells its totals and ends; returns them.
    ///
    /// # Panics
    /// When it does neither.
    #[track_caller]
    pub fn finish(mut self) -> Value {
        self.stdin = None;
        let done = self.event("done");
        self.wait(HANG);
        done
    }

    /// Asks it to end, as Ctrl-C does.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Asks it to end, as kill(1) and the system's shutdown do.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).unwrap_or_else(|error| panic!("{} cannot be signalled: {error}", self.name));
    }

    /// Waits until it has written `text`, to standard output or standard error.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn await_text(&self, text: &str) {
        wait::until(&format!("{} writes {text:?}", self.name), || {
            self.transcript.lock().expect("no reader panics").contains(text)
        });
    }

    /// How it ended, if it has.
    ///
    /// # Panics
    /// When the system does not say.
    pub fn end(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Ends it at once with SIGKILL.
    ///
    /// # Panics
    /// When it had ended before by itself.
    #[track_caller]
    pub fn kill(mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            self.fail(&format!("had ended before it was killed: {status}"));
        }
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a child can be waited for");
    }

    fn next_event(&mut self, bound: Duration) -> Result<Value, RecvTimeoutError> {
        let start = Instant::now();
        loop {
            let line = self.lines.recv_timeout(bound.saturating_sub(start.elapsed()))?;
            // The examples print lines for people too.
            if let Ok(event @ Value::Object(_)) = serde_json::from_str(&line) {
                return Ok(event);
            }
        }
    }

    #[track_caller]
    fn wait(&mut self, bound: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            if start.elapsed() > bound {
                self.fail(&format!("has not ended after {bound:?}"));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Fails the test with everything the process wrote.
    #[track_caller]
    fn fail(&mut self, what: &str) -> ! {
        // The totals of a peer script tell how far it came, and it prints them at the end of its input.
        self.stdin = None;
        while let Ok(event) = self.next_event(Duration::from_secs(5)) {
            self.pending.push_back(event);
        }
        self.reported = true;
        panic!("{} {what}\n{}", self.title(), self.report());
    }

    fn title(&mut self) -> String {
        let state = match self.child.try_wait() {
            Ok(Some(status)) => status.to_string(),
            _ => "running".to_owned(),
        };
        format!("{} (process {}, {state})", self.name, self.child.id())
    }

    fn report(&self) -> String {
        /// More than this would bury the rest of the report.
        const LINES: usize = 100;
        let transcript = self.transcript.lock().expect("no reader panics");
        let skipped = transcript.lines().count().saturating_sub(LINES);
        let last: Vec<_> = transcript.lines().skip(skipped).collect();
        format!("--- what it wrote last (! to standard error) ---\n{}\n---", last.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A test that fails because of one process often has its cause in the other.
        let title = self.title();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() && !self.reported {
            eprintln!("{title}\n{}", self.report());
        }
    }
}

fn read_lines(
    from: impl Read + Send + 'static,
    mark: &'static str,
    transcript: &Arc<Mutex<String>>,
    each: impl Fn(String) + Send + 'static,
) -> JoinHandle<()> {
    let transcript = Arc::clone(transcript);
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            let _ = writeln!(transcript.lock().expect("no reader panics"), "{mark} {text}");
            each(text);
            line.clear();
        }
    })
}
