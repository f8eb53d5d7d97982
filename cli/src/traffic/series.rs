//! Rates over time.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

/// What the graph of a rate is made of.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The rates of one direction, in bytes a second, over a window of time.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// The bytes and the time of each interval.
    samples: VecDeque<(u64, Duration)>,
    window: Duration,
    total: u64,
}

/// What a direction did.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct Rates {
    /// In the latest interval, in bytes a second.
    pub(crate) current: f64,
    /// Over the window.
    pub(crate) average: f64,
    /// Of the window's intervals, the lowest and the highest.
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// All bytes.
    pub(crate) total: u64,
}

impl Series {
    /// `total` is what was counted before.
    pub(crate) fn new(window: Duration, total: u64) -> Self {
        Self { samples: VecDeque::new(), window, total }
    }

    /// Adds an interval.
    pub(crate) fn add(&mut self, bytes: u64, time: Duration) {
        self.total = self.total.saturating_add(bytes);
        self.samples.push_back((bytes, time));
        let mut all: Duration = self.samples.iter().map(|(_, time)| *time).sum();
        while all > self.window && self.samples.len() > 1 {
            all -= self.samples.pop_front().map_or(Duration::ZERO, |(_, time)| time);
        }
    }

    pub(crate) fn rates(&self) -> Rates {
        let rates = || self.samples.iter().map(rate);
        let bytes: u64 = self.samples.iter().map(|(bytes, _)| bytes).sum();
        let time: Duration = self.samples.iter().map(|(_, time)| *time).sum();
        Rates {
            current: self.samples.back().map_or(0.0, rate),
            average: rate(&(bytes, time)),
            min: rates().reduce(f64::min).unwrap_or(0.0),
            max: rates().reduce(f64::max).unwrap_or(0.0),
            total: self.total,
        }
    }

    /// The latest rates as a graph of `width` characters. The highest one of the window is a full bar.
    pub(crate) fn graph(&self, width: usize) -> String {
        let max = self.rates().max;
        let mut graph = String::new();
        let shown = self.samples.len().min(width);
        graph.extend(std::iter::repeat_n(' ', width - shown));
        for sample in self.samples.iter().skip(self.samples.len() - shown) {
            let height = if max > 0.0 { rate(sample) / max } else { 0.0 };
            let index = (height * BARS.len() as f64).ceil() as usize;
            graph.push(BARS[index.clamp(1, BARS.len()) - 1]);
        }
        graph
    }
}

fn rate((bytes, time): &(u64, Duration)) -> f64 {
    if time.is_zero() { 0.0 } else { *bytes as f64 / time.as_secs_f64() }
}

/// A number of bytes for people, or of bits.
pub(crate) fn amount(bytes: f64, in_bits: bool) -> String {
    let (mut value, unit) = if in_bits { (bytes * 8.0, "bit") } else { (bytes, "B") };
    let mut prefixes = ["", "k", "M", "G", "T"].into_iter();
    let mut prefix = prefixes.next().unwrap_or_default();
    // 999.95 would be shown as 1000.0.
    while value >= 999.95 {
        let Some(next) = prefixes.next() else { break };
        (value, prefix) = (value / 1000.0, next);
    }
    let mut text = String::new();
    let digits = if prefix.is_empty() { 0 } else { 1 };
    let _ = write!(text, "{value:.digits$} {prefix}{unit}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_window_and_the_total_is_of_all() {
        let second = Duration::from_secs(1);
        let mut series = Series::new(second * 3, 1000);
        assert_eq!(series.rates(), Rates { total: 1000, ..Rates::default() });
        for bytes in [5000, 100, 300, 200] {
            series.add(bytes, second);
        }
        let expected = Rates { current: 200.0, average: 200.0, min: 100.0, max: 300.0, total: 6600 };
        assert_eq!(series.rates(), expected);
        assert_eq!(series.graph(5), "  ▃█▆");
        assert_eq!(series.graph(2), "█▆");
        let mut silent = Series::new(second, 0);
        silent.add(0, second);
        assert_eq!(silent.graph(1), "▁");
    }

    #[test]
    fn amounts_are_short() {
        for (bytes, in_bits, expected) in [
            (0.0, false, "0 B"),
            (999.0, false, "999 B"),
            (1000.0, true, "8.0 kbit"),
            (1_234_567.0, false, "1.2 MB"),
            (999_950.0, false, "1.0 MB"),
            (2e18, false, "2000000.0 TB"),
        ] {
            assert_eq!(amount(bytes, in_bits), expected);
        }
    }
}
