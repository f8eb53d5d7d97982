//! Capture files, and frames of every link type: any bytes are taken.

#![no_main]

use std::time::Duration;

use ferrocal_fuzz::{LINKS, check_merged, with_peak};
use ferrocal_transport::IpReassemblyLimits;
use ferrocal_transport::fuzzing::{FrameDecoder, read_savefile};
use libfuzzer_sys::fuzz_target;

const LIMITS: IpReassemblyLimits =
    IpReassemblyLimits { max_bytes: 4000, max_packets: 4, timeout: Duration::from_millis(500) };
/// The reader's buffer.
const READER_LEN: usize = 1024 * 1024;
/// Link types of capture files only: Wi-Fi, radiotap, PPI.
const WRAPPED: [i32; 3] = [105, 127, 192];
const GZIP: [u8; 2] = [0x1f, 0x8b];

fn decode(decoder: &mut FrameDecoder, now: Duration, dlt: i32, frame: &[u8], len_on_wire: usize) {
    let (decoded, peak) = with_peak(|| decoder.decode(now, dlt, frame, len_on_wire));
    assert!(peak <= 2 * LIMITS.max_bytes, "{peak} bytes");
    if let Ok(Some((_, _, payload))) = decoded {
        check_merged(payload);
    }
    assert!(decoder.buffered_bytes() <= LIMITS.max_bytes, "{} bytes", decoder.buffered_bytes());
}

fuzz_target!(|data: &[u8]| {
    check_merged(data);
    for dlt in LINKS.into_iter().chain(WRAPPED) {
        let mut decoder = FrameDecoder::new(LIMITS);
        decode(&mut decoder, Duration::ZERO, dlt, data, data.len());
    }

    let file = data.to_vec();
    let mut decoder = FrameDecoder::new(LIMITS);
    let mut read = 0;
    let (_, peak) = with_peak(|| {
        read_savefile(file, |dlt, frame, len_on_wire, time| {
            read += frame.len();
            decode(&mut decoder, time, dlt, frame, len_on_wire);
        })
    });
    if data.starts_with(&GZIP) {
        // A thousand times as long, unpacked; what is kept of it has a bound.
        assert!(peak <= 16 * READER_LEN, "{peak} bytes for {}", data.len());
    } else {
        assert!(read <= data.len(), "{read} bytes of frames in {}", data.len());
        assert!(peak <= 2 * READER_LEN + 64 * data.len(), "{peak} bytes for {}", data.len());
    }
});
