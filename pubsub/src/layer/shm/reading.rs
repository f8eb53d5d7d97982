//! Reads the message in a memory file.

use std::sync::atomic::{Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use ferrocal_proto::{DropReason, MemoryMessage};
use ferrocal_shm::{LockError, MemoryFile, NamedLock, OpenError};

/// How long one try to get the lock takes, as in eCAL.
const LOCK_TIMEOUT: Duration = Duration::from_millis(5);
/// After that time a message is given up: whoever has the lock is dead, and the publisher will take another file.
const GIVE_UP: Duration = Duration::from_millis(500);
/// A message that changes while it is read is read again, so often.
const MAX_TRIES: usize = 4;

/// A memory file of a publisher, to be read.
pub(super) struct Content {
    name: String,
    file: MemoryFile,
    lock: NamedLock,
    /// Of the newest message.
    clock: u64,
    /// When that was taken.
    taken: Option<Instant>,
}

/// A message, taken out of the file.
pub(super) struct Taken {
    pub(super) message: MemoryMessage,
    pub(super) payload: Vec<u8>,
}

impl Content {
    pub(super) fn new(name: &str, file: MemoryFile, lock: NamedLock) -> Self {
        Self { name: name.to_owned(), file, lock, clock: 0, taken: None }
    }

    /// Takes the message out, if it is a new one.
    ///
    /// # Errors
    /// Why a message cannot be had. The next one may be well.
    pub(super) fn take(&mut self, max_len: usize) -> Result<Option<Taken>, DropReason> {
        let start = Instant::now();
        loop {
            match self.lock.lock(LOCK_TIMEOUT) {
                Ok(()) => break,
                Err(LockError::TimedOut) if start.elapsed() < GIVE_UP => {}
                Err(LockError::TimedOut) => return Err(DropReason::Locked),
                Err(_) => return Err(DropReason::MemoryFileLost),
            }
        }
        let taken = self.take_locked(max_len);
        // The publisher may wait for it. If this never returns the publisher does not either, or it has another file, which
        // is read by another thread.
        self.lock.unlock_and_wake();
        if let Ok(Some(_)) = taken {
            self.taken = Some(Instant::now());
        }
        taken
    }

    /// Takes the newest message out once more, with when that was done first. `None` if there is a newer one meanwhile.
    pub(super) fn take_again(&mut self, max_len: usize) -> Option<(Taken, Instant)> {
        let (clock, first) = (self.clock, self.taken?);
        self.clock = clock.checked_sub(1)?;
        let taken = self.take(max_len).ok().flatten().filter(|taken| taken.message.clock == clock);
        (self.clock, self.taken) = (clock, Some(first));
        Some((taken?, first))
    }

    fn take_locked(&mut self, max_len: usize) -> Result<Option<Taken>, DropReason> {
        let mut tries = 0;
        loop {
            let result = self.try_take(max_len);
            tries += 1;
            match result {
                // Somebody writes without the lock: eCAL leaves locks that are not its own when it ends.
                Err(DropReason::Torn | DropReason::LengthMismatch) if tries < MAX_TRIES => {
                    thread::yield_now();
                }
                Ok(Some(taken)) => {
                    self.clock = taken.message.clock;
                    return Ok(Some(taken));
                }
                result => return result,
            }
        }
    }

    fn try_take(&mut self, max_len: usize) -> Result<Option<Taken>, DropReason> {
        let message = match self.head() {
            Err(DropReason::BadMemoryFile) if self.file.has_grown() => {
                self.file =
                    MemoryFile::open(&self.name).map_err(|_: OpenError| DropReason::MemoryFileLost)?;
                self.head()?
            }
            head => head?,
        };
        if message.clock <= self.clock {
            return Ok(None);
        }
        let len = usize::try_from(message.payload_len).ok().filter(|&len| len <= max_len);
        let Some(len) = len else {
            // Once is enough.
            self.clock = message.clock;
            return Err(DropReason::TooLong);
        };
        let mut payload = Vec::new();
        if !self.file.append_to(message.payload_offset, len, &mut payload) {
            return Err(DropReason::MemoryFileLost);
        }
        fence(Ordering::SeqCst);
        if self.head() != Ok(message) {
            return Err(DropReason::Torn);
        }
        Ok(Some(Taken { message, payload }))
    }

    fn head(&self) -> Result<MemoryMessage, DropReason> {
        let mut head = [0; MemoryMessage::MAX_HEAD_LEN];
        let len = usize::try_from(self.file.len()).unwrap_or(head.len()).min(head.len());
        if !self.file.read(0, &mut head[..len]) {
            return Err(DropReason::MemoryFileLost);
        }
        MemoryMessage::decode(&head[..len], self.file.len())
    }
}
