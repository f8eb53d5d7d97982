//! A connection to one publisher, as the subscriber's node has it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrocal_proto::{DropReason, TCP_HANDSHAKE, TcpFrame, TcpFrameReader, TcpSample};
use mio::net::TcpStream;

use super::inlet::Target;
use crate::connection::prepare;
use crate::layer::{Incoming, part_of};

/// A connection to a publisher.
pub(super) struct Connection {
    pub(super) target: Target,
    pub(super) stream: TcpStream,
    pub(super) phase: Phase,
    /// Where else the publisher may be found.
    pub(super) candidates: VecDeque<SocketAddr>,
    /// Whether its host's name was looked up.
    pub(super) is_resolved: bool,
    reader: TcpFrameReader,
    /// When something came last.
    progressed: Instant,
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting {
        deadline: Instant,
    },
    /// The publisher is to answer.
    Handshake {
        deadline: Instant,
    },
    Open,
}

/// What came of reading.
#[derive(Debug)]
pub(super) enum Progress {
    /// There may be more to read.
    More,
    /// Nothing more for now.
    Blocked,
    /// The publisher has closed it, or it has failed.
    Closed,
    /// What comes cannot be used.
    Unusable(DropReason),
}

impl Connection {
    pub(super) fn new(target: Target, stream: TcpStream, deadline: Instant, max_body_len: usize) -> Self {
        Self {
            target,
            stream,
            phase: Phase::Connecting { deadline },
            candidates: VecDeque::new(),
            is_resolved: false,
            reader: TcpFrameReader::new(max_body_len),
            progressed: Instant::now(),
        }
    }

    /// When it is to be open at the latest.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Connecting { deadline } | Phase::Handshake { deadline } => Some(deadline),
            Phase::Open => None,
        }
    }

    /// Whether the publisher has not gone on with a message that it has begun for as long as that.
    pub(super) fn is_stuck_for(&self, timeout: Duration, now: Instant) -> bool {
        self.held() > 0 && now.saturating_duration_since(self.progressed) >= timeout
    }

    /// The memory of what is incomplete, in bytes.
    pub(super) fn held(&self) -> usize {
        self.reader.held()
    }

    /// Looks whether the connection is made, and sends the handshake if it is.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        let Phase::Connecting { deadline } = self.phase else { return Ok(()) };
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
            Err(error) => return Err(error),
        }
        prepare(&self.stream)?;
        // A new connection has room for so few bytes.
        (&self.stream).write_all(&TCP_HANDSHAKE)?;
        self.phase = Phase::Handshake { deadline };
        Ok(())
    }

    /// Reads once, and adds the messages of what came. `buffer` is for short ones.
    pub(super) fn read(&mut self, buffer: &mut [u8], messages: &mut Vec<Incoming>) -> Progress {
        if let Phase::Connecting { .. } = self.phase {
            return Progress::Blocked;
        }
        let is_long = self.reader.missing() > buffer.len();
        let read =
            if is_long { (&self.stream).read(self.reader.room()) } else { (&self.stream).read(buffer) };
        let count = match read {
            Ok(0) => return Progress::Closed,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Blocked,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Progress::More,
            Err(_) => return Progress::Closed,
        };
        let received = Instant::now();
        self.progressed = received;
        let taken = if is_long {
            let frame = self.reader.filled(count);
            frame.map_or(Ok(()), |frame| self.take(frame, received, messages))
        } else {
            let mut bytes = &buffer[..count];
            loop {
                match self.reader.read(&mut bytes) {
                    Ok(None) => break Ok(()),
                    Ok(Some(frame)) => {
                        if let Err(reason) = self.take(frame, received, messages) {
                            break Err(reason);
                        }
                    }
                    Err(reason) => break Err(reason),
                }
            }
        };
        taken.map_or_else(Progress::Unusable, |()| Progress::More)
    }

    fn take(
        &mut self,
        frame: TcpFrame,
        received: Instant,
        messages: &mut Vec<Incoming>,
    ) -> Result<(), DropReason> {
        let body = match frame {
            TcpFrame::Handshake(0) => {
                self.phase = Phase::Open;
                return Ok(());
            }
            TcpFrame::Handshake(_) => return Err(DropReason::UnknownVersion),
            // eCAL takes payload without a handshake, too.
            TcpFrame::Payload(body) => body,
        };
        self.phase = Phase::Open;
        let sample = TcpSample::decode(&body)?;
        if sample.topic_id != self.target.origin.id {
            // The port belongs to somebody else by now.
            return Err(DropReason::UnexpectedSample);
        }
        let body = Bytes::from(body);
        messages.push(Incoming {
            payload: part_of(&body, &body[sample.payload]),
            clock: sample.clock,
            time_us: sample.time_us,
            origin: self.target.origin.clone(),
            received,
            received_ns: 0,
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener};
    use std::num::NonZeroU16;
    use std::sync::Arc;

    use ferrocal_proto::{EntityId, TCP_HEADER_LEN, TcpFrameWriter};

    use super::*;
    use crate::layer::Origin;

    #[test]
    fn a_payload_keeps_no_more_than_twice_its_length() {
        let id = EntityId::from_wire("1");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let target = Target {
            topic: "topic".into(),
            origin: Arc::new(Origin { host_name: "host".into(), id }),
            port: NonZeroU16::MIN,
            source: IpAddr::V4(Ipv4Addr::LOCALHOST),
            process_id: 7,
            is_local: true,
        };
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut connection = Connection::new(target, stream, Instant::now(), 1 << 20);
        // A frame may be longer than the payload says.
        for (len, behind) in [(1, 100_000), (60_000, 40_000)] {
            let mut frame = Vec::new();
            TcpFrameWriter::new(b"topic", id).put_head(&mut frame, 1, 0, 0, len).unwrap();
            let mut body = frame.split_off(TCP_HEADER_LEN);
            body.resize(body.len() + len + behind, 7);
            let mut messages = Vec::new();
            connection.take(TcpFrame::Payload(body), Instant::now(), &mut messages).unwrap();
            let payload = messages.pop().unwrap().payload;
            assert_eq!(payload.len(), len);
            let room = payload.try_into_mut().expect("nobody else has it").capacity();
            assert!(room <= 2 * len, "{len} bytes keep {room}");
        }
    }
}
