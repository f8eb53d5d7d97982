//! Many callbacks of random behaviour at the same time.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ferrocal::transport::memory::Network;
use ferrocal::{Message, Node, SubscriberConfig, Subscription};

use super::node;
use super::wait::{HANG, until, within_hang};

const TOPICS: usize = 4;
const SUBSCRIPTIONS: usize = 24;
const MESSAGES: u64 = 60;

/// What a callback does beside taking its time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Behaviour {
    /// Takes everything.
    Steady,
    /// Has a short queue.
    Short,
    /// Panics at a message.
    Panics(u64),
    /// Drops its own subscription at a message.
    DropsItself(u64),
    /// Is dropped by another thread after so many messages were sent.
    IsDropped(u64),
}

/// A subscription and what its callback saw.
struct Subject {
    topic: usize,
    behaviour: Behaviour,
    subscription: Mutex<Option<Subscription<[u8]>>>,
    calls: AtomicU64,
    newest: AtomicU64,
    is_running: AtomicBool,
    is_dropped: AtomicBool,
    /// The first rule that was broken.
    broken: Mutex<Option<&'static str>>,
}

impl Subject {
    fn check(&self, holds: bool, rule: &'static str) {
        if !holds {
            self.broken.lock().unwrap().get_or_insert(rule);
        }
    }

    fn call(&self, message: &Message<[u8]>, random: &mut fastrand::Rng) {
        self.check(!self.is_running.swap(true, Ordering::SeqCst), "never two at once");
        self.check(!self.is_dropped.load(Ordering::SeqCst), "none after the drop returned");
        let number = u64::from_le_bytes(message.payload.as_ref().try_into().unwrap());
        let before = self.newest.swap(number, Ordering::SeqCst);
        self.check(before < number, "in order");
        let has_gaps = self.behaviour == Behaviour::Short;
        self.check(has_gaps || before + 1 == number, "nothing is left out");
        self.calls.fetch_add(1, Ordering::SeqCst);
        match random.u64(0..4) {
            0 => thread::sleep(Duration::from_micros(random.u64(0..3000))),
            1 => thread::yield_now(),
            _ => {}
        }
        let end = match self.behaviour {
            Behaviour::Panics(at) if at == number => true,
            Behaviour::DropsItself(at) if at == number => {
                let own = self.subscription.lock().unwrap().take();
                drop(own);
                self.is_dropped.store(true, Ordering::SeqCst);
                false
            }
            _ => false,
        };
        self.is_running.store(false, Ordering::SeqCst);
        if end {
            resume_unwind(Box::new("on purpose"));
        }
    }

    fn drop_subscription(&self) {
        let own = self.subscription.lock().unwrap().take();
        if own.is_some() {
            drop(own);
            self.is_dropped.store(true, Ordering::SeqCst);
        }
    }
}

fn subscribe(node: &Node, random: &mut fastrand::Rng) -> Arc<Subject> {
    let at = random.u64(1..=MESSAGES);
    let behaviour = match random.u64(0..8) {
        0 => Behaviour::Panics(at),
        1 => Behaviour::DropsItself(at),
        2 => Behaviour::IsDropped(at),
        3 => Behaviour::Short,
        _ => Behaviour::Steady,
    };
    let is_short = behaviour == Behaviour::Short;
    let config = SubscriberConfig::default()
        .inline(!is_short && random.u64(0..6) == 0)
        .queue_len(if is_short { 2 } else { 16_384 });
    let subject = Arc::new(Subject {
        topic: random.usize(0..TOPICS),
        behaviour,
        subscription: Mutex::new(None),
        calls: AtomicU64::new(0),
        newest: AtomicU64::new(0),
        is_running: AtomicBool::new(false),
        is_dropped: AtomicBool::new(false),
        broken: Mutex::new(None),
    });
    let callback = {
        let (subject, mut random) = (subject.clone(), random.fork());
        move |message| subject.call(&message, &mut random)
    };
    let subscription = node.subscribe_with(&format!("topic {}", subject.topic), config, callback).unwrap();
    *subject.subscription.lock().unwrap() = Some(subscription);
    subject
}

fn run(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let network = Network::new(seed);
    let (publishing, subscribing) = (node(&network), node(&network));
    let subjects: Vec<_> = (0..SUBSCRIPTIONS).map(|_| subscribe(&subscribing, &mut random)).collect();
    let publishers: Vec<_> = (0..TOPICS)
        .map(|topic| {
            let publisher = publishing.publisher::<[u8]>(&format!("topic {topic}")).unwrap();
            let count = subjects.iter().filter(|subject| subject.topic == topic).count();
            assert!(publisher.wait_for_subscribers(count, HANG));
            publisher
        })
        .collect();
    // Keeps the topics busy to the end, whoever leaves.
    let _listeners: Vec<_> =
        (0..TOPICS).map(|topic| subscribing.subscriber::<[u8]>(&format!("topic {topic}")).unwrap()).collect();
    for number in 1..=MESSAGES {
        for publisher in &publishers {
            if publisher.subscriber_count() == 0 {
                assert!(publisher.wait_for_subscriber(HANG));
            }
            publisher.send(&number.to_le_bytes()).unwrap();
        }
        if random.u64(0..4) == 0 {
            thread::sleep(Duration::from_micros(random.u64(0..2000)));
        }
        for subject in subjects.iter().filter(|subject| subject.behaviour == Behaviour::IsDropped(number)) {
            subject.drop_subscription();
        }
    }
    for subject in &subjects {
        let calls = || subject.calls.load(Ordering::SeqCst);
        let what = format!("seed {seed}, {:?} on topic {}", subject.behaviour, subject.topic);
        let stats = || subject.subscription.lock().unwrap().as_ref().map(Subscription::stats);
        match subject.behaviour {
            Behaviour::Steady => until(&what, || calls() == MESSAGES),
            Behaviour::Short => until(&what, || {
                stats()
                    .is_some_and(|stats| stats.received == MESSAGES && calls() + stats.queue_full == MESSAGES)
            }),
            Behaviour::Panics(at) => {
                let is_finished =
                    || subject.subscription.lock().unwrap().as_ref().is_some_and(Subscription::is_finished);
                until(&what, is_finished);
                assert_eq!(calls(), at, "{what}");
            }
            Behaviour::DropsItself(at) => {
                until(&what, || subject.is_dropped.load(Ordering::SeqCst));
                assert_eq!(calls(), at, "{what}");
            }
            Behaviour::IsDropped(at) => assert!(calls() <= at, "{what}"),
        }
        assert_eq!(*subject.broken.lock().unwrap(), None, "{what}");
    }
    // Whatever still comes, no rule is broken while all end.
    for publisher in &publishers {
        publisher.send(&(MESSAGES + 1).to_le_bytes()).unwrap();
    }
    subjects.iter().for_each(|subject| subject.drop_subscription());
    drop((subscribing, publishing));
    for subject in &subjects {
        assert_eq!(*subject.broken.lock().unwrap(), None, "seed {seed}");
    }
    until("all callbacks are dropped", || subjects.iter().all(|subject| Arc::strong_count(subject) == 1));
}

#[test]
fn callbacks_of_all_kinds_keep_the_rules() {
    within_hang(|| (0..10).for_each(run));
}
