//! Keeps messages of several datagrams from overrunning their receivers.
//!
//! A publisher fills the receive buffers of its own subscribers to half at the most. It reads from the kernel how full
//! those on the same host are; of the others it assumes that they empty half a buffer in 0.6 ms, at no more than
//! 5.2 GB/s, the real eCAL and long messages at no more than 0.8 GB/s.
//!
//! A receiver that it cannot look at may wait for the processor that the publisher runs on. So the publisher leaves the
//! processor after each quarter of a buffer.

use std::collections::HashSet;
use std::num::NonZeroU64;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use ferrocal_transport::{ReceiveQueue, ReceiveQueues, sockets_of};

use super::pacing::takes;
use crate::lock;

/// How long a receiver may take to wake up and empty half of its buffer, if nobody can look at it.
const EMPTIED_IN: Duration = Duration::from_micros(600);
/// What a receiver that nobody can look at gets in a second at the most. 16 MiB, the default, hold 33 MB of long messages
/// in packets of 1500 bytes (seen), so that a receiver may be kept from running for 6 ms. On a computer that could send
/// 6.5 GB/s over a veth, up to 1.7 % were lost without a limit, and nothing in 16 of 16 runs with it.
const MOST_PER_SECOND: NonZeroU64 = NonZeroU64::new(5_200_000_000).unwrap();
/// The receive buffer of the real eCAL, in bytes, unless it is set otherwise.
const ECAL_BUFFER_LEN: usize = 5 * 1024 * 1024;
/// What a receiver copies in a second into memory that it has not used before, as the real eCAL does with all messages
/// and ferrocal with the longest. 3 us for a page of 4 KiB were seen on a virtual machine, which is 1.3 GB/s.
///
/// Readers of eCAL 6.1.1 with their default buffer got messages of 20 MB over a veth at several rates, alone and beside
/// two busy processes, on two processors. The kernel counted what they lost (`UdpRcvbufErrors`). At 0.8 GB/s 30 of 30
/// came alone and 68 of 70 beside the others, at 1 GB/s 35 of 40 each. Faster, that varied: 176 of 180 at 1.2 to 2 GB/s.
/// Slower is no better if messages follow each other: at 0.2 GB/s and 5 Hz, 12 of 20 came beside the others.
const COPIED_PER_SECOND: NonZeroU64 = NonZeroU64::new(800_000_000).unwrap();
/// A receiver that is stopped slows a publisher down to this, until it counts as gone.
const LEAST_PER_SECOND: NonZeroU64 = NonZeroU64::new(100_000_000).unwrap();
/// The shortest time that a thread can sleep. On Linux that is some 60 us.
const SHORTEST_SLEEP: Duration = Duration::from_nanos(1);
/// How often to look at a receiver that is behind.
const LOOK_AGAIN: Duration = Duration::from_micros(50);
/// How long a look is valid: others fill the same buffers.
const VALID_FOR: Duration = Duration::from_millis(1);
/// How often to list the sockets of the receivers' processes, as long as one of them shows none.
const LIST_AGAIN: Duration = Duration::from_secs(1);

/// The subscribers of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Receivers {
    /// The processes of those on this host.
    pub(crate) processes: Vec<u32>,
    /// Whether there are some on other hosts.
    pub(crate) remote: bool,
    /// Whether all of them are ferrocal's.
    pub(crate) ferrocal: bool,
}

/// How much one publisher may send at present.
#[derive(Debug)]
pub(crate) struct Window {
    /// The receive buffer that this system grants, in bytes.
    receive_buffer_len: usize,
    /// The port that receivers are bound to.
    port: u16,
    receivers: Receivers,
    /// The sockets of each of the processes.
    sockets: Vec<HashSet<u32>>,
    /// Whether one of the processes shows none, and when to list them again.
    hidden: bool,
    list_again: Instant,
    /// What the latest look showed.
    seen: Vec<ReceiveQueue>,
    /// Bytes that may be sent before the next look.
    credit: usize,
    valid_until: Instant,
    /// Whether there are receivers that nobody can look at.
    unseen: bool,
    /// When those have emptied their buffers.
    emptied: Instant,
    /// What was sent to those since the publisher last left the processor for their sake, in bytes.
    unbroken: usize,
}

impl Window {
    pub(crate) fn new(receive_buffer_len: usize, port: u16, now: Instant) -> Self {
        Self {
            receive_buffer_len,
            port,
            receivers: Receivers::default(),
            sockets: Vec::new(),
            hidden: true,
            list_again: now,
            seen: Vec::new(),
            credit: 0,
            valid_until: now,
            unseen: true,
            emptied: now,
            unbroken: 0,
        }
    }

    /// Sets who receives from now on.
    pub(crate) fn set_receivers(&mut self, receivers: Receivers) {
        if self.receivers != receivers {
            self.sockets.clear();
            (self.hidden, self.unseen) = (true, true);
            self.receivers = receivers;
            self.list_again = Instant::now();
        }
    }

