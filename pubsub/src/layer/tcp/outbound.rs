//! A connection to one subscriber, as the publisher has it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use ferrocal_proto::TCP_HANDSHAKE;
use mio::Token;
use mio::net::TcpStream;

use super::{Command, Shared};
use crate::lock;

/// So many frames go in one system call.
pub(super) const MAX_FRAMES: usize = 64;
/// So many system calls are made for one subscriber on the thread that sends. More would wait for a reader that takes
/// them as fast as they come.
const DIRECT_WRITES: usize = 2;
/// So many system calls are made for one subscriber before it is another one's turn.
const WRITES_AT_ONCE: usize = 16;

/// A connection to a subscriber.
pub(super) struct Connection {
    pub(super) token: Token,
    pub(super) stream: TcpStream,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether the subscriber has said which version it has.
    is_ready: bool,
    is_closed: bool,
    /// Whether nothing more will be sent, so that it is to be closed once nothing waits.
    is_ending: bool,
    /// The rest of what is being transferred, and since when, if that is a frame.
    current: Bytes,
    begun: Option<Instant>,
    /// Frames behind it, and their bytes.
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    /// Since when the subscriber takes nothing.
    blocked_since: Option<Instant>,
    /// Frames that waited when it was closed.
    given_up: u64,
}

/// What is left after writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// The system takes no more at present.
    Blocked,
    /// It is another one's turn.
    More,
    /// Nothing will be written any more.
    Closed,
}

/// The frames of some messages: each a head and a payload, which are copied only for those who cannot take them now.
pub(super) struct Frames<'a> {
    /// The heads, consecutive, and where each ends.
    pub(super) heads: &'a [u8],
    pub(super) ends: &'a [usize],
    pub(super) payloads: &'a [&'a [u8]],
    /// The frames that were copied.
    pub(super) copies: &'a mut Vec<Option<Bytes>>,
}

/// The memory that copies of frames take, of all publishers of the node, until the last subscriber has them.
pub(super) struct Copies {
    bytes: AtomicUsize,
    max_bytes: usize,
    /// Whether one was refused, and none was given back for it yet.
    pub(super) is_full: AtomicBool,
}

impl Copies {
    pub(super) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicUsize::new(0), max_bytes, is_full: AtomicBool::new(false) })
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Joins the parts, if there is room for that. One has room in any case.
    fn add(self: &Arc<Self>, parts: [&[u8]; 2]) -> Option<Bytes> {
        let len = parts[0].len() + parts[1].len();
        let before = self.bytes.fetch_add(len, Ordering::Relaxed);
        if before > 0 && before.saturating_add(len) > self.max_bytes {
            self.bytes.fetch_sub(len, Ordering::Relaxed);
            return None;
        }
        Some(Bytes::from_owner(Copy { frame: parts.concat(), of: self.clone() }))
    }
}

struct Copy {
    frame: Vec<u8>,
    of: Arc<Copies>,
}

impl AsRef<[u8]> for Copy {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.frame.len(), Ordering::Relaxed);
    }
}

impl Frames<'_> {
    fn head(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.heads[start..self.ends[index]]
    }

    fn len_of(&self, index: usize) -> usize {
        self.head(index).len() + self.payloads[index].len()
    }

    /// `None` if there is no room for another copy.
    fn copy(&mut self, index: usize, all: &Arc<Copies>) -> Option<Bytes> {
        self.copies.resize(self.ends.len(), None);
        if self.copies[index].is_none() {
            self.copies[index] = all.add([self.head(index), self.payloads[index]]);
        }
        self.copies[index].clone()
    }
}

impl Connection {
    pub(super) fn new(token: Token, stream: TcpStream, shared: Arc<Shared>) -> Self {
        Self { token, stream, shared, state: Mutex::default() }
    }

    /// Sends frames, as far as the system takes them at once. The rest waits, but no more than `max_bytes` of it and the
    /// newest. Returns how many were given up for that, or since the connection is closed.
    pub(super) fn send(&self, frames: &mut Frames<'_>, max_bytes: usize) -> u64 {
        let mut state = lock(&self.state);
        if state.is_closed {
            return frames.ends.len() as u64;
        }
        let mut next = 0;
        if state.is_ready && state.is_idle() {
            let begun = match self.write_now(frames) {
                Ok((index, 0)) => Ok((index, None)),
                Ok((index, offset)) => match self.copy(frames, index) {
                    Some(frame) => Ok((index + 1, Some(frame.slice(offset..)))),
                    None => Err(index),
                },
                Err(sent) => Err(sent),
            };
            match begun {
                Ok((index, rest)) => {
                    next = index;
                    if let Some(rest) = rest {
                        state.begin(rest);
                    }
                }
                Err(sent) => {
                    state.close(&self.stream);
                    drop(state);
                    self.shared.command(Command::Flush(self.token));
                    return (frames.ends.len() - sent) as u64;
                }
            }
        }
        let was_idle = state.blocked_since.is_none();
        let mut overwritten = 0;
        for index in next..frames.ends.len() {
            overwritten += match self.copy(frames, index) {
                Some(frame) => state.push(frame, max_bytes),
                None => 1,
            };
        }
        if state.is_ready && !state.is_idle() && was_idle {
            state.blocked_since = Some(Instant::now());
            drop(state);
            self.shared.command(Command::Flush(self.token));
        }
        overwritten
    }

