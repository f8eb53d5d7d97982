//! Calls a function with the messages of a topic.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use ferrocal_proto::EntityId;

use crate::core::Core;
use crate::delivery::{Callback, Handler};
use crate::feed::Feed;
use crate::layer::Incoming;
use crate::message::{BorrowedMessage, Decoder, Known, Message};
use crate::registry::{Event, MatchedPeer};
use crate::subscriber::{Subscribed, new_entity};
use crate::{BorrowedPayload, CreateError, Payload, SubscriberConfig, SubscriberStats};

/// Calls a function with the messages of a topic. Made by [`Node::subscribe`](crate::Node::subscribe).
///
/// It ends when it is dropped or [closed](Self::close): then the function is not called any more. If the function
/// panics, the subscription ends, too: the panic is logged with the topic's name, publishers are told, and
/// [`is_finished`](Self::is_finished) returns `true`.
#[must_use = "the subscription ends when it is dropped"]
pub struct Subscription<T: Payload + ?Sized> {
    membership: Arc<Subscribed>,
    callback: Arc<Callback>,
    decoder: Arc<Decoder>,
    payload: PhantomData<fn() -> Box<T>>,
}

impl<T: Payload + ?Sized + 'static> Subscription<T> {
    pub(crate) fn open(
        core: &Arc<Core>,
        topic: &str,
        config: &SubscriberConfig,
        mut function: impl FnMut(Message<T>) + Send + 'static,
    ) -> Result<Self, CreateError> {
        let mut known = Known::default();
        Self::open_with(core, topic, config, |decoder| {
            Handler::Owning(Box::new(move |incoming| {
                let publisher = decoder.publisher(&mut known, &incoming);
                if let Some(message) = decoder.decode(incoming, publisher) {
                    function(message);
                }
            }))
        })
    }

    fn open_with(
        core: &Arc<Core>,
        topic: &str,
        config: &SubscriberConfig,
        handler: impl FnOnce(Arc<Decoder>) -> Handler,
    ) -> Result<Self, CreateError> {
        let entity = new_entity::<T>(core, topic, config)?;
        let decoder = Arc::new(Decoder::new(core.clone(), entity.clone()));
        let handler = handler(decoder.clone());
        let max_publishers = core.config.limits.max_publishers_per_subscriber;
        let callback =
            Callback::new(config, max_publishers, entity.counters.clone(), core.wall_clock.clone(), handler);
        let membership = Arc::new(Subscribed::open(core, entity, callback.clone(), !config.inline)?);
        let weak = Arc::downgrade(&membership);
        callback.set_on_panic(Box::new(move || {
            if let Some(membership) = weak.upgrade() {
                log::error!(
                    "topic `{}`: the callback panicked; its subscription ends",
                    membership.entity.topic
                );
                membership.close();
                membership.core.registry.callback_ended(&membership.entity);
            }
        }));
        Ok(Self { membership, callback, decoder, payload: PhantomData })
    }
}

impl Subscription<[u8]> {
    pub(crate) fn open_borrowed(
        core: &Arc<Core>,
        topic: &str,
        config: &SubscriberConfig,
        mut function: impl FnMut(BorrowedMessage<'_>) + Send + 'static,
    ) -> Result<Self, CreateError> {
        let mut known = Known::default();
        Self::open_with(core, topic, config, |decoder| {
            Handler::Borrowing(Box::new(move |incoming: Incoming<BorrowedPayload<'_>>| {
                let publisher = decoder.publisher(&mut known, &incoming);
                function(decoder.borrow(&incoming, publisher));
            }))
        })
    }
}

impl<T: Payload + ?Sized> Subscription<T> {
    /// Ends the subscription. The function is not called any more and is dropped when this returns, unless it is the
    /// function that calls this.
    pub fn close(&self) {
        self.membership.close();
        if self.membership.is_forked() {
            self.callback.abandon();
        } else {
            self.callback.close();
        }
    }

    /// Whether the function will not be called any more: the subscription was closed, the function panicked, a
    /// [replay](crate::Selection::File) is over, or a thread of the node has failed.
    pub fn is_finished(&self) -> bool {
        self.callback.is_finished()
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.membership.entity.topic
    }

    /// The subscriber's id on the wire.
    pub fn id(&self) -> EntityId {
        self.membership.entity.id
    }

    /// What happens to this subscription from now on, after an event for each publisher that is matched already: matched, gone, another
    /// data type, messages lost, the end of the function. A program that is slow to take them delays nobody.
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

    /// What the subscription got so far.
    pub fn stats(&self) -> SubscriberStats {
        self.membership.stats(&self.decoder, self.callback.discarded())
    }
}

impl<T: Payload + ?Sized> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T: Payload + ?Sized> std::fmt::Debug for Subscription<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("topic", &self.topic()).finish_non_exhaustive()
    }
}
