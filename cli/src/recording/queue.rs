//! What waits to be written.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What waits between threads that bring it and one that uses it, bounded in bytes.
pub(crate) struct Queue<T> {
    max_bytes: usize,
    state: Mutex<State<T>>,
    arrived: Condvar,
    /// Notified when there is room again.
    released: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    /// Of what waits, and of what was taken and not [released](Queue::release) yet.
    bytes: usize,
    is_closed: bool,
}

impl<T> Queue<T> {
    pub(crate) fn new(max_bytes: usize) -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, is_closed: false };
        Self { max_bytes, state: Mutex::new(state), arrived: Condvar::new(), released: Condvar::new() }
    }

    /// Puts in an item that takes so many bytes. Returns whether it had room. A single one always has.
    pub(crate) fn push(&self, item: T, bytes: usize) -> bool {
        let state = self.lock();
        self.has_room(&state, bytes) && self.put(state, item, bytes)
    }

    /// Puts in an item as soon as it has room. Returns `false` if the queue was closed.
    pub(crate) fn push_waiting(&self, item: T, bytes: usize) -> bool {
        let is_full = |state: &mut State<T>| !state.is_closed && !self.has_room(state, bytes);
        let result = self.released.wait_while(self.lock(), is_full);
        self.put(result.unwrap_or_else(PoisonError::into_inner), item, bytes)
    }

    fn has_room(&self, state: &State<T>, bytes: usize) -> bool {
        state.bytes == 0 || state.bytes.saturating_add(bytes) <= self.max_bytes
    }

    fn put(&self, mut state: MutexGuard<'_, State<T>>, item: T, bytes: usize) -> bool {
        if state.is_closed {
            return false;
        }
        state.bytes += bytes;
        state.waiting.push_back(item);
        let is_first = state.waiting.len() == 1;
        drop(state);
        if is_first {
            self.arrived.notify_one();
        }
        true
    }

    /// Takes all that waits, and waits for something until `timeout`. `None` when it is closed and empty.
    pub(crate) fn take(&self, timeout: Duration) -> Option<VecDeque<T>> {
        let is_idle = |state: &mut State<T>| state.waiting.is_empty() && !state.is_closed;
        let result = self.arrived.wait_timeout_while(self.lock(), timeout, is_idle);
        let (mut state, _) = result.unwrap_or_else(PoisonError::into_inner);
        if state.waiting.is_empty() && state.is_closed {
            return None;
        }
        Some(std::mem::take(&mut state.waiting))
    }

    /// Makes room again, once what was taken is not held any more.
    pub(crate) fn release(&self, bytes: usize) {
        let mut state = self.lock();
        state.bytes = state.bytes.saturating_sub(bytes);
        drop(state);
        self.released.notify_all();
    }

    /// The bytes that are held.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Whether nothing is taken in any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().is_closed
    }

    /// Takes nothing in any more. What waits can still be taken.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.arrived.notify_all();
        self.released.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_refused_until_what_was_taken_is_released() {
        let queue = Queue::new(10);
        assert!(queue.push('a', 100), "a single one always has room");
        assert!(!queue.push('b', 1));
        assert_eq!(queue.take(Duration::ZERO).unwrap(), ['a']);
        assert!(!queue.push('c', 1), "it is still held");
        queue.release(100);
        assert!(queue.push('d', 4) && queue.push('e', 6) && !queue.push('f', 1));
        assert_eq!(queue.bytes(), 10);
        queue.close();
        assert!(!queue.push('g', 0));
        assert_eq!(queue.take(Duration::ZERO).unwrap(), ['d', 'e']);
        assert_eq!(queue.take(Duration::ZERO), None);
    }

    #[test]
    fn who_waits_is_woken() {
        let queue = Queue::new(10);
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| queue.take(Duration::from_secs(3600)));
            assert!(queue.push(1, 1));
            assert_eq!(taken.join().unwrap().unwrap(), [1]);
            let ended = scope.spawn(|| queue.take(Duration::from_secs(3600)));
            queue.close();
            assert_eq!(ended.join().unwrap(), None);
        });
        let full = Queue::new(10);
        std::thread::scope(|scope| {
            assert!(full.push(1, 10));
            let waiting = scope.spawn(|| full.push_waiting(2, 10) && !full.push_waiting(3, 1));
            assert_eq!(full.take(Duration::from_secs(3600)).unwrap(), [1]);
            full.release(10);
            assert_eq!(full.take(Duration::from_secs(3600)).unwrap(), [2]);
            full.close();
            assert!(waiting.join().unwrap());
        });
    }
}
