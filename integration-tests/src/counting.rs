//! An allocator that counts, for tests that make it their own with `#[global_allocator]`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

/// Counts the bytes in use.
#[derive(Debug)]
pub struct Counting;

static IN_USE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let len = layout.size() as i64;
        PEAK.fetch_max(IN_USE.fetch_add(len, Ordering::Relaxed) + len, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

impl Counting {
    /// The bytes in use.
    pub fn in_use() -> i64 {
        IN_USE.load(Ordering::Relaxed)
    }

    /// Begins to look for the most bytes in use, and returns how many are now.
    pub fn start() -> i64 {
        let now = Self::in_use();
        PEAK.store(now, Ordering::Relaxed);
        now
    }

    /// The most bytes in use since [`start`](Self::start).
    pub fn peak() -> i64 {
        PEAK.load(Ordering::Relaxed)
    }
}
