//! A stream of bytes to frames, bounded in memory.

use alloc::vec::Vec;

use super::{HANDSHAKE, PAYLOAD, TCP_HEADER_LEN};
use crate::DropReason;

/// A frame that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TcpFrame {
    /// The body of a message.
    Payload(Vec<u8>),
    /// A handshake, with the newest version that its sender has.
    Handshake(u8),
}

/// Turns the bytes of a connection into frames.
///
/// A frame takes no more memory than twice what came of it, and 64 KiB. Frames without a body and those of other kinds
/// are skipped, as eCAL does.
#[derive(Debug)]
pub struct TcpFrameReader {
    max_body_len: usize,
    header: [u8; TCP_HEADER_LEN],
    /// How much of the header is there.
    filled: usize,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// The header, as far as it is known.
    Header,
    /// What a longer header has more.
    Surplus(usize),
    Body(Body),
    /// The body of a frame that is not wanted.
    Skip(u64),
}

#[derive(Debug)]
struct Body {
    kind: u8,
    /// Initialized up to its length, of which `filled` bytes have come.
    data: Vec<u8>,
    filled: usize,
    len: usize,
}

/// A body is given so many bytes before any of it came.
const FIRST_LEN: usize = 64 * 1024;
/// The longest handshake; there is no other than of one byte.
const MAX_HANDSHAKE_LEN: usize = 1024;

impl TcpFrameReader {
    /// `max_body_len` bounds the body of a frame.
    pub fn new(max_body_len: usize) -> Self {
        Self { max_body_len, header: [0; TCP_HEADER_LEN], filled: 0, phase: Phase::Header }
    }

