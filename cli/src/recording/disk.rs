//! The disk that is recorded to.

use std::path::{Path, PathBuf};

/// The disk that is recorded to.
pub(crate) struct Disk {
    #[cfg_attr(not(unix), expect(dead_code, reason = "no other system is asked"))]
    folder: PathBuf,
}

impl Disk {
    /// That of a file.
    pub(crate) fn of(file: &Path) -> Self {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self { folder: folder.unwrap_or(Path::new(".")).to_owned() }
    }

    /// The bytes that are free for this program, if the system says so.
    pub(crate) fn free(&self) -> Option<u64> {
        #[cfg(unix)]
        return rustix::fs::statvfs(&self.folder)
            .ok()
            .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
        #[cfg(not(unix))]
        None
    }
}
