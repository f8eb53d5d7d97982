//! Receives the messages of a topic.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrocal_proto::EntityId;

use crate::inbox::{Arrived, Discarded};
use crate::node::Inner;
use crate::topics::Reader;
use crate::{Payload, RecvError, RecvTimeoutError};

/// Receives the messages of a topic; made by [`Node::subscriber`](crate::Node::subscriber).
///
/// Messages wait in a queue that keeps the newest ones; see [`SubscriberConfig`](crate::SubscriberConfig). They are
/// taken from it by [`recv`](Self::recv) and its kin, or as a [`Stream`](futures_core::Stream), which ends only
/// when a [replay](crate::Selection::File) is over.
/// Dropping the subscriber tells the publishers that it is gone.
pub struct Subscriber<T: Payload + ?Sized> {
    node: Arc<Inner>,
    pub(crate) reader: Arc<Reader>,
    undecodable: AtomicU64,
    payload: PhantomData<fn() -> Box<T>>,
}

/// A received message.
#[derive(Debug)]
#[non_exhaustive]
pub struct Message<T: Payload + ?Sized> {
    /// What was published.
    pub payload: T::Received,
    /// The publisher's count of its messages, from 1.
    pub clock: i64,
    /// When it was published, by the publisher's clock.
    pub send_time: SystemTime,
    /// Who published it.
    pub publisher_id: EntityId,
}

/// What a [`Subscriber`] got so far, in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberStats {
    /// Received, including those that were dropped from the queue afterwards.
    pub received: u64,
    /// Never arrived: the gaps in the publishers' clocks.
    pub lost: u64,
    /// Dropped from the queue, because the program was slow to take them.
    pub queue_full: u64,
    /// Arrived again.
    pub duplicate: u64,
    /// Arrived after a later one; dropped unless the subscriber wants them.
    pub out_of_order: u64,
    /// Could not be decoded, and were passed over.
    pub undecodable: u64,
}

impl<T: Payload + ?Sized> Subscriber<T> {
    pub(crate) fn new(node: Arc<Inner>, reader: Arc<Reader>) -> Self {
        Self { node, reader, undecodable: AtomicU64::new(0), payload: PhantomData }
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When there will be none any more: a [replay](crate::Selection::File) is over. Otherwise it waits for as long as
    /// it takes.
    pub fn recv(&self) -> Result<Message<T>, RecvError> {
        loop {
            if let Some(message) = self.decode(self.reader.inbox.pop()?) {
                return Ok(message);
            }
        }
    }

    /// Waits for the next message for some time.
    ///
    /// # Errors
    /// When none arrived, or none will any more.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message<T>, RecvTimeoutError> {
        let start = Instant::now();
        loop {
            let left = timeout.saturating_sub(start.elapsed());
            if let Some(message) = self.decode(self.reader.inbox.pop_timeout(left)?) {
                return Ok(message);
            }
        }
    }

    /// The next message, if one is there.
    pub fn try_recv(&self) -> Option<Message<T>> {
        std::iter::from_fn(|| self.reader.inbox.try_pop()).find_map(|arrived| self.decode(arrived))
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.reader.entity.topic
    }

    /// The subscriber's id on the wire.
    pub fn id(&self) -> EntityId {
        self.reader.entity.id
    }

    /// How many publishers are matched, on this host and others, this program's own included.
    pub fn publisher_count(&self) -> usize {
        self.reader.entity.connected()
    }

    /// Waits until a publisher is matched; tells whether one is.
    pub fn wait_for_publisher(&self, timeout: Duration) -> bool {
        self.reader.entity.wait_for_connection(timeout)
    }

    /// What the subscriber got so far.
    pub fn stats(&self) -> SubscriberStats {
        let Reader { entity, inbox } = &*self.reader;
        let Discarded { duplicate, out_of_order, queue_full } = inbox.discarded();
        SubscriberStats {
            received: entity.messages.load(Ordering::Relaxed).cast_unsigned(),
            lost: entity.lost.load(Ordering::Relaxed),
            queue_full,
            duplicate,
            out_of_order,
            undecodable: self.undecodable.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn decode(
        &self,
        Arrived { payload, clock, time_us, publisher_id }: Arrived,
    ) -> Option<Message<T>> {
        match T::decode(payload) {
            Ok(payload) => {
                let since_epoch = Duration::from_micros(u64::try_from(time_us).unwrap_or(0));
                // Systems differ in the latest time they know, and the network may claim any.
                let send_time = UNIX_EPOCH.checked_add(since_epoch).unwrap_or(UNIX_EPOCH);
                Some(Message { payload, clock, send_time, publisher_id })
            }
            Err(error) => {
                if self.undecodable.fetch_add(1, Ordering::Relaxed) == 0 {
                    log::warn!(
                        "topic `{}`: a message of publisher {publisher_id} is not of type `{}`: {error}; \
                         such messages are passed over and counted",
                        self.topic(),
                        self.reader.entity.data_type().name,
                    );
                }
                None
            }
        }
    }
}

impl<T: Payload + ?Sized> futures_core::Stream for Subscriber<T> {
    type Item = Message<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message<T>>> {
        loop {
            let Some(arrived) = ready!(self.reader.inbox.poll_pop(cx)) else { return Poll::Ready(None) };
            if let Some(message) = self.decode(arrived) {
                return Poll::Ready(Some(message));
            }
        }
    }
}

impl<T: Payload + ?Sized> Drop for Subscriber<T> {
    fn drop(&mut self) {
        self.node.remove(&self.reader.entity);
        self.reader.inbox.abandon();
    }
}

impl<T: Payload + ?Sized> std::fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("topic", &self.topic()).finish_non_exhaustive()
    }
}
