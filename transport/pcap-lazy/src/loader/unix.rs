//! The dynamic linker of Unix systems.

use std::path::{Path, PathBuf};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use super::{Candidate, NotOpened};
use crate::Location;

pub(crate) type Handle = Library;

pub(crate) fn candidates() -> Vec<Candidate> {
    // Upstream's name, Debian's name, and the one that exists where software is built.
    ["libpcap.so.1", "libpcap.so.0.8", "libpcap.so"]
        .map(|name| Candidate { path: name.into(), location: Location::System })
        .into()
}

/// # Safety
///
/// Loading the library must be sound: it runs the library's initialisation.
pub(crate) unsafe fn open(candidate: &Candidate) -> Result<Handle, NotOpened> {
    // SAFETY: as promised by the caller.
    unsafe { Library::open(Some(&candidate.path), RTLD_NOW | RTLD_LOCAL) }.map_err(|error| {
        if is_absent(&candidate.path, &error.to_string()) {
            NotOpened::Absent
        } else {
            NotOpened::Unusable(error)
        }
    })
}

/// Whether the text of `dlerror` means that there is no such library, as opposed to one that cannot be loaded.
///
/// The system gives no error code, but its text, possibly translated, puts the name of the file that it is about before
/// a colon, and ends with the description of the code.
fn is_absent(name: &Path, text: &str) -> bool {
    let not_found = std::io::Error::from_raw_os_error(libc::ENOENT).to_string();
    let not_found = not_found.split(" (os error").next().unwrap_or_default();
    if text.contains(&format!("{}: ", name.display())) && text.contains(not_found) {
        return true;
    }
    // A sandbox hides a file by mounting a device over it.
    let file = text.split(": ").next().unwrap_or_default();
    Path::new(file).metadata().is_ok_and(|found| !found.is_file())
}

/// The file that a library was loaded from, or else the name by which it was found.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn locate(handle: Handle, name: &Path) -> (Handle, PathBuf) {
    use std::ffi::{CStr, OsStr, c_char, c_void};
    use std::os::unix::ffi::OsStrExt;

    /// The beginning of `struct link_map`, see dlinfo(3).
    #[repr(C)]
    struct LinkMap {
        address: usize,
        name: *const c_char,
    }

    let mut map: *const LinkMap = std::ptr::null();
    let raw = handle.into_raw();
    // SAFETY: `raw` is an open library; this request writes one pointer.
    let status = unsafe { libc::dlinfo(raw, libc::RTLD_DI_LINKMAP, (&raw mut map).cast::<c_void>()) };
    // SAFETY: as it was taken out of a handle above.
    let handle = unsafe { Library::from_raw(raw) };
    if status != 0 || map.is_null() {
        return (handle, name.to_owned());
    }
    // SAFETY: the entry of a library and its name, a C string, live as long as the library is open.
    let path = unsafe { CStr::from_ptr((*map).name) };
    let path = PathBuf::from(OsStr::from_bytes(path.to_bytes()));
    (handle, path)
}

/// The name by which a library was found: this system has no common way to tell more.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn locate(handle: Handle, name: &Path) -> (Handle, PathBuf) {
    (handle, name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn absent(text: &str) -> bool {
        is_absent(Path::new("libpcap.so.1"), text)
    }

    #[test]
    fn absence_is_told_from_damage() {
        // glibc, then musl
        assert!(absent("libpcap.so.1: cannot open shared object file: No such file or directory"));
        assert!(absent("Error loading shared library libpcap.so.1: No such file or directory"));

        assert!(!absent("/usr/lib/libpcap.so.1: invalid ELF header"));
        assert!(!absent("libpcap.so.1: wrong ELF class: ELFCLASS32"));
        assert!(!absent("Error loading shared library libpcap.so.1: Exec format error"));
        assert!(!absent("Dynamic loading not supported"));
    }

    #[test]
    fn a_missing_dependency_is_no_absence() {
        let glibc = "libdbus-1.so.3: cannot open shared object file: No such file or directory";
        let musl =
            "Error loading shared library libdbus-1.so.3: No such file or directory (needed by libpcap.so.1)";
        assert!(!absent(glibc));
        assert!(!absent(musl));
    }

    #[test]
    fn a_file_with_a_device_over_it_is_absent() {
        assert!(absent("/dev/null: file too short"));
    }
}
