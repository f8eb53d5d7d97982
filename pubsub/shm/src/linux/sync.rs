//! A mutex, a condition and a flag in a file, as eCAL lays them out: of that its locks and its events are made.
//!
//! The mutex is held for the time of a few instructions only, so nobody waits for it by sleeping in the kernel: it is tried
//! until a deadline. Whoever died with it is noticed by that, and [`Sync::force`] frees it.
#![allow(unsafe_code)]

use std::fs::File;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::file::{allocate, create_new, len, open_existing};
use super::map::Mapping;
use crate::{LockError, OpenError};

/// What an event or a lock of eCAL's is in memory.
#[repr(C, align(8))]
struct Layout {
    mutex: libc::pthread_mutex_t,
    condition: libc::pthread_cond_t,
    flag: AtomicU8,
    // Of ferrocal alone: eCAL leaves what is behind the flag at 0.
    is_napping: AtomicU8,
    wakes: AtomicU32,
}

// As seen on x86-64 and aarch64, the processors of ferrocal's tests and of eCAL's packages.
#[cfg(target_arch = "x86_64")]
const _: () = assert!(size_of::<Layout>() == 96 && offset_of!(Layout, flag) == 88);
#[cfg(target_arch = "aarch64")]
const _: () = assert!(size_of::<Layout>() == 104 && offset_of!(Layout, flag) == 96);

/// Where glibc has the kind of a mutex, on all 64-bit processors.
const KIND_OFFSET: usize = 16;
/// A mutex that processes share, without anything else about it.
const PLAIN: u32 = 128;
/// One that also reports that its holder died.
const ROBUST: u32 = 128 | 16;
/// The bits of a condition that are glibc's lock inside it.
const CONDITION_LOCK: u32 = 3;
/// Where they are: in the number before that of the attributes, which is the only one of a new condition that is not 0.
/// Versions of glibc, and what distributions make of them, differ in its place. `None` if it is not as expected.
static CONDITION_LOCK_OFFSET: LazyLock<Option<usize>> = LazyLock::new(|| {
    /// Shared by processes, with the monotonic clock.
    const ATTRIBUTES: u32 = 3;
    let mut condition = MaybeUninit::<libc::pthread_cond_t>::zeroed();
    // SAFETY: it is there, and nobody else uses it. All of its bytes are initialized.
    let numbers = unsafe {
        init_condition(condition.as_mut_ptr());
        *condition.as_ptr().cast::<[u32; size_of::<libc::pthread_cond_t>() / 4]>()
    };
    let at = numbers.iter().position(|&number| number != 0)?;
    let is_known = numbers[at] == ATTRIBUTES && numbers[at + 1..].iter().all(|&number| number == 0);
    is_known.then(|| at.checked_sub(1))?.map(|before| before * 4)
});

/// Makes a condition as eCAL's are.
///
/// # Safety
/// There is room for one at `condition`, and nobody uses it.
unsafe fn init_condition(condition: *mut libc::pthread_cond_t) {
    // SAFETY: the attributes are initialized before they are used, and destroyed after.
    unsafe {
        let mut attributes = MaybeUninit::<libc::pthread_condattr_t>::uninit();
        libc::pthread_condattr_init(attributes.as_mut_ptr());
        libc::pthread_condattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
        libc::pthread_condattr_setclock(attributes.as_mut_ptr(), libc::CLOCK_MONOTONIC);
        libc::pthread_cond_init(condition, attributes.as_ptr());
        libc::pthread_condattr_destroy(attributes.as_mut_ptr());
    }
}

/// How often to look for what eCAL changes without waking anybody.
pub(super) const NAP: Duration = Duration::from_micros(50);
/// How long somebody may take to make a file.
const MAKING: Duration = Duration::from_millis(200);

/// Which of the two a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All three.
    Plain,
    /// A mutex alone, which is robust.
    Robust,
}

