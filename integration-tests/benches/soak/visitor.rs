//! Publishes for some seconds, and notes in a file how much, so that it is known after a kill.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ferrocal::Publisher;
use ferrocal_integration_tests::ramp::Table;
use serde_json::json;

use crate::{VISITED, node};

/// What the file has of each topic: the publisher's id, and how many messages it has published.
pub(crate) const ROW: usize = 16;
const EVERY: Duration = Duration::from_millis(200);

pub(crate) fn run(address: Ipv4Addr, file: &Path) {
    let file = File::create(file).expect("a file for the counts");
    let node = node("visitor", address);
    let ramp = Table::new(VISITED.iter().map(|topic| topic.1).max().unwrap_or(0));
    let publishers: Vec<Publisher<[u8]>> =
        VISITED.iter().map(|(topic, _)| node.publisher(topic).expect("a good topic")).collect();
    let _subscribers =
        ["steady_1k", "steady_100k"].map(|topic| node.subscribe::<[u8]>(topic, drop).expect("a good topic"));
    let has_ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !has_ended.load(Ordering::Relaxed) {
                for (index, (publisher, &(_, len))) in publishers.iter().zip(&VISITED).enumerate() {
                    if publisher.subscriber_count() == 0 {
                        continue;
                    }
                    let number = publisher.stats().published;
                    let mut row = [0; ROW];
                    row[..8].copy_from_slice(&publisher.id().get().to_le_bytes());
                    row[8..].copy_from_slice(&(number + 1).to_le_bytes());
                    file.write_all_at(&row, (index * ROW) as u64).expect("the count is written");
                    publisher.send(ramp.message(number, len)).expect("a message is sent");
                }
                std::thread::sleep(EVERY);
            }
        });
        let _ = std::io::stdin().read_line(&mut String::new());
        has_ended.store(true, Ordering::Relaxed);
    });
    println!("{}", json!({ "event": "done" }));
}
