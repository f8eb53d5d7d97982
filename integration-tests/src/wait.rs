//! Waiting for what has no event to wait for.

use std::thread;
use std::time::{Duration, Instant};

use crate::process::HANG;

/// Waits until `condition` holds.
///
/// # Panics
/// When that does not happen.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Waits until `value` returns something, and returns it.
///
/// # Panics
/// When that does not happen.
#[track_caller]
pub fn until_some<T>(what: &str, mut value: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = value() {
            return value;
        }
        assert!(start.elapsed() < HANG, "not within {HANG:?}: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until `value` returns `expected`.
///
/// # Panics
/// When that does not happen; tells the last value.
#[track_caller]
pub fn until_eq<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, mut value: impl FnMut() -> T) {
    let start = Instant::now();
    loop {
        let now = value();
        if now == *expected {
            return;
        }
        assert!(start.elapsed() < HANG, "{what}: expected {expected:?}, and it stays {now:?}");
        thread::sleep(Duration::from_millis(2));
    }
}
