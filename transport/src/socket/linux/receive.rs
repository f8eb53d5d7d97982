//! Receiving.

use std::hint;
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::Datagram;
use crate::socket::slots::{SLOT_LEN, Slots};

/// Datagrams, or runs of them, asked for at once at the most and at the least.
const MAX_BATCH: usize = 64;
const MIN_BATCH: usize = 2;
/// A batch does not grow beyond this many bytes, so that it is still in the processor's cache when it is looked at.
const BATCH_BYTES: usize = 128 * 1024;
/// A poll does not take longer, as the thread may have other things to do.
const LONGEST_POLL: Duration = Duration::from_millis(1);
/// Room for a `sockaddr_in` (16 bytes), a drop count and a segment length (4 each), each behind a header of 16,
/// aligned as all of them need it.
type Control = [u64; 12];

pub(in crate::socket) struct Buffers {
    slots: Slots,
    names: Vec<libc::sockaddr_in>,
    controls: Vec<Control>,
    /// How many datagrams to ask for: few when few come, as preparing for many takes time.
    batch: usize,
    /// When the latest batch came.
    latest: Option<Instant>,
    busy_poll: Duration,
}

impl Buffers {
    pub(in crate::socket) fn new() -> Self {
        // SAFETY: this C structure is valid when all its bytes are zero.
        let name = unsafe { mem::zeroed() };
        Self {
            slots: Slots::new(MAX_BATCH),
            names: vec![name; MAX_BATCH],
            controls: vec![Control::default(); MAX_BATCH],
            batch: MIN_BATCH,
            latest: None,
            busy_poll: Duration::ZERO,
        }
    }

    pub(in crate::socket) fn set_busy_poll(&mut self, span: Duration) {
        self.busy_poll = span;
    }

    fn adapt(&mut self, received: Instant, count: usize, bytes: usize) {
        self.latest = Some(received);
        if count == self.batch && bytes <= BATCH_BYTES / 2 {
            self.batch = (2 * self.batch).min(MAX_BATCH);
        } else if count <= self.batch / 4 || bytes > BATCH_BYTES {
            self.batch = (self.batch / 2).max(MIN_BATCH);
        }
    }
}

