//! Ends a program in good order.

use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Whether the program is to end: Ctrl-C was pressed or, on Unix, SIGTERM or SIGHUP came.
///
/// The program then returns from `main`. This drops its publishers, subscribers and nodes, and so announces to others that
/// they are gone. A second request ends the program at once.
pub(crate) struct Stop(Arc<Shared>);

/// A signal that comes so soon after the first is the same request: `timeout` sends one to its child and one to the child's
/// group.
const SAME_REQUEST: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Shared {
    requested: Mutex<Option<Instant>>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.requested.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stop {
    /// The longest time to wait for anything else without asking [`is_requested`](Self::is_requested).
    pub(crate) const INTERVAL: Duration = Duration::from_millis(50);

    /// Watches the signals from now on.
    ///
    /// # Errors
    /// When the system refuses that, or the program watches them already.
    pub(crate) fn on_signals() -> Result<Self, ctrlc::Error> {
        let shared = Arc::<Shared>::default();
        let stop = Self(shared.clone());
        ctrlc::set_handler(move || {
            let now = Instant::now();
            let first = *shared.lock().get_or_insert(now);
            if now.duration_since(first) >= SAME_REQUEST {
                // In case it hangs.
                process::exit(130);
            }
            shared.changed.notify_all();
        })?;
        Ok(stop)
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Waits, for `timeout` at most. Returns whether the program is to end.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        let result =
            self.0.changed.wait_timeout_while(self.0.lock(), timeout, |requested| requested.is_none());
        result.unwrap_or_else(PoisonError::into_inner).0.is_some()
    }
}
