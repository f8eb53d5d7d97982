//! Waits for the next look at the interfaces, on systems where changes are not reported.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

pub(super) struct Changes(Receiver<()>);

/// Ends the waiting when dropped.
pub(super) struct Stopper {
    _sender: Sender<()>,
}

pub(super) fn changes() -> io::Result<(Stopper, Changes)> {
    let (sender, receiver) = channel();
    Ok((Stopper { _sender: sender }, Changes(receiver)))
}

impl Changes {
    /// Waits until the time is over. Returns `false` if it is to end.
    pub(super) fn wait(&self, timeout: Duration) -> bool {
        self.0.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout)
    }
}
