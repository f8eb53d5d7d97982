//! Keys that are pressed while something runs.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

pub(crate) use crossterm::event::KeyCode;
use crossterm::event::{self, Event, KeyEventKind};
use crossterm::terminal;

/// Keys that are pressed, if the program has a terminal for itself. Ctrl-C works as always.
pub(crate) struct Keys {
    pressed: Option<Receiver<KeyCode>>,
    is_ended: Arc<AtomicBool>,
    is_raw: bool,
}

impl Keys {
    /// Reads keys from now on, until it is dropped.
    pub(crate) fn start() -> Self {
        let mut keys = Self::none();
        if is_foreground() && terminal::enable_raw_mode().is_ok() {
            keys.is_raw = true;
            keep_signals_and_lines();
            let (sender, pressed) = channel();
            let is_ended = keys.is_ended.clone();
            let read = move || {
                while !is_ended.load(Ordering::Relaxed) {
                    if !event::poll(Duration::from_millis(50)).unwrap_or(false) {
                        continue;
                    }
                    let Ok(event) = event::read() else { break };
                    if let Event::Key(key) = event
                        && key.kind != KeyEventKind::Release
                        && sender.send(key.code).is_err()
                    {
                        break;
                    }
                }
            };
            // Nobody waits for it: crossterm's `poll` never returns once the terminal was closed.
            let _ = thread::Builder::new().name("keys".into()).spawn(read);
            keys.pressed = Some(pressed);
        }
        keys
    }

    /// Reads none.
    pub(crate) fn none() -> Self {
        Self { pressed: None, is_ended: Arc::default(), is_raw: false }
    }

    /// Whether keys are read.
    pub(crate) fn are_read(&self) -> bool {
        self.pressed.is_some()
    }

    /// Waits for a key, for `timeout` at most.
    pub(crate) fn wait(&mut self, timeout: Duration) -> Option<KeyCode> {
        let Some(pressed) = &self.pressed else {
            thread::sleep(timeout);
            return None;
        };
        let result = if timeout.is_zero() {
            pressed.try_recv().map_err(|_| RecvTimeoutError::Timeout)
        } else {
            pressed.recv_timeout(timeout)
        };
        match result {
            Ok(key) => Some(key),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.pressed = None;
                None
            }
        }
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::Relaxed);
        if self.is_raw {
            let _ = terminal::disable_raw_mode();
        }
    }
}

/// Whether this program may change the terminal. One in the background is stopped when it does.
fn is_foreground() -> bool {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    #[cfg(unix)]
    let is_foreground = || {
        rustix::termios::tcgetpgrp(std::io::stdin()).is_ok_and(|group| group == rustix::process::getpgrp())
    };
    #[cfg(not(unix))]
    let is_foreground = || true;
    is_terminal && is_foreground()
}

/// Has Ctrl-C send its signal, and a line begin at the left, as without raw mode.
fn keep_signals_and_lines() {
    #[cfg(unix)]
    {
        use rustix::termios::{LocalModes, OptionalActions, OutputModes, tcgetattr, tcsetattr};
        if let Ok(mut termios) = tcgetattr(std::io::stdin()) {
            termios.local_modes |= LocalModes::ISIG;
            termios.output_modes |= OutputModes::OPOST;
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &termios);
        }
    }
}
