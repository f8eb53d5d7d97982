//! A bounded queue of news, which a program takes as it likes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::{RecvError, RecvTimeoutError, lock};

/// News that wait for the program: blocking, asynchronously, or as a [`Stream`](futures_core::Stream).
///
/// It keeps the newest [`CAPACITY`](Self::CAPACITY). When the program is too slow, older ones are dropped and
/// [counted](Self::dropped); whoever brings the news never waits. Threads can share a feed: each item goes to one of them.
///
/// A feed ends with the node, publisher or subscriber that it is about.
pub struct Feed<T> {
    shared: Arc<Shared<T>>,
}

/// The end that news come in by.
pub(crate) struct FeedSender<T> {
    shared: Weak<Shared<T>>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
}

struct State<T> {
    waiting: VecDeque<T>,
    dropped: u64,
    has_ended: bool,
    tasks: Vec<Waker>,
}

impl<T> Feed<T> {
    /// How many items wait at most.
    pub const CAPACITY: usize = 4096;

    pub(crate) fn new() -> (FeedSender<T>, Self) {
        let state = State { waiting: VecDeque::new(), dropped: 0, has_ended: false, tasks: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), arrived: Condvar::new() });
        (FeedSender { shared: Arc::downgrade(&shared) }, Self { shared })
    }

    /// Waits for the next item.
    ///
    /// # Errors
    /// When none will come any more.
    pub fn recv(&self) -> Result<T, RecvError> {
        self.wait(None)?.ok_or(RecvError::Closed)
    }

    /// Waits for the next item for `timeout` at most.
    ///
    /// # Errors
    /// When none came in time, or none will come any more.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        // A time-out that is too long for the clock is none.
        self.wait(Instant::now().checked_add(timeout))?.ok_or(RecvTimeoutError::Timeout)
    }

    /// `Ok(None)` if none came until the deadline.
    fn wait(&self, deadline: Option<Instant>) -> Result<Option<T>, RecvError> {
        let mut state = lock(&self.shared.state);
        loop {
            if let Some(item) = state.waiting.pop_front() {
                return Ok(Some(item));
            }
            if state.has_ended {
                return Err(RecvError::Closed);
            }
            state = match deadline {
                None => self.shared.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Ok(None);
                    }
                    self.shared.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The next item, if one is there. Does not wait.
    pub fn try_recv(&self) -> Option<T> {
        lock(&self.shared.state).waiting.pop_front()
    }

    /// Waits for the next item without blocking. Needs no particular runtime. If the future is dropped, no item is lost.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_async(&self) -> Result<T, RecvError> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await.ok_or(RecvError::Closed)
    }

    /// `None` after the end.
    fn poll_recv(&self, cx: &Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.shared.state);
        if let Some(item) = state.waiting.pop_front() {
            return Poll::Ready(Some(item));
        }
        if state.has_ended {
            return Poll::Ready(None);
        }
        if !state.tasks.iter().any(|task| task.will_wake(cx.waker())) {
            state.tasks.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Calls `callback` with each item, on a thread of its own, until the returned handle is dropped or the feed ends.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn for_each(self, mut callback: impl FnMut(T) + Send + 'static) -> std::io::Result<FeedCallback>
    where
        T: Send + 'static,
    {
        let shared = Arc::downgrade(&self.shared);
        let thread = std::thread::Builder::new().name("ferrocal feed".into()).spawn(move || {
            while let Ok(item) = self.recv() {
                callback(item);
            }
        })?;
        let close = move || {
            if let Some(shared) = shared.upgrade() {
                let waiting = std::mem::take(&mut lock(&shared.state).waiting);
                shared.end();
                drop(waiting);
            }
        };
        Ok(FeedCallback { close: Box::new(close), thread: Some(thread) })
    }

    /// How many items were dropped, because the program took them too slowly.
    pub fn dropped(&self) -> u64 {
        lock(&self.shared.state).dropped
    }
}

impl<T> Shared<T> {
    /// Nothing comes any more. That wakes those who wait, which runs code of the program.
    fn end(&self) {
        let tasks = {
            let mut state = lock(&self.state);
            state.has_ended = true;
            std::mem::take(&mut state.tasks)
        };
        self.arrived.notify_all();
        tasks.into_iter().for_each(Waker::wake);
    }
}

/// A function that is called with each item of a [`Feed`].
///
/// It is not called any more once the drop of this has returned; only if the function itself drops it, that does not wait.
#[must_use = "the function is not called any more when this is dropped"]
pub struct FeedCallback {
    close: Box<dyn Fn() + Send + Sync>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for FeedCallback {
    fn drop(&mut self) {
        (self.close)();
        if let Some(thread) =
            self.thread.take().filter(|one| one.thread().id() != std::thread::current().id())
        {
            // It panicked if the program's function did.
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for FeedCallback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedCallback").finish_non_exhaustive()
    }
}

impl<T> futures_core::Stream for Feed<T> {
    type Item = T;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.poll_recv(cx)
    }
}

impl<T> std::fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

impl<T> FeedSender<T> {
    /// Whether somebody still takes news.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.strong_count() > 0
    }

    /// Appends an item. That wakes those who wait, which runs code of the program: the caller must hold no lock.
    pub(crate) fn send(&self, item: T) {
        let Some(shared) = self.shared.upgrade() else { return };
        let (full, tasks) = {
            let mut state = lock(&shared.state);
            let full = state.waiting.len() >= Feed::<T>::CAPACITY;
            let oldest = if full { state.waiting.pop_front() } else { None };
            state.dropped += u64::from(full);
            state.waiting.push_back(item);
            (oldest, std::mem::take(&mut state.tasks))
        };
        drop(full);
        shared.arrived.notify_one();
        tasks.into_iter().for_each(Waker::wake);
    }
}

impl<T> Drop for FeedSender<T> {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    #[test]
    fn the_newest_items_wait_and_the_others_are_counted() {
        let (sender, feed) = Feed::new();
        let capacity = Feed::<usize>::CAPACITY;
        (0..capacity + 3).for_each(|number| sender.send(number));
        assert_eq!((feed.recv().unwrap(), feed.dropped()), (3, 3));
        assert_eq!(std::iter::from_fn(|| feed.try_recv()).last(), Some(capacity + 2));
        assert!(matches!(feed.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout)));
    }

    #[test]
    fn the_end_comes_after_what_was_sent_before_it() {
        let (sender, feed) = Feed::new();
        sender.send(1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| [feed.recv().ok(), feed.recv().ok()]);
            drop(sender);
            assert_eq!(waiting.join().unwrap(), [Some(1), None]);
        });
    }

    #[test]
    fn a_function_is_called_until_its_handle_is_dropped() {
        let (sender, feed) = Feed::new();
        let (called, calls) = std::sync::mpsc::channel();
        let callback = feed.for_each(move |item| called.send(item).unwrap()).unwrap();
        sender.send(1);
        assert_eq!(calls.recv(), Ok(1));
        drop(callback);
        assert!(!sender.is_open());
        sender.send(2);
        assert!(calls.recv().is_err(), "the function is gone");
    }

    #[test]
    fn nobody_listens_any_more() {
        let (sender, feed) = Feed::new();
        assert!(sender.is_open());
        drop(feed);
        assert!(!sender.is_open());
        sender.send(1);
    }

    struct TakeOne(Arc<Feed<u32>>, Mutex<Vec<u32>>);

    impl Wake for TakeOne {
        fn wake(self: Arc<Self>) {
            // An executor may poll at once: it must not find the feed locked.
            lock(&self.1).extend(self.0.try_recv());
        }
    }

    #[test]
    fn tasks_are_woken_without_a_lock() {
        let (sender, feed) = Feed::new();
        let feed = Arc::new(feed);
        let task = Arc::new(TakeOne(feed.clone(), Mutex::default()));
        let waker = Waker::from(task.clone());
        for _ in 0..2 {
            assert!(feed.poll_recv(&Context::from_waker(&waker)).is_pending());
        }
        sender.send(7);
        assert_eq!(*lock(&task.1), [7]);
    }
}
