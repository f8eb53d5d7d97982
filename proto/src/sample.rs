//! The sample that carries a payload, read and written in place.

use alloc::vec::Vec;

use crate::wire::{
    Fields, MAX_VARINT_LEN, fill_with_varint, put_len_prefix, put_text_field, put_varint_field, varint_len,
};
use crate::{DropReason, MAX_NAME_LEN, MAX_TOPIC_NAME_LEN};

/// `bct_set_sample`, the command of payload samples.
const SET_SAMPLE: i32 = 1;

// Field numbers of the eCAL wire format.
const SAMPLE_CMD_TYPE: u32 = 1;
const SAMPLE_TOPIC: u32 = 5;
const SAMPLE_CONTENT: u32 = 6;
const TOPIC_HOST_NAME: u32 = 2;
const TOPIC_ID: u32 = 6;
const TOPIC_NAME: u32 = 7;
const CONTENT_CLOCK: u32 = 2;
const CONTENT_TIME: u32 = 3;
const CONTENT_PAYLOAD: u32 = 4;
const CONTENT_HASH: u32 = 7;

/// A published payload with what identifies it, borrowed from the message.
///
/// Texts are bytes, which need not be UTF-8: see [`Text`](crate::Text).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadSample<'a> {
    /// The name of the topic.
    pub topic_name: &'a [u8],
    /// The publisher's id; a decimal number, but eCAL 5.x takes any text.
    pub topic_id: &'a [u8],
    /// The name of the publisher's host.
    pub host_name: &'a [u8],
    /// The publisher's count of messages, from 1.
    pub clock: i64,
    /// The time of sending in microseconds since the Unix epoch.
    pub time_us: i64,
    /// A number of the sample's own: eCAL 5.x readers take two samples with equal hashes for
    /// duplicates, whoever published them.
    pub hash: i64,
    /// The payload.
    pub payload: &'a [u8],
}

impl<'a> PayloadSample<'a> {
    /// Decodes a whole message, sample name included.
    ///
    /// Nothing is copied. Unknown fields are skipped, and of a repeated field the last one counts,
    /// as protobuf says.
    ///
    /// # Errors
    ///
    /// [`DropReason::Truncated`] or [`DropReason::BadSample`] when the message is damaged,
    /// [`DropReason::UnexpectedSample`] when it is not a payload sample, [`DropReason::TooLong`] when a name is longer than
    /// in a registration.
    pub fn decode(message: &'a [u8]) -> Result<Self, DropReason> {
        let (_, sample) = split_name(message)?;
        let mut decoded = Self::default();
        let mut cmd_type = 0;
        let mut fields = Fields(sample);
        while let Some((number, value)) = fields.next()? {
            match number {
                SAMPLE_CMD_TYPE => cmd_type = value.varint()? as i32,
                SAMPLE_TOPIC => decoded.decode_topic(value.bytes()?)?,
                SAMPLE_CONTENT => decoded.decode_content(value.bytes()?)?,
                _ => {}
            }
        }
        if cmd_type != SET_SAMPLE {
            return Err(DropReason::UnexpectedSample);
        }
        Ok(decoded)
    }

    /// Decodes the start of a message that is not there as a whole, such as that of one that was given up.
    ///
    /// `None` if the topic is not there. `clock`, `time_us` and `hash` are 0 if they are not there, and `payload` is
    /// empty unless it is there as a whole.
    pub fn decode_prefix(prefix: &'a [u8]) -> Option<Self> {
        let (_, sample) = split_name(prefix).ok()?;
        let mut decoded = Self::default();
        let (mut cmd_type, mut has_topic) = (0, false);
        let mut fields = Fields(sample);
        loop {
            let rest = fields.0;
            match fields.next() {
                Ok(Some((SAMPLE_CMD_TYPE, value))) => cmd_type = value.varint().ok()? as i32,
                Ok(Some((SAMPLE_TOPIC, value))) => {
                    decoded.decode_topic(value.bytes().ok()?).ok()?;
                    has_topic = true;
                }
                Ok(Some((SAMPLE_CONTENT, value))) => decoded.decode_content(value.bytes().ok()?).ok()?,
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => {
                    if let Some((SAMPLE_CONTENT, content)) = Fields(rest).cut() {
                        // It fails where the data ends, with the fields before that in place.
                        let _ = decoded.decode_content(content);
                    }
                    break;
                }
            }
        }
        (cmd_type == SET_SAMPLE && has_topic).then_some(decoded)
    }

