//! The lock of a memory file.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::sync::{Kind, NAP, Sync};
use crate::{LockError, OpenError};

/// Leaving a lock takes the inner mutex for a moment.
const LEAVING: Duration = Duration::from_millis(50);

/// Waking takes no longer than this, or for ever.
const PATIENCE: Duration = Duration::from_secs(1);

/// The lock of a memory file: a flag that is set while somebody has the file.
#[derive(Debug)]
pub struct NamedLock {
    sync: Sync,
    /// Odd while a thread wakes who waits.
    wakes: AtomicU64,
    /// What that was at the latest look, and since when.
    seen: Mutex<(u64, Instant)>,
}

impl NamedLock {
    /// Opens a lock, or makes it.
    ///
    /// # Errors
    /// If the system refuses, or something else has that name.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        let sync = Sync::open(name, Kind::Plain)?;
        Ok(Self { sync, wakes: AtomicU64::new(0), seen: Mutex::new((0, Instant::now())) })
    }

    /// Takes the lock; waits for it as long as `timeout`.
    ///
    /// # Errors
    /// If somebody else has it for all that time, alive or dead, or its memory is damaged.
    pub fn lock(&self, timeout: Duration) -> Result<(), LockError> {
        // Mostly nobody has it, and no clock is read.
        match self.sync.try_lock() {
            Ok(()) if self.take()? => return Ok(()),
            Ok(()) | Err(LockError::TimedOut) => {}
            Err(error) => return Err(error),
        }
        let deadline = Instant::now() + timeout;
        loop {
            self.sync.lock(deadline)?;
            if self.take()? {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(LockError::TimedOut);
            }
            self.sync.nap(1, NAP.min(left));
        }
    }

    /// Takes the lock if nobody has it, with the inner mutex held, and leaves that. Returns whether it took it.
    fn take(&self) -> Result<bool, LockError> {
        let was_locked = self.sync.flag().swap(1, Ordering::Relaxed) != 0;
        self.sync.unlock()?;
        Ok(!was_locked)
    }

    /// Leaves the lock, which this process has taken. Programs of eCAL that wait for it sleep on until they try again.
    pub fn unlock(&self) {
        // Whoever died inside left it as it is.
        if self.sync.lock_for(LEAVING).is_ok() {
            self.sync.flag().store(0, Ordering::SeqCst);
            let _ = self.sync.unlock();
            self.sync.wake();
        }
    }

    /// Leaves the lock, and wakes a program of eCAL that waits for it.
    ///
    /// glibc may never return from that, if one who waited was killed, and others have come to wait after him: it waits until
    /// the dead one has left. So this is for threads that nobody depends on, and
    /// [`keep_from_others_if_stuck`](Self::keep_from_others_if_stuck) notices it.
    pub fn unlock_and_wake(&self) {
        self.unlock();
        self.wakes.fetch_add(1, Ordering::Relaxed);
        let _ = self.sync.signal(LEAVING);
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the lock and does not leave it again if a thread has not come back from [`unlock_and_wake`](Self::unlock_and_wake)
    /// for a second after a call of this: all others give it up then. Returns whether that is so. To be called from time to
    /// time by another thread.
    pub fn keep_from_others_if_stuck(&self) -> bool {
        let wakes = self.wakes.load(Ordering::Relaxed);
        let since = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if seen.0 != wakes {
                *seen = (wakes, Instant::now());
            }
            seen.1
        };
        let is_stuck = wakes % 2 == 1 && since.elapsed() > PATIENCE;
        if is_stuck && self.sync.lock_for(LEAVING).is_ok() {
            let _ = self.take();
        }
        is_stuck
    }
}
