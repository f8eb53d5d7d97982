//! Named locks: that of a memory file, and the one that outlives its holder.
//!
//! A mutex of Windows belongs to a thread, which may take it again and again, and Windows reports a dead holder once, to
//! the next one. Both differ from Linux, where a lock is for one at a time and stays locked when its holder dies. [`HELD`] and
//! [`Mutex::lock`] make it the same here.

use std::cell::RefCell;
use std::os::windows::io::OwnedHandle;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::system::{self, Waited};
use crate::{LockError, OpenError};

thread_local! {
    /// The names of the locks that this thread has.
    static HELD: RefCell<Vec<Arc<str>>> = const { RefCell::new(Vec::new()) };
}

/// Reads or changes what this thread has. `None` at the very end of a thread, when there are no locals any more.
fn held<T>(run: impl FnOnce(&mut Vec<Arc<str>>) -> T) -> Option<T> {
    HELD.try_with(|held| run(&mut held.borrow_mut())).ok()
}

#[derive(Debug)]
struct Mutex {
    name: Arc<str>,
    handle: OwnedHandle,
    /// Whether its last holder died with it.
    is_lost: AtomicBool,
}

impl Mutex {
    fn open(name: &str) -> Result<Self, OpenError> {
        Ok(Self { name: name.into(), handle: system::mutex(name)?, is_lost: AtomicBool::new(false) })
    }

    /// Takes it. Returns whether the last holder died with it.
    fn lock(&self, timeout: Duration) -> Result<bool, LockError> {
        if self.is_lost.load(Ordering::Relaxed) {
            return Err(LockError::Lost);
        }
        if held(|held| held.contains(&self.name)) == Some(true) {
            // Nobody but this thread can leave it.
            return Err(LockError::TimedOut);
        }
        let has_died = match system::wait(&self.handle, timeout) {
            Waited::Taken => false,
            Waited::Abandoned => true,
            Waited::TimedOut => return Err(LockError::TimedOut),
            Waited::Failed => return Err(LockError::Lost),
        };
        held(|held| held.push(self.name.clone()));
        Ok(has_died)
    }

    fn unlock(&self) {
        if !self.is_lost.load(Ordering::Relaxed) {
            held(|held| held.retain(|name| *name != self.name));
            system::release(&self.handle);
        }
    }
}

/// The lock of a memory file, for one at a time.
#[derive(Debug)]
pub struct NamedLock(Mutex);

impl NamedLock {
    /// Opens a lock, or makes it.
    ///
    /// # Errors
    /// If the system refuses, or something else has that name.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Mutex::open(name).map(Self)
    }

    /// Takes the lock; waits for it as long as `timeout`, rounded up to milliseconds.
    ///
    /// A lock with which its last holder died is lost: what it is for may be half written. The first thread to notice that
    /// keeps the lock until it ends, so that all others are refused, too.
    ///
    /// # Errors
    /// If somebody else, or this thread, has it for all that time, or its holder died with it.
    pub fn lock(&self, timeout: Duration) -> Result<(), LockError> {
        let has_died = self.0.lock(timeout)?;
        self.0.is_lost.store(has_died, Ordering::Relaxed);
        if has_died { Err(LockError::Lost) } else { Ok(()) }
    }

    /// Leaves the lock, which this thread has taken, and wakes one who waits for it.
    pub fn unlock(&self) {
        self.0.unlock();
    }

    /// The same as [`unlock`](Self::unlock). On Linux it differs.
    pub fn unlock_and_wake(&self) {
        self.unlock();
    }

    /// Always `false`: no thread is lost so.
    pub fn keep_from_others_if_stuck(&self) -> bool {
        false
    }
}

/// A lock that can be taken after its holder died with it.
#[derive(Debug)]
pub struct RobustLock(Mutex);

impl RobustLock {
    /// Opens a lock, or makes it.
    ///
    /// # Errors
    /// If the system refuses, or something else has that name.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Mutex::open(name).map(Self)
    }

    /// Runs a function with the lock held. The function gets whether the last holder died with it.
    ///
    /// # Errors
    /// If somebody else, or this thread, has it for longer than `timeout`.
    pub fn with<T>(&self, timeout: Duration, run: impl FnOnce(bool) -> T) -> Result<T, LockError> {
        let has_died = self.0.lock(timeout)?;
        let result = run(has_died);
        self.0.unlock();
        Ok(result)
    }
}
