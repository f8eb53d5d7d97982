//! A capture whose descriptor tells when frames are there.
#![allow(unsafe_code)]

use std::task::{Context, Poll, ready};

use ferrocal_pcap_lazy::pcap::{Active, Capture, Linktype};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::npcap::CaptureError;

/// Frames handed out at once.
const BATCH: usize = 64;

pub(in crate::npcap) struct Tap(AsyncFd<Capture<Active>>);

impl Tap {
    pub(in crate::npcap) fn open(device: &str, buffer_len: usize) -> Result<Self, CaptureError> {
        let capture = super::open(device, buffer_len)?.setnonblock()?;
        // SAFETY: libpcap opens the descriptor when it activates a capture and closes it with the capture, which the
        // `AsyncFd` owns from here on.
        let fd = unsafe { AsyncFd::register_with_interest(capture, Interest::READABLE) }
            .map_err(|error| CaptureError(error.to_string().into()))?;
        Ok(Self(fd))
    }

    pub(in crate::npcap) fn link_type(&self) -> Linktype {
        self.0.get_ref().get_datalink()
    }

    pub(in crate::npcap) fn set_filter(&mut self, program: &str) -> Result<(), CaptureError> {
        Ok(self.0.get_mut().filter(program, true)?)
    }

    /// Frames that were lost because the buffer was full.
    pub(in crate::npcap) fn lost(&mut self) -> u32 {
        self.0.get_mut().stats().map_or(0, |stats| stats.dropped)
    }

    /// Hands out frames, each with its length before it was cut to what the capture takes.
    pub(in crate::npcap) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        each: &mut dyn FnMut(&[u8], usize),
    ) -> Poll<Result<(), CaptureError>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready_mut(cx))
                .map_err(|error| CaptureError(error.to_string().into()))?;
            let count = ready
                .get_inner_mut()
                .dispatch(Some(BATCH), |packet| each(packet.data, packet.header.len as usize))?;
            if count > 0 {
                return Poll::Ready(Ok(()));
            }
            ready.clear_ready();
        }
    }
}
