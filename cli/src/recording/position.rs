//! Where a player is in a recording.

use std::time::{Duration, Instant};

/// Where in the recording it is, and since when.
pub(crate) struct Position {
    pub(crate) time_ns: u64,
    /// `None` in a pause.
    pub(crate) since: Option<Instant>,
    pub(crate) rate: f64,
}

impl Position {
    pub(crate) fn now(&self) -> u64 {
        let Some(since) = self.since else { return self.time_ns };
        let elapsed = (since.elapsed().as_nanos() as f64 * self.rate) as u64;
        self.time_ns.saturating_add(elapsed)
    }

    /// When a message is due. `None` if that is never, in a pause.
    pub(crate) fn due(&self, time_ns: u64) -> Option<Instant> {
        let since = self.since?;
        if self.rate <= 0.0 {
            return Some(since);
        }
        let left = time_ns.saturating_sub(self.time_ns) as f64 / self.rate;
        // A time that is too far is never reached.
        since.checked_add(Duration::from_nanos(left as u64))
    }

    /// Goes on from a place.
    pub(crate) fn set(&mut self, time_ns: u64) {
        self.time_ns = time_ns;
        if self.since.is_some() {
            self.since = Some(Instant::now());
        }
    }

    pub(crate) fn set_rate(&mut self, rate: f64) {
        self.set(self.now());
        self.rate = rate;
    }

    pub(crate) fn toggle(&mut self) {
        self.time_ns = self.now();
        self.since = if self.since.is_some() { None } else { Some(Instant::now()) };
    }
}

/// How late messages were published.
#[derive(Default)]
pub(crate) struct Lateness {
    pub(crate) count: u64,
    sum: Duration,
    pub(crate) max: Duration,
}

impl Lateness {
    pub(crate) fn add(&mut self, late: Duration) {
        self.count += 1;
        self.sum += late;
        self.max = self.max.max(late);
    }

    pub(crate) fn mean(&self) -> Duration {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX).max(1);
        self.sum / count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_absolute_times() {
        let since = Instant::now();
        let mut position = Position { time_ns: 1000, since: Some(since), rate: 2.0 };
        assert_eq!(position.due(1000), Some(since));
        assert_eq!(position.due(3000), Some(since + Duration::from_nanos(1000)));
        assert_eq!(position.due(0), Some(since), "what is over is due");
        position.toggle();
        let paused = position.now();
        assert!(paused >= 1000 && position.due(5000).is_none() && position.now() == paused);
        position.set(7000);
        position.toggle();
        assert!(position.now() >= 7000);
        position.rate = 0.0;
        assert_eq!(position.due(u64::MAX), position.since);
    }
}
