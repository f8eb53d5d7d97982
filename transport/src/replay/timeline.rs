//! When the frames of a capture are played.

use std::time::Duration;

/// The longest pause that is kept. Longer ones are shortened to it.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(10);

/// From the times at which frames were captured to those at which they are played, which never go back.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    captured: Option<Duration>,
    played: Duration,
    shortened: Shortened,
}

/// The pauses that were shortened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shortened {
    pub(super) pauses: u64,
    /// What they were shortened by in all.
    pub(super) by: Duration,
}

impl Timeline {
    /// Takes the time at which the next frame was captured.
    ///
    /// A frame that is a little older than the one before it was captured on another interface, and is played with it.
    /// One that is much older begins another capture in the same file.
    pub(super) fn advance(&mut self, time: Duration) {
        let last = *self.captured.get_or_insert(time);
        match time.checked_sub(last) {
            Some(pause) => {
                if pause > MAX_PAUSE {
                    self.shortened.pauses += 1;
                    self.shortened.by = self.shortened.by.saturating_add(pause - MAX_PAUSE);
                }
                self.played = self.played.saturating_add(pause.min(MAX_PAUSE));
                self.captured = Some(time);
            }
            None if last - time > MAX_PAUSE => self.captured = Some(time),
            None => {}
        }
    }

    /// When the latest frame is played, since the first one.
    pub(super) fn latest(&self) -> Duration {
        self.played
    }

    pub(super) fn shortened(&self) -> Shortened {
        self.shortened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(captured: &[f64]) -> (Vec<f64>, Shortened) {
        let mut timeline = Timeline::default();
        let played = captured
            .iter()
            .map(|time| {
                timeline.advance(Duration::from_secs_f64(*time));
                timeline.latest().as_secs_f64()
            })
            .collect();
        (played, timeline.shortened())
    }

    #[test]
    fn the_pace_is_kept() {
        let none = Shortened::default();
        assert_eq!(played(&[1e9, 1e9 + 0.5, 1e9 + 10.5, 1e9 + 10.5]), (vec![0.0, 0.5, 10.5, 10.5], none));
        // A little older, and then on from the newest.
        assert_eq!(played(&[5.0, 6.0, 5.5, 5.75, 7.0]), (vec![0.0, 1.0, 1.0, 1.0, 2.0], none));
        // Another capture behind the first.
        assert_eq!(played(&[1e9, 1e9 + 1.0, 5.0, 6.0]), (vec![0.0, 1.0, 1.0, 2.0], none));
    }

    #[test]
    fn long_pauses_are_shortened() {
        let day = 86_400.0;
        let (played, shortened) = played(&[0.0, 1.0, 1.0 + day, 2.0 + day, 2.0 + 3.0 * day]);
        assert_eq!(played, [0.0, 1.0, 11.0, 12.0, 22.0]);
        assert_eq!(shortened, Shortened { pauses: 2, by: Duration::from_secs(3 * 86_400 - 20) });
    }

    #[test]
    fn any_time_is_survived() {
        let mut timeline = Timeline::default();
        for _ in 0..3 {
            timeline.advance(Duration::ZERO);
            timeline.advance(Duration::MAX);
        }
        assert_eq!(timeline.latest(), 3 * MAX_PAUSE);
        assert_eq!(timeline.shortened().by, Duration::MAX);
    }
}
