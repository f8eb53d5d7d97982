//! The messages that wait for the program: the newest ones, in order, within bounds.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ferrocal_proto::EntityId;

use super::clock::{ClockFilter, Order};
use crate::SubscriberConfig;
use crate::layer::{Ended, Incoming, Origin};
use crate::stats::{Counters, Delays};
use crate::wall_clock::Reading;

/// What was not passed to the program, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Discarded {
    pub(crate) duplicate: u64,
    pub(crate) out_of_order: u64,
    pub(crate) queue_full: u64,
}

/// A bounded queue behind a clock filter. The caller locks it.
#[derive(Debug)]
pub(super) struct Waiting {
    max_len: usize,
    max_bytes: usize,
    drop_out_of_order: bool,
    filter: ClockFilter,
    queue: VecDeque<Incoming>,
    bytes: usize,
    pub(super) discarded: Discarded,
    /// Why no message will come any more.
    pub(super) ended: Option<Ended>,
    counters: Arc<Counters>,
}

/// What is counted of messages that came together.
#[derive(Default)]
struct Admitted {
    count: usize,
    bytes: usize,
    last_len: usize,
    lost: u64,
    /// When the first and the last of them were sent.
    times: Option<(i64, i64)>,
    delays: Delays,
    /// When the latest of them was received, by both clocks: many come at once.
    received: Option<(Instant, u64)>,
}

impl Waiting {
    pub(super) fn new(config: &SubscriberConfig, max_publishers: usize, counters: Arc<Counters>) -> Self {
        Self {
            max_len: config.queue_len.max(1),
            max_bytes: config.queue_bytes,
            drop_out_of_order: config.drop_out_of_order,
            filter: ClockFilter::new(max_publishers),
            queue: VecDeque::new(),
            bytes: 0,
            discarded: Discarded::default(),
            ended: None,
            counters,
        }
    }

    /// Appends messages, except those whose clock says that they are repeated or late. They are counted before anybody
    /// can take them. Returns how many were appended.
    pub(super) fn push(
        &mut self,
        messages: &mut dyn Iterator<Item = Incoming>,
        clock: &Reading<'_>,
    ) -> usize {
        if self.ended.is_some() {
            return 0;
        }
        let mut admitted = Admitted::default();
        for mut message in messages {
            let len = message.payload.len();
            if !self.admit(&mut message, len, clock, &mut admitted) {
                continue;
            }
            self.bytes += len;
            self.queue.push_back(message);
            while self.queue.len() > self.max_len || (self.bytes > self.max_bytes && self.queue.len() > 1) {
                self.pop();
                self.discarded.queue_full += 1;
            }
        }
        self.count(&admitted);
        admitted.count
    }

    /// Takes note of a message of `len` bytes that the program gets at once. Returns whether it is to get it: its clock
    /// may say that it is repeated or late.
    pub(super) fn pass<P>(&mut self, message: &mut Incoming<P>, len: usize, clock: &Reading<'_>) -> bool {
        let mut admitted = Admitted::default();
        let is_admitted = self.ended.is_none() && self.admit(message, len, clock, &mut admitted);
        self.count(&admitted);
        is_admitted
    }

    /// Whether a message is to be passed on, by its clock.
    fn admit<P>(
        &mut self,
        message: &mut Incoming<P>,
        len: usize,
        clock: &Reading<'_>,
        admitted: &mut Admitted,
    ) -> bool {
        match self.filter.check(&message.origin, message.clock, message.received) {
            Order::New { missing: 0 } => {}
            Order::New { missing } => {
                admitted.lost = admitted.lost.saturating_add(missing);
                self.counters.losses.add(&message.origin.host_name, message.origin.id, missing);
            }
            Order::Duplicate => {
                self.discarded.duplicate += 1;
                return false;
            }
            Order::Late => {
                self.discarded.out_of_order += 1;
                if self.drop_out_of_order {
                    return false;
                }
            }
        }
        admitted.times = Some((admitted.times.map_or(message.time_us, |(first, _)| first), message.time_us));
        message.received_ns = match admitted.received {
            Some((instant, ns)) if instant == message.received => ns,
            _ => clock.at_ns(message.received),
        };
        admitted.received = Some((message.received, message.received_ns));
        let sent_ns = message.time_us.saturating_mul(1000);
        admitted.delays.push(message.received_ns.cast_signed().saturating_sub(sent_ns));
        admitted.last_len = len;
        admitted.count += 1;
        admitted.bytes += len;
        true
    }

    #[cfg(test)]
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    fn count(&self, admitted: &Admitted) {
        if let Some((first, last)) = admitted.times {
            self.counters.ticks.add(first, last);
            self.counters.latency.add(&admitted.delays);
            self.counters.add(admitted.count as u64, admitted.bytes as u64, admitted.last_len);
        }
        if admitted.lost > 0 {
            self.counters.add_lost(admitted.lost);
        }
    }

