//! A capture that a thread of its own reads, because Windows has no descriptor to wait for.

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ferrocal_pcap_lazy::pcap::{Active, BreakLoop, Capture, Error, Linktype};

use super::capture;
use crate::error::CaptureError;
use crate::seam::Interrupt;
use crate::sync::{Signal, lock};

/// The most frames passed on at once.
const BATCH: usize = 64;

/// The threads report frames themselves: nothing else is waited for.
pub(super) struct Source;

pub(super) struct Tap {
    link_type: Linktype,
    shared: Arc<Handover>,
    /// Wakes the thread from its wait for frames, which need not end by itself on an idle interface.
    wake: BreakLoop,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Handover {
    shared: Mutex<Shared>,
    /// Notified when there is something new for the thread, or for a caller that waits for it.
    changed: Condvar,
}

#[derive(Default)]
struct Shared {
    frames: VecDeque<Frame>,
    queued_bytes: usize,
    /// Buffers of frames that were passed on, to be used again.
    free: Vec<Vec<u8>>,
    /// What the driver reported last.
    lost: u32,
    ask_lost: bool,
    /// Whether there were frames since the driver was asked.
    has_read: bool,
    new_filter: Option<String>,
    failed: Option<CaptureError>,
    ended: bool,
    stop: bool,
}

struct Frame {
    bytes: Vec<u8>,
    original_len: usize,
}

impl Handover {
    fn wait<'a>(&self, shared: MutexGuard<'a, Shared>) -> MutexGuard<'a, Shared> {
        self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tap {
    pub(super) fn open(device: &str, buffer_len: usize, waiter: &Arc<Waiter>) -> Result<Self, CaptureError> {
        let mut capture = capture::open(device, buffer_len)?;
        let wake = capture.breakloop_handle();
        let link_type = capture.get_datalink();
        let shared = Arc::new(Handover::default());
        let thread = thread::Builder::new()
            .name("ferrocal-capture".into())
            .spawn({
                let (shared, waiter) = (shared.clone(), waiter.clone());
                move || read(capture, &shared, &waiter, buffer_len)
            })
            .map_err(|error| CaptureError(error.to_string().into()))?;
        Ok(Self { link_type, shared, wake, thread: Some(thread) })
    }

    pub(super) fn link_type(&self) -> Linktype {
        self.link_type
    }

    pub(super) fn source(&self) -> Source {
        Source
    }

    /// Returns when the filter is in force, because what it has to let through may be on its way by then. A filter that is
    /// refused ends the capture, which the next [`read`](Self::read) reports.
    pub(super) fn set_filter(&mut self, program: &str) -> Result<(), CaptureError> {
        let mut shared = lock(&self.shared.shared);
        shared.new_filter = Some(program.to_owned());
        self.wake.breakloop();
        self.shared.changed.notify_all();
        while shared.new_filter.is_some() && !shared.ended {
            shared = self.shared.wait(shared);
        }
        Ok(())
    }

    /// Returns how many frames were lost because the buffer was full, up to an earlier call: the thread has to ask the driver.
    pub(super) fn lost(&mut self) -> u32 {
        let mut shared = lock(&self.shared.shared);
        if shared.has_read {
            // The thread asks when it has the next frame. It is woken only if there was none since the last call: a library
            // that is told to break off while it has a frame at hand can lose that one (libpcap 1.10 on Linux, and so Wine).
            if shared.ask_lost {
                self.wake.breakloop();
            }
            shared.ask_lost = true;
        }
        shared.lost
    }

    /// Passes on the frames that are there, each with its length before it was cut to what the capture takes. Returns how
    /// many there were.
    pub(super) fn read(&mut self, each: &mut dyn FnMut(&[u8], usize)) -> Result<usize, CaptureError> {
        let frames: Vec<Frame> = {
            let mut shared = lock(&self.shared.shared);
            if shared.frames.is_empty() {
                return shared.failed.take().map_or(Ok(0), Err);
            }
            let count = shared.frames.len().min(BATCH);
            let frames: Vec<_> = shared.frames.drain(..count).collect();
            shared.queued_bytes -= frames.iter().map(|frame| frame.bytes.len()).sum::<usize>();
            self.shared.changed.notify_all();
            frames
        };
        for frame in &frames {
            each(&frame.bytes, frame.original_len);
        }
        let count = frames.len();
        let mut shared = lock(&self.shared.shared);
        shared.free.extend(frames.into_iter().map(|frame| frame.bytes));
        shared.free.truncate(BATCH);
        Ok(count)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        lock(&self.shared.shared).stop = true;
        self.wake.breakloop();
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn read(mut capture: Capture<Active>, handover: &Handover, waiter: &Waiter, max_bytes: usize) {
    let result = loop {
        let new_filter = {
            let mut shared = lock(&handover.shared);
            // What there is no room for here waits in the driver's buffer.
            while shared.queued_bytes >= max_bytes && !shared.stop && shared.new_filter.is_none() {
                shared = handover.wait(shared);
            }
            if shared.stop {
                return;
            }
            if mem::take(&mut shared.ask_lost) {
                shared.lost = capture.stats().map_or(0, |stats| stats.dropped);
                shared.has_read = false;
            }
            shared.new_filter.clone()
        };
        if let Some(program) = new_filter {
            if let Err(error) = capture.filter(&program, true) {
                break error;
            }
            lock(&handover.shared).new_filter = None;
            handover.changed.notify_all();
        }
        match capture.next_packet() {
            Ok(packet) => {
                let mut shared = lock(&handover.shared);
                let mut bytes = shared.free.pop().unwrap_or_default();
                bytes.clear();
                bytes.extend_from_slice(packet.data);
                shared.queued_bytes += bytes.len();
                shared.frames.push_back(Frame { bytes, original_len: packet.header.len as usize });
                shared.has_read = true;
                let is_first = shared.frames.len() == 1;
                drop(shared);
                // Who reads takes all that is there before it waits.
                if is_first {
                    waiter.notify();
                }
            }
            Err(Error::TimeoutExpired | Error::NoMorePackets) => {}
            Err(error) => break error,
        }
    };
    let mut shared = lock(&handover.shared);
    shared.failed = Some(result.into());
    shared.ended = true;
    drop(shared);
    handover.changed.notify_all();
    waiter.notify();
}

/// Waits for frames of several captures, and for notifications.
pub(super) struct Waiter(Signal);

impl Waiter {
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on other systems")]
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Signal::default()))
    }

    /// Ends the present or the next wait.
    pub(super) fn notify(&self) {
        self.0.notify();
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.0.is_interrupted()
    }

    /// Waits until a capture reports frames, until a notification, or until the time is over.
    pub(super) fn wait(&self, _: &mut Vec<Source>, timeout: Duration) {
        self.0.wait_until(Instant::now().checked_add(timeout));
    }
}

impl Interrupt for Waiter {
    fn interrupt(&self) {
        self.0.interrupt();
    }
}