    /// Takes bytes from the start of `bytes`, until a frame is complete or none are left.
    ///
    /// # Errors
    /// If the stream cannot be followed any more: [`DropReason::BadSample`] if a header is too short,
    /// [`DropReason::TooLong`] if a body is longer than allowed.
    pub fn read(&mut self, bytes: &mut &[u8]) -> Result<Option<TcpFrame>, DropReason> {
        while !bytes.is_empty() {
            match &mut self.phase {
                Phase::Header => {
                    let wanted = self.header_len();
                    let taken = take(bytes, wanted - self.filled);
                    self.header[self.filled..self.filled + taken.len()].copy_from_slice(taken);
                    self.filled += taken.len();
                    let total = self.total_header_len();
                    if self.filled >= 2 && total < 2 {
                        return Err(DropReason::BadSample);
                    }
                    if self.filled >= 2 && self.filled == self.header_len() {
                        self.phase = Phase::Surplus(total.saturating_sub(TCP_HEADER_LEN));
                        if let Phase::Surplus(0) = self.phase {
                            self.start_body()?;
                        }
                    }
                }
                Phase::Surplus(left) => {
                    *left -= take(bytes, *left).len();
                    if *left == 0 {
                        self.start_body()?;
                    }
                }
                Phase::Skip(left) => {
                    let len = usize::try_from(*left).unwrap_or(usize::MAX);
                    *left -= take(bytes, len).len() as u64;
                    if *left == 0 {
                        self.start_header();
                    }
                }
                Phase::Body(_) => {
                    let room = self.room();
                    let taken = take(bytes, room.len());
                    room[..taken.len()].copy_from_slice(taken);
                    if let Some(frame) = self.filled(taken.len()) {
                        return Ok(Some(frame));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Where the next bytes of a body can be read to without a copy, if a body is being read. Call
    /// [`filled`](Self::filled) with how many those were.
    pub fn room(&mut self) -> &mut [u8] {
        let Phase::Body(body) = &mut self.phase else { return &mut [] };
        if body.filled == body.data.len() {
            // Twice as much as came, so that nobody gets memory for a length alone.
            let len = body.len.min((body.filled * 2).max(FIRST_LEN));
            body.data.reserve_exact(len - body.filled);
            body.data.resize(len, 0);
        }
        &mut body.data[body.filled..]
    }

    /// Takes note that so many bytes were read to the [`room`](Self::room). Returns the frame if that completes it.
    pub fn filled(&mut self, count: usize) -> Option<TcpFrame> {
        let Phase::Body(body) = &mut self.phase else { return None };
        body.filled = (body.filled + count).min(body.data.len());
        if body.filled < body.len {
            return None;
        }
        let frame = match body.kind {
            HANDSHAKE => TcpFrame::Handshake(body.data[0]),
            _ => TcpFrame::Payload(core::mem::take(&mut body.data)),
        };
        self.start_header();
        Some(frame)
    }

    /// How many bytes of the present frame's body have not come yet; 0 between frames.
    pub fn missing(&self) -> usize {
        match &self.phase {
            Phase::Body(body) => body.len - body.filled,
            _ => 0,
        }
    }

    /// The memory that the present frame takes, in bytes.
    pub fn held(&self) -> usize {
        match &self.phase {
            Phase::Body(body) => body.data.capacity(),
            _ => 0,
        }
    }

    fn start_header(&mut self) {
        (self.header, self.filled, self.phase) = ([0; TCP_HEADER_LEN], 0, Phase::Header);
    }

    /// The length that the header states.
    fn total_header_len(&self) -> usize {
        u16::from_le_bytes([self.header[0], self.header[1]]).into()
    }

    /// How much of the header is to be stored. A shorter one leaves fields at 0.
    fn header_len(&self) -> usize {
        if self.filled < 2 { 2 } else { self.total_header_len().min(TCP_HEADER_LEN) }
    }

    fn start_body(&mut self) -> Result<(), DropReason> {
        let [_, _, kind, _, len @ ..] = self.header;
        let len = u64::from_le_bytes(len);
        self.phase = match kind {
            _ if len == 0 => {
                self.start_header();
                return Ok(());
            }
            PAYLOAD | HANDSHAKE => {
                let max = if kind == PAYLOAD { self.max_body_len } else { MAX_HANDSHAKE_LEN };
                let len = usize::try_from(len).ok().filter(|len| *len <= max).ok_or(DropReason::TooLong)?;
                Phase::Body(Body { kind, data: Vec::new(), filled: 0, len })
            }
            _ => Phase::Skip(len),
        };
        Ok(())
    }
}

/// Takes so many bytes, or as many as there are.
fn take<'a>(bytes: &mut &'a [u8], len: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(len.min(bytes.len()));
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::super::TCP_HANDSHAKE;
    use super::*;

    /// A frame with a header of its own length.
    fn frame(header_len: u16, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut header = header_len.to_le_bytes().to_vec();
        header.extend_from_slice(&[kind, 0]);
        header.extend_from_slice(&(body.len() as u64).to_le_bytes());
        header.resize(usize::from(header_len), 0xaa);
        header.extend_from_slice(body);
        header
    }

    fn read_all(
        reader: &mut TcpFrameReader,
        mut bytes: &[u8],
        frames: &mut Vec<TcpFrame>,
    ) -> Result<(), DropReason> {
        while let Some(frame) = reader.read(&mut bytes)? {
            frames.push(frame);
        }
        Ok(())
    }

    #[test]
    fn frames_are_read_in_pieces_of_any_length() {
        let mut stream = TCP_HANDSHAKE.to_vec();
        stream.extend(frame(12, PAYLOAD, b"first"));
        stream.extend(frame(12, PAYLOAD, b""));
        stream.extend(frame(12, 9, b"of a later version"));
        stream.extend(frame(20, PAYLOAD, b"second"));
        stream.extend([3, 0, PAYLOAD]);
        stream.extend(frame(12, PAYLOAD, &[7; 100_000]));
        let expected = [
            TcpFrame::Handshake(0),
            TcpFrame::Payload(b"first".into()),
            TcpFrame::Payload(b"second".into()),
            TcpFrame::Payload(vec![7; 100_000]),
        ];
        for piece_len in [1, 2, 3, 5, 13, 4096, stream.len()] {
            let (mut reader, mut frames) = (TcpFrameReader::new(100_000), Vec::new());
            for piece in stream.chunks(piece_len) {
                read_all(&mut reader, piece, &mut frames).unwrap();
            }
            assert_eq!(frames, expected, "pieces of {piece_len}");
            assert_eq!((reader.missing(), reader.held()), (0, 0));
        }
    }

    #[test]
    fn a_length_alone_gets_little_memory() {
        let mut reader = TcpFrameReader::new(usize::MAX);
        let mut header = frame(12, PAYLOAD, &[]);
        header[4..].copy_from_slice(&(1u64 << 40).to_le_bytes());
        let mut frames = Vec::new();
        read_all(&mut reader, &header, &mut frames).unwrap();
        for _ in 0..100 {
            read_all(&mut reader, &[1; 5000], &mut frames).unwrap();
        }
        assert!(reader.held() <= 2 * 500_000, "{}", reader.held());
        assert_eq!(reader.missing(), (1 << 40) - 500_000);
    }

    #[test]
    fn what_cannot_be_followed_is_refused() {
        let read = |bytes: &[u8]| read_all(&mut TcpFrameReader::new(10), bytes, &mut Vec::new());
        assert_eq!(read(&frame(12, PAYLOAD, &[0; 10])), Ok(()));
        assert_eq!(read(&frame(12, PAYLOAD, &[0; 11])), Err(DropReason::TooLong));
        assert_eq!(read(&frame(12, HANDSHAKE, &[0; 1025])), Err(DropReason::TooLong));
        assert_eq!(read(&[0xff; 200]), Ok(()), "a long header is read to its end");
        assert_eq!(read(&[0, 0]), Err(DropReason::BadSample));
        assert_eq!(read(&[1, 0]), Err(DropReason::BadSample));
    }

    #[test]
    fn a_body_can_be_read_to_its_place() {
        let mut reader = TcpFrameReader::new(1000);
        let mut frames = Vec::new();
        read_all(&mut reader, &frame(12, PAYLOAD, &[1; 300])[..112], &mut frames).unwrap();
        assert_eq!(reader.missing(), 200);
        let room = reader.room();
        room[..150].fill(2);
        assert_eq!(reader.filled(150), None);
        let room = reader.room();
        assert_eq!(room.len(), 50);
        room.fill(3);
        let Some(TcpFrame::Payload(body)) = reader.filled(50) else { panic!() };
        assert_eq!((body[99], body[100], body[249], body[250], body.len()), (1, 2, 2, 3, 300));
        assert_eq!(reader.room(), []);
    }
}
