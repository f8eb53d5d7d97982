//! Calls a function with the messages of a topic.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ferrocal_proto::EntityId;

use crate::{CreateError, Message, Payload, Subscriber, SubscriberStats};

/// Calls a function with the messages of a topic; made by [`Node::subscribe`](crate::Node::subscribe) and
/// [`Node::subscribe_inline`](crate::Node::subscribe_inline).
///
/// It ends when it is dropped: then the function is not called any more. If the function
/// panics, it is not called any more either.
#[derive(Debug)]
#[must_use = "the subscription ends when it is dropped"]
pub struct Subscription<T: Payload + ?Sized> {
    subscriber: Arc<Subscriber<T>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Payload + ?Sized + 'static> Subscription<T> {
    pub(crate) fn start(
        subscriber: Subscriber<T>,
        mut callback: impl FnMut(Message<T>) + Send + 'static,
    ) -> Result<Self, CreateError> {
        let subscriber = Arc::new(subscriber);
        let thread = thread::Builder::new()
            .name("ferrocal-callback".into())
            .spawn({
                let subscriber = subscriber.clone();
                move || {
                    let inbox = &subscriber.reader.inbox;
                    let mut arrived = VecDeque::new();
                    while inbox.pop_some(&mut arrived).is_ok() {
                        while let Some(message) = arrived.pop_front() {
                            if inbox.is_abandoned() {
                                return;
                            }
                            if let Some(message) = subscriber.decode(message) {
                                callback(message);
                            }
                        }
                    }
                }
            })
            .map_err(|source| CreateError::Thread { topic: subscriber.topic().to_owned(), source })?;
        Ok(Self { subscriber, thread: Some(thread) })
    }

    pub(crate) fn inline(
        subscriber: Subscriber<T>,
        mut callback: impl FnMut(Message<T>) + Send + 'static,
    ) -> Self {
        let subscriber = Arc::new(subscriber);
        subscriber.reader.inbox.deliver_inline(Box::new({
            let subscriber = subscriber.clone();
            move |arrived| {
                if let Some(message) = subscriber.decode(arrived) {
                    callback(message);
                }
            }
        }));
        Self { subscriber, thread: None }
    }
}

impl<T: Payload + ?Sized> Subscription<T> {
    /// The topic's name.
    pub fn topic(&self) -> &str {
        self.subscriber.topic()
    }

    /// The subscriber's id on the wire.
    pub fn id(&self) -> EntityId {
        self.subscriber.id()
    }

    /// How many publishers are matched, on this host and others, this program's own included.
    pub fn publisher_count(&self) -> usize {
        self.subscriber.publisher_count()
    }

    /// Waits until a publisher is matched; tells whether one is.
    pub fn wait_for_publisher(&self, timeout: Duration) -> bool {
        self.subscriber.wait_for_publisher(timeout)
    }

    /// What the subscription got so far.
    pub fn stats(&self) -> SubscriberStats {
        self.subscriber.stats()
    }
}

impl<T: Payload + ?Sized> Drop for Subscription<T> {
    fn drop(&mut self) {
        self.subscriber.reader.inbox.abandon();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic of the callback has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}