    /// Waits until the next `len` bytes of a message may be sent.
    pub(crate) fn wait(&mut self, len: usize, message_len: usize, queues: Option<&Mutex<ReceiveQueues>>) {
        let start = Instant::now();
        let mut now = start;
        if let Some(queues) = queues.filter(|_| !self.receivers.processes.is_empty()) {
            if self.hidden && now >= self.list_again {
                self.sockets = self.receivers.processes.iter().map(|&process| sockets_of(process)).collect();
                (self.list_again, self.valid_until) = (now + LIST_AGAIN, now);
            }
            while self.credit < len || now >= self.valid_until {
                self.look(queues, len);
                now = Instant::now();
                self.valid_until = now + VALID_FOR;
                if self.credit >= len || now >= start + takes(len, LEAST_PER_SECOND) {
                    break;
                }
                thread::sleep(LOOK_AGAIN);
                now = Instant::now();
            }
            self.credit = self.credit.saturating_sub(len);
        }
        if self.unseen {
            let mut wait = self.reserve(now, len, message_len);
            if self.is_break_due(len) {
                // On a busy computer, its other programs have their turn, and with them the receiver.
                thread::yield_now();
                // On a quiet one, that alone returns too early for a receiver that was woken on this processor.
                wait = wait.max(SHORTEST_SLEEP);
            }
            if !wait.is_zero() {
                thread::sleep(wait);
            }
        }
    }

    /// Whether the publisher has to leave the processor before it sends the next `len` bytes.
    fn is_break_due(&mut self, len: usize) -> bool {
        self.unbroken += len;
        let is_due = self.unbroken > self.half() / 2;
        if is_due {
            self.unbroken = len;
        }
        is_due
    }

    fn look(&mut self, queues: &Mutex<ReceiveQueues>, len: usize) {
        let mut seen = std::mem::take(&mut self.seen);
        seen.clear();
        let looked = lock(queues).of_port(self.port, |queue| seen.push(queue));
        self.see(&seen, len);
        self.unseen |= looked.is_err();
        self.seen = seen;
    }

    /// Works out what may be sent until the fullest of these buffers is half full. An empty one has room for `len`
    /// bytes in any case.
    fn see(&mut self, queues: &[ReceiveQueue], len: usize) {
        let of = |sockets: &HashSet<u32>| {
            let queues = queues.iter().filter(|queue| sockets.contains(&queue.inode));
            // The kernel counts what it keeps beside each packet: in packets of 1500 bytes half as much again.
            let room = |queue: &ReceiveQueue| match queue.used {
                0 => (queue.size / 4).max(len),
                used => (queue.size / 2).saturating_sub(used) / 2,
            };
            queues.map(room).min()
        };
        self.credit = self.sockets.iter().filter_map(of).min().unwrap_or(usize::MAX);
        self.hidden = self.sockets.is_empty() || self.sockets.iter().any(|sockets| of(sockets).is_none());
        self.unseen = self.receivers.remote || self.hidden;
    }

    /// Takes `len` bytes of what receivers that nobody can look at are assumed to empty. Returns how long to wait before.
    fn reserve(&mut self, now: Instant, len: usize, message_len: usize) -> Duration {
        let rate = self.rate(message_len);
        let start = self.emptied.max(now.checked_sub(takes(self.half(), rate)).unwrap_or(now));
        self.emptied = start + takes(len, rate);
        start.saturating_duration_since(now)
    }

    fn rate(&self, message_len: usize) -> NonZeroU64 {
        let is_memory_used = self.receivers.ferrocal && message_len <= self.half();
        let most = if is_memory_used { MOST_PER_SECOND } else { COPIED_PER_SECOND };
        let rate = self.half() as u128 * 1_000_000_000 / EMPTIED_IN.as_nanos();
        u64::try_from(rate).ok().and_then(NonZeroU64::new).unwrap_or(NonZeroU64::MAX).min(most)
    }

