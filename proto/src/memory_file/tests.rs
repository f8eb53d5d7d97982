use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

/// What eCAL 6.1.1 wrote for a message of 20 bytes, on x86-64 Linux.
const REAL: &str = "1800000000000000540000000000000040100000000000004000000000000000140000000000000000000000\
                    00000000270000000000000006af4f30346106004e00b9523ae0210000000000000000000000000000000000";

fn real() -> Vec<u8> {
    let digits: Vec<u8> = REAL.bytes().collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn a_head_of_the_real_ecal_is_read_and_written() {
    let message = MemoryMessage::decode(&real(), 4184).unwrap();
    let expected = MemoryMessage {
        payload_offset: 88,
        payload_len: 20,
        clock: 39,
        time_us: 1_795_726_636_986_118,
        hash: message.hash,
        zero_copy: false,
        acknowledge_timeout_ms: 0,
    };
    assert_eq!(message, expected);
    assert_eq!(message.encode(FileLayout::Wide, 4184, &mut [0; 88]), real());
    let narrow = message.encode(FileLayout::Narrow, 4096 + 12, &mut [0xff; 88]).to_vec();
    assert_eq!(narrow[..12], [12, 0, 0, 0, 84, 0, 0, 0, 0, 16, 0, 0]);
    assert_eq!(narrow[12..], real()[24..]);
}

#[test]
fn lengths_beyond_what_is_there_are_refused() {
    let refused = |change: &dyn Fn(&mut Vec<u8>), file_len| {
        let mut bytes = real();
        change(&mut bytes);
        MemoryMessage::decode(&bytes, file_len).unwrap_err()
    };
    assert_eq!(refused(&|_| {}, 4183), DropReason::BadMemoryFile, "the file is shorter than it claims");
    assert_eq!(refused(&|_| {}, 10), DropReason::BadMemoryFile);
    assert_eq!(refused(&|bytes| bytes[0] = 23, 4184), DropReason::BadMemoryFile, "no known layout");
    assert_eq!(refused(&|bytes| bytes[10] = 1, 4184), DropReason::BadMemoryFile, "more in use than there is");
    assert_eq!(refused(&|bytes| bytes[24] = 39, 4184), DropReason::BadMemoryFile, "too short for a clock");
    assert_eq!(
        refused(&|bytes| bytes[25] = 1, 4184),
        DropReason::BadMemoryFile,
        "longer than what is in use"
    );
    assert_eq!(refused(&|bytes| bytes[32] = 21, 4184), DropReason::LengthMismatch);
    assert_eq!(refused(&|bytes| bytes[39] = 0xff, 4184), DropReason::LengthMismatch);
    assert_eq!(refused(&|bytes| bytes.truncate(80), 4184), DropReason::Truncated);
}

#[test]
fn heads_of_other_versions_are_read() {
    let mut bytes = real();
    bytes[24] = 40;
    bytes[8] = 60;
    let old = MemoryMessage::decode(&bytes, 4184).unwrap();
    assert_eq!((old.payload_offset, old.payload_len, old.hash, old.acknowledge_timeout_ms), (64, 20, 0, 0));
    bytes[24] = 72;
    bytes[8] = 92;
    assert_eq!(MemoryMessage::decode(&bytes, 4184).unwrap().payload_offset, 96);
    let mut narrow = alloc::vec![12, 0, 0, 0, 84, 0, 0, 0, 84, 0, 0, 0];
    narrow.extend_from_slice(&real()[24..]);
    assert_eq!(MemoryMessage::decode(&narrow, 96).unwrap().payload_offset, 76);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["ecal_4a3c652", "ecal_77852314", "a.b-c"] {
        assert!(is_memory_file_name(name.as_bytes()), "{name}");
    }
    for name in ["", ".", "..", ".x", "/etc/passwd", "a/b", "a\0", "ecal 1", &"a".repeat(201)] {
        assert!(!is_memory_file_name(name.as_bytes()), "{name}");
    }
}

fn event(number: u64) -> BroadcastEvent {
    let timestamp_ns = number.cast_signed();
    BroadcastEvent { process_id: -7, timestamp_ns, event_id: number, kind: BroadcastKind::Updated }
}

#[test]
fn the_oldest_news_make_room() {
    let full = Broadcast { events: (0..10).map(event).collect(), capacity: 4 };
    let empty = Broadcast { events: Vec::new(), capacity: 4 };
    for (layout, other) in [(FileLayout::Wide, FileLayout::Narrow), (FileLayout::Narrow, FileLayout::Wide)] {
        let read = Broadcast::decode(&full.encode(layout), layout).unwrap();
        assert_eq!(read, Broadcast { events: (6..10).map(event).collect(), capacity: 4 });
        assert_eq!(Broadcast::decode(&empty.encode(layout), layout).unwrap(), empty);
        assert_eq!(Broadcast::decode(&full.encode(layout), other), Err(DropReason::BadMemoryFile));
    }
}

#[test]
fn a_queue_that_has_come_round_is_read_from_its_oldest() {
    let mut bytes = Broadcast { events: (0..4).map(event).collect(), capacity: 4 }.encode(FileLayout::Wide);
    bytes[48] = 1;
    bytes[56] = 2;
    let read: Vec<_> = Broadcast::decode(&bytes, FileLayout::Wide)
        .unwrap()
        .events
        .iter()
        .map(|event| event.event_id)
        .collect();
    assert_eq!(read, [2, 3, 0, 1]);
}

#[test]
fn indices_and_lengths_out_of_range_are_refused() {
    let good = Broadcast { events: (0..2).map(event).collect(), capacity: 4 }.encode(FileLayout::Wide);
    for (at, value) in [(28, 0xff), (48, 4), (56, 4), (64, 5), (72, 5), (79, 1), (35, 1)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        assert_eq!(Broadcast::decode(&bytes, FileLayout::Wide), Err(DropReason::BadMemoryFile), "{at}");
    }
    let mut bytes = good;
    bytes[24] = 2;
    assert_eq!(Broadcast::decode(&bytes, FileLayout::Wide), Err(DropReason::UnknownVersion));
}

proptest! {
    #[test]
    fn what_is_written_is_read(payload_len in 0..1_u64 << 40, clock: u64, time_us: i64, hash: u64, zero_copy: bool, is_narrow: bool,
        acknowledge_timeout_ms: i64)
    {
        let layout = if is_narrow { FileLayout::Narrow } else { FileLayout::Wide };
        let payload_len = payload_len.min(layout.max_file_len() - 88);
        let message = MemoryMessage {
            payload_offset: layout.head_len() as u64 + 64, payload_len, clock, time_us, hash, zero_copy, acknowledge_timeout_ms,
        };
        let file_len = MemoryMessage::file_len(payload_len);
        let mut head = [0; MemoryMessage::MAX_HEAD_LEN];
        prop_assert_eq!(MemoryMessage::decode(message.encode(layout, file_len, &mut head), file_len), Ok(message));
    }

    #[test]
    fn any_bytes_are_taken(bytes: Vec<u8>, file_len: u64) {
        if let Ok(message) = MemoryMessage::decode(&bytes, file_len) {
            prop_assert!(message.payload_offset + message.payload_len <= file_len);
        }
        let _ = [FileLayout::Wide, FileLayout::Narrow].map(|layout| Broadcast::decode(&bytes, layout));
    }
}
