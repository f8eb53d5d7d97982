//! What publishers and subscribers report of their peers.

use std::sync::Arc;

use ferrocal::transport::memory::Network;
use ferrocal::{Event, EventKind, Feed, LimitsConfig, Node, PublisherConfig};
use ferrocal_proto::{Announcement, EntityId, TopicInfo};

use super::forge::{Forger, topic};
use super::wait::{HANG, until};
use super::{config, node};

fn next(events: &Feed<Event>) -> Event {
    events.recv_timeout(HANG).unwrap()
}

fn kinds(events: &Feed<Event>, count: usize) -> Vec<EventKind> {
    (0..count).map(|_| next(events).kind).collect()
}

#[test]
fn both_sides_hear_of_matches_and_ends_with_the_peers_identity() {
    let network = Network::new(1);
    let (publishing, subscribing) = (node(&network), node(&network));
    let publisher = publishing.publisher::<str>("topic").unwrap();
    let events = publisher.events();
    let subscriber = subscribing.subscriber::<str>("topic").unwrap();

    let connected = next(&events);
    assert_eq!(connected.kind, EventKind::Connected);
    let peer = connected.peer.unwrap();
    assert_eq!((peer.id, &peer.unit_name), (subscriber.id(), &"node".into()));
    assert_eq!(peer.process_id, std::process::id() as i32);
    assert_eq!((&*peer.data_type.name, &*peer.data_type.encoding), ("string", "utf-8"));
    assert_eq!(publisher.subscribers(), [(*peer).clone()]);

    let late = subscriber.events();
    let there = next(&late);
    assert_eq!(there.kind, EventKind::Connected, "who listens later hears of those who are there");
    assert_eq!(there.peer.unwrap().id, publisher.id());

    drop(subscriber);
    let gone = next(&events);
    assert_eq!((gone.kind, gone.peer.unwrap().id), (EventKind::Disconnected, peer.id));
    assert_eq!(publisher.subscribers(), []);
    drop(publisher);
    assert!(events.recv().is_err(), "the feed ends with the publisher");
}

#[test]
fn another_data_type_is_reported() {
    let network = Network::new(1);
    let (publishing, subscribing) = (node(&network), node(&network));
    let subscriber = subscribing.subscriber::<str>("topic").unwrap();
    let events = subscriber.events();
    let other = ferrocal::DataType { name: "Other".into(), ..ferrocal::DataType::default() };
    let _publisher =
        publishing.publisher_with::<[u8]>("topic", PublisherConfig::default().data_type(other)).unwrap();
    assert_eq!(kinds(&events, 2), [EventKind::Connected, EventKind::TypeDiffers]);
}

#[test]
fn a_data_type_that_changes_is_reported() {
    let network = Network::new(1);
    let subscriber_node = node(&network);
    let subscriber = subscriber_node.subscriber::<[u8]>("topic").unwrap();
    let events = subscriber.events();
    let forger = Forger::new(&network);
    let mut info = topic("topic", 7);
    for name in ["First", "First", "Second"] {
        info.data_type.name = name.into();
        forger.register(Announcement::Publisher(info.clone()));
    }
    assert_eq!(next(&events).kind, EventKind::Connected);
    let changed = next(&events);
    assert_eq!((changed.kind, &*changed.peer.unwrap().data_type.name), (EventKind::TypeChanged, "Second"));
}

#[test]
fn events_that_wait_are_bounded_in_bytes() {
    const MAX: usize = 100_000;
    let network = Network::new(1);
    let limits = LimitsConfig::default().max_registry_bytes(MAX);
    let subscribing =
        Node::with_transport("node", config().limits(limits), Arc::new(network.host())).unwrap();
    let subscriber = subscribing.subscriber::<[u8]>("topic").unwrap();
    let last = subscribing.subscriber::<[u8]>("last").unwrap();
    let events = subscriber.events();
    let forger = Forger::new(&network);
    let mut info = topic("topic", 7);
    for number in 0..20_u8 {
        info.data_type.descriptor = vec![number; 30_000].into();
        forger.register(Announcement::Publisher(info.clone()));
    }
    // What is taken makes room for what comes later.
    for _ in 0..2 {
        forger.register(Announcement::Publisher(topic("last", 8)));
    }
    until("all of them were read", || last.publisher_count() == 1);
    assert!(events.dropped() >= 15, "{}", events.dropped());
    let waiting: Vec<_> = std::iter::from_fn(|| events.try_recv()).collect();
    let bytes: usize =
        waiting.iter().map(|event| event.peer.as_ref().unwrap().data_type.descriptor.len()).sum();
    assert!((1..=MAX).contains(&bytes), "{bytes}");
}

#[test]
fn lost_messages_are_reported_with_their_publisher() {
    let network = Network::new(1);
    let subscribing = node(&network);
    let subscriber = subscribing.subscriber::<[u8]>("topic").unwrap();
    let events = subscriber.events();
    let forger = Forger::new(&network);
    let id = EntityId::new(7, 1, 2);
    let info = TopicInfo { topic_id: id, ..topic("topic", 7) };
    for _ in 0..2 {
        forger.register(Announcement::Publisher(info.clone()));
    }
    assert_eq!(next(&events).kind, EventKind::Connected);
    for clock in [1, 5] {
        forger.payload("topic", "forged", id.get(), clock, b"message");
    }
    let lost = next(&events);
    assert_eq!((lost.kind, lost.peer.unwrap().id), (EventKind::Lost { messages: 3 }, id));
}

#[test]
fn the_end_of_a_callback_is_reported() {
    let network = Network::new(1);
    let (publishing, subscribing) = (node(&network), node(&network));
    let publisher = publishing.publisher::<str>("topic").unwrap();
    let subscription =
        subscribing.subscribe::<str>("topic", |_| std::panic::resume_unwind(Box::new("on purpose"))).unwrap();
    let events = subscription.events();
    assert!(publisher.wait_for_subscriber(HANG));
    publisher.send("now").unwrap();
    loop {
        let event = next(&events);
        if event.kind == EventKind::CallbackEnded {
            assert_eq!(event.peer, None);
            break;
        }
    }
}

#[test]
fn a_slow_listener_delays_nobody() {
    let network = Network::new(1);
    let publishing: Node = node(&network);
    let publisher = publishing.publisher::<str>("topic").unwrap();
    let events = publisher.events();
    let subscribing = node(&network);
    for _ in 0..3 {
        drop(subscribing.subscriber::<str>("topic").unwrap());
    }
    assert!(kinds(&events, 2) == [EventKind::Connected, EventKind::Disconnected]);
    assert_eq!(events.dropped(), 0);
}
