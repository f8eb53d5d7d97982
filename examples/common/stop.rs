//! Ends a program in good order.

use std::process;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Whether the program is to end: Ctrl-C was pressed or, on Unix, SIGTERM or SIGHUP came.
///
/// The program then returns from `main`. This drops its publishers, subscribers and nodes, and so announces to others
/// that they are gone. A program that is killed announces nothing: others notice it only when its registration expires.
/// A second request ends the program at once.
pub(crate) struct Stop(Arc<OnceLock<Instant>>);

/// A signal that comes so soon after the first is the same request: `timeout` sends one to its child and one to the child's
/// group.
const SAME_REQUEST: Duration = Duration::from_millis(500);

impl Stop {
    /// The longest time to wait for anything else without asking [`is_requested`](Self::is_requested).
    pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

    /// Watches the signals from now on.
    ///
    /// # Errors
    /// When the system refuses that, or the program watches them already.
    pub(crate) fn on_signals() -> Result<Self, ctrlc::Error> {
        let requested = Arc::new(OnceLock::new());
        let stop = Self(requested.clone());
        ctrlc::set_handler(move || {
            let now = Instant::now();
            let first = *requested.get_or_init(|| now);
            if now.duration_since(first) >= SAME_REQUEST {
                // In case it hangs.
                process::exit(1);
            }
        })?;
        Ok(stop)
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.get().is_some()
    }
}
