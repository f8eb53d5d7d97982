//! `monitor`: a live view in the terminal.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anstream::{AutoStream, ColorChoice};
use anyhow::Context;
use ferrocal::{Config, LogReceiver, Mode, Node, Subscriber};
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::terminal;

use crate::exit::Exit;
use crate::logger;
use crate::monitor::details::Arrived;
use crate::monitor::look::{Look, is_utf8_locale};
use crate::monitor::message::MAX_DECODED;
use crate::monitor::model::{Action, Model};
use crate::monitor::tabs::{Tab, facts};
use crate::monitor::terminal::Screen;
use crate::monitor::view;
use crate::network::Network;
use crate::payload::Any;
use crate::session::{End, Session, is_replay};

/// Watch topics, processes, hosts, services, the log and the traffic, live in the terminal.
///
/// Keys are shown on the screen; ? shows all of them, and q quits. The screen is drawn anew ten times a second at most. Only
/// the topic whose details are shown is received and decoded. --count ends after so many refreshes.
#[derive(clap::Args)]
pub(crate) struct Monitor {
    /// Show the details of this topic at first.
    #[arg(conflicts_with = "tab")]
    topic: Option<String>,
    /// Show this tab at first.
    #[arg(long, value_enum)]
    tab: Option<Tab>,
    /// Show only rows with this text at first.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Use ASCII only [default: unless the locale is UTF-8; on Windows, not].
    #[arg(long)]
    ascii: bool,
}

/// How often what is registered is looked at.
const REFRESH: Duration = Duration::from_millis(500);
/// How often log lines and the messages of a topic are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// The shortest time between two screens.
const FRAME: Duration = Duration::from_millis(100);

impl Monitor {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        if session.common.json {
            return Err(Exit::Usage.because(
                "monitor is a view for people, and has no --json; `ferrocal list --watch --json` prints the topics for programs",
            ));
        }
        check_terminal()?;
        let node = session.open("monitor", session.config()?)?;
        let network = Network::of(session, node.clone());
        let mut model = Model::new(self.look(), place(node.config()));
        model.data.is_replay = is_replay(node.config());
        model.show(self.tab.unwrap_or(Tab::Topics));
        if let Some(topic) = &self.topic {
            model.show_topic(topic.clone());
        }
        if let Some(filter) = &self.filter {
            model.filter(filter);
        }
        let logs = node.logs();
        if let Err(error) = &logs {
            model.no_log(error.to_string());
        }
        let mut live =
            Live { session, node, network, logs: logs.ok(), subscription: None, model, refreshes: 0 };
        let held = logger::hold();
        let screen = Screen::take(live.model.look.has_colour).context("the terminal cannot be used")?;
        let result = live.run(screen, &held);
        if session.end() == Some(End::Stopped) {
            // A terminal that was closed cannot be drawn on.
            return Ok(Exit::Fine);
        }
        result.context("the terminal cannot be used")?;
        Ok(Exit::Fine)
    }

    fn look(&self) -> Look {
        let is_unicode = cfg!(windows) || is_utf8_locale(|name| std::env::var(name).ok());
        Look {
            has_colour: AutoStream::choice(&io::stdout()) != ColorChoice::Never,
            is_unicode: is_unicode && !self.ascii,
        }
    }
}

/// Refuses what cannot show a screen.
fn check_terminal() -> anyhow::Result<()> {
    if !io::stdout().is_terminal() {
        return Err(Exit::Usage.because(
            "standard output is no terminal, which monitor needs; `ferrocal list --watch` prints lines in place of it",
        ));
    }
    if cfg!(unix) && std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        return Err(Exit::Failed.because(
            "the terminal cannot move its cursor, as TERM says; `ferrocal list --watch` prints lines in place of monitor",
        ));
    }
    let (width, height) = terminal::size().context("the terminal does not say how large it is")?;
    match view::too_small(width, height) {
        Some(message) => Err(Exit::Failed.because(message)),
        None => Ok(()),
    }
}

fn place(config: &Config) -> &'static str {
    match config.mode {
        _ if is_replay(config) => "capture",
        Mode::Local => "this host only",
        _ => "network",
    }
}

