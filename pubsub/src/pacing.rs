//! Limits on how fast is sent.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::lock;

/// What may be ahead of the limit, as a thread cannot sleep for less.
const SLACK: Duration = Duration::from_micros(200);

/// How long it may take a receiver to wake up and to take what its full buffer holds.
const EMPTIED_IN: Duration = Duration::from_millis(1);
/// What a receiver takes in a second that puts a long message into fresh memory.
const TAKEN_PER_SECOND: u64 = 1_000_000_000;

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

    /// For a burst that begins now and of which receivers hold so many bytes: these are let through at once.
    pub(crate) fn of_burst(now: Instant, held_len: usize) -> Self {
        let emptied_per_second = (held_len as f64 / EMPTIED_IN.as_secs_f64()) as u64;
        let bytes_per_second =
            NonZeroU64::new(emptied_per_second.min(TAKEN_PER_SECOND)).unwrap_or(NonZeroU64::MIN);
        let slack = takes(held_len, bytes_per_second);
        Self { bytes_per_second, slack, free: Mutex::new(now.checked_sub(slack).unwrap_or(now)) }
    }

    /// Waits until `len` bytes may be sent.
    pub(crate) fn wait(&self, len: usize) {
        thread::sleep(self.reserve(Instant::now(), len));
    }

    /// Sets time aside to send `len` bytes; tells how long to wait before.
    fn reserve(&self, now: Instant, len: usize) -> Duration {
        let mut free = lock(&self.free);
        let start = (*free).max(now.checked_sub(self.slack).unwrap_or(now));
        *free = start + takes(len, self.bytes_per_second);
        start.saturating_duration_since(now)
    }
}

fn takes(len: usize, bytes_per_second: NonZeroU64) -> Duration {
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
        assert_eq!(pacer.reserve(start, 1000), Duration::ZERO);
        // The first thousand microseconds began with the slack of two hundred.
        assert_eq!(pacer.reserve(start, 1000), after(800));
        assert_eq!(pacer.reserve(start, 0), after(1800));
        assert_eq!(pacer.reserve(start + after(1800), 500), Duration::ZERO);
        assert_eq!(pacer.reserve(start + after(5000), 1000), Duration::ZERO, "what was not used is lost");
        assert_eq!(pacer.reserve(start + after(5000), 1000), after(800));
    }

    #[test]
    fn of_a_burst_goes_at_once_what_receivers_hold() {
        let start = Instant::now() + Duration::from_secs(1);
        let small = Pacer::of_burst(start, 200_000);
        assert_eq!(small.reserve(start, 200_000), Duration::ZERO);
        assert_eq!(
            small.reserve(start, 100_000),
            Duration::ZERO,
            "what follows waits for the bytes before it"
        );
        assert_eq!(
            small.reserve(start, 1),
            Duration::from_micros(500),
            "a buffer is emptied in a millisecond"
        );
        let large = Pacer::of_burst(start, 8_000_000);
        assert_eq!(large.reserve(start, 9_000_000), Duration::ZERO);
        assert_eq!(large.reserve(start, 1), Duration::from_millis(1), "a gigabyte a second");
        Pacer::of_burst(start, 0).reserve(start, 1);
    }
}