    /// Copies a frame. If there is no room for it, who keeps others' copies for longest is closed for those that follow.
    fn copy(&self, frames: &mut Frames<'_>, index: usize) -> Option<Bytes> {
        let copies = &self.shared.copies;
        let copy = frames.copy(index, copies);
        if copy.is_none() && !copies.is_full.swap(true, Ordering::Relaxed) {
            self.shared.command(Command::MakeRoom);
        }
        copy
    }

    /// Writes frames without waiting. Returns which one comes next, and how much of it is written; or, if the connection is
    /// broken, how many were written before.
    fn write_now(&self, frames: &Frames<'_>) -> Result<(usize, usize), usize> {
        let count = frames.ends.len();
        let (mut index, mut offset) = (0, 0);
        for _ in 0..DIRECT_WRITES {
            let mut slices = [IoSlice::new(&[]); 2 * MAX_FRAMES];
            let mut used = 0;
            for frame in index..count.min(index + MAX_FRAMES) {
                let mut skipped = if frame == index { offset } else { 0 };
                for part in [frames.head(frame), frames.payloads[frame]] {
                    let rest = &part[skipped.min(part.len())..];
                    skipped -= part.len() - rest.len();
                    if !rest.is_empty() {
                        slices[used] = IoSlice::new(rest);
                        used += 1;
                    }
                }
            }
            let mut written = match write(&self.stream, &slices[..used]) {
                Ok(0) => return Err(index),
                Ok(written) => written,
                Err(error) if is_temporary(&error) => 0,
                Err(_) => return Err(index),
            };
            if written == 0 {
                break;
            }
            while index < count && written >= frames.len_of(index) - offset {
                written -= frames.len_of(index) - offset;
                (index, offset) = (index + 1, 0);
            }
            offset += written;
            if index == count {
                break;
            }
        }
        Ok((index, offset))
    }

    /// Answers the handshake, and sends what waits.
    pub(super) fn accept(&self) -> Left {
        let mut state = lock(&self.state);
        if !state.is_ready {
            state.is_ready = true;
            state.current = Bytes::from_static(&TCP_HANDSHAKE);
        }
        drop(state);
        self.flush()
    }

    /// Goes on writing what waits.
    pub(super) fn flush(&self) -> Left {
        let mut state = lock(&self.state);
        if state.is_closed {
            return Left::Closed;
        }
        if !state.is_ready {
            return Left::Nothing;
        }
        for _ in 0..WRITES_AT_ONCE {
            if state.is_idle() {
                state.blocked_since = None;
                if state.is_ending {
                    state.close(&self.stream);
                    return Left::Closed;
                }
                return Left::Nothing;
            }
            let written = {
                let mut slices = [IoSlice::new(&[]); MAX_FRAMES];
                let frames = std::iter::once(&state.current).chain(&state.waiting);
                let mut used = 0;
                for (slice, frame) in slices.iter_mut().zip(frames) {
                    *slice = IoSlice::new(frame);
                    used += 1;
                }
                write(&self.stream, &slices[..used])
            };
            match written {
                Ok(0) => return state.close(&self.stream),
                Ok(written) => state.written(written),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    state.blocked_since.get_or_insert_with(Instant::now);
                    return Left::Blocked;
                }
                Err(_) => return state.close(&self.stream),
            }
        }
        Left::More
    }

    /// Has the connection closed once what waits is sent.
    pub(super) fn end(&self) -> Left {
        {
            let mut state = lock(&self.state);
            state.is_ending = true;
            if !state.is_ready {
                return state.close(&self.stream);
            }
        }
        self.flush()
    }

    pub(super) fn close(&self) {
        lock(&self.state).close(&self.stream);
    }

    /// Since when the same frame is being transferred.
    pub(super) fn begun(&self) -> Option<Instant> {
        lock(&self.state).begun
    }

    /// How many frames waited when it was closed.
    pub(super) fn given_up(&self) -> u64 {
        lock(&self.state).given_up
    }

    /// Whether the subscriber has taken nothing of what waits for as long as that.
    pub(super) fn is_blocked_for(&self, timeout: Duration, now: Instant) -> bool {
        let since = lock(&self.state).blocked_since;
        since.is_some_and(|since| now.saturating_duration_since(since) >= timeout)
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.current.is_empty() && self.waiting.is_empty()
    }

    /// A frame is being transferred. This is what is left of it.
    fn begin(&mut self, rest: Bytes) {
        (self.current, self.begun) = (rest, Some(Instant::now()));
    }

    /// Adds a frame behind those that wait. Returns how many were given up for it.
    fn push(&mut self, frame: Bytes, max_bytes: usize) -> u64 {
        self.waiting_bytes += frame.len();
        self.waiting.push_back(frame);
        let mut overwritten = 0;
        while self.waiting.len() > 1 && self.waiting_bytes > max_bytes {
            self.waiting_bytes -= self.waiting.pop_front().map_or(0, |frame| frame.len());
            overwritten += 1;
        }
        overwritten
    }

    /// Takes note that so many bytes were written.
    fn written(&mut self, mut count: usize) {
        // It takes what it gets.
        self.blocked_since = self.blocked_since.map(|_| Instant::now());
        loop {
            let step = count.min(self.current.len());
            self.current.advance(step);
            count -= step;
            if !self.current.is_empty() {
                return;
            }
            self.begun = None;
            let Some(next) = self.waiting.pop_front() else { return };
            if count == 0 {
                // A frame of which nothing is written may still be given up for a newer one.
                self.waiting.push_front(next);
                return;
            }
            self.waiting_bytes -= next.len();
            self.begin(next);
        }
    }

    fn close(&mut self, stream: &TcpStream) -> Left {
        let given_up = self.given_up + self.waiting.len() as u64 + u64::from(self.begun.is_some());
        *self = Self { is_closed: true, is_ready: self.is_ready, given_up, ..Self::default() };
        // It may be closed already.
        let _ = stream.shutdown(Shutdown::Both);
        Left::Closed
    }
}

