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
        let time = takes(len, self.bytes_per_second);
        sleep(reserve(&self.free, self.slack, Instant::now(), time));
    }
}

/// Keeps what is sent from overrunning receivers that ask the system for each datagram, as the real eCAL does.
#[derive(Debug)]
pub(crate) struct OneByOne {
    /// When they have taken all that was sent.
    free: Mutex<Instant>,
}

impl OneByOne {
    /// How much longer such a receiver takes to receive and copy than it takes to send, measured with the real eCAL on
    /// loopback. Both are copying, for the most part, so that one tells of the other.
    const SLOWER: f64 = 2.8;
    /// Sending takes no longer than this, in bytes per second: what is beyond is spent on something else than copying.
    const MIN_SEND_RATE: NonZeroU64 = NonZeroU64::new(5_000_000_000).unwrap();

    /// Sends when the receivers are about to have taken what was sent before.
    pub(crate) fn send<R>(&self, len: usize, send: impl FnOnce() -> R) -> R {
        sleep(reserve(&self.free, SLACK, Instant::now(), Duration::ZERO));
        let start = Instant::now();
        let result = send();
        self.sent(len, start, start.elapsed());
        result
    }

    fn sent(&self, len: usize, start: Instant, took: Duration) {
        let sending = took.min(takes(len, Self::MIN_SEND_RATE));
        reserve(&self.free, SLACK, start, sending.mul_f64(Self::SLOWER));
    }
}

/// Sets time aside behind what is set aside already, though from no longer ago than `slack`; tells how long to wait before.
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

/// Keeps the messages of a node from filling a receiver's buffer before that has woken up.
#[derive(Debug)]
pub(crate) struct Bursts {
    /// How much is sent at once.
    len: usize,
    pacer: Pacer,
    one_by_one: OneByOne,
}

/// How the datagrams of a message are sent.
#[derive(Debug)]
pub(crate) struct Spread<'a> {
    /// The limit to a message that is more than a burst.
    pub(crate) pacer: Option<Pacer>,
    /// Where some receiver takes datagrams one by one.
    pub(crate) one_by_one: Option<&'a OneByOne>,
}

impl Bursts {
    /// Shorter ones would be single datagrams.
    const MIN_LEN: usize = MAX_DATAGRAM_LEN;
    /// A receiver wakes up and takes a burst in half a millisecond.
    const PER_SECOND: u64 = 2_000;
    /// What a receiver takes in a second that puts a long message into fresh memory.
    const LONG_MESSAGE_PER_SECOND: NonZeroU64 = NonZeroU64::new(1_000_000_000).unwrap();

    /// A burst fills half of a receive buffer.
    pub(crate) fn new(receive_buffer_len: usize) -> Self {
        let len = (receive_buffer_len / 2).max(Self::MIN_LEN);
        let rate = NonZeroU64::new(len as u64 * Self::PER_SECOND).unwrap_or(NonZeroU64::MAX);
        let now = Instant::now();
        let one_by_one = OneByOne { free: Mutex::new(now) };
        Self { len, pacer: Pacer::after_burst(rate, len, now), one_by_one }
    }

    /// Waits until a message may be sent, and tells how to send it.
    pub(crate) fn begin(&self, message_len: usize, one_by_one: bool) -> Spread<'_> {
        self.pacer.wait(message_len.min(self.len));
        let rate = self.pacer.bytes_per_second.min(Self::LONG_MESSAGE_PER_SECOND);
        let pacer = (message_len > self.len).then(|| Pacer::after_burst(rate, self.len, Instant::now()));
        Spread { pacer, one_by_one: one_by_one.then_some(&self.one_by_one) }
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
        let reserve = |now, len| reserve(&pacer.free, SLACK, now, takes(len, pacer.bytes_per_second));
        assert_eq!(reserve(start, 1000), Duration::ZERO);
        // The first thousand microseconds began with the slack of two hundred.
        assert_eq!(reserve(start, 1000), after(800));
        assert_eq!(reserve(start, 0), after(1800));
        assert_eq!(reserve(start + after(1800), 500), Duration::ZERO);
        assert_eq!(reserve(start + after(5000), 1000), Duration::ZERO, "what was not used is lost");
        assert_eq!(reserve(start + after(5000), 1000), after(800));
    }

    #[test]
    fn bursts_are_half_a_buffer_and_taken_in_half_a_millisecond() {
        let bursts = Bursts::new(200_000);
        let start = Instant::now() + Duration::from_secs(1);
        let Pacer { bytes_per_second, slack, free } = &bursts.pacer;
        let reserve = |len| reserve(free, *slack, start, takes(len, *bytes_per_second));
        assert_eq!(reserve(100_000), Duration::ZERO);
        assert_eq!(reserve(100_000), Duration::ZERO, "half a buffer may be on its way");
        assert_eq!(reserve(1), Duration::from_micros(500));
        let bursts = Bursts::new(200_000);
        assert!(bursts.begin(100_000, false).pacer.is_none());
        let long = bursts.begin(100_001, true).pacer.expect("more than a burst");
        assert_eq!((long.bytes_per_second.get(), long.slack), (200_000_000, Duration::from_micros(500)));
        let long = Bursts::new(8_000_000).begin(4_000_001, false).pacer.expect("more than a burst");
        assert_eq!((long.bytes_per_second.get(), long.slack), (1_000_000_000, Duration::from_millis(4)));
        assert_eq!(Bursts::new(0).len, MAX_DATAGRAM_LEN);
    }

    #[test]
    fn receivers_one_by_one_have_nearly_thrice_the_time_of_sending() {
        let bursts = Bursts::new(200_000);
        assert!(bursts.begin(1, false).one_by_one.is_none());
        let receivers = bursts.begin(1, true).one_by_one.expect("receivers that take datagrams one by one");
        let start = Instant::now() + Duration::from_secs(1);
        let wait = || reserve(&receivers.free, SLACK, start, Duration::ZERO);
        receivers.sent(1_000_000, start, Duration::from_micros(100));
        assert_eq!(wait(), Duration::from_micros(80), "280 less the slack of 200");
        receivers.sent(100_000, start, Duration::from_secs(1));
        assert_eq!(wait(), Duration::from_micros(80 + 56), "as if 100 kB had taken 20 microseconds");
    }
}
