//! What every backend keeps: each takes these tests in.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::{LockError, MemoryFile, NamedEvent, NamedLock, OpenError, RobustLock, is_absent, lives, unlink};

pub(super) const SHORT: Duration = Duration::from_millis(20);
/// Ends a hang only.
pub(super) const LONG: Duration = Duration::from_secs(60);

/// A name that no other process has. What has it is removed at the end.
pub(super) struct Name(pub(crate) String);

impl Name {
    pub(super) fn new(name: &str) -> Self {
        Self(format!("ferrocal-shm-{}-{name}", std::process::id()))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        unlink(&self.0);
    }
}

#[test]
fn what_one_writes_the_other_reads() {
    let Name(name) = &Name::new("file");
    assert!(is_absent(name) && MemoryFile::open(name).unwrap_err().is_absent());
    let ours = MemoryFile::create(name, 10_000, 10_000).unwrap();
    match MemoryFile::create(name, 1, 1) {
        Err(OpenError::System(error)) => assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists),
        other => panic!("it is there already, and not {other:?}"),
    }
    assert!(!is_absent(name));
    let theirs = MemoryFile::open(name).unwrap();
    // Windows has whole pages.
    let len = theirs.len();
    assert!((10_000..20_000).contains(&len) && len == ours.len());
    assert!(ours.write(len - 10, b"0123456789"));
    let mut bytes = b"x".to_vec();
    assert!(theirs.append_to(len - 10, 10, &mut bytes));
    assert_eq!(bytes, b"x0123456789");
    let mut some = [0; 4];
    assert!(theirs.read(len - 9, &mut some));
    assert_eq!(&some, b"1234");
    assert!(!theirs.write(0, b"x"), "it was opened to be read");
    assert!(MemoryFile::open_to_write(name).unwrap().write(0, b"x"));
    for (offset, claimed) in [(len - 9, 10), (len, 1), (u64::MAX, 1), (1, usize::MAX)] {
        let mut none = Vec::new();
        assert!(!theirs.append_to(offset, claimed, &mut none), "{offset} {claimed}");
        assert!(none.is_empty());
    }
    assert!(theirs.is_intact());
}

#[test]
fn a_lock_is_for_one_at_a_time() {
    let name = Name::new("lock");
    let [ours, theirs] = [(), ()].map(|()| NamedLock::open(&name.0).unwrap());
    ours.lock(LONG).unwrap();
    assert_eq!(theirs.lock(SHORT), Err(LockError::TimedOut), "in the same thread, too");
    thread::scope(|scope| {
        let other = scope.spawn(|| NamedLock::open(&name.0).unwrap().lock(SHORT));
        assert_eq!(other.join().unwrap(), Err(LockError::TimedOut));
    });
    let waiting = thread::spawn(move || theirs.lock(LONG).map(|()| theirs.unlock()));
    ours.unlock();
    waiting.join().unwrap().unwrap();
    ours.lock(LONG).unwrap();
}

#[test]
fn an_event_ends_one_wait() {
    let name = Name::new("event");
    assert!(NamedEvent::open_existing(&name.0).unwrap_err().is_absent());
    let ours = Arc::new(NamedEvent::open(&name.0).unwrap());
    let theirs = NamedEvent::open_existing(&name.0).unwrap();
    assert_eq!(ours.wait(SHORT), Ok(false));
    theirs.set(LONG).unwrap();
    theirs.set(LONG).unwrap();
    assert_eq!(ours.wait(LONG), Ok(true));
    assert_eq!(ours.poll(SHORT), Ok(false));
    let waiting = thread::spawn(move || ours.wait(LONG));
    theirs.set(LONG).unwrap();
    assert_eq!(waiting.join().unwrap(), Ok(true));
    theirs.set(LONG).unwrap();
    assert_eq!(theirs.poll(LONG), Ok(true));
}

#[test]
fn a_robust_lock_is_for_one_at_a_time() {
    let name = Name::new("board");
    let lock = RobustLock::open(&name.0).unwrap();
    let inside = lock.with(LONG, |has_died| {
        let other = || RobustLock::open(&name.0).unwrap().with(SHORT, |_| ());
        (has_died, thread::scope(|scope| scope.spawn(other).join().unwrap()))
    });
    assert_eq!(inside, Ok((false, Err(LockError::TimedOut))));
    assert_eq!(lock.with(LONG, |has_died| has_died), Ok(false));
}

#[test]
fn this_process_is_running() {
    assert_ne!(lives(std::process::id()), Some(false));
    // Process ids of Linux are smaller, and those of Windows are even.
    assert_ne!(lives(u32::MAX), Some(true));
}
