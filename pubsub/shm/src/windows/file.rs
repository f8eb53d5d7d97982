//! Memory files.

use super::system::View;
use crate::OpenError;

/// Whether there is no file of that name.
pub fn is_absent(name: &str) -> bool {
    MemoryFile::open(name).is_err_and(|error| error.is_absent())
}

/// Does nothing: Windows removes a mapping, a mutex and an event when nobody has it open any more.
pub fn unlink(_: &str) {}

/// Does nothing, as [`unlink`].
pub fn unlink_parts(_: &[String]) {}

/// A file in memory that others map, too.
#[derive(Debug)]
pub struct MemoryFile(View);

impl MemoryFile {
    /// Makes a file of `len` bytes, all zero, and maps it to be written. Its length is rounded up to whole pages, for all of which
    /// the system has memory.
    ///
    /// # Errors
    /// If it is there already, or the system refuses.
    pub fn create(name: &str, len: u64, _: u64) -> Result<Self, OpenError> {
        View::create(name, len).map(Self)
    }

    /// Opens a file of somebody else's to be read.
    ///
    /// # Errors
    /// If it is not there, has no memory, is a file on a disk, or the system refuses.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        View::open(name, false).map(Self)
    }

    /// As [`open`](Self::open), to be written as well.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_to_write(name: &str) -> Result<Self, OpenError> {
        View::open(name, true).map(Self)
    }

    /// As [`open_to_write`](Self::open_to_write). A mapping cannot be made longer.
    ///
    /// # Errors
    /// As [`open`](Self::open), and if it is shorter than `len` bytes.
    pub fn open_at_least(name: &str, len: u64) -> Result<Self, OpenError> {
        let file = Self::open_to_write(name)?;
        if file.len() < len { Err(OpenError::TooShort(file.len())) } else { Ok(file) }
    }

    /// How many bytes are mapped.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Always `false`: an empty file cannot be made.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Always `true`: nothing of a mapping can be taken away.
    pub fn is_intact(&self) -> bool {
        true
    }

    /// Copies a part of the file into a buffer. Returns whether the file has that part; the buffer holds anything otherwise.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> bool {
        usize::try_from(offset).is_ok_and(|offset| self.0.read(offset, into))
    }

    /// Appends a part of the file to a buffer. Returns whether the file has that part.
    pub fn append_to(&self, offset: u64, len: usize, into: &mut Vec<u8>) -> bool {
        usize::try_from(offset).is_ok_and(|offset| self.0.append_to(offset, len, into))
    }

    /// Copies a buffer into a part of the file. Returns whether the file has that part, and was opened to be written.
    pub fn write(&self, offset: u64, from: &[u8]) -> bool {
        usize::try_from(offset).is_ok_and(|offset| self.0.write(offset, from))
    }
}
