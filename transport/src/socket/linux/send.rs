//! Sending: sendmsg(2) with `UDP_SEGMENT`, and sendmmsg(2).

#![allow(unsafe_code)]

use std::cell::Cell;
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::SocketAddrV4;
use std::os::fd::AsRawFd;
use std::ptr;

use ferrocal_proto::{Header, MAX_DATAGRAM_LEN};
use socket2::Socket;

use super::Route;
use crate::seam::Transmit;

/// The most datagrams that one system call takes without segmentation.
const BATCH: usize = 64;
/// The most segments of one buffer (`UDP_MAX_SEGMENTS` of Linux' include/linux/udp.h; 128 since 6.9).
const MAX_SEGMENTS: usize = 64;

/// Sends the first datagrams of a batch that is not empty. Returns how many were sent.
pub(in crate::socket) fn send(socket: &Socket, route: &Route, batch: &[Transmit<'_>]) -> io::Result<usize> {
    let run = &batch[..run_len(batch, route)];
    if run.len() > 1 {
        return match with_scratch(|scratch| send_run(scratch, socket, route, run)) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE)) => {
                route.note_refusal(socket, *run[0].destination.ip(), run[0].len());
                with_scratch(|scratch| send_several(scratch, socket, route, run))
            }
            result => result.map(|()| run.len()),
        };
    }
    let next_run = batch.windows(2).position(|pair| run_len(pair, route) > 1);
    match &batch[..next_run.unwrap_or(batch.len()).clamp(1, BATCH)] {
        [datagram] => send_one(socket, route, datagram).map(|()| 1),
        several => with_scratch(|scratch| send_several(scratch, socket, route, several)),
    }
}

/// Returns how many datagrams at the start of a batch can be sent as segments of one buffer: to one destination, and of
/// one length, but for the last one, which may be shorter. Each has to state its own length, or those who capture frames
/// could not separate them.
fn run_len(batch: &[Transmit<'_>], route: &Route) -> usize {
    let Some(first) = batch.first() else { return 0 };
    let len = first.len();
    let states_its_len =
        |datagram: &Transmit<'_>| Header::datagram_len(datagram.parts[0]) == Some(datagram.len());
    if batch.len() == 1 || !states_its_len(first) || len > route.max_segment_len(*first.destination.ip()) {
        return 1;
    }
    let most = MAX_SEGMENTS.min(MAX_DATAGRAM_LEN / len);
    let rest = batch.iter().take(most).skip(1);
    let mut ended = false;
    let fits = |next: &&Transmit<'_>| {
        let fits =
            !ended && next.destination == first.destination && next.len() <= len && states_its_len(next);
        ended = next.len() < len;
        fits
    };
    1 + rest.take_while(fits).count()
}

/// What a thread prepares for system calls. It is kept from call to call, because it is too large for the stacks of some
/// threads.
struct Scratch {
    copy: Vec<CacheLine>,
    names: Vec<Name>,
    slices: Vec<[libc::iovec; 3]>,
    messages: Vec<libc::mmsghdr>,
}

/// The kernel copies the fastest from whole cache lines.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct CacheLine(#[expect(dead_code, reason = "it is read through a pointer")] [MaybeUninit<u8>; 64]);

impl Scratch {
    const fn new() -> Self {
        Self { copy: Vec::new(), names: Vec::new(), slices: Vec::new(), messages: Vec::new() }
    }

    /// Returns room for one buffer of segments.
    fn copy(&mut self) -> &mut [MaybeUninit<u8>] {
        let lines = MAX_DATAGRAM_LEN.div_ceil(mem::size_of::<CacheLine>());
        self.copy.resize(lines, CacheLine([MaybeUninit::uninit(); 64]));
        let len = mem::size_of_val(&*self.copy);
        // SAFETY: the lines lie in a row without gaps, and all their bytes may be uninitialized.
        unsafe { std::slice::from_raw_parts_mut(self.copy.as_mut_ptr().cast(), len) }
    }
}

fn with_scratch<T>(send: impl FnOnce(&mut Scratch) -> T) -> T {
    thread_local! {
        static SCRATCH: Cell<Scratch> = const { Cell::new(Scratch::new()) };
    }
    // A thread that ends has none any more, and can still send.
    let mut scratch = SCRATCH.try_with(|kept| kept.replace(Scratch::new())).unwrap_or(Scratch::new());
    let result = send(&mut scratch);
    let _ = SCRATCH.try_with(|kept| kept.set(scratch));
    result
}

