//! The hand-written decoder of payload samples against prost's, and every decoder against garbage.

use ferrocal_proto::{DropReason, Header, LogMessage, PayloadSample, Registration, split_name};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

/// The fields of a payload sample that the decoder reads.
#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(int32, tag = "1")]
    cmd_type: i32,
    #[prost(message, optional, tag = "5")]
    topic: Option<Topic>,
    #[prost(message, optional, tag = "6")]
    content: Option<Content>,
}

#[derive(Clone, PartialEq, Message)]
struct Topic {
    #[prost(bytes = "vec", tag = "2")]
    host_name: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    topic_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    topic_name: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Content {
    #[prost(int64, tag = "2")]
    clock: i64,
    #[prost(int64, tag = "3")]
    time: i64,
    #[prost(bytes = "vec", tag = "4")]
    payload: Vec<u8>,
    #[prost(int64, tag = "7")]
    hash: i64,
}

/// Messages that eCAL sent.
const CAPTURED: [&[u8]; 8] = [
    include_bytes!("data/ecal-6.1.1-payload.bin"),
    include_bytes!("data/ecal-5.13.4-payload.bin"),
    include_bytes!("data/ecal-6.1.1-publisher.bin"),
    include_bytes!("data/ecal-5.13.4-publisher.bin"),
    include_bytes!("data/ecal-6.1.1-process.bin"),
    include_bytes!("data/ecal-5.13.4-process.bin"),
    include_bytes!("data/ecal-6.1.1-log.bin"),
    include_bytes!("data/ecal-5.13.4-unreg-publisher.bin"),
];

#[derive(Clone, Debug)]
enum Edit {
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Truncate(prop::sample::Index),
    Append(Vec<u8>),
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let index = any::<prop::sample::Index>;
    // Small numbers are the likeliest to be tags and lengths.
    let byte = || prop_oneof![2 => 0_u8..64, 1 => any::<u8>()];
    let edit = prop_oneof![
        4 => (index(), byte()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        1 => (index(), byte()).prop_map(|(at, byte)| Edit::Insert(at, byte)),
        1 => index().prop_map(Edit::Remove),
        1 => index().prop_map(Edit::Truncate),
        1 => vec(byte(), 0..12).prop_map(Edit::Append),
    ];
    vec(edit, 0..4)
}

fn edited(mut bytes: Vec<u8>, edits: Vec<Edit>) -> Vec<u8> {
    for edit in edits {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match edit {
            Edit::Set(at, byte) => bytes[at.index(len)] = byte,
            Edit::Insert(at, byte) => bytes.insert(at.index(len), byte),
            Edit::Remove(at) => drop(bytes.remove(at.index(len))),
            Edit::Truncate(at) => bytes.truncate(at.index(len)),
            Edit::Append(more) => bytes.extend(more),
        }
    }
    bytes
}

/// Expects the decoder to do with a protobuf sample what prost does with it.
fn compare(sample: &[u8]) -> Result<(), TestCaseError> {
    let message = [b"\x06\x00topic\0", sample].concat();
    let decoded = PayloadSample::decode(&message);
    match Sample::decode(sample) {
        Ok(Sample { cmd_type: 1, topic, content }) => {
            let (topic, content) = (topic.unwrap_or_default(), content.unwrap_or_default());
            let expected = PayloadSample {
                topic_name: &topic.topic_name,
                topic_id: &topic.topic_id,
                host_name: &topic.host_name,
                clock: content.clock,
                time_us: content.time,
                hash: content.hash,
                payload: &content.payload,
            };
            if decoded != Ok(expected) {
                // Groups are all that prost skips and the decoder refuses.
                prop_assert_eq!(decoded, Err(DropReason::BadSample));
                prop_assert!(sample.iter().any(|byte| byte & 7 == 3), "{:x?}", sample);
            }
        }
        Ok(_) => {
            let reason = decoded.unwrap_err();
            prop_assert!(matches!(reason, DropReason::UnexpectedSample | DropReason::BadSample));
        }
        Err(_) => prop_assert_eq!(decoded, Err(DropReason::BadSample)),
    }
    Ok(())
}

/// Gives bytes to every decoder.
fn decode_all(bytes: &[u8]) {
    let _ = Header::parse(bytes);
    let _ = split_name(bytes);
    let _ = PayloadSample::decode(bytes);
    let _ = PayloadSample::decode_prefix(bytes);
    let _ = LogMessage::decode(bytes);
    if let Ok(registration) = Registration::decode(bytes) {
        let _ = registration.encode();
    }
}

proptest! {
    // Miri takes seconds for each.
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 2000 }))]

    #[test]
    fn agrees_with_prost(
        (host_name, topic_id, topic_name) in any::<(Vec<u8>, Vec<u8>, Vec<u8>)>(),
        (clock, time, hash) in any::<(i64, i64, i64)>(),
        payload in vec(any::<u8>(), 0..40),
        edits in edits(),
    ) {
        let sample = Sample {
            cmd_type: 1,
            topic: Some(Topic { host_name, topic_id, topic_name }),
            content: Some(Content { clock, time, payload, hash }),
        };
        compare(&sample.encode_to_vec())?;
        compare(&edited(sample.encode_to_vec(), edits))?;
    }

    #[test]
    fn agrees_with_prost_on_captured_samples(at in 0..CAPTURED.len(), edits in edits()) {
        let (_, sample) = split_name(CAPTURED[at]).unwrap();
        compare(&edited(sample.to_vec(), edits))?;
    }

    #[test]
    fn agrees_with_prost_on_garbage(sample in vec(prop_oneof![0_u8..64, any::<u8>()], 0..30)) {
        compare(&sample)?;
    }

    #[test]
    fn prost_reads_what_is_encoded(
        (host_name, topic_id, topic_name) in any::<(Vec<u8>, Vec<u8>, Vec<u8>)>(),
        (clock, time_us, hash) in any::<(i64, i64, i64)>(),
        payload in vec(any::<u8>(), 0..300),
    ) {
        let sample = PayloadSample {
            topic_name: &topic_name,
            topic_id: &topic_id,
            host_name: &host_name,
            clock,
            time_us,
            hash,
            payload: &payload,
        };
        let mut message = Vec::new();
        sample.encode_head(&mut message);
        message.extend_from_slice(&payload);
        prop_assert_eq!(PayloadSample::decode(&message), Ok(sample));
        prop_assert_eq!(PayloadSample::decode_prefix(&message), Some(sample));
        let (name, encoded) = split_name(&message).unwrap();
        prop_assert_eq!(name, &topic_name);
        let expected = Sample {
            cmd_type: 1,
            topic: Some(Topic {
                host_name: host_name.clone(),
                topic_id: topic_id.clone(),
                topic_name: topic_name.clone(),
            }),
            content: Some(Content { clock, time: time_us, payload: payload.clone(), hash }),
        };
        prop_assert_eq!(Sample::decode(encoded), Ok(expected));
    }

    #[test]
    fn garbage_does_not_panic(bytes in vec(any::<u8>(), 0..100)) {
        decode_all(&bytes);
        decode_all(&[&[1, 0, 0], &bytes[..]].concat());
        decode_all(&[b"\x0e\0_log_message_\0", &bytes[..]].concat());
    }

    #[test]
    fn damaged_messages_do_not_panic(at in 0..CAPTURED.len(), edits in edits()) {
        decode_all(&edited(CAPTURED[at].to_vec(), edits));
    }
}
