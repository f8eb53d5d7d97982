//! With whatever a peer can do: die, lie, and shorten files.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::conformance::{LONG, SHORT};
use super::sync::{Kind, Sync};
use crate::{LockError, MemoryFile, NamedEvent, NamedLock, OpenError, RobustLock, unlink, unlink_parts};

/// What a file is called for these tests.
pub(super) fn file_name(name: &str) -> String {
    format!("ferrocal-shm-{}-{name}", std::process::id())
}

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(file_name(name))
}

/// Removes its file at the end.
struct Name(&'static str);

impl Drop for Name {
    fn drop(&mut self) {
        unlink(self.0);
    }
}

fn shorten(name: &str, len: u64) {
    OpenOptions::new().write(true).open(path(name)).unwrap().set_len(len).unwrap();
}

#[test]
fn the_parts_of_a_file_are_removed_and_those_of_others_are_not() {
    let names = ["parts_mtx", "parts_1_evt", "parts_1_ack_evt", "part_1_evt", "parts2_1_evt"].map(Name);
    let _files = names.each_ref().map(|name| MemoryFile::create(name.0, 1, 1).unwrap());
    unlink_parts(&["parts".into()]);
    assert_eq!(names.map(|name| path(name.0).exists()), [false, false, false, true, true]);
}

#[test]
fn a_file_that_shrinks_costs_a_read_and_no_more() {
    let name = Name("shrinking");
    let ours = MemoryFile::create(name.0, 1 << 20, 1 << 20).unwrap();
    let theirs = MemoryFile::open(name.0).unwrap();
    assert!(ours.write(0, &[7; 1 << 20]));
    shorten(name.0, 5_000);
    let mut bytes = Vec::new();
    assert!(theirs.append_to(0, 4_000, &mut bytes), "that part is still there");
    assert_eq!(bytes, [7; 4_000]);
    bytes.clear();
    assert!(!theirs.append_to(0, 1 << 20, &mut bytes));
    assert!(bytes.is_empty() && !theirs.is_intact());
    assert!(!ours.write(500_000, &[1; 100]) && !ours.is_intact());
    // The next mapping, which may be at the same address, is its own.
    drop((ours, theirs));
    assert!(MemoryFile::open(name.0).unwrap().is_intact());
}

#[test]
fn a_file_that_no_memory_could_replace_costs_a_read_and_no_more() {
    let name = Name("sparse");
    let all: u64 = fs::read_to_string("/proc/meminfo")
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("MemTotal:") || line.starts_with("SwapTotal:"))
        .map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024)
        .sum();
    let len = 4 * all;
    // Without a page in it.
    fs::File::create(path(name.0)).unwrap().set_len(len).unwrap();
    let [theirs, ours] = [MemoryFile::open(name.0).unwrap(), MemoryFile::open_to_write(name.0).unwrap()];
    let mut bytes = [1; 8];
    assert!(theirs.read(0, &mut bytes) && bytes == [0; 8]);
    shorten(name.0, 0);
    assert!(!theirs.read(0, &mut bytes) && !theirs.read(len - 8, &mut bytes));
    assert!(!ours.write(0, &bytes) && !ours.write(len - 8, &bytes));
}

#[test]
fn what_is_mapped_keeps_no_descriptor() {
    let names = ["fd_lock", "fd_event", "fd_file", "fd_page"].map(Name);
    let _lock = NamedLock::open(names[0].0).unwrap();
    let _event = NamedEvent::open(names[1].0).unwrap();
    let _file = MemoryFile::create(names[2].0, 10, 10).unwrap();
    let _page = MemoryFile::create(names[3].0, 10, 10).unwrap();
    let _read = [MemoryFile::open(names[2].0).unwrap(), MemoryFile::open_at_least(names[3].0, 20).unwrap()];
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    assert!(names.iter().all(|name| !open.contains(&path(name.0))), "{open:?}");
}

#[test]
fn who_naps_is_woken() {
    let name = Name("nap");
    let (sync, event) = (Sync::open(name.0, Kind::Plain).unwrap(), NamedEvent::open(name.0).unwrap());
    let napping = Sync::open(name.0, Kind::Plain).unwrap();
    let (done, woken) = mpsc::channel();
    thread::spawn(move || {
        napping.nap(0, LONG * 60);
        done.send(())
    });
    while !sync.is_napping() {
        thread::yield_now();
    }
    event.set(LONG).unwrap();
    woken.recv_timeout(LONG).expect("it sleeps on");
    // It is set already.
    sync.nap(0, LONG * 60);
}

