//! Counters of publishers and subscribers.

mod frequency;
mod latency;
mod losses;

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

pub(crate) use frequency::{Frequency, Ticks};
pub use latency::Latency;
pub(crate) use latency::{Delays, LatencyCounter};
pub(crate) use losses::{Loss, Losses};

/// What a [`Publisher`](crate::Publisher) did so far.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct PublisherStats {
    /// Messages published, including those for which there was no subscriber.
    pub published: u64,
    /// Messages sent, to at least one subscriber.
    pub sent: u64,
    /// Bytes of payload sent.
    pub sent_bytes: u64,
    /// Messages that the system refused to send, because the network cannot be reached at present.
    pub not_sent: u64,
    /// Messages that a subscriber did not get because it takes them too slowly, or its connection ended: with TCP, a newer
    /// message replaces one that still waits ([`tcp_queue_bytes`](crate::PublisherConfig::tcp_queue_bytes)). Each subscriber
    /// counts.
    pub overwritten: u64,
    /// Messages published in a second, as the node registered it most recently and as eCAL's tools show it. It is 0
    /// before the second message, and when none came for three times the usual interval.
    pub frequency: f64,
}

/// What a [`Subscriber`](crate::Subscriber) or [`Subscription`](crate::Subscription) got so far, in messages.
///
/// Each message that arrived is counted in `received` before the program gets it. What the program did not get is in one
/// of the other counters.
///
/// From the first message of a publisher to its newest one, each is counted once as `received` or `lost`. With
/// [`drop_out_of_order`](crate::SubscriberConfig::drop_out_of_order) off, those in `out_of_order` are in both.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct SubscriberStats {
    /// Received, including those that were dropped from the queue later.
    pub received: u64,
    /// Bytes of payload received.
    pub received_bytes: u64,
    /// Did not arrive in time: incomplete messages that were given up, and gaps in the publishers' clocks. What arrives
    /// after a later message is here, too, as it was missing when that came.
    pub lost: u64,
    /// Dropped from the queue, because the program took them too slowly.
    pub queue_full: u64,
    /// Arrived again.
    pub duplicate: u64,
    /// Arrived after a later one, and is therefore in `lost`, too. Dropped unless
    /// [`drop_out_of_order`](crate::SubscriberConfig::drop_out_of_order) is off.
    pub out_of_order: u64,
    /// Could not be decoded, and were skipped.
    pub undecodable: u64,
    /// Messages received in a second, by the publishers' send times, as the node registered it most recently and as
    /// eCAL's tools show it. It is 0 before the second message, and when none came for three times the usual interval.
    pub frequency: f64,
    /// From the publisher's send time to the receive time. `None` before the first message.
    pub latency: Option<Latency>,
}

/// The counters of one entity. One thread at a time writes, any thread reads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Messages published or received.
    pub(crate) messages: AtomicU64,
    /// When.
    pub(crate) ticks: Ticks,
    /// Messages sent.
    pub(crate) sent: AtomicU64,
    /// Bytes of payload sent or received.
    pub(crate) bytes: AtomicU64,
    /// Messages that could not be sent.
    pub(crate) not_sent: AtomicU64,
    /// Messages that were given up for newer ones.
    pub(crate) overwritten: AtomicU64,
    /// Messages that never arrived.
    pub(crate) lost: AtomicU64,
    /// The same, by publisher, since they were last reported.
    pub(crate) losses: Losses,
    /// Length of the newest message in bytes.
    pub(crate) last_len: AtomicI32,
    pub(crate) latency: LatencyCounter,
}

impl Counters {
    pub(crate) fn publisher(&self) -> PublisherStats {
        PublisherStats {
            published: get(&self.messages),
            sent: get(&self.sent),
            sent_bytes: get(&self.bytes),
            not_sent: get(&self.not_sent),
            overwritten: get(&self.overwritten),
            frequency: self.ticks.frequency(),
        }
    }

    /// Counts messages that did not arrive: as many as publishers' clocks claim.
    pub(crate) fn add_lost(&self, messages: u64) {
        let add = |lost: u64| Some(lost.saturating_add(messages));
        let _ = self.lost.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Counts messages and their bytes, of which the last one had `last_len`.
    pub(crate) fn add(&self, messages: u64, bytes: u64, last_len: usize) {
        add(&self.messages, messages);
        add(&self.bytes, bytes);
        self.last_len.store(i32::try_from(last_len).unwrap_or(i32::MAX), Ordering::Relaxed);
    }
}

pub(crate) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}
