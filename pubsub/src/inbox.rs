//! What waits for a subscriber: the newest messages, in the order of their publishers' clocks.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::Duration;

use bytes::Bytes;
use ferrocal_proto::EntityId;

use crate::{RecvError, RecvTimeoutError, SubscriberConfig, lock};

/// A message as it came in, not decoded yet.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    pub(crate) payload: Bytes,
    pub(crate) clock: i64,
    pub(crate) time_us: i64,
    pub(crate) publisher_id: EntityId,
}

/// What was not handed to the program, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Discarded {
    pub(crate) duplicate: u64,
    pub(crate) out_of_order: u64,
    pub(crate) queue_full: u64,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    config: SubscriberConfig,
    max_publishers: usize,
    state: Mutex<State>,
    arrived: Condvar,
    /// Whether nobody wants messages any more.
    abandoned: AtomicBool,
}

/// What became of messages that arrived together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Taken {
    /// Messages that were taken in.
    pub(crate) count: i64,
    /// Messages that the clocks show to be lost before them.
    pub(crate) lost: u64,
}

#[derive(Debug, Default)]
struct State {
    publishers: HashMap<EntityId, LastMessage>,
    /// Messages that were looked at.
    arrivals: u64,
    queue: VecDeque<Arrived>,
    queued_bytes: usize,
    discarded: Discarded,
    delivery: Delivery,
    /// Threads that wait for a message, or for the end of an inline delivery.
    waiting: usize,
    waker: Option<Waker>,
    closed: bool,
}

/// What becomes of the messages in the queue.
#[derive(Default)]
enum Delivery {
    /// They wait to be taken.
    #[default]
    Queue,
    /// They are handed to a function at once.
    Inline(Inline),
    /// They are being handed to it, by this thread.
    Delivering(ThreadId),
}

/// Called by the thread that receives.
pub(crate) type Inline = Box<dyn FnMut(Arrived) + Send>;

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Queue => "Queue",
            Self::Inline(_) => "Inline",
            Self::Delivering(_) => "Delivering",
        })
    }
}

#[derive(Debug)]
struct LastMessage {
    clock: i64,
    /// The number of the arrival.
    arrived: u64,
}

