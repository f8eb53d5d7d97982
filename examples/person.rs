//! A protobuf message, sent from one task and received as a stream.
//!
//! eCAL's monitor shows its fields, because its description is registered with the topic.

#![forbid(unsafe_code)]

use std::error::Error;
use std::time::Duration;

use ferrocal::{Node, Protobuf};
use futures_util::StreamExt;

/// What `build.rs` made of `person.proto`.
mod example {
    #![allow(missing_docs, unreachable_pub)]
    include!(concat!(env!("OUT_DIR"), "/example.rs"));
}
use example::Person;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let node = Node::new("person")?;
    let persons = node.subscriber::<Protobuf<Person>>("person")?;
    let publisher = node.publisher::<Protobuf<Person>>("person")?;
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
