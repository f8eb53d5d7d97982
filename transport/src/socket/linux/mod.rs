//! Many datagrams a system call: recvmmsg(2) with `UDP_GRO`, sendmsg(2) with `UDP_SEGMENT` and sendmmsg(2).

#![allow(unsafe_code)]

mod queues;
mod receive;
mod route;
mod send;

use std::io;
use std::mem;
use std::net::{Shutdown, UdpSocket};
use std::os::fd::AsRawFd;

use socket2::{SockRef, Socket};

pub use queues::{ReceiveQueues, sockets_of};
pub(super) use receive::{Buffers, recv};
pub(super) use route::Route;
pub(super) use send::send;

/// Requests what speeds up or informs, as far as the kernel has it: the number of datagrams that found the receive buffer
/// full (`SO_RXQ_OVFL`, socket(7)), and consecutive datagrams in one piece (`UDP_GRO`, udp(7), Linux 5.0). Returns whether
/// it joins consecutive datagrams.
pub(super) fn prepare(socket: &Socket) -> bool {
    prepare_with(|level, option| set(socket, level, option, 1))
}

fn prepare_with(mut set: impl FnMut(libc::c_int, libc::c_int) -> io::Result<()>) -> bool {
    if let Err(error) = set(libc::SOL_SOCKET, libc::SO_RXQ_OVFL) {
        log::debug!("the system does not report full receive buffers: {error}");
    }
    set(libc::SOL_UDP, libc::UDP_GRO).is_ok()
}

/// Ends the present and every later wait for datagrams.
pub(super) fn interrupt(socket: &UdpSocket) {
    // Fails, because the socket is not connected, and wakes the waiting thread all the same.
    let _ = SockRef::from(socket).shutdown(Shutdown::Read);
}

fn set(socket: &Socket, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the pointer and length describe `value`.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get(socket: &Socket, level: libc::c_int, option: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut len = mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the pointers describe `value` and its length.
    let result =
        unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut len) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_the_options_costs_only_what_they_bring() {
        let mut requested = Vec::new();
        let joins = prepare_with(|_, option| {
            requested.push(option);
            Err(io::ErrorKind::Unsupported.into())
        });
        assert!(!joins, "nobody joins datagrams");
        assert_eq!(requested, [libc::SO_RXQ_OVFL, libc::UDP_GRO]);
        assert!(prepare_with(|_, option| match option {
            libc::UDP_GRO => Ok(()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }));
    }
}
