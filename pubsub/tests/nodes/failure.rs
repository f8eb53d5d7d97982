//! What everybody gets who waits when a thread of the node fails, or when a subscriber is closed.

use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::thread;

use ferrocal::transport::memory::Network;
use ferrocal::{Change, Event, Feed, Node, RecvError, RecvTimeoutError, Subscriber, SubscriberConfig};
use futures_core::Stream;

use super::faulty::Faulty;
use super::wait::{HANG, block_on, until, within_hang};
use super::{config, node};

/// The next item of a stream.
fn next<S: Stream + Unpin>(mut stream: S) -> Option<S::Item> {
    block_on(std::future::poll_fn(move |cx: &mut Context<'_>| Pin::new(&mut stream).poll_next(cx)))
}

/// Waits in every way there is, on threads of their own.
fn wait_in_all_ways(node: &Node) -> Vec<(&'static str, thread::JoinHandle<RecvError>)> {
    let subscriber = || node.subscriber::<str>("nobody publishes it").unwrap();
    let [a, b, c, d] = [(); 4].map(|()| subscriber());
    let timed = |subscriber: Subscriber<str>| match subscriber.recv_timeout(HANG) {
        Err(RecvTimeoutError::Ended(why)) => why,
        other => panic!("{other:?}"),
    };
    vec![
        ("recv", thread::spawn(move || a.recv().unwrap_err())),
        ("recv_timeout", thread::spawn(move || timed(b))),
        ("recv_async", thread::spawn(move || block_on(c.recv_async()).unwrap_err())),
        (
            "stream",
            thread::spawn(move || {
                assert!(next(d).is_none());
                RecvError::NodeFailed
            }),
        ),
    ]
}

/// The default ports of registrations and payload.
const PORTS: [u16; 2] = [14_000, 14_002];

#[test]
fn everybody_who_waits_is_notified_of_a_thread_that_failed() {
    for failing in PORTS {
        within_hang(move || {
            let network = Network::new(1);
            let fails = Arc::new(AtomicBool::new(false));
            let transport = Faulty::new(&network).on_receive({
                let fails = fails.clone();
                move |port| {
                    if port == failing && fails.load(Ordering::SeqCst) {
                        resume_unwind(Box::new("on purpose"));
                    }
                }
            });
            let node = Node::with_transport("failing", config(), Arc::new(transport)).unwrap();
            let subscriptions = [true, false].map(|inline| {
                let config = SubscriberConfig::default().inline(inline);
                node.subscribe_with::<str>("nobody publishes it", config, |_| ()).unwrap()
            });
            let waiting = wait_in_all_ways(&node);
            let publisher = node.publisher::<str>("nobody subscribes").unwrap();
            let subscriber = node.subscriber::<str>("nobody publishes it either").unwrap();
            assert!(!node.status().has_failed);

            let for_peers = [
                thread::spawn(move || publisher.wait_for_subscriber(HANG * 2)),
                thread::spawn(move || subscriber.wait_for_publisher(HANG * 2)),
            ];
            fails.store(true, Ordering::SeqCst);
            for thread in for_peers {
                assert!(!thread.join().unwrap());
            }
            for (name, thread) in waiting {
                assert_eq!(thread.join().unwrap(), RecvError::NodeFailed, "{name}, port {failing}");
            }
            assert!(node.status().has_failed);
            for subscription in subscriptions {
                until("the subscription is finished", || subscription.is_finished());
            }

            // Who comes later does not wait either.
            let subscriber = node.subscriber::<str>("later").unwrap();
            assert_eq!(subscriber.recv().unwrap_err(), RecvError::NodeFailed);
            assert!(!subscriber.wait_for_publisher(HANG * 2));
            assert!(!node.publisher::<str>("nobody subscribes").unwrap().wait_for_subscriber(HANG * 2));
        });
    }
}

#[test]
fn feeds_end_when_a_thread_has_failed() {
    for failing in PORTS {
        within_hang(move || {
            let network = Network::new(1);
            let fails = Arc::new(AtomicBool::new(false));
            let transport = Faulty::new(&network).on_receive({
                let fails = fails.clone();
                move |port| {
                    if port == failing && fails.load(Ordering::SeqCst) {
                        resume_unwind(Box::new("on purpose"));
                    }
                }
            });
            let node = Node::with_transport("failing", config(), Arc::new(transport)).unwrap();
            let publisher = node.publisher::<str>("nobody subscribes").unwrap();
            let subscriber = node.subscriber::<str>("nobody publishes it").unwrap();
            let monitor = node.monitor();
            let (events, changes) = ([publisher.events(), subscriber.events()], monitor.changes());
            fails.store(true, Ordering::SeqCst);
            let end = |events: &Feed<Event>| events.recv().unwrap_err();
            assert_eq!(events.each_ref().map(end), [RecvError::NodeFailed; 2], "port {failing}");
            let end = |changes: &Feed<Change>| loop {
                if let Err(why) = changes.recv() {
                    break why;
                }
            };
            assert_eq!(end(&changes), RecvError::NodeFailed, "port {failing}");

            // Nor do those that come later.
            assert_eq!(publisher.events().recv().unwrap_err(), RecvError::NodeFailed);
            assert_eq!(end(&monitor.changes()), RecvError::NodeFailed);
        });
    }
}

#[cfg(feature = "tokio")]
#[test]
fn tasks_that_wait_for_peers_are_notified_of_a_thread_that_failed() {
    let network = Network::new(1);
    let fails = Arc::new(AtomicBool::new(false));
    let transport = Faulty::new(&network).on_receive({
        let fails = fails.clone();
        move |_| {
            if fails.load(Ordering::SeqCst) {
                resume_unwind(Box::new("on purpose"));
            }
        }
    });
    let node = Node::with_transport("failing", config(), Arc::new(transport)).unwrap();
    let publisher = Arc::new(node.publisher::<str>("nobody subscribes").unwrap());
    let subscriber = Arc::new(node.subscriber::<str>("nobody publishes it").unwrap());
    let waiting = [
        thread::spawn({
            let publisher = publisher.clone();
            move || block_on(publisher.wait_for_subscribers_async(1))
        }),
        thread::spawn({
            let subscriber = subscriber.clone();
            move || block_on(subscriber.wait_for_publishers_async(1))
        }),
    ];
    fails.store(true, Ordering::SeqCst);
    for thread in waiting {
        assert!(!thread.join().unwrap());
    }
    assert!(!block_on(publisher.wait_for_subscribers_async(1)));
    assert!(!block_on(node.publisher::<str>("later").unwrap().wait_for_subscribers_async(1)));
}

/// A message that was received, but not passed on when the thread fails.
#[test]
fn what_came_before_a_failure_is_passed_on() {
    for inline in [true, false] {
        within_hang(move || {
            let network = Network::new(1);
            let fails = Arc::new(AtomicBool::new(false));
            let called = Arc::new(AtomicBool::new(false));
            let transport = Faulty::new(&network).on_received({
                let fails = fails.clone();
                move |port| {
                    if port == PORTS[1] && fails.load(Ordering::SeqCst) {
                        resume_unwind(Box::new("on purpose"));
                    }
                }
            });
            let subscribing = Node::with_transport("failing", config(), Arc::new(transport)).unwrap();
            let config = SubscriberConfig::default().inline(inline);
            let callback = {
                let (fails, called) = (fails.clone(), called.clone());
                move |_| {
                    if fails.load(Ordering::SeqCst) {
                        called.store(true, Ordering::SeqCst);
                    }
                }
            };
            let subscription = subscribing.subscribe_with::<str>("topic", config, callback).unwrap();
            let publisher = node(&network).publisher::<str>("topic").unwrap();
            assert!(publisher.wait_for_subscriber(HANG));
            fails.store(true, Ordering::SeqCst);
            publisher.send("the last one").unwrap();
            until("the subscription is finished", || subscription.is_finished());
            assert!(subscribing.status().has_failed);
            assert_eq!(called.load(Ordering::SeqCst), subscription.stats().received > 0);
        });
    }
}

#[test]
fn closing_a_subscriber_ends_all_waiting() {
    within_hang(|| {
        let network = Network::new(1);
        let node = node(&network);
        let subscriber = Arc::new(node.subscriber::<str>("nobody publishes it").unwrap());
        let publisher = node.publisher::<str>("nobody publishes it").unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        let spawn = |wait: fn(&Subscriber<str>) -> RecvError| {
            let subscriber = subscriber.clone();
            thread::spawn(move || wait(&subscriber))
        };
        let waiting = [
            spawn(|subscriber| subscriber.recv().unwrap_err()),
            spawn(|subscriber| subscriber.recv().unwrap_err()),
            spawn(|subscriber| match subscriber.recv_timeout(HANG * 2) {
                Err(RecvTimeoutError::Ended(why)) => why,
                other => panic!("{other:?}"),
            }),
            spawn(|subscriber| block_on(subscriber.recv_async()).unwrap_err()),
            spawn(|subscriber| block_on(subscriber.recv_async()).unwrap_err()),
        ];
        subscriber.close();
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), RecvError::Closed);
        }
        until("publishers see that it is gone", || publisher.subscriber_count() == 0);
        assert!(subscriber.try_recv().is_none());
        subscriber.close();
        let subscriber = Arc::into_inner(subscriber).expect("all have ended");
        assert!(next(subscriber).is_none(), "a stream ends, too");
    });
}