    fn decode_topic(&mut self, topic: &'a [u8]) -> Result<(), DropReason> {
        let mut fields = Fields(topic);
        while let Some((number, value)) = fields.next()? {
            let (text, max_len) = match number {
                TOPIC_HOST_NAME => (&mut self.host_name, MAX_NAME_LEN),
                TOPIC_ID => (&mut self.topic_id, MAX_NAME_LEN),
                TOPIC_NAME => (&mut self.topic_name, MAX_TOPIC_NAME_LEN),
                _ => continue,
            };
            *text = value.bytes()?;
            if text.len() > max_len {
                return Err(DropReason::TooLong);
            }
        }
        Ok(())
    }

    fn decode_content(&mut self, content: &'a [u8]) -> Result<(), DropReason> {
        let mut fields = Fields(content);
        while let Some((number, value)) = fields.next()? {
            match number {
                CONTENT_CLOCK => self.clock = value.varint()? as i64,
                CONTENT_TIME => self.time_us = value.varint()? as i64,
                CONTENT_PAYLOAD => self.payload = value.bytes()?,
                CONTENT_HASH => self.hash = value.varint()? as i64,
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends the message up to where the payload starts; the payload completes it.
    ///
    /// Only the length of the payload is looked at. So that nothing follows it, it comes last,
    /// which protobuf allows. The sample name is the topic's name, cut at 65534 bytes.
    pub fn encode_head(&self, out: &mut Vec<u8>) {
        self.encode_topic(out);
        self.encode_content(out);
    }

    /// Appends the part of the head that is the same for all messages of a publisher.
    pub fn encode_topic(&self, out: &mut Vec<u8>) {
        let text_len = |text: &[u8]| 1 + varint_len(text.len() as u64) + text.len();

        put_name(out, self.topic_name);
        put_varint_field(out, SAMPLE_CMD_TYPE, SET_SAMPLE as u64);

        let texts =
            [(TOPIC_HOST_NAME, self.host_name), (TOPIC_ID, self.topic_id), (TOPIC_NAME, self.topic_name)];
        let topic_len = texts.iter().map(|(_, text)| text_len(text)).sum();
        put_len_prefix(out, SAMPLE_TOPIC, topic_len);
        for (number, text) in texts {
            put_text_field(out, number, text);
        }
    }

    /// Appends the rest of the head, which is at most [`MAX_CONTENT_HEAD_LEN`] bytes long.
    pub fn encode_content(&self, out: &mut Vec<u8>) {
        let payload_len = self.payload.len() as u64;
        // Each is the length of a number, and the number.
        let sized = |number: u64| (varint_len(number), number);
        let [clock, time, hash] = [self.clock, self.time_us, self.hash].map(|number| sized(number as u64));
        let payload = sized(payload_len);
        let numbers_len = 4 + clock.0 + time.0 + hash.0 + payload.0;
        let content = sized(numbers_len as u64 + payload_len);

        // Appended at once: most of the time of a short message in a batch goes by here.
        let mut head = [0; MAX_CONTENT_HEAD_LEN];
        let mut end = 0;
        let mut put = |field: u32, wire_type: u32, (len, number): (usize, u64)| {
            head[end] = (field << 3 | wire_type) as u8;
            end += 1 + len;
            fill_with_varint(&mut head[end - len..end], number);
        };
        put(SAMPLE_CONTENT, 2, content);
        put(CONTENT_CLOCK, 0, clock);
        put(CONTENT_TIME, 0, time);
        put(CONTENT_HASH, 0, hash);
        put(CONTENT_PAYLOAD, 2, payload);
        out.extend_from_slice(&head[..end]);
    }
}

/// The most bytes that [`PayloadSample::encode_content`] appends: tags and numbers of five fields.
pub const MAX_CONTENT_HEAD_LEN: usize = 5 * (1 + MAX_VARINT_LEN);

/// The longest head worth remembering.
const MAX_KNOWN_LEN: usize = 4096;

/// What all messages of a publisher start with: everything before the content.
///
/// To know it saves decoding and checking it anew in each of them.
#[derive(Clone, Debug, Default)]
pub struct SampleHead {
    /// Empty when no message is known.
    head: Vec<u8>,
    topic_name: Vec<u8>,
    topic_id: Vec<u8>,
    host_name: Vec<u8>,
}

impl SampleHead {
    /// Remembers the head of a message in place of the one that was known.
    ///
    /// `sample` is what the message was decoded to. None is known after a message with anything behind its content, or
    /// with a head above 4 KiB, which would only take memory.
    pub fn learn(&mut self, message: &[u8], sample: &PayloadSample<'_>) {
        self.head.clear();
        let Some(head_len) = head_len(message).filter(|&len| len <= MAX_KNOWN_LEN) else { return };
        self.head.extend_from_slice(&message[..head_len]);
        for (known, text) in [
            (&mut self.topic_name, sample.topic_name),
            (&mut self.topic_id, sample.topic_id),
            (&mut self.host_name, sample.host_name),
        ] {
            known.clear();
            known.extend_from_slice(text);
        }
    }

    /// Decodes a message that has this head, with the result of [`PayloadSample::decode`].
    ///
    /// Others, and what is damaged or has anything behind its content, are left to that: `None`.
    #[inline]
    pub fn decode<'a>(&'a self, message: &'a [u8]) -> Option<PayloadSample<'a>> {
        let Self { head, topic_name, topic_id, host_name } = self;
        if head.is_empty() {
            return None;
        }
        let content = only_content(message.strip_prefix(&head[..])?)?;
        let mut sample = PayloadSample { topic_name, topic_id, host_name, ..PayloadSample::default() };
        sample.decode_content(content).ok()?;
        Some(sample)
    }
}

/// The length of what is before the content, if that is the last field of a message and the only one of its kind.
fn head_len(message: &[u8]) -> Option<usize> {
    let mut fields = Fields(split_name(message).ok()?.1);
    loop {
        let rest = fields.0;
        if let (SAMPLE_CONTENT, _) = fields.next().ok()?? {
            return fields.0.is_empty().then(|| message.len() - rest.len());
        }
    }
}

/// The content, if it is all there is.
fn only_content(fields: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(fields);
    match fields.next() {
        Ok(Some((SAMPLE_CONTENT, content))) if fields.0.is_empty() => content.bytes().ok(),
        _ => None,
    }
}

/// Splits a message into its sample name, without the NUL that ends it, and its sample.
///
/// The name of a payload sample is its topic's; eCAL does not require it to be UTF-8.
///
/// # Errors
///
/// [`DropReason::Truncated`] when the message is shorter than the name, [`DropReason::BadSample`]
/// when the name does not end with a NUL.
pub fn split_name(message: &[u8]) -> Result<(&[u8], &[u8]), DropReason> {
    let (len, rest) = message.split_first_chunk().ok_or(DropReason::Truncated)?;
    let (name, sample) =
        rest.split_at_checked(u16::from_le_bytes(*len).into()).ok_or(DropReason::Truncated)?;
    match name {
        [name @ .., 0] => Ok((name, sample)),
        _ => Err(DropReason::BadSample),
    }
}

/// Appends the sample name that starts a message, cut at what its length field can tell.
pub(crate) fn put_name(out: &mut Vec<u8>, name: &[u8]) {
    let name = &name[..name.len().min(usize::from(u16::MAX) - 1)];
    out.extend_from_slice(&(name.len() as u16 + 1).to_le_bytes());
    out.extend_from_slice(name);
    out.push(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const SAMPLE: PayloadSample<'static> = PayloadSample {
        topic_name: b"hi",
        topic_id: b"7",
        host_name: b"h",
        clock: 1,
        time_us: 300,
        hash: -1,
        payload: b"xyz",
    };

    #[test]
    fn layout_of_the_head() {
        let mut head = vec![0xee];
        SAMPLE.encode_head(&mut head);
        #[rustfmt::skip]
        let expected = [
            0xee,
            3, 0, b'h', b'i', 0,                                    // sample name
            0x08, 1,                                                // cmd_type
            0x2a, 10,                                               // topic
            0x12, 1, b'h', 0x32, 1, b'7', 0x3a, 2, b'h', b'i',      // host, id, name
            0x32, 21,                                               // content
            0x10, 1, 0x18, 0xac, 0x02,                              // clock, time
            0x38, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1,   // hash
            0x22, 3,                                                // payload follows
        ];
        assert_eq!(head, expected);
    }

    #[test]
    fn head_and_payload_make_a_message() {
        for payload_len in [0, 1, 127, 128, 70_000] {
            let payload = vec![9; payload_len];
            let sample = PayloadSample { payload: &payload, ..SAMPLE };
            let mut message = Vec::new();
            sample.encode_head(&mut message);
            message.extend_from_slice(&payload);
            assert_eq!(PayloadSample::decode(&message), Ok(sample));
        }
    }

    #[test]
    fn the_payload_is_borrowed() {
        let mut message = Vec::new();
        SAMPLE.encode_head(&mut message);
        message.extend_from_slice(SAMPLE.payload);
        let decoded = PayloadSample::decode(&message).unwrap();
        assert_eq!(decoded.payload.as_ptr_range().end, message.as_ptr_range().end);
    }

    #[test]
    fn the_last_of_repeated_fields_counts() {
        let mut message = Vec::new();
        SAMPLE.encode_head(&mut message);
        message.extend_from_slice(SAMPLE.payload);
        message.extend_from_slice(&[0x32, 2, 0x10, 5]); // content: clock
        message.extend_from_slice(&[0x2a, 3, 0x3a, 1, b'x']); // topic: name
        let expected = PayloadSample { clock: 5, topic_name: b"x", ..SAMPLE };
        assert_eq!(PayloadSample::decode(&message), Ok(expected));
    }

    #[test]
    fn only_payload_samples() {
        let decode = |sample: &[u8]| PayloadSample::decode(&[&[1, 0, 0], sample].concat()).map(|_| ());
        assert_eq!(decode(&[0x08, 1]), Ok(()));
        // An enum keeps the low 32 bits, as everywhere in protobuf.
        assert_eq!(decode(&[0x08, 0x81, 0x80, 0x80, 0x80, 0x10]), Ok(()));
        assert_eq!(decode(&[0x08, 2]), Err(DropReason::UnexpectedSample));
        assert_eq!(decode(&[]), Err(DropReason::UnexpectedSample));
        assert_eq!(decode(&[0x08, 1, 0x2a, 3, 0x3a, 1, 0xff]), Ok(()), "not UTF-8");
        assert_eq!(decode(&[0x0a, 0]), Err(DropReason::BadSample), "another wire type");
    }

    #[test]
    fn names_are_as_long_as_in_registrations() {
        let (name, topic_name) = (vec![b'n'; MAX_NAME_LEN + 1], vec![b'n'; MAX_TOPIC_NAME_LEN + 1]);
        let decode = |sample: PayloadSample<'_>| {
            let mut message = Vec::new();
            sample.encode_head(&mut message);
            PayloadSample::decode(&message).map(|_| ())
        };
        let sample = PayloadSample { payload: b"", ..SAMPLE };
        let longest = PayloadSample { host_name: &name[1..], topic_id: &name[1..], ..sample };
        assert_eq!(decode(PayloadSample { topic_name: &topic_name[1..], ..longest }), Ok(()));
        for too_long in [
            PayloadSample { host_name: &name, ..sample },
            PayloadSample { topic_id: &name, ..sample },
            PayloadSample { topic_name: &topic_name, ..sample },
        ] {
            assert_eq!(decode(too_long), Err(DropReason::TooLong));
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let mut message = Vec::new();
        SAMPLE.encode_head(&mut message);
        message.extend_from_slice(SAMPLE.payload);
        for len in 0..message.len() {
            assert_ne!(PayloadSample::decode(&message[..len]), Ok(SAMPLE), "{len} bytes");
        }
    }

    #[test]
    fn the_start_of_a_message_names_its_topic() {
        let mut message = Vec::new();
        SAMPLE.encode_topic(&mut message);
        let topic_end = message.len();
        SAMPLE.encode_content(&mut message);
        let clock_end = topic_end + 4;
        let time_end = clock_end + 3;
        let head_end = message.len();
        message.extend_from_slice(SAMPLE.payload);
        for len in 0..=message.len() {
            let or_0 = |is_there, number| if is_there { number } else { 0 };
            let expected = (len >= topic_end).then_some(PayloadSample {
                clock: or_0(len >= clock_end, SAMPLE.clock),
                time_us: or_0(len >= time_end, SAMPLE.time_us),
                hash: or_0(len >= head_end - 2, SAMPLE.hash),
                payload: if len == message.len() { SAMPLE.payload } else { b"" },
                ..SAMPLE
            });
            assert_eq!(PayloadSample::decode_prefix(&message[..len]), expected, "{len} bytes");
        }
    }

    #[test]
    fn the_start_of_anything_else_names_no_topic() {
        let decode = |sample: &[u8]| PayloadSample::decode_prefix(&[&[1, 0, 0], sample].concat()).is_some();
        assert!(decode(&[0x08, 1, 0x2a, 0]));
        assert!(!decode(&[0x08, 1]), "no topic");
        assert!(!decode(&[0x08, 2, 0x2a, 0]), "a registration");
        assert!(!decode(&[0x2a, 0]), "no command");
        assert!(!decode(&[0x08, 1, 0x28, 0]), "another wire type");
    }

    #[test]
    fn the_start_of_what_ecal_sends_names_its_topic() {
        for message in [
            &include_bytes!("../tests/data/ecal-6.1.1-payload.bin")[..],
            include_bytes!("../tests/data/ecal-5.13.4-payload.bin"),
        ] {
            let PayloadSample { topic_name, topic_id, host_name, clock, time_us, payload, .. } =
                PayloadSample::decode(message).unwrap();
            let payload_start = message.windows(payload.len()).position(|window| window == payload).unwrap();
            let expected =
                PayloadSample { topic_name, topic_id, host_name, clock, time_us, ..PayloadSample::default() };
            assert_eq!(PayloadSample::decode_prefix(&message[..payload_start]), Some(expected));
        }
    }

    #[test]
    fn a_known_head_decodes_the_messages_that_have_it() {
        let message = |sample: PayloadSample<'_>| {
            let mut message = Vec::new();
            sample.encode_head(&mut message);
            message.extend_from_slice(sample.payload);
            message
        };
        let (first, next) = (message(SAMPLE), PayloadSample { clock: 300, payload: b"", ..SAMPLE });
        let mut head = SampleHead::default();
        assert_eq!(head.decode(&first), None, "none is known");
        head.learn(&first, &SAMPLE);
        assert_eq!(head.decode(&first), Some(SAMPLE));
        assert_eq!(head.decode(&message(next)), Some(next));
        for other in [
            message(PayloadSample { topic_id: b"8", ..SAMPLE }),
            [&first[..], &[0x32, 0]].concat(),           // content once more
            [&first[..], &[0x2a, 0]].concat(),           // topic once more
            first[..first.len() - 1].to_vec(),           // cut
            first[..head_len(&first).unwrap()].to_vec(), // no content
        ] {
            assert_eq!(head.decode(&other), None, "{other:x?}");
        }
        let long_name = vec![b'x'; MAX_KNOWN_LEN];
        let long = PayloadSample { host_name: &long_name, ..SAMPLE };
        for (unknowable, sample) in [([&first[..], &[0x08, 1]].concat(), SAMPLE), (message(long), long)] {
            head.learn(&first, &SAMPLE);
            head.learn(&unknowable, &sample);
            assert_eq!(
                (head.decode(&unknowable), head.decode(&first)),
                (None, None),
                "none is known any more"
            );
        }
    }

    #[test]
    fn names() {
        assert_eq!(split_name(&[3, 0, b'h', b'i', 0, 1]), Ok((&b"hi"[..], &[1][..])));
        assert_eq!(split_name(&[1, 0, 0]), Ok((&[][..], &[][..])));
        assert_eq!(split_name(&[]), Err(DropReason::Truncated));
        assert_eq!(split_name(&[1]), Err(DropReason::Truncated));
        assert_eq!(split_name(&[4, 0, b'h', b'i', 0]), Err(DropReason::Truncated));
        assert_eq!(split_name(&[2, 0, b'h', b'i', 0]), Err(DropReason::BadSample));
        assert_eq!(split_name(&[0, 0, 1]), Err(DropReason::BadSample));
    }

    #[test]
    fn a_name_too_long_is_cut() {
        let name = vec![b'n'; 70_000];
        let mut message = Vec::new();
        put_name(&mut message, &name);
        assert_eq!(split_name(&message), Ok((&name[..65_534], &[][..])));
    }

    #[test]
    fn ecal_6_1() {
        let message = include_bytes!("../tests/data/ecal-6.1.1-payload.bin");
        let payload: Vec<u8> = (0..20).map(|at| (at * 31) as u8).collect();
        let expected = PayloadSample {
            topic_name: b"hello",
            topic_id: b"22989044687568896",
            host_name: b"ha",
            clock: 1,
            time_us: 1_795_175_721_070_756,
            hash: 22_989_044_687_568_898,
            payload: &payload,
        };
        assert_eq!(PayloadSample::decode(message), Ok(expected));
    }

    #[test]
    fn ecal_5_13() {
        let message = include_bytes!("../tests/data/ecal-5.13.4-payload.bin");
        let payload: Vec<u8> = (0..20).map(|at| (at * 31) as u8).collect();
        let expected = PayloadSample {
            topic_name: b"hello",
            topic_id: b"3334618399782",
            host_name: b"ha",
            clock: 1,
            time_us: 1_795_177_313_560_528,
            hash: 11_672_281_674_998_197_529_u64 as i64,
            payload: &payload,
        };
        assert_eq!(PayloadSample::decode(message), Ok(expected));
    }
}
