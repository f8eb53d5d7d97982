//! A publisher and a subscriber in one process.

#![forbid(unsafe_code)]

use std::error::Error;
use std::thread;
use std::time::Duration;

use ferrocal::Node;

fn main() -> Result<(), Box<dyn Error>> {
    let node = Node::new("hello")?;

    let _subscription = node.subscribe::<str>("hello", |message| {
        println!("received message {}: {}", message.clock, message.payload);
    })?;

    let publisher = node.publisher::<str>("hello")?;
    if !publisher.wait_for_subscriber(Duration::from_secs(5)) {
        return Err("no subscriber was found".into());
    }
    for number in 1..=5 {
        publisher.send(&format!("hello world {number}"))?;
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
