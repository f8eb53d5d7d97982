//! What receivers drop.

use crate::frame::FrameDrops;

/// The datagrams that a [`Receiver`](crate::Receiver) did not pass on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReceiveDrops {
    /// In local mode: sent by another host.
    pub other_host: u64,
    /// Lost because the kernel's receive buffer was full. Reported by sockets on Linux, and by raw frames on every
    /// system; otherwise 0.
    pub buffer_full: u64,
    /// Raw frames: seen on a second interface.
    pub seen_twice: u64,
    /// Raw frames and replay: frames that make no sense.
    pub frames: FrameDrops,
}

impl ReceiveDrops {
    /// Adds the counts of another receiver.
    pub fn add(&mut self, other: &Self) {
        self.other_host += other.other_host;
        self.buffer_full += other.buffer_full;
        self.seen_twice += other.seen_twice;
        self.frames.add(&other.frames);
    }
}
