//! The system's time of day, read seldom.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The system's time at an [`Instant`], without reading a clock each time.
#[derive(Debug)]
pub(crate) struct WallClock {
    start: Instant,
    /// The system's time at `start`, in nanoseconds since the Unix epoch. Changes when that clock is set.
    start_ns: AtomicU64,
    /// The second after `start` in which that was last looked at.
    checked: AtomicU64,
}

impl WallClock {
    pub(crate) fn new() -> Self {
        let clock = Self { start: Instant::now(), start_ns: AtomicU64::new(0), checked: AtomicU64::new(0) };
        clock.check();
        clock
    }

    /// The system's time at `instant`, in nanoseconds since the Unix epoch. The clock is looked at once a second.
    pub(crate) fn at_ns(&self, instant: Instant) -> u64 {
        let since = instant.saturating_duration_since(self.start);
        if self.checked.load(Ordering::Relaxed) != since.as_secs() {
            self.checked.store(since.as_secs(), Ordering::Relaxed);
            self.check();
        }
        let since_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self.start_ns.load(Ordering::Relaxed).saturating_add(since_ns)
    }

    fn check(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = now.saturating_sub(self.start.elapsed());
        self.start_ns.store(u64::try_from(start.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_wall_clock_follows_the_systems() {
        let clock = WallClock::new();
        let (instant, time) = (Instant::now(), SystemTime::now());
        let off = |at_ns| {
            let at = UNIX_EPOCH + Duration::from_nanos(at_ns);
            at.duration_since(time).unwrap_or_else(|error| error.duration())
        };
        assert!(off(clock.at_ns(instant)) < Duration::from_secs(60));
        // As if the system's clock had been set by an hour meanwhile.
        clock.start_ns.fetch_add(3_600_000_000_000, Ordering::Relaxed);
        assert!(off(clock.at_ns(instant)) > Duration::from_secs(3000));
        assert!(off(clock.at_ns(instant + Duration::from_secs(1))) < Duration::from_secs(60));
    }
}
