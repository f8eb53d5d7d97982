//! Receiving.

#![allow(unsafe_code)]

use std::io;
use std::mem::{self, MaybeUninit};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::seam::{Datagram, Wait};
use crate::socket::slots::{SLOT_LEN, Slots};

/// The most and the fewest datagrams (each may be several joined ones) that one system call asks for.
const MAX_BATCH: usize = 64;
const MIN_BATCH: usize = 2;
/// A batch does not grow beyond this many bytes, so that it is still in the processor's cache when it is read.
const BATCH_BYTES: usize = 128 * 1024;
/// A receiver that gets short datagrams at intervals up to this does not wait in the socket for the next one. The sender
/// would have to wake it for each, which takes longer than to send a short datagram.
const SHORT_GAP: Duration = Duration::from_micros(10);
/// So many batches have to come like that before: an answer and what it answers, or a burst of a few topics, do not wait.
const GATHER_AFTER: u32 = 16;
/// It sleeps for so long after a batch, and reads what has gathered then. Reading the socket sooner would slow down the
/// sender, whose processor changes the same memory. The system adds some 50 us.
const PAUSE: Duration = Duration::from_micros(50);
/// Datagrams up to this length, in bytes, are short.
const SHORT_LEN: usize = 2048;
/// Room for a drop count and a segment length (4 bytes each, padded to 8), each behind a header of 16 bytes, aligned as
/// the headers need it.
type Control = [u64; 6];

pub(in crate::socket) struct Buffers {
    slots: Slots,
    names: Vec<libc::sockaddr_in>,
    controls: Vec<Control>,
    /// How many datagrams to ask for: few when few come, as preparing for many takes time.
    batch: usize,
    /// When the latest batch came, and how long after the one before it, for each datagram.
    latest: Option<Instant>,
    gap: Duration,
    /// How many batches in a row had short datagrams at short intervals.
    fast_batches: u32,
    /// Whether it had all that was asked for.
    is_full: bool,
    /// How long a call waits, once that is set.
    timeout: Option<Duration>,
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
            fast_batches: 0,
            is_full: false,
            timeout: None,
        }
    }

    /// Makes calls wait for `timeout`.
    fn set_timeout(&mut self, socket: &UdpSocket, timeout: Duration) -> io::Result<()> {
        if self.timeout != Some(timeout) {
            // Zero would be for ever.
            socket.set_read_timeout(Some(timeout.max(Duration::from_micros(1))))?;
            self.timeout = Some(timeout);
        }
        Ok(())
    }

    /// Until when to let datagrams gather, if they come fast and the caller does not want to poll.
    fn pause(&self, busy_poll: Duration) -> Option<Instant> {
        let gathers = self.fast_batches >= GATHER_AFTER && !self.is_full && busy_poll.is_zero();
        self.latest.filter(|_| gathers).map(|latest| latest + PAUSE)
    }

    fn adapt(&mut self, received: Instant, count: usize, bytes: usize) {
        self.gap = self
            .latest
            .map_or(Duration::MAX, |latest| received.saturating_duration_since(latest) / count as u32);
        self.latest = Some(received);
        let is_fast = self.gap <= SHORT_GAP && bytes <= count * SHORT_LEN;
        self.fast_batches = if is_fast { self.fast_batches.saturating_add(1) } else { 0 };
        self.is_full = count == self.batch;
        if self.is_full && bytes <= BATCH_BYTES / 2 {
            self.batch = (2 * self.batch).min(MAX_BATCH);
        } else if count <= self.batch / 4 || bytes > BATCH_BYTES {
            self.batch = (self.batch / 2).max(MIN_BATCH);
        }
    }
}

/// Waits for datagrams, and receives those that came.
pub(in crate::socket) fn recv(
    socket: &UdpSocket,
    buffers: &mut Buffers,
    wait: Wait,
    is_interrupted: &AtomicBool,
    lost: &mut u64,
    sink: &mut dyn FnMut(Datagram<'_>),
) -> io::Result<()> {
    let is_interrupted = || is_interrupted.load(Ordering::SeqCst);
    let Wait { timeout, busy_poll } = wait;
    if !timeout.is_zero() {
        buffers.set_timeout(socket, timeout)?;
    }
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
    let mut count = 0;
    if timeout.is_zero() {
        count = call(batch, libc::MSG_DONTWAIT)?;
    } else {
        if let Some(end) = buffers.pause(busy_poll) {
            let pause = end.saturating_duration_since(Instant::now());
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        } else if let Some(latest) = buffers.latest.filter(|_| !busy_poll.is_zero()) {
            let start = Instant::now();
            let (mut now, mut asked) = (start, batch);
            while now - latest < busy_poll {
                count = call(asked, libc::MSG_DONTWAIT)?;
                if count > 0 || is_interrupted() {
                    break;
                }
                // Asking for a second one would delay the first.
                asked = 1;
                now = Instant::now();
                if now - start >= timeout {
                    return Ok(());
                }
            }
        }
        if count == 0 && !is_interrupted() {
            count = call(batch, libc::MSG_WAITFORONE)?;
        }
    }
    // A socket that was shut down returns datagrams that are none.
    if count == 0 || is_interrupted() {
        return Ok(());
    }
    let received = Instant::now();
    let mut total = 0;
    for (index, (message, name)) in messages.iter().zip(&buffers.names).take(count).enumerate() {
        // SAFETY: `count` is at most `batch`, and as many headers were written.
        let message = unsafe { message.assume_init_ref() };
        let Ancillary { lost: now_lost, segment_len } = ancillary(&message.msg_hdr);
        let lost_before = mem::replace(lost, now_lost.map_or(*lost, |now| later(*lost, now)));
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
            received,
        });
    }
    buffers.adapt(received, count, total);
    Ok(())
}

