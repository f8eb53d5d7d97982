//! A bounded queue of news, which a program takes as it likes.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::waiting::{Condvar, Mutex, lock};
use crate::wakers::{Awaited, Ticket, Wait, Wakers};
use crate::{RecvError, RecvTimeoutError};

/// News that wait for the program: blocking, asynchronously, or as a [`Stream`](futures_core::Stream).
///
/// It keeps the newest [`CAPACITY`](Self::CAPACITY), a feed of a monitor's [`max_peers`](crate::LimitsConfig::max_peers), and no more
/// bytes than [`max_registry_bytes`](crate::LimitsConfig::max_registry_bytes) says. When the program is too slow, older ones are dropped and
/// [counted](Self::dropped); whoever brings the news never waits. Threads can share a feed: each item goes to one of them.
///
/// A feed ends with the node, publisher or subscriber that it is about.
pub struct Feed<T> {
    shared: Arc<Shared<T>>,
    stream: Option<Ticket>,
}

/// The end that news come in by.
pub(crate) struct FeedSender<T> {
    shared: Weak<Shared<T>>,
}

struct Shared<T> {
    max_len: usize,
    max_bytes: usize,
    state: Mutex<State<T>>,
    arrived: Condvar,
    /// The process that made it. In a forked child, a thread that does not exist there may hold the lock.
    process: u32,
}

struct State<T> {
    /// Items, and the memory of each in bytes.
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    dropped: u64,
    /// Why no item will come any more.
    ended: Option<RecvError>,
    tasks: Wakers,
}

impl<T> State<T> {
    fn pop(&mut self) -> Option<T> {
        let (item, bytes) = self.waiting.pop_front()?;
        self.bytes -= bytes;
        Some(item)
    }

    /// All items, to be dropped without a lock.
    fn take(&mut self) -> VecDeque<(T, usize)> {
        self.bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}

impl<T> Feed<T> {
    /// How many items wait at most.
    pub const CAPACITY: usize = 4096;

    /// A feed in which so many items wait at most, which have so many bytes; the newest one always waits.
    pub(crate) fn with_bounds(max_len: usize, max_bytes: usize) -> (FeedSender<T>, Self) {
        let state =
            State { waiting: VecDeque::new(), bytes: 0, dropped: 0, ended: None, tasks: Wakers::default() };
        let (state, arrived, process) = (Mutex::new(state), Condvar::new(), std::process::id());
        let shared = Arc::new(Shared { max_len, max_bytes, state, arrived, process });
        (FeedSender { shared: Arc::downgrade(&shared) }, Self { shared, stream: None })
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
            if let Some(item) = state.pop() {
                return Ok(Some(item));
            }
            if let Some(why) = state.ended {
                return Err(why);
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
        lock(&self.shared.state).pop()
    }

    /// Waits for the next item without blocking. Needs no particular runtime. If the future is dropped, no item is lost.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_async(&self) -> Result<T, RecvError> {
        let mut wait = Wait::new(&*self.shared);
        std::future::poll_fn(|cx| self.shared.poll(cx, &mut wait.ticket)).await
    }

    /// Calls `callback` with each item, on a thread of its own, until the returned handle is dropped or the feed ends.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn for_each(self, mut callback: impl FnMut(T) + Send + 'static) -> std::io::Result<FeedCallback>
    where
        T: Send + 'static,
    {
        let (shared, process) = (Arc::downgrade(&self.shared), self.shared.process);
        let thread = std::thread::Builder::new().name("ferrocal feed".into()).spawn(move || {
            while let Ok(item) = self.recv() {
                callback(item);
            }
        })?;
        let close = move || {
            if let Some(shared) = shared.upgrade() {
                let waiting = lock(&shared.state).take();
                shared.end(RecvError::Closed);
                drop(waiting);
            }
        };
        Ok(FeedCallback { close: Box::new(close), thread: Some(thread), process })
    }

