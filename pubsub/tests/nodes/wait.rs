//! Waiting, with an end to every hang.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Bounds a hang. No test takes as long unless it fails.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// Runs something on a thread of its own.
///
/// # Panics
/// If it panics, or hangs.
#[track_caller]
pub(crate) fn within_hang<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait_done) = mpsc::channel::<()>();
    let thread = thread::spawn(move || {
        let _done = done;
        run()
    });
    let ended = wait_done.recv_timeout(HANG);
    assert_ne!(ended, Err(mpsc::RecvTimeoutError::Timeout), "it hangs");
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Waits until a condition holds.
///
/// # Panics
/// If it does not.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < HANG, "not within {HANG:?}: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
///
/// # Panics
/// If it hangs.
#[track_caller]
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    let start = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let left = HANG.checked_sub(start.elapsed()).expect("it hangs");
        thread::park_timeout(left);
    }
}
