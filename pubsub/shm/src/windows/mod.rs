//! 64-bit Windows: named mappings of the page file, named mutexes and named events, as eCAL uses them.
//!
//! Their names have no prefix, so that programs of one session see each other. Windows removes an object when nobody has it
//! open any more: nothing is left behind by the dead, and there is nothing to [unlink].
//!
//! A mapping neither shrinks nor grows, and one of the page file has its memory from the start. Reading it cannot fail, so
//! that nothing here stands guard as on Linux.

#[cfg(test)]
#[path = "../conformance.rs"]
mod conformance;
mod event;
mod file;
mod lock;
mod system;
#[cfg(test)]
mod tests;

pub use event::NamedEvent;
pub use file::{MemoryFile, is_absent, unlink, unlink_parts};
pub use lock::{NamedLock, RobustLock};
pub use system::{lives, monotonic_ns};

pub(crate) const IS_AVAILABLE: bool = true;

/// What the system calls an event of eCAL's.
pub fn event_name(name: &str) -> String {
    name.to_owned()
}