    /// How many items were dropped, because the program took them too slowly.
    pub fn dropped(&self) -> u64 {
        lock(&self.shared.state).dropped
    }
}

impl<T> Shared<T> {
    fn poll(&self, cx: &Context<'_>, wait: &mut Option<Ticket>) -> Poll<Result<T, RecvError>> {
        let mut state = lock(&self.state);
        if let Some(item) = state.pop() {
            return Poll::Ready(Ok(item));
        }
        if let Some(why) = state.ended {
            return Poll::Ready(Err(why));
        }
        let replaced = state.tasks.add(wait, cx.waker());
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Nothing comes any more; the first reason counts. That wakes those who wait, which runs code of the program.
    fn end(&self, why: RecvError) {
        let tasks = {
            let mut state = lock(&self.state);
            state.ended.get_or_insert(why);
            state.tasks.take()
        };
        self.arrived.notify_all();
        tasks.for_each(Waker::wake);
    }
}

/// A function that is called with each item of a [`Feed`].
///
/// It is not called any more once the drop of this has returned; only if the function itself drops it, that does not wait.
/// In a forked child it is never called.
#[must_use = "the function is not called any more when this is dropped"]
pub struct FeedCallback {
    close: Box<dyn Fn() + Send + Sync>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// The process that has the thread.
    process: u32,
}

impl Drop for FeedCallback {
    fn drop(&mut self) {
        if std::process::id() != self.process {
            std::mem::forget(self.thread.take());
            return;
        }
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
        let Self { shared, stream } = self.get_mut();
        shared.poll(cx, stream).map(Result::ok)
    }
}

impl<T> Awaited for Shared<T> {
    fn with_wakers(&self, f: &mut dyn FnMut(&mut Wakers)) {
        f(&mut lock(&self.state).tasks);
    }
}

impl<T> std::fmt::Debug for Feed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

impl<T> std::fmt::Debug for FeedSender<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedSender").finish_non_exhaustive()
    }
}

/// Adds a sender to those of the same news, and removes those whose feed is gone.
pub(crate) fn add_sender<T>(senders: &mut Vec<Arc<FeedSender<T>>>, sender: Arc<FeedSender<T>>) {
    senders.retain(|one| one.is_open());
    senders.push(sender);
}

impl<T> FeedSender<T> {
    /// Whether somebody still takes news.
    pub(crate) fn is_open(&self) -> bool {
        self.shared.strong_count() > 0
    }

    /// Appends an item that takes so many bytes of memory. That wakes those who wait, which runs code of the program: the
    /// caller must hold no lock.
    pub(crate) fn send(&self, item: T, bytes: usize) {
        let Some(shared) = self.shared.upgrade() else { return };
        let mut dropped = Vec::new();
        let tasks = {
            let mut state = lock(&shared.state);
            if state.ended.is_some() {
                return;
            }
            let is_full = |state: &State<T>| {
                state.waiting.len() >= shared.max_len || state.bytes.saturating_add(bytes) > shared.max_bytes
            };
            while is_full(&state)
                && let Some(oldest) = state.pop()
            {
                dropped.push(oldest);
                state.dropped += 1;
            }
            state.bytes += bytes;
            state.waiting.push_back((item, bytes));
            state.tasks.take()
        };
        drop(dropped);
        shared.arrived.notify_one();
        tasks.for_each(Waker::wake);
    }

    /// Ends the feed: nothing more comes than what waits. The first reason counts.
    pub(crate) fn end(&self, why: RecvError) {
        if let Some(shared) = self.shared.upgrade().filter(|shared| shared.process == std::process::id()) {
            shared.end(why);
        }
    }
}

impl<T> Drop for FeedSender<T> {
    fn drop(&mut self) {
        self.end(RecvError::Closed);
    }
}

/// All interleavings of threads: `./ci.sh loom`.
#[cfg(all(test, interleavings))]
mod interleavings {
    use loom::{model, thread};

    use super::*;

    #[test]
    fn every_item_reaches_one_thread_and_the_end_both() {
        model(|| {
            let (sender, feed) = Feed::with_bounds(2, 100);
            let feed = Arc::new(feed);
            let threads = [0, 1].map(|_| {
                let feed = feed.clone();
                thread::spawn(move || usize::from(feed.recv().is_ok()) + usize::from(feed.recv().is_ok()))
            });
            sender.send(1, 1);
            drop(sender);
            assert_eq!(threads.map(|thread| thread.join().unwrap()).iter().sum::<usize>(), 1);
        });
    }

    #[test]
    fn a_task_that_waits_is_woken() {
        struct Flag(loom::sync::atomic::AtomicBool);

        impl std::task::Wake for Flag {
            fn wake(self: Arc<Self>) {
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            }
        }

        model(|| {
            let (sender, feed) = Feed::with_bounds(2, 100);
            let sending = thread::spawn(move || {
                sender.send(7, 1);
                sender
            });
            let flag = Arc::new(Flag(loom::sync::atomic::AtomicBool::new(false)));
            let waker = Waker::from(flag.clone());
            let polled = feed.shared.poll(&Context::from_waker(&waker), &mut None);
            let sender = sending.join().unwrap();
            match polled {
                Poll::Ready(item) => assert_eq!(item, Ok(7)),
                Poll::Pending => assert!(flag.0.load(std::sync::atomic::Ordering::SeqCst)),
            }
            drop((feed, waker, sender));
        });
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    fn feed<T>() -> (FeedSender<T>, Feed<T>) {
        Feed::with_bounds(Feed::<T>::CAPACITY, usize::MAX)
    }

    #[test]
    fn the_newest_items_wait_and_the_others_are_counted() {
        let (sender, feed) = feed();
        let capacity = Feed::<usize>::CAPACITY;
        (0..capacity + 3).for_each(|number| sender.send(number, 0));
        assert_eq!((feed.recv().unwrap(), feed.dropped()), (3, 3));
        assert_eq!(std::iter::from_fn(|| feed.try_recv()).last(), Some(capacity + 2));
        assert!(matches!(feed.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout)));
    }

