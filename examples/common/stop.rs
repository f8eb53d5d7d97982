//! Ends a program in good order.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether the program is to end: Ctrl-C was pressed or, on Unix, SIGTERM or SIGHUP came.
///
/// The program then returns from `main`. This drops its publishers, subscribers and nodes, and so announces to others
/// that they are gone. A program that is killed announces nothing: others notice it only when its registration expires.
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The longest time to wait for anything else without asking [`is_requested`](Self::is_requested).
    pub(crate) const INTERVAL: Duration = Duration::from_millis(100);

    /// Watches the signals from now on.
    ///
    /// # Errors
    /// When the system refuses that, or the program watches them already.
    pub(crate) fn on_signals() -> Result<Self, ctrlc::Error> {
        let requested = Arc::new(AtomicBool::new(false));
        let stop = Self(requested.clone());
        ctrlc::set_handler(move || {
            if requested.swap(true, Ordering::Relaxed) {
                // The second signal ends the program at once, in case it hangs.
                process::exit(1);
            }
        })?;
        Ok(stop)
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