pub(in crate::socket) fn poll_recv(
    socket: &UdpSocket,
    port: u16,
    cx: &mut Context<'_>,
    buffers: &mut Buffers,
    lost: &mut u32,
    sink: &mut dyn FnMut(Datagram<'_>),
) -> Poll<io::Result<()>> {
    let fd = socket.as_raw_fd();
    loop {
        let ready = socket.poll_recv_ready(cx)?.is_ready();
        if !ready && buffers.busy_poll.is_zero() {
            return Poll::Pending;
        }
        let mut count = 0;
        let mut receive = || {
            let asked = buffers.batch;
            count = receive_busily(fd, port, buffers, lost, sink)?;
            // The socket is empty after a batch that was not full, and the reactor tells what comes after that.
            if count < asked { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        let result = if ready { socket.try_io(Interest::READABLE, receive) } else { receive() };
        match result {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
            _ if count > 0 => return Poll::Ready(Ok(())),
            _ if !ready => return Poll::Pending,
            _ => {}
        }
    }
}

/// Receives what is there, or comes within the time of busy polling: how many datagrams or runs of them.
fn receive_busily(
    fd: RawFd,
    port: u16,
    buffers: &mut Buffers,
    lost: &mut u32,
    sink: &mut dyn FnMut(Datagram<'_>),
) -> io::Result<usize> {
    let count = receive(fd, port, buffers, lost, sink)?;
    if count > 0 || buffers.busy_poll.is_zero() {
        return Ok(count);
    }
    let start = Instant::now();
    let latest = buffers.latest.unwrap_or(start);
    loop {
        hint::spin_loop();
        let count = receive(fd, port, buffers, lost, sink)?;
        if count > 0 || latest.elapsed() > buffers.busy_poll || start.elapsed() > LONGEST_POLL {
            return Ok(count);
        }
    }
}

/// Receives what is there: how many datagrams or runs of them.
fn receive(
    fd: RawFd,
    port: u16,
    buffers: &mut Buffers,
    lost: &mut u32,
    sink: &mut dyn FnMut(Datagram<'_>),
) -> io::Result<usize> {
    let batch = buffers.batch;
    let mut slices = [const { MaybeUninit::<libc::iovec>::uninit() }; MAX_BATCH];
    let mut messages = [const { MaybeUninit::<libc::mmsghdr>::uninit() }; MAX_BATCH];
    for index in 0..batch {
        let slot = buffers.slots.writable(index).as_mut_ptr().cast();
        let slice = slices[index].write(libc::iovec { iov_base: slot, iov_len: SLOT_LEN });
        // SAFETY: this C structure is valid when all its bytes are zero.
        let header = &mut messages[index].write(unsafe { mem::zeroed() }).msg_hdr;
        header.msg_name = (&raw mut buffers.names[index]).cast();
        header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
        header.msg_iov = slice;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut buffers.controls[index]).cast();
        header.msg_controllen = mem::size_of::<Control>() as _;
    }
    // SAFETY: as many headers as are asked for are written; each points at a name, a slice of bytes and a control
    // buffer of the stated lengths, all of which outlive the call and are borrowed by nobody else.
    let count = unsafe {
        libc::recvmmsg(
            fd,
            messages.as_mut_ptr().cast(),
            batch as libc::c_uint,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    if count < 0 {
        let error = io::Error::last_os_error();
        return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
    }
    let received = Instant::now();
    let (count, mut total) = (count as usize, 0);
    for (index, (message, name)) in messages.iter().zip(&buffers.names).take(count).enumerate() {
        // SAFETY: `count` is at most `batch`, and as many headers were written.
        let message = unsafe { message.assume_init_ref() };
        let Ancillary { destination, lost: now_lost, segment_len } = ancillary(&message.msg_hdr);
        *lost = now_lost.unwrap_or(*lost);
        let len = (message.msg_len as usize).min(SLOT_LEN);
        total += len;
        let (slot, memory) = buffers.slots.written(index);
        sink(Datagram {
            bytes: &slot[..len],
            memory: Some(memory),
            segment_len: segment_len.unwrap_or(len),
            source: SocketAddrV4::new(
                Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)),
                u16::from_be(name.sin_port),
            ),
            destination: SocketAddrV4::new(destination, port),
            received,
        });
    }
    buffers.adapt(received, count, total);
    Ok(count)
}

/// What the kernel told beside a datagram.
struct Ancillary {
    destination: Ipv4Addr,
    /// Datagrams this socket had lost when this one came, if it lost any.
    lost: Option<u32>,
    /// The length of each datagram but the last, if these are several.
    segment_len: Option<usize>,
}

/// Reads what [`receive`] got beside a datagram.
fn ancillary(header: &libc::msghdr) -> Ancillary {
    let mut told = Ancillary { destination: Ipv4Addr::UNSPECIFIED, lost: None, segment_len: None };
    // SAFETY: the kernel filled the header's control buffer and set its length, which is what the CMSG macros need;
    // an IP_ORIGDSTADDR message holds a `sockaddr_in`, an SO_RXQ_OVFL message a u32, a UDP_GRO message a C integer,
    // each possibly unaligned.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let data = libc::CMSG_DATA(control);
            match ((*control).cmsg_level, (*control).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR) => {
                    let address: libc::sockaddr_in = ptr::read_unaligned(data.cast());
                    told.destination = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => told.lost = Some(ptr::read_unaligned(data.cast())),
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let len: libc::c_int = ptr::read_unaligned(data.cast());
                    told.segment_len = usize::try_from(len).ok().filter(|&len| len > 0);
                }
                _ => {}
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    told
}