    #[test]
    fn the_end_comes_after_what_was_sent_before_it() {
        let (sender, feed) = feed();
        sender.send(1, 0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| [feed.recv().ok(), feed.recv().ok()]);
            drop(sender);
            assert_eq!(waiting.join().unwrap(), [Some(1), None]);
        });
    }

    #[test]
    fn a_function_is_called_until_its_handle_is_dropped() {
        let (sender, feed) = feed();
        let (called, calls) = std::sync::mpsc::channel();
        let callback = feed.for_each(move |item| called.send(item).unwrap()).unwrap();
        sender.send(1, 0);
        assert_eq!(calls.recv(), Ok(1));
        drop(callback);
        assert!(!sender.is_open());
        sender.send(2, 0);
        assert!(calls.recv().is_err(), "the function is gone");
    }

    #[test]
    fn memory_is_bounded_but_for_the_newest_item() {
        let (sender, feed) = Feed::with_bounds(3, 100);
        let waiting = || std::iter::from_fn(|| feed.try_recv()).collect::<Vec<_>>();
        for item in [1, 2, 3, 4] {
            sender.send(item, 10);
        }
        assert_eq!((waiting(), feed.dropped()), (vec![2, 3, 4], 1));
        for (item, bytes) in [(5, 60), (6, 60), (7, 40)] {
            sender.send(item, bytes);
        }
        assert_eq!((waiting(), feed.dropped()), (vec![6, 7], 2));
        for (item, bytes) in [(8, 1), (9, usize::MAX)] {
            sender.send(item, bytes);
        }
        assert_eq!((waiting(), feed.dropped()), (vec![9], 3));
    }

    #[test]
    fn the_first_reason_of_the_end_counts_and_nothing_follows() {
        let (sender, feed) = feed();
        sender.send(1, 0);
        sender.end(RecvError::ReplayOver);
        sender.send(2, 0);
        sender.end(RecvError::NodeFailed);
        drop(sender);
        assert_eq!((feed.recv(), feed.recv()), (Ok(1), Err(RecvError::ReplayOver)));
    }

    #[test]
    fn nobody_listens_any_more() {
        let (sender, feed) = feed();
        assert!(sender.is_open());
        drop(feed);
        assert!(!sender.is_open());
        sender.send(1, 0);
    }

    struct Nothing;

    impl Wake for Nothing {
        fn wake(self: Arc<Self>) {}
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
        let (sender, feed) = feed();
        let feed = Arc::new(feed);
        let task = Arc::new(TakeOne(feed.clone(), Mutex::default()));
        let waker = Waker::from(task.clone());
        let mut wait = None;
        for _ in 0..2 {
            assert!(feed.shared.poll(&Context::from_waker(&waker), &mut wait).is_pending());
        }
        sender.send(7, 0);
        assert_eq!(*lock(&task.1), [7]);
    }

    struct LooksAtItsEnd(Arc<Feed<u32>>, Arc<Mutex<Vec<bool>>>);

    impl Wake for LooksAtItsEnd {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for LooksAtItsEnd {
        fn drop(&mut self) {
            // What a task owns may go with its last waker, and take from the feed.
            lock(&self.1).push(self.0.shared.state.try_lock().is_ok());
        }
    }

    #[test]
    fn a_waker_that_is_replaced_is_dropped_without_a_lock() {
        let (_sender, feed) = feed();
        let (feed, was_free) = (Arc::new(feed), Arc::default());
        let mut wait = None;
        for _ in 0..2 {
            let waker = Waker::from(Arc::new(LooksAtItsEnd(feed.clone(), Arc::clone(&was_free))));
            assert!(feed.shared.poll(&Context::from_waker(&waker), &mut wait).is_pending());
        }
        assert_eq!(*lock(&was_free), [true]);
        feed.shared.end(RecvError::Closed);
    }

    #[test]
    fn a_dropped_wait_leaves_nothing_behind() {
        let (_sender, feed) = feed::<u32>();
        for _ in 0..3 {
            let task = Arc::new(Nothing);
            let waker = Waker::from(task.clone());
            let mut waits = [(); 2].map(|()| Box::pin(feed.recv_async()));
            for wait in &mut waits {
                assert!(wait.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            }
            drop((waits, waker));
            assert_eq!(Arc::strong_count(&task), 1);
        }
    }
}
