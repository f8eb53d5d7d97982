//! Streams of the frames of services: they are taken apart in the same way however they come, take no more memory than
//! what came, and what is in them is decoded as prost decodes it.

#![no_main]

use ferrocal::Bytes;
use ferrocal_fuzz::{Input, with_peak};
use ferrocal_proto::{
    CallState, DropReason, EntityId, MAX_NAME_LEN, MAX_TEXT_LEN, SERVICE_HEADER_LEN, ServiceFrame,
    ServiceFrameKind, ServiceFrames, ServiceRequest, ServiceResponse,
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

/// The longest payload of a frame here.
const MAX_LEN: usize = 4096;

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(bytes = "vec", tag = "1")]
    host_name: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    service_name: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    method_name: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    error: Vec<u8>,
    #[prost(uint64, tag = "6")]
    state: u64,
    #[prost(bytes = "vec", optional, tag = "7")]
    service_id: Option<Vec<u8>>,
}

/// A request is a response without the last field.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
    #[prost(int64, tag = "3")]
    ret_state: i64,
}

/// The frames of a stream that comes in pieces of this length, and why they end.
fn frames(stream: &[u8], piece_len: usize) -> (Vec<ServiceFrame>, Option<DropReason>) {
    let mut decoder = ServiceFrames::new(MAX_LEN);
    let mut frames = Vec::new();
    let mut came = 0;
    for mut piece in stream.chunks(piece_len) {
        came += piece.len();
        loop {
            let before = piece.len();
            match decoder.take(&mut piece) {
                Ok(Some(frame)) => {
                    assert!(before > piece.len(), "it goes on");
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(reason) => return (frames, Some(reason)),
            }
        }
        assert!(piece.is_empty());
        assert!(decoder.buffered() <= 2 * came + 64);
    }
    (frames, None)
}

fn check(payload: &Bytes) {
    let (decoded, peak) = with_peak(|| ServiceResponse::decode(payload));
    assert!(peak <= 2 * payload.len() + 64, "{peak} bytes for {}", payload.len());
    let request = ServiceRequest::decode(payload);
    if let Ok(request) = &request {
        let frame =
            ServiceRequest::encode(&request.method.to_str_lossy(), &request.payload).expect("it is short");
        let again = ServiceRequest::decode(&Bytes::from(frame).slice(SERVICE_HEADER_LEN..));
        assert!(
            again.is_ok_and(|again| again.payload == request.payload)
                || request.method.len() > MAX_NAME_LEN / 3
        );
    }
    let Ok(response) = decoded else { return };
    let frame = Bytes::from(response.encode().expect("it is short"));
    assert_eq!(ServiceResponse::decode(&frame.slice(SERVICE_HEADER_LEN..)).as_ref(), Ok(&response));

    let Response { header, payload, ret_state } = Response::decode(payload.clone()).expect("it was decoded");
    let header = header.unwrap_or_default();
    assert!(header.error.len() <= MAX_TEXT_LEN);
    assert_eq!((response.payload, response.ret_state), (payload.clone().into(), ret_state));
    let expected = [header.host_name, header.service_name, header.method_name.clone(), header.error];
    let texts = [response.host_name, response.service_name, response.method, response.error];
    assert_eq!(texts.map(|text| text.to_vec()), expected);
    let service_id = header.service_id.filter(|id| !id.is_empty());
    assert_eq!(response.service_id, service_id.map(|id| EntityId::from_wire(&id)));
    let state = match header.state {
        1 => CallState::Executed,
        2 => CallState::Failed,
        _ => CallState::None,
    };
    assert_eq!(response.state, state);
    let request = request.expect("what a response may hold, a request may");
    assert_eq!((request.method.to_vec(), request.payload), (header.method_name, payload.into()));
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let piece_len = usize::from(input.byte()) + 1;
    let (frames_of_pieces, reason) = frames(input.0, piece_len);
    assert_eq!((&frames_of_pieces, reason), (&frames(input.0, usize::MAX).0, frames(input.0, 1).1));
    for frame in &frames_of_pieces {
        assert!(frame.payload.len() <= MAX_LEN);
        let _ = frame.agrees();
        check(&frame.payload);
    }

    let frame = ServiceRequest::encode("method", input.0).expect("it is short");
    if input.0.len() <= MAX_LEN / 2 {
        let (read, reason) = frames(&frame, piece_len);
        let [ServiceFrame { kind: ServiceFrameKind::Request, payload }] = &read[..] else {
            panic!("{reason:?}")
        };
        assert_eq!(ServiceRequest::decode(payload).expect("it is whole").payload, input.0);
    }
    check(&Bytes::copy_from_slice(input.0));
});
