use std::vec;

use proptest::prelude::*;

use super::*;

/// Feeds a stream in pieces of `step` bytes, and returns its frames.
fn frames(max_len: usize, stream: &[u8], step: usize) -> Result<Vec<ServiceFrame>, DropReason> {
    let mut decoder = ServiceFrames::new(max_len);
    let mut frames = Vec::new();
    for mut piece in stream.chunks(step) {
        while let Some(frame) = decoder.take(&mut piece)? {
            frames.push(frame);
        }
        assert!(piece.is_empty());
    }
    assert!(!decoder.has_begun() && decoder.buffered() == 0);
    Ok(frames)
}

#[test]
fn the_handshake_is_that_of_ecal() {
    let request = b"\0\0\0\x02\x01\x01\0\x10\0\0\0\0\0\0\0\0\x01\x01";
    let response = b"\0\0\0\x01\x01\x02\0\x10\0\0\0\0\0\0\0\0\x01";
    assert_eq!(ServiceFrame::handshake_request(), request);
    assert_eq!(ServiceFrame::handshake_response(), response);
    for (bytes, kind) in
        [(&request[..], ServiceFrameKind::HandshakeRequest), (response, ServiceFrameKind::HandshakeResponse)]
    {
        let [frame] = &frames(2, bytes, 1).unwrap()[..] else { panic!("one frame") };
        assert!(frame.kind == kind && frame.agrees());
    }
}

#[test]
fn only_versions_that_include_ours_agree() {
    let agrees =
        |kind, payload: &'static [u8]| ServiceFrame { kind, payload: Bytes::from_static(payload) }.agrees();
    let asks = |payload| agrees(ServiceFrameKind::HandshakeRequest, payload);
    assert!(asks(b"\x01\x01") && asks(b"\0\x05") && asks(b"\x01\x02 and more"));
    assert!(!asks(b"\x02\x03") && !asks(b"\0\0") && !asks(b"\x01") && !asks(b""));
    let answers = |payload| agrees(ServiceFrameKind::HandshakeResponse, payload);
    assert!(answers(b"\x01") && answers(b"\x01 and more") && !answers(b"\x02") && !answers(b""));
    assert!(!agrees(ServiceFrameKind::Request, b"\x01\x01"));
}

#[test]
fn headers_of_another_length_are_read_as_ecal_reads_them() {
    let longer = [&b"\0\0\0\x01\x01\x03\0\x14\0\0\0\0\0\0\0\0more"[..], b"x"].concat();
    let shorter = b"\0\0\0\x01\x01\x03\0\x02\0\0\0\0\0\0\0\0x";
    for step in [1, 3, 8, 17, 100] {
        let expected =
            vec![ServiceFrame { kind: ServiceFrameKind::Request, payload: Bytes::from_static(b"x") }; 3];
        let stream = [&longer[..], shorter, &longer[..]].concat();
        assert_eq!(frames(1, &stream, step), Ok(expected), "in pieces of {step}");
    }
}

#[test]
fn false_lengths_and_kinds_are_refused_before_anything_is_stored() {
    let refused = |mut bytes: &[u8]| {
        let mut decoder = ServiceFrames::new(1000);
        let error = decoder.take(&mut bytes).unwrap_err();
        assert_eq!(decoder.buffered(), 0);
        error
    };
    assert_eq!(refused(b"\xff\xff\xff\xff\x01\x03\0\x10\0\0\0\0\0\0\0\0"), DropReason::TooLong);
    assert_eq!(refused(b"\0\0\x03\xe9\x01\x03\0\x10\0\0\0\0\0\0\0\0"), DropReason::TooLong);
    assert_eq!(refused(b"\0\0\0\x01\x01\x03\xff\xff"), DropReason::TooLong);
    assert_eq!(refused(b"\0\0\0\x01\x01\x05\0\x10\0\0\0\0\0\0\0\0"), DropReason::UnknownKind);
    assert_eq!(refused(b"\0\0\0\x01\x01\0\0\x10\0\0\0\0\0\0\0\0"), DropReason::UnknownKind);
}

#[test]
fn no_more_is_stored_than_came() {
    let mut decoder = ServiceFrames::new(usize::MAX);
    assert_eq!(decoder.take(&mut &b"\xff\xff\xff\xff\x01\x03\0\x10\0\0\0\0\0\0\0\0abc"[..]), Ok(None));
    assert!(decoder.buffered() <= 64 && decoder.has_begun());
}

