//! Whether a callback is slow.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// After so many runs in half of its limit, a callback is not slow any more.
const QUICK_RUNS: u32 = 16;

/// A callback is slow once a run took longer than a limit, and until many in a row were quick.
#[derive(Debug)]
pub(super) struct Pace {
    limit: Duration,
    is_slow: AtomicBool,
    quick_runs: AtomicU32,
}

impl Pace {
    pub(super) const fn new(limit: Duration) -> Self {
        Self { limit, is_slow: AtomicBool::new(false), quick_runs: AtomicU32::new(0) }
    }

    pub(super) fn is_slow(&self) -> bool {
        self.is_slow.load(Ordering::Relaxed)
    }

    /// Stores how long a run took.
    pub(super) fn took(&self, time: Duration) {
        if time > self.limit {
            self.is_slow.store(true, Ordering::Relaxed);
            self.quick_runs.store(0, Ordering::Relaxed);
        } else if self.is_slow()
            && time < self.limit / 2
            && self.quick_runs.fetch_add(1, Ordering::Relaxed) + 1 >= QUICK_RUNS
        {
            self.is_slow.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_callback_is_slow_after_one_slow_run_and_until_many_quick_ones() {
        let limit = Duration::from_millis(1);
        let pace = Pace::new(limit);
        pace.took(limit);
        assert!(!pace.is_slow());
        pace.took(limit * 2);
        assert!(pace.is_slow());
        for _ in 1..QUICK_RUNS {
            pace.took(Duration::ZERO);
        }
        assert!(pace.is_slow());
        pace.took(Duration::ZERO);
        assert!(!pace.is_slow());
    }
}