/// Writes what the system takes at once. A subscriber that has left does not end a program that does not ignore SIGPIPE:
/// the standard library sees to that where it writes a single slice, and not here.
fn write(stream: &TcpStream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    #[cfg(target_os = "linux")]
    return stream
        .try_io(|| socket2::SockRef::from(stream).send_vectored_with_flags(slices, libc::MSG_NOSIGNAL));
    // On macOS, each socket has an option for it from the start. Windows has no signals.
    #[cfg(not(target_os = "linux"))]
    return io::Write::write_vectored(&mut &*stream, slices);
}

fn is_temporary(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::Tcp;
    use super::*;
    use crate::Config;

    #[test]
    fn what_a_closed_connection_does_not_take_is_given_up() {
        let layer = Tcp::open(&Config::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let connection = Connection::new(Token(1), stream, layer.shared.clone());
        let send = || {
            let mut copies = Vec::new();
            let payloads = &[&[1][..], &[2, 3]];
            let mut frames = Frames { heads: b"headhead", ends: &[4, 8], payloads, copies: &mut copies };
            connection.send(&mut frames, 100)
        };
        assert_eq!(send(), 0, "they wait for the handshake");
        connection.close();
        assert_eq!((send(), connection.given_up()), (2, 2));
    }

    #[test]
    fn a_handshake_is_no_message() {
        let mut state =
            State { is_ready: true, current: Bytes::from_static(&TCP_HANDSHAKE), ..State::default() };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        state.close(&stream);
        assert_eq!(state.given_up, 0);
        let mut state = State { is_ready: true, ..State::default() };
        state.begin(vec![0; 5].into());
        state.close(&stream);
        assert_eq!(state.given_up, 1);
    }

    fn waiting(state: &State) -> Vec<usize> {
        state.waiting.iter().map(Bytes::len).collect()
    }

    #[test]
    fn only_the_newest_waits_unless_there_is_room() {
        let mut state = State::default();
        assert_eq!([10, 20, 30].map(|len| state.push(vec![0; len].into(), 0)), [0, 1, 1]);
        assert_eq!((waiting(&state), state.waiting_bytes), (vec![30], 30));
        assert_eq!([10, 20].map(|len| state.push(vec![0; len].into(), 60)), [0, 0]);
        assert_eq!(state.push(vec![0; 1].into(), 60), 1);
        assert_eq!((waiting(&state), state.waiting_bytes), (vec![10, 20, 1], 31));
        assert_eq!(state.push(vec![0; 1000].into(), 60), 3, "one may be longer than the room");
    }

    #[test]
    fn what_is_written_is_taken_from_the_front() {
        let mut state = State::default();
        state.begin(vec![0; 5].into());
        state.push(vec![1; 10].into(), 100);
        state.push(vec![2; 10].into(), 100);
        state.written(3);
        assert_eq!((state.current.len(), state.waiting_bytes), (2, 20));
        state.written(2);
        assert_eq!((state.current.len(), waiting(&state)), (0, vec![10, 10]), "no frame has begun");
        state.written(14);
        assert_eq!((&state.current[..], state.waiting_bytes), (&[2; 6][..], 0));
        state.written(6);
        assert!(state.is_idle());
    }
}
