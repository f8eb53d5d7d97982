//! iceoryx2: messages in memory that the publisher loans, and an event for each, which wakes who waits.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{BackpressureStrategy, LogLevel, Node, NodeBuilder, ServiceName, set_log_level};
// A `Line` goes from thread to thread.
use iceoryx2::prelude::ipc_threadsafe::Service;
use iceoryx2::service::port_factory::{event, publish_subscribe};

use super::{Outcome, Outlet, PATIENCE, Peer};
use crate::role::Setup;
use crate::tally::Tally;

/// What a topic is: a service with the messages, and one that tells of them.
struct Topic {
    messages: publish_subscribe::PortFactory<Service, [u8], ()>,
    events: event::PortFactory<Service>,
    _node: Node<Service>,
}

impl Topic {
    fn open(name: &str) -> Outcome<Self> {
        set_log_level(LogLevel::Error);
        let node = NodeBuilder::new().create::<Service>()?;
        let name = ServiceName::new(name)?;
        // The publisher waits while the buffer, of two messages, is full. By default it overwrites the oldest.
        let messages = node
            .service_builder(&name)
            .publish_subscribe::<[u8]>()
            .enable_safe_overflow(false)
            // It has memory for all that there could be.
            .max_subscribers(1)
            .open_or_create()?;
        let events = node.service_builder(&name).event().open_or_create()?;
        Ok(Self { messages, events, _node: node })
    }
}

pub(super) struct Sender {
    publisher: Publisher<Service, [u8], ()>,
    notifier: Notifier<Service>,
    _topic: Topic,
}

impl Sender {
    pub(super) fn new(topic: &str, len: usize) -> Outcome<Self> {
        let topic = Topic::open(topic)?;
        let publisher = topic
            .messages
            .publisher_builder()
            .initial_max_slice_len(len)
            .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
            .create()?;
        Ok(Self { publisher, notifier: topic.events.notifier_builder().create()?, _topic: topic })
    }

    fn put(&self, message: &[u8]) -> Outcome<()> {
        self.publisher.loan_slice_uninit(message.len())?.write_from_slice(message).send()?;
        self.notifier.notify()?;
        Ok(())
    }
}

impl Outlet for Sender {
    fn send(&mut self, messages: &[Vec<u8>]) -> usize {
        self.put(&messages[0]).is_ok().into()
    }
}

struct Receiver {
    subscriber: Subscriber<Service, [u8], ()>,
    listener: Listener<Service>,
    is_in_place: bool,
    _topic: Topic,
}

impl Receiver {
    fn new(topic: &str, setup: &Setup) -> Outcome<Self> {
        let topic = Topic::open(topic)?;
        Ok(Self {
            subscriber: topic.messages.subscriber_builder().create()?,
            listener: topic.events.listener_builder().create()?,
            is_in_place: setup.peer == Peer::Iceoryx2InPlace,
            _topic: topic,
        })
    }

    /// Hands the next message to `look`; `false` if none comes in time. Sleeps in the kernel until then.
    fn next(&self, look: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(message) = self.subscriber.receive()? {
                if self.is_in_place {
                    look(&message);
                } else {
                    let copy = message.to_vec();
                    drop(message);
                    look(&copy);
                }
                return Ok(true);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            // It may be of a message that was taken already.
            self.listener.timed_wait(|_| {}, left)?;
        }
    }
}

/// Counts messages on a thread, until the process ends.
pub(super) fn subscribe(setup: &Setup, tallies: &[Arc<Tally>]) -> Outcome<JoinHandle<()>> {
    let [tally] = tallies else { return Err("iceoryx2 is measured with one subscriber".into()) };
    let receiver = Receiver::new(&setup.topic_names()[0], setup)?;
    let (tally, len) = (tally.clone(), setup.size);
    Ok(thread::spawn(move || {
        loop {
            if let Err(error) = receiver.next(&mut |message| tally.take(message, len)) {
                eprintln!("iceoryx2 cannot receive: {error}");
                return;
            }
        }
    }))
}

pub(super) struct Line {
    receiver: Receiver,
    sender: Sender,
}

impl Line {
    pub(super) fn new(setup: &Setup, out: &str, into: &str) -> Outcome<Self> {
        Ok(Self { receiver: Receiver::new(into, setup)?, sender: Sender::new(out, setup.size)? })
    }
}

impl super::Line for Line {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.sender.put(message)
    }

    fn receive(&mut self, look: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        self.receiver.next(look)
    }

    fn echo(&mut self) -> Outcome<()> {
        let mut sent = Ok(());
        self.receiver.next(&mut |message| sent = self.sender.put(message))?;
        sent
    }
}

/// Removes what processes have left that have ended. A node does so when it opens.
pub(super) fn clean_up() -> Outcome<()> {
    NodeBuilder::new().create::<Service>()?;
    Ok(())
}
