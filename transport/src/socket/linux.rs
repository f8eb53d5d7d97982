//! Many datagrams a system call: recvmmsg(2) and sendmmsg(2).
#![allow(unsafe_code)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use socket2::Socket;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::{Datagram, Transmit};

const RECEIVE_BATCH: usize = 32;
const SEND_BATCH: usize = 64;
/// Above the longest UDP payload, so that nothing is ever cut short.
const SLOT_LEN: usize = 1 << 16;
/// Room for an `in_pktinfo` (12 bytes) and a drop count (4), each behind a header of 16, aligned as both need it.
type Control = [u64; 8];

/// Asks for each datagram's destination and interface (`IP_PKTINFO`, ip(7)) and for the number of datagrams that found
/// the receive buffer full (`SO_RXQ_OVFL`, socket(7)).
pub(super) fn prepare(socket: &Socket) -> io::Result<()> {
    switch_on(socket, libc::IPPROTO_IP, libc::IP_PKTINFO)?;
    switch_on(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL)
}

fn switch_on(socket: &Socket, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = mem::size_of_val(&on) as libc::socklen_t;
    // SAFETY: the descriptor is open, and the pointer and length describe `on`.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

pub(super) struct Buffers(Vec<u8>);

impl Buffers {
    pub(super) fn new() -> Self {
        Self(vec![0; RECEIVE_BATCH * SLOT_LEN])
    }
}

pub(super) fn poll_recv(
    socket: &UdpSocket,
    port: u16,
    cx: &mut Context<'_>,
    buffers: &mut Buffers,
    lost: &mut u32,
    sink: &mut dyn FnMut(Datagram<'_>),
) -> Poll<io::Result<()>> {
    loop {
        ready!(socket.poll_recv_ready(cx))?;
        let fd = socket.as_raw_fd();
        match socket.try_io(Interest::READABLE, || receive(fd, port, buffers, lost, sink)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

fn receive(
    fd: RawFd,
    port: u16,
    buffers: &mut Buffers,
    lost: &mut u32,
    sink: &mut dyn FnMut(Datagram<'_>),
) -> io::Result<()> {
    // SAFETY: these C structures are valid when all their bytes are zero.
    let mut names: [libc::sockaddr_in; RECEIVE_BATCH] = unsafe { mem::zeroed() };
    let mut controls: [Control; RECEIVE_BATCH] = [[0; 8]; RECEIVE_BATCH];
    let mut slices = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; RECEIVE_BATCH];
    // SAFETY: as above.
    let mut messages: [libc::mmsghdr; RECEIVE_BATCH] = unsafe { mem::zeroed() };
    for (index, slot) in buffers.0.chunks_exact_mut(SLOT_LEN).enumerate() {
        slices[index] = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT_LEN };
        let header = &mut messages[index].msg_hdr;
        header.msg_name = (&raw mut names[index]).cast();
        header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
        header.msg_iov = &raw mut slices[index];
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut controls[index]).cast();
        header.msg_controllen = mem::size_of::<Control>() as _;
    }
    // SAFETY: every header points at a name, a slice of `buffers` and a control buffer of the stated lengths, all of
    // which outlive the call and are borrowed by nobody else.
    let count = unsafe {
        libc::recvmmsg(
            fd,
            messages.as_mut_ptr(),
            RECEIVE_BATCH as libc::c_uint,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    if count < 0 {
        return Err(io::Error::last_os_error());
    }
    let received = Instant::now();
    for ((message, name), slot) in
        messages.iter().zip(&names).zip(buffers.0.chunks_exact(SLOT_LEN)).take(count as usize)
    {
        let Ancillary { destination, interface, lost: now_lost } = ancillary(&message.msg_hdr);
        *lost = now_lost.unwrap_or(*lost);
        let len = (message.msg_len as usize).min(SLOT_LEN);
        sink(Datagram {
            bytes: &slot[..len],
            segment_len: len,
            source: SocketAddrV4::new(
                Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)),
                u16::from_be(name.sin_port),
            ),
            destination: SocketAddrV4::new(destination, port),
            interface,
            received,
        });
    }
    Ok(())
}

/// What the kernel told beside a datagram.
struct Ancillary {
    destination: Ipv4Addr,
    interface: u32,
    /// Datagrams this socket had lost when this one came, if it lost any.
    lost: Option<u32>,
}

/// Reads what [`receive`] got beside a datagram.
fn ancillary(header: &libc::msghdr) -> Ancillary {
    let mut told = Ancillary { destination: Ipv4Addr::UNSPECIFIED, interface: 0, lost: None };
    // SAFETY: the kernel filled the header's control buffer and set its length, which is what the CMSG macros need;
    // an IP_PKTINFO message holds an `in_pktinfo`, an SO_RXQ_OVFL message a u32, either possibly unaligned.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let data = libc::CMSG_DATA(control);
            match ((*control).cmsg_level, (*control).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    told.destination = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    told.interface = info.ipi_ifindex.cast_unsigned();
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => told.lost = Some(ptr::read_unaligned(data.cast())),
                _ => {}
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    told
}

/// Sends the first datagrams of a batch that is not empty; tells how many.
pub(super) fn send(socket: &Socket, batch: &[Transmit<'_>]) -> io::Result<usize> {
    if let [datagram] = batch {
        return send_one(socket, datagram).map(|()| 1);
    }
    let batch = &batch[..batch.len().min(SEND_BATCH)];
    let mut names = [const { MaybeUninit::<libc::sockaddr_in>::uninit() }; SEND_BATCH];
    let mut slices = [const { MaybeUninit::<[libc::iovec; 3]>::uninit() }; SEND_BATCH];
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; SEND_BATCH];
    for (((datagram, name), slices), message) in
        batch.iter().zip(&mut names).zip(&mut slices).zip(&mut messages)
    {
        let name = name.write(socket_address(datagram));
        let slices = slices.write(io_slices(datagram));
        // SAFETY: this C structure is valid when all its bytes are zero.
        let message = message.write(unsafe { mem::zeroed() });
        message.msg_hdr.msg_name = (&raw mut *name).cast();
        message.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
        message.msg_hdr.msg_iov = slices.as_mut_ptr();
        message.msg_hdr.msg_iovlen = slices.len() as _;
    }
    // SAFETY: as many headers as the batch has datagrams are written; each points at a name and slices that outlive
    // the call, and the kernel only reads through them.
    let count = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr().cast(), batch.len() as libc::c_uint, 0)
    };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as usize) }
}

