//! What to say when no message comes.

use std::time::{Duration, Instant};

use ferrocal::{Config, captured_topics};

use crate::exit::Exit;
use crate::network::place;
use crate::output::{clean, tell};
use crate::session::capture;

/// How long no message may come before this is explained. Publishers are found within two seconds.
const SILENCE: Duration = Duration::from_secs(5);

/// Explains once, on standard error, why no message may have come.
pub(crate) struct Silence {
    started: Instant,
    is_explained: bool,
}

impl Silence {
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), is_explained: false }
    }

    /// To be called while no message has come.
    pub(crate) fn wait(&mut self, topic: &str, publishers: usize, config: &Config) {
        if !self.is_explained && self.started.elapsed() >= SILENCE {
            self.is_explained = true;
            tell!("no message on topic `{}` yet; {}", clean(topic), found(publishers, config));
        }
    }
}

/// The error that no message came.
pub(crate) fn nothing(topic: &str, publishers: usize, config: &Config) -> anyhow::Error {
    let reason = found(publishers, config);
    Exit::NotFound.because(format!("no message came on topic `{}`; {reason}", clean(topic)))
}

fn found(publishers: usize, config: &Config) -> String {
    match publishers {
        _ if capture(config).is_some() => "the capture is over".to_owned(),
        0 => format!("no publisher of it was found {}", place(config)),
        1 => "it has a publisher".to_owned(),
        more => format!("it has {more} publishers"),
    }
}

/// Refuses a topic that a capture file has no messages of, and names those that it has.
pub(crate) fn check_capture(topic: &str, config: &Config) -> anyhow::Result<()> {
    let Some(path) = capture(config) else { return Ok(()) };
    let topics = captured_topics(path, config)?;
    if topics.iter().any(|one| one.name == topic && one.messages > 0) {
        return Ok(());
    }
    const MAX_NAMED: usize = 20;
    let named: Vec<_> = topics.iter().filter(|one| one.messages > 0).map(|one| clean(&one.name)).collect();
    let held = match named.len() {
        0 => "any messages".to_owned(),
        len if len > MAX_NAMED => format!("; it has {len} others, which `ferrocal list` shows"),
        _ => format!("; it has {}", named.join(", ")),
    };
    let topic = clean(topic);
    Err(Exit::NotFound.because(match named.is_empty() {
        true => format!("{} has no messages", path.display()),
        false => format!("{} has no messages of topic `{topic}`{held}", path.display()),
    }))
}
