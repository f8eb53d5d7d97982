//! The time of day that a node goes by.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ferrocal_proto::SimTime;

use crate::config::ClockFunction;
use crate::{Clock, lock};

/// The time of day that a node goes by.
#[derive(Debug)]
pub(crate) struct WallClock {
    source: Source,
}

#[derive(Debug)]
enum Source {
    System(SystemClock),
    Program(ClockFunction),
    Sim { system: SystemClock, known: Mutex<Option<(SimTime, Instant)>> },
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new(&Clock::System)
    }
}

impl WallClock {
    pub(crate) fn new(clock: &Clock) -> Self {
        let source = match clock {
            Clock::System => Source::System(SystemClock::new()),
            Clock::Program(function) => Source::Program(function.clone()),
            Clock::SimTime => Source::Sim { system: SystemClock::new(), known: Mutex::new(None) },
        };
        Self { source }
    }

    /// Now, in microseconds since the Unix epoch.
    pub(crate) fn now_us(&self) -> i64 {
        match &self.source {
            Source::System(_) => us_since_epoch(SystemTime::now()),
            Source::Program(function) => us_since_epoch(function.now()),
            Source::Sim { .. } => (self.at_ns(Instant::now()) / 1000).cast_signed(),
        }
    }

    /// Reads it for messages that came a moment ago. A clock of the program's is called by this alone: the caller holds no
    /// lock.
    pub(crate) fn read(&self) -> Reading<'_> {
        match &self.source {
            Source::Program(function) => Reading::Now(ns_since_epoch(function.now())),
            Source::System(_) | Source::Sim { .. } => Reading::Of(self),
        }
    }

    /// The time at `instant`, which is now or a moment ago, in nanoseconds since the Unix epoch.
    pub(crate) fn at_ns(&self, instant: Instant) -> u64 {
        match &self.source {
            Source::System(system) => system.at_ns(instant),
            Source::Program(function) => ns_since_epoch(function.now()),
            Source::Sim { system, known } => match *lock(known) {
                None => system.at_ns(instant),
                Some((SimTime { nanoseconds, factor }, since)) => {
                    let passed = instant.saturating_duration_since(since).as_nanos() as f64 * factor;
                    // A cast of too large a number is the largest.
                    u64::try_from(nanoseconds).unwrap_or(0).saturating_add(passed as u64)
                }
            },
        }
    }

    /// Goes by a simulated time that was received at `instant`, if that is what the node does.
    pub(crate) fn follow(&self, time: SimTime, instant: Instant) {
        if let Source::Sim { known, .. } = &self.source {
            *lock(known) = Some((time, instant));
        }
    }
}

/// What a clock shows for messages that came a moment ago.
pub(crate) enum Reading<'a> {
    Now(u64),
    Of(&'a WallClock),
}

impl Reading<'_> {
    /// The time at `instant` in nanoseconds since the Unix epoch.
    pub(crate) fn at_ns(&self, instant: Instant) -> u64 {
        match self {
            Self::Now(now_ns) => *now_ns,
            Self::Of(clock) => clock.at_ns(instant),
        }
    }
}

/// Microseconds since the Unix epoch.
pub(crate) fn us_since_epoch(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn ns_since_epoch(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The system's time at an [`Instant`], without reading a clock each time.
#[derive(Debug)]
struct SystemClock {
    start: Instant,
    /// The system's time at `start`, in nanoseconds since the Unix epoch. Changes when that clock is set.
    start_ns: AtomicU64,
    /// The second after `start` in which that was last looked at.
    checked: AtomicU64,
}

impl SystemClock {
    fn new() -> Self {
        let clock = Self { start: Instant::now(), start_ns: AtomicU64::new(0), checked: AtomicU64::new(0) };
        clock.check();
        clock
    }

    /// The system's time at `instant`, in nanoseconds since the Unix epoch. The clock is looked at once a second.
    fn at_ns(&self, instant: Instant) -> u64 {
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
        let clock = SystemClock::new();
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

    #[test]
    fn a_clock_of_the_program_is_all_that_counts() {
        let clock = WallClock::new(&Clock::program(|| UNIX_EPOCH + Duration::from_micros(7)));
        assert_eq!((clock.now_us(), clock.read().at_ns(Instant::now())), (7, 7000));
    }

    #[test]
    fn simulated_time_runs_at_its_own_rate() {
        let (clock, now) = (WallClock::new(&Clock::SimTime), Instant::now());
        assert!(clock.at_ns(now) > 1_000_000_000_000_000_000, "nothing is simulated yet");
        clock.follow(SimTime { nanoseconds: 5_000_000_000, factor: 2.0 }, now);
        let seconds = |after| Duration::from_nanos(clock.at_ns(now + Duration::from_secs(after)));
        assert_eq!((seconds(0), seconds(10)), (Duration::from_secs(5), Duration::from_secs(25)));
        clock.follow(SimTime { nanoseconds: 5_000_000_000, factor: 0.0 }, now);
        assert_eq!(seconds(10), Duration::from_secs(5));
        for (nanoseconds, factor) in [(i64::MIN, 1.0), (i64::MAX, 1e300)] {
            clock.follow(SimTime { nanoseconds, factor }, now);
            seconds(1_000_000);
        }
    }
}
