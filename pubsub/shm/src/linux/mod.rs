//! Linux with glibc: files in the folder of POSIX shared memory, with locks and conditions of POSIX threads in them.

#[cfg(test)]
#[path = "../conformance.rs"]
mod conformance;
mod event;
mod file;
mod guard;
mod lock;
mod map;
mod robust;
mod sync;
#[cfg(test)]
mod tests;

pub use event::NamedEvent;
pub use file::{MemoryFile, is_absent, unlink, unlink_parts};
pub use lock::NamedLock;
pub use robust::RobustLock;
pub use sync::monotonic_ns;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

pub(crate) const IS_AVAILABLE: bool = true;

/// What the system calls an event of eCAL's.
pub fn event_name(name: &str) -> String {
    format!("{name}_evt")
}

/// Whether there is a process of this id, of whatever user, that has not ended. `None` if the system does not show that.
pub fn lives(process_id: u32) -> Option<bool> {
    // With `hidepid`, /proc shows the processes of others no more than the first one. It may be that of another namespace.
    let own_id = std::process::id().to_string();
    let is_ours = || fs::read_link("/proc/self").is_ok_and(|id| id.as_os_str() == own_id.as_str());
    if !is_ours() || !Path::new("/proc/1/status").exists() {
        return None;
    }
    match fs::read(format!("/proc/{process_id}/status")) {
        Ok(status) => {
            let mut lines = status.split(|&byte| byte == b'\n');
            // One that has ended stays until its parent has asked how.
            let has_ended = |line: &[u8]| line.starts_with(b"State:\tZ") || line.starts_with(b"State:\tX");
            Some(!lines.any(has_ended))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Some(false),
        // It ended while this looked.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Some(false),
        Err(_) => None,
    }
}
