//! eCAL's memory files, named locks and named events: what the shared-memory layer of ferrocal stands on.
//!
//! Other processes write to the same memory, and any of them may end at any moment, or write what it likes. So
//!
//! - no call waits without a deadline: not for a lock that somebody died with, either;
//! - lengths come from the system, not from what a file says of itself;
//! - a file that somebody shortens while it is mapped here gets zeros in place of what is gone, and [`MemoryFile::is_intact`]
//!   returns `false` from then on. Without that, the next access would end the program with SIGBUS.
//!
//! # The signal handler of Linux
//! The first mapping installs a handler of SIGBUS for the whole process, as the journal of systemd does for its readers. It
//! looks at faults in this crate's mappings alone, and passes all others to the handler that was there before. A program that
//! installs its own later, and does not pass on what it does not know, takes this protection away.
//!
//! # Platforms
//! - Linux with glibc on 64-bit processors: the layout of locks and events is that of glibc's `pthread_mutex_t` and
//!   `pthread_cond_t`, which musl and others do not share.
//! - 64-bit Windows: mappings, mutexes and events that the system knows by name, for the programs of one session. A mapping
//!   cannot be shortened, so that there is nothing to guard against. A lock is left by the thread that has taken it.
//!
//! Elsewhere [`is_available`] returns `false`, and every call fails.

mod error;

#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64", target_endian = "little"))]
#[path = "linux/mod.rs"]
mod backend;
#[cfg(all(windows, target_pointer_width = "64"))]
#[path = "windows/mod.rs"]
mod backend;
#[cfg(not(any(
    all(target_os = "linux", target_env = "gnu", target_pointer_width = "64", target_endian = "little"),
    all(windows, target_pointer_width = "64")
)))]
#[path = "missing.rs"]
mod backend;

pub use backend::{
    MemoryFile, NamedEvent, NamedLock, RobustLock, event_name, is_absent, lives, monotonic_ns, unlink,
    unlink_parts,
};
pub use error::{LockError, OpenError};

/// Whether this platform has what this crate is about.
pub const fn is_available() -> bool {
    backend::IS_AVAILABLE
}
