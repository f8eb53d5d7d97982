//! What `pub` and `sub` have in common: options, the test pattern, the closing line.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use ferrocal::{Config, InterfaceSelector, Mode, Node, Selection};
use serde_json::{Value, json};

mod stop;
pub(crate) use stop::Stop;

/// Options of every program.
#[derive(Args)]
pub(crate) struct Common {
    /// Name of the topic.
    #[arg(default_value = "hello")]
    pub(crate) topic: String,
    /// How far messages reach [default: local, or what ecal.yaml says].
    #[arg(long)]
    mode: Option<ModeOption>,
    /// The interface to use in network mode: its address, its network (10.0.0.0/24) or its name [default: the system's routes choose].
    #[arg(long)]
    interface: Option<InterfaceSelector>,
    /// What moves the datagrams: auto, socket, npcap or file:PATH, a capture to replay (file-fast:PATH as fast as it goes; - is standard input) [default: auto, or what FERROCAL_TRANSPORT, TRANSPORT or ecal.yaml say].
    #[arg(long)]
    transport: Option<Selection>,
    /// Print nothing but one line of JSON at the end.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeOption {
    Local,
    Network,
}

impl Common {
    /// Starts logging, and returns the settings.
    pub(crate) fn config(&self) -> Result<Config, Box<dyn Error>> {
        env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
        let mut config = Config::load()?;
        match self.mode {
            Some(ModeOption::Local) => config.mode = Mode::Local,
            Some(ModeOption::Network) => config.mode = Mode::Network,
            None => {}
        }
        if let Some(interface) = &self.interface {
            config.udp.interfaces = vec![interface.clone()];
        }
        config.transport = self.transport.clone().unwrap_or(config.transport);
        Ok(config)
    }

    pub(crate) fn open(&self, name: &str, config: Config) -> Result<Node, Box<dyn Error>> {
        let node = Node::with_config(name, config)?;
        if !self.json {
            let status = node.status();
            let (backend, reason) = match status.fallbacks.first() {
                None => (status.backend, status.reason.to_string()),
                Some(fallback) => (fallback.backend, format!("auto, fallen back: {}", fallback.reason)),
            };
            writeln!(io::stdout(), "topic {}, {backend} backend ({reason})", self.topic)?;
        }
        Ok(node)
    }
}

/// Reads a time in seconds from the command line.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// The test pattern: byte `k` of message `n` is `(k * 31 + n) & 0xff`.
pub(crate) struct Ramp(Vec<u8>);

impl Ramp {
    /// The pattern for messages of up to `max_len` bytes.
    pub(crate) fn new(max_len: usize) -> Self {
        Self((0..max_len + 255).map(|k| (k as u8).wrapping_mul(31)).collect())
    }

    /// Message `n`, of which only the low byte matters.
    pub(crate) fn message(&self, n: u8, len: usize) -> &[u8] {
        // All messages are one pattern from different starts on, as 223 * 31 is 1 in eight bits.
        &self.0[usize::from(n.wrapping_mul(223))..][..len]
    }
}

/// Counts messages between the first and the last.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    bytes: u64,
    span: Option<(Instant, Instant)>,
}

impl Tally {
    pub(crate) fn count(&mut self, len: usize) {
        let now = Instant::now();
        self.messages += 1;
        self.bytes += len as u64;
        self.span = Some((self.span.map_or(now, |(first, _)| first), now));
    }

    /// Prints the closing line. `counted` names what was counted: `sent` or `received`.
    pub(crate) fn print(
        &self,
        common: &Common,
        node: &Node,
        counted: &str,
        also: [(&str, u64); 3],
    ) -> io::Result<()> {
        let line = if common.json {
            self.json(&common.topic, node, counted, also)
        } else {
            self.text(counted, also)
        };
        writeln!(io::stdout(), "{line}")
    }

    fn seconds(&self) -> f64 {
        self.span.map_or(Duration::ZERO, |(first, last)| last - first).as_secs_f64()
    }

    fn text(&self, counted: &str, also: [(&str, u64); 3]) -> String {
        let also = also.map(|(key, value)| format!("{key}: {value}")).join(", ");
        let Self { messages, bytes, .. } = self;
        format!("{counted}: {messages} messages of {bytes} bytes in all, in {:.1} s; {also}", self.seconds())
    }

    fn json(&self, topic: &str, node: &Node, counted: &str, also: [(&str, u64); 3]) -> String {
        let status = node.status();
        let seconds = self.seconds();
        let rate = |amount: f64| {
            if self.messages < 2 || seconds == 0.0 { Value::Null } else { json!(amount / seconds) }
        };
        let mut line = json!({
            "topic": topic,
            "backend": status.payload_backend.unwrap_or(status.registration_backend).to_string(),
            counted: self.messages,
            "bytes": self.bytes,
            "seconds": seconds,
            "msgs_per_s": rate(self.messages.saturating_sub(1) as f64),
            "mb_per_s": rate(self.bytes as f64 / 1e6),
            "cpu_seconds": cpu_seconds(),
        });
        for (key, value) in also {
            line[key] = value.into();
        }
        line.to_string()
    }
}

/// Processor time that this process took so far, where Linux tells it (proc(5), `/proc/self/stat`).
fn cpu_seconds() -> Option<f64> {
    /// Of a second, on every Linux there is (`getconf CLK_TCK`).
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, behind_name) = stat.rsplit_once(')')?;
    let fields: Vec<_> = behind_name.split_whitespace().collect();
    let [user, system] = [11, 12].map(|field| fields.get(field)?.parse::<f64>().ok());
    Some((user? + system?) / TICKS)
}

/// Tells a person what failed, and why.
pub(crate) fn fail(error: &(dyn Error + 'static)) -> ExitCode {
    if error.downcast_ref().is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe) {
        // Nobody reads any more, as after `sub | head`.
        return ExitCode::SUCCESS;
    }
    eprint!("{error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprint!(": {cause}");
        source = cause.source();
    }
    eprintln!();
    ExitCode::FAILURE
}
