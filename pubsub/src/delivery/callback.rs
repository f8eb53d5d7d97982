//! A function that is called with each message.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;

use ferrocal_proto::EntityId;

use super::waiting::{Discarded, Waiting};
use crate::layer::{Ended, Incoming, Origin, Sink};
use crate::source::{Ready, Task};
use crate::stats::Counters;
use crate::wall_clock::WallClock;
use crate::{SubscriberConfig, lock};

/// The user's function, with the decoding before it.
pub(super) type Handler = Box<dyn FnMut(Incoming) + Send>;

/// Called once if the handler panics, after it was dropped.
pub(super) type OnPanic = Box<dyn FnOnce() + Send>;

/// A subscriber whose messages are passed to a function: never two at once, and none after [`close`](Self::close).
pub(crate) struct Callback {
    wall_clock: Arc<WallClock>,
    me: Weak<Self>,
    is_inline: bool,
    state: Mutex<State>,
    /// Notified at the end of a run that somebody waits for.
    idle: Condvar,
    /// Set first when it is closed, so that a run stops between two messages.
    is_closed: AtomicBool,
    is_slow: AtomicBool,
    quick_runs: AtomicU32,
}

struct State {
    waiting: Waiting,
    run: Run,
    /// Taken while it runs, and for good at the end.
    handler: Option<Handler>,
    /// Room for the messages of a run, kept from one to the next.
    room: VecDeque<Incoming>,
    on_panic: Option<OnPanic>,
    has_panicked: bool,
    /// Threads that wait for the end of a run.
    closers: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    /// No message waits.
    Idle,
    /// Somebody is about to run it.
    Due,
    /// This thread runs it.
    By(ThreadId),
}

/// A run that takes longer is slow: the receiving thread has other topics to care for. It is many times what waking
/// another thread takes.
const SLOW: Duration = Duration::from_micros(100);
/// After so many runs in half of that time, a callback is not slow any more.
const QUICK_RUNS: u32 = 16;

impl Callback {
    pub(crate) fn new(
        config: &SubscriberConfig,
        max_publishers: usize,
        counters: Arc<Counters>,
        wall_clock: Arc<WallClock>,
        handler: Handler,
    ) -> Arc<Self> {
        let config = if config.inline {
            // Who takes them at once is not slow, however many came together.
            config.clone().queue_len(usize::MAX).queue_bytes(usize::MAX)
        } else {
            config.clone()
        };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            is_inline: config.inline,
            wall_clock,
            state: Mutex::new(State {
                waiting: Waiting::new(&config, max_publishers, counters),
                run: Run::Idle,
                handler: Some(handler),
                room: VecDeque::new(),
                on_panic: None,
                has_panicked: false,
                closers: 0,
            }),
            idle: Condvar::new(),
            is_closed: AtomicBool::new(false),
            is_slow: AtomicBool::new(false),
            quick_runs: AtomicU32::new(0),
        })
    }

    /// Has `on_panic` called if the handler panics, or at once if it has panicked already.
    pub(crate) fn set_on_panic(&self, on_panic: OnPanic) {
        let mut state = lock(&self.state);
        if !state.has_panicked {
            state.on_panic = Some(on_panic);
            return;
        }
        drop(state);
        on_panic();
    }

    pub(crate) fn discarded(&self) -> Discarded {
        lock(&self.state).waiting.discarded
    }

    /// Whether it will not be called any more.
    pub(crate) fn is_finished(&self) -> bool {
        let state = lock(&self.state);
        // What waits when a replay ends is still passed on.
        state.waiting.ended.is_some() && state.run == Run::Idle
    }

    /// Drops what waits. The handler is not called any more and is dropped when this returns, unless it is the handler
    /// that calls.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        let mut state = lock(&self.state);
        let here = thread::current().id();
        while matches!(state.run, Run::By(thread) if thread != here) {
            state.closers += 1;
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.closers -= 1;
        }
        state.waiting.end(Ended::Closed);
        let remains = (state.handler.take(), state.on_panic.take(), state.waiting.take_all(VecDeque::new()));
        drop(state);
        // What they own is the program's.
        drop(remains);
    }

    /// As [`close`](Self::close), in a forked child, which has none of the threads that may run it.
    pub(crate) fn abandon(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Messages are taken from the queue in portions: what was taken does not count as waiting any more.
    fn take_some(waiting: &mut Waiting, into: &mut VecDeque<Incoming>) {
        const SOME: usize = 16;
        const SOME_BYTES: usize = 64 * 1024;
        let mut bytes = 0;
        while into.len() < SOME
            && bytes < SOME_BYTES
            && let Some(message) = waiting.pop()
        {
            bytes += message.payload.len();
            into.push_back(message);
        }
    }

    /// Ends a run.
    fn rest<'a>(&'a self, mut state: MutexGuard<'a, State>, handler: Handler, room: VecDeque<Incoming>) {
        if self.is_closed.load(Ordering::SeqCst) {
            drop(state);
            drop(room);
            // Before the run ends: what the program captured is gone when closing returns.
            drop_quietly(handler);
            state = lock(&self.state);
        } else {
            (state.handler, state.room) = (Some(handler), room);
        }
        self.end_run(state);
    }

    fn panicked(&self, handler: Handler) {
        self.is_closed.store(true, Ordering::SeqCst);
        let mut state = lock(&self.state);
        state.has_panicked = true;
        state.waiting.end(Ended::Closed);
        let (dropped, on_panic) = (state.waiting.take_all(VecDeque::new()), state.on_panic.take());
        drop(state);
        drop(dropped);
        drop_quietly(handler);
        if let Some(on_panic) = on_panic {
            on_panic();
        }
        self.end_run(lock(&self.state));
    }

    fn end_run(&self, mut state: MutexGuard<'_, State>) {
        state.run = Run::Idle;
        if state.closers > 0 {
            self.idle.notify_all();
        }
    }
}

