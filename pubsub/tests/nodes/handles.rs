//! What the handles can be used for, as far as the compiler and a look show it.

use std::sync::Arc;

use ferrocal::transport::memory::Network;
use ferrocal::{
    Config, DropReason, Message, Node, Payload, Publisher, PublisherIdentity, Status, Subscriber,
    Subscription,
};

use super::node;

const fn is_send_and_sync<T: Send + Sync>() {}

const fn handles_are_send_and_sync<T: Payload + ?Sized>()
where
    T::Received: Sync,
{
    is_send_and_sync::<Publisher<T>>();
    is_send_and_sync::<Subscriber<T>>();
    is_send_and_sync::<Subscription<T>>();
    is_send_and_sync::<Message<T>>();
}

const _: () = {
    is_send_and_sync::<Node>();
    is_send_and_sync::<Config>();
    is_send_and_sync::<Status>();
    is_send_and_sync::<Arc<PublisherIdentity>>();
    is_send_and_sync::<ferrocal::NodeError>();
    is_send_and_sync::<ferrocal::CreateError>();
    is_send_and_sync::<ferrocal::PublishError>();
    handles_are_send_and_sync::<[u8]>();
    handles_are_send_and_sync::<str>();
};

#[cfg(feature = "json")]
const _: () = handles_are_send_and_sync::<ferrocal::Json<Vec<f64>>>();

#[cfg(feature = "protobuf")]
const _: () = handles_are_send_and_sync::<ferrocal::Protobuf<String, ferrocal::FromSettings>>();

/// A payload that only one thread at a time may use: the handles can be shared all the same.
#[cfg(feature = "json")]
const _: () = {
    type Received = ferrocal::Json<std::cell::Cell<u8>>;
    is_send_and_sync::<Publisher<Received>>();
    is_send_and_sync::<Subscriber<Received>>();
    is_send_and_sync::<Subscription<Received>>();
};

/// The futures can be awaited in tasks that move between threads.
#[test]
fn futures_are_send() {
    fn is_send<T: Send>(_: T) {}
    let network = Network::new(1);
    let node = node(&network);
    let subscriber = node.subscriber::<str>("topic").unwrap();
    is_send(subscriber.recv_async());
    #[cfg(feature = "tokio")]
    {
        let publisher = node.publisher::<str>("topic").unwrap();
        is_send(publisher.send_async("hello"));
        is_send(publisher.wait_for_subscribers_async(1));
        is_send(subscriber.wait_for_publishers_async(1));
    }
}

#[test]
fn counters_print_the_names_of_their_reasons() {
    let drops = node(&Network::new(1)).status().drops;
    let text = format!("{drops:?}");
    assert!(!text.contains('['), "no list of bare numbers: {text}");
    let mut counted = drops;
    counted.count(DropReason::RegistryFull);
    counted.count(DropReason::Expired);
    let text = format!("{counted:?}");
    assert!(text.contains("RegistryFull: 1") && text.contains("Expired: 1"), "{text}");
}
