//! A function that is called with each message.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use ferrocal_proto::EntityId;

use super::pace::Pace;
use super::waiting::{Discarded, Waiting};
use crate::layer::{Ended, Incoming, Origin, Sink};
use crate::payload::BorrowedPayload;
use crate::source::{Ready, Task};
use crate::stats::Counters;
use crate::wall_clock::WallClock;
use crate::{SubscriberConfig, lock};

/// A message where it lies.
type Lent<'a> = Incoming<BorrowedPayload<'a>>;

/// The user's function, with the decoding before it.
pub(crate) enum Handler {
    /// Gets messages to keep.
    Owning(Box<dyn FnMut(Incoming) + Send>),
    /// Gets messages where they lie, for the time of a call.
    Borrowing(Box<dyn FnMut(Lent<'_>) + Send>),
}

impl Handler {
    fn call(&mut self, mut message: Incoming) {
        match self {
            Self::Owning(function) => function(message),
            Self::Borrowing(function) => {
                let payload = std::mem::take(&mut message.payload);
                function(message.with(BorrowedPayload::received(&payload)));
            }
        }
    }
}

/// Called once if the handler panics, after it was dropped.
pub(super) type OnPanic = Box<dyn FnOnce() + Send>;

/// A subscriber whose messages are passed to a function: never two at once, and none after [`close`](Self::close).
pub(crate) struct Callback {
    wall_clock: Arc<WallClock>,
    me: Weak<Self>,
    is_inline: bool,
    /// Whether the handler takes messages where they lie.
    is_borrowing: bool,
    state: Mutex<State>,
    /// Notified at the end of a run that somebody waits for.
    idle: Condvar,
    /// Set first when it is closed, so that a run stops between two messages.
    is_closed: AtomicBool,
    /// Of its runs.
    pace: Pace,
    /// Of those with a message where it lies.
    lent_pace: Pace,
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
/// Who takes longer with a message in shared memory gets copies: a publisher waits twice as long for its memory file, and
/// takes another one then.
const LENT_SLOW: Duration = Duration::from_millis(100);

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
            is_borrowing: matches!(handler, Handler::Borrowing(_)),
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
            pace: Pace::new(SLOW),
            lent_pace: Pace::new(LENT_SLOW),
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

    /// Has the handler run if messages wait, unless somebody runs it already.
    fn schedule(&self, state: &mut State, ready: &mut Ready) {
        if state.run == Run::Idle
            && !state.waiting.is_empty()
            && let Some(me) = self.me.upgrade()
        {
            state.run = Run::Due;
            ready.push(me);
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
            // It calls the program's logger and those who wait for events. Whoever closes this waits for the end of the run.
            let _ = catch_unwind(AssertUnwindSafe(on_panic));
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
                    handler.call(message);
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
        self.pace.is_slow()
    }

    fn took(&self, time: Duration) {
        self.pace.took(time);
        self.lent_pace.took(time);
    }
}

impl Sink for Callback {
    fn push(&self, messages: &mut dyn Iterator<Item = Incoming>, ready: &mut Ready) {
        let clock = self.wall_clock.read();
        let mut state = lock(&self.state);
        state.waiting.push(messages, &clock);
        self.schedule(&mut state, ready);
    }

    fn borrows(&self) -> bool {
        self.is_borrowing && !self.lent_pace.is_slow()
    }

    /// Calls the handler at once, if it has nothing else to do. Otherwise the message is copied, and waits: the memory of
    /// one publisher does not stay locked while the handler is busy with another's.
    fn lend(&self, mut message: Lent<'_>, ready: &mut Ready) {
        let clock = self.wall_clock.read();
        let mut state = lock(&self.state);
        if state.waiting.ended.is_some() || self.is_closed.load(Ordering::SeqCst) {
            return;
        }
        let is_free = self.borrows() && state.run == Run::Idle && state.waiting.is_empty();
        let Some(mut handler) = is_free.then(|| state.handler.take()).flatten() else {
            drop(state);
            if let Ok(payload) = message.payload.to_bytes() {
                self.push(&mut std::iter::once(message.with(payload)), ready);
            }
            return;
        };
        let len = message.payload.len();
        if !state.waiting.pass(&mut message, len, &clock) {
            state.handler = Some(handler);
            return;
        }
        state.run = Run::By(thread::current().id());
        drop(state);
        let start = Instant::now();
        // The panic hook has reported a panic; the memory must not stay locked by it.
        let result = catch_unwind(AssertUnwindSafe(|| {
            if let Handler::Borrowing(function) = &mut handler {
                function(message);
            }
        }));
        if result.is_err() {
            return self.panicked(handler);
        }
        self.lent_pace.took(start.elapsed());
        let mut state = lock(&self.state);
        let room = std::mem::take(&mut state.room);
        self.rest(state, handler, room);
        // What came meanwhile found the handler busy.
        self.schedule(&mut lock(&self.state), ready);
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
mod tests;
