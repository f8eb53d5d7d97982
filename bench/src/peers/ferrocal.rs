//! Ours. A new way of sending is a new [`Outlet`] here and a new variant of [`Peer`].

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use ferrocal::{Bytes, Config, Message, Mode, Node, Publisher, RecvTimeoutError, Subscriber, Subscription};

use super::{Outcome, Outlet, PATIENCE, Peer};
use crate::role::{Role, Setup};
use crate::sys::now_ns;
use crate::tally::Tally;

/// The same for all that are measured: more than one burst of the longest messages.
pub(super) const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;

fn config(setup: &Setup) -> Config {
    let mut config = Config::default();
    config.udp.receive_buffer_len = RECEIVE_BUFFER;
    if setup.peer == Peer::FerrocalSpin {
        config.receive_thread.busy_poll = Duration::from_millis(10);
    }
    if let Some(address) = setup.interface {
        config.mode = Mode::Network;
        config.udp.interfaces = vec![address];
    }
    config
}

fn nodes(setup: &Setup) -> Outcome<Vec<Node>> {
    Ok((0..setup.nodes).map(|_| Node::with_config("bench", config(setup))).collect::<Result<_, _>>()?)
}

fn publishers(setup: &Setup) -> Outcome<Vec<Publisher<[u8]>>> {
    let nodes = nodes(setup)?;
    let topics = setup.topic_names();
    let publishers = topics.iter().zip(nodes.iter().cycle()).map(|(topic, node)| node.publisher(topic));
    Ok(publishers.collect::<Result<_, _>>()?)
}

/// `Publisher::send`, one message at a time, from topic to topic.
pub(super) struct Single {
    publishers: Vec<Publisher<[u8]>>,
    next: usize,
}

impl Single {
    pub(super) fn new(setup: &Setup) -> Outcome<Self> {
        Ok(Self { publishers: publishers(setup)?, next: 0 })
    }
}

impl Outlet for Single {
    fn send(&mut self, messages: &[Vec<u8>]) -> usize {
        let accepted = self.publishers[self.next].send(&messages[0]).is_ok();
        self.next = (self.next + 1) % self.publishers.len();
        accepted.into()
    }
}

/// `Publisher::send_batch`, on one topic.
pub(super) struct Batch {
    publisher: Publisher<[u8]>,
}

impl Batch {
    pub(super) fn new(setup: &Setup) -> Outcome<Self> {
        Ok(Self { publisher: publishers(setup)?.swap_remove(0) })
    }
}

impl Outlet for Batch {
    fn batch_len(&self) -> usize {
        super::BATCH_LEN
    }

    fn send(&mut self, messages: &[Vec<u8>]) -> usize {
        let accepted = self.publisher.send_batch(messages.iter().map(Vec::as_slice)).is_ok();
        if accepted { messages.len() } else { 0 }
    }
}

/// `Node::subscribe`, or `Node::subscribe_inline`, for each tally.
pub(super) fn subscribe(setup: &Setup, tallies: &[Arc<Tally>]) -> Outcome<Vec<Subscription<[u8]>>> {
    let nodes = nodes(setup)?;
    let mut subscriptions = Vec::new();
    let topics = setup.topic_names();
    let each = topics.iter().zip(nodes.iter().cycle()).zip(tallies.chunks(setup.subscribers));
    for ((topic, node), tallies) in each {
        for tally in tallies {
            let (tally, len) = (tally.clone(), setup.size);
            let count = move |message: Message<[u8]>| tally.take(&message.payload, len);
            subscriptions.push(match setup.peer {
                Peer::Ferrocal => node.subscribe(topic, count)?,
                _ => node.subscribe_inline(topic, config(setup).subscriber, count)?,
            });
        }
    }
    Ok(subscriptions)
}

/// `Publisher::send` and `Subscriber::recv_timeout`.
pub(super) struct Line {
    publisher: Publisher<[u8]>,
    subscriber: Subscriber<[u8]>,
}

impl Line {
    pub(super) fn new(setup: &Setup, out: &str, into: &str) -> Outcome<Self> {
        let node = Node::with_config("bench", config(setup))?;
        Ok(Self { publisher: node.publisher(out)?, subscriber: node.subscriber(into)? })
    }

    fn next(&self) -> Outcome<Option<Bytes>> {
        match self.subscriber.recv_timeout(PATIENCE) {
            Ok(message) => Ok(Some(message.payload)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl super::Line for Line {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        Ok(self.publisher.send(message)?)
    }

    fn receive(&mut self, look: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.next()?.inspect(|message| look(message)).is_some())
    }

    fn echo(&mut self) -> Outcome<()> {
        match self.next()? {
            Some(message) => self.send(&message),
            None => Ok(()),
        }
    }
}

/// `Node::subscribe_inline`: who answers does so within the callback, and who waits for an answer has it there.
pub(super) struct InlineLine {
    publisher: Arc<Publisher<[u8]>>,
    messages: Receiver<(Bytes, u64)>,
    received_ns: u64,
    _subscription: Subscription<[u8]>,
}

impl InlineLine {
    pub(super) fn new(setup: &Setup, out: &str, into: &str) -> Outcome<Self> {
        let config = config(setup);
        let node = Node::with_config("bench", config.clone())?;
        let publisher = Arc::new(node.publisher::<[u8]>(out)?);
        let (sender, messages) = mpsc::channel();
        let answering = (setup.role == Role::Pong).then(|| publisher.clone());
        let take = move |message: Message<[u8]>| match &answering {
            Some(publisher) => {
                let _ = publisher.send(&message.payload);
            }
            None => {
                let _ = sender.send((message.payload, now_ns()));
            }
        };
        let subscription = node.subscribe_inline(into, config.subscriber, take)?;
        Ok(Self { publisher, messages, received_ns: 0, _subscription: subscription })
    }
}

impl super::Line for InlineLine {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        Ok(self.publisher.send(message)?)
    }

    fn receive(&mut self, look: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        let Ok((message, received_ns)) = self.messages.recv_timeout(PATIENCE) else { return Ok(false) };
        self.received_ns = received_ns;
        look(&message);
        Ok(true)
    }

    fn received_ns(&self) -> u64 {
        self.received_ns
    }

    fn echo(&mut self) -> Outcome<()> {
        thread::sleep(PATIENCE);
        Ok(())
    }
}
