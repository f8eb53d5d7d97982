//! What happens if a mapped file has become shorter: zeros take the place of what is gone.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// As many mappings can be open at once.
const SLOTS: usize = 8192;

struct Slot {
    is_taken: AtomicBool,
    start: AtomicUsize,
    /// 0 while nothing is mapped.
    end: AtomicUsize,
    is_writable: AtomicBool,
    is_broken: AtomicBool,
}

static RANGES: [Slot; SLOTS] = [const {
    Slot {
        is_taken: AtomicBool::new(false),
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        is_writable: AtomicBool::new(false),
        is_broken: AtomicBool::new(false),
    }
}; SLOTS];

/// The handler that was there before.
struct Previous(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: it is written once, before the handler that reads it is installed.
unsafe impl Sync for Previous {}

static PREVIOUS: Previous = Previous(UnsafeCell::new(MaybeUninit::zeroed()));

/// A range of addresses in which faults are mended.
#[derive(Debug)]
pub(super) struct Watched(usize);

impl Watched {
    /// `None` if too many are watched already.
    pub(super) fn new(start: usize, len: usize, is_writable: bool) -> Option<Self> {
        install();
        let slot = RANGES.iter().position(|slot| !slot.is_taken.swap(true, Ordering::AcqRel))?;
        RANGES[slot].is_broken.store(false, Ordering::Relaxed);
        RANGES[slot].is_writable.store(is_writable, Ordering::Relaxed);
        RANGES[slot].start.store(start, Ordering::Relaxed);
        RANGES[slot].end.store(start + len, Ordering::Release);
        Some(Self(slot))
    }

    /// Whether a part of the range was replaced by zeros.
    pub(super) fn is_broken(&self) -> bool {
        RANGES[self.0].is_broken.load(Ordering::Acquire)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        RANGES[self.0].end.store(0, Ordering::Release);
        RANGES[self.0].is_taken.store(false, Ordering::Release);
    }
}

fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: it is a plain question, which every system answers.
        PAGE_LEN.store(unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize, Ordering::Relaxed);
        // SAFETY: the structure is zeroed, as all of its fields may be, and all that matters is set. The handler is
        // safe to call in a signal: it reads atomics and calls mmap, which is a plain system call.
        unsafe {
            if libc::sigaction(libc::SIGBUS, ptr::null(), PREVIOUS.0.get().cast()) != 0 {
                return;
            }
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = handle as *const () as usize;
            // On the alternative stack: the previous handler may be the one that reports an overflow of the stack.
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut action.sa_mask);
            libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
        }
    });
}

extern "C" fn handle(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes valid pointers, and errno is this thread's.
    let (address, errno) = unsafe { ((*info).si_addr() as usize, *libc::__errno_location()) };
    if !mend(address) {
        pass_on(signal, info, context);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Puts zeros in the place of a mapping, from the page of this address to the end. Returns whether the address is in one
/// of ours.
fn mend(address: usize) -> bool {
    let contains = |slot: &&Slot| {
        let end = slot.end.load(Ordering::Acquire);
        address < end && slot.start.load(Ordering::Relaxed) <= address
    };
    let Some(slot) = RANGES.iter().find(contains) else { return false };
    let page_len = PAGE_LEN.load(Ordering::Relaxed);
    let page = address & !(page_len - 1);
    let end = slot.end.load(Ordering::Relaxed).next_multiple_of(page_len);
    let write = if slot.is_writable.load(Ordering::Relaxed) { libc::PROT_WRITE } else { 0 };
    slot.is_broken.store(true, Ordering::Release);
    // SAFETY: the range belongs to a mapping of this crate, whose owner is the one that faulted, so that it stays mapped.
    // What was there could not be read, so nobody loses anything. The system need not have the memory for all of it, as it would
    // refuse more than there is.
    let zeros = unsafe {
        libc::mmap(
            page as *mut libc::c_void,
            end.saturating_sub(page),
            libc::PROT_READ | write,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    zeros != libc::MAP_FAILED
}

/// The length of a page, set before the handler is installed.
static PAGE_LEN: AtomicUsize = AtomicUsize::new(4096);

fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    type WithInfo = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
    type Plain = extern "C" fn(libc::c_int);
    // SAFETY: it was written before this handler was installed. Its function has the type that its flags say, and a
    // default action that is put back takes effect when the faulting access is repeated.
    unsafe {
        let previous = &*PREVIOUS.0.get().cast::<libc::sigaction>();
        match previous.sa_sigaction {
            libc::SIG_DFL | libc::SIG_IGN => {
                libc::sigaction(signal, previous, ptr::null_mut());
            }
            function if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                std::mem::transmute::<usize, WithInfo>(function)(signal, info, context);
            }
            function => std::mem::transmute::<usize, Plain>(function)(signal),
        }
    }
}
