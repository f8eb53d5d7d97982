//! Payload samples: the decoder takes any bytes, agrees with prost, and reads back what the encoder writes.

#![no_main]

use ferrocal_fuzz::{Input, with_peak};
use ferrocal_proto::{PayloadSample, SampleHead, split_name};
use libfuzzer_sys::fuzz_target;
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

fn encode(sample: &PayloadSample<'_>) -> Vec<u8> {
    let mut message = Vec::new();
    sample.encode_head(&mut message);
    message.extend_from_slice(sample.payload);
    message
}

fn payload_sample(message: &[u8]) {
    let (decoded, peak) = with_peak(|| PayloadSample::decode(message));
    assert_eq!(peak, 0, "a payload sample is borrowed");
    let Ok(sample) = decoded else { return };
    assert_eq!(PayloadSample::decode(&encode(&sample)), Ok(sample));
    prefixes(&encode(&sample), &sample);
    let mut head = SampleHead::default();
    head.learn(message, &sample);
    assert!(head.decode(message).is_none_or(|known| known == sample));

    let (_, encoded) = split_name(message).expect("the sample was decoded");
    let Sample { cmd_type, topic, content } = Sample::decode(encoded).expect("a valid sample");
    let (topic, content) = (topic.unwrap_or_default(), content.unwrap_or_default());
    assert_eq!(cmd_type, 1);
    let expected = PayloadSample {
        topic_name: &topic.topic_name,
        topic_id: &topic.topic_id,
        host_name: &topic.host_name,
        clock: content.clock,
        time_us: content.time,
        hash: content.hash,
        payload: &content.payload,
    };
    assert_eq!(sample, expected);
}

/// Expects of the start of a message what the whole of it says, or nothing.
fn prefixes(message: &[u8], sample: &PayloadSample<'_>) {
    let head_len = message.len() - sample.payload.len();
    for len in 0..=head_len {
        if let Some(prefix) = PayloadSample::decode_prefix(&message[..len]) {
            let PayloadSample { topic_name, topic_id, host_name, .. } = prefix;
            assert_eq!(
                (topic_name, topic_id, host_name),
                (sample.topic_name, sample.topic_id, sample.host_name)
            );
            assert!(prefix.clock == 0 || prefix.clock == sample.clock);
        }
    }
    assert_eq!(PayloadSample::decode_prefix(message), Some(*sample));
}

/// Expects a known head to decode a message of the same publisher as if it were not known, if it does.
fn known_head(first: &[u8], sample: &PayloadSample<'_>, rest: &[u8]) {
    let mut head = SampleHead::default();
    head.learn(first, sample);
    assert_eq!(head.decode(first), Some(*sample));
    let mut message = Vec::new();
    sample.encode_topic(&mut message);
    message.extend_from_slice(rest);
    if let Some(known) = head.decode(&message) {
        assert_eq!(PayloadSample::decode(&message), Ok(known));
    }
}

fuzz_target!(|data: &[u8]| {
    let _ = PayloadSample::decode_prefix(data);
    payload_sample(data);

    let mut input = Input(data);
    let texts = [(); 3].map(|()| input.text());
    let [topic_name, topic_id, host_name] = texts.each_ref().map(Vec::as_slice);
    let [clock, time_us, hash] = [(); 3].map(|()| input.long());
    let sample = PayloadSample { topic_name, topic_id, host_name, clock, time_us, hash, payload: input.0 };
    let message = encode(&sample);
    assert_eq!(PayloadSample::decode(&message), Ok(sample));
    payload_sample(&message);
    known_head(&message, &sample, sample.payload);
});