/// Drops what belongs to the program, on a thread that is needed after that. The panic hook has reported a panic.
fn drop_quietly(handler: Handler) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(handler)));
}

impl Task for Callback {
    fn run(&self) {
        let mut state = lock(&self.state);
        state.run = Run::By(thread::current().id());
        let Some(mut handler) = state.handler.take() else {
            state.run = Run::Idle;
            return;
        };
        let mut messages = std::mem::take(&mut state.room);
        loop {
            if self.is_closed.load(Ordering::SeqCst) || state.waiting.is_empty() {
                return self.rest(state, handler, messages);
            }
            if self.is_inline {
                messages = state.waiting.take_all(messages);
            } else {
                Self::take_some(&mut state.waiting, &mut messages);
            }
            drop(state);
            // The panic hook has reported a panic; who receives for others too must not end by it.
            let result = catch_unwind(AssertUnwindSafe(|| {
                while !self.is_closed.load(Ordering::SeqCst)
                    && let Some(message) = messages.pop_front()
                {
                    handler(message);
                }
            }));
            if result.is_err() {
                return self.panicked(handler);
            }
            state = lock(&self.state);
        }
    }

    fn is_inline(&self) -> bool {
        self.is_inline
    }

    fn is_slow(&self) -> bool {
        self.is_slow.load(Ordering::Relaxed)
    }

    fn took(&self, time: Duration) {
        if time > SLOW {
            self.is_slow.store(true, Ordering::Relaxed);
            self.quick_runs.store(0, Ordering::Relaxed);
        } else if self.is_slow()
            && time < SLOW / 2
            && self.quick_runs.fetch_add(1, Ordering::Relaxed) + 1 >= QUICK_RUNS
        {
            self.is_slow.store(false, Ordering::Relaxed);
        }
    }
}

impl Sink for Callback {
    fn push(&self, messages: &mut dyn Iterator<Item = Incoming>, ready: &mut Ready) {
        let clock = self.wall_clock.read();
        let mut state = lock(&self.state);
        if state.waiting.push(messages, &clock) > 0
            && state.run == Run::Idle
            && let Some(me) = self.me.upgrade()
        {
            state.run = Run::Due;
            ready.push(me);
        }
    }

    fn lost(&self, origin: &Arc<Origin>, clock: i64) {
        lock(&self.state).waiting.lost(origin, clock);
    }

    fn left(&self, host_name: &[u8], publisher: EntityId) {
        lock(&self.state).waiting.left(host_name, publisher);
    }