#[test]
fn who_dies_inside_a_mutex_stops_nobody() {
    let name = Name("dead");
    let dead = Sync::open(name.0, Kind::Plain).unwrap();
    let event = NamedEvent::open(name.0).unwrap();
    dead.lock(Instant::now() + LONG).unwrap();
    assert_eq!(event.set(SHORT), Err(LockError::TimedOut));
    assert_eq!(event.wait(SHORT), Err(LockError::TimedOut));
    assert_eq!(NamedLock::open(name.0).unwrap().lock(SHORT), Err(LockError::TimedOut));
    assert!(dead.force(Instant::now() + SHORT), "nobody leaves it");
    assert!(!dead.force(Instant::now() + SHORT), "it is free");
    event.set(LONG).unwrap();
    assert_eq!(event.wait(LONG), Ok(true));
}

#[test]
fn a_wait_is_rescued_from_a_dead_setter() {
    let name = Name("rescued");
    let event = Arc::new(NamedEvent::open(name.0).unwrap());
    let (done, result) = mpsc::channel();
    thread::spawn({
        let event = event.clone();
        move || done.send(event.wait(Duration::from_millis(50)))
    });
    // Dies with the mutex held while the other one waits for the condition.
    let dead = Sync::open(name.0, Kind::Plain).unwrap();
    dead.lock(Instant::now() + LONG).unwrap();
    let answer = loop {
        event.rescue();
        match result.recv_timeout(Duration::from_millis(100)) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            answer => break answer,
        }
    };
    // It had not begun to wait, or it waited and was rescued.
    assert!(matches!(answer, Ok(Ok(false) | Err(LockError::TimedOut))), "{answer:?}");
}

#[test]
fn who_dies_at_a_condition_stops_nobody() {
    const HANG: Duration = Duration::from_secs(60);
    let name = Name("condition");
    let event = Arc::new(NamedEvent::open(name.0).unwrap());
    let (waited, result) = mpsc::channel();
    thread::spawn({
        let event = event.clone();
        move || while waited.send(event.wait(Duration::from_millis(50))).is_ok() {}
    });
    result.recv().unwrap().unwrap();
    let dead = Sync::open(name.0, Kind::Plain).unwrap();
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        dead.die_at_condition();
        // While nobody waits there is nobody to wake.
        while event.set(SHORT).is_ok() {}
        while event.set(SHORT).is_err() {
            event.rescue();
        }
        done.send(())
    });
    is_done.recv_timeout(HANG).expect("who sets it is not stopped");
    while result.recv_timeout(HANG).expect("who waits is not stopped") != Ok(true) {}
}

#[test]
fn a_thread_that_is_lost_keeps_the_lock_from_others() {
    let name = Name("lost");
    let lock = Arc::new(NamedLock::open(name.0).unwrap());
    Sync::open(name.0, Kind::Plain).unwrap().die_waiting();
    let (done, is_done) = mpsc::channel();
    thread::spawn({
        let lock = lock.clone();
        move || {
            lock.unlock_and_wake();
            done.send(())
        }
    });
    while !lock.keep_from_others_if_stuck() {
        if is_done.recv_timeout(SHORT).is_ok() {
            // Another version of glibc.
            return;
        }
    }
    let theirs = NamedLock::open(name.0).unwrap();
    assert_eq!(theirs.lock(SHORT), Err(LockError::TimedOut));
}

#[test]
fn damaged_locks_and_events_are_lost() {
    for (name, damage) in [("cut", 0), ("overwritten", 1)] {
        let name = Name(name);
        let (lock, event) = (NamedLock::open(name.0).unwrap(), NamedEvent::open(name.0).unwrap());
        lock.lock(LONG).unwrap();
        if damage == 0 {
            shorten(name.0, 0);
        } else {
            let file = OpenOptions::new().write(true).open(path(name.0)).unwrap();
            file.write_all_at(&[0xff; 96], 0).unwrap();
        }
        lock.unlock();
        assert_eq!(lock.lock(SHORT), Err(LockError::Lost));
        assert_eq!(event.set(SHORT), Err(LockError::Lost));
        assert_eq!(event.wait(SHORT), Err(LockError::Lost));
    }
}

#[test]
fn what_somebody_did_not_get_done_with_is_made_anew() {
    let name = Name("blank");
    let write = |time| {
        fs::write(path(name.0), [0; 96]).unwrap();
        let file = OpenOptions::new().write(true).open(path(name.0)).unwrap();
        file.set_modified(time).unwrap();
    };
    write(SystemTime::now() + LONG);
    let early = NamedLock::open(name.0).unwrap();
    assert_eq!(early.lock(SHORT), Err(LockError::Lost), "somebody may be about to");
    write(SystemTime::now() - LONG);
    let lock = NamedLock::open(name.0).unwrap();
    assert_eq!(lock.lock(SHORT), Ok(()));
    assert_eq!(early.lock(SHORT), Err(LockError::TimedOut), "it is the same one");
}

#[test]
fn a_file_that_was_cut_is_made_longer() {
    let name = Name("lengthened");
    fs::write(path(name.0), b"").unwrap();
    let file = MemoryFile::open_at_least(name.0, 5_000).unwrap();
    assert!(file.len() == 5_000 && file.write(4_999, b"x"));
    assert_eq!(MemoryFile::open_at_least(name.0, 10).unwrap().len(), 5_000);
}

