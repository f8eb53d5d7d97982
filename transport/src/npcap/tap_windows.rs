//! A capture that a thread of its own reads, as Windows has no descriptor to wait for.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};

use ferrocal_pcap_lazy::pcap::{Active, BreakLoop, Capture, Error, Linktype};

use crate::npcap::CaptureError;

/// Frames handed out at once.
const BATCH: usize = 64;

pub(in crate::npcap) struct Tap {
    link_type: Linktype,
    shared: Arc<Handover>,
    /// Wakes the thread from its wait for frames, which need not end by itself on an idle interface.
    wake: BreakLoop,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Handover {
    shared: Mutex<Shared>,
    /// Notified when there is something new for the thread or for who waits for it.
    changed: Condvar,
}

#[derive(Default)]
struct Shared {
    frames: VecDeque<Frame>,
    queued_bytes: usize,
    /// Buffers of frames that were handed out, to be used again.
    free: Vec<Vec<u8>>,
    /// What the driver said when it was last asked.
    lost: u32,
    ask_lost: bool,
    new_filter: Option<String>,
    failed: Option<CaptureError>,
    ended: bool,
    waker: Option<Waker>,
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
    pub(in crate::npcap) fn open(device: &str, buffer_len: usize) -> Result<Self, CaptureError> {
        let mut capture = super::open(device, buffer_len)?;
        let wake = capture.breakloop_handle();
        let link_type = capture.get_datalink();
        let shared = Arc::new(Handover::default());
        let thread = thread::Builder::new()
            .name("ferrocal-capture".into())
            .spawn({
                let shared = shared.clone();
                move || read(capture, &shared, buffer_len)
            })
            .map_err(|error| CaptureError(error.to_string().into()))?;
        Ok(Self { link_type, shared, wake, thread: Some(thread) })
    }

    pub(in crate::npcap) fn link_type(&self) -> Linktype {
        self.link_type
    }

    /// Returns when the filter is in force, as what it is to let through may be on its way by then. A filter that is
    /// refused ends the capture, which the next poll tells.
    pub(in crate::npcap) fn set_filter(&mut self, program: &str) -> Result<(), CaptureError> {
        let mut shared = lock(&self.shared);
        shared.new_filter = Some(program.to_owned());
        self.wake.breakloop();
        self.shared.changed.notify_all();
        while shared.new_filter.is_some() && !shared.ended {
            shared = self.shared.wait(shared);
        }
        Ok(())
    }

    /// Frames that were lost because the buffer was full, up to the call before: the thread has to ask the driver.
    pub(in crate::npcap) fn lost(&mut self) -> u32 {
        let mut shared = lock(&self.shared);
        shared.ask_lost = true;
        self.wake.breakloop();
        shared.lost
    }

    /// Hands out frames, each with its length before it was cut to what the capture takes.
    pub(in crate::npcap) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        each: &mut dyn FnMut(&[u8], usize),
    ) -> Poll<Result<(), CaptureError>> {
        let frames: Vec<Frame> = {
            let mut shared = lock(&self.shared);
            if shared.frames.is_empty() {
                if let Some(error) = shared.failed.take() {
                    return Poll::Ready(Err(error));
                }
                shared.waker = Some(cx.waker().clone());
                return Poll::Pending;
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
        let mut shared = lock(&self.shared);
        shared.free.extend(frames.into_iter().map(|frame| frame.bytes));
        shared.free.truncate(BATCH);
        drop(shared);
        Poll::Ready(Ok(()))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        lock(&self.shared).stop = true;
        self.wake.breakloop();
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

fn read(mut capture: Capture<Active>, handover: &Handover, max_bytes: usize) {
    let result = loop {
        let new_filter = {
            let mut shared = lock(handover);
            // What there is no room for here waits in the driver's buffer.
            while shared.queued_bytes >= max_bytes && !shared.stop && shared.new_filter.is_none() {
                shared = handover.wait(shared);
            }
            if shared.stop {
                return;
            }
            if mem::take(&mut shared.ask_lost) {
                shared.lost = capture.stats().map_or(0, |stats| stats.dropped);
            }
            shared.new_filter.clone()
        };
        if let Some(program) = new_filter {
            if let Err(error) = capture.filter(&program, true) {
                break error;
            }
            lock(handover).new_filter = None;
            handover.changed.notify_all();
        }
        match capture.next_packet() {
            Ok(packet) => {
                let mut shared = lock(handover);
                let mut bytes = shared.free.pop().unwrap_or_default();
                bytes.clear();
                bytes.extend_from_slice(packet.data);
                shared.queued_bytes += bytes.len();
                shared.frames.push_back(Frame { bytes, original_len: packet.header.len as usize });
                if let Some(waker) = shared.waker.take() {
                    waker.wake();
                }
            }
            Err(Error::TimeoutExpired | Error::NoMorePackets) => {}
            Err(error) => break error,
        }
    };
    let mut shared = lock(handover);
    shared.failed = Some(result.into());
    shared.ended = true;
    handover.changed.notify_all();
    if let Some(waker) = shared.waker.take() {
        waker.wake();
    }
}

fn lock(handover: &Handover) -> MutexGuard<'_, Shared> {
    handover.shared.lock().unwrap_or_else(PoisonError::into_inner)
}
