//! What the functions answer when there is no library, or when the library lacks them: errors as libpcap's own.

use std::ffi::{CString, c_char, c_int};
use std::ptr;
use std::sync::OnceLock;

use crate::loaded;
use crate::types::{SOCKET, pcap_if_t};

/// How libpcap says that something failed (`PCAP_ERROR`).
pub(crate) const PCAP_ERROR: c_int = -1;

/// The length of the buffers that libpcap writes errors to (`PCAP_ERRBUF_SIZE`).
const ERRBUF_LEN: usize = 256;

/// A value that means failure.
pub(crate) trait Failure {
    const FAILURE: Self;
}

impl Failure for c_int {
    const FAILURE: Self = PCAP_ERROR;
}

impl<T> Failure for *mut T {
    const FAILURE: Self = ptr::null_mut();
}

/// Writes the reason into a buffer of the caller and answers with a failure.
///
/// # Safety
///
/// `errbuf` must be null or point to `PCAP_ERRBUF_SIZE` bytes that can be written to.
pub(crate) unsafe fn fail<T: Failure>(errbuf: *mut c_char) -> T {
    if !errbuf.is_null() {
        let reason = reason().as_bytes();
        let len = reason.len().min(ERRBUF_LEN - 1);
        // SAFETY: the buffer has room for this and the zero, and is not a part of our own text.
        unsafe {
            ptr::copy_nonoverlapping(reason.as_ptr(), errbuf.cast(), len);
            errbuf.add(len).write(0);
        }
    }
    T::FAILURE
}

/// [`fail`] of the functions that list devices: the list is empty.
///
/// # Safety
///
/// As for [`fail`]; the list must be null or point to a pointer that can be written to.
pub(crate) unsafe fn no_devices(list: *mut *mut pcap_if_t, errbuf: *mut c_char) -> c_int {
    if !list.is_null() {
        // SAFETY: as promised by the caller.
        unsafe { list.write(ptr::null_mut()) };
    }
    // SAFETY: as promised by the caller.
    unsafe { fail(errbuf) }
}

/// [`fail`] of the functions that open a socket.
///
/// # Safety
///
/// As for [`fail`].
pub(crate) unsafe fn no_socket(errbuf: *mut c_char) -> SOCKET {
    // SAFETY: as promised by the caller.
    let _: c_int = unsafe { fail(errbuf) };
    // The value of INVALID_SOCKET on Windows, and of an invalid descriptor elsewhere.
    !0
}

/// The reason, as a string that lives as long as the process.
pub(crate) fn reason_pointer() -> *mut c_char {
    // The functions that answer with it have the type of a string that may be written to, but their callers must not.
    reason().as_ptr().cast_mut()
}

fn reason() -> &'static CString {
    static REASON: OnceLock<CString> = OnceLock::new();

    REASON.get_or_init(|| {
        let text = match loaded::load() {
            Err(error) => error.to_string(),
            Ok(library) => format!("this function is missing in {library}"),
        };
        // pcap takes nothing but UTF-8, so a text that is too long must not end within a character.
        let mut len = text.len().min(ERRBUF_LEN - 1);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        CString::new(&text[..len]).unwrap_or_default()
    })
}
