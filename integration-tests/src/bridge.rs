//! A link with faults: passes frames between two hosts, and loses, repeats, delays, cuts and damages some of them.
//!
//! Which ones follows from a seed and the order of the frames.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use ferrocal_pcap_lazy::pcap::{self, Active, Capture, Direction};

use crate::netns::{Between, Host, SecondHost};

/// How likely each fault is for a frame, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// It is lost.
    pub loss: f64,
    /// It arrives twice, the second time later.
    pub duplication: f64,
    /// It arrives later than those behind it.
    pub delay: f64,
    /// It arrives without its end.
    pub cut: f64,
    /// One byte of it is another one.
    pub corruption: f64,
}

impl Faults {
    /// A link without faults.
    pub const NONE: Self = Self { loss: 0.0, duplication: 0.0, delay: 0.0, cut: 0.0, corruption: 0.0 };
}

/// What happened to frames so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// Frames that came.
    pub frames: u64,
    /// Those that were lost.
    pub lost: u64,
    /// Those that were sent twice.
    pub doubled: u64,
    /// Those that were held back.
    pub delayed: u64,
    /// Those that were cut.
    pub cut: u64,
    /// Those that were damaged.
    pub corrupted: u64,
}

/// The longest time that a frame is held back.
const MAX_DELAY: Duration = Duration::from_millis(20);
/// Room for what comes while frames are sent, in bytes.
const BUFFER_LEN: i32 = 64 << 20;
/// How long it waits for a frame before it looks at those that it holds back, in milliseconds.
const WAIT_MS: i32 = 2;

/// A link between the first host and a second one; gone when dropped.
pub struct Bridge {
    state: Arc<State>,
    threads: Vec<JoinHandle<()>>,
    /// Goes last.
    _between: Between,
}

#[derive(Default)]
struct State {
    faults: Mutex<Faults>,
    passed: Mutex<Passed>,
    has_ended: AtomicBool,
}

impl Bridge {
    /// Links a host that has no link yet.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn new(second: &SecondHost, seed: u64) -> Self {
        let between = Between::new(second).unwrap_or_else(|error| panic!("{error}"));
        [Host::first(), second.host()].into_iter().for_each(Host::hurry_reassembly);
        let state = Arc::<State>::default();
        let directions =
            [(Between::TO_FIRST, Between::TO_SECOND, 0), (Between::TO_SECOND, Between::TO_FIRST, 1)];
        let threads = directions.map(|(from, to, number)| {
            let direction = Direct {
                from: between.host().run(|| open(from)),
                to: between.host().run(|| open(to)),
                random: fastrand::Rng::with_seed(seed ^ number),
                held: BTreeMap::new(),
                number: 0,
                state: state.clone(),
            };
            thread::spawn(move || direction.run())
        });
        Self { state, threads: threads.into(), _between: between }
    }

    /// Has it make these faults from now on. What it holds back arrives soon.
    pub fn set(&self, faults: Faults) {
        *lock(&self.state.faults) = faults;
    }

    /// What happened so far.
    pub fn passed(&self) -> Passed {
        *lock(&self.state.passed)
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.state.has_ended.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join()
                && !thread::panicking()
            {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens an interface of this thread's host, for frames that come in by it and to send by it.
///
/// # Panics
/// When that cannot be done.
pub fn open(interface: &str) -> Capture<Active> {
    let open = || {
        let capture = Capture::from_device(interface)?;
        let capture = capture.promisc(true).immediate_mode(true).timeout(WAIT_MS).buffer_size(BUFFER_LEN);
        let capture = capture.open()?;
        capture.direction(Direction::In)?;
        Ok::<_, pcap::Error>(capture)
    };
    open().unwrap_or_else(|error| panic!("{interface}: {error}"))
}

/// One direction.
struct Direct {
    from: Capture<Active>,
    to: Capture<Active>,
    random: fastrand::Rng,
    /// Frames that are held back, by the time when they are to be sent and a number.
    held: BTreeMap<(Instant, u64), Vec<u8>>,
    number: u64,
    state: Arc<State>,
}

impl Direct {
    fn run(mut self) {
        while !self.state.has_ended.load(Ordering::SeqCst) {
            match self.from.next_packet() {
                Ok(packet) => {
                    let mut frame = packet.data.to_vec();
                    complete_checksum(&mut frame);
                    self.take(frame);
                }
                Err(pcap::Error::TimeoutExpired) => {}
                // The other end of its link was taken away.
                Err(_) => thread::sleep(MAX_DELAY),
            }
            let now = Instant::now();
            while let Some(entry) = self.held.first_entry().filter(|entry| entry.key().0 <= now) {
                let frame = entry.remove();
                self.send(&frame);
            }
        }
    }

    fn take(&mut self, mut frame: Vec<u8>) {
        let Faults { loss, duplication, delay, cut, corruption } = *lock(&self.state.faults);
        let [is_lost, is_doubled, is_delayed, is_cut, is_corrupted] =
            [loss, duplication, delay, cut, corruption].map(|probability| self.random.f64() < probability);
        {
            let mut passed = lock(&self.state.passed);
            passed.frames += 1;
            passed.lost += u64::from(is_lost);
            passed.doubled += u64::from(is_doubled && !is_lost);
            passed.delayed += u64::from(is_delayed && !is_lost);
            passed.cut += u64::from(is_cut && !is_lost);
            passed.corrupted += u64::from(is_corrupted && !is_lost);
        }
        if is_lost {
            return;
        }
        if is_doubled {
            self.hold(frame.clone());
        }
        if is_cut {
            /// The addresses and the type.
            const ETHERNET_LEN: usize = 14;
            frame.truncate(self.random.usize(ETHERNET_LEN..frame.len()));
        }
        if is_corrupted {
            let at = self.random.usize(..frame.len());
            frame[at] ^= self.random.u8(1..);
        }
        if is_delayed { self.hold(frame) } else { self.send(&frame) }
    }

    fn hold(&mut self, frame: Vec<u8>) {
        let delay = Duration::from_micros(self.random.u64(..MAX_DELAY.as_micros() as u64));
        self.number += 1;
        self.held.insert((Instant::now() + delay, self.number), frame);
    }

    fn send(&mut self, frame: &[u8]) {
        // As a network, it says nothing of what it cannot carry.
        let _ = self.to.sendpacket(frame);
    }
}

/// Writes the UDP checksum of an unfragmented packet. Its sender leaves it to the card, which is none here.
fn complete_checksum(frame: &mut [u8]) {
    /// Of the checksum in a UDP header.
    const AT: usize = 6;
    let Ok(packet) = SlicedPacket::from_ethernet(frame) else { return };
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) = (&packet.net, &packet.transport) else {
        return;
    };
    let Ok(checksum) = udp.to_header().calc_checksum_ipv4_raw(
        ip.header().source(),
        ip.header().destination(),
        udp.payload(),
    ) else {
        return;
    };
    let at = udp.slice().as_ptr().addr() - frame.as_ptr().addr() + AT;
    drop(packet);
    frame[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
}
