//! Measured messages, and what follows from them.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

/// A message, as it was measured on arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The time that intervals are measured by, in nanoseconds since any beginning.
    pub(crate) time_ns: i64,
    /// From the send time to the receive time.
    pub(crate) delay_ns: i64,
    /// The length of the payload in bytes.
    pub(crate) len: usize,
}

/// The samples of the latest time, and a count of all.
#[derive(Debug)]
pub(crate) struct Samples {
    window: Duration,
    kept: VecDeque<Sample>,
    /// Samples so far.
    pub(crate) count: u64,
    /// Samples that were left out for lack of room.
    pub(crate) left_out: u64,
}

/// Samples that are kept at most: ten seconds of 400 000 messages a second.
const MAX_SAMPLES: usize = 4_000_000;

/// Mean, minimum, maximum, standard deviation and 99th percentile of some values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) mean: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) deviation: f64,
    pub(crate) p99: f64,
}

/// What the samples of a window say.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figures {
    /// Samples in the window.
    pub(crate) messages: usize,
    /// From the first of them to the last one.
    pub(crate) span: Duration,
    /// Messages in a second. `None` if there are less than two.
    pub(crate) hz: Option<f64>,
    /// Bytes of payload in a second. `None` if there are less than two.
    pub(crate) bytes_per_second: Option<f64>,
    /// The time between two messages, in milliseconds.
    pub(crate) intervals_ms: Option<Summary>,
    /// The delays, in milliseconds.
    pub(crate) delays_ms: Option<Summary>,
    /// The lengths, in bytes.
    pub(crate) lens: Option<Summary>,
}

impl Samples {
    /// Keeps samples for so long.
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, kept: VecDeque::new(), count: 0, left_out: 0 }
    }

    pub(crate) fn extend(&mut self, samples: impl IntoIterator<Item = Sample>) {
        for sample in samples {
            self.count += 1;
            if self.kept.len() >= MAX_SAMPLES {
                self.left_out += 1;
                self.kept.pop_front();
            }
            self.kept.push_back(sample);
        }
    }

    /// Forgets what is older than the window; `now_ns` is of the samples' time.
    pub(crate) fn expire(&mut self, now_ns: i64) {
        let window = i64::try_from(self.window.as_nanos()).unwrap_or(i64::MAX);
        let oldest = now_ns.saturating_sub(window);
        while self.kept.front().is_some_and(|sample| sample.time_ns < oldest) {
            self.kept.pop_front();
        }
    }

    /// The time of the latest sample.
    pub(crate) fn latest_ns(&self) -> Option<i64> {
        self.kept.back().map(|sample| sample.time_ns)
    }

    pub(crate) fn figures(&self) -> Figures {
        let kept = &self.kept;
        let span_ns = match (kept.front(), kept.back()) {
            (Some(first), Some(last)) => last.time_ns.saturating_sub(first.time_ns),
            _ => 0,
        };
        let seconds = span_ns as f64 / 1e9;
        let rate = |amount: f64| (kept.len() > 1 && seconds > 0.0).then(|| amount / seconds);
        let pairs = kept.iter().zip(kept.iter().skip(1));
        // What the first sample holds was sent before the span began.
        let bytes: u64 = kept.iter().skip(1).map(|sample| sample.len as u64).sum();
        Figures {
            messages: kept.len(),
            span: Duration::from_nanos(u64::try_from(span_ns).unwrap_or(0)),
            hz: rate(kept.len().saturating_sub(1) as f64),
            bytes_per_second: rate(bytes as f64),
            intervals_ms: Summary::of(pairs.map(|(a, b)| b.time_ns.saturating_sub(a.time_ns) as f64 / 1e6)),
            delays_ms: Summary::of(kept.iter().map(|sample| sample.delay_ns as f64 / 1e6)),
            lens: Summary::of(kept.iter().map(|sample| sample.len as f64)),
        }
    }
}

impl Summary {
    /// `None` of no values.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.collect();
        if values.is_empty() {
            return None;
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        // The smallest value that 99 of 100 values do not exceed.
        let index = (values.len() * 99).div_ceil(100) - 1;
        let (below, p99, above) = values.select_nth_unstable_by(index, f64::total_cmp);
        let min = below.iter().copied().fold(*p99, f64::min);
        let max = above.iter().copied().fold(*p99, f64::max);
        Some(Self { mean, min, max, deviation: variance.sqrt(), p99: *p99 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(time_ms: i64, len: usize) -> Sample {
        Sample { time_ns: time_ms * 1_000_000, delay_ns: 250_000, len }
    }

    #[test]
    fn figures_are_those_of_the_window() {
        let mut samples = Samples::new(Duration::from_secs(1));
        samples.extend((0..=300).map(|n| sample(n * 10, 100)));
        assert_eq!((samples.latest_ns(), samples.count), (Some(3_000_000_000), 301));
        samples.expire(3_000_000_000);
        let figures = samples.figures();
        assert_eq!((figures.messages, figures.span), (101, Duration::from_secs(1)));
        assert_eq!((figures.hz, figures.bytes_per_second), (Some(100.0), Some(10_000.0)));
        let constant =
            |value| Some(Summary { mean: value, min: value, max: value, deviation: 0.0, p99: value });
        assert_eq!(figures.intervals_ms, constant(10.0));
        assert_eq!((figures.delays_ms, figures.lens), (constant(0.25), constant(100.0)));
    }

    #[test]
    fn a_rate_needs_two_messages() {
        let mut samples = Samples::new(Duration::from_secs(1));
        assert_eq!(samples.figures().lens, None);
        samples.extend([sample(5, 1)]);
        let figures = samples.figures();
        assert_eq!((figures.hz, figures.bytes_per_second, figures.intervals_ms), (None, None, None));
        assert_eq!(figures.lens.unwrap().mean, 1.0);
        samples.extend([sample(5, 1)]);
        assert_eq!(samples.figures().hz, None, "both came at the same time");
    }

    #[test]
    fn summaries_are_right() {
        let summary = Summary::of((1..=200).rev().map(f64::from)).unwrap();
        assert_eq!((summary.mean, summary.min, summary.max, summary.p99), (100.5, 1.0, 200.0, 198.0));
        assert!((summary.deviation - 57.734_305).abs() < 1e-5);
        let two = Summary::of([3.0, -1.0].into_iter()).unwrap();
        assert_eq!((two.mean, two.deviation, two.p99), (1.0, 2.0, 3.0));
    }
}