#[test]
fn a_frame_takes_no_more_memory_than_its_length() {
    const LEN: usize = 100_000;
    let stream = frame(ServiceFrameKind::Request, |out| out.resize(SERVICE_HEADER_LEN + LEN, 1)).unwrap();
    for step in [1, 999, 65_536, stream.len()] {
        let mut decoder = ServiceFrames::new(LEN);
        let mut came = 0;
        let mut frames = Vec::new();
        for mut piece in stream.chunks(step) {
            came += piece.len();
            frames.extend(decoder.take(&mut piece).unwrap());
            assert!(decoder.buffered() <= LEN.min(2 * came), "{came} came in pieces of {step}");
        }
        assert_eq!(frames[0].payload.len(), LEN);
    }
}

#[test]
fn a_request_of_ecal_is_read() {
    // eCAL writes every field of the header, also those that are empty.
    let header = b"\x0a\0\x12\0\x3a\0\x1a\x04echo\x22\0\x28\0\x30\0";
    let message = [&[0x0a, header.len() as u8][..], header, b"\x12\x02hi"].concat();
    let request = ServiceRequest { method: "echo".into(), payload: Bytes::from_static(b"hi") };
    assert_eq!(ServiceRequest::decode(&message.into()), Ok(request));
    assert_eq!(ServiceRequest::decode(&Bytes::new()), Ok(ServiceRequest::default()));
}

#[test]
fn a_response_that_says_no_server_is_of_none() {
    let message = Bytes::from_static(b"\x0a\x06\x12\0\x3a\0\x30\x01");
    let response = ServiceResponse { state: CallState::Executed, ..ServiceResponse::default() };
    assert_eq!(ServiceResponse::decode(&message), Ok(response));
}

#[test]
fn damage_and_long_names_are_refused() {
    let decode = |message: &[u8]| ServiceRequest::decode(&Bytes::copy_from_slice(message));
    assert_eq!(decode(b"\x0a\x05\x1a"), Err(DropReason::BadSample));
    assert_eq!(decode(b"\x08\x01"), Err(DropReason::BadSample), "a number in place of the header");
    assert_eq!(decode(b"\x12\x05hi"), Err(DropReason::BadSample));
    let frame = ServiceRequest::encode(&"x".repeat(MAX_NAME_LEN + 1), b"").unwrap();
    assert_eq!(decode(&frame[SERVICE_HEADER_LEN..]), Err(DropReason::TooLong));
    let long =
        ServiceResponse { error: Text::from(vec![b'x'; MAX_TEXT_LEN + 1]), ..ServiceResponse::default() };
    let frame = Bytes::from(long.encode().unwrap());
    assert_eq!(ServiceResponse::decode(&frame.slice(SERVICE_HEADER_LEN..)), Err(DropReason::TooLong));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        method in ".{0,20}",
        error in ".{0,20}",
        payload: Vec<u8>,
        ret_state: i64,
        id: Option<u64>,
        step in 1usize..100,
    ) {
        let state = if ret_state % 2 == 0 { CallState::Executed } else { CallState::Failed };
        let response = ServiceResponse {
            host_name: "host".into(),
            service_name: "service".into(),
            service_id: id.map(|id| EntityId::from_wire(id.to_string())),
            method: (*method).into(),
            state,
            error: (*error).into(),
            ret_state,
            payload: payload.clone().into(),
        };
        let stream = [ServiceRequest::encode(&method, &payload).unwrap(), response.encode().unwrap()].concat();
        let read = frames(stream.len(), &stream, step).unwrap();
        prop_assert_eq!(read.len(), 2);
        let request = ServiceRequest { method: (*method).into(), payload: payload.into() };
        prop_assert_eq!(ServiceRequest::decode(&read[0].payload), Ok(request));
        prop_assert_eq!(ServiceResponse::decode(&read[1].payload), Ok(response));
    }

    #[test]
    fn any_bytes_are_taken(stream: Vec<u8>, step in 1usize..40) {
        let mut decoder = ServiceFrames::new(64);
        'stream: for mut piece in stream.chunks(step) {
            loop {
                match decoder.take(&mut piece) {
                    Ok(Some(frame)) => {
                        let _ = (ServiceRequest::decode(&frame.payload), ServiceResponse::decode(&frame.payload));
                    }
                    Ok(None) => break,
                    Err(_) => break 'stream,
                }
            }
        }
    }
}
