//! Publishes on the steady topics, all the time.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ferrocal::{Fragmentation, Publisher, PublisherConfig};
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::ramp::Table;
use serde_json::json;

use crate::{SHORT, STEADY, node, sample};

pub(crate) fn run(address: Ipv4Addr) {
    let node = node("talker", address);
    let ramp = Table::new(STEADY.iter().map(|topic| topic.1).max().unwrap_or(0));
    let publishers: Vec<Publisher<[u8]>> = (0..)
        .zip(&STEADY)
        .map(|(index, (topic, ..))| {
            // Every second one is cut by the system, into IP fragments.
            let fragmentation = if index % 2 == 0 { Fragmentation::Mtu } else { Fragmentation::Large };
            let config = PublisherConfig::default().fragmentation(fragmentation);
            node.publisher_with(topic, config).expect("a good topic")
        })
        .collect();
    for publisher in &publishers {
        assert!(publisher.wait_for_subscriber(HANG), "nobody listens to {}", publisher.topic());
    }
    let (is_going, has_ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let short = AtomicU64::new(0);
    let short_failed = AtomicU64::new(0);
    let send = |publisher: &Publisher<[u8]>, len: usize| {
        let number = publisher.stats().published;
        publisher.send(ramp.message(number, len)).expect("a message is sent");
    };
    std::thread::scope(|scope| {
        let start = || {
            let mut threads = Vec::new();
            for (publisher, &(_, len, rate)) in publishers.iter().zip(&STEADY) {
                let (is_going, send) = (&is_going, &send);
                threads.push(scope.spawn(move || {
                    let period = Duration::from_secs_f64(1.0 / rate);
                    let mut due = Instant::now();
                    while is_going.load(Ordering::Relaxed) {
                        send(publisher, len);
                        // What was missed is not made up for.
                        due = (due + period).max(Instant::now());
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    }
                }));
            }
            threads
        };
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                let node = super::node("short", address);
                let publisher = node.publisher::<[u8]>(SHORT).expect("a good topic");
                if publisher.wait_for_subscriber(Duration::from_secs(5)) {
                    (0..5).for_each(|_| send(&publisher, 1000));
                    short.fetch_add(publisher.stats().published, Ordering::Relaxed);
                } else {
                    short_failed.fetch_add(1, Ordering::Relaxed);
                }
                drop(publisher);
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        println!("{}", json!({ "event": "ready" }));
        let mut threads = Vec::new();
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let answer = match line.as_str() {
                "sample" => sample(),
                "go" => {
                    is_going.store(true, Ordering::Relaxed);
                    threads = start();
                    json!({ "event": "going" })
                }
                "stop" => {
                    is_going.store(false, Ordering::Relaxed);
                    has_ended.store(true, Ordering::Relaxed);
                    threads.drain(..).for_each(|thread| thread.join().expect("it does not panic"));
                    json!({ "event": "stopped" })
                }
                "one" => {
                    publishers.iter().for_each(|publisher| send(publisher, 20));
                    let clocks: BTreeMap<_, _> = publishers
                        .iter()
                        .map(|publisher| (publisher.topic(), publisher.stats().published))
                        .collect();
                    json!({ "event": "sent", "clocks": clocks })
                }
                _ => {
                    let published: BTreeMap<_, _> = publishers
                        .iter()
                        .map(|publisher| (publisher.topic(), publisher.stats()))
                        .map(|(topic, stats)| (topic, json!([stats.published, stats.sent, stats.not_sent])))
                        .collect();
                    json!({
                        "event": "report",
                        "published": published,
                        "short": short.load(Ordering::Relaxed),
                        "short_failed": short_failed.load(Ordering::Relaxed),
                    })
                }
            };
            println!("{answer}");
        }
        is_going.store(false, Ordering::Relaxed);
        has_ended.store(true, Ordering::Relaxed);
    });
}
