//! Limits on how fast is sent.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ferrocal_proto::MAX_DATAGRAM_LEN;

use crate::lock;

/// What may be ahead of the limit, as a thread cannot sleep for less.
const SLACK: Duration = Duration::from_micros(200);

/// Sending counts as no slower than this, in bytes per second: what it takes longer is taken for something else than
/// copying, such as cutting datagrams into packets, or waiting for a processor. A machine that copies more slowly
/// does not spread as much as its receivers would need.
const MIN_COPY_RATE: NonZeroU64 = NonZeroU64::new(5_000_000_000).unwrap();

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

/// In which way a message's receivers take datagrams.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Receivers {
    /// All of them take datagrams in runs, and the message goes in such.
    Runs,
    /// All of them take many datagrams in one system call.
    Many,
    /// Some take datagrams one by one, as the real eCAL does.
    OneByOne,
}

impl Receivers {
    /// How many times as long as sending a message they take to receive it, on the same machine. Both are copying,
    /// for the most part, so that one tells of the other. Measured with ferrocal's queues and the real eCAL, on loopback
    /// and, in runs, from network namespace to network namespace.
    ///
    /// Receivers of runs fall behind now and then, and need more time where a message fills a good part of their buffers.
    const fn slower(self, fills_buffers: bool) -> f64 {
        match self {
            Self::Runs if fills_buffers => 1.3,
            Self::Runs => 1.2,
            Self::Many => 1.4,
            Self::OneByOne => 2.8,
        }
    }
}

/// Keeps the messages of a node from overrunning receivers.
#[derive(Debug)]
pub(crate) struct Bursts {
    /// How much is sent at once, so that it does not fill a receiver's buffer before that has woken up.
    len: usize,
    pacer: Pacer,
    /// When receivers have taken all that was sent.
    pub(crate) taken: Mutex<Instant>,
}

/// How the datagrams of a message are spread over time.
#[derive(Debug)]
pub(crate) struct Spread<'a> {
    taken: &'a Mutex<Instant>,
    slower: Option<f64>,
    /// The limit to a message that is more than a burst.
    long: Option<Pacer>,
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
        Self { len, pacer: Pacer::after_burst(rate, len, now), taken: Mutex::new(now) }
    }

    /// Waits until a message may be sent, and tells how to spread its datagrams, if they are not to go all at once.
    pub(crate) fn begin(&self, message_len: usize, receivers: Receivers) -> Option<Spread<'_>> {
        self.pacer.wait(message_len.min(self.len));
        let rate = self.pacer.bytes_per_second.min(Self::LONG_MESSAGE_PER_SECOND);
        let long = (message_len > self.len).then(|| Pacer::after_burst(rate, self.len, Instant::now()));
        // Threads sleep for too long elsewhere.
        let slower = cfg!(target_os = "linux").then(|| receivers.slower(message_len > self.len / 2));
        (slower.is_some() || long.is_some()).then_some(Spread { taken: &self.taken, slower, long })
    }
}

impl Spread<'_> {
    /// Sends `len` bytes when receivers are about to have taken what went before.
    pub(crate) fn send<R>(&self, len: usize, send: impl FnOnce() -> R) -> R {
        if let Some(long) = &self.long {
            long.wait(len);
        }
        let Some(slower) = self.slower else { return send() };
        let now = Instant::now();
        let wait = self.reserve(now, Duration::ZERO);
        sleep(wait);
        let start = if wait.is_zero() { now } else { Instant::now() };
        let result = send();
        self.reserve(start, receiving_takes(len, start.elapsed(), slower));
        result
    }

    fn reserve(&self, now: Instant, time: Duration) -> Duration {
        reserve(self.taken, SLACK, now, time)
    }
}

fn receiving_takes(len: usize, sending_took: Duration, slower: f64) -> Duration {
    sending_took.min(takes(len, MIN_COPY_RATE)).mul_f64(slower)
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
        assert!(bursts.begin(100_000, Receivers::Runs).is_none_or(|spread| spread.long.is_none()));
        let long =
            bursts.begin(100_001, Receivers::Runs).and_then(|spread| spread.long).expect("more than a burst");
        assert_eq!((long.bytes_per_second.get(), long.slack), (200_000_000, Duration::from_micros(500)));
        let long = Bursts::new(8_000_000);
        let long =
            long.begin(4_000_001, Receivers::Runs).and_then(|spread| spread.long).expect("more than a burst");
        assert_eq!((long.bytes_per_second.get(), long.slack), (1_000_000_000, Duration::from_millis(4)));
        assert_eq!(Bursts::new(0).len, MAX_DATAGRAM_LEN);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn receivers_have_some_times_as_long_as_sending_took() {
        let micros = Duration::from_micros;
        assert_eq!(receiving_takes(1_000_000, micros(100), 2.8), micros(280));
        assert_eq!(receiving_takes(1_000_000, micros(300), 2.8), micros(560), "as if copying had taken 200");
        let bursts = Bursts::new(200_000);
        let start = Instant::now();
        let send = |message_len, receivers| {
            let spread = bursts.begin(message_len, receivers).expect("they need time");
            spread.send(1_000_000, || thread::sleep(SLACK));
        };
        send(1, Receivers::OneByOne);
        let one_by_one = *lock(&bursts.taken);
        assert!(one_by_one >= start + micros(560) - SLACK);
        send(1, Receivers::Many);
        let many = *lock(&bursts.taken);
        assert!(many >= one_by_one + micros(280), "after the others");
        send(50_000, Receivers::Runs);
        let runs = *lock(&bursts.taken);
        assert!(runs >= many + micros(240));
        send(50_001, Receivers::Runs);
        assert!(*lock(&bursts.taken) >= runs + micros(260), "more than a quarter of a buffer");
    }
}
