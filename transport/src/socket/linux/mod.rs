//! Many datagrams a system call: recvmmsg(2) with `UDP_GRO`, sendmsg(2) with `UDP_SEGMENT` and sendmmsg(2).
#![allow(unsafe_code)]

mod receive;
mod send;

use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use socket2::Socket;

pub(super) use receive::{Buffers, Wait, poll_recv, recv};
pub(super) use send::{Route, send};

/// Asks for each datagram's destination (`IP_RECVORIGDSTADDR`, ip(7); `IP_PKTINFO` would cost a route look-up for each),
/// for the number of datagrams that found the receive buffer full (`SO_RXQ_OVFL`, socket(7)), and to be handed runs of
/// datagrams in one piece (`UDP_GRO`, udp(7)), which kernels before 5.0 do not know.
pub(super) fn prepare(socket: &Socket) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_RECVORIGDSTADDR, 1)?;
    set(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
    let _ = set(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    Ok(())
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
