//! Memory files.
#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use super::map::Mapping;
use crate::OpenError;

/// Where glibc has POSIX shared memory.
#[cfg(not(test))]
const FOLDER: &str = "/dev/shm";

/// As eCAL makes them, for programs of all users.
const MODE: u32 = 0o666;

fn folder() -> PathBuf {
    #[cfg(not(test))]
    return FOLDER.into();
    // The tests leave that of the machine alone.
    #[cfg(test)]
    std::env::temp_dir()
}

fn path(name: &str) -> PathBuf {
    folder().join(file_name(name))
}

fn file_name(name: &str) -> String {
    // A name is a single part of a path: the layer has checked what came from others.
    let name = name.replace('/', "_");
    #[cfg(test)]
    let name = super::tests::file_name(&name);
    name
}

/// Makes a file that must not be there yet.
pub(super) fn create_new(name: &str) -> Result<File, OpenError> {
    let file = options(true).create_new(true).mode(MODE).open(path(name)).map_err(OpenError::System)?;
    // Whatever the mask of the process is.
    file.set_permissions(Permissions::from_mode(MODE)).map_err(OpenError::System)?;
    Ok(file)
}

pub(super) fn open_existing(name: &str, is_writable: bool) -> Result<File, OpenError> {
    options(is_writable).open(path(name)).map_err(OpenError::System)
}

fn options(is_writable: bool) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(is_writable).custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options
}

pub(super) fn len(file: &File) -> Result<u64, OpenError> {
    file.metadata().map(|metadata| metadata.len()).map_err(OpenError::System)
}

/// Makes a file at least so long, and has the system give the memory for that now: who writes to a file without gets SIGBUS.
pub(super) fn allocate(file: &File, len: u64) -> Result<(), OpenError> {
    let end = len.try_into().unwrap_or(libc::off_t::MAX);
    loop {
        // SAFETY: the descriptor is open.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, end) } {
            0 => return Ok(()),
            libc::EINTR => {}
            code => return Err(OpenError::System(io::Error::from_raw_os_error(code))),
        }
    }
}

/// Whether there is no file of that name.
pub fn is_absent(name: &str) -> bool {
    fs::symlink_metadata(path(name)).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Removes the name of a file, if there is one. Those who have the file open keep it.
pub fn unlink(name: &str) {
    // It may be gone, or somebody else's.
    let _ = fs::remove_file(path(name));
}

/// Removes the names of the locks and events of these memory files, whoever made them.
pub fn unlink_parts(names: &[String]) {
    let prefixes: Vec<_> = names.iter().map(|name| file_name(&format!("{name}_"))).collect();
    for entry in fs::read_dir(folder()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if prefixes.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes())) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file in memory that others map, too.
#[derive(Debug)]
pub struct MemoryFile(Mapping);

impl MemoryFile {
    /// Makes a file of `len` bytes, all zero, and maps it to be written. The system has memory for the first `needed` ones.
    ///
    /// # Errors
    /// If it is there already, there is no memory, or the system refuses.
    pub fn create(name: &str, len: u64, needed: u64) -> Result<Self, OpenError> {
        let file = create_new(name)?;
        let made = file.set_len(len).map_err(OpenError::System);
        let made = made.and_then(|()| allocate(&file, needed.min(len))).and_then(|()| Self::map(&file, true));
        made.inspect_err(|_| unlink(name))
    }

    /// Opens a file of somebody else's to be read.
    ///
    /// # Errors
    /// If it is not there, is empty, or the system refuses.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Self::map(&open_existing(name, false)?, false)
    }

    /// As [`open`](Self::open), to be written as well.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_to_write(name: &str) -> Result<Self, OpenError> {
        Self::map(&open_existing(name, true)?, true)
    }

    /// As [`open_to_write`](Self::open_to_write), and makes it `len` bytes long if it is shorter.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for one that is empty.
    pub fn open_at_least(name: &str, len: u64) -> Result<Self, OpenError> {
        let file = open_existing(name, true)?;
        if self::len(&file)? < len {
            allocate(&file, len)?;
        }
        Self::map(&file, true)
    }

    fn map(file: &File, is_writable: bool) -> Result<Self, OpenError> {
        let len = len(file)?;
        let mapped = usize::try_from(len).ok().filter(|&len| len > 0).ok_or(OpenError::TooShort(len))?;
        Mapping::new(file, mapped, is_writable).map(Self)
    }

    /// How many bytes are mapped.
    pub fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// Always `false`: an empty file cannot be mapped.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Whether nothing of it was found to be gone. It may be gone all the same, as long as it is not read.
    pub fn is_intact(&self) -> bool {
        self.0.is_intact()
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
