//! A file that is mapped.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

use super::guard::Watched;
use crate::OpenError;

/// A file in memory, shared with all who map it.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    is_writable: bool,
    watched: Option<Watched>,
}

// SAFETY: it is memory without a thread of its own. All access goes through raw pointers, since other processes change it
// at any time.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// `len` is at most that of the file, and not 0.
    pub(super) fn new(file: &File, len: usize, is_writable: bool) -> Result<Self, OpenError> {
        let access = if is_writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a new mapping overlaps nothing. The descriptor is open.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        let Some(start) = NonNull::new(start.cast()).filter(|_| start != libc::MAP_FAILED) else {
            return Err(OpenError::System(io::Error::last_os_error()));
        };
        let mut mapping = Self { start, len, is_writable, watched: None };
        mapping.watched =
            Some(Watched::new(start.as_ptr() as usize, len, is_writable).ok_or(OpenError::TooMany)?);
        Ok(mapping)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn start<T>(&self) -> *mut T {
        self.start.as_ptr().cast()
    }

    /// Whether all of it still is what the file has.
    pub(super) fn is_intact(&self) -> bool {
        self.watched.as_ref().is_some_and(|watched| !watched.is_broken())
    }

    /// Copies a part into a buffer. Returns whether the mapping has that part, and is intact.
    pub(super) fn read(&self, offset: usize, into: &mut [u8]) -> bool {
        if !self.contains(offset, into.len()) {
            return false;
        }
        // SAFETY: the range was checked, and the buffer is not of this mapping. Others may write meanwhile: any bytes
        // are allowed in the buffer.
        unsafe { ptr::copy_nonoverlapping(self.start.as_ptr().add(offset), into.as_mut_ptr(), into.len()) };
        self.is_intact()
    }

    /// Appends a part to a buffer. Returns whether the mapping has that part, and is intact; nothing is appended otherwise.
    pub(super) fn append_to(&self, offset: usize, len: usize, into: &mut Vec<u8>) -> bool {
        if !self.contains(offset, len) {
            return false;
        }
        into.reserve(len);
        // SAFETY: as in `read`; the buffer has room for so many bytes behind its own, and they are set before its length.
        unsafe {
            let room = into.spare_capacity_mut().as_mut_ptr().cast();
            ptr::copy_nonoverlapping(self.start.as_ptr().add(offset), room, len);
            if self.is_intact() {
                into.set_len(into.len() + len);
                return true;
            }
        }
        false
    }

    /// Copies a buffer into a part. Returns whether the mapping has that part, and is intact.
    pub(super) fn write(&self, offset: usize, from: &[u8]) -> bool {
        if !self.is_writable || !self.contains(offset, from.len()) {
            return false;
        }
        // SAFETY: the range was checked, can be written, and is not of the buffer.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.start.as_ptr().add(offset), from.len()) };
        self.is_intact()
    }

    fn contains(&self, offset: usize, len: usize) -> bool {
        offset.checked_add(len).is_some_and(|end| end <= self.len)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // Before the addresses can belong to somebody else.
        self.watched = None;
        // SAFETY: the mapping is this one's own, and nothing refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
