//! Limits on how fast is sent.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ferrocal_proto::MAX_DATAGRAM_LEN;

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

    /// Lets `len` bytes through at once, and what follows at the limit.
    fn after_burst(bytes_per_second: NonZeroU64, len: usize, now: Instant) -> Self {
        let slack = takes(len, bytes_per_second);
        Self { bytes_per_second, slack, free: Mutex::new(now.checked_sub(slack).unwrap_or(now)) }
    }

    /// Waits until `len` bytes may be sent.
    pub(crate) fn wait(&self, len: usize) {
        let wait = self.reserve(Instant::now(), len);
        if !wait.is_zero() {
            thread::sleep(wait);
        }
    }

    /// Sets time aside to send `len` bytes; tells how long to wait before.
    fn reserve(&self, now: Instant, len: usize) -> Duration {
        let mut free = lock(&self.free);
        let start = (*free).max(now.checked_sub(self.slack).unwrap_or(now));
        *free = start + takes(len, self.bytes_per_second);
        start.saturating_duration_since(now)
    }
}

/// Keeps the messages of a node from filling a receiver's buffer before that has woken up.
#[derive(Debug)]
pub(crate) struct Bursts {
    /// How much is sent at once.
    len: usize,
    pacer: Pacer,
    /// Where some receiver takes datagrams one by one.
    one_by_one: Pacer,
}

impl Bursts {
    /// Shorter ones would be single datagrams.
    const MIN_LEN: usize = MAX_DATAGRAM_LEN;
    /// A receiver wakes up and takes a burst in half a millisecond.
    const PER_SECOND: u64 = 2_000;
    /// What a receiver takes in a second that puts a long message into fresh memory.
    const LONG_MESSAGE_PER_SECOND: NonZeroU64 = NonZeroU64::new(1_000_000_000).unwrap();
    /// What the real eCAL, which asks the system for each datagram, takes in a second, and no more than it sends itself.
    const ONE_BY_ONE_PER_SECOND: NonZeroU64 = NonZeroU64::new(5_000_000_000).unwrap();

    /// A burst fills half of a receive buffer.
    pub(crate) fn new(receive_buffer_len: usize) -> Self {
        let len = (receive_buffer_len / 2).max(Self::MIN_LEN);
        let rate = NonZeroU64::new(len as u64 * Self::PER_SECOND).unwrap_or(NonZeroU64::MAX);
        let pacer = |most| Pacer::after_burst(rate.min(most), len, Instant::now());
        Self { len, pacer: pacer(NonZeroU64::MAX), one_by_one: pacer(Self::ONE_BY_ONE_PER_SECOND) }
    }

    /// Waits until a message may be sent; returns the limit to its datagrams if it is more than a burst.
    pub(crate) fn begin(&self, message_len: usize, one_by_one: bool) -> Option<Pacer> {
        let pacer = if one_by_one { &self.one_by_one } else { &self.pacer };
        pacer.wait(message_len.min(self.len));
        let rate = pacer.bytes_per_second.min(Self::LONG_MESSAGE_PER_SECOND);
        (message_len > self.len).then(|| Pacer::after_burst(rate, self.len, Instant::now()))
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
    fn bursts_are_half_a_buffer_and_taken_in_half_a_millisecond() {
        let bursts = Bursts::new(200_000);
        let start = Instant::now() + Duration::from_secs(1);
        assert_eq!(bursts.pacer.reserve(start, 100_000), Duration::ZERO);
        assert_eq!(bursts.pacer.reserve(start, 100_000), Duration::ZERO, "half a buffer may be on its way");
        assert_eq!(bursts.pacer.reserve(start, 1), Duration::from_micros(500));
        let bursts = Bursts::new(200_000);
        assert!(bursts.begin(100_000, false).is_none());
        let long = bursts.begin(100_001, true).expect("more than a burst");
        assert_eq!((long.bytes_per_second.get(), long.slack), (200_000_000, Duration::from_micros(500)));
        let long = Bursts::new(8_000_000).begin(4_000_001, false).expect("more than a burst");
        assert_eq!((long.bytes_per_second.get(), long.slack), (1_000_000_000, Duration::from_millis(4)));
        assert_eq!(Bursts::new(0).len, MAX_DATAGRAM_LEN);
        assert_eq!(Bursts::new(8_000_000).one_by_one.bytes_per_second.get(), 5_000_000_000);
    }
}