    /// Counts a message that was given up.
    pub(super) fn lost(&mut self, origin: &Arc<Origin>, clock: i64) {
        let lost = self.filter.lost(origin, clock, Instant::now());
        if lost > 0 {
            self.counters.add_lost(lost);
            self.counters.losses.add(&origin.host_name, origin.id, lost);
        }
    }

    pub(super) fn left(&mut self, host_name: &[u8], publisher: EntityId) {
        self.filter.left(host_name, publisher, Instant::now());
    }

    pub(super) fn pop(&mut self) -> Option<Incoming> {
        let message = self.queue.pop_front()?;
        self.bytes -= message.payload.len();
        Some(message)
    }

    /// Exchanges all that waits for an empty queue. What was taken does not count as waiting any more.
    pub(super) fn take_all(&mut self, empty: VecDeque<Incoming>) -> VecDeque<Incoming> {
        self.bytes = 0;
        std::mem::replace(&mut self.queue, empty)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes no more messages. The first reason stays.
    pub(super) fn end(&mut self, why: Ended) {
        self.ended.get_or_insert(why);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    pub(crate) fn message(publisher: u64, clock: i64, len: usize) -> Incoming {
        let id = EntityId::from_wire(publisher.to_string());
        Incoming {
            payload: vec![0; len].into(),
            clock,
            time_us: 0,
            origin: Arc::new(Origin { host_name: "host".into(), id }),
            received: Instant::now(),
            received_ns: 0,
        }
    }

    fn waiting(config: SubscriberConfig) -> Waiting {
        Waiting::new(&config, 2, Arc::default())
    }

    fn push(waiting: &mut Waiting, message: Incoming) -> usize {
        waiting.push(&mut std::iter::once(message), &Reading::Now(0))
    }

    fn clocks(waiting: &mut Waiting) -> Vec<i64> {
        std::iter::from_fn(|| waiting.pop()).map(|message| message.clock).collect()
    }

    #[test]
    fn repeated_and_late_messages_are_dropped_and_counted() {
        let mut waiting = waiting(SubscriberConfig::default());
        for clock in [5, 6, 6, 9, 8, 10] {
            push(&mut waiting, message(1, clock, 1));
        }
        assert_eq!(clocks(&mut waiting), [5, 6, 9, 10]);
        assert_eq!(waiting.discarded, Discarded { duplicate: 1, out_of_order: 1, queue_full: 0 });
        assert_eq!(waiting.counters.lost.load(Ordering::Relaxed), 2);
        assert_eq!(waiting.counters.messages.load(Ordering::Relaxed), 4);
    }

    #[test]
    fn what_publishers_claim_does_not_overflow() {
        let mut waiting = Waiting::new(&SubscriberConfig::default(), 3, Arc::default());
        let mut messages = [1, 2, 3].into_iter().flat_map(|id| [message(id, 1, 1), message(id, i64::MAX, 1)]);
        assert_eq!(waiting.push(&mut messages, &Reading::Now(0)), 6);
        assert_eq!(waiting.counters.lost.load(Ordering::Relaxed), u64::MAX);
        push(&mut waiting, message(4, 1, 1));
        push(&mut waiting, message(4, 4, 1));
        assert_eq!(waiting.counters.lost.load(Ordering::Relaxed), u64::MAX);
    }

    #[test]
    fn late_messages_are_kept_if_wanted() {
        let mut waiting = waiting(SubscriberConfig::default().drop_out_of_order(false));
        for clock in [5, 4, 6, 6] {
            push(&mut waiting, message(1, clock, 1));
        }
        assert_eq!(clocks(&mut waiting), [5, 4, 6]);
    }

    #[test]
    fn the_newest_messages_are_kept() {
        let mut waiting = waiting(SubscriberConfig::default().queue_len(3).queue_bytes(100));
        for clock in 1..=5 {
            push(&mut waiting, message(1, clock, 10));
        }
        assert_eq!(clocks(&mut waiting), [3, 4, 5]);
        for (clock, len) in [(6, 60), (7, 60), (8, 1000)] {
            push(&mut waiting, message(1, clock, len));
        }
        assert_eq!(clocks(&mut waiting), [8], "one message may be longer than the limit");
        assert_eq!(waiting.discarded.queue_full, 4);
    }

    #[test]
    fn nothing_is_taken_after_the_end() {
        let mut waiting = waiting(SubscriberConfig::default());
        push(&mut waiting, message(1, 1, 1));
        waiting.end(Ended::Closed);
        waiting.end(Ended::Failed);
        assert_eq!(push(&mut waiting, message(1, 2, 1)), 0);
        assert_eq!(clocks(&mut waiting), [1], "what came before it is there");
        assert_eq!(waiting.ended, Some(Ended::Closed));
    }
}
