//! With whatever a peer can do: die, lie, and take names.

use std::fs::File;
use std::sync::{Arc, mpsc};
use std::thread;

use super::conformance::{LONG, Name, SHORT};
use crate::{LockError, MemoryFile, NamedEvent, NamedLock, OpenError, RobustLock};

/// Takes a lock in a thread that ends with it.
fn die_with(name: &str) {
    let lock = NamedLock::open(name).unwrap();
    thread::scope(|scope| scope.spawn(|| lock.lock(LONG).unwrap()).join().unwrap());
}

#[test]
fn who_dies_with_a_lock_leaves_it_to_nobody() {
    let name = Name::new("dead");
    // Somebody has it open all the time: it would be another one otherwise.
    let lock = Arc::new(NamedLock::open(&name.0).unwrap());
    die_with(&name.0);
    assert_eq!(lock.lock(SHORT), Err(LockError::Lost));
    assert_eq!(lock.lock(SHORT), Err(LockError::Lost));
    lock.unlock();
    let other = || NamedLock::open(&name.0).unwrap().lock(SHORT);
    assert_eq!(other(), Err(LockError::TimedOut), "in the thread that knows it");
    assert_eq!(thread::scope(|scope| scope.spawn(other).join().unwrap()), Err(LockError::TimedOut));
}

#[test]
fn who_learns_of_a_dead_holder_and_ends_leaves_it_to_nobody_either() {
    let name = Name::new("dead_twice");
    let open = NamedLock::open(&name.0).unwrap();
    die_with(&name.0);
    let other = || NamedLock::open(&name.0).unwrap().lock(LONG);
    for _ in 0..2 {
        assert_eq!(thread::scope(|scope| scope.spawn(other).join().unwrap()), Err(LockError::Lost));
    }
    drop(open);
    // Nobody has it open: it is made anew.
    assert_eq!(thread::scope(|scope| scope.spawn(other).join().unwrap()), Ok(()));
}

#[test]
fn a_robust_lock_outlives_its_holder() {
    let name = Name::new("robust");
    let lock = RobustLock::open(&name.0).unwrap();
    let (entering, entered) = mpsc::channel();
    let holder = thread::spawn({
        let name = name.0.clone();
        move || {
            // A panic leaves the lock to the end of the thread.
            RobustLock::open(&name).unwrap().with(LONG, |has_died| {
                entering.send(has_died).unwrap();
                std::panic::resume_unwind(Box::new(()));
            })
        }
    });
    assert_eq!(entered.recv(), Ok(false));
    assert!(holder.join().is_err());
    assert_eq!(lock.with(LONG, |has_died| has_died), Ok(true));
    assert_eq!(lock.with(LONG, |has_died| has_died), Ok(false));
}

#[test]
fn what_nobody_has_open_is_gone() {
    let name = Name::new("gone");
    drop(MemoryFile::create(&name.0, 1, 1).unwrap());
    assert!(MemoryFile::open(&name.0).unwrap_err().is_absent());
    let event = NamedEvent::open(&name.0).unwrap();
    event.set(LONG).unwrap();
    drop(event);
    assert_eq!(NamedEvent::open(&name.0).unwrap().wait(SHORT), Ok(false));
}

#[test]
fn something_else_of_that_name_is_refused() {
    let name = Name::new("other");
    let _event = NamedEvent::open(&name.0).unwrap();
    assert!(matches!(NamedLock::open(&name.0), Err(OpenError::System(_))));
    assert!(matches!(MemoryFile::open(&name.0), Err(OpenError::System(_))));
    assert!(matches!(MemoryFile::create(&name.0, 1, 1), Err(OpenError::System(_))));
}

#[test]
fn a_mapping_of_a_file_is_refused() {
    let name = Name::new("disk");
    let path = std::env::temp_dir().join(&name.0);
    std::fs::write(&path, [7; 100]).unwrap();
    let file = File::open(&path).unwrap();
    let mapping = super::system::mapping_of(&file, &name.0).unwrap();
    let refused = MemoryFile::open(&name.0);
    assert!(
        matches!(&refused, Err(OpenError::System(error)) if error.kind() == std::io::ErrorKind::Other),
        "{refused:?}"
    );
    drop((mapping, file));
    std::fs::remove_file(&path).unwrap();
}