    /// Half of the buffer that a receiver which nobody can look at is assumed to have, in bytes.
    fn half(&self) -> usize {
        let most = if self.receivers.ferrocal { usize::MAX } else { ECAL_BUFFER_LEN };
        (self.receive_buffer_len.min(most) / 2).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    fn window(receivers: Receivers, sockets: &[&[u32]]) -> Window {
        let mut window = Window::new(4 * MIB, 14_002, Instant::now());
        window.receivers = receivers;
        window.sockets = sockets.iter().map(|sockets| sockets.iter().copied().collect()).collect();
        window
    }

    fn queue(inode: u32, used: usize) -> ReceiveQueue {
        ReceiveQueue { inode, used, size: 8 * MIB }
    }

    #[test]
    fn buffers_of_receivers_are_filled_to_half() {
        let mut window = window(Receivers::default(), &[&[1, 2], &[3]]);
        window.see(&[queue(1, 0), queue(2, 0), queue(3, 0), queue(4, 8 * MIB)], 64);
        assert_eq!((window.credit, window.unseen), (2 * MIB, false), "the fourth is not a receiver's");
        window.see(&[queue(1, MIB), queue(2, 0), queue(3, 3 * MIB)], 64);
        assert_eq!((window.credit, window.unseen), (MIB / 2, false), "the fullest counts");
        window.see(&[queue(1, MIB), queue(3, 5 * MIB)], 64);
        assert_eq!((window.credit, window.unseen), (0, false));
        window.see(&[ReceiveQueue { inode: 1, used: 0, size: 100 }, queue(3, 0)], 64);
        assert_eq!((window.credit, window.unseen), (64, false), "a small buffer, but empty");
    }

    #[test]
    fn receivers_out_of_sight_have_a_rate() {
        let mut window = window(Receivers::default(), &[&[1], &[3]]);
        window.see(&[queue(1, 0)], 64);
        assert_eq!((window.credit, window.unseen), (2 * MIB, true));
        window.see(&[], 64);
        assert_eq!((window.credit, window.unseen), (usize::MAX, true));
        window.receivers.remote = true;
        window.see(&[queue(1, 0), queue(3, 0)], 64);
        assert!(window.unseen);
        window.set_receivers(Receivers { processes: vec![7], ..Receivers::default() });
        assert!(window.unseen && window.sockets.is_empty());
    }

    #[test]
    fn rates_follow_from_the_buffer() {
        let rate = |buffer_len, ferrocal, message_len| {
            let mut window = Window::new(buffer_len, 14_002, Instant::now());
            window.set_receivers(Receivers { ferrocal, remote: true, ..Receivers::default() });
            window.rate(message_len).get()
        };
        assert_eq!(rate(4_000_000, true, 2_000_000), 3_333_333_333);
        assert_eq!(rate(16 * MIB, true, 8 * MIB), 5_200_000_000);
        assert_eq!(rate(16 * MIB, true, 8 * MIB + 1), 800_000_000);
        assert_eq!(rate(4_000_000, true, 2_000_001), 800_000_000);
        assert_eq!(rate(4_000_000, false, 1), 800_000_000);
        assert_eq!(rate(200_000, true, 1), 166_666_666);
        assert_eq!(rate(200_000, false, 1), 166_666_666);
        assert_eq!(rate(0, false, 1), 1666);
    }

    #[test]
    fn a_publisher_leaves_the_processor_after_each_quarter_of_a_buffer() {
        let breaks = |buffer_len, piece, ferrocal| {
            let mut window = Window::new(buffer_len, 14_002, Instant::now());
            window.set_receivers(Receivers { ferrocal, remote: true, ..Receivers::default() });
            (0..400).filter(|_| window.is_break_due(piece)).collect::<Vec<_>>()
        };
        assert_eq!(breaks(4_000_000, 10_000, true), [100, 200, 300]);
        assert!(breaks(16 * MIB, 10_000, true).is_empty());
        assert_eq!(breaks(16 * MIB, 10_000, false), [131, 262, 393], "the real eCAL has a smaller one");
        assert_eq!(breaks(200_000, 60_000, true).len(), 400);
    }

    #[test]
    fn the_real_ecal_has_its_own_default_buffer() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut window = Window::new(16 * MIB, 14_002, now);
        window.set_receivers(Receivers { remote: true, ..Receivers::default() });
        assert_eq!(window.reserve(later, ECAL_BUFFER_LEN / 2, 1), Duration::ZERO);
        assert_eq!(window.reserve(later, 1, 1), Duration::ZERO, "the first took a time that had passed");
        assert!(window.reserve(later, 1, 1) > Duration::ZERO);
    }

    #[test]
    fn half_a_buffer_may_be_on_its_way() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut window = Window::new(200_000, 14_002, now);
        assert_eq!(window.reserve(later, 100_000, 1), Duration::ZERO);
        assert_eq!(window.reserve(later, 50_000, 1), Duration::ZERO, "the first took a time that had passed");
        assert_eq!(window.reserve(later, 1, 1), Duration::from_micros(300));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_buffer_is_waited_for_but_not_for_ever() -> std::io::Result<()> {
        use std::net::{Ipv4Addr, UdpSocket};

        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (address, sender) = (receiver.local_addr()?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
        let queues = Mutex::new(ReceiveQueues::new()?);
        let mut window = Window::new(200_000, address.port(), Instant::now());
        window.set_receivers(Receivers {
            processes: vec![std::process::id()],
            ferrocal: true,
            ..Receivers::default()
        });
        window.wait(1000, 1000, Some(&queues));
        assert!(!window.unseen && window.credit > 0);
        for _ in 0..1000 {
            sender.send_to(&[0; 1000], address)?;
        }
        (window.credit, window.valid_until) = (0, Instant::now());
        let start = Instant::now();
        window.wait(1000, 1000, Some(&queues));
        assert!(start.elapsed() >= takes(1000, LEAST_PER_SECOND), "nobody reads");
        assert_eq!(window.credit, 0);
        receiver.set_nonblocking(true)?;
        while receiver.recv(&mut [0; 1000]).is_ok() {}
        window.wait(1000, 1000, Some(&queues));
        assert!(window.credit > 0, "it is empty again");
        Ok(())
    }
}
