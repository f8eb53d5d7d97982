//! A node on the backend.

use ferrocal::{Config, DropReason};

use super::Stage;
use crate::process::HANG;
use crate::{forge, wait};

pub(super) fn garbage_then_a_valid_message_arrives(stage: &Stage) {
    let (receiver, injector) = stage.pair.node(Config::default());
    let sender = stage.pair.sending_node();
    let subscriber = receiver.subscriber::<[u8]>("hello").expect("a good topic");
    let publisher = sender.publisher::<[u8]>("hello").expect("a good topic");
    assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));

    for n in 1..=20u8 {
        let len = usize::from(n) * 20_000;
        let garbage = vec![n; usize::from(n)];
        // The start of a message that never ends, too.
        injector.payload(&[garbage.clone(), forge::whole(&[n; 9]), forge::info(i32::from(n), 3, 30)]);
        injector.registration(&[garbage, forge::whole(&[n; 9])]);
        publisher.send(&vec![n; len]).expect("a message is sent");
        let message = subscriber.recv_timeout(HANG).expect("the message arrives");
        assert!(message.payload == vec![n; len], "message {n}");
        assert_eq!(message.clock, i64::from(n));
    }
    wait::until_eq("foreign datagrams", &40, || receiver.status().drops.get(DropReason::ForeignMagic));
    wait::until_eq("samples cut short", &40, || receiver.status().drops.get(DropReason::Truncated));
    assert_eq!(subscriber.stats().lost, 0);

    // Closing ends the threads that wait for datagrams, and tells the other side.
    drop(publisher);
    drop(sender);
    wait::until_eq("publishers", &0, || subscriber.publisher_count());
}

pub(super) fn a_new_subscriber_gets_the_first_message(stage: &Stage) {
    let (receiver, _injector) = stage.pair.node(Config::default());
    let sender = stage.pair.sending_node();
    let publisher = sender.publisher::<[u8]>("hello").expect("a good topic");
    let mut clock = 0;
    for _ in 0..3 {
        let subscriber = receiver.subscriber::<[u8]>("hello").expect("a good topic");
        assert!(publisher.wait_for_subscriber(HANG));
        for _ in 0..3 {
            clock += 1;
            publisher.send(b"x").expect("a message is sent");
            assert_eq!(subscriber.recv_timeout(HANG).expect("the message arrives").clock, clock);
        }
        drop(subscriber);
        wait::until_eq("subscribers", &0, || publisher.subscriber_count());
    }
}