// Not a part of its caller: there, every short datagram would pay for the room on the stack that this one takes.
#[inline(never)]
fn send_run(scratch: &mut Scratch, socket: &Socket, route: &Route, run: &[Transmit<'_>]) -> io::Result<()> {
    let mut slice = in_place(run).unwrap_or_else(|| {
        let copy = scratch.copy();
        // Costs less than to have the kernel gather the pieces.
        let len = gather(run.iter().flat_map(|datagram| datagram.parts), copy);
        libc::iovec { iov_base: copy.as_mut_ptr().cast(), iov_len: len }
    });
    let name = Name::of(socket, route, run[0].destination);
    // Room for a header of 16 bytes and a u16, aligned as the header needs it.
    let mut control = [0_u64; 3];
    // SAFETY: this C structure is valid when all its bytes are zero.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = name.as_ptr().cast_mut().cast();
    message.msg_namelen = name.len();
    message.msg_iov = &raw mut slice;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(&control) as _;
    // SAFETY: the control buffer has room for this one message, so that there is a first header, and a u16 behind it.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_UDP;
        (*header).cmsg_type = libc::UDP_SEGMENT;
        (*header).cmsg_len = libc::CMSG_LEN(mem::size_of::<u16>() as libc::c_uint) as _;
        ptr::write_unaligned(libc::CMSG_DATA(header).cast(), run[0].len() as u16);
    }
    // SAFETY: the header points at a name, a control buffer and a slice, all of whose bytes are written; all outlive the
    // call, and the kernel only reads through them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The bytes of a run, if its datagrams follow each other in memory already.
fn in_place(run: &[Transmit<'_>]) -> Option<libc::iovec> {
    let start = run[0].parts[0].as_ptr();
    let mut end = start;
    for datagram in run {
        let [bytes, rest @ ..] = datagram.parts;
        if bytes.as_ptr() != end || rest.iter().any(|part| !part.is_empty()) {
            return None;
        }
        end = bytes.as_ptr_range().end;
    }
    Some(libc::iovec { iov_base: start.cast_mut().cast(), iov_len: end.addr() - start.addr() })
}

#[inline(never)] // as above
fn send_several(
    scratch: &mut Scratch,
    socket: &Socket,
    route: &Route,
    batch: &[Transmit<'_>],
) -> io::Result<usize> {
    let Scratch { names, slices, messages, .. } = scratch;
    names.clear();
    slices.clear();
    messages.clear();
    names.extend(batch.iter().map(|datagram| Name::of(socket, route, datagram.destination)));
    slices.extend(batch.iter().map(io_slices));
    messages.extend(names.iter().zip(&mut *slices).map(|(name, slices)| {
        // SAFETY: this C structure is valid when all its bytes are zero.
        let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
        message.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
        message.msg_hdr.msg_namelen = name.len();
        message.msg_hdr.msg_iov = slices.as_mut_ptr();
        message.msg_hdr.msg_iovlen = slices.len() as _;
        message
    }));
    // SAFETY: there is a header for each datagram; each points at a name and slices that outlive the call, and the
    // kernel only reads through them.
    let count = unsafe {
        libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), messages.len() as libc::c_uint, 0)
    };
    if count < 0 { Err(io::Error::last_os_error()) } else { Ok(count as usize) }
}

/// A datagram up to this length is copied into one piece, as that costs less than to have the kernel gather it.
const COPIED_LEN: usize = 2048;

fn send_one(socket: &Socket, route: &Route, datagram: &Transmit<'_>) -> io::Result<()> {
    let name = Name::of(socket, route, datagram.destination);
    let sent = if datagram.len() <= COPIED_LEN {
        let mut copy = [const { MaybeUninit::uninit() }; COPIED_LEN];
        let len = gather(datagram.parts, &mut copy);
        // SAFETY: the pointers describe the `len` bytes of `copy` that are written and a name, which outlive the call.
        unsafe { libc::sendto(socket.as_raw_fd(), copy.as_ptr().cast(), len, 0, name.as_ptr(), name.len()) }
    } else {
        let mut slices = io_slices(datagram);
        // SAFETY: this C structure is valid when all its bytes are zero.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = name.as_ptr().cast_mut().cast();
        message.msg_namelen = name.len();
        message.msg_iov = slices.as_mut_ptr();
        message.msg_iovlen = slices.len() as _;
        // SAFETY: the header points at a name and slices of bytes that outlive the call, and the kernel only reads
        // through them.
        unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) }
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Copies the parts one after another; there must be room for them. Returns how many bytes were written, from the start.
fn gather<'a>(parts: impl IntoIterator<Item = &'a [u8]>, copy: &mut [MaybeUninit<u8>]) -> usize {
    let mut len = 0;
    for part in parts {
        let room = &mut copy[len..len + part.len()];
        // SAFETY: both are as long as `part`, and nothing else refers to `room`.
        unsafe { ptr::copy_nonoverlapping(part.as_ptr(), room.as_mut_ptr().cast(), part.len()) };
        len += part.len();
    }
    len
}

/// The destination as the system calls take it: none if the socket is connected to it.
struct Name(Option<libc::sockaddr_in>);

