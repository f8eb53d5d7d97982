//! Limits on how fast is sent.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::lock;

/// What may be ahead of the limit, as a thread cannot sleep for less.
const SLACK: Duration = Duration::from_micros(200);

/// Spreads what is sent over time.
#[derive(Debug)]
pub(crate) struct Pacer {
    bytes_per_second: NonZeroU64,
    /// What may be ahead of the limit.
    slack: Duration,
    /// When all that was let through is sent, at the rate of the limit.
    free: Mutex<Instant>,
}

impl Pacer {
    pub(crate) fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, slack: SLACK, free: Mutex::new(Instant::now()) }
    }

    /// Waits until `len` bytes may be sent.
    pub(crate) fn wait(&self, len: usize) {
        let time = takes(len, self.bytes_per_second);
        sleep(reserve(&self.free, self.slack, Instant::now(), time));
    }
}

/// Sets time aside behind what is set aside already, though from no longer ago than `slack`; tells how long to wait
/// before.
fn reserve(free: &Mutex<Instant>, slack: Duration, now: Instant, time: Duration) -> Duration {
    let mut free = lock(free);
    let start = (*free).max(now.checked_sub(slack).unwrap_or(now));
    *free = start + time;
    start.saturating_duration_since(now)
}

fn sleep(time: Duration) {
    if !time.is_zero() {
        thread::sleep(time);
    }
}

pub(crate) fn takes(len: usize, bytes_per_second: NonZeroU64) -> Duration {
    let nanoseconds = len as u128 * 1_000_000_000 / u128::from(bytes_per_second.get());
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_with_what_is_sent_and_end_with_time() {
        let pacer = Pacer::new(NonZeroU64::new(1_000_000).unwrap());
        let start = Instant::now() + Duration::from_secs(1);
        let after = |waits: u64| Duration::from_micros(waits);
        let reserve = |now, len| reserve(&pacer.free, SLACK, now, takes(len, pacer.bytes_per_second));
        assert_eq!(reserve(start, 1000), Duration::ZERO);
        // The first thousand microseconds began with the slack of two hundred.
        assert_eq!(reserve(start, 1000), after(800));
        assert_eq!(reserve(start, 0), after(1800));
        assert_eq!(reserve(start + after(1800), 500), Duration::ZERO);
        assert_eq!(reserve(start + after(5000), 1000), Duration::ZERO, "what was not used is lost");
        assert_eq!(reserve(start + after(5000), 1000), after(800));
    }
}
