//! Ends a program in good order.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether the program is to end: Ctrl-C was pressed or, on Unix, SIGTERM came.
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
    /// When the system refuses that.
    pub(crate) fn on_signals() -> io::Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // The second signal ends the program at once, in case it hangs. The order of these two calls matters.
            flag::register_conditional_shutdown(signal, 1, requested.clone())?;
            flag::register(signal, requested.clone())?;
        }
        Ok(Self(requested))
    }

    pub(crate) fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
