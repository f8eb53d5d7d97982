//! The time of day that a node goes by.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
        us_since_epoch(match &self.source {
            Source::System(_) => SystemTime::now(),
            Source::Program(function) => function.now(),
            Source::Sim { .. } => self.at(Instant::now()),
        })
    }

    /// The time at `instant`, which is now or a moment ago.
    pub(crate) fn at(&self, instant: Instant) -> SystemTime {
        match &self.source {
            Source::System(system) => system.at(instant),
            Source::Program(function) => function.now(),
            Source::Sim { system, known } => match *lock(known) {
                None => system.at(instant),
                Some((SimTime { nanoseconds, factor }, since)) => {
                    let passed = instant.saturating_duration_since(since).as_nanos() as f64 * factor;
                    // A cast of too large a number is the largest.
                    let nanoseconds = u64::try_from(nanoseconds).unwrap_or(0).saturating_add(passed as u64);
                    UNIX_EPOCH.checked_add(Duration::from_nanos(nanoseconds)).unwrap_or(UNIX_EPOCH)
                }
            },
        }
    }

    /// As [`at`](Self::at), in microseconds since the Unix epoch.
    pub(crate) fn at_us(&self, instant: Instant) -> f64 {
        self.at(instant).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1e6
    }

    /// Goes by a simulated time that was received at `instant`, if that is what the node does.
    pub(crate) fn follow(&self, time: SimTime, instant: Instant) {
        if let Source::Sim { known, .. } = &self.source {
            *lock(known) = Some((time, instant));
        }
    }
}

/// Microseconds since the Unix epoch.
pub(crate) fn us_since_epoch(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The system's time at an [`Instant`], without reading a clock each time.
#[derive(Debug)]
struct SystemClock {
    start: Instant,
    /// The system's time at `start`, in nanoseconds since the Unix epoch. Changes when that clock is set.
    start_ns: AtomicI64,
    /// The second after `start` in which that was last looked at.
    checked: AtomicU64,
}

impl SystemClock {
    fn new() -> Self {
        let clock = Self { start: Instant::now(), start_ns: AtomicI64::new(0), checked: AtomicU64::new(0) };
        clock.check();
        clock
    }

    /// The system's time at `instant`. The clock is looked at once a second.
    fn at(&self, instant: Instant) -> SystemTime {
        let since = instant.saturating_duration_since(self.start);
        if self.checked.load(Ordering::Relaxed) != since.as_secs() {
            self.checked.store(since.as_secs(), Ordering::Relaxed);
            self.check();
        }
        let start = Duration::from_nanos(u64::try_from(self.start_ns.load(Ordering::Relaxed)).unwrap_or(0));
        UNIX_EPOCH + start + since
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
        let clock = SystemClock::new();
        let (instant, time) = (Instant::now(), SystemTime::now());
        let off = |at: SystemTime| at.duration_since(time).unwrap_or_else(|error| error.duration());
        assert!(off(clock.at(instant)) < Duration::from_secs(60));
        // As if the system's clock had been set by an hour meanwhile.
        clock.start_ns.fetch_add(3_600_000_000_000, Ordering::Relaxed);
        assert!(off(clock.at(instant)) > Duration::from_secs(3000));
        assert!(off(clock.at(instant + Duration::from_secs(1))) < Duration::from_secs(60));
    }

    #[test]
    fn a_clock_of_the_program_is_all_that_counts() {
        let clock = WallClock::new(&Clock::program(|| UNIX_EPOCH + Duration::from_micros(7)));
        assert_eq!((clock.now_us(), clock.at_us(Instant::now())), (7, 7.0));
    }

    #[test]
    fn simulated_time_runs_at_its_own_rate() {
        let (clock, now) = (WallClock::new(&Clock::SimTime), Instant::now());
        assert!(clock.at(now) > UNIX_EPOCH + Duration::from_secs(1_000_000_000), "nothing is simulated yet");
        clock.follow(SimTime { nanoseconds: 5_000_000_000, factor: 2.0 }, now);
        let seconds = |after| clock.at(now + Duration::from_secs(after)).duration_since(UNIX_EPOCH).unwrap();
        assert_eq!((seconds(0), seconds(10)), (Duration::from_secs(5), Duration::from_secs(25)));
        clock.follow(SimTime { nanoseconds: 5_000_000_000, factor: 0.0 }, now);
        assert_eq!(seconds(10), Duration::from_secs(5));
        for (nanoseconds, factor) in [(i64::MIN, 1.0), (i64::MAX, 1e300)] {
            clock.follow(SimTime { nanoseconds, factor }, now);
            seconds(1_000_000);
        }
    }
}
