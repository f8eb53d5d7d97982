//! zenoh as peers over TCP, its default; told each other's addresses, so that it does not look for them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use ferrocal_integration_tests::netns::SECOND_ADDRESS;
use zenoh::bytes::ZBytes;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::CongestionControl;
use zenoh::{Config, Session, Wait};

use super::{Outcome, Outlet, PATIENCE};
use crate::role::{Role, Setup};
use crate::tally::Tally;

const PORT: u16 = 7447;

fn open(setup: &Setup) -> Outcome<Session> {
    let mut config = Config::default();
    let listens = matches!(setup.role, Role::Sub | Role::Pong);
    let listener = if setup.interface.is_some() { SECOND_ADDRESS } else { [127, 0, 0, 1].into() };
    let endpoint = format!(r#"["tcp/{listener}:{PORT}"]"#);
    let (listen, connect) = if listens { (endpoint.as_str(), "[]") } else { ("[]", endpoint.as_str()) };
    for (key, value) in [
        ("mode", r#""peer""#),
        ("scouting/multicast/enabled", "false"),
        ("scouting/gossip/enabled", "false"),
        ("listen/endpoints", listen),
        ("connect/endpoints", connect),
    ] {
        config.insert_json5(key, value).map_err(|error| error.to_string())?;
    }
    Ok(zenoh::open(config).wait().map_err(|error| error.to_string())?)
}

/// As zenoh's own measurements, it waits rather than drops when the other side is slow.
fn publisher(session: &Session, topic: &str) -> Outcome<Publisher<'static>> {
    let publisher =
        session.declare_publisher(topic.to_owned()).congestion_control(CongestionControl::Block).wait();
    Ok(publisher.map_err(|error| error.to_string())?)
}

pub(super) struct Sender {
    publishers: Vec<Publisher<'static>>,
    next: usize,
    _session: Session,
}

impl Sender {
    pub(super) fn new(setup: &Setup) -> Outcome<Self> {
        let session = open(setup)?;
        let publishers =
            setup.topic_names().iter().map(|topic| publisher(&session, topic)).collect::<Outcome<_>>()?;
        Ok(Self { publishers, next: 0, _session: session })
    }
}

impl Outlet for Sender {
    fn send(&mut self, messages: &[Vec<u8>]) -> usize {
        let accepted = self.publishers[self.next].put(messages[0].as_slice()).wait().is_ok();
        self.next = (self.next + 1) % self.publishers.len();
        accepted.into()
    }
}

/// A session with a callback for each tally.
pub(super) fn subscribe(setup: &Setup, tallies: &[Arc<Tally>]) -> Outcome<(Session, Vec<Subscriber<()>>)> {
    let session = open(setup)?;
    let mut subscribers = Vec::new();
    for (topic, tallies) in setup.topic_names().into_iter().zip(tallies.chunks(setup.subscribers)) {
        for tally in tallies {
            let (tally, len) = (tally.clone(), setup.size);
            let subscriber = session
                .declare_subscriber(topic.clone())
                .callback(move |sample| tally.take(&sample.payload().to_bytes(), len))
                .wait();
            subscribers.push(subscriber.map_err(|error| error.to_string())?);
        }
    }
    Ok((session, subscribers))
}

pub(super) struct Line {
    publisher: Publisher<'static>,
    messages: Receiver<ZBytes>,
    _subscriber: Subscriber<()>,
    _session: Session,
}

impl Line {
    pub(super) fn new(setup: &Setup, out: &str, into: &str) -> Outcome<Self> {
        let session = open(setup)?;
        let (sender, messages) = channel();
        let subscriber = session
            .declare_subscriber(into.to_owned())
            .callback(move |sample| {
                let _ = sender.send(sample.payload().clone());
            })
            .wait()
            .map_err(|error| error.to_string())?;
        let publisher = publisher(&session, out)?;
        Ok(Self { publisher, messages, _subscriber: subscriber, _session: session })
    }

    fn next(&self) -> Outcome<Option<ZBytes>> {
        match self.messages.recv_timeout(PATIENCE) {
            Ok(message) => Ok(Some(message)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn put(&self, message: impl Into<ZBytes>) -> Outcome<()> {
        Ok(self.publisher.put(message).wait().map_err(|error| error.to_string())?)
    }
}

impl super::Line for Line {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        self.put(message)
    }

    fn receive(&mut self, look: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        Ok(self.next()?.inspect(|message| look(&message.to_bytes())).is_some())
    }

    fn echo(&mut self) -> Outcome<()> {
        match self.next()? {
            Some(message) => self.put(message),
            None => Ok(()),
        }
    }
}
