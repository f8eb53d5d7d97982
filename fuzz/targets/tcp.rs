//! What comes by a TCP connection: any bytes in any pieces are taken in little memory, pieces make no difference, and what
//! is written is read back.

#![no_main]

use ferrocal_fuzz::{Input, with_peak};
use ferrocal_proto::{DropReason, EntityId, TcpFrame, TcpFrameReader, TcpFrameWriter, TcpSample};
use libfuzzer_sys::fuzz_target;

/// As some setting may have it.
const MAX_BODY_LEN: usize = 1 << 20;

/// The frames of a stream up to its end, or to what cannot be followed.
fn read(pieces: &[&[u8]]) -> (Vec<TcpFrame>, Result<(), DropReason>) {
    let mut reader = TcpFrameReader::new(MAX_BODY_LEN);
    let mut frames = Vec::new();
    let mut came = 0;
    for &piece in pieces {
        let mut bytes = piece;
        loop {
            match reader.read(&mut bytes) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(reason) => return (frames, Err(reason)),
            }
        }
        came += piece.len();
        assert!(reader.held() <= 2 * came + (64 << 10), "{} bytes for {came}", reader.held());
        assert!(reader.missing() <= MAX_BODY_LEN);
    }
    (frames, Ok(()))
}

/// Reads what is long to its place, as a connection does.
fn read_in_place(stream: &[u8], least: usize) -> Vec<TcpFrame> {
    let mut reader = TcpFrameReader::new(MAX_BODY_LEN);
    let mut frames = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        if reader.missing() > least {
            let room = reader.room();
            let count = room.len().min(rest.len());
            room[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            frames.extend(reader.filled(count));
        } else {
            match reader.read(&mut rest) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => {}
                Err(_) => break,
            }
        }
    }
    frames
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let (clock, time_us, hash, id) = (input.long(), input.long(), input.long(), input.long());
    let (topic, payload, least) = (input.text(), input.text(), usize::from(input.byte()));
    let piece_len = usize::from(input.byte()).max(1);
    let stream = input.0;

    let ((whole, end), peak) = with_peak(|| read(&[stream]));
    assert!(peak <= 4 * stream.len() + (256 << 10), "{peak} bytes for {}", stream.len());
    let pieces: Vec<_> = stream.chunks(piece_len).collect();
    assert_eq!(read(&pieces), (whole.clone(), end));
    assert_eq!(read_in_place(stream, least), whole);
    for frame in &whole {
        if let TcpFrame::Payload(body) = frame
            && let Ok(sample) = TcpSample::decode(body)
        {
            assert!(sample.payload.end <= body.len());
        }
    }
    let _ = TcpSample::decode(stream);

    let id = EntityId::from_wire(id.unsigned_abs().to_string());
    let mut frame = Vec::new();
    TcpFrameWriter::new(&topic, id)
        .put_head(&mut frame, clock, time_us, hash, payload.len())
        .expect("a short topic has room");
    frame.extend_from_slice(&payload);
    let (frames, end) = read(&[&frame]);
    let [TcpFrame::Payload(body)] = &frames[..] else { panic!("{frames:?}, {end:?}") };
    let sample = TcpSample::decode(body).expect("it is whole");
    assert_eq!((sample.topic_id, sample.clock, sample.time_us), (id, clock, time_us));
    assert_eq!((sample.payload.start % 8, &body[sample.payload]), (0, &payload[..]));
});
