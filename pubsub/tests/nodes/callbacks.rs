//! Callbacks: when subscribing returns, and what becomes of one that panics.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use ferrocal::transport::memory::Network;
use ferrocal::{Node, SubscriberConfig};

use super::node;
use super::wait::{HANG, until, within_hang};

/// Publishes on a topic each millisecond, until it is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Flood {
    /// Begins once a subscriber of the topic is there.
    fn start(node: &Node, topic: &str) -> Self {
        let publisher = node.publisher::<[u8]>(topic).unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = stop.clone();
            move || {
                while !stop.load(Ordering::SeqCst) {
                    publisher.send(&[0; 8]).unwrap();
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// The second subscriber of a topic that is flooded, so that messages come from the first moment.
fn with_flood(test: impl Fn(&Node, SubscriberConfig) + Send + Sync + 'static) {
    within_hang(move || {
        for inline in [true, false] {
            let network = Network::new(1);
            let subscribing = node(&network);
            let first = subscribing.subscriber::<[u8]>("flood").unwrap();
            let flood = Flood::start(&node(&network), "flood");
            first.recv_timeout(HANG).unwrap();
            test(&subscribing, SubscriberConfig::default().inline(inline));
            drop(flood);
        }
    });
}

#[test]
fn subscribing_returns_while_messages_come_faster_than_the_callback_takes_them() {
    with_flood(|node, config| {
        let (called, calls) = mpsc::channel();
        let callback = move |_| {
            thread::sleep(Duration::from_millis(2));
            let _ = called.send(thread::current().id());
        };
        let subscription = node.subscribe_with::<[u8]>("flood", config, callback).unwrap();
        for _ in 0..3 {
            let caller = calls.recv_timeout(HANG).unwrap();
            assert_ne!(caller, thread::current().id(), "it runs on a thread of the node");
        }
        drop(subscription);
    });
}

#[test]
fn subscribing_returns_while_the_caller_holds_what_the_callback_waits_for() {
    with_flood(|node, config| {
        let mutex = Arc::new(Mutex::new(()));
        let (called, calls) = mpsc::channel();
        let callback = {
            let mutex = mutex.clone();
            move |_| {
                drop(mutex.lock().unwrap());
                let _ = called.send(());
            }
        };
        let held = mutex.lock().unwrap();
        let subscription = node.subscribe_with::<[u8]>("flood", config, callback).unwrap();
        drop(held);
        calls.recv_timeout(HANG).unwrap();
        drop(subscription);
    });
}

#[test]
fn a_callback_that_panics_ends_its_subscription_and_no_other() {
    for inline in [true, false] {
        let network = Network::new(1);
        let (publishing, subscribing) = (node(&network), node(&network));
        let publishers = ["same", "other"].map(|topic| publishing.publisher::<str>(topic).unwrap());
        let config = SubscriberConfig::default().inline(inline);
        let (called, calls) = mpsc::channel();
        let healthy = ["same", "other"].map(|topic| {
            let called = called.clone();
            let callback = move |_| called.send(()).unwrap();
            subscribing.subscribe_with::<str>(topic, config.clone(), callback).unwrap()
        });
        let owned = Arc::new(());
        let subscription = {
            let owned = owned.clone();
            let callback = move |_| {
                let _owned = &owned;
                resume_unwind(Box::new("on purpose"));
            };
            subscribing.subscribe_with::<str>("same", config.clone(), callback).unwrap()
        };
        assert!(publishers[0].wait_for_subscribers(2, HANG) && publishers[1].wait_for_subscriber(HANG));
        assert!(!subscription.is_finished());

        publishers[0].send("panic").unwrap();
        until("publishers see that it is gone", || publishers[0].subscriber_count() == 1);
        until("it is finished", || subscription.is_finished());
        assert_eq!(Arc::strong_count(&owned), 1, "the callback is dropped");
        for publisher in &publishers {
            publisher.send("go on").unwrap();
        }
        for _ in 0..3 {
            calls.recv_timeout(HANG).unwrap();
        }
        assert_eq!(subscription.stats().received, 1, "it takes nothing any more");
        assert!(healthy.iter().all(|subscription| !subscription.is_finished()));
        assert!(!subscribing.status().has_failed);
    }
}

/// The first message can come before the subscription is returned.
#[test]
fn a_callback_that_panics_at_once_ends_its_subscription() {
    with_flood(|node, config| {
        let publisher = node.publisher::<[u8]>("flood").unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        for _ in 0..20 {
            let callback = |_| resume_unwind(Box::new("on purpose"));
            let subscription = node.subscribe_with::<[u8]>("flood", config.clone(), callback).unwrap();
            until("it is finished", || subscription.is_finished());
            until("publishers see that it is gone", || publisher.subscriber_count() == 1);
        }
    });
}

/// What is captured may panic when it is dropped, too.
#[test]
fn a_callback_whose_drop_panics_harms_nobody() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !thread::panicking() {
                resume_unwind(Box::new("on purpose"));
            }
        }
    }
    within_hang(|| {
        for inline in [true, false] {
            let network = Network::new(1);
            let (publishing, subscribing) = (node(&network), node(&network));
            let publisher = publishing.publisher::<str>("topic").unwrap();
            let config = SubscriberConfig::default().inline(inline);
            let bomb = Bomb;
            let callback = move |_| {
                let _bomb = &bomb;
                resume_unwind(Box::new("on purpose"));
            };
            let subscription = subscribing.subscribe_with::<str>("topic", config, callback).unwrap();
            assert!(publisher.wait_for_subscriber(HANG));
            publisher.send("panic").unwrap();
            until("publishers see that it is gone", || publisher.subscriber_count() == 0);
            until("it is finished", || subscription.is_finished());
            assert!(!subscribing.status().has_failed);
            let healthy = subscribing.subscriber::<str>("topic").unwrap();
            assert!(publisher.wait_for_subscriber(HANG));
            publisher.send("go on").unwrap();
            assert_eq!(healthy.recv_timeout(HANG).unwrap().payload, "go on");
        }
    });
}