/// How many datagrams were lost in all, of which the kernel tells the lower 32 bits.
fn later(before: u64, now: u32) -> u64 {
    before + u64::from(now.wrapping_sub(before as u32))
}

/// What the kernel reports with a datagram.
struct Ancillary {
    /// How many datagrams this socket had lost when this one came, if it lost any.
    lost: Option<u32>,
    /// The length of each datagram but the last, if these are several.
    segment_len: Option<usize>,
}

/// Reads what [`recv`] got with a datagram.
fn ancillary(header: &libc::msghdr) -> Ancillary {
    let mut found = Ancillary { lost: None, segment_len: None };
    // SAFETY: the kernel filled the header's control buffer and set its length, which is what the CMSG macros need; an
    // SO_RXQ_OVFL message holds a u32, a UDP_GRO message a C integer, each possibly unaligned.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            let data = libc::CMSG_DATA(control);
            match ((*control).cmsg_level, (*control).cmsg_type) {
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => found.lost = Some(ptr::read_unaligned(data.cast())),
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    let len: libc::c_int = ptr::read_unaligned(data.cast());
                    found.segment_len = usize::try_from(len).ok().filter(|&len| len > 0);
                }
                _ => {}
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    /// Never set.
    static NOT_INTERRUPTED: AtomicBool = AtomicBool::new(false);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn losses_are_counted_beyond_what_the_kernel_does() {
        let mut lost = 0;
        for (now, all) in [(5, 5), (u32::MAX, u64::from(u32::MAX)), (3, (1 << 32) + 3), (3, (1 << 32) + 3)] {
            lost = later(lost, now);
            assert_eq!(lost, all);
        }
    }

    #[test]
    fn a_call_that_timed_out_counts_for_nothing() -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut buffers = Buffers::new();
        buffers.batch = MAX_BATCH;
        let mut receive = |timeout| {
            let mut count = 0;
            let wait = Wait::sleep(timeout);
            recv(&socket, &mut buffers, wait, &NOT_INTERRUPTED, &mut 0, &mut |_| count += 1)?;
            io::Result::Ok((count, buffers.latest, buffers.batch))
        };
        let moment = Duration::from_millis(1);
        assert_eq!(receive(moment)?, (0, None, MAX_BATCH));
        assert_eq!(receive(Duration::ZERO)?, (0, None, MAX_BATCH));
        socket.send_to(b"one", socket.local_addr()?)?;
        let (count, latest, batch) = receive(LONG)?;
        assert_eq!((count, latest.is_some(), batch), (1, true, MAX_BATCH / 2));
        assert_eq!(receive(moment)?, (0, latest, batch));
        Ok(())
    }

    #[test]
    fn fast_datagrams_gather() {
        let (start, micros) = (Instant::now(), Duration::from_micros);
        let mut buffers = Buffers::new();
        buffers.batch = 8;
        let mut after = |time, count, len, busy_poll| {
            buffers.adapt(start + micros(time), count, count * len);
            buffers.pause(micros(busy_poll)).map(|end| end.duration_since(start))
        };
        assert_eq!(after(0, 3, 64, 0), None, "nothing came before");
        for batch in 1..16 {
            assert_eq!(after(30 * batch, 3, 64, 0), None, "it may be the last");
        }
        assert_eq!(after(480, 3, 64, 0), Some(micros(530)));
        assert_eq!(after(490, 8, 64, 0), None, "there may be more already");
        assert_eq!(after(500, 5, 64, 0), Some(micros(550)));
        assert_eq!(after(510, 5, 64, 1), None, "the caller polls");
        assert_eq!(after(520, 2, 65_507, 0), None, "long ones are parts of messages");
        assert_eq!(after(530, 3, 64, 0), None, "they are not in a row");
    }

    #[test]
    fn the_first_datagram_after_a_loss_is_marked() -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        super::super::prepare(&SockRef::from(&socket));
        SockRef::from(&socket).set_recv_buffer_size(1)?;
        let (sender, to) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, socket.local_addr()?);
        let (mut buffers, mut lost) = (Buffers::new(), 0);
        buffers.batch = MAX_BATCH;
        let mut receive = || {
            let mut marks = Vec::new();
            let mut sink = |datagram: Datagram<'_>| marks.push(datagram.is_after_loss);
            recv(&socket, &mut buffers, Wait::sleep(LONG), &NOT_INTERRUPTED, &mut lost, &mut sink)?;
            io::Result::Ok(marks)
        };
        for _ in 0..MAX_BATCH {
            sender.send_to(&[0; 1000], to)?;
        }
        let marks = receive()?;
        assert!(marks.len() < MAX_BATCH && !marks.contains(&true), "{marks:?}");
        sender.send_to(&[0], to)?;
        sender.send_to(&[0], to)?;
        assert_eq!(receive()?, [true, false]);
        assert!(lost > 0);
        Ok(())
    }
}
