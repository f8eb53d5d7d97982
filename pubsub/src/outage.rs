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

#[cfg(test)]
mod tests {
    use super::*;

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
