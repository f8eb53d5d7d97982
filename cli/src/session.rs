//! What every verb works with: the settings, a node, standard output, and the end.

use std::cell::{RefCell, RefMut};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use ferrocal::{Config, Mode, Node, Selection};

use crate::args::{Common, ModeOption};
use crate::exit::Exit;
use crate::output::Output;
use crate::recording::Kind;
use crate::stop::Stop;

/// What every verb works with.
pub(crate) struct Session {
    /// The options of every verb.
    pub(crate) common: Common,
    stop: Stop,
    started: Instant,
    out: RefCell<Output>,
}

/// Why a verb is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// `--duration` is over.
    Deadline,
    /// Ctrl-C was pressed, or a signal came.
    Stopped,
}

impl Session {
    /// Starts the time of `--duration`, and watches for Ctrl-C.
    pub(crate) fn start(common: Common) -> anyhow::Result<Self> {
        let stop = Stop::on_signals().context("signals cannot be watched")?;
        Ok(Self { common, stop, started: Instant::now(), out: RefCell::new(Output::new()) })
    }

    /// Standard output. It must not be borrowed twice at once.
    pub(crate) fn out(&self) -> RefMut<'_, Output> {
        self.out.borrow_mut()
    }

    /// The settings: those of the computer, and what the command line says otherwise.
    ///
    /// Refuses an interface that would be ignored.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let settings = self.settings()?;
        if self.common.interface.is_some() && settings.mode == Mode::Local {
            let message = "--interface chooses an interface of network mode, and local mode uses loopback alone; add --mode \
                           network, or leave --interface out";
            return Err(Exit::Usage.because(message));
        }
        Ok(settings)
    }

    /// The settings, for those whom an interface concerns in local mode, too.
    pub(crate) fn settings(&self) -> anyhow::Result<Config> {
        let Common { mode, interface, transport, config, .. } = &self.common;
        let mut settings = match config {
            Some(path) => Config::load_file(path)?,
            None => Config::load()?,
        };
        match mode {
            Some(ModeOption::Local) => settings.mode = Mode::Local,
            Some(ModeOption::Network) => settings.mode = Mode::Network,
            None => {}
        }
        if let Some(interface) = interface {
            settings.udp.interfaces = vec![interface.clone()];
        }
        if let Some(transport) = transport {
            settings.transport = transport.clone();
        }
        if let Some(path) = capture(&settings)
            && let Ok(kind @ (Kind::Mcap | Kind::Measurement)) = Kind::of(path)
        {
            return Err(Exit::Usage.because(not_a_capture(path, kind)));
        }
        if mode.is_none() && is_replay(&settings) {
            // What comes of a capture is of any host.
            settings.mode = Mode::Network;
        }
        Ok(settings)
    }

    /// Opens a node of these settings. Others see it as `ferrocal VERB`.
    ///
    /// It writes no log of eCAL to a file or the console: what the library logs goes to standard error.
    pub(crate) fn open(&self, verb: &str, mut config: Config) -> anyhow::Result<Node> {
        config.logging.console.enable = false;
        config.logging.file.enable = false;
        Ok(Node::with_config(&format!("ferrocal {verb}"), config)?)
    }

    /// Why to end, if it is time to.
    pub(crate) fn end(&self) -> Option<End> {
        if self.stop.is_requested() {
            Some(End::Stopped)
        } else if self.left() == Some(Duration::ZERO) {
            Some(End::Deadline)
        } else {
            None
        }
    }

    /// What is left of `--duration`.
    pub(crate) fn left(&self) -> Option<Duration> {
        Some(self.common.duration?.saturating_sub(self.started.elapsed()))
    }

    /// How long to wait for something else before asking for the [end](Self::end), `timeout` at most.
    pub(crate) fn slice(&self, timeout: Duration) -> Duration {
        self.left().unwrap_or(Duration::MAX).min(timeout).min(Stop::INTERVAL)
    }

    /// Waits, until it is time to end at most. Returns why to end.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<End> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let left = deadline.map_or(Duration::MAX, |one| one.saturating_duration_since(Instant::now()));
            let end = self.end();
            if end.is_some() || left.is_zero() {
                return end;
            }
            self.stop.wait(self.left().unwrap_or(Duration::MAX).min(left).min(Duration::from_secs(3600)));
        }
    }
}

/// What to do with a recording that was given as a capture file.
fn not_a_capture(path: &Path, kind: Kind) -> String {
    let shown = path.display();
    match kind {
        Kind::Mcap => format!(
            "{shown} is a recording, not a capture file: `ferrocal rec-info` shows what it holds, `ferrocal play` publishes \
             it, and `ferrocal convert {shown} NAME.pcap` makes a capture file of it"
        ),
        _ => format!(
            "{shown} is a measurement, not a capture file: `ferrocal rec-info` shows what it holds, and `ferrocal convert \
             {shown} NAME.mcap` makes a recording of it"
        ),
    }
}

/// Whether a capture is replayed, which has an end.
pub(crate) fn is_replay(config: &Config) -> bool {
    matches!(config.transport, Selection::File(_) | Selection::FileFast(_))
}

/// The capture file that is replayed, if it is one that can be read twice.
pub(crate) fn capture(config: &Config) -> Option<&Path> {
    match &config.transport {
        Selection::File(path) | Selection::FileFast(path) if path.is_file() => Some(path),
        _ => None,
    }
}