/// A datagram up to this length is copied into one piece, as that costs less than to have the kernel gather it.
const COPIED_LEN: usize = 2048;

fn send_one(socket: &Socket, datagram: &Transmit<'_>) -> io::Result<()> {
    let mut copy = [0; COPIED_LEN];
    let mut len = 0;
    let mut slices = io_slices(datagram);
    let mut count = slices.len();
    if datagram.len() <= COPIED_LEN {
        for part in datagram.parts {
            copy[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
        slices[0] = libc::iovec { iov_base: copy.as_mut_ptr().cast(), iov_len: len };
        count = 1;
    }
    let mut name = socket_address(datagram);
    // SAFETY: this C structure is valid when all its bytes are zero.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = mem::size_of_val(&name) as libc::socklen_t;
    message.msg_iov = slices.as_mut_ptr();
    message.msg_iovlen = count as _;
    // SAFETY: the header points at a name and `count` slices of bytes that are written and outlive the call, and the
    // kernel only reads through them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn socket_address(datagram: &Transmit<'_>) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: datagram.destination.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*datagram.destination.ip()).to_be() },
        sin_zero: [0; 8],
    }
}

fn io_slices(datagram: &Transmit<'_>) -> [libc::iovec; 3] {
    datagram.parts.map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() })
}
