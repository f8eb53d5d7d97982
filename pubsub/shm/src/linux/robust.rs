//! A lock that can be taken after its holder died with it: a robust mutex of glibc, which eCAL's programs use as such.
//!
//! glibc has each thread list the robust mutexes that it holds, for the kernel to tell others when it dies. The list goes
//! through the mutexes themselves. Everybody may write to a mutex in shared memory, so whoever leaves one would write to wherever
//! somebody else has said. So this keeps out of the list. The kernel also looks at one mutex that a thread is about to take
//! or to leave (`list_op_pending`), and follows no pointers for that one: that is what a mutex is here while it is held.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering, compiler_fence};
use std::time::{Duration, Instant};

use super::sync::{Kind, Pause, Sync};
use crate::{LockError, OpenError};

/// A lock that can be taken after its holder died with it.
#[derive(Debug)]
pub struct RobustLock(Sync);

/// The start of glibc's robust mutexes, on all 64-bit processors (its struct_mutex.h).
#[repr(C)]
struct Mutex {
    /// The holder's thread, with the bits below, or 0.
    lock: AtomicU32,
    count: AtomicU32,
    owner: AtomicU32,
    users: AtomicU32,
    kind: AtomicU32,
    spins: AtomicU32,
    /// The list. The kernel knows a mutex by the address of the second one.
    previous: usize,
    next: usize,
}

/// Bits of `lock` (include/uapi/linux/futex.h): somebody waits; the holder died.
const WAITERS: u32 = 0x8000_0000;
const OWNER_DIED: u32 = 0x4000_0000;
/// What glibc has as the `owner` of a mutex that nobody can use any more.
const NOT_RECOVERABLE: u32 = 0x7fff_fffe;

/// What the kernel looks at when a thread dies (`struct robust_list_head`, include/uapi/linux/futex.h).
#[repr(C)]
struct RobustList {
    list: *mut libc::c_void,
    /// From an entry of the list to the `lock` of its mutex.
    lock_offset: libc::c_long,
    pending: *mut libc::c_void,
}

const LOCK_OFFSET: libc::c_long = -(std::mem::offset_of!(Mutex, next) as libc::c_long);

impl RobustList {
    /// That of this thread, which glibc has set up. `None` if it is not as it should be.
    fn of_this_thread() -> Option<*mut Self> {
        let mut list: *mut Self = ptr::null_mut();
        let mut len = 0_usize;
        // SAFETY: both pointers are valid. Thread 0 is the caller.
        let result = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut list, &raw mut len) };
        if result != 0 || list.is_null() || len != size_of::<Self>() {
            return None;
        }
        // SAFETY: the kernel has it of glibc, and it lives as long as the thread.
        (unsafe { (*list).lock_offset } == LOCK_OFFSET).then_some(list)
    }
}

/// The lock while it is held.
pub(super) struct Held<'a> {
    lock: &'a RobustLock,
    list: *mut RobustList,
    /// Whether the last holder died with it.
    pub(super) has_died: bool,
    /// Only the thread that has taken it may leave it.
    _of_this_thread: PhantomData<*const ()>,
}

impl RobustLock {
    /// Opens a lock, or makes it.
    ///
    /// # Errors
    /// If the system refuses, or something else has that name.
    pub fn open(name: &str) -> Result<Self, OpenError> {
        Sync::open(name, Kind::Robust).map(Self)
    }

    /// Runs a function with the lock held. The function gets whether the last holder died with it. It may use no other robust
    /// lock.
    ///
    /// # Errors
    /// If somebody else has it for longer than `timeout`, or its memory is damaged.
    pub fn with<T>(&self, timeout: Duration, run: impl FnOnce(bool) -> T) -> Result<T, LockError> {
        let held = self.lock(timeout)?;
        let result = run(held.has_died);
        drop(held);
        if self.0.is_intact() { Ok(result) } else { Err(LockError::Lost) }
    }

    pub(super) fn lock(&self, timeout: Duration) -> Result<Held<'_>, LockError> {
        let list = RobustList::of_this_thread().ok_or(LockError::Lost)?;
        let (deadline, mut pause) = (Instant::now() + timeout, Pause::default());
        loop {
            match self.try_lock(list) {
                Err(LockError::TimedOut) if !pause.is_over(deadline) => {}
                result => return result,
            }
        }
    }

    fn try_lock(&self, list: *mut RobustList) -> Result<Held<'_>, LockError> {
        if !self.0.is_intact() {
            return Err(LockError::Lost);
        }
        let mutex = self.mutex();
        let before = mutex.lock.load(Ordering::Relaxed);
        if before != 0 && before & OWNER_DIED == 0 {
            return Err(LockError::TimedOut);
        }
        // SAFETY: the call has no arguments, and cannot fail.
        let thread = unsafe { libc::gettid() }.cast_unsigned();
        // From here on: the kernel leaves the lock for this thread if it dies with it.
        let held = Held::new(self, list, before & OWNER_DIED != 0);
        let after = thread | before & WAITERS;
        if mutex.lock.compare_exchange(before, after, Ordering::Acquire, Ordering::Relaxed).is_err() {
            held.forget();
            return Err(LockError::TimedOut);
        }
        if mutex.owner.load(Ordering::Relaxed) == NOT_RECOVERABLE {
            return Err(LockError::Lost);
        }
        mutex.owner.store(thread, Ordering::Relaxed);
        mutex.count.store(1, Ordering::Relaxed);
        if !held.has_died {
            mutex.users.fetch_add(1, Ordering::Relaxed);
        }
        Ok(held)
    }

    fn mutex(&self) -> &Mutex {
        // SAFETY: the map is as long as a mutex, its start is that of a page, and it lives as long as this. Others change it,
        // as atomics allow; the rest is not looked at.
        unsafe { &*self.0.start::<Mutex>() }
    }
}

impl<'a> Held<'a> {
    fn new(lock: &'a RobustLock, list: *mut RobustList, has_died: bool) -> Self {
        let entry = (&raw const lock.mutex().next).cast_mut().cast();
        // SAFETY: it is the list of this thread, which alone changes it.
        unsafe { ptr::write_volatile(&raw mut (*list).pending, entry) };
        // The kernel sees what this thread has done at the moment of its end.
        compiler_fence(Ordering::SeqCst);
        Self { lock, list, has_died, _of_this_thread: PhantomData }
    }

    /// Somebody else was faster.
    fn forget(self) {
        self.clear_pending();
        std::mem::forget(self);
    }

    fn clear_pending(&self) {
        compiler_fence(Ordering::SeqCst);
        // SAFETY: as in `new`.
        unsafe { ptr::write_volatile(&raw mut (*self.list).pending, ptr::null_mut()) };
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mutex = self.lock.mutex();
        if mutex.owner.load(Ordering::Relaxed) != NOT_RECOVERABLE {
            mutex.owner.store(0, Ordering::Relaxed);
            mutex.users.fetch_sub(1, Ordering::Relaxed);
        }
        if mutex.lock.swap(0, Ordering::Release) & WAITERS != 0 {
            let wake = libc::FUTEX_WAKE;
            // SAFETY: the number lives as long as the call. If the map is damaged the call fails.
            unsafe { libc::syscall(libc::SYS_futex, mutex.lock.as_ptr(), wake, 1) };
        }
        self.clear_pending();
    }
}
