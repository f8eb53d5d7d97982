//! Registrations of publishers, subscribers, processes and services: the decoder takes any bytes, keeps no more than they
//! justify, and reads back what the encoder writes.

#![no_main]

use ferrocal_fuzz::with_peak;
use ferrocal_proto::{MAX_METHODS, Registration};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (decoded, peak) = with_peak(|| Registration::decode(data));
    // Each method takes memory, however little it has in it.
    assert!(peak <= 4 * data.len() + 1024 * MAX_METHODS, "{peak} bytes for {}", data.len());
    if let Ok(registration) = decoded {
        assert_eq!(Registration::decode(&registration.encode()), Ok(registration));
    }
});
