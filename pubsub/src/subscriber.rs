//! Receives the messages of a topic.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ferrocal_proto::EntityId;

use crate::core::Core;
use crate::delivery::{Discarded, Queue};
use crate::feed::Feed;
use crate::layer::{Ended, Incoming, LayerUse, Reader, Sink};
use crate::message::{Decoder, Known, Message};
use crate::registry::{Entity, Event, MatchedPeer, Role};
use crate::stats::get;
use crate::wakers::{Ticket, Wait};
use crate::{
    Config, CreateError, Payload, RecvError, RecvTimeoutError, SubscriberConfig, SubscriberStats, lock,
};

/// Receives the messages of a topic. Made by [`Node::subscriber`](crate::Node::subscriber).
///
/// Messages wait in a queue that keeps the newest ones; see [`SubscriberConfig`]. They are taken from it by
/// [`recv`](Self::recv) and its kin, by [`recv_async`](Self::recv_async), or as a [`Stream`](futures_core::Stream).
///
/// Threads can share it: each message goes to one of them. [`close`](Self::close) ends the waiting of all of them.
/// Dropping the subscriber announces to the publishers that it is gone.
pub struct Subscriber<T: Payload + ?Sized> {
    membership: Subscribed,
    queue: Arc<Queue>,
    decoder: Decoder,
    known: Mutex<Known>,
    stream: Option<Ticket>,
    payload: PhantomData<fn() -> Box<T>>,
}

impl<T: Payload + ?Sized> Subscriber<T> {
    pub(crate) fn open(
        core: &Arc<Core>,
        topic: &str,
        config: &SubscriberConfig,
    ) -> Result<Self, CreateError> {
        let entity = new_entity::<T>(core, topic, config)?;
        let max_publishers = core.config.limits.max_publishers_per_subscriber;
        let queue =
            Arc::new(Queue::new(config, max_publishers, entity.counters.clone(), core.wall_clock.clone()));
        let decoder = Decoder::new(core.clone(), entity.clone());
        let membership = Subscribed::open(core, entity, queue.clone(), false)?;
        Ok(Self { membership, queue, decoder, known: Mutex::default(), stream: None, payload: PhantomData })
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// When no message will come any more: the subscriber was [closed](Self::close), a
    /// [replay](crate::Selection::File) is over, or a thread of the node has failed.
    pub fn recv(&self) -> Result<Message<T>, RecvError> {
        loop {
            let incoming = self.queue.pop(None).map_err(recv_error)?;
            if let Some(message) = incoming.and_then(|incoming| self.decode(incoming)) {
                return Ok(message);
            }
        }
    }

    /// Waits for the next message for `timeout` at most.
    ///
    /// # Errors
    /// When none arrived in time, or none will come any more, as [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message<T>, RecvTimeoutError> {
        // A time-out that is too long for the clock is none.
        let deadline = Instant::now().checked_add(timeout);
        loop {
            let incoming = self.queue.pop(deadline).map_err(recv_error)?;
            let incoming = incoming.ok_or(RecvTimeoutError::Timeout)?;
            if let Some(message) = self.decode(incoming) {
                return Ok(message);
            }
        }
    }

    /// The next message, if one is there. Does not wait.
    pub fn try_recv(&self) -> Option<Message<T>> {
        std::iter::from_fn(|| self.queue.try_pop()).find_map(|incoming| self.decode(incoming))
    }

