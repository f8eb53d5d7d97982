//! The descriptors of the program.

/// Whether a socket has one of the last descriptors that the program may have: the system gives each the lowest number that is
/// free. Connections that others open leave the program 64 of them, or a quarter if that is less.
#[cfg(unix)]
pub(crate) fn is_one_of_the_last(socket: &impl std::os::fd::AsRawFd) -> bool {
    use rustix::process::{Resource, getrlimit};
    const RESERVE: u64 = 64;
    let number = u64::from(socket.as_raw_fd().unsigned_abs());
    getrlimit(Resource::Nofile).current.is_some_and(|limit| number >= limit - RESERVE.min(limit / 4))
}

/// Windows has no such limit.
#[cfg(not(unix))]
pub(crate) fn is_one_of_the_last<S>(_: &S) -> bool {
    false
}
