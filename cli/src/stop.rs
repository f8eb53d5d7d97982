//! Ends a program in good order.

use std::io;
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
    pub(crate) fn on_signals() -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let stop = Self(shared.clone());
        on_each_signal(move || {
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

/// Calls `f` for each of the signals that ask to end, on a thread. SIGHUP stays ignored if it is so at the start: `nohup` asks for
/// that. SIGINT does not, as shells have it ignored by what scripts start in the background, and end it by that all the same.
#[cfg(unix)]
fn on_each_signal(mut f: impl FnMut() + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let hangup = (!is_ignored(&status, SIGHUP)).then_some(SIGHUP);
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM].into_iter().chain(hangup))?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || signals.forever().for_each(|_| f()))
        .map(drop)
}

#[cfg(not(unix))]
fn on_each_signal(f: impl FnMut() + Send + 'static) -> io::Result<()> {
    ctrlc::set_handler(f).map_err(io::Error::other)
}

/// Whether Linux' `/proc/PID/status` says that a process ignores a signal.
#[cfg(unix)]
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(all(test, unix))]
mod tests {
    #[test]
    fn what_nohup_ignores_is_found() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000180004002\n";
        let ignored = [1, 2, 13, 15].map(|signal| super::is_ignored(status, signal));
        assert_eq!(ignored, [true, false, true, false]);
        assert!(!super::is_ignored("", 1));
    }
}
