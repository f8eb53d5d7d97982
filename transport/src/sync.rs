//! What threads share.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

#[cfg(all(test, interleavings))]
use loom::sync as waiting;
#[cfg(not(all(test, interleavings)))]
use std::sync as waiting;

use crate::seam::Interrupt;

/// Locks a mutex, also after a panic of a thread that held it.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes a thread that waits for something to happen.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    state: waiting::Mutex<State>,
    changed: waiting::Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_notified: bool,
    is_interrupted: bool,
}

impl Signal {
    fn lock(&self) -> waiting::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the present or the next wait.
    pub(crate) fn notify(&self) {
        self.lock().is_notified = true;
        self.changed.notify_all();
    }

    /// Waits for a notification until `deadline`; for ever if there is none. Returns whether there was one.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
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
        self.lock().is_interrupted
    }
}

impl Interrupt for Signal {
    fn interrupt(&self) {
        self.lock().is_interrupted = true;
        self.changed.notify_all();
    }
}

/// All interleavings of threads: `./ci.sh loom`.
#[cfg(all(test, interleavings))]
mod interleavings {
    use loom::sync::Arc;
    use loom::{model, thread};

    use super::Signal;
    use crate::seam::Interrupt;

    #[test]
    fn a_notification_is_never_missed() {
        model(|| {
            let signal = Arc::new(Signal::default());
            let waiting = thread::spawn({
                let signal = signal.clone();
                move || signal.wait_until(None)
            });
            signal.notify();
            assert!(waiting.join().unwrap());
        });
    }

    #[test]
    fn an_interrupt_ends_the_wait_whatever_else_happens() {
        model(|| {
            let signal = Arc::new(Signal::default());
            let threads = [Signal::notify, Signal::interrupt].map(|act| {
                let signal = signal.clone();
                thread::spawn(move || act(&signal))
            });
            while signal.wait_until(None) {}
            assert!(signal.is_interrupted());
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert!(!signal.wait_until(None), "for good");
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_notification_ends_one_wait() {
        let signal = Signal::default();
        signal.notify();
        signal.notify();
        assert!(signal.wait_until(None));
        assert!(!signal.wait_until(Some(Instant::now())), "the time is over");
        assert!(!signal.wait_until(Instant::now().checked_add(Duration::from_millis(1))));
    }

    #[test]
    fn an_interrupt_ends_every_wait() {
        let signal = Arc::new(Signal::default());
        let waiting = thread::spawn({
            let signal = signal.clone();
            move || signal.wait_until(None)
        });
        signal.interrupt();
        assert!(!waiting.join().expect("the thread ends"));
        signal.notify();
        assert!(!signal.wait_until(None));
        assert!(signal.is_interrupted());
    }
}