/// Keys, and changes of the size, from now on.
///
/// A thread reads them, because crossterm's `poll` never returns once the terminal was closed. The thread ends with the
/// program.
fn events() -> io::Result<Receiver<Event>> {
    let (sender, events) = mpsc::channel();
    let read = move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("keys".to_owned()).spawn(read)?;
    Ok(events)
}

/// The model, and where its content comes from.
struct Live<'a> {
    session: &'a Session,
    node: Node,
    network: Network<'a>,
    logs: Option<LogReceiver>,
    /// The topic that is received, and its subscriber if it has one.
    subscription: Option<(String, Option<Subscriber<Any<MAX_DECODED>>>)>,
    model: Model,
    refreshes: u64,
}

impl Live<'_> {
    /// Goes on until it is to end.
    fn run(&mut self, mut screen: Screen, held: &logger::Held) -> io::Result<()> {
        let start = Instant::now();
        let (mut refresh, mut look, mut drawn) = (start, start, None::<Instant>);
        let events = events()?;
        let mut is_changed = true;
        loop {
            let now = Instant::now();
            if now >= refresh {
                refresh = now + REFRESH;
                self.refresh(now);
                is_changed = true;
            }
            if now >= look {
                look = now + LOOK;
                is_changed |= self.look(now, held);
            }
            let may_draw = drawn.is_none_or(|at| now >= at + FRAME);
            if is_changed && may_draw {
                screen.draw(|frame| view::draw(frame, &mut self.model))?;
                (is_changed, drawn) = (false, Some(now));
            }
            let is_enough = self.session.common.count.is_some_and(|count| self.refreshes >= count);
            if is_enough || self.session.end().is_some() {
                return Ok(());
            }
            // A change that waits for its time is drawn then.
            let draw = drawn.filter(|_| is_changed).map_or(refresh, |at| at + FRAME);
            let next = refresh.min(look).min(draw);
            let timeout = self.session.slice(next.saturating_duration_since(Instant::now()));
            match events.recv_timeout(timeout) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(io::Error::other("it has no keys")),
                // All that waits, so that drawing does not run behind the keys.
                Ok(event) => {
                    for event in [event].into_iter().chain(events.try_iter()) {
                        let Event::Key(key) = event else { continue };
                        match self.model.key(key) {
                            Action::Nothing => {}
                            Action::Redraw => screen.clear()?,
                            Action::Quit => return Ok(()),
                        }
                    }
                    is_changed = true;
                    self.subscribe();
                }
            }
        }
    }

    /// Takes what is registered.
    fn refresh(&mut self, now: Instant) {
        let facts = facts(&self.node.status(), self.network.refused());
        self.model.update(now, self.network.snapshot().into(), facts);
        self.refreshes += 1;
        self.subscribe();
    }

    /// Takes log lines and messages. Returns whether they change the screen.
    fn look(&mut self, now: Instant, held: &logger::Held) -> bool {
        let before = self.model.log_count();
        self.model.own_log(held.take());
        if let Some(logs) = &self.logs {
            self.model.log(std::iter::from_fn(|| logs.try_recv()));
            self.model.log_lost(logs.stats().queue_full);
        }
        let mut is_changed = self.model.log_count() > before;
        if let Some((_, Some(subscriber))) = &self.subscription {
            // The queue holds one message, the newest, so that no other is decoded.
            let message = if self.model.is_paused { None } else { subscriber.try_recv() };
            is_changed |= self.model.received(now, message.map(Arrived::from), subscriber.stats());
        }
        is_changed
    }

    /// Receives the topic that is shown, and no other.
    fn subscribe(&mut self) {
        let wanted = self.model.topic();
        if self.subscription.as_ref().map(|(topic, _)| topic.as_str()) == wanted {
            return;
        }
        self.subscription = None;
        let Some(topic) = wanted.map(str::to_owned) else { return };
        let config = self.node.config().subscriber.clone().queue_len(1);
        let subscriber = self.node.subscriber_with::<Any<MAX_DECODED>>(&topic, config);
        if let Err(error) = &subscriber {
            self.model.not_subscribed(error.to_string());
        }
        self.subscription = Some((topic, subscriber.ok()));
    }
}