impl Name {
    fn of(socket: &Socket, route: &Route, destination: SocketAddrV4) -> Self {
        Self((!route.is_connected(socket, destination)).then(|| libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: destination.port().to_be(),
            sin_addr: libc::in_addr { s_addr: u32::from(*destination.ip()).to_be() },
            sin_zero: [0; 8],
        }))
    }

    fn as_ptr(&self) -> *const libc::sockaddr {
        self.0.as_ref().map_or(ptr::null(), |name| ptr::from_ref(name).cast())
    }

    fn len(&self) -> libc::socklen_t {
        self.0.as_ref().map_or(0, |name| mem::size_of_val(name) as libc::socklen_t)
    }
}

fn io_slices(datagram: &Transmit<'_>) -> [libc::iovec; 3] {
    datagram.parts.map(|part| libc::iovec { iov_base: part.as_ptr().cast_mut().cast(), iov_len: part.len() })
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};
    use std::time::Duration;

    use ferrocal_proto::Kind;
    use socket2::{Domain, SockRef, Type};

    use super::*;
    use crate::config::LOOPBACK_BROADCAST;
    use crate::socket::sys::prepare;

    const COUNT: usize = 40;
    const LEN: usize = 1000;

    /// A datagram that states its length.
    fn datagram() -> Vec<u8> {
        let header = Header { kind: Kind::Whole, id: 1, num: 1, len: LEN as u32 };
        [&header.encode()[..], &[7; LEN]].concat()
    }

    /// Receives [`COUNT`] datagrams. Returns how many system calls that took.
    fn receive(socket: &UdpSocket) -> usize {
        let mut buffer = vec![0; 1 << 16];
        let (mut calls, mut left) = (0, COUNT * datagram().len());
        while left > 0 {
            left -= socket.recv(&mut buffer).expect("they arrive");
            calls += 1;
        }
        calls
    }

    fn sockets() -> (Socket, Route, UdpSocket) {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket opens");
        let route = Route::new(LOOPBACK_BROADCAST);
        route.look_up(&socket);
        let receiver = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port is free");
        assert!(prepare(&SockRef::from(&receiver)), "this kernel joins segments");
        receiver.set_read_timeout(Some(Duration::from_secs(60))).expect("a time-out can be set");
        (socket, route, receiver)
    }

    fn send_all(socket: &Socket, route: &Route, destination: SocketAddrV4) {
        let datagram = datagram();
        let batch = [Transmit { destination, parts: [&datagram, &[], &[]] }; COUNT];
        let mut sent = 0;
        while sent < COUNT {
            sent += send(socket, route, &batch[sent..]).expect("they are sent");
        }
    }

    #[test]
    fn a_refused_buffer_of_segments_is_sent_otherwise_and_tried_again_later() {
        let (socket, route, receiver) = sockets();
        let port = receiver.local_addr().expect("it is bound").port();
        let [one, other] = [1, 2].map(|last| SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), port));
        // A socket without checksums may not leave them to the network card, as segmentation does (EINVAL).
        super::super::set(&socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).expect("Linux knows it");
        send_all(&socket, &route, one);
        assert_eq!(receive(&receiver), COUNT, "one by one");
        super::super::set(&socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 0).expect("Linux knows it");
        send_all(&socket, &route, one);
        assert_eq!(receive(&receiver), COUNT, "not tried again at once");
        send_all(&socket, &route, other);
        assert_eq!(receive(&receiver), 1, "another destination");
        route.look_up(&socket);
        send_all(&socket, &route, one);
        assert_eq!(receive(&receiver), 1, "interfaces have changed");
    }

    #[test]
    fn a_run_that_lies_in_one_piece_is_not_copied() {
        let destination = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        let bytes = [7; 30];
        let at = |from: usize, to: usize| Transmit { destination, parts: [&bytes[from..to], &[], &[]] };
        let found = in_place(&[at(0, 10), at(10, 20), at(20, 25)]).expect("they follow each other");
        assert_eq!((found.iov_base.cast_const().cast(), found.iov_len), (bytes.as_ptr(), 25));
        assert!(in_place(&[at(0, 10), at(11, 20)]).is_none(), "a gap");
        assert!(in_place(&[at(10, 20), at(0, 10)]).is_none(), "another order");
        let parts = [&bytes[..5], &bytes[5..10], &[]];
        assert!(in_place(&[Transmit { destination, parts }, at(10, 20)]).is_none(), "two pieces");
    }

    #[test]
    fn a_small_stack_suffices() {
        let (socket, route, receiver) = sockets();
        let destination =
            SocketAddrV4::new(Ipv4Addr::LOCALHOST, receiver.local_addr().expect("it is bound").port());
        let send = move || {
            send_all(&socket, &route, destination);
            route.note_refusal(&socket, *destination.ip(), LEN);
            send_all(&socket, &route, destination);
        };
        let thread = std::thread::Builder::new().stack_size(48 * 1024).spawn(send).expect("a thread starts");
        thread.join().expect("it sends");
        assert_eq!((receive(&receiver), receive(&receiver)), (1, COUNT));
    }
}