impl Kind {
    const fn len(self) -> usize {
        match self {
            Self::Plain => size_of::<Layout>(),
            Self::Robust => size_of::<libc::pthread_mutex_t>(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Sync {
    map: Mapping,
    kind: Kind,
}

impl Sync {
    /// Opens a file, or makes it.
    pub(super) fn open(name: &str, kind: Kind) -> Result<Self, OpenError> {
        let (file, is_new) = open_or_create(name)?;
        let opened = Self::of(&file, kind);
        if is_new && opened.is_err() {
            super::unlink(name);
        }
        opened
    }

    /// Opens a file that somebody has made.
    pub(super) fn open_existing(name: &str, kind: Kind) -> Result<Self, OpenError> {
        Self::of(&open_existing(name, true)?, kind)
    }

    fn of(file: &File, kind: Kind) -> Result<Self, OpenError> {
        // Somebody may keep it for himself, but has no reason to once it is made.
        let _alone = (!is_made(file, kind)).then(|| Alone::wait(file));
        let len = len(file)?;
        if len == 0 {
            // With none left, what is written would be lost.
            allocate(file, kind.len() as u64).inspect_err(|_| drop(file.set_len(0)))?;
        } else if len < kind.len() as u64 {
            return Err(OpenError::TooShort(len));
        }
        let is_blank = len == 0 || was_left_blank(file, kind);
        let sync = Self { map: Mapping::new(file, kind.len(), true)?, kind };
        if is_blank {
            sync.init();
        }
        Ok(sync)
    }

    fn init(&self) {
        // SAFETY: nobody uses the file yet, since it was empty or blank and this has it alone. The attributes are initialized before
        // they are used, and destroyed after.
        unsafe {
            let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
            libc::pthread_mutexattr_init(attributes.as_mut_ptr());
            libc::pthread_mutexattr_setpshared(attributes.as_mut_ptr(), libc::PTHREAD_PROCESS_SHARED);
            if self.kind == Kind::Robust {
                libc::pthread_mutexattr_setrobust(attributes.as_mut_ptr(), libc::PTHREAD_MUTEX_ROBUST);
            }
            libc::pthread_mutex_init(self.mutex(), attributes.as_ptr());
            libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
            if self.kind == Kind::Plain {
                init_condition(self.condition());
            }
        }
    }

    fn mutex(&self) -> *mut libc::pthread_mutex_t {
        self.map.start()
    }

    /// Where it begins in memory.
    pub(super) fn start<T>(&self) -> *mut T {
        self.map.start()
    }

    fn condition(&self) -> *mut libc::pthread_cond_t {
        debug_assert!(self.kind == Kind::Plain);
        // SAFETY: the map is as long as the layout.
        unsafe { &raw mut (*self.map.start::<Layout>()).condition }
    }

    /// The flag, which is written with the mutex held.
    pub(super) fn flag(&self) -> &AtomicU8 {
        self.atomics().0
    }

    /// The flag, whether somebody naps, and how often he was woken.
    fn atomics(&self) -> (&AtomicU8, &AtomicU8, &AtomicU32) {
        debug_assert!(self.kind == Kind::Plain);
        let layout = self.map.start::<Layout>();
        // SAFETY: the map is as long as the layout, and lives as long as this. Others change it, as atomics allow.
        unsafe { (&(*layout).flag, &(*layout).is_napping, &(*layout).wakes) }
    }

    /// Whether somebody [naps](Self::nap), or is about to.
    #[cfg(test)]
    pub(super) fn is_napping(&self) -> bool {
        self.atomics().1.load(Ordering::SeqCst) != 0
    }

    /// Sleeps while the flag is `value`, until [`wake`](Self::wake). eCAL does not wake who sleeps here.
    pub(super) fn nap(&self, value: u8, timeout: Duration) {
        let (flag, is_napping, wakes) = self.atomics();
        let before = wakes.load(Ordering::SeqCst);
        is_napping.store(1, Ordering::SeqCst);
        if flag.load(Ordering::SeqCst) == value {
            let time = libc::timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            };
            let wait = libc::FUTEX_WAIT;
            // SAFETY: the number and the time live as long as the call. If the map is damaged the call fails.
            unsafe { libc::syscall(libc::SYS_futex, wakes.as_ptr(), wait, before, &raw const time) };
        }
        is_napping.store(0, Ordering::Relaxed);
    }

    /// Wakes one who [naps](Self::nap), after the flag was changed.
    pub(super) fn wake(&self) {
        let (_, is_napping, wakes) = self.atomics();
        if is_napping.load(Ordering::SeqCst) != 0 {
            wakes.fetch_add(1, Ordering::SeqCst);
            // SAFETY: the number lives as long as the call. If the map is damaged the call fails.
            unsafe { libc::syscall(libc::SYS_futex, wakes.as_ptr(), libc::FUTEX_WAKE, 1) };
        }
    }

    /// Whether what is there still is a mutex of this kind. glibc follows pointers of robust ones, and ends the program for
    /// some others.
    pub(super) fn is_intact(&self) -> bool {
        // SAFETY: the map is longer than that, and its start is that of a page.
        let kind = unsafe { &*self.map.start::<u8>().add(KIND_OFFSET).cast::<AtomicU32>() };
        let expected = if self.kind == Kind::Robust { ROBUST } else { PLAIN };
        kind.load(Ordering::Relaxed) == expected && self.map.is_intact()
    }

    /// Takes a plain mutex if it is free.
    pub(super) fn try_lock(&self) -> Result<(), LockError> {
        debug_assert!(self.kind == Kind::Plain);
        if !self.is_intact() {
            return Err(LockError::Lost);
        }
        // SAFETY: the map holds an initialized mutex of a known kind.
        match unsafe { libc::pthread_mutex_trylock(self.mutex()) } {
            0 => Ok(()),
            libc::EBUSY => Err(LockError::TimedOut),
            _ => Err(LockError::Lost),
        }
    }

    /// As [`try_lock`](Self::try_lock), until a deadline.
    pub(super) fn lock(&self, deadline: Instant) -> Result<(), LockError> {
        let mut pause = Pause::default();
        loop {
            match self.try_lock() {
                Err(LockError::TimedOut) if pause.is_over(deadline) => return Err(LockError::TimedOut),
                Err(LockError::TimedOut) => {}
                result => return result,
            }
        }
    }

    /// As [`lock`](Self::lock), for so long. It reads no clock if nobody has the mutex.
    pub(super) fn lock_for(&self, timeout: Duration) -> Result<(), LockError> {
        match self.try_lock() {
            Err(LockError::TimedOut) => self.lock(Instant::now() + timeout),
            result => result,
        }
    }

    /// Leaves the mutex. Returns whether it was still there.
    pub(super) fn unlock(&self) -> Result<(), LockError> {
        if self.is_intact() {
            // SAFETY: the map holds an initialized mutex, and this thread has it.
            unsafe { libc::pthread_mutex_unlock(self.mutex()) };
        }
        if self.is_intact() { Ok(()) } else { Err(LockError::Lost) }
    }

    /// Wakes one who waits for the condition. If one of several who waited has died, this may never return; it does if
    /// no other has waited since. Returns whether it could: somebody may have died at the condition, for whom glibc would
    /// wait for ever.
    pub(super) fn signal(&self, patience: Duration) -> bool {
        if !self.is_intact() {
            return true;
        }
        let is_free = self.is_condition_free(patience);
        if is_free {
            // SAFETY: the map holds an initialized condition.
            unsafe { libc::pthread_cond_signal(self.condition()) };
        }
        is_free
    }

    /// The number of glibc's that holds its lock inside the condition, if its place is known.
    fn condition_lock(&self) -> Option<&AtomicU32> {
        let offset = (*CONDITION_LOCK_OFFSET)?;
        // SAFETY: all of these places are within a condition, at a multiple of four. Others change it, as atomics allow.
        Some(unsafe { &*self.condition().cast::<u8>().add(offset).cast::<AtomicU32>() })
    }

    /// Whether nobody is at the condition, at once or within `patience`: that takes a few instructions.
    fn is_condition_free(&self, patience: Duration) -> bool {
        let Some(lock) = self.condition_lock() else { return true };
        let is_free = || lock.load(Ordering::Relaxed) & CONDITION_LOCK == 0;
        if is_free() {
            return true;
        }
        let (deadline, mut pause) = (Instant::now() + patience, Pause::default());
        while !is_free() {
            if pause.is_over(deadline) {
                return false;
            }
        }
        true
    }

    /// Leaves glibc's lock inside the condition for somebody who died with it, and wakes who waits for that.
    pub(super) fn force_condition(&self, patience: Duration) {
        if self.is_intact()
            && !self.is_condition_free(patience)
            && let Some(lock) = self.condition_lock()
        {
            lock.fetch_and(!CONDITION_LOCK, Ordering::SeqCst);
            // SAFETY: the number lives as long as the call. If the map is damaged the call fails.
            unsafe { libc::syscall(libc::SYS_futex, lock.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
        }
    }

    /// Does what somebody does who dies at the condition.
    #[cfg(test)]
    pub(super) fn die_at_condition(&self) {
        let lock = self.condition_lock().expect("its place is known");
        lock.fetch_or(1, Ordering::SeqCst);
    }

    /// Leaves what somebody leaves who was killed while he waited, with another one who has come after him.
    #[cfg(test)]
    pub(super) fn die_waiting(&self) {
        /// glibc's numbers of who waits, in both of its groups, and of who has yet to leave the older one.
        const WAITING: [(usize, u32); 3] = [(0, 1 << 1), (36, 1 << 3), (20, 1 << 1)];
        for (offset, value) in WAITING {
            // SAFETY: all of these places are within a condition, at a multiple of four.
            let number = unsafe { &*self.condition().cast::<u8>().add(offset).cast::<AtomicU32>() };
            number.store(value, Ordering::SeqCst);
        }
    }

    /// Waits for the condition, with the mutex held. When this returns the mutex is held again, which may take as long as
    /// somebody else has it.
    pub(super) fn wait(&self, deadline: Instant) {
        let until = monotonic_after(deadline.saturating_duration_since(Instant::now()));
        // SAFETY: the map holds an initialized condition and mutex, and this thread has the mutex.
        unsafe { libc::pthread_cond_timedwait(self.condition(), self.mutex(), &raw const until) };
    }

    /// Leaves the mutex for somebody else who died with it: nobody has it for longer than a few instructions. Returns whether
    /// it was held all the time until the deadline.
    pub(super) fn force(&self, deadline: Instant) -> bool {
        match self.lock(deadline) {
            Ok(()) => {
                let _ = self.unlock();
                false
            }
            Err(LockError::TimedOut) => {
                // glibc does not look at who leaves a plain mutex; eCAL relies on the same.
                let _ = self.unlock();
                true
            }
            Err(_) => false,
        }
    }
}

fn open_or_create(name: &str) -> Result<(File, bool), OpenError> {
    // Somebody may make and remove it without end.
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        match create_new(name) {
            Ok(file) => return Ok((file, true)),
            Err(OpenError::System(error)) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        match open_existing(name, true) {
            // It was removed just now.
            Err(error) if error.is_absent() => {}
            result => return result.map(|file| (file, false)),
        }
    }
    Err(OpenError::TooShort(0))
}

/// Whether all parts of a file are there: none of them is zero then.
fn is_made(file: &File, kind: Kind) -> bool {
    let Some(bytes) = content(file, kind) else { return false };
    let (mutex, rest) = bytes[..kind.len()].split_at(size_of::<libc::pthread_mutex_t>());
    let is_set = |part: &[u8]| part.iter().any(|&byte| byte != 0);
    is_set(mutex) && (kind == Kind::Robust || is_set(&rest[..size_of::<libc::pthread_cond_t>()]))
}

/// What is in a file. `None` if it is too short.
fn content(file: &File, kind: Kind) -> Option<[u8; size_of::<Layout>()]> {
    let mut bytes = [0; size_of::<Layout>()];
    file.read_exact_at(&mut bytes[..kind.len()], 0).ok()?;
    Some(bytes)
}

/// Whether somebody began to make a file and did not get done: he was killed, or there was no memory.
fn was_left_blank(file: &File, kind: Kind) -> bool {
    let is_old = || file.metadata()?.modified()?.elapsed().map_err(std::io::Error::other);
    content(file, kind).is_some_and(|bytes| bytes.iter().all(|&byte| byte == 0))
        && is_old().is_ok_and(|age| age >= MAKING)
}

/// Has a file alone among those who ask for that, as eCAL 6.1 does while it makes one.
struct Alone<'a>(Option<&'a File>);

impl<'a> Alone<'a> {
    /// Whoever keeps it for ever does not stop us.
    fn wait(file: &'a File) -> Self {
        let (deadline, mut pause) = (Instant::now() + MAKING, Pause::default());
        // SAFETY: the descriptor is open.
        while unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
            if pause.is_over(deadline) {
                return Self(None);
            }
        }
        Self(Some(file))
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.0 {
            // SAFETY: the descriptor is open.
            unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
        }
    }
}

/// Pauses between two tries, longer and longer: a lock is mostly free again after some instructions, but its holder may
/// need this processor for them.
#[derive(Debug, Default)]
pub(super) struct Pause(u32);

impl Pause {
    const SPINS: u32 = 50;
    const YIELDS: u32 = 50;
    const SLEEP: Duration = Duration::from_micros(50);

    /// Waits a little. Returns whether the deadline is over.
    pub(super) fn is_over(&mut self, deadline: Instant) -> bool {
        self.0 = self.0.saturating_add(1);
        if self.0 <= Self::SPINS {
            std::hint::spin_loop();
            return false;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        if self.0 <= Self::SPINS + Self::YIELDS {
            thread::yield_now();
        } else {
            thread::sleep(Self::SLEEP.min(left));
        }
        false
    }
}

/// The time of the system's monotonic clock in nanoseconds, as eCAL orders its news by.
pub fn monotonic_ns() -> u64 {
    let now = monotonic();
    now.tv_sec.cast_unsigned() * NANOS.cast_unsigned() + now.tv_nsec.cast_unsigned()
}

const NANOS: i64 = 1_000_000_000;

fn monotonic() -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now
}

/// The time of the monotonic clock after a while.
fn monotonic_after(time: Duration) -> libc::timespec {
    let now = monotonic();
    let nanos = now.tv_nsec + i64::from(time.subsec_nanos());
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    libc::timespec { tv_sec: now.tv_sec.saturating_add(seconds) + nanos / NANOS, tv_nsec: nanos % NANOS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_made_yet_is_asked_for_alone() {
        let name = "alone";
        let file = create_new(name).unwrap();
        assert!(!is_made(&file, Kind::Plain));
        file.set_len(Kind::Plain.len() as u64).unwrap();
        assert!(!is_made(&file, Kind::Plain));
        file.write_all_at(&PLAIN.to_ne_bytes(), KIND_OFFSET as u64).unwrap();
        assert!(!is_made(&file, Kind::Plain), "the mutex is made, and the condition is not");
        for kind in [Kind::Plain, Kind::Robust] {
            file.set_len(0).unwrap();
            let _sync = Sync::of(&file, kind).unwrap();
            assert!(is_made(&file, kind), "{kind:?}");
        }
        super::super::unlink(name);
    }
}