#[test]
fn an_event_that_is_cut_ends_its_wait() {
    let name = Name("cut_while_waiting");
    let event = NamedEvent::open(name.0).unwrap();
    let waiting = thread::spawn(move || {
        loop {
            match event.wait(SHORT) {
                Ok(false) => {}
                result => break result,
            }
        }
    });
    shorten(name.0, 0);
    assert_eq!(waiting.join().unwrap(), Err(LockError::Lost));
}

#[test]
fn what_is_too_short_or_no_file_is_refused() {
    let name = Name("short");
    fs::write(path(name.0), [0; 40]).unwrap();
    assert!(matches!(NamedLock::open(name.0), Err(OpenError::TooShort(40))));
    assert!(matches!(NamedEvent::open(name.0), Err(OpenError::TooShort(40))));
    shorten(name.0, 0);
    assert!(matches!(MemoryFile::open(name.0), Err(OpenError::TooShort(0))));
    let link = Name("link");
    std::os::unix::fs::symlink(path(name.0), path(link.0)).unwrap();
    assert!(matches!(MemoryFile::open(link.0), Err(OpenError::System(_))), "links lead elsewhere");
}

#[test]
fn a_robust_lock_outlives_its_holder() {
    let name = Name("robust");
    let lock = RobustLock::open(name.0).unwrap();
    assert_eq!(lock.with(LONG, |has_died| has_died), Ok(false));
    let (holding, held) = mpsc::channel();
    let holder = thread::spawn(move || {
        // The thread ends with the lock held, so the mapping has to outlive it.
        let lock = Box::leak(Box::new(RobustLock::open("robust").unwrap()));
        std::mem::forget(lock.lock(LONG).unwrap());
        holding.send(()).unwrap();
    });
    held.recv().unwrap();
    holder.join().unwrap();
    assert_eq!(lock.with(LONG, |has_died| has_died), Ok(true));
    assert_eq!(lock.with(LONG, |has_died| has_died), Ok(false));
}

/// The pointers of a robust mutex lie in its file, where everybody may write, and glibc follows them.
#[test]
fn a_robust_lock_follows_no_pointers_of_others() {
    let name = Name("robust_pointers");
    let lock = RobustLock::open(name.0).unwrap();
    let file = OpenOptions::new().write(true).open(path(name.0)).unwrap();
    let result = lock.with(LONG, |_| {
        file.write_all_at(&[0x41; 16], 24).unwrap();
    });
    assert_eq!(result, Ok(()));
    assert_eq!(lock.with(LONG, |has_died| has_died), Ok(false));
    // Nor is anything left of a file that is cut meanwhile.
    assert_eq!(lock.with(LONG, |_| file.set_len(0).unwrap()), Err(LockError::Lost));
    drop(lock);
    let other = Name("robust_other");
    let lock = RobustLock::open(other.0).unwrap();
    assert_eq!(lock.with(LONG, |has_died| has_died), Ok(false));
}

/// The same mutex, as a program of eCAL uses it. Returns what glibc does.
fn glibc_locks(lock: &Sync) -> i32 {
    // SAFETY: the file holds an initialized mutex.
    let code = unsafe { libc::pthread_mutex_trylock(lock.start()) };
    if code == libc::EOWNERDEAD {
        // SAFETY: this thread has just taken it.
        unsafe { libc::pthread_mutex_consistent(lock.start()) };
    }
    code
}

fn glibc_unlocks(lock: &Sync) {
    // SAFETY: as above, and this thread has it.
    assert_eq!(unsafe { libc::pthread_mutex_unlock(lock.start()) }, 0);
}

#[test]
fn glibc_and_this_know_the_same_robust_lock() {
    let name = Name("robust_glibc");
    let lock = RobustLock::open(name.0).unwrap();
    let theirs = Sync::open(name.0, Kind::Robust).unwrap();
    assert_eq!(glibc_locks(&theirs), 0);
    assert_eq!(lock.with(SHORT, |_| ()), Err(LockError::TimedOut));
    glibc_unlocks(&theirs);
    let in_another = || thread::scope(|scope| scope.spawn(|| glibc_locks(&theirs)).join().unwrap());
    assert_eq!(lock.with(LONG, |_| in_another()), Ok(libc::EBUSY));
    // Each finds that the other has died.
    let dies_with_it = || std::mem::forget(lock.lock(LONG).unwrap());
    thread::scope(|scope| scope.spawn(dies_with_it).join().unwrap());
    assert_eq!(glibc_locks(&theirs), libc::EOWNERDEAD);
    glibc_unlocks(&theirs);
    assert_eq!(in_another(), 0);
    assert_eq!(lock.with(LONG, |has_died| has_died), Ok(true));
    assert_eq!(glibc_locks(&theirs), 0, "it is as new");
    glibc_unlocks(&theirs);
}
