//! Waits for one of several descriptors: poll(2).

#![allow(unsafe_code)]

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// A descriptor to wait for.
pub(crate) type Source = libc::pollfd;

/// Waits for something to read, or for the other end to be closed.
pub(crate) fn readable(descriptor: &impl AsRawFd) -> Source {
    Source { fd: descriptor.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}

/// Whether the latest [`poll()`] found something.
pub(crate) fn is_ready(source: &Source) -> bool {
    source.revents != 0
}

/// Waits until one of the sources is ready, or until the time is over, which is rounded up to milliseconds.
pub(crate) fn poll(sources: &mut [Source], timeout: Duration) -> io::Result<()> {
    let millis = timeout.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer and the length describe `sources`.
    let count = unsafe { libc::poll(sources.as_mut_ptr(), sources.len() as libc::nfds_t, millis) };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
