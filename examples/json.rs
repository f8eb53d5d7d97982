//! A struct of serde, and a subscriber that keeps only the newest message.

#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use ferrocal::{Json, Node, SubscriberConfig};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct State {
    battery: f32,
    errors: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let node = Node::new("json")?;

    // A display needs no old states. The queue drops the oldest message when it is full.
    let newest_only = SubscriberConfig::default().queue_len(1);
    let states = node.subscriber_with::<Json<State>>("state", newest_only)?;

    let publisher = node.publisher::<Json<State>>("state")?;
    if !publisher.wait_for_subscriber(Duration::from_secs(5)) {
        return Err("no subscriber was found".into());
    }
    for battery in [0.9, 0.8, 0.7] {
        publisher.send(&State { battery, errors: Vec::new() })?;
    }

    // It waits until the last one is there.
    let newest = loop {
        let message = states.recv_timeout(Duration::from_secs(5))?;
        if message.clock == 3 {
            break message;
        }
    };
    println!("{:?}, {:?} old", newest.payload, newest.send_time.elapsed()?);
    println!("{:#?}", states.stats());
    Ok(())
}
