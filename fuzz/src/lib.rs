//! What the fuzz targets share: decisions made from bytes, and a count of the memory in use.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use ferrocal_proto::Header;
use ferrocal_transport::fuzzing::each_datagram;

/// Every link type, by its number in capture files.
pub const LINKS: [i32; 6] = [0, 1, 101, 108, 113, 276];

/// Takes a UDP payload apart as if datagrams had been merged to it.
///
/// # Panics
/// When bytes are lost, or it is taken apart where no datagram ends.
pub fn check_merged(payload: &[u8]) {
    let mut datagrams = Vec::new();
    each_datagram(payload, |datagram| datagrams.push(datagram));
    assert_eq!(datagrams.concat(), payload);
    let (last, others) = datagrams.split_last().expect("even an empty payload is a datagram");
    assert!(others.is_empty() || !last.is_empty());
    assert!(others.iter().all(|datagram| Header::parse(datagram).is_ok()));
}

/// Bytes to make decisions from, taken from the front; zeros follow their end.
///
/// The layout is plain on purpose: a mutation of one byte changes one decision, and seeds can be written by hand.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// Returns whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a number of one byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// Takes a number of two bytes, the low one first.
    pub fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// Takes a number of eight bytes, the low one first.
    pub fn long(&mut self) -> i64 {
        i64::from_le_bytes([0; 8].map(|_: u8| self.byte()))
    }

    /// Takes this many bytes, or as many as are left.
    pub fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Takes a text behind its length of one byte.
    pub fn text(&mut self) -> Vec<u8> {
        let len = self.byte().into();
        self.bytes(len).to_vec()
    }
}

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Returns the memory in use, in bytes.
pub fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

/// Returns what a closure returns, and how much more memory than before was in use meanwhile, in bytes.
pub fn with_peak<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = allocated();
    PEAK.store(before, Ordering::Relaxed);
    let result = run();
    (result, PEAK.load(Ordering::Relaxed) - before)
}

/// The system's allocator, with a count of what is in use; libFuzzer itself allocates elsewhere.
struct Counting;

fn count(taken: usize, freed: usize) {
    let before = ALLOCATED.fetch_add(taken, Ordering::Relaxed);
    PEAK.fetch_max(before + taken - freed, Ordering::Relaxed);
    ALLOCATED.fetch_sub(freed, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: the caller keeps the contract of `dealloc`, and `ptr` came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: the caller keeps the contract of `realloc`, and `ptr` came from `System`.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
