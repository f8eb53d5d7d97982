//! The disk that is recorded to.

use std::path::{Path, PathBuf};

/// The disk that is recorded to.
pub(crate) struct Disk {
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
        fs4::available_space(&self.folder).ok()
    }
}
