//! The heads of memory files, and the queue of news of registration: any bytes are taken, and nothing is allocated by a
//! length that they claim.

#![no_main]

use ferrocal_fuzz::with_peak;
use ferrocal_proto::{Broadcast, FileHead, FileLayout, MemoryMessage, is_memory_file_name};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for file_len in [data.len() as u64, 4184, u64::MAX] {
        if let Ok(head) = FileHead::decode(data, file_len) {
            assert!(head.used <= head.max && head.max <= file_len);
        }
        if let Ok(message) = MemoryMessage::decode(data, file_len) {
            let end = message.payload_offset.checked_add(message.payload_len).expect("no overflow");
            assert!(end <= file_len);
        }
    }
    for layout in [FileLayout::Wide, FileLayout::Narrow] {
        let (broadcast, peak) = with_peak(|| Broadcast::decode(data, layout));
        assert!(peak <= 4 * data.len(), "{peak} bytes for {}", data.len());
        if let Ok(broadcast) = broadcast {
            let kept = Broadcast { capacity: broadcast.capacity.max(1), ..broadcast };
            assert_eq!(Broadcast::decode(&kept.encode(layout), layout), Ok(kept));
        }
    }
    if is_memory_file_name(data) {
        assert!(!data.contains(&b'/'));
    }
});
