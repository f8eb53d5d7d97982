//! Receives everything, all the time.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ferrocal::{Message, SubscriberConfig, SubscriberStats, Subscription};
use ferrocal_integration_tests::ramp;
use serde_json::{Value, json};

use crate::{SHORT, STEADY, VISITED, node, sample};

/// Publishers there is room for from the start, so that the account of them does not look like a leak.
const PUBLISHERS: usize = 1 << 17;

/// What came of one publisher.
struct Row {
    topic: u8,
    first: i64,
    last: i64,
    received: u64,
}

struct Received {
    /// By the publisher's id.
    rows: Mutex<HashMap<u64, Row>>,
    corrupt: AtomicU64,
}

impl Received {
    fn take(&self, topic: u8, message: &Message<[u8]>) {
        let clock = message.clock;
        // A publisher's clock starts at 1, its ramp at message 0.
        if !ramp::is(&message.payload, clock.wrapping_sub(1).cast_unsigned(), message.payload.len()) {
            self.corrupt.fetch_add(1, Ordering::Relaxed);
        }
        let mut rows = self.rows.lock().expect("no callback panics");
        let row = rows.entry(message.publisher.id.get()).or_insert(Row {
            topic,
            first: clock,
            last: clock,
            received: 0,
        });
        row.last = clock;
        row.received += 1;
    }
}

pub(crate) fn run(address: Ipv4Addr) {
    let node = node("listener", address);
    let received = Arc::new(Received {
        rows: Mutex::new(HashMap::with_capacity(PUBLISHERS)),
        corrupt: AtomicU64::new(0),
    });
    let topics: Vec<_> = STEADY
        .iter()
        .map(|topic| topic.0)
        .chain(VISITED.iter().map(|topic| topic.0))
        .chain([SHORT])
        .collect();
    let subscriptions: Vec<Subscription<[u8]>> = (0..)
        .zip(&topics)
        .map(|(index, topic)| {
            let received = received.clone();
            node.subscribe(topic, move |message| received.take(index, &message)).expect("a good topic")
        })
        .collect();
    // Too slow for its topic, so that its queue is always full.
    let slow = node
        .subscriber_with::<[u8]>("steady_100", SubscriberConfig::default().queue_len(16))
        .expect("a good topic");
    let (taken, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while slow.recv().is_ok() {
                taken.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let node = super::node("short", address);
                let subscriber = node.subscriber::<[u8]>("steady_1k").expect("a good topic");
                let _ = subscriber.recv_timeout(Duration::from_secs(2));
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        println!("{}", json!({ "event": "ready" }));
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let answer = match line.as_str() {
                "sample" => sample(),
                "newest" => newest(&received, &topics),
                _ => report(
                    &received,
                    &topics,
                    &subscriptions,
                    [taken.load(Ordering::Relaxed), slow.stats().queue_full],
                ),
            };
            println!("{answer}");
        }
        ended.store(true, Ordering::Relaxed);
        slow.close();
    });
}

/// The newest clock on each steady topic.
fn newest(received: &Received, topics: &[&str]) -> Value {
    let rows = received.rows.lock().expect("no callback panics");
    let clocks: BTreeMap<_, _> =
        rows.values().map(|row| (topics[usize::from(row.topic)], row.last)).collect();
    json!({ "event": "newest", "clocks": clocks })
}

fn report(
    received: &Received,
    topics: &[&str],
    subscriptions: &[Subscription<[u8]>],
    slow: [u64; 2],
) -> Value {
    let rows = received.rows.lock().expect("no callback panics");
    let publishers: Vec<_> = rows
        .iter()
        .map(|(id, row)| (topics[usize::from(row.topic)], id.to_string(), row.first, row.last, row.received))
        .collect();
    let stats: BTreeMap<_, _> = subscriptions
        .iter()
        .map(|subscription| {
            let SubscriberStats { received, lost, queue_full, duplicate, out_of_order, undecodable, .. } =
                subscription.stats();
            let stats = json!({
                "received": received, "lost": lost, "queue_full": queue_full, "duplicate": duplicate,
                "out_of_order": out_of_order, "undecodable": undecodable,
            });
            (subscription.topic(), stats)
        })
        .collect();
    json!({
        "event": "report",
        "publishers": publishers,
        "topics": stats,
        "corrupt": received.corrupt.load(Ordering::Relaxed),
        "slow": { "taken": slow[0], "queue_full": slow[1] },
    })
}
