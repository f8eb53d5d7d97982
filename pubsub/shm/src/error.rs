//! What can go wrong, an enum an operation.

use std::io;

/// Why a memory file, a lock or an event cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// This platform has no such thing.
    #[error("shared memory as eCAL has it needs 64-bit Linux with glibc, or 64-bit Windows")]
    Unavailable,
    /// It is not there, or it is there already if it was to be made.
    #[error("the system refused it: {0}")]
    System(#[source] io::Error),
    /// It is shorter than it has to be, or somebody is making it and does not get done.
    #[error("it is too short, or not finished: {0} bytes")]
    TooShort(u64),
    /// More than a few thousand mappings are open.
    #[error("too many memory files are open in this process")]
    TooMany,
}

impl OpenError {
    /// Whether it is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::System(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// Whether the process has too much open, or the system has no memory: what is to be opened may be well.
    pub fn is_shortage(&self) -> bool {
        /// `ENFILE` and `EMFILE`, which have no kind.
        const TOO_MANY: [i32; 2] = [23, 24];
        let Self::System(error) = self else { return matches!(self, Self::TooMany) };
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::OutOfMemory)
            || cfg!(target_os = "linux") && error.raw_os_error().is_some_and(|code| TOO_MANY.contains(&code))
    }
}

/// Why a lock was not taken, or an event neither set nor waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else has it, and did not leave it in time. He may be dead.
    #[error("somebody else held it for too long")]
    TimedOut,
    /// It cannot be used any more: its memory was damaged, or on Windows its last holder died with it.
    #[error("it was damaged, or somebody died with it")]
    Lost,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn a_shortage_is_not_the_file_s_fault() {
        let of_system = |code| OpenError::System(io::Error::from_raw_os_error(code)).is_shortage();
        assert!([libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOSPC].into_iter().all(of_system));
        assert!(OpenError::TooMany.is_shortage());
        assert!(!of_system(libc::EACCES) && !OpenError::TooShort(0).is_shortage());
    }
}
