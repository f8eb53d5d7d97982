//! What a process has once, and its forked child has of its own.

use std::process;
use std::sync::OnceLock;

/// A value of a process. In a forked child, that of the parent may be locked for good: the thread that has the lock is not
/// there.
pub(crate) struct PerProcess<T>(OnceLock<Box<Entry<T>>>);

struct Entry<T> {
    process_id: u32,
    value: T,
    /// Of a child, and of its children.
    next: PerProcess<T>,
}

impl<T: Default> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The value of this process.
    pub(crate) fn get(&self) -> &T {
        self.get_of(process::id())
    }

    fn get_of(&self, process_id: u32) -> &T {
        let mut place = self;
        loop {
            let new = || Box::new(Entry { process_id, value: T::default(), next: Self::new() });
            let entry = place.0.get_or_init(new);
            if entry.process_id == process_id {
                return &entry.value;
            }
            place = &entry.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_child_does_not_wait_for_a_thread_that_it_does_not_have() {
        let values = PerProcess::<Mutex<u32>>::new();
        let _held = values.get_of(1).lock().unwrap();
        *values.get_of(2).lock().unwrap() = 2;
        let _held_too = values.get_of(2).lock().unwrap();
        assert_eq!(*values.get_of(3).lock().unwrap(), 0);
        assert!(values.get_of(1).try_lock().is_err(), "it is the same one");
    }
}
