//! The system's time of day, read seldom.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, in microseconds since the Unix epoch.
pub(crate) fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

/// The system's time at an [`Instant`], without reading a clock each time.
#[derive(Debug)]
pub(crate) struct WallClock {
    start: Instant,
    /// The system's time at `start`, in nanoseconds since the Unix epoch. Changes when that clock is set.
    start_ns: AtomicI64,
    /// The second after `start` in which that was last looked at.
    checked: AtomicU64,
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}

impl WallClock {
    pub(crate) fn new() -> Self {
        let clock = Self { start: Instant::now(), start_ns: AtomicI64::new(0), checked: AtomicU64::new(0) };
        clock.check();
        clock
    }

    /// The system's time at `instant`. The clock is looked at once a second.
    pub(crate) fn at(&self, instant: Instant) -> SystemTime {
        let since = instant.saturating_duration_since(self.start);
        if self.checked.load(Ordering::Relaxed) != since.as_secs() {
            self.checked.store(since.as_secs(), Ordering::Relaxed);
            self.check();
        }
        let start = Duration::from_nanos(u64::try_from(self.start_ns.load(Ordering::Relaxed)).unwrap_or(0));
        UNIX_EPOCH + start + since
    }

    /// As [`at`](Self::at), in microseconds since the Unix epoch.
    pub(crate) fn at_us(&self, instant: Instant) -> f64 {
        self.at(instant).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e6
    }

    fn check(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = now.saturating_sub(self.start.elapsed());
        self.start_ns.store(i64::try_from(start.as_nanos()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_follows_the_systems() {
        let clock = WallClock::new();
        let (instant, time) = (Instant::now(), SystemTime::now());
        let off = |at: SystemTime| at.duration_since(time).unwrap_or_else(|error| error.duration());
        assert!(off(clock.at(instant)) < Duration::from_secs(60));
        // As if the system's clock had been set by an hour meanwhile.
        clock.start_ns.fetch_add(3_600_000_000_000, Ordering::Relaxed);
        assert!(off(clock.at(instant)) > Duration::from_secs(3000));
        assert!(off(clock.at(instant + Duration::from_secs(1))) < Duration::from_secs(60));
    }
}
