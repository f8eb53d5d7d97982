//! The hot paths do not allocate, and claims from the network do not either.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use ferrocal_proto::{
    DropReason, Fragments, Header, Kind, Limits, LogMessage, PayloadSample, Reassembler, Registration,
};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a count for each thread.
struct Counting;

fn note(len: usize) {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
    LARGEST.set(LARGEST.get().max(len));
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and `ptr` came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(new_size);
        // SAFETY: the caller keeps the contract of `realloc`, and `ptr` came from `System`.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Returns the number of allocations that a closure makes, and the length of the largest.
fn count(run: impl FnOnce()) -> (usize, usize) {
    ALLOCATIONS.set(0);
    LARGEST.set(0);
    run();
    (ALLOCATIONS.get(), LARGEST.get())
}

const SOURCE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);

#[test]
fn decoding_a_payload_sample_does_not_allocate() {
    let message = include_bytes!("data/ecal-6.1.1-payload.bin");
    let (allocations, _) = count(|| assert!(PayloadSample::decode(message).is_ok()));
    assert_eq!(allocations, 0);
}

#[test]
fn cutting_a_message_does_not_allocate() {
    let message = vec![1; 100_000];
    let (allocations, _) = count(|| {
        let fragments = Fragments::new(1, [&message, &message], 1472).unwrap();
        assert_eq!(fragments.map(|datagram| datagram.parts[0].len()).sum::<usize>(), message.len());
    });
    assert_eq!(allocations, 0);
}

#[test]
fn fragments_in_order_share_few_allocations() {
    let message = vec![1; 1_000_000];
    let datagrams: Vec<_> = Fragments::new(1, [&message, &[]], 1472)
        .unwrap()
        .map(|datagram| [&datagram.header[..], datagram.parts[0], datagram.parts[1]].concat())
        .collect();
    let mut reassembler = Reassembler::new(Limits::default());
    let (allocations, largest) = count(|| {
        let complete =
            datagrams.iter().filter_map(|datagram| reassembler.push(Duration::ZERO, SOURCE, datagram));
        assert_eq!(complete.count(), 1);
    });
    // The buffer grows three times; the rest is the tables' nodes.
    assert!(allocations <= 8, "{allocations} allocations for {} datagrams", datagrams.len());
    assert_eq!(largest, message.len());
}

#[test]
fn claims_are_not_allocated() {
    let mut reassembler = Reassembler::new(Limits::default());
    let info = Header { kind: Kind::Info, id: 1, num: 200_000_000, len: 200_000_000 };
    let fragment = Header { kind: Kind::Fragment, id: 1, num: 0, len: 1 };
    let fragment = [&fragment.encode()[..], b"a"].concat();
    let (_, largest) = count(|| {
        reassembler.push(Duration::ZERO, SOURCE, &info.encode());
        reassembler.push(Duration::ZERO, SOURCE, &fragment);
    });
    assert!(largest <= 64 * 1024, "{largest} bytes");

    // A topic whose name is said to have 2 GiB.
    let registration = b"\x01\0\0\x08\x02\x2a\x06\x3a\xff\xff\xff\xff\x07";
    let (_, largest) = count(|| assert!(Registration::decode(registration).is_err()));
    assert!(largest <= 1024, "{largest} bytes");
}

/// A protobuf field that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut len = bytes.len();
    while len >= 0x80 {
        field.push(len as u8 | 0x80);
        len >>= 7;
    }
    field.push(len as u8);
    field.extend_from_slice(bytes);
    field
}

#[test]
fn repeated_fields_beyond_their_limit_are_not_allocated() {
    const LAYERS: usize = if cfg!(miri) { 1000 } else { 1_000_000 };
    let layer = field(12, &[]);
    let topic = field(5, &layer.repeat(LAYERS));
    // As many in topics of one layer each, which are merged.
    let topics = field(5, &layer).repeat(LAYERS);
    for topic in [topic, topics] {
        let message = [b"\x01\0\0\x08\x02", &topic[..]].concat();
        // Without `assert_eq`, which would print a million layers.
        let (allocations, _) = count(|| assert!(Registration::decode(&message) == Err(DropReason::TooLong)));
        assert_eq!(allocations, 0);
    }
}

#[test]
fn a_log_message_beyond_its_limit_is_not_copied() {
    let message = [&b"\x0e\0_log_message_\0"[..], &field(7, &vec![b'x'; 1_000_000])].concat();
    let (allocations, _) = count(|| assert_eq!(LogMessage::decode(&message), Err(DropReason::TooLong)));
    assert_eq!(allocations, 0);
}
