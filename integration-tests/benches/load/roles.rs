//! The programs.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferrocal::{Config, Message, Node, Publisher, Subscriber, SubscriberStats, Subscription};
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::ramp;
use serde_json::{Value, json};

use crate::TOPICS;

/// So that a hundred programs that get no processor for a while fit into the machine's memory.
pub(crate) const QUEUE_BYTES: usize = 8 << 20;
pub(crate) const INCOMPLETE_BYTES: usize = 32 << 20;

fn node(name: &str) -> Node {
    let mut config = Config::default();
    config.subscriber.queue_bytes = QUEUE_BYTES;
    config.limits.reassembly.max_bytes = INCOMPLETE_BYTES;
    Node::with_config(name, config).expect("a node opens")
}

/// Sends on each topic as fast as it goes, from the time that it is told how many subscribers there are.
pub(crate) fn publish() {
    let node = node("publisher");
    let table = ramp::Table::new(TOPICS.iter().map(|topic| topic.1).max().unwrap_or(0));
    let publishers: Vec<Publisher<[u8]>> =
        TOPICS.iter().map(|(topic, _)| node.publisher(topic).expect("a good topic")).collect();
    println!("{}", json!({ "event": "ready" }));
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match line.as_str() {
                "report" => {
                    let topics: BTreeMap<_, _> = publishers
                        .iter()
                        .map(|one| (one.topic(), json!({ "published": one.stats().published })))
                        .collect();
                    println!("{}", json!({ "event": "report", "topics": topics }));
                }
                "stop" => {
                    has_ended.store(true, Ordering::Relaxed);
                    println!("{}", json!({ "event": "stopped" }));
                }
                count => {
                    let count = count.parse().expect("a number of subscribers");
                    for (publisher, &(_, len)) in publishers.iter().zip(&TOPICS) {
                        assert!(publisher.wait_for_subscribers(count, HANG), "not all subscribers are there");
                        let (has_ended, table) = (&has_ended, &table);
                        scope.spawn(move || {
                            let mut number = 0;
                            while !has_ended.load(Ordering::Relaxed) {
                                publisher.send(table.message(number, len)).expect("a message is sent");
                                number += 1;
                            }
                        });
                    }
                    println!("{}", json!({ "event": "going" }));
                }
            }
        }
        has_ended.store(true, Ordering::Relaxed);
    });
}

/// What came on a topic.
#[derive(Default)]
struct Seen {
    first: Mutex<Option<i64>>,
    last: AtomicU64,
    corrupt: AtomicU64,
}

impl Seen {
    fn take(&self, message: &Message<[u8]>) {
        let clock = message.clock.cast_unsigned();
        self.first.lock().expect("no callback panics").get_or_insert(message.clock);
        self.last.store(clock, Ordering::Relaxed);
        // All of a message is looked at now and then: looking takes longer than receiving.
        let is_whole = message.payload.first().is_some_and(|first| *first == (clock - 1) as u8)
            && (!clock.is_multiple_of(64) || ramp::holds(&message.payload));
        self.corrupt.fetch_add(u64::from(!is_whole), Ordering::Relaxed);
    }

    fn report(&self, stats: &SubscriberStats) -> Value {
        let first = self.first.lock().expect("no callback panics").unwrap_or(1).cast_unsigned();
        json!({
            "known": (self.last.load(Ordering::Relaxed) + 1).saturating_sub(first),
            "received": stats.received,
            "lost": stats.lost,
            "queue_full": stats.queue_full,
            "corrupt": self.corrupt.load(Ordering::Relaxed),
        })
    }
}

/// Takes every message as soon as it comes.
pub(crate) fn subscribe_fast() {
    let node = node("fast");
    let topics: Vec<(Arc<Seen>, Subscription<[u8]>)> = TOPICS
        .iter()
        .map(|(topic, _)| {
            let seen = Arc::new(Seen::default());
            let callback = {
                let seen = seen.clone();
                move |message| seen.take(&message)
            };
            (seen, node.subscribe(topic, callback).expect("a good topic"))
        })
        .collect();
    println!("{}", json!({ "event": "ready" }));
    for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
        let topics: BTreeMap<_, _> = topics
            .iter()
            .map(|(seen, subscription)| (subscription.topic(), (seen, subscription.stats())))
            // What was seen is read after what was counted, and may be less than that, not more.
            .map(|(topic, (seen, stats))| (topic, seen.report(&stats)))
            .collect();
        println!("{}", json!({ "event": "report", "topics": topics }));
    }
}

/// Takes fifty messages a second.
pub(crate) fn subscribe_slowly() {
    let node = node("slow");
    let topics: Vec<(Seen, Subscriber<[u8]>)> = TOPICS
        .iter()
        .map(|(topic, _)| (Seen::default(), node.subscriber(topic).expect("a good topic")))
        .collect();
    println!("{}", json!({ "event": "ready" }));
    std::thread::scope(|scope| {
        for (seen, subscriber) in &topics {
            scope.spawn(move || {
                while let Ok(message) = subscriber.recv() {
                    seen.take(&message);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
        }
        for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
            let topics: BTreeMap<_, _> = topics
                .iter()
                .map(|(seen, subscriber)| (subscriber.topic(), seen.report(&subscriber.stats())))
                .collect();
            println!("{}", json!({ "event": "report", "topics": topics }));
        }
        topics.iter().for_each(|(_, subscriber)| subscriber.close());
    });
}
