//! How often messages come, by eCAL's formula, so that its tools and ferrocal's show the same.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// The times of an entity's messages, in microseconds since the Unix epoch. One thread at a time writes, but for publishers
/// without a subscriber: if several threads send then, the last of their times counts.
#[derive(Debug)]
pub(crate) struct Ticks {
    /// The first one since there was none for long, or [`NONE`].
    first_us: AtomicI64,
    last_us: AtomicI64,
    /// The frequency in hertz, as measured last: the bits of an `f64`.
    frequency: AtomicU64,
}

const NONE: i64 = i64::MIN;

impl Default for Ticks {
    fn default() -> Self {
        Self {
            first_us: AtomicI64::new(NONE),
            last_us: AtomicI64::new(0),
            frequency: AtomicU64::new(0f64.to_bits()),
        }
    }
}

impl Ticks {
    /// Stores the times of the first and the last of some messages, before they are counted.
    pub(crate) fn add(&self, first_us: i64, last_us: i64) {
        if self.first_us.load(Ordering::Relaxed) == NONE {
            self.first_us.store(first_us, Ordering::Relaxed);
        }
        self.last_us.store(last_us, Ordering::Relaxed);
    }

    /// The frequency in hertz, as measured last.
    pub(crate) fn frequency(&self) -> f64 {
        f64::from_bits(self.frequency.load(Ordering::Relaxed))
    }
}

/// Measures the frequency of an entity's messages: the mean between the last message before one measurement and the last
/// one before the next.
///
/// Slow topics keep their frequency for three periods. As eCAL's, but an interval without length is no infinite frequency.
#[derive(Debug, Default)]
pub(crate) struct Frequency {
    window: Option<Window>,
    /// Messages at the latest measurement.
    seen: u64,
    hertz: f64,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    start_us: i64,
    /// Messages up to the start.
    messages: u64,
}

/// How many periods without a message end it.
const PERIODS: f64 = 3.0;

impl Frequency {
    /// Measures at the time `now_us`, when there were `messages` messages. Returns hertz.
    pub(crate) fn measure(&mut self, ticks: &Ticks, messages: u64, now_us: i64) -> f64 {
        let hertz = self.next(ticks, messages, now_us);
        ticks.frequency.store(hertz.to_bits(), Ordering::Relaxed);
        hertz
    }

    fn next(&mut self, ticks: &Ticks, messages: u64, now_us: i64) -> f64 {
        let has_ticked = messages > self.seen;
        let before = std::mem::replace(&mut self.seen, messages);
        let window = match self.window {
            Some(window) => window,
            None if has_ticked => match ticks.first_us.load(Ordering::Relaxed) {
                NONE => return 0.0,
                start_us => Window { start_us, messages: before + 1 },
            },
            None => return 0.0,
        };
        let last_us = ticks.last_us.load(Ordering::Relaxed);
        let elapsed_us = last_us.saturating_sub(window.start_us);
        // No time has passed, or the clock was set back: it begins anew.
        self.window = Some(Window { start_us: last_us, messages });
        if elapsed_us > 0 && messages > window.messages {
            self.hertz = (messages - window.messages) as f64 * 1e6 / elapsed_us as f64;
        } else if elapsed_us == 0 && messages > window.messages {
            self.window = Some(window);
        }
        let silent_us = now_us.saturating_sub(last_us) as f64;
        if !has_ticked && silent_us * self.hertz > PERIODS * 1e6 {
            ticks.first_us.store(NONE, Ordering::Relaxed);
            *self = Self { seen: messages, ..Self::default() };
        }
        self.hertz
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is measured each second of a topic with a message each `period_us`, up to the message of `silent_from_us`.
    fn measured(period_us: i64, silent_from_us: i64, seconds: i64) -> Vec<f64> {
        let (ticks, mut frequency, mut messages) = (Ticks::default(), Frequency::default(), 0);
        let each_second = (1..=seconds).map(|second| {
            while let at = messages as i64 * period_us + 1
                && at <= (second * 1_000_000).min(silent_from_us)
            {
                ticks.add(at, at);
                messages += 1;
            }
            frequency.measure(&ticks, messages, second * 1_000_000)
        });
        each_second.collect()
    }

    #[test]
    fn the_mean_between_two_measurements_is_exact_for_every_rate() {
        assert_eq!(measured(2_500_000, i64::MAX, 8), [0.0, 0.0, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4]);
        assert_eq!(measured(400_000, i64::MAX, 4), [2.5; 4]);
        assert_eq!(measured(100_000, i64::MAX, 4), [10.0; 4]);
        assert_eq!(measured(1000, i64::MAX, 4), [1000.0; 4]);
    }

    #[test]
    fn a_topic_falls_silent_after_three_periods_and_starts_anew() {
        // The last message at 3.2 s: the next three would be due until 4.4 s.
        assert_eq!(measured(400_000, 3_200_001, 6), [2.5, 2.5, 2.5, 2.5, 0.0, 0.0]);
        let (ticks, mut frequency) = (Ticks::default(), Frequency::default());
        ticks.add(1, 1_000_001);
        assert_eq!(frequency.measure(&ticks, 11, 1_000_001), 10.0);
        assert_eq!(frequency.measure(&ticks, 11, 9_000_000), 0.0);
        ticks.add(9_500_000, 9_500_000);
        assert_eq!(frequency.measure(&ticks, 12, 10_000_000), 0.0, "one message has no frequency");
        ticks.add(10_000_000, 10_000_000);
        assert_eq!(frequency.measure(&ticks, 13, 10_000_000), 2.0);
    }

    #[test]
    fn many_measurements_lose_no_message() {
        let (ticks, mut frequency) = (Ticks::default(), Frequency::default());
        ticks.add(0, 0);
        for now in 0..5 {
            assert_eq!(frequency.measure(&ticks, 1, now), 0.0);
        }
        ticks.add(100_000, 100_000);
        for now in 100_000..100_005 {
            assert_eq!(frequency.measure(&ticks, 2, now), 10.0);
        }
    }

    #[test]
    fn times_from_the_network_give_no_nonsense() {
        let (ticks, mut frequency) = (Ticks::default(), Frequency::default());
        let mut messages = 0;
        for [first, last, now] in [
            [5, 5, 0],
            [i64::MAX, i64::MIN + 1, i64::MAX],
            [i64::MIN, i64::MIN, i64::MIN],
            [0, 0, i64::MAX],
            [i64::MAX, i64::MAX, i64::MIN],
        ] {
            ticks.add(first, last);
            messages += 2;
            for messages in [messages, messages] {
                let hertz = frequency.measure(&ticks, messages, now);
                assert!(hertz.is_finite() && hertz >= 0.0, "{hertz}");
            }
        }
    }
}
