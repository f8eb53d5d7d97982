//! A capture whose descriptor shows when frames are there.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ferrocal_pcap_lazy::pcap::{Active, Capture, Linktype};

use super::capture;
use crate::error::CaptureError;
use crate::poll::{self, poll};
use crate::seam::Interrupt;

/// The most frames passed on at once.
const BATCH: usize = 64;

/// What a receiver waits for, of a capture.
pub(super) type Source = poll::Source;

pub(super) struct Tap(Capture<Active>);

impl Tap {
    pub(super) fn open(device: &str, buffer_len: usize, _: &Arc<Waiter>) -> Result<Self, CaptureError> {
        Ok(Self(capture::open(device, buffer_len)?.setnonblock()?))
    }

    pub(super) fn link_type(&self) -> Linktype {
        self.0.get_datalink()
    }

    pub(super) fn source(&self) -> Source {
        poll::readable(&self.0)
    }

    pub(super) fn set_filter(&mut self, program: &str) -> Result<(), CaptureError> {
        Ok(self.0.filter(program, true)?)
    }

    /// Returns how many frames were lost because the buffer was full.
    pub(super) fn lost(&mut self) -> u32 {
        self.0.stats().map_or(0, |stats| stats.dropped)
    }

    /// Passes on the frames that are there, each with its length before it was cut to what the capture takes. Returns how
    /// many there were.
    pub(super) fn read(&mut self, each: &mut dyn FnMut(&[u8], usize)) -> Result<usize, CaptureError> {
        let each =
            |packet: ferrocal_pcap_lazy::pcap::Packet<'_>| each(packet.data, packet.header.len as usize);
        Ok(self.0.dispatch(Some(BATCH), each)?)
    }
}

/// Waits for frames of several captures, and for notifications.
pub(super) struct Waiter {
    notified: PipeReader,
    notifier: PipeWriter,
    /// Whether a byte is in the pipe.
    is_notified: AtomicBool,
    is_interrupted: AtomicBool,
    /// The process that opened the receiver. A forked child shares the pipe.
    process: u32,
}

impl Waiter {
    pub(super) fn new() -> io::Result<Self> {
        let (notified, notifier) = io::pipe()?;
        Ok(Self {
            notified,
            notifier,
            is_notified: AtomicBool::new(false),
            is_interrupted: AtomicBool::new(false),
            process: process::id(),
        })
    }

    /// Ends the present or the next wait.
    pub(super) fn notify(&self) {
        if !self.is_notified.swap(true, Ordering::SeqCst) && self.process == process::id() {
            // There is room for the only byte.
            let _ = (&self.notifier).write(&[0]);
        }
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.is_interrupted.load(Ordering::SeqCst)
    }

    /// Waits until one of the captures has frames, until a notification, or until the time is over. `sources` is scratch
    /// space in which the captures' sources are.
    pub(super) fn wait(&self, sources: &mut Vec<Source>, timeout: Duration) {
        sources.push(poll::readable(&self.notified));
        // A call that was interrupted by a signal ends early, which the caller is used to.
        if poll(sources, timeout).is_ok() && sources.last().is_some_and(poll::is_ready) {
            // In this order: a notification in between leaves another byte.
            self.is_notified.store(false, Ordering::SeqCst);
            let _ = (&self.notified).read(&mut [0; 8]);
        }
    }
}

impl Interrupt for Waiter {
    fn interrupt(&self) {
        self.is_interrupted.store(true, Ordering::SeqCst);
        self.notify();
    }
}
