//! Payload over TCP: the frames of the library tcp_pubsub, and the message of eCAL inside them.
//!
//! A subscriber connects and sends a handshake, the publisher answers it, and from then on sends payload. A frame is a
//! header of [`TCP_HEADER_LEN`] bytes, which a later version may make longer, and its body.

mod reader;

use alloc::vec::Vec;
use core::ops::Range;

pub use reader::{TcpFrame, TcpFrameReader};

use crate::wire::{Fields, put_len_prefix, put_text_field, put_varint_field, varint_len};
use crate::{DropReason, EntityId};

/// The length of a frame's header in bytes.
pub const TCP_HEADER_LEN: usize = 12;

/// The handshake of both sides: a frame with one byte, the newest version that its sender has. There is no other than 0.
pub const TCP_HANDSHAKE: [u8; TCP_HEADER_LEN + 1] = [12, 0, HANDSHAKE, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

const PAYLOAD: u8 = 0;
const HANDSHAKE: u8 = 1;

/// The start of eCAL's message. eCAL does not look at it.
const MAGIC: [u8; 4] = *b"ECAL";
/// What is before the sample: the magic, and the sample's length.
const PREFIX_LEN: usize = MAGIC.len() + 2;

/// The most bytes that a message has beside its payload.
pub const MAX_TCP_HEAD_LEN: usize = PREFIX_LEN + u16::MAX as usize;

const SAMPLE_TOPIC: u32 = 5;
const SAMPLE_CONTENT: u32 = 6;
const SAMPLE_PADDING: u32 = 8;
const TOPIC_ID: u32 = 6;
const TOPIC_NAME: u32 = 7;
const CONTENT_CLOCK: u32 = 2;
const CONTENT_TIME: u32 = 3;
const CONTENT_SIZE: u32 = 6;
const CONTENT_HASH: u32 = 7;

/// What identifies a payload that travels over TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSample {
    /// The publisher's id.
    pub topic_id: EntityId,
    /// The publisher's count of messages, from 1.
    pub clock: i64,
    /// The time of sending in microseconds since the Unix epoch.
    pub time_us: i64,
    /// Where the payload lies in the frame's body.
    pub payload: Range<usize>,
}

impl TcpSample {
    /// Decodes the body of a frame of payload. Texts are not looked at: the connection says whose messages come by it.
    ///
    /// # Errors
    /// [`DropReason::ForeignMagic`] if it is not one of eCAL's, [`DropReason::Truncated`] or
    /// [`DropReason::LengthMismatch`] if it is shorter than it says, [`DropReason::BadSample`] if it is damaged.
    pub fn decode(body: &[u8]) -> Result<Self, DropReason> {
        let (magic, rest) = body.split_first_chunk().ok_or(DropReason::Truncated)?;
        if *magic != MAGIC {
            return Err(DropReason::ForeignMagic);
        }
        let (len, rest) = rest.split_first_chunk().ok_or(DropReason::Truncated)?;
        let sample_len = usize::from(u16::from_le_bytes(*len));
        let (sample, rest) = rest.split_at_checked(sample_len).ok_or(DropReason::Truncated)?;
        let mut decoded = Self { topic_id: EntityId::from_wire(b""), clock: 0, time_us: 0, payload: 0..0 };
        let mut size = 0;
        let mut fields = Fields(sample);
        while let Some((number, value)) = fields.next()? {
            let is_topic = number == SAMPLE_TOPIC;
            if !is_topic && number != SAMPLE_CONTENT {
                continue;
            }
            let mut fields = Fields(value.bytes()?);
            while let Some((number, value)) = fields.next()? {
                match number {
                    TOPIC_ID if is_topic => decoded.topic_id = EntityId::from_wire(value.bytes()?),
                    CONTENT_CLOCK if !is_topic => decoded.clock = value.varint()? as i64,
                    CONTENT_TIME if !is_topic => decoded.time_us = value.varint()? as i64,
                    CONTENT_SIZE if !is_topic => size = value.varint()? as i32,
                    _ => {}
                }
            }
        }
        let size = usize::try_from(size).map_err(|_| DropReason::LengthMismatch)?;
        if size > rest.len() {
            return Err(DropReason::LengthMismatch);
        }
        let start = PREFIX_LEN + sample_len;
        decoded.payload = start..start + size;
        Ok(decoded)
    }
}

/// Writes the frames of a publisher's messages.
#[derive(Clone, Debug)]
pub struct TcpFrameWriter {
    /// The topic of every sample, with tag and length.
    topic: Vec<u8>,
}

