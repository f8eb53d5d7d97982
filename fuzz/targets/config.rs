//! `ecal.yaml`: any bytes are taken, in any encoding, and become settings that make sense or an error.

#![no_main]

use ferrocal::fuzzing::load_config;
use ferrocal_fuzz::with_peak;
use libfuzzer_sys::fuzz_target;

/// Twice what the values of a document may take, and what is said of those that are ignored.
const MAX_BYTES: usize = 16 * 1024 * 1024;

fuzz_target!(|data: &[u8]| {
    let (result, peak) = with_peak(|| load_config(data).map_err(|error| error.to_string()));
    assert!(peak <= MAX_BYTES, "{peak} bytes for {}", data.len());
    drop(result);
});
