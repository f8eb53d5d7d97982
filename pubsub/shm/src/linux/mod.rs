//! Linux with glibc: files in the folder of POSIX shared memory, with locks and conditions of POSIX threads in them.

mod event;
mod file;
mod guard;
mod lock;
mod map;
mod sync;
#[cfg(test)]
mod tests;

pub use event::NamedEvent;
pub use file::{MemoryFile, names, unlink};
pub use lock::{NamedLock, RobustLock};
pub use sync::monotonic_ns;

pub(crate) const IS_AVAILABLE: bool = true;
