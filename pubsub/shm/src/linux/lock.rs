//! The lock of a memory file.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::sync::{Kind, NAP, Sync};
use crate::{LockError, OpenError};

/// Leaving a lock takes the inner mutex for a moment.
const LEAVING: Duration = Duration::from_millis(50);

/// The lock of a memory file: a flag that is set while somebody has the file.
#[derive(Debug)]
pub struct NamedLock(Sync);

impl NamedLock {
    /// Opens a lock, or makes it.
    ///
    /// # Errors
    /// If the system refuses, or something else has that name.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Sync::open(name, Kind::Plain).map(Self)
    }

    /// Takes the lock; waits for it as long as `timeout`.
    ///
    /// # Errors
    /// If somebody else has it for all that time, alive or dead, or its memory is damaged.
    pub fn lock(&self, timeout: Duration) -> Result<(), LockError> {
        // Mostly nobody has it, and no clock is read.
        match self.0.try_lock() {
            Ok(()) if self.take()? => return Ok(()),
            Ok(()) | Err(LockError::TimedOut) => {}
            Err(error) => return Err(error),
        }
        let deadline = Instant::now() + timeout;
        loop {
            self.0.lock(deadline)?;
            if self.take()? {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LockError::TimedOut);
            }
            self.0.nap(1, NAP.min(left));
        }
    }

    /// Takes the lock if nobody has it, with the inner mutex held, and leaves that. Returns whether it took it.
    fn take(&self) -> Result<bool, LockError> {
        let was_locked = self.0.flag().swap(1, Ordering::Relaxed) != 0;
        self.0.unlock()?;
        Ok(!was_locked)
    }

    /// Leaves the lock, which this process has taken. Programs of eCAL that wait for it sleep on until they try again.
    pub fn unlock(&self) {
        // Whoever died inside left it as it is.
        if self.0.lock_for(LEAVING).is_ok() {
            self.0.flag().store(0, Ordering::SeqCst);
            let _ = self.0.unlock();
            self.0.wake();
        }
    }

    /// Leaves the lock, and wakes a program of eCAL that waits for it.
    ///
    /// glibc may never return from that, if one who waited was killed, and others have come to wait after him: it waits until
    /// the dead one has left. So this is for threads that nobody depends on.
    pub fn unlock_and_wake(&self) {
        self.unlock();
        let _ = self.0.signal(LEAVING);
    }
}
