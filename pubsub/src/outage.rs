//! Something that does not work for a while: what of that is news.

use std::time::{Duration, Instant};

/// What fails now and then has not worked in between, for who reads the log.
const CALM: Duration = Duration::from_secs(5);

/// Something that may fail for a while.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// When it failed last, if it is not over.
    failed: Option<Instant>,
}

impl Outage {
    /// Takes note of a failure. Returns whether it is the first.
    pub(crate) fn failed(&mut self) -> bool {
        self.failed.replace(Instant::now()).is_none()
    }

    /// Takes note of a success. Returns whether the failures are over with it: there was none for some seconds.
    pub(crate) fn worked(&mut self) -> bool {
        self.failed.is_some() && self.worked_at(Instant::now())
    }

    fn worked_at(&mut self, now: Instant) -> bool {
        self.failed.take_if(|failed| now.saturating_duration_since(*failed) >= CALM).is_some()
    }

    /// Whether it has failed, and that is not over.
    pub(crate) fn is_on(&self) -> bool {
        self.failed.is_some()
    }
}

/// How often the log says what others can cause as often as they like: 32 times a minute.
#[derive(Debug, Default)]
pub(crate) struct LogBudget {
    /// When the minute began.
    since: Option<Instant>,
    lines: u32,
}

impl LogBudget {
    /// Takes note of a line. Returns its end, or `None` if it is not to be logged.
    pub(crate) fn take(&mut self, now: Instant) -> Option<&'static str> {
        const MINUTE: Duration = Duration::from_secs(60);
        const MAX_LINES: u32 = 32;
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= MINUTE) {
            *self = Self { since: Some(now), lines: 0 };
        }
        if self.lines == MAX_LINES {
            return None;
        }
        self.lines += 1;
        Some(if self.lines == MAX_LINES { "; no more like this is logged for a minute" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_so_much_a_minute() {
        let (mut budget, start) = (LogBudget::default(), Instant::now());
        for minute in 0..3 {
            let at = |seconds: u64| start + Duration::from_secs(60 * minute + seconds);
            let ends: Vec<_> = (0..60).filter_map(|second| budget.take(at(second))).collect();
            assert_eq!((ends.len(), ends[30], ends[31].is_empty()), (32, "", false));
        }
    }

    #[test]
    fn what_fails_now_and_then_is_news_once() {
        let mut outage = Outage::default();
        assert!(!outage.worked() && !outage.is_on());
        assert!(outage.failed());
        for _ in 0..3 {
            assert!(!outage.worked() && !outage.failed() && outage.is_on());
        }
        let later = Instant::now() + CALM;
        assert!(outage.worked_at(later) && !outage.worked_at(later));
        assert!(outage.failed(), "another one");
    }
}
