//! Ours. A new way of sending is a new [`Outlet`] here and a new variant of [`Peer`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use ferrocal::{
    Bytes, Config, LayersConfig, Message, Mode, Node, Publisher, RecvTimeoutError, Subscriber, Subscription,
};

use super::{Outcome, Outlet, PATIENCE, Peer};
use crate::role::{Role, Setup};
use crate::sys::now_ns;
use crate::tally::{self, Tally};

/// The same for all that are measured: more than one burst of the longest messages.
pub(super) const RECEIVE_BUFFER: usize = 16 * 1024 * 1024;

fn config(setup: &Setup) -> Config {
    let mut config = Config::default();
    // What is measured is UDP, unless the name says otherwise.
    let is_in_place = setup.peer == Peer::FerrocalShmInPlace;
    let is_shm = is_in_place || matches!(setup.peer, Peer::FerrocalShm | Peer::FerrocalShmNewest);
    config.publisher.layers = LayersConfig::NONE.udp(!is_shm).shm(is_shm);
    config.subscriber.layers = config.publisher.layers;
    config.publisher.shm.zero_copy = is_in_place;
    if setup.role == Role::Pub && (is_in_place || setup.peer == Peer::FerrocalShm) {
        config.publisher.shm.acknowledge_timeout = Duration::from_secs(1);
    }
    config.udp.receive_buffer_len = RECEIVE_BUFFER;
    if setup.peer == Peer::FerrocalSpin {
        config.receive_thread.busy_poll = Duration::from_millis(10);
    }
    if let Some(address) = setup.interface {
        config.mode = Mode::Network;
        config.udp.interfaces = vec![address.into()];
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

/// `Node::subscribe`, inline or not, for each tally.
pub(super) fn subscribe(setup: &Setup, tallies: &[Arc<Tally>]) -> Outcome<Vec<Subscription<[u8]>>> {
    let nodes = nodes(setup)?;
    let mut subscriptions = Vec::new();
    let topics = setup.topic_names();
    let each = topics.iter().zip(nodes.iter().cycle()).zip(tallies.chunks(setup.subscribers));
    for ((topic, node), tallies) in each {
        for tally in tallies {
            let (tally, len) = (tally.clone(), setup.size);
            if setup.peer == Peer::FerrocalShmInPlace {
                subscriptions.push(node.subscribe_borrowed(topic, move |message| {
                    let payload = message.payload;
                    let last = payload.len().checked_sub(8).and_then(|at| payload.array(at).ok());
                    tally.take_ends(
                        payload.len() == len && payload.is_in_place(),
                        payload.array(0).ok(),
                        last,
                    );
                })?);
                continue;
            }
            let count = move |message: Message<[u8]>| tally.take(&message.payload, len);
            subscriptions.push(match setup.peer {
                Peer::Ferrocal | Peer::FerrocalCallback => node.subscribe(topic, count)?,
                _ => node.subscribe_with(topic, config(setup).subscriber.inline(true), count)?,
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

/// A subscription with a callback: who answers does so within it, and who pings sends the next message there.
pub(super) struct InlineLine {
    publisher: Arc<Publisher<[u8]>>,
    pings: Arc<Mutex<Pings>>,
    _subscription: Subscription<[u8]>,
}

#[derive(Default)]
struct Pings {
    message: Vec<u8>,
    number: u64,
    sent_ns: u64,
    end_ns: u64,
    times_ns: Vec<u64>,
}

impl Pings {
    fn send(&mut self, publisher: &Publisher<[u8]>) {
        self.number += 1;
        tally::stamp(&mut self.message, self.number);
        self.sent_ns = now_ns();
        let _ = publisher.send(&self.message);
    }

    fn answered(&mut self, publisher: &Publisher<[u8]>, answer: &[u8]) {
        let now_ns = now_ns();
        if tally::number(answer, self.message.len()) == Some(self.number) {
            self.times_ns.push(now_ns - self.sent_ns);
            if now_ns < self.end_ns {
                self.send(publisher);
            }
        }
    }
}

fn lock(pings: &Mutex<Pings>) -> MutexGuard<'_, Pings> {
    pings.lock().unwrap_or_else(PoisonError::into_inner)
}

impl InlineLine {
    pub(super) fn new(setup: &Setup, out: &str, into: &str) -> Outcome<Self> {
        let config = config(setup);
        let node = Node::with_config("bench", config.clone())?;
        let publisher = Arc::new(node.publisher::<[u8]>(out)?);
        let pings = Arc::new(Mutex::new(Pings::default()));
        let is_pong = setup.role == Role::Pong;
        let take = {
            let (publisher, pings) = (publisher.clone(), pings.clone());
            move |message: Message<[u8]>| {
                if is_pong {
                    let _ = publisher.send(&message.payload);
                } else {
                    lock(&pings).answered(&publisher, &message.payload);
                }
            }
        };
        let inline = setup.peer != Peer::FerrocalCallback;
        let subscription = node.subscribe_with(into, config.subscriber.inline(inline), take)?;
        Ok(Self { publisher, pings, _subscription: subscription })
    }
}

impl super::Line for InlineLine {
    fn ping_inline(&mut self, len: usize, end_ns: u64) -> Outcome<Option<(Vec<u64>, u64)>> {
        {
            let mut pings = lock(&self.pings);
            pings.message = vec![b'.'; len];
            pings.end_ns = end_ns;
            pings.times_ns.clear();
        }
        let mut lost = 0;
        while now_ns() < end_ns {
            let before = {
                let mut pings = lock(&self.pings);
                pings.send(&self.publisher);
                pings.number
            };
            let mut latest = 0;
            while now_ns() < end_ns && latest != lock(&self.pings).number {
                latest = lock(&self.pings).number;
                thread::sleep(PATIENCE.min(Duration::from_nanos(end_ns.saturating_sub(now_ns()))));
            }
            lost += u64::from(now_ns() < end_ns && latest >= before);
        }
        Ok(Some((std::mem::take(&mut lock(&self.pings).times_ns), lost)))
    }

    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        Ok(self.publisher.send(message)?)
    }

    fn receive(&mut self, _: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Err("messages are taken inline".into())
    }

    fn echo(&mut self) -> Outcome<()> {
        thread::sleep(PATIENCE);
        Ok(())
    }
}
