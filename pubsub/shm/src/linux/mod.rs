//! Linux with glibc: files in the folder of POSIX shared memory, with locks and conditions of POSIX threads in them.

#[cfg(test)]
#[path = "../conformance.rs"]
mod conformance;
mod event;
mod file;
mod guard;
mod lock;
mod map;
mod sync;
#[cfg(test)]
mod tests;

pub use event::NamedEvent;
pub use file::{MemoryFile, unlink, unlink_parts};
pub use lock::{NamedLock, RobustLock};
pub use sync::monotonic_ns;

use std::path::PathBuf;

pub(crate) const IS_AVAILABLE: bool = true;

/// What the system calls an event of eCAL's.
pub fn event_name(name: &str) -> String {
    format!("{name}_evt")
}

/// Whether there is a process of this id, of whatever user.
pub fn is_running(process_id: u32) -> bool {
    PathBuf::from("/proc").join(process_id.to_string()).exists()
}
