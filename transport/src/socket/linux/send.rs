//! Sending.

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use ferrocal_proto::Header;
use socket2::{Domain, Socket, Type};

use super::get;
use crate::{MAX_DATAGRAM_LEN, Mode, Transmit};

/// Datagrams handed over at once without segmentation.
const BATCH: usize = 64;
/// The most datagrams that Linux cuts a run into (`UDP_MAX_SEGMENTS` of include/linux/udp.h; 128 since 6.9).
const MAX_SEGMENTS: usize = 64;
/// Headers of IPv4 and UDP.
const HEADERS_LEN: usize = 28;

/// What is known of the way that a socket's datagrams take.
pub(in crate::socket) struct Route {
    /// Up to which length of datagrams the kernel cuts a run of them (`UDP_SEGMENT`, udp(7), Linux 4.18); else 0.
    segment_len: AtomicUsize,
    /// Where the socket is connected to, if it is: datagrams to there need no route looked up. Only ever a port of
    /// loopback's broadcast address: elsewhere the source address, which connect(2) fixes, may change, and a host's own
    /// address may answer that nobody listens, which a connected socket takes for a failure.
    connected: OnceLock<Option<SocketAddrV4>>,
}

impl Route {
    pub(in crate::socket) fn new(mode: Mode, socket: &Socket) -> Self {
        let segment_len = segment_len(usual_destination(mode), socket).unwrap_or(0);
        Self { segment_len: AtomicUsize::new(segment_len), connected: OnceLock::new() }
    }

    /// Whether the socket is connected to a destination, or to be connected to it now.
    fn is_connected(&self, socket: &Socket, destination: SocketAddrV4) -> bool {
        let connect = || socket.connect(&destination.into()).ok().map(|()| destination);
        *destination.ip() == usual_destination(Mode::Local)
            && *self.connected.get_or_init(connect) == Some(destination)
    }

    /// The longest datagrams that runs can be made of, in bytes, where longer ones would be sent in pieces. Loopback takes
    /// the longest datagrams as they are, and without the copy that a run costs.
    pub(in crate::socket) fn segment_len(&self) -> Option<usize> {
        Some(self.max_len()).filter(|len| (1..MAX_DATAGRAM_LEN).contains(len))
    }

    fn max_len(&self) -> usize {
        self.segment_len.load(Ordering::Relaxed)
    }

    /// After the kernel refused a run: that interface has no checksums of its own, or a smaller MTU than before.
    fn give_up(&self) {
        self.segment_len.store(0, Ordering::Relaxed);
    }
}

/// An address that is reached as those that messages go to: eCAL's defaults.
const fn usual_destination(mode: Mode) -> Ipv4Addr {
    match mode {
        Mode::Local => Ipv4Addr::new(127, 255, 255, 255),
        Mode::Network => Ipv4Addr::new(239, 0, 0, 1),
    }
}

fn segment_len(destination: Ipv4Addr, socket: &Socket) -> Option<usize> {
    get(socket, libc::SOL_UDP, libc::UDP_SEGMENT).ok()?;
    // A connected socket knows the MTU of its route; nothing is sent.
    let probe = Socket::new(Domain::IPV4, Type::DGRAM, None).ok()?;
    probe.set_broadcast(true).ok()?;
    probe.set_multicast_if_v4(&socket.multicast_if_v4().ok()?).ok()?;
    probe.connect(&SocketAddrV4::new(destination, 9).into()).ok()?;
    let mtu = usize::try_from(get(&probe, libc::IPPROTO_IP, libc::IP_MTU).ok()?).ok()?;
    mtu.checked_sub(HEADERS_LEN)
}

/// Sends the first datagrams of a batch that is not empty; tells how many.
pub(in crate::socket) fn send(socket: &Socket, route: &Route, batch: &[Transmit<'_>]) -> io::Result<usize> {
    let max_len = route.max_len();
    let run = run_len(batch, max_len);
    if run > 1 {
        match send_run(socket, route, &batch[..run]) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE)) => {
                route.give_up();
            }
            result => return result.map(|()| run),
        }
    }
    let next_run = batch.windows(2).position(|pair| run_len(pair, max_len) > 1);
    match &batch[..next_run.unwrap_or(batch.len()).clamp(1, BATCH)] {
        [datagram] => send_one(socket, route, datagram).map(|()| 1),
        several => send_several(socket, route, several),
    }
}

/// How many datagrams at the start of a batch can be sent as one run: to one place, and of one length, but for the last
/// one, which may be shorter. Each has to say its own length, or those who capture frames could not take the run apart.
fn run_len(batch: &[Transmit<'_>], max_len: usize) -> usize {
    let Some(first) = batch.first() else { return 0 };
    let len = first.len();
    let tells_its_len =
        |datagram: &Transmit<'_>| Header::datagram_len(datagram.parts[0]) == Some(datagram.len());
    if len > max_len || !tells_its_len(first) {
        return 1;
    }
    let most = MAX_SEGMENTS.min(MAX_DATAGRAM_LEN / len);
    let rest = batch.iter().take(most).skip(1);
    let mut ended = false;
    let fits = |next: &&Transmit<'_>| {
        let fits =
            !ended && next.destination == first.destination && next.len() <= len && tells_its_len(next);
        ended = next.len() < len;
        fits
    };
    1 + rest.take_while(fits).count()
}

/// The kernel's copies are the fastest from whole cache lines.
#[repr(align(64))]
struct Copied([MaybeUninit<u8>; MAX_DATAGRAM_LEN]);

// Not a part of its caller: there, every short datagram would pay for the room on the stack that this one takes.
#[inline(never)]
fn send_run(socket: &Socket, route: &Route, run: &[Transmit<'_>]) -> io::Result<()> {
    let mut copied = Copied([const { MaybeUninit::uninit() }; MAX_DATAGRAM_LEN]);
    let copy = &mut copied.0;
    // Costs less than to have the kernel gather the pieces.
    let len = gather(run.iter().flat_map(|datagram| datagram.parts), copy);
    let mut slice = libc::iovec { iov_base: copy.as_mut_ptr().cast(), iov_len: len };
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
    // SAFETY: the header points at a name, a control buffer and a slice, whose `len` bytes are written; all outlive the
    // call, and the kernel only reads through them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[inline(never)] // as above
fn send_several(socket: &Socket, route: &Route, batch: &[Transmit<'_>]) -> io::Result<usize> {
    let mut names = [const { MaybeUninit::<Name>::uninit() }; BATCH];
    let mut slices = [const { MaybeUninit::<[libc::iovec; 3]>::uninit() }; BATCH];
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; BATCH];
    for (((datagram, name), slices), message) in
        batch.iter().zip(&mut names).zip(&mut slices).zip(&mut messages)
    {
        let name = name.write(Name::of(socket, route, datagram.destination));
        let slices = slices.write(io_slices(datagram));
        // SAFETY: this C structure is valid when all its bytes are zero.
        let message = message.write(unsafe { mem::zeroed() });
        message.msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
        message.msg_hdr.msg_namelen = name.len();
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

/// Copies the parts behind each other, which must have room: how many bytes are written then, from the start.
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

/// The destination as the system calls take it: none where the socket is connected to it.
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
