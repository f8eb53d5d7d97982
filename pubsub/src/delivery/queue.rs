//! A queue that the program takes messages from: by blocking calls, as a stream, or asynchronously.

use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use ferrocal_proto::EntityId;

use super::waiting::{Discarded, Waiting};
use crate::SubscriberConfig;
use crate::layer::{Ended, Incoming, Origin, Sink};
use crate::source::Ready;
use crate::stats::Counters;
use crate::waiting::{Condvar, Mutex, MutexGuard, lock};
use crate::wakers::{Awaited, Ticket, Wakers};
use crate::wall_clock::WallClock;

#[derive(Debug)]
pub(crate) struct Queue {
    wall_clock: Arc<WallClock>,
    state: Mutex<State>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Waiting,
    /// Threads that wait for a message.
    threads: usize,
    tasks: Wakers,
}

impl Queue {
    pub(crate) fn new(
        config: &SubscriberConfig,
        max_publishers: usize,
        counters: Arc<Counters>,
        wall_clock: Arc<WallClock>,
    ) -> Self {
        let waiting = Waiting::new(config, max_publishers, counters);
        Self {
            wall_clock,
            state: Mutex::new(State { waiting, threads: 0, tasks: Wakers::default() }),
            arrived: Condvar::new(),
        }
    }

    pub(crate) fn try_pop(&self) -> Option<Incoming> {
        lock(&self.state).waiting.pop()
    }