    fn end(&self, why: Ended) {
        lock(&self.state).waiting.end(why);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::resume_unwind;
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::super::waiting::tests::message;
    use super::*;

    fn callback(config: SubscriberConfig, handler: impl FnMut(Incoming) + Send + 'static) -> Arc<Callback> {
        Callback::new(&config, 2, Arc::default(), Arc::default(), Box::new(handler))
    }

    /// Pushes messages and runs what became ready.
    fn push(callback: &Callback, clocks: impl IntoIterator<Item = i64>) {
        let mut ready = Ready::new();
        callback.push(&mut clocks.into_iter().map(|clock| message(1, clock, 1)), &mut ready);
        ready.iter().for_each(|task| task.run());
    }

    #[test]
    fn it_is_ready_once_however_much_comes() {
        let callback = callback(SubscriberConfig::default(), |_| {});
        let mut ready = Ready::new();
        for clock in 1..=3 {
            callback.push(&mut std::iter::once(message(1, clock, 1)), &mut ready);
        }
        assert_eq!(ready.len(), 1);
        ready[0].run();
        callback.push(&mut std::iter::once(message(1, 4, 1)), &mut ready);
        assert_eq!(ready.len(), 2);
    }

    #[test]
    fn inline_callbacks_get_all_that_came_together() {
        let clocks = Arc::new(Mutex::new(Vec::new()));
        let config = SubscriberConfig::default().queue_len(2).inline(true);
        let callback = callback(config, {
            let clocks = clocks.clone();
            move |message| lock(&clocks).push(message.clock)
        });
        push(&callback, 1..=5);
        assert_eq!(*lock(&clocks), [1, 2, 3, 4, 5]);
        callback.close();
        push(&callback, [6]);
        assert_eq!(Arc::strong_count(&clocks), 1, "the function is dropped");
    }

    #[test]
    fn closing_waits_for_a_call() {
        let (entered, wait_entered) = mpsc::channel();
        let (leave, wait_leave) = mpsc::channel::<()>();
        let done = Arc::new(AtomicBool::new(false));
        let callback = callback(SubscriberConfig::default(), {
            let done = done.clone();
            move |_| {
                entered.send(()).unwrap();
                wait_leave.recv().unwrap();
                done.store(true, Ordering::SeqCst);
            }
        });
        thread::scope(|scope| {
            scope.spawn(|| push(&callback, [1, 2]));
            wait_entered.recv().unwrap();
            scope.spawn(|| {
                callback.close();
                assert!(done.load(Ordering::SeqCst));
                assert_eq!(Arc::strong_count(&done), 1, "the function is dropped");
            });
            while !callback.is_closed.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            leave.send(()).unwrap();
        });
        assert!(wait_entered.try_recv().is_err(), "the second message is not delivered");
    }

    #[test]
    fn closing_inside_a_call_does_not_wait() {
        let count = Arc::new(AtomicUsize::new(0));
        let own = Arc::new(Mutex::new(None::<Arc<Callback>>));
        let callback = callback(SubscriberConfig::default(), {
            let (own, count) = (own.clone(), count.clone());
            move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(callback) = lock(&own).take() {
                    callback.close();
                }
            }
        });
        *lock(&own) = Some(callback.clone());
        push(&callback, [1, 2]);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert_eq!(Arc::strong_count(&count), 1, "the function is dropped");
    }

    #[test]
    fn a_handler_that_panics_is_dropped_and_reported() {
        for inline in [false, true] {
            let count = Arc::new(AtomicUsize::new(0));
            let callback = callback(SubscriberConfig::default().inline(inline), {
                let count = count.clone();
                move |_| {
                    count.fetch_add(1, Ordering::SeqCst);
                    resume_unwind(Box::new("on purpose"));
                }
            });
            let reported = Arc::new(AtomicBool::new(false));
            callback.set_on_panic({
                let reported = reported.clone();
                Box::new(move || reported.store(true, Ordering::SeqCst))
            });
            push(&callback, [1, 2]);
            push(&callback, [3]);
            assert_eq!(count.load(Ordering::SeqCst), 1);
            assert_eq!(Arc::strong_count(&count), 1, "the function is dropped");
            assert!(reported.load(Ordering::SeqCst) && callback.is_finished());
        }
    }

    #[test]
    fn a_panic_before_anybody_asked_for_it_is_reported() {
        let callback = callback(SubscriberConfig::default(), |_| resume_unwind(Box::new("on purpose")));
        push(&callback, [1]);
        let (report, reported) = mpsc::channel();
        callback.set_on_panic(Box::new(move || report.send(()).unwrap()));
        assert!(reported.try_recv().is_ok());
    }

    #[test]
    fn a_callback_is_slow_after_one_slow_run_and_until_many_quick_ones() {
        let callback = callback(SubscriberConfig::default(), |_| {});
        callback.took(SLOW);
        assert!(!callback.is_slow());
        callback.took(SLOW * 2);
        assert!(callback.is_slow());
        for _ in 1..QUICK_RUNS {
            callback.took(Duration::ZERO);
        }
        assert!(callback.is_slow());
        callback.took(Duration::ZERO);
        assert!(!callback.is_slow());
    }
}
