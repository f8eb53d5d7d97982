//! Systems without this kind of shared memory.

use std::convert::Infallible;
use std::time::Duration;

use crate::{LockError, OpenError};

pub(crate) const IS_AVAILABLE: bool = false;

/// A memory file. There is none on this platform.
#[derive(Debug)]
pub struct MemoryFile(Infallible);

#[allow(missing_docs, clippy::missing_errors_doc, clippy::unused_self)]
impl MemoryFile {
    pub fn create(_: &str, _: u64, _: u64) -> Result<Self, OpenError> {
        Err(OpenError::Unavailable)
    }

    pub fn open(_: &str) -> Result<Self, OpenError> {
        Err(OpenError::Unavailable)
    }

    pub fn open_to_write(_: &str) -> Result<Self, OpenError> {
        Err(OpenError::Unavailable)
    }

    pub fn open_at_least(_: &str, _: u64) -> Result<Self, OpenError> {
        Err(OpenError::Unavailable)
    }

    pub fn len(&self) -> u64 {
        match self.0 {}
    }

    pub fn is_empty(&self) -> bool {
        match self.0 {}
    }

    pub fn is_intact(&self) -> bool {
        match self.0 {}
    }

    pub fn read(&self, _: u64, _: &mut [u8]) -> bool {
        match self.0 {}
    }

    pub fn append_to(&self, _: u64, _: usize, _: &mut Vec<u8>) -> bool {
        match self.0 {}
    }

    pub fn write(&self, _: u64, _: &[u8]) -> bool {
        match self.0 {}
    }
}

/// A named lock. There is none on this platform.
#[derive(Debug)]
pub struct NamedLock(Infallible);

#[allow(missing_docs, clippy::missing_errors_doc, clippy::unused_self)]
impl NamedLock {
    pub fn open(_: &str) -> Result<Self, OpenError> {
        Err(OpenError::Unavailable)
    }

    pub fn lock(&self, _: Duration) -> Result<(), LockError> {
        match self.0 {}
    }

    pub fn unlock(&self) {
        match self.0 {}
    }

    pub fn unlock_and_wake(&self) {
        match self.0 {}
    }

    pub fn keep_from_others_if_stuck(&self) -> bool {
        match self.0 {}
    }
}

/// A lock that outlives its holder. There is none on this platform.
#[derive(Debug)]
pub struct RobustLock(Infallible);

#[allow(missing_docs, clippy::missing_errors_doc, clippy::unused_self)]
impl RobustLock {
    pub fn open(_: &str) -> Result<Self, OpenError> {
        Err(OpenError::Unavailable)
    }

    pub fn with<T>(&self, _: Duration, _: impl FnOnce(bool) -> T) -> Result<T, LockError> {
        match self.0 {}
    }
}

/// A named event. There is none on this platform.
#[derive(Debug)]
pub struct NamedEvent(Infallible);

#[allow(missing_docs, clippy::missing_errors_doc, clippy::unused_self)]
impl NamedEvent {
    pub fn open(_: &str) -> Result<Self, OpenError> {
        Err(OpenError::Unavailable)
    }

    pub fn open_existing(_: &str) -> Result<Self, OpenError> {
        Err(OpenError::Unavailable)
    }

    pub fn set(&self, _: Duration) -> Result<(), LockError> {
        match self.0 {}
    }
    pub fn is_set(&self) -> bool {
        match self.0 {}
    }

    pub fn wait(&self, _: Duration) -> Result<bool, LockError> {
        match self.0 {}
    }

    pub fn poll(&self, _: Duration) -> Result<bool, LockError> {
        match self.0 {}
    }

    pub fn rescue(&self) {
        match self.0 {}
    }
}

/// Whether there is no file of that name.
pub fn is_absent(_: &str) -> bool {
    true
}

/// Removes the name of a file, if there is one.
pub fn unlink(_: &str) {}

/// Removes the names of the locks and events of these memory files.
pub fn unlink_parts(_: &[String]) {}

/// What the system calls an event of eCAL's.
pub fn event_name(name: &str) -> String {
    name.to_owned()
}

/// Whether there is a process of this id: unknown here.
pub fn lives(_: u32) -> Option<bool> {
    None
}

/// The time of the system's monotonic clock: 0, as nobody has a use for it here.
pub fn monotonic_ns() -> u64 {
    0
}
