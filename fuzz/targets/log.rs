//! Log messages: the decoder takes any bytes, and reads back what the encoder writes.

#![no_main]

use ferrocal_fuzz::with_peak;
use ferrocal_proto::LogMessage;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (decoded, peak) = with_peak(|| LogMessage::decode(data));
    assert!(peak <= 4 * data.len() + 1024, "{peak} bytes for {}", data.len());
    if let Ok(log) = decoded {
        assert_eq!(LogMessage::decode(&log.encode()), Ok(log));
    }
});
