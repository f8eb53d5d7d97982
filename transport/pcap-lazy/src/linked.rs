//! macOS: the library is a part of the system, which the linker binds.

use std::ffi::{CStr, c_char};
use std::sync::OnceLock;

use crate::{Library, LoadError, Location};

#[link(name = "pcap")]
unsafe extern "C" {
    safe fn pcap_lib_version() -> *const c_char;
}

pub(crate) fn load() -> Result<&'static Library, &'static LoadError> {
    static LIBRARY: OnceLock<Library> = OnceLock::new();

    Ok(LIBRARY.get_or_init(|| {
        // SAFETY: the library answers with a string that lives as long as the process.
        let version = unsafe { CStr::from_ptr(pcap_lib_version()) };
        let path = "/usr/lib/libpcap.A.dylib".into();
        Library::new(version.to_string_lossy().into_owned(), path, Location::System)
    }))
}
