//! Datagrams, many in one call, to messages.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Instant;

use super::{HEADER_LEN, SAMPLE_HEAD_LEN, Shape};
use crate::peers::PATIENCE;

/// Datagrams, or runs of them, taken by one call.
const SLOTS: usize = 32;
const SLOT_LEN: usize = 65_536;
/// Room for one control message with an integer; in words, for its alignment.
type Control = [u64; 4];

pub(super) struct Reader {
    socket: UdpSocket,
    spin: bool,
    slots: Vec<Vec<u8>>,
    controls: Vec<Control>,
    /// The headers point to these.
    _vectors: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the pointers inside lead to memory that the reader itself owns.
unsafe impl Send for Reader {}

impl Reader {
    pub(super) fn new(socket: UdpSocket, shape: Shape) -> Self {
        let mut slots = vec![vec![0; SLOT_LEN]; SLOTS];
        let mut controls = vec![Control::default(); SLOTS];
        let mut vectors: Vec<_> = slots
            .iter_mut()
            .map(|slot| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() })
            .collect();
        let headers = vectors
            .iter_mut()
            .zip(&mut controls)
            .map(|(vector, control)| {
                // SAFETY: all fields are numbers or pointers, for which zeros are valid.
                let mut header: libc::mmsghdr = unsafe { std::mem::zeroed() };
                header.msg_hdr.msg_iov = vector;
                header.msg_hdr.msg_iovlen = 1;
                header.msg_hdr.msg_control = control.as_mut_ptr().cast();
                header
            })
            .collect();
        socket.set_read_timeout(Some(PATIENCE)).expect("the time is not zero");
        Self { socket, spin: shape.spin, slots, controls, _vectors: vectors, headers }
    }

    /// Hands what came to `each`, datagram by datagram; `false` if nothing came in time.
    pub(super) fn read(&mut self, each: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let Some(count) = self.fill()? else { return Ok(false) };
        for ((slot, header), control) in self.slots.iter().zip(&self.headers).zip(&self.controls).take(count)
        {
            let run = &slot[..header.msg_len as usize];
            let len = segment_len(&header.msg_hdr, control).unwrap_or(run.len());
            run.chunks(len.max(1)).for_each(&mut *each);
        }
        Ok(true)
    }

    fn fill(&mut self) -> io::Result<Option<usize>> {
        let start = Instant::now();
        for header in &mut self.headers {
            header.msg_hdr.msg_controllen = size_of::<Control>();
        }
        loop {
            let flags = if self.spin { libc::MSG_DONTWAIT } else { libc::MSG_WAITFORONE };
            // SAFETY: the headers point to the slots, vectors and controls of `self`, which nothing else uses now.
            let count = unsafe {
                libc::recvmmsg(
                    self.socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    SLOTS as libc::c_uint,
                    flags,
                    std::ptr::null_mut(),
                )
            };
            if count >= 0 {
                return Ok(Some(count as usize));
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::WouldBlock {
                return Err(error);
            }
            if !self.spin || start.elapsed() > PATIENCE {
                return Ok(None);
            }
        }
    }
}

/// The length of the datagrams in a run that the kernel joined.
fn segment_len(header: &libc::msghdr, control: &Control) -> Option<usize> {
    let len = header.msg_controllen;
    // A `cmsghdr` is its length in a word, level and type in one more, and then the value: cmsg(3).
    let [level, kind] = [control[1] as u32, (control[1] >> 32) as u32];
    let is_gro = level == libc::SOL_UDP as u32 && kind == libc::UDP_GRO as u32;
    (len >= 20 && is_gro).then_some((control[2] as u32) as usize)
}

/// Puts the fragments of one message at a time together.
pub(super) struct Assembler {
    fragment_len: usize,
    sink: Vec<u8>,
    id: u32,
    len: usize,
    missing: usize,
}

impl Assembler {
    pub(super) fn new(shape: Shape) -> Self {
        Self { fragment_len: shape.fragment_len(), sink: Vec::new(), id: 0, len: 0, missing: 0 }
    }

    /// Takes a datagram; returns the payload of the message that it completes.
    pub(super) fn accept<'a>(&'a mut self, datagram: &'a [u8]) -> Option<&'a [u8]> {
        let (header, part) = datagram.split_at_checked(HEADER_LEN)?;
        let field = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let (kind, id, num, len) = (field(8), field(12), field(16) as usize, field(20) as usize);
        match (&header[..4], kind) {
            (b"ECAL", 3) if len == part.len() => part.get(SAMPLE_HEAD_LEN..),
            (b"ECAL", 1) => {
                if self.sink.len() < len {
                    self.sink.resize(len, 0);
                }
                (self.id, self.len, self.missing) = (id, len, len);
                None
            }
            (b"ECAL", 2) if id == self.id && len == part.len() => {
                let start = num * self.fragment_len;
                self.sink[..self.len].get_mut(start..start + len)?.copy_from_slice(part);
                self.missing = self.missing.checked_sub(len)?;
                (self.missing == 0).then(|| &self.sink[SAMPLE_HEAD_LEN..self.len])
            }
            _ => None,
        }
    }
}