impl Inbox {
    pub(crate) fn new(config: SubscriberConfig, max_publishers: usize) -> Self {
        let config = SubscriberConfig { queue_len: config.queue_len.max(1), ..config };
        Self {
            config,
            max_publishers,
            state: Mutex::default(),
            arrived: Condvar::new(),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Takes messages in, but for those whose clock says that they are repetitions or too late.
    pub(crate) fn push(&self, messages: impl IntoIterator<Item = Arrived>) -> Taken {
        let mut taken = Taken::default();
        let mut state = lock(&self.state);
        if state.closed {
            return taken;
        }
        for message in messages {
            let checked = state.check_clock(&message, self.config.drop_out_of_order, self.max_publishers);
            let Some(lost) = checked else { continue };
            taken.count += 1;
            taken.lost += lost;
            state.queued_bytes += message.payload.len();
            state.queue.push_back(message);
            // Who takes them at once is not slow, however many came together.
            let bounded = !matches!(state.delivery, Delivery::Inline(_));
            while bounded
                && (state.queue.len() > self.config.queue_len
                    || (state.queued_bytes > self.config.queue_bytes && state.queue.len() > 1))
            {
                state.pop();
                state.discarded.queue_full += 1;
            }
        }
        if taken.count == 0 {
            return taken;
        }
        if matches!(state.delivery, Delivery::Inline(_)) {
            self.deliver(state);
            return taken;
        }
        let (waiting, waker) = (state.waiting, state.waker.take());
        drop(state);
        match (waiting, taken.count) {
            (0, _) => {}
            (_, 1) => self.arrived.notify_one(),
            _ => self.arrived.notify_all(),
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        taken
    }

    /// Has messages handed to a function from now on, by the thread that pushes them.
    pub(crate) fn deliver_inline(&self, inline: Inline) {
        let mut state = lock(&self.state);
        state.delivery = Delivery::Inline(inline);
        self.deliver(state);
    }

    /// Empties the queue into the function, without holding the lock meanwhile.
    fn deliver<'a>(&'a self, mut state: MutexGuard<'a, State>) {
        let delivering = Delivery::Delivering(thread::current().id());
        let mut inline = match std::mem::replace(&mut state.delivery, delivering) {
            Delivery::Inline(inline) => inline,
            other => return state.delivery = other,
        };
        let mut queue = VecDeque::new();
        while !state.queue.is_empty() && !self.is_abandoned() {
            std::mem::swap(&mut queue, &mut state.queue);
            state.queued_bytes = 0;
            drop(state);
            // A panic has been reported by the panic hook; who receives for others too must not end by it.
            let result = catch_unwind(AssertUnwindSafe(|| {
                while !self.is_abandoned()
                    && let Some(message) = queue.pop_front()
                {
                    inline(message);
                }
            }));
            if result.is_err() {
                self.abandoned.store(true, Ordering::SeqCst);
            }
            queue.clear();
            state = lock(&self.state);
        }
        if state.queue.is_empty() {
            state.queue = queue;
        }
        let unused = if self.is_abandoned() {
            state.closed = true;
            state.delivery = Delivery::Queue;
            Some(inline)
        } else {
            state.delivery = Delivery::Inline(inline);
            None
        };
        if state.waiting > 0 {
            self.arrived.notify_all();
        }
        drop(state);
        drop(unused);
    }

    pub(crate) fn try_pop(&self) -> Option<Arrived> {
        lock(&self.state).pop()
    }

    /// Waits for a message. After [`close`](Self::close), there are those that came before it.
    pub(crate) fn pop(&self) -> Result<Arrived, RecvError> {
        let mut state = lock(&self.state);
        loop {
            match state.pop() {
                Some(message) => return Ok(message),
                None if state.closed => return Err(RecvError),
                None => state = self.wait(state),
            }
        }
    }

    /// Waits for messages and moves some of them behind those in `into`, to take the lock less often.
    pub(crate) fn pop_some(&self, into: &mut VecDeque<Arrived>) -> Result<(), RecvError> {
        /// What was moved does not count as waiting any more, so this is few.
        const SOME: usize = 16;
        const SOME_BYTES: usize = 64 * 1024;
        let mut state = lock(&self.state);
        while state.queue.is_empty() {
            if state.closed {
                return Err(RecvError);
            }
            state = self.wait(state);
        }
        let mut bytes = 0;
        while into.len() < SOME
            && bytes < SOME_BYTES
            && let Some(message) = state.pop()
        {
            bytes += message.payload.len();
            into.push_back(message);
        }
        Ok(())
    }

    fn wait<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.waiting += 1;
        let mut state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
        state
    }

    /// Waits for a message for some time.
    pub(crate) fn pop_timeout(&self, timeout: Duration) -> Result<Arrived, RecvTimeoutError> {
        let mut state = lock(&self.state);
        if state.queue.is_empty() {
            state.waiting += 1;
            state = self
                .arrived
                .wait_timeout_while(state, timeout, |state| state.queue.is_empty() && !state.closed)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.waiting -= 1;
        }
        match state.pop() {
            Some(message) => Ok(message),
            None if state.closed => Err(RecvError.into()),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    /// Waits for a message, or `None` after [`close`](Self::close).
    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<Arrived>> {
        let mut state = lock(&self.state);
        match state.pop() {
            Some(message) => Poll::Ready(Some(message)),
            None if state.closed => Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Takes no more messages.
    pub(crate) fn close(&self) {
        self.end(lock(&self.state));
    }

    /// Drops what waits, and takes no more messages. Waits for the end of an inline delivery, unless it is that which
    /// calls.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::SeqCst);
        let mut state = lock(&self.state);
        let here = thread::current().id();
        while matches!(state.delivery, Delivery::Delivering(thread) if thread != here) {
            state = self.wait(state);
        }
        let inline = match state.delivery {
            Delivery::Inline(_) => Some(std::mem::take(&mut state.delivery)),
            _ => None,
        };
        let queue = std::mem::take(&mut state.queue);
        state.queued_bytes = 0;
        self.end(state);
        // What they own is the program's.
        drop((inline, queue));
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    fn end(&self, mut state: MutexGuard<'_, State>) {
        state.closed = true;
        let waker = state.waker.take();
        drop(state);
        self.arrived.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Forgets the clock of a publisher that is gone.
    pub(crate) fn forget_publisher(&self, id: EntityId) {
        lock(&self.state).publishers.remove(&id);
    }

    pub(crate) fn discarded(&self) -> Discarded {
        lock(&self.state).discarded
    }
}

impl State {
    fn pop(&mut self) -> Option<Arrived> {
        let message = self.queue.pop_front()?;
        self.queued_bytes -= message.payload.len();
        Some(message)
    }

    fn check_clock(
        &mut self,
        message: &Arrived,
        drop_out_of_order: bool,
        max_publishers: usize,
    ) -> Option<u64> {
        self.arrivals += 1;
        let arrived = self.arrivals;
        let Some(last) = self.publishers.get_mut(&message.publisher_id) else {
            if self.publishers.len() >= max_publishers
                && let Some(oldest) =
                    self.publishers.iter().min_by_key(|(_, last)| last.arrived).map(|(id, _)| *id)
            {
                self.publishers.remove(&oldest);
            }
            let last = LastMessage { clock: message.clock, arrived };
            self.publishers.insert(message.publisher_id, last);
            return Some(0);
        };
        let step = message.clock.saturating_sub(last.clock);
        if step == 0 {
            self.discarded.duplicate += 1;
            return None;
        }
        if step < 0 {
            self.discarded.out_of_order += 1;
            return (!drop_out_of_order).then_some(0);
        }
        *last = LastMessage { clock: message.clock, arrived };
        Some(step.unsigned_abs() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Arc, mpsc};

    use super::*;

    fn message(publisher: u64, clock: i64, len: usize) -> Arrived {
        Arrived {
            payload: vec![0; len].into(),
            clock,
            time_us: 0,
            publisher_id: EntityId::from_wire(&publisher.to_string()),
        }
    }

    fn inbox(config: SubscriberConfig) -> Inbox {
        Inbox::new(config, 2)
    }

    /// How many messages were lost before this one, if it was taken.
    fn push(inbox: &Inbox, message: Arrived) -> Option<u64> {
        let Taken { count, lost } = inbox.push([message]);
        (count == 1).then_some(lost)
    }

    fn clocks(inbox: &Inbox) -> Vec<i64> {
        std::iter::from_fn(|| inbox.try_pop()).map(|message| message.clock).collect()
    }

    #[test]
    fn repeated_and_late_messages_are_dropped_and_gaps_counted() {
        let inbox = inbox(SubscriberConfig::default());
        let lost: Vec<_> = [5, 6, 6, 9, 8, 10].map(|clock| push(&inbox, message(1, clock, 1))).into();
        assert_eq!(lost, [Some(0), Some(0), None, Some(2), None, Some(0)]);
        assert_eq!(push(&inbox, message(2, 6, 1)), Some(0), "another publisher has a clock of its own");
        assert_eq!(clocks(&inbox), [5, 6, 9, 10, 6]);
        assert_eq!(inbox.discarded(), Discarded { duplicate: 1, out_of_order: 1, queue_full: 0 });
    }

    #[test]
    fn late_messages_are_kept_if_wanted() {
        let inbox = inbox(SubscriberConfig { drop_out_of_order: false, ..Default::default() });
        for clock in [5, 4, 6, 6] {
            push(&inbox, message(1, clock, 1));
        }
        assert_eq!(clocks(&inbox), [5, 4, 6]);
    }

    #[test]
    fn clocks_from_the_network_cannot_overflow() {
        let inbox = inbox(SubscriberConfig::default());
        let lost = [i64::MIN, i64::MAX, i64::MIN].map(|clock| push(&inbox, message(1, clock, 1)));
        assert_eq!(lost, [Some(0), Some(i64::MAX as u64 - 1), None]);
    }

    #[test]
    fn the_newest_messages_are_kept() {
        let inbox = inbox(SubscriberConfig { queue_len: 3, queue_bytes: 100, ..Default::default() });
        for clock in 1..=5 {
            push(&inbox, message(1, clock, 10));
        }
        assert_eq!(clocks(&inbox), [3, 4, 5]);
        for (clock, len) in [(6, 60), (7, 60), (8, 1000)] {
            push(&inbox, message(1, clock, len));
        }
        assert_eq!(clocks(&inbox), [8], "one message may be longer than the limit");
        assert_eq!(inbox.discarded().queue_full, 4);
    }

    #[test]
    fn publishers_are_forgotten_beyond_the_limit_and_when_gone() {
        let inbox = inbox(SubscriberConfig::default());
        for publisher in 1..=3 {
            push(&inbox, message(publisher, 7, 1));
        }
        assert_eq!(push(&inbox, message(3, 7, 1)), None, "the third is remembered");
        assert_eq!(push(&inbox, message(1, 7, 1)), Some(0), "the first made room for it");
        inbox.forget_publisher(EntityId::from_wire("3"));
        assert_eq!(push(&inbox, message(3, 7, 1)), Some(0));
    }

    #[test]
    fn inline_delivery_takes_what_waited_and_what_comes() {
        let inbox = inbox(SubscriberConfig { queue_len: 2, ..Default::default() });
        inbox.push([message(1, 1, 1)]);
        let clocks = Arc::new(Mutex::new(Vec::new()));
        inbox.deliver_inline(Box::new({
            let clocks = clocks.clone();
            move |message| lock(&clocks).push(message.clock)
        }));
        inbox.push((2..=5).map(|clock| message(1, clock, 1)));
        assert_eq!(*lock(&clocks), [1, 2, 3, 4, 5]);
        inbox.abandon();
        assert_eq!(inbox.push([message(1, 6, 1)]), Taken::default());
        assert_eq!(Arc::strong_count(&clocks), 1, "the function is dropped");
    }

    #[test]
    fn abandoning_waits_for_an_inline_delivery_unless_it_is_its_own() {
        let inbox = Arc::new(inbox(SubscriberConfig::default()));
        let (entered, wait_entered) = mpsc::channel();
        let (leave, wait_leave) = mpsc::channel();
        let done = Arc::new(AtomicBool::new(false));
        inbox.deliver_inline(Box::new({
            let done = done.clone();
            move |_| {
                entered.send(()).unwrap();
                wait_leave.recv().unwrap();
                done.store(true, Ordering::SeqCst);
            }
        }));
        thread::scope(|scope| {
            scope.spawn(|| inbox.push([message(1, 1, 1), message(1, 2, 1)]));
            wait_entered.recv().unwrap();
            scope.spawn(|| {
                inbox.abandon();
                assert!(done.load(Ordering::SeqCst));
            });
            while !inbox.is_abandoned() {
                thread::yield_now();
            }
            leave.send(()).unwrap();
        });
        assert!(wait_entered.try_recv().is_err(), "the second message is not delivered");

        let inbox = Arc::new(Inbox::new(SubscriberConfig::default(), 2));
        let count = Arc::new(AtomicUsize::new(0));
        inbox.deliver_inline(Box::new({
            let (inbox, count) = (inbox.clone(), count.clone());
            move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                inbox.abandon();
            }
        }));
        inbox.push([message(1, 1, 1), message(1, 2, 1)]);
        assert_eq!(count.load(Ordering::SeqCst), 1);
        assert_eq!(Arc::strong_count(&inbox), 1, "the function is dropped");
    }

    #[test]
    fn an_inline_function_that_panics_is_not_called_again() {
        let inbox = inbox(SubscriberConfig::default());
        let count = Arc::new(AtomicUsize::new(0));
        inbox.deliver_inline(Box::new({
            let count = count.clone();
            move |_| {
                count.fetch_add(1, Ordering::SeqCst);
                panic!("on purpose");
            }
        }));
        for clock in 1..=2 {
            inbox.push([message(1, clock, 1)]);
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn closing_ends_the_wait() {
        let inbox = inbox(SubscriberConfig::default());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| inbox.pop());
            inbox.close();
            assert!(matches!(waiting.join(), Ok(Err(RecvError))));
        });
        assert_eq!(push(&inbox, message(1, 1, 1)), None);
    }
}
