//! A protobuf message, sent from one task and received as a stream.
//!
//! eCAL's monitor shows its fields, because its description is registered with the topic.

use std::error::Error;
use std::time::Duration;

use ferrocal::{Node, ProtobufMessage};
use futures_util::StreamExt;

/// What `build.rs` made of `person.proto`.
mod example {
    #![allow(missing_docs, unreachable_pub)]
    include!(concat!(env!("OUT_DIR"), "/example.rs"));
}
use example::Person;

impl ProtobufMessage for Person {
    const FILE_DESCRIPTOR_SET: &'static [u8] = include_bytes!(concat!(env!("OUT_DIR"), "/person.bin"));
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let node = Node::new("person")?;
    let persons = node.subscriber::<Person>("person")?;
    let publisher = node.publisher::<Person>("person")?;
    publisher.wait_for_subscriber(Duration::from_secs(5));

    for (name, age) in [("Ada", 36), ("Grace", 85), ("Margaret", 88)] {
        let skills = vec!["programming".to_owned(), "mathematics".to_owned()];
        publisher.send(&Person { name: name.to_owned(), age, skills })?;
    }

    let mut persons = persons.take(3);
    while let Some(message) = persons.next().await {
        let Person { name, age, skills } = message.payload;
        println!("message {}: {name}, {age}, knows {}", message.clock, skills.join(" and "));
    }
    Ok(())
}