impl TcpFrameWriter {
    /// For a publisher of a topic.
    pub fn new(topic_name: &[u8], topic_id: EntityId) -> Self {
        let topic_id = alloc::string::ToString::to_string(&topic_id);
        let mut fields = Vec::new();
        put_text_field(&mut fields, TOPIC_ID, topic_id.as_bytes());
        put_text_field(&mut fields, TOPIC_NAME, topic_name);
        let mut topic = Vec::new();
        put_text_field(&mut topic, SAMPLE_TOPIC, &fields);
        Self { topic }
    }

    /// Appends the frame of a message up to where its payload starts; the payload completes it. The payload begins at a
    /// multiple of eight bytes in the body, as with eCAL.
    ///
    /// `None` if the topic's name or the payload is too long: a sample has a length of 16 bits, and a payload one of 31.
    pub fn put_head(
        &self,
        out: &mut Vec<u8>,
        clock: i64,
        time_us: i64,
        hash: i64,
        payload_len: usize,
    ) -> Option<()> {
        let size = i32::try_from(payload_len).ok()?;
        let numbers = [
            (CONTENT_CLOCK, clock as u64),
            (CONTENT_TIME, time_us as u64),
            (CONTENT_SIZE, size as u64),
            (CONTENT_HASH, hash as u64),
        ];
        let content_len: usize = numbers.iter().map(|(_, number)| 1 + varint_len(*number)).sum();
        let unpadded_len = self.topic.len() + 1 + varint_len(content_len as u64) + content_len;
        // Tag and length of the padding take a byte each.
        let padding_len =
            (PREFIX_LEN + unpadded_len + 2).next_multiple_of(8) - (PREFIX_LEN + unpadded_len + 2);
        let sample_len = u16::try_from(unpadded_len + 2 + padding_len).ok()?;
        let body_len = PREFIX_LEN + usize::from(sample_len) + payload_len;
        out.extend_from_slice(&(TCP_HEADER_LEN as u16).to_le_bytes());
        out.extend_from_slice(&[PAYLOAD, 0]);
        out.extend_from_slice(&(body_len as u64).to_le_bytes());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&sample_len.to_le_bytes());
        out.extend_from_slice(&self.topic);
        put_len_prefix(out, SAMPLE_CONTENT, content_len);
        for (field, number) in numbers {
            put_varint_field(out, field, number);
        }
        put_text_field(out, SAMPLE_PADDING, &[0; 8][..padding_len]);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    fn frame(topic: &str, clock: i64, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let writer = TcpFrameWriter::new(topic.as_bytes(), EntityId::new(1, 2, 3));
        writer.put_head(&mut frame, clock, 1_700_000_000_000_000, 1 << 62, payload.len()).unwrap();
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn messages_round_trip_and_their_payload_is_aligned() {
        for topic_len in 1..20 {
            for clock in [1, 127, 128, i64::MAX] {
                let payload = [7; 21];
                let frame = frame(&"t".repeat(topic_len), clock, &payload);
                let body = &frame[TCP_HEADER_LEN..];
                assert_eq!(frame[..4], [12, 0, 0, 0]);
                assert_eq!(u64::from_le_bytes(frame[4..12].try_into().unwrap()), body.len() as u64);
                let sample = TcpSample::decode(body).unwrap();
                assert_eq!((sample.topic_id, sample.clock), (EntityId::new(1, 2, 3), clock));
                assert_eq!(sample.time_us, 1_700_000_000_000_000);
                assert_eq!(sample.payload.start % 8, 0);
                assert_eq!(body[sample.payload], payload);
            }
        }
    }

    #[test]
    fn what_is_shorter_than_it_says_is_refused() {
        let frame = frame("topic", 1, b"payload");
        let body = &frame[TCP_HEADER_LEN..];
        for len in 0..body.len() {
            let refused = TcpSample::decode(&body[..len]).unwrap_err();
            assert!(
                matches!(refused, DropReason::Truncated | DropReason::LengthMismatch),
                "{len}: {refused:?}"
            );
        }
        assert_eq!(TcpSample::decode(b"LACE\0\0"), Err(DropReason::ForeignMagic));
    }

    #[test]
    fn what_has_no_room_in_a_frame_is_not_written() {
        let writer = |len| TcpFrameWriter::new(&vec![b'x'; len], EntityId::new(1, 2, 3));
        let put = |len, payload| writer(len).put_head(&mut Vec::new(), 1, 1, 1, payload);
        assert_eq!((put(65_000, 1), put(65_500, 1)), (Some(()), None));
        assert_eq!((put(1, i32::MAX as usize), put(1, i32::MAX as usize + 1)), (Some(()), None));
    }
}
