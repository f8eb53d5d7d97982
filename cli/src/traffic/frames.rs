//! Captures frames on interfaces, through Npcap or libpcap.

use std::thread;
use std::time::{Duration, Instant};

use ferrocal::raw::{Detection, detect};
use ferrocal_pcap_lazy::pcap::{self, Active, Capture};

use super::packet::Link;

/// Room for the largest frame there is: segmentation offload makes frames longer than any MTU.
const SNAP_LEN: i32 = 262_144;
const BUFFER_LEN: i32 = 16 << 20;
/// How long the kernel gathers frames before it hands them over, in milliseconds.
const GATHER_MS: i32 = 1;
/// How long to wait when there are no frames.
const PAUSE: Duration = Duration::from_millis(5);
/// At the end: when to read what is left, and for how long.
const DRAIN_AFTER: Duration = Duration::from_millis(50);
const DRAIN_FOR: Duration = Duration::from_secs(1);
/// The most frames that are read before it is looked whether to end.
const BATCH: usize = 512;
/// Npcap's name for loopback; Windows has no adapter for it (Npcap Users' Guide).
const WINDOWS_LOOPBACK: &str = r"\Device\NPF_Loopback";

/// An interface to capture on.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The system's name.
    pub(crate) name: String,
    pub(crate) is_loopback: bool,
}

/// Captures on several interfaces.
pub(crate) struct Captures {
    taps: Vec<Tap>,
    /// Why some interfaces cannot be captured on.
    pub(crate) failures: Vec<String>,
}

struct Tap {
    /// The system's name of the interface.
    name: String,
    link: Link,
    capture: Capture<Active>,
}

/// A captured frame.
pub(crate) struct Frame<'a> {
    /// The number of the interface, among the captures.
    pub(crate) interface: usize,
    pub(crate) link: Link,
    pub(crate) bytes: &'a [u8],
    /// Its length on the interface.
    pub(crate) len: usize,
}

impl Captures {
    /// Opens captures on all of these interfaces that can be captured on.
    ///
    /// # Errors
    /// Why none can be.
    pub(crate) fn open(targets: &[Target]) -> Result<Self, String> {
        match detect() {
            Detection::Present(_) => {}
            missing => return Err(format!("Raw frames are not available: {missing}.")),
        }
        let (mut taps, mut failures) = (Vec::new(), Vec::new());
        for target in targets {
            match Tap::open(target) {
                Ok(tap) => taps.push(tap),
                Err(why) => failures.push(format!("{}: {why}", target.name)),
            }
        }
        if taps.is_empty() {
            let why = if failures.is_empty() { "no interface is up".to_owned() } else { failures.join("; ") };
            return Err(format!("Raw frames cannot be captured: {why}."));
        }
        Ok(Self { taps, failures })
    }

    /// The names of the interfaces, by their numbers.
    pub(crate) fn names(&self) -> Vec<String> {
        self.taps.iter().map(|tap| tap.name.clone()).collect()
    }

    /// Passes all frames to `each` until `is_over`.
    pub(crate) fn read(&mut self, is_over: &dyn Fn() -> bool, each: &mut dyn FnMut(Frame<'_>)) {
        while !is_over() {
            if self.read_batch(each) == 0 {
                thread::sleep(PAUSE);
            }
        }
    }

    /// Passes on the frames that came until now and were not read yet.
    pub(crate) fn drain(&mut self, each: &mut dyn FnMut(Frame<'_>)) {
        // The kernel hands over what it has gathered.
        thread::sleep(DRAIN_AFTER);
        // Others may go on sending faster than this reads.
        let end = Instant::now() + DRAIN_FOR;
        while self.read_batch(each) > 0 && Instant::now() < end {}
    }

    fn read_batch(&mut self, each: &mut dyn FnMut(Frame<'_>)) -> usize {
        let mut count = 0;
        for (interface, tap) in self.taps.iter_mut().enumerate() {
            let link = tap.link;
            let read = tap.capture.dispatch(Some(BATCH), |packet: pcap::Packet<'_>| {
                let len = packet.header.len as usize;
                each(Frame { interface, link, bytes: packet.data, len });
            });
            // An interface that is gone has no frames any more.
            count += read.unwrap_or(0);
        }
        count
    }

    /// How many frames were lost because a buffer was full.
    pub(crate) fn lost(&mut self) -> u64 {
        self.taps
            .iter_mut()
            .filter_map(|tap| tap.capture.stats().ok())
            .map(|stats| u64::from(stats.dropped))
            .sum()
    }
}

impl Tap {
    fn open(target: &Target) -> Result<Self, String> {
        let device = if !cfg!(windows) {
            target.name.clone()
        } else if target.is_loopback {
            WINDOWS_LOOPBACK.to_owned()
        } else {
            format!(r"\Device\NPF_{}", target.name)
        };
        let open = || {
            let capture = Capture::from_device(device.as_str())?
                .promisc(false)
                .snaplen(SNAP_LEN)
                .buffer_size(BUFFER_LEN)
                .timeout(GATHER_MS)
                .open()?;
            capture.setnonblock()
        };
        let capture = open().map_err(|error| error.to_string())?;
        let dlt = capture.get_datalink().0;
        let link = Link::from_dlt(dlt).ok_or_else(|| format!("its frames are of an unknown kind ({dlt})"))?;
        Ok(Self { name: target.name.clone(), link, capture })
    }
}
