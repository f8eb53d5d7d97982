//! Receiving.

use std::hint;
use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::Datagram;
use crate::socket::slots::{SLOT_LEN, Slots};

/// Datagrams, or runs of them, asked for at once at the most and at the least.
const MAX_BATCH: usize = 64;
const MIN_BATCH: usize = 2;
/// A batch does not grow beyond this many bytes, so that it is still in the processor's cache when it is looked at.
const BATCH_BYTES: usize = 128 * 1024;
/// Who gets datagrams at intervals up to this does not sleep between them: that would leave no time to sleep, and has the
/// sender wake the reader for each.
const SHORT_GAP: Duration = Duration::from_micros(3);
/// For so long after a batch the next one gathers then. To look at the socket sooner would slow down the sender, whose
/// processor changes the same memory.
const PAUSE: Duration = Duration::from_micros(10);
/// Room for a `sockaddr_in` (16 bytes), a drop count and a segment length (4 each), each behind a header of 16,
/// aligned as all of them need it.
type Control = [u64; 12];

pub(in crate::socket) struct Buffers {
    slots: Slots,
    names: Vec<libc::sockaddr_in>,
    controls: Vec<Control>,
    /// How many datagrams to ask for: few when few come, as preparing for many takes time.
    batch: usize,
    /// When the latest batch came, and how long after the one before it, for each datagram.
    latest: Option<Instant>,
    gap: Duration,
    /// Whether it had all that was asked for.
    is_full: bool,
    /// How long a call waits, if it may wait at all.
    timeout: Option<Duration>,
    /// Whether not to wait any more.
    pub(in crate::socket) interrupted: Arc<AtomicBool>,
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
            gap: Duration::MAX,
            is_full: false,
            timeout: None,
            interrupted: Arc::default(),
        }
    }

    /// Has calls wait for `timeout`.
    fn set_timeout(&mut self, socket: &UdpSocket, timeout: Duration) -> io::Result<()> {
        if self.timeout != Some(timeout) {
            let socket = SockRef::from(socket);
            // The reactor does not mind: calls that are not to wait say so themselves.
            socket.set_nonblocking(false)?;
            // None would be for ever.
            socket.set_read_timeout(Some(timeout.max(Duration::from_micros(1))))?;
            self.timeout = Some(timeout);
        }
        Ok(())
    }

    /// Until when to let datagrams gather, if they come fast and are not to be looked for meanwhile.
    fn pause(&self, busy_poll: Duration) -> Option<Instant> {
        let gathers = self.gap <= SHORT_GAP && !self.is_full && busy_poll < PAUSE;
        self.latest.filter(|_| gathers).map(|latest| latest + PAUSE)
    }

    fn adapt(&mut self, received: Instant, count: usize, bytes: usize) {
        self.gap = self
            .latest
            .map_or(Duration::MAX, |latest| received.saturating_duration_since(latest) / count as u32);
        self.latest = Some(received);
        self.is_full = count == self.batch;
        if self.is_full && bytes <= BATCH_BYTES / 2 {
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
    loop {
        ready!(socket.poll_recv_ready(cx))?;
        let mut count = 0;
        let result = socket.try_io(Interest::READABLE, || {
            let asked = buffers.batch;
            count = receive(socket, port, buffers, None, lost, sink)?;
            // The socket is empty after a batch that was not full, and the reactor tells what comes after that.
            if count < asked { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match result {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Poll::Ready(Err(error)),
            _ if count > 0 => return Poll::Ready(Ok(())),
            _ => {}
        }
    }
}

/// How long to wait, at first by looking again and again.
pub(in crate::socket) struct Wait {
    pub(in crate::socket) busy_poll: Duration,
    pub(in crate::socket) timeout: Duration,
}

/// Waits for datagrams, and receives what came.
pub(in crate::socket) fn recv(
    socket: &UdpSocket,
    port: u16,
    buffers: &mut Buffers,
    wait: Wait,
    lost: &mut u32,
    sink: &mut dyn FnMut(Datagram<'_>),
) -> io::Result<()> {
    buffers.set_timeout(socket, wait.timeout)?;
    receive(socket, port, buffers, Some(wait), lost, sink).map(drop)
}

/// Receives what is there, or comes while waiting: how many datagrams or runs of them.
fn receive(
    socket: &UdpSocket,
    port: u16,
    buffers: &mut Buffers,
    wait: Option<Wait>,
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
    let mut call = |asked: usize, flags: libc::c_int| {
        // SAFETY: `batch` headers are written, and no more are asked for; each of them points at a name, a slice of
        // bytes and a control buffer of the stated lengths, all of which outlive the call and are borrowed by nobody
        // else.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr().cast(),
                asked.min(batch) as libc::c_uint,
                flags as _,
                ptr::null_mut(),
            )
        };
        usize::try_from(count).or_else(|_| {
            let error = io::Error::last_os_error();
            match error.kind() {
                io::ErrorKind::WouldBlock => Ok(0),
                io::ErrorKind::Interrupted if flags == libc::MSG_WAITFORONE => Ok(0),
                _ => Err(error),
            }
        })
    };
    let count = match wait {
        None => call(batch, libc::MSG_DONTWAIT)?,
        Some(Wait { busy_poll, timeout }) => {
            let is_interrupted = || buffers.interrupted.load(Ordering::SeqCst);
            let mut count = 0;
            if let Some(end) = buffers.pause(busy_poll) {
                while Instant::now() < end {
                    hint::spin_loop();
                }
            } else if let Some(latest) = buffers.latest.filter(|_| !busy_poll.is_zero()) {
                let start = Instant::now();
                let (mut now, mut asked) = (start, batch);
                while now - latest < busy_poll {
                    count = call(asked, libc::MSG_DONTWAIT)?;
                    if count > 0 || is_interrupted() {
                        break;
                    }
                    // To look for a second one would keep the first one waiting.
                    asked = 1;
                    now = Instant::now();
                    if now - start >= timeout {
                        return Ok(0);
                    }
                }
            }
            if count == 0 {
                count = call(batch, libc::MSG_WAITFORONE)?;
            }
            // A socket that was shut down tells of datagrams that are none.
            if is_interrupted() { 0 } else { count }
        }
    };
    if count == 0 {
        return Ok(0);
    }
    let received = Instant::now();
    let mut total = 0;
    for (index, (message, name)) in messages.iter().zip(&buffers.names).take(count).enumerate() {
        // SAFETY: `count` is at most `batch`, and as many headers were written.
        let message = unsafe { message.assume_init_ref() };
        let Ancillary { destination, lost: now_lost, segment_len } = ancillary(&message.msg_hdr);
        let lost_before = mem::replace(lost, now_lost.unwrap_or(*lost));
        let len = (message.msg_len as usize).min(SLOT_LEN);
        total += len;
        let (slot, memory) = buffers.slots.written(index);
        sink(Datagram {
            bytes: &slot[..len],
            memory: Some(memory),
            segment_len: segment_len.unwrap_or(len),
            is_after_loss: *lost != lost_before,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_counts_as_a_batch() -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let _entered = runtime.enter();
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        let mut buffers = Buffers::new();
        buffers.batch = MAX_BATCH;
        let mut recv = |timeout| {
            let wait = Wait { busy_poll: Duration::ZERO, timeout };
            let mut count = 0;
            recv(&socket, 0, &mut buffers, wait, &mut 0, &mut |_| count += 1)?;
            io::Result::Ok((count, buffers.latest, buffers.batch))
        };
        let (moment, long) = (Duration::from_millis(1), Duration::from_secs(60));
        assert_eq!(recv(moment)?, (0, None, MAX_BATCH));
        SockRef::from(&socket).send_to(b"one", &socket.local_addr()?.into())?;
        let (count, latest, batch) = recv(long)?;
        assert_eq!((count, latest.is_some(), batch), (1, true, MAX_BATCH / 2));
        assert_eq!(recv(moment)?, (0, latest, batch));
        Ok(())
    }

    #[test]
    fn what_comes_fast_gathers() {
        let (start, micros) = (Instant::now(), Duration::from_micros);
        let mut buffers = Buffers::new();
        buffers.batch = 8;
        let mut after = |time, count, busy_poll| {
            buffers.adapt(start + micros(time), count, 0);
            buffers.pause(micros(busy_poll)).map(|end| end.duration_since(start))
        };
        assert_eq!(after(0, 3, 0), None, "nothing came before");
        assert_eq!(after(9, 3, 0), Some(micros(19)));
        assert_eq!(after(19, 3, 0), None, "too slow");
        assert_eq!(after(22, 8, 0), None, "there may be more already");
        assert_eq!(after(25, 5, 9), Some(micros(35)));
        assert_eq!(after(27, 5, 10), None, "they are looked for");
    }

    #[test]
    fn the_first_datagram_after_a_loss_tells_so() -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let _entered = runtime.enter();
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        super::super::prepare(&SockRef::from(&socket))?;
        SockRef::from(&socket).set_recv_buffer_size(1)?;
        let socket = UdpSocket::from_std(socket)?;
        let (sender, to) = (std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, socket.local_addr()?);
        let (mut buffers, mut lost) = (Buffers::new(), 0);
        buffers.batch = MAX_BATCH;
        let mut receive = || {
            let mut told = Vec::new();
            receive(&socket, 0, &mut buffers, None, &mut lost, &mut |datagram| {
                told.push(datagram.is_after_loss)
            })?;
            io::Result::Ok(told)
        };
        for _ in 0..MAX_BATCH {
            sender.send_to(&[0; 1000], to)?;
        }
        let told = receive()?;
        assert!(told.len() < MAX_BATCH && !told.contains(&true), "{told:?}");
        sender.send_to(&[0], to)?;
        sender.send_to(&[0], to)?;
        assert_eq!(receive()?, [true, false]);
        assert!(lost > 0);
        Ok(())
    }
}
