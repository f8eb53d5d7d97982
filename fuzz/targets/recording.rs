//! Recordings, as the command reads them: MCAP files and measurements of eCAL. Any bytes are taken, and reading them takes
//! no memory that only they claim.

#![no_main]

#[allow(dead_code, unused_imports)]
#[path = "../../cli/src/recording/mod.rs"]
mod recording;

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use ferrocal_fuzz::with_peak;
use libfuzzer_sys::fuzz_target;
use mcap::records::MessageHeader;
use recording::{Kind, Measurement, Range, Recording};

/// What the readers keep beside what they read, and make room for because a count of 16 bits claims it.
const READER_LEN: usize = 32 * 1024 * 1024;

/// What deflate makes of a byte at most.
const MAX_RATIO: usize = 1032;

/// The file that is read, which lies in memory where there is such a folder.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let folder = if memory.is_dir() { memory } else { std::env::temp_dir() };
    folder.join(format!("ferrocal-fuzz-{}", std::process::id()))
});

fn read_mcap() {
    let Ok(Some(recording)) = Recording::open_while(&FILE, || true) else { return };
    let times = recording.times();
    let mut read = 0;
    let each = |_: &recording::Channel, header: &MessageHeader, _: &[u8]| {
        read += 1;
        // An index that is wrong would be believed; one that was made by reading is right.
        let is_within = times.is_some_and(|(first, last)| (first..=last).contains(&header.log_time));
        assert!(recording.damage().is_empty() || is_within);
        Ok(true)
    };
    let all = recording.read(&Range::default(), each, drop);
    let counted: u64 = recording.channels().fold(0, |sum, (_, _, count)| sum.saturating_add(count));
    assert!(all.is_err() || recording.damage().is_empty() || read <= counted);
    if let Some((first, last)) = times {
        let range = Range { start: Some(first), end: Some(last) };
        let each = |_: &recording::Channel, header: &MessageHeader, _: &[u8]| {
            assert!((first..last).contains(&header.log_time));
            Ok(true)
        };
        let _ = recording.read(&range, each, drop);
    }
}

fn read_measurement() {
    let Ok(measurement) = Measurement::open(&FILE) else { return };
    let counted: u64 = measurement.channels().iter().map(|(_, count)| count).sum();
    let (mut read, mut damaged, mut latest) = (0, 0, 0);
    let each = |_: &recording::Channel, stamps: recording::Stamps, _: &[u8]| {
        read += 1;
        assert!(stamps.log_ns >= latest);
        latest = stamps.log_ns;
        Ok(true)
    };
    measurement.each(each, |_| damaged += 1).expect("nothing but the file fails");
    // A file that claims more than it holds is damaged once.
    assert!(read + damaged <= counted);
}

fuzz_target!(|data: &[u8]| {
    fs::write(&*FILE, data).expect("the file can be written");
    let ((), peak) = with_peak(|| match Kind::of(&FILE) {
        Ok(Kind::Mcap) => read_mcap(),
        Ok(Kind::Measurement) => read_measurement(),
        _ => {}
    });
    assert!(peak <= READER_LEN + 4 * MAX_RATIO * data.len(), "{peak} bytes for {}", data.len());
});
