//! Ours. A new way of sending is a new [`Outlet`] here and a new variant of [`Peer`](super::Peer).

use std::sync::Arc;

use ferrocal::{Config, Mode, Node, Publisher, RecvTimeoutError, Subscriber, Subscription};

use super::{Outcome, Outlet, PATIENCE};
use crate::role::Setup;
use crate::tally::Tally;

/// The same for all that are measured: more than one burst of the longest messages.
pub(super) const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;

fn config(setup: &Setup) -> Config {
    let mut config = Config::default();
    config.udp.receive_buffer_len = RECEIVE_BUFFER;
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

/// `Node::subscribe`, for each tally.
pub(super) fn subscribe(setup: &Setup, tallies: &[Arc<Tally>]) -> Outcome<Vec<Subscription<[u8]>>> {
    let nodes = nodes(setup)?;
    let mut subscriptions = Vec::new();
    let topics = setup.topic_names();
    let each = topics.iter().zip(nodes.iter().cycle()).zip(tallies.chunks(setup.subscribers));
    for ((topic, node), tallies) in each {
        for tally in tallies {
            let (tally, len) = (tally.clone(), setup.size);
            let count = move |message: ferrocal::Message<[u8]>| tally.take(&message.payload, len);
            subscriptions.push(node.subscribe(topic, count)?);
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

    fn next(&self) -> Outcome<Option<ferrocal::Bytes>> {
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
