//! One message to its datagrams, in as few calls as the kernel allows.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use socket2::{SockAddr, Socket};

use super::{HEADER_LEN, MARK_AT, SAMPLE_HEAD_LEN, Shape, sending_socket, set_option};
use crate::peers::{BATCH_LEN, Outcome, Outlet};
use crate::role::Setup;

const INFO: u32 = 1;
const FRAGMENT: u32 = 2;
const WHOLE: u32 = 3;

/// The most that one call with segmentation offload takes: 44 segments of 1472 bytes.
const RUN_LEN: usize = 44 * super::SEGMENT_LEN;
/// Below this, copying costs less than a list of slices.
const COPY_LEN: usize = 4096;

pub(in crate::peers) struct Sender {
    socket: Socket,
    /// Where the socket is not connected to.
    to: Option<SockAddr>,
    shape: Shape,
    /// Whether messages are sent many at once, each in a datagram of the same length.
    batch: bool,
    /// Who sends, in a byte that eCAL does not look at.
    mark: u8,
    id: i32,
    sample_head: [u8; SAMPLE_HEAD_LEN],
    /// What goes out in one call, in offload, and short messages.
    run: Vec<u8>,
    headers: Vec<[u8; HEADER_LEN]>,
}

fn header(mark: u8, kind: u32, id: i32, num: usize, len: usize) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..5].copy_from_slice(b"ECAL\x05");
    header[MARK_AT] = mark;
    header[8..12].copy_from_slice(&kind.to_le_bytes());
    header[12..16].copy_from_slice(&id.to_le_bytes());
    header[16..20].copy_from_slice(&(num as u32).to_le_bytes());
    header[20..].copy_from_slice(&(len as u32).to_le_bytes());
    header
}

impl Outlet for Sender {
    fn batch_len(&self) -> usize {
        if self.batch { BATCH_LEN } else { 1 }
    }

    fn send(&mut self, messages: &[Vec<u8>]) -> usize {
        if !self.batch {
            return self.send_message(&messages[0]).is_ok().into();
        }
        self.run.clear();
        messages.iter().for_each(|message| self.append_whole(message));
        if self.send_datagram(&self.run).is_ok() { messages.len() } else { 0 }
    }
}

impl Sender {
    pub(in crate::peers) fn new(setup: &Setup) -> Outcome<Self> {
        Self::marked(setup, 0)
    }

    pub(super) fn marked(setup: &Setup, mark: u8) -> Outcome<Self> {
        let shape = Shape::of(setup.peer);
        let (socket, to) = sending_socket(setup, mark)?;
        let batch = setup.peer.is_batch();
        if shape.offload {
            let len = if batch { HEADER_LEN + SAMPLE_HEAD_LEN + setup.size } else { shape.datagram_len };
            set_option(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, len.try_into()?)?;
        }
        let run = Vec::with_capacity(RUN_LEN);
        Ok(Self {
            socket,
            to,
            shape,
            batch,
            mark,
            id: 0,
            sample_head: [b'h'; SAMPLE_HEAD_LEN],
            run,
            headers: Vec::new(),
        })
    }

    pub(super) fn send_message(&mut self, payload: &[u8]) -> io::Result<()> {
        self.id = self.id.wrapping_add(1);
        let len = SAMPLE_HEAD_LEN + payload.len();
        if len > self.shape.fragment_len() {
            let info = header(self.mark, INFO, self.id, len.div_ceil(self.shape.fragment_len()), len);
            if self.shape.offload {
                self.send_datagram(&info)?;
                self.send_runs(payload)
            } else {
                self.send_slices(payload, Some(info))
            }
        } else if len < COPY_LEN {
            self.run.clear();
            self.append_whole(payload);
            self.send_datagram(&self.run)
        } else {
            self.send_slices(payload, None)
        }
    }

    fn send_datagram(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = match &self.to {
            Some(to) => self.socket.send_to(bytes, to),
            None => self.socket.send(bytes),
        };
        sent.map(drop)
    }

    fn append_whole(&mut self, payload: &[u8]) {
        self.run.extend_from_slice(&header(self.mark, WHOLE, -1, 1, SAMPLE_HEAD_LEN + payload.len()));
        self.run.extend_from_slice(&self.sample_head);
        self.run.extend_from_slice(payload);
    }

    /// Copies the fragments, headers in between, into runs that the kernel cuts.
    fn send_runs(&mut self, payload: &[u8]) -> io::Result<()> {
        let fragment_len = self.shape.fragment_len();
        let (mut head, mut rest, mut num) = (&self.sample_head[..], payload, 0);
        while !rest.is_empty() {
            self.run.clear();
            while !rest.is_empty() && self.run.len() + self.shape.datagram_len <= RUN_LEN {
                let (part, after) = rest.split_at(rest.len().min(fragment_len - head.len()));
                self.run.extend_from_slice(&header(
                    self.mark,
                    FRAGMENT,
                    self.id,
                    num,
                    head.len() + part.len(),
                ));
                self.run.extend_from_slice(head);
                self.run.extend_from_slice(part);
                (head, rest, num) = (&[], after, num + 1);
            }
            self.send_datagram(&self.run)?;
        }
        Ok(())
    }

    /// Sends large datagrams without a copy: `info` first, or else the message in one.
    fn send_slices(&mut self, payload: &[u8], info: Option<[u8; HEADER_LEN]>) -> io::Result<()> {
        let (mut head, mut rest) = (&self.sample_head[..], payload);
        self.headers.clear();
        self.headers.extend(info);
        let mut slices = Vec::with_capacity(payload.len() / self.shape.fragment_len() + 2);
        slices.extend(info.map(|_| (&[][..], &[][..])));
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.len().min(self.shape.fragment_len() - head.len()));
            let num = slices.len().saturating_sub(1);
            let len = head.len() + part.len();
            self.headers.push(match info {
                Some(_) => header(self.mark, FRAGMENT, self.id, num, len),
                None => header(self.mark, WHOLE, -1, 1, len),
            });
            slices.push((head, part));
            (head, rest) = (&[], after);
        }
        let mut vectors: Vec<_> = self
            .headers
            .iter()
            .zip(&slices)
            .map(|(header, (head, part))| [vector(header), vector(head), vector(part)])
            .collect();
        let mut messages: Vec<_> =
            vectors.iter_mut().map(|vectors| message(self.to.as_ref(), vectors)).collect();
        send_all(&self.socket, &mut messages)
    }
}

fn vector(bytes: &[u8]) -> libc::iovec {
    libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }
}

fn message(to: Option<&SockAddr>, vectors: &mut [libc::iovec; 3]) -> libc::mmsghdr {
    // SAFETY: all fields are numbers or pointers, for which zeros are valid.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_name = to.map_or(ptr::null_mut(), |to| to.as_ptr().cast_mut().cast());
    message.msg_hdr.msg_namelen = to.map_or(0, SockAddr::len);
    message.msg_hdr.msg_iov = vectors.as_mut_ptr();
    message.msg_hdr.msg_iovlen = vectors.len();
    message
}

/// The messages point to what the caller keeps.
fn send_all(socket: &Socket, messages: &mut [libc::mmsghdr]) -> io::Result<()> {
    let mut sent = 0;
    while sent < messages.len() {
        let rest = &mut messages[sent..];
        // SAFETY: `rest` is a valid list, and all it points to lives in the caller.
        let count =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, 0) };
        if count < 0 {
            return Err(io::Error::last_os_error());
        }
        sent += count as usize;
    }
    Ok(())
}
