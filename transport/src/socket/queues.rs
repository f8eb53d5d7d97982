//! The receive buffers of this host's sockets.

/// The receive buffer of one socket, in bytes as the kernel counts them: with its own overhead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveQueue {
    /// The socket's number in `/proc/PID/fd`.
    pub inode: u32,
    /// What waits in it.
    pub used: usize,
    /// What it holds.
    pub size: usize,
}