    /// Waits for the next message without blocking. Needs no particular runtime.
    ///
    /// If the future is dropped, no message is lost.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub async fn recv_async(&self) -> Result<Message<T>, RecvError> {
        let mut wait = Wait::new(&*self.queue);
        std::future::poll_fn(|cx| self.poll_recv(cx, &mut wait.ticket)).await
    }

    fn poll_recv(&self, cx: &Context<'_>, wait: &mut Option<Ticket>) -> Poll<Result<Message<T>, RecvError>> {
        loop {
            let incoming = ready!(self.queue.poll_pop(cx, wait)).map_err(recv_error)?;
            if let Some(message) = self.decode(incoming) {
                return Poll::Ready(Ok(message));
            }
        }
    }

    /// Ends the subscription, from any thread. Waiting calls return, and what waits in the queue is dropped.
    pub fn close(&self) {
        // In a forked child, a thread that does not exist there may hold the queue's lock.
        if !self.membership.is_forked() {
            self.queue.close();
        }
        self.membership.close();
    }

    /// Whether no message will come any more, for one of the reasons that [`recv`](Self::recv) names.
    pub fn is_finished(&self) -> bool {
        self.queue.is_finished()
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.membership.entity.topic
    }

    /// The subscriber's id on the wire.
    pub fn id(&self) -> EntityId {
        self.membership.entity.id
    }

    /// What happens to this subscriber from now on, after an event for each publisher that is matched already: matched, gone, another
    /// data type, messages lost. A program that is slow to take them delays nobody.
    pub fn events(&self) -> Feed<Event> {
        self.membership.core.registry.events(&self.membership.entity)
    }

    /// The publishers that are matched.
    pub fn publishers(&self) -> Vec<MatchedPeer> {
        self.membership.core.registry.matched(&self.membership.entity)
    }

    /// How many publishers are matched, on this host and others, this program's own included.
    pub fn publisher_count(&self) -> usize {
        self.membership.entity.connected()
    }

    /// Waits until a publisher is matched. Returns whether one is.
    pub fn wait_for_publisher(&self, timeout: Duration) -> bool {
        self.wait_for_publishers(1, timeout)
    }

    /// Waits until `count` publishers are matched. Returns whether they are.
    pub fn wait_for_publishers(&self, count: usize, timeout: Duration) -> bool {
        self.membership.entity.wait_for_connections(count, timeout)
    }

    /// Waits until a publisher is matched, as [`wait_for_publishers_async`](Self::wait_for_publishers_async).
    #[cfg(feature = "tokio")]
    pub async fn wait_for_publisher_async(&self) -> bool {
        self.wait_for_publishers_async(1).await
    }

    /// Waits until `count` publishers are matched, without blocking and without a limit in time. Returns `false` only
    /// if they never will be, because a thread of the node has failed.
    #[cfg(feature = "tokio")]
    pub async fn wait_for_publishers_async(&self, count: usize) -> bool {
        self.membership.entity.connections_async(count).await
    }

    /// What the subscriber got so far.
    pub fn stats(&self) -> SubscriberStats {
        self.membership.stats(&self.decoder, self.queue.discarded())
    }

    fn decode(&self, incoming: Incoming) -> Option<Message<T>> {
        let publisher = self.decoder.publisher(&mut lock(&self.known), &incoming).clone();
        self.decoder.decode(incoming, &publisher)
    }
}

impl<T: Payload + ?Sized> futures_core::Stream for Subscriber<T> {
    type Item = Message<T>;

    /// The next message. The stream ends when no message will come any more.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message<T>>> {
        let mut wait = self.stream;
        let next = self.poll_recv(cx, &mut wait);
        self.get_mut().stream = wait;
        next.map(Result::ok)
    }
}

impl<T: Payload + ?Sized> std::fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber").field("topic", &self.topic()).finish_non_exhaustive()
    }
}

fn recv_error(why: Ended) -> RecvError {
    match why {
        Ended::Closed => RecvError::Closed,
        Ended::Replayed => RecvError::ReplayOver,
        Ended::Failed => RecvError::NodeFailed,
    }
}

pub(crate) fn new_entity<T: Payload + ?Sized>(
    core: &Core,
    topic: &str,
    config: &SubscriberConfig,
) -> Result<Arc<Entity>, CreateError> {
    let data_type = config.data_type.clone().unwrap_or_else(T::data_type);
    Config::default().subscriber(config.clone()).check()?;
    let layers = LayerUse::of_subscriber(&core.registry.kinds, config);
    core.new_entity(Role::Subscriber, topic, data_type, layers)
}

/// That a subscriber of either kind is announced, and reads its topic. Ends when it is closed or dropped.
pub(crate) struct Subscribed {
    pub(crate) core: Arc<Core>,
    pub(crate) entity: Arc<Entity>,
    readers: Mutex<Vec<Box<dyn Reader>>>,
}

impl Subscribed {
    /// Has `sink` get the messages, and announces the subscriber after that.
    pub(crate) fn open(
        core: &Arc<Core>,
        entity: Arc<Entity>,
        sink: Arc<dyn Sink>,
        watch: bool,
    ) -> Result<Self, CreateError> {
        let readers = core.read(&entity, &sink, watch)?;
        core.registry.add(&entity);
        Ok(Self { core: core.clone(), entity, readers: Mutex::new(readers) })
    }

    pub(crate) fn close(&self) {
        if self.core.is_forked() {
            // The sockets are the parent's, too: its groups must stay joined. Who held the lock may not exist here.
            if let Ok(mut readers) = self.readers.try_lock() {
                std::mem::forget(std::mem::take(&mut *readers));
            }
            return;
        }
        self.core.registry.remove(&self.entity);
        let readers = std::mem::take(&mut *lock(&self.readers));
        drop(readers);
    }

    pub(crate) fn is_forked(&self) -> bool {
        self.core.is_forked()
    }

    pub(crate) fn stats(&self, decoder: &Decoder, discarded: Discarded) -> SubscriberStats {
        let counters = &self.entity.counters;
        let Discarded { duplicate, out_of_order, queue_full } = discarded;
        SubscriberStats {
            received: get(&counters.messages),
            received_bytes: get(&counters.bytes),
            lost: get(&counters.lost),
            queue_full,
            duplicate,
            out_of_order,
            undecodable: decoder.undecodable(),
            frequency: counters.ticks.frequency(),
            latency: counters.latency.get(),
        }
    }
}

impl Drop for Subscribed {
    fn drop(&mut self) {
        self.close();
    }
}
