//! The dynamic linker of Windows.

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use libloading::os::windows::{LOAD_WITH_ALTERED_SEARCH_PATH, Library};
use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;

use super::{Candidate, NotOpened};
use crate::Location;

pub(crate) type Handle = Library;

/// Absolute paths in the system directory, which only administrators can write to; Npcap's own folder is preferred.
pub(crate) fn candidates() -> Vec<Candidate> {
    let Some(system) = system_directory() else { return Vec::new() };
    let npcap = Candidate { path: system.join("Npcap").join("wpcap.dll"), location: Location::Npcap };
    let compatible = Candidate { path: system.join("wpcap.dll"), location: Location::WinPcapCompatible };
    vec![npcap, compatible]
}

fn system_directory() -> Option<PathBuf> {
    let mut buffer = vec![0_u16; 260];
    loop {
        let capacity = u32::try_from(buffer.len()).ok()?;
        // SAFETY: the buffer has this capacity, in characters.
        let len = unsafe { GetSystemDirectoryW(buffer.as_mut_ptr(), capacity) };
        let len = usize::try_from(len).ok()?;
        match len {
            0 => return None,
            // Without the terminating zero. If it was too short, the length is what it takes, with it.
            len if len < buffer.len() => return Some(OsString::from_wide(&buffer[..len]).into()),
            len => buffer.resize(len, 0),
        }
    }
}

/// # Safety
///
/// Loading the library must be sound: it runs the library's initialisation.
pub(crate) unsafe fn open(candidate: &Candidate) -> Result<Handle, NotOpened> {
    if !candidate.path.is_file() {
        return Err(NotOpened::Absent);
    }
    // SAFETY: as promised by the caller. The flag makes the system look beside the library for `Packet.dll`.
    unsafe { Library::load_with_flags(&candidate.path, LOAD_WITH_ALTERED_SEARCH_PATH) }
        .map_err(NotOpened::Unusable)
}

/// The file that a library was loaded from.
pub(crate) fn locate(handle: Handle, path: &Path) -> (Handle, PathBuf) {
    (handle, path.to_owned())
}
