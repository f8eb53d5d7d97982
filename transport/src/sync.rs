//! What threads share.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::seam::Interrupt;

/// Locks a mutex, also after a panic of a thread that held it.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes a thread that waits for something to happen.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_notified: bool,
    is_interrupted: bool,
}

impl Signal {
    /// Ends the present or the next wait.
    pub(crate) fn notify(&self) {
        lock(&self.state).is_notified = true;
        self.changed.notify_all();
    }

    /// Waits for a notification until `deadline`; for ever if there is none. Returns whether there was one.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        while !state.is_notified && !state.is_interrupted {
            state = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => return false,
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        std::mem::take(&mut state.is_notified) && !state.is_interrupted
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        lock(&self.state).is_interrupted
    }
}

impl Interrupt for Signal {
    fn interrupt(&self) {
        lock(&self.state).is_interrupted = true;
        self.changed.notify_all();
    }
}
