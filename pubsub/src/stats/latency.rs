//! How long messages are on their way.

use std::sync::atomic::{AtomicU64, Ordering};

use super::get;

/// From the publisher's send time to the receive time of a subscriber's messages, in microseconds.
///
/// The two clocks are those of the two systems. A latency is negative if the publisher's is ahead of this system's by more
/// than the message took.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Latency {
    /// How many messages were measured, 1 at least.
    pub count: u64,
    /// Of the newest message.
    pub latest_us: f64,
    /// The shortest so far.
    pub min_us: f64,
    /// The longest so far.
    pub max_us: f64,
    /// The mean so far.
    pub mean_us: f64,
    /// The mean square of the deviations from the mean, in square microseconds. eCAL's tools show what it calls variance
    /// without the division by `count`.
    pub variance_us2: f64,
}

impl Latency {
    /// The standard deviation in microseconds.
    pub fn deviation_us(&self) -> f64 {
        self.variance_us2.sqrt()
    }
}

/// The latency of all messages of a subscriber: the bits of an `f64` each. One thread at a time writes.
#[derive(Debug, Default)]
pub(crate) struct LatencyCounter {
    count: AtomicU64,
    latest: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
    mean: AtomicU64,
    /// The sum of the squares of the deviations from the mean.
    squares: AtomicU64,
}

impl LatencyCounter {
    pub(crate) fn get(&self) -> Option<Latency> {
        let count = get(&self.count);
        (count > 0).then(|| Latency {
            count,
            latest_us: float(&self.latest),
            min_us: float(&self.min),
            max_us: float(&self.max),
            mean_us: float(&self.mean),
            variance_us2: float(&self.squares) / count as f64,
        })
    }

    /// Adds the delays of some messages.
    pub(crate) fn add(&self, delays: &Delays) {
        if delays.count == 0 {
            return;
        }
        let (before, added) = (get(&self.count), delays.count);
        let total = before + added;
        let us = |delay_ns: i64| delay_ns as f64 / 1e3;
        let added_mean = us(delays.first) + delays.sum / added as f64 / 1e3;
        let added_squares = (delays.sum_of_squares - delays.sum * delays.sum / added as f64).max(0.0) / 1e6;
        if before == 0 {
            store(&self.min, us(delays.min));
            store(&self.max, us(delays.max));
            store(&self.mean, added_mean);
            store(&self.squares, added_squares);
        } else {
            // Chan, Golub and LeVeque: the mean and the squares of two sets are those of their union.
            let (step, share) = (added_mean - float(&self.mean), added as f64 / total as f64);
            store(&self.min, us(delays.min).min(float(&self.min)));
            store(&self.max, us(delays.max).max(float(&self.max)));
            store(&self.mean, float(&self.mean) + step * share);
            store(&self.squares, float(&self.squares) + added_squares + step * step * before as f64 * share);
        }
        store(&self.latest, us(delays.latest));
        self.count.store(total, Ordering::Relaxed);
    }
}

fn float(bits: &AtomicU64) -> f64 {
    f64::from_bits(bits.load(Ordering::Relaxed))
}

fn store(bits: &AtomicU64, value: f64) {
    bits.store(value.to_bits(), Ordering::Relaxed);
}

/// The delays of messages that came together, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Delays {
    count: u64,
    latest: i64,
    min: i64,
    max: i64,
    /// What the sums are relative to, as they are more exact for small numbers.
    first: i64,
    sum: f64,
    sum_of_squares: f64,
}

impl Delays {
    pub(crate) fn push(&mut self, delay_ns: i64) {
        if self.count == 0 {
            (self.first, self.min, self.max) = (delay_ns, delay_ns, delay_ns);
        }
        self.count += 1;
        self.latest = delay_ns;
        self.min = self.min.min(delay_ns);
        self.max = self.max.max(delay_ns);
        let relative = delay_ns.saturating_sub(self.first) as f64;
        self.sum += relative;
        self.sum_of_squares += relative * relative;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_and_the_variance_do_not_depend_on_how_messages_came() {
        let delays_ns = [250_000, 240_000, 1_000_000_000, -30_000, 255_500, 250_000];
        let delays = delays_ns.map(|delay| delay as f64 / 1e3);
        let mean = delays.iter().sum::<f64>() / 6.0;
        let variance = delays.iter().map(|delay| (delay - mean) * (delay - mean)).sum::<f64>() / 6.0;
        for at_once in 1..=6 {
            let counter = LatencyCounter::default();
            assert_eq!(counter.get(), None);
            for chunk in delays_ns.chunks(at_once) {
                let mut together = Delays::default();
                chunk.iter().for_each(|&delay| together.push(delay));
                counter.add(&together);
            }
            counter.add(&Delays::default());
            let latency = counter.get().unwrap();
            assert_eq!(
                (latency.count, latency.latest_us, latency.min_us, latency.max_us),
                (6, 250.0, -30.0, 1e6)
            );
            assert!((latency.mean_us - mean).abs() < 1e-6, "{latency:?}");
            assert!((latency.variance_us2 / variance - 1.0).abs() < 1e-12, "{latency:?}");
        }
    }

    #[test]
    fn times_from_the_network_give_no_nonsense() {
        let counter = LatencyCounter::default();
        for delay in [i64::MAX, i64::MIN, 0, i64::MAX] {
            let mut delays = Delays::default();
            (0..3).for_each(|_| delays.push(delay));
            counter.add(&delays);
        }
        let latency = counter.get().unwrap();
        assert!(latency.mean_us.is_finite() && latency.deviation_us().is_finite(), "{latency:?}");
    }
}
