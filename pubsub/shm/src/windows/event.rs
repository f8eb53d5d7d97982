//! Named events: a flag that one sets and another one waits for.

use std::os::windows::io::OwnedHandle;
use std::time::Duration;

use super::system::{self, Waited};
use crate::{LockError, OpenError};

/// An event. Set several times before it is waited for, it counts as set once.
#[derive(Debug)]
pub struct NamedEvent(OwnedHandle);

impl NamedEvent {
    /// Opens an event, or makes it.
    ///
    /// # Errors
    /// If the system refuses, or something else has that name.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        system::event(name).map(Self)
    }

    /// Opens an event that somebody has made.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if it is not there.
    pub fn open_existing(name: &str) -> Result<Self, OpenError> {
        system::existing_event(name).map(Self)
    }

    /// Sets it, and wakes who waits. That takes no time.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn set(&self, _: Duration) -> Result<(), LockError> {
        if system::set(&self.0) { Ok(()) } else { Err(LockError::Lost) }
    }

    /// Always `false`: Windows does not show it without taking it back. On Linux it differs.
    pub fn is_set(&self) -> bool {
        false
    }

    /// Waits until it is set, for `timeout` at most, rounded up to milliseconds, and takes that back. Returns whether it was
    /// set.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn wait(&self, timeout: Duration) -> Result<bool, LockError> {
        match system::wait(&self.0, timeout) {
            Waited::Taken => Ok(true),
            Waited::TimedOut => Ok(false),
            Waited::Abandoned | Waited::Failed => Err(LockError::Lost),
        }
    }

    /// The same as [`wait`](Self::wait). On Linux it differs.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn poll(&self, timeout: Duration) -> Result<bool, LockError> {
        self.wait(timeout)
    }

    /// Does nothing: a wait always ends in time.
    pub fn rescue(&self) {}
}
