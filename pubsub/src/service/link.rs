//! A connection that carries frames both ways, without blocking.

use std::io::{self, Read, Write};
use std::time::Instant;

use ferrocal_proto::{DropReason, ServiceFrame, ServiceFrames};
use mio::net::TcpStream;

use crate::connection::prepare;

/// So many bytes are read of one connection before it is the turn of others.
const TURN: usize = 1024 * 1024;

/// The longest frame before both sides have agreed on a version. Theirs has two bytes.
const HANDSHAKE_LEN: usize = 1024;

/// Why a connection is of no use any more.
#[derive(Debug)]
pub(super) enum Broken {
    /// The other side closed it.
    Closed,
    /// The system says so.
    Io(io::Error),
    /// What came is no frame, or one that is not expected.
    Frame(DropReason),
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed => f.write_str("the other side closed it"),
            Self::Io(error) => error.fmt(f),
            Self::Frame(reason) => reason.fmt(f),
        }
    }
}

/// A connection that carries frames both ways, without blocking.
pub(super) struct Link {
    stream: TcpStream,
    frames: ServiceFrames,
    /// The longest frame after the handshake.
    max_len: usize,
    /// What was read behind the end of a frame.
    rest: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    /// When bytes came or went last.
    pub(super) last_progress: Instant,
}

/// What [`Link::read`] found.
pub(super) enum Turn {
    /// A frame.
    Frame(ServiceFrame),
    /// Nothing more at present.
    Nothing,
    /// Perhaps more, but others come first.
    Later,
}

impl Link {
    pub(super) fn new(stream: TcpStream, max_len: usize, now: Instant) -> Self {
        Self {
            stream,
            frames: ServiceFrames::new(HANDSHAKE_LEN.min(max_len)),
            max_len,
            rest: Vec::new(),
            out: Vec::new(),
            written: 0,
            last_progress: now,
        }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// The other side has ended its handshake, and may send long frames from now on.
    pub(super) fn agreed(&mut self) {
        self.frames = ServiceFrames::new(self.max_len);
        // What the system refuses costs time, and nothing else.
        let _ = prepare(&self.stream);
    }

    /// Whether the other side has begun a frame and not ended it.
    pub(super) fn is_amid_frame(&self) -> bool {
        self.frames.has_begun()
    }

    /// Whether something is still to be written.
    pub(super) fn is_writing(&self) -> bool {
        self.written < self.out.len()
    }

    /// Checks that the other side has not closed it, as far as nothing waits to be read.
    pub(super) fn check_open(&self) -> Result<(), Broken> {
        match self.stream.peek(&mut [0]) {
            Ok(0) => Err(Broken::Closed),
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(())
            }
            Err(error) => Err(Broken::Io(error)),
        }
    }

    /// The memory of what is being received, in bytes.
    pub(super) fn buffered(&self) -> usize {
        self.frames.buffered() + self.rest.capacity()
    }

    /// Reads up to the end of a frame, or until nothing is there.
    pub(super) fn read(&mut self, scratch: &mut [u8], now: Instant) -> Result<Turn, Broken> {
        let mut input = &self.rest[..];
        if !input.is_empty() {
            let frame = self.frames.take(&mut input).map_err(Broken::Frame)?;
            let left = input.len();
            self.rest.drain(..self.rest.len() - left);
            if left == 0 {
                self.rest = Vec::new();
            }
            if let Some(frame) = frame {
                return Ok(Turn::Frame(frame));
            }
        }
        let mut read = 0;
        while read < TURN {
            let count = match self.stream.read(scratch) {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Turn::Nothing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Broken::Io(error)),
            };
            self.last_progress = now;
            read += count;
            let mut input = &scratch[..count];
            if let Some(frame) = self.frames.take(&mut input).map_err(Broken::Frame)? {
                self.rest = input.to_vec();
                return Ok(Turn::Frame(frame));
            }
        }
        Ok(Turn::Later)
    }

    /// Begins to write a frame. The one before must have been written.
    pub(super) fn send(&mut self, frame: Vec<u8>, now: Instant) -> Result<(), Broken> {
        (self.out, self.written, self.last_progress) = (frame, 0, now);
        self.write(now)
    }

    /// Writes as much as there is room for.
    pub(super) fn write(&mut self, now: Instant) -> Result<(), Broken> {
        while self.is_writing() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => {
                    self.written += count;
                    self.last_progress = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Io(error)),
            }
        }
        (self.out, self.written) = (Vec::new(), 0);
        Ok(())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream as Stream};
    use std::time::Duration;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn a_host_that_is_gone_is_noticed_within_a_minute() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = Stream::connect(listener.local_addr().unwrap()).unwrap();
        let mut link = Link::new(TcpStream::from_std(stream), 1, Instant::now());
        link.agreed();
        let socket = SockRef::from(&link.stream);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        let [time, interval] =
            [socket.tcp_keepalive_time(), socket.tcp_keepalive_interval()].map(Result::unwrap);
        let silent = time + interval * socket.tcp_keepalive_retries().unwrap();
        assert!(silent < Duration::from_secs(60), "{silent:?}");
    }
}
