//! Reads the message in a memory file.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};
use std::thread;
use std::time::{Duration, Instant};

use ferrocal_proto::{DropReason, MemoryMessage};
use ferrocal_shm::{LockError, MemoryFile, NamedLock, OpenError};

use crate::payload::{BorrowedPayload, InPlace};

/// How long one try to get the lock takes, as in eCAL.
const LOCK_TIMEOUT: Duration = Duration::from_millis(5);
/// After that time a message is given up: whoever has the lock is dead, and the publisher will take another file.
const GIVE_UP: Duration = Duration::from_millis(500);
/// A message that changes while it is read is read again, so often.
const MAX_TRIES: usize = 4;

/// A memory file of a publisher, to be read.
pub(super) struct Content {
    lock: Arc<NamedLock>,
    newest: Newest,
}

/// The message in the file, for those who have the lock.
struct Newest {
    name: String,
    file: MemoryFile,
    /// Of the newest message that was taken.
    clock: u64,
    /// When that was taken.
    taken: Option<Instant>,
}

/// A message that was taken.
pub(super) struct Taken {
    pub(super) message: MemoryMessage,
    /// A copy of the payload, unless all who want it have seen it in place.
    pub(super) payload: Option<Vec<u8>>,
}

/// Passes a message on while it lies in the file, and locked. Returns whether nobody needs a copy of it.
pub(super) type Lend<'a> = &'a mut dyn FnMut(&MemoryMessage, BorrowedPayload<'_>) -> bool;

/// The lock, until this is dropped.
struct Held<'a>(&'a NamedLock);

impl Content {
    /// For messages that are newer than `clock`.
    pub(super) fn new(name: &str, file: MemoryFile, lock: Arc<NamedLock>, clock: u64) -> Self {
        Self { lock, newest: Newest { name: name.to_owned(), file, clock, taken: None } }
    }

    /// Of the newest message that was taken.
    pub(super) fn clock(&self) -> u64 {
        self.newest.clock
    }

    /// Takes the message, if it is a new one: has it lent, or copies it out.
    ///
    /// # Errors
    /// Why a message cannot be had, or may have changed while it was lent. The next one may be well.
    pub(super) fn take(&mut self, max_len: usize, lend: Lend<'_>) -> Result<Option<Taken>, DropReason> {
        let _held = Held::take(&self.lock)?;
        self.newest.take(max_len, lend)
    }

    /// Takes the newest message out once more, with when that was done first. `None` if there is a newer one meanwhile.
    pub(super) fn take_again(&mut self, max_len: usize) -> Option<(Taken, Instant)> {
        let (clock, first) = (self.newest.clock, self.newest.taken?);
        self.newest.clock = clock.checked_sub(1)?;
        let taken = self.take(max_len, &mut |_, _| false).ok().flatten();
        (self.newest.clock, self.newest.taken) = (clock, Some(first));
        Some((taken.filter(|taken| taken.message.clock == clock)?, first))
    }
}

impl<'a> Held<'a> {
    fn take(lock: &'a NamedLock) -> Result<Self, DropReason> {
        let start = Instant::now();
        loop {
            match lock.lock(LOCK_TIMEOUT) {
                Ok(()) => return Ok(Self(lock)),
                Err(LockError::TimedOut) if start.elapsed() < GIVE_UP => {}
                Err(LockError::TimedOut) => return Err(DropReason::Locked),
                Err(_) => return Err(DropReason::MemoryFileLost),
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // The publisher may wait for it. If this never returns, `FileWatch::rescue` makes the publisher take another file, which is
        // read by another thread.
        self.0.unlock_and_wake();
    }
}

impl Newest {
    fn take(&mut self, max_len: usize, lend: Lend<'_>) -> Result<Option<Taken>, DropReason> {
        let mut tries = 0;
        loop {
            let result = self.try_take(max_len, lend);
            tries += 1;
            match result {
                // Somebody writes without the lock: eCAL leaves locks that are not its own when it ends.
                Err(DropReason::Torn | DropReason::LengthMismatch) if tries < MAX_TRIES => {
                    thread::yield_now();
                }
                Ok(Some(taken)) => {
                    self.clock = taken.message.clock;
                    if taken.payload.is_none() {
                        // Who has seen it has seen it, whatever it was.
                        self.check(&taken.message)?;
                    }
                    return Ok(Some(taken));
                }
                result => return result,
            }
        }
    }

    fn try_take(&mut self, max_len: usize, lend: Lend<'_>) -> Result<Option<Taken>, DropReason> {
        let message = match self.head() {
            Err(DropReason::BadMemoryFile) => {
                // It may have become longer.
                let file = MemoryFile::open(&self.name).map_err(|_: OpenError| DropReason::MemoryFileLost)?;
                if file.len() > self.file.len() {
                    self.file = file;
                }
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
        let start = Instant::now();
        let place = Place { newest: self, message, len };
        let payload = if lend(&message, BorrowedPayload::in_place(&place)) {
            None
        } else {
            let payload = place.copy().ok_or(DropReason::MemoryFileLost)?;
            self.check(&message)?;
            Some(payload)
        };
        self.taken = Some(start);
        Ok(Some(Taken { message, payload }))
    }

    /// Whether what was read of a message so far was this one's.
    fn check(&self, message: &MemoryMessage) -> Result<(), DropReason> {
        fence(Ordering::SeqCst);
        match self.head() {
            Ok(now) if now == *message => Ok(()),
            Err(DropReason::MemoryFileLost) => Err(DropReason::MemoryFileLost),
            _ => Err(DropReason::Torn),
        }
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

/// The payload of a message in the file.
struct Place<'a> {
    newest: &'a Newest,
    message: MemoryMessage,
    len: usize,
}

impl InPlace for Place<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, offset: usize, into: &mut [u8]) -> bool {
        self.newest.file.read(self.message.payload_offset + offset as u64, into)
    }

    fn copy(&self) -> Option<Vec<u8>> {
        let mut copy = Vec::new();
        self.newest.file.append_to(self.message.payload_offset, self.len, &mut copy).then_some(copy)
    }

    fn is_intact(&self) -> bool {
        self.newest.check(&self.message).is_ok()
    }
}