    /// Waits for a message, until `deadline` if there is one: `Ok(None)` if none came by then.
    ///
    /// # Errors
    /// When no message will come any more. Those that came before are handed out first.
    pub(crate) fn pop(&self, deadline: Option<Instant>) -> Result<Option<Incoming>, Ended> {
        let mut state = lock(&self.state);
        loop {
            if let Some(message) = state.waiting.pop() {
                return Ok(Some(message));
            }
            if let Some(why) = state.waiting.ended {
                return Err(why);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            state.threads += 1;
            state = match left {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            state.threads -= 1;
        }
    }

    /// Waits for a message without blocking. `None` after the end.
    pub(crate) fn poll_pop(
        &self,
        cx: &Context<'_>,
        wait: &mut Option<Ticket>,
    ) -> Poll<Result<Incoming, Ended>> {
        let mut state = lock(&self.state);
        match (state.waiting.pop(), state.waiting.ended) {
            (Some(message), _) => Poll::Ready(Ok(message)),
            (None, Some(why)) => Poll::Ready(Err(why)),
            (None, None) => {
                let replaced = state.tasks.add(wait, cx.waker());
                drop(state);
                drop(replaced);
                Poll::Pending
            }
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        let state = lock(&self.state);
        state.waiting.ended.is_some() && state.waiting.is_empty()
    }

    pub(crate) fn discarded(&self) -> Discarded {
        lock(&self.state).waiting.discarded
    }

    /// Drops what waits and takes no more messages. All waiting ends.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.state);
        state.waiting.end(Ended::Closed);
        let dropped = state.waiting.take_all(Default::default());
        self.wake_all(state);
        drop(dropped);
    }

    /// Wakes everybody, after the lock is given back.
    fn wake_all(&self, mut state: MutexGuard<'_, State>) {
        let (has_thread, tasks) = (state.threads > 0, state.tasks.take());
        drop(state);
        // A system call even if nobody waits.
        if has_thread {
            self.arrived.notify_all();
        }
        tasks.for_each(Waker::wake);
    }
}

impl Sink for Queue {
    fn push(&self, messages: &mut dyn Iterator<Item = Incoming>, _: &mut Ready) {
        let clock = self.wall_clock.read();
        let mut state = lock(&self.state);
        let count = state.waiting.push(messages, &clock);
        if count == 0 {
            return;
        }
        if count > 1 {
            return self.wake_all(state);
        }
        let (has_thread, tasks) = (state.threads > 0, state.tasks.take());
        drop(state);
        if has_thread {
            self.arrived.notify_one();
        }
        tasks.for_each(Waker::wake);
    }

    fn lost(&self, origin: &Arc<Origin>, clock: i64) {
        lock(&self.state).waiting.lost(origin, clock);
    }

    fn left(&self, host_name: &[u8], publisher: EntityId) {
        lock(&self.state).waiting.left(host_name, publisher);
    }

    fn end(&self, why: Ended) {
        let mut state = lock(&self.state);
        state.waiting.end(why);
        self.wake_all(state);
    }
}

impl Awaited for Queue {
    fn with_wakers(&self, f: &mut dyn FnMut(&mut Wakers)) {
        f(&mut lock(&self.state).tasks);
    }
}

/// All interleavings of threads: `./ci.sh loom`.
#[cfg(all(test, interleavings))]
mod interleavings {
    use loom::{model, thread};

    use super::super::waiting::tests::message;
    use super::*;

    fn queue() -> Arc<Queue> {
        Arc::new(Queue::new(&SubscriberConfig::default(), 2, Arc::default(), Arc::default()))
    }

    fn push(queue: &Queue, clocks: &[i64]) {
        queue.push(&mut clocks.iter().map(|&clock| message(1, clock, 1)), &mut Ready::new());
    }

    fn pop_in_a_thread(queue: &Arc<Queue>) -> thread::JoinHandle<Option<i64>> {
        let queue = queue.clone();
        thread::spawn(move || queue.pop(None).ok().flatten().map(|message| message.clock))
    }

    #[test]
    fn every_message_wakes_a_thread() {
        model(|| {
            let queue = queue();
            let threads = [0, 1].map(|_| pop_in_a_thread(&queue));
            push(&queue, &[1]);
            push(&queue, &[2]);
            let mut clocks = threads.map(|thread| thread.join().unwrap());
            clocks.sort_unstable();
            assert_eq!(clocks, [Some(1), Some(2)]);
        });
    }

    #[test]
    fn messages_that_come_together_wake_every_thread() {
        model(|| {
            let queue = queue();
            let threads = [0, 1].map(|_| pop_in_a_thread(&queue));
            push(&queue, &[1, 2]);
            let mut clocks = threads.map(|thread| thread.join().unwrap());
            clocks.sort_unstable();
            assert_eq!(clocks, [Some(1), Some(2)]);
        });
    }

    #[test]
    fn the_end_wakes_every_thread_and_loses_no_message() {
        model(|| {
            let queue = queue();
            let threads = [0, 1].map(|_| pop_in_a_thread(&queue));
            push(&queue, &[1]);
            queue.end(Ended::Replayed);
            let mut clocks = threads.map(|thread| thread.join().unwrap());
            clocks.sort_unstable();
            assert_eq!(clocks, [None, Some(1)]);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::super::waiting::tests::message;
    use super::*;

    fn queue() -> Queue {
        Queue::new(&SubscriberConfig::default(), 2, Arc::default(), Arc::default())
    }

    fn push(queue: &Queue, clock: i64) {
        queue.push(&mut std::iter::once(message(1, clock, 1)), &mut Ready::new());
    }

    #[test]
    fn closing_ends_the_wait_of_every_thread() {
        let queue = queue();
        std::thread::scope(|scope| {
            let waiting = [0, 1].map(|_| scope.spawn(|| queue.pop(None)));
            queue.close();
            for thread in waiting {
                assert!(matches!(thread.join(), Ok(Err(Ended::Closed))));
            }
        });
    }

    #[test]
    fn what_came_before_the_end_is_handed_out() {
        let queue = queue();
        push(&queue, 1);
        queue.end(Ended::Replayed);
        assert!(!queue.is_finished());
        assert!(matches!(queue.pop(None), Ok(Some(message)) if message.clock == 1));
        assert!(matches!(queue.pop(None), Err(Ended::Replayed)));
        assert!(queue.is_finished());
    }

    #[test]
    fn a_deadline_ends_the_wait() {
        assert!(matches!(queue().pop(Some(Instant::now())), Ok(None)));
    }

    struct Count {
        queue: Arc<Queue>,
        woken: AtomicUsize,
    }

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.woken.fetch_add(1, Ordering::SeqCst);
            // An executor may poll at once: it must not find the queue locked.
            let _ = self.queue.try_pop();
        }
    }

    #[test]
    fn every_waiting_task_is_woken_and_without_a_lock() {
        let queue = Arc::new(queue());
        let tasks = [0, 1].map(|_| Arc::new(Count { queue: queue.clone(), woken: AtomicUsize::new(0) }));
        for task in &tasks {
            let waker = Waker::from(task.clone());
            let mut wait = None;
            for _ in 0..2 {
                assert!(queue.poll_pop(&Context::from_waker(&waker), &mut wait).is_pending());
            }
        }
        push(&queue, 1);
        for task in &tasks {
            assert_eq!(task.woken.load(Ordering::SeqCst), 1);
        }
    }
}
