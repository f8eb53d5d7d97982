//! What a subscriber gets and counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use ferrocal::transport::memory::Network;
use ferrocal::{DropReason, Limits, LimitsConfig, Node, SubscriberConfig, Subscription};
use ferrocal_proto::Announcement;

use super::faulty::{Fate, Faulty};
use super::forge::{self, Forger};
use super::wait::{HANG, block_on, until, within_hang};
use super::{config, node};

const PORT: u16 = 14_002;
/// The number of the datagram that is lost, if one is to be.
const NEVER: usize = usize::MAX / 2;

/// A publisher's node that loses a datagram of a long message, and a subscriber's that waits a short time for it.
fn losing(network: &Network) -> (Node, Node, Arc<AtomicUsize>) {
    let countdown = Arc::new(AtomicUsize::new(NEVER));
    let transport = Faulty::new(network).max_datagram_len(1000).on_send({
        let countdown = countdown.clone();
        move |datagram| {
            let is_payload = datagram.destination.port() == PORT;
            if is_payload && countdown.fetch_sub(1, Ordering::SeqCst) == 0 {
                countdown.store(NEVER, Ordering::SeqCst);
                Fate::Lose
            } else {
                Fate::Send
            }
        }
    });
    let publishing = Node::with_transport("losing", config(), Arc::new(transport)).unwrap();
    let limits = Limits { timeout: Duration::from_secs(1), ..Limits::default() };
    let config = config().limits(LimitsConfig::default().reassembly(limits));
    let subscribing = Node::with_transport("subscribing", config, Arc::new(network.host())).unwrap();
    (publishing, subscribing, countdown)
}

#[test]
fn a_message_that_is_given_up_counts_as_lost_at_once_and_not_again() {
    within_hang(|| {
        let network = Network::new(1);
        let (publishing, subscribing, countdown) = losing(&network);
        let publisher = publishing.publisher::<[u8]>("topic").unwrap();
        let subscriber = subscribing.subscriber::<[u8]>("topic").unwrap();
        let other = subscribing.subscriber::<[u8]>("other").unwrap();
        let (called, calls) = mpsc::channel();
        let subscription = subscribing
            .subscribe::<[u8]>("topic", move |message| called.send(message.clock).unwrap())
            .unwrap();
        assert!(publisher.wait_for_subscribers(2, HANG));
        publisher.send(&[1; 5000]).unwrap();
        assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload.len(), 5000);

        // The third datagram: the announcement and the start of the message arrive.
        countdown.store(2, Ordering::SeqCst);
        publisher.send(&[2; 5000]).unwrap();
        until("it counts", || subscriber.stats().lost == 1 && subscription.stats().lost == 1);
        publisher.send(&[3; 5000]).unwrap();
        assert_eq!(subscriber.recv_timeout(HANG).unwrap().clock, 3);
        assert_eq!([(); 2].map(|()| calls.recv_timeout(HANG).unwrap()), [1, 3]);
        assert_eq!((subscriber.stats().lost, subscription.stats().lost), (1, 1));
        assert_eq!(other.stats().lost, 0);
    });
}

#[test]
fn a_gap_counts_as_lost_and_not_again_when_its_message_is_given_up() {
    within_hang(|| {
        let network = Network::new(1);
        let (publishing, subscribing, countdown) = losing(&network);
        let publisher = publishing.publisher::<[u8]>("topic").unwrap();
        let subscriber = subscribing.subscriber::<[u8]>("topic").unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        publisher.send(&[1; 5000]).unwrap();
        subscriber.recv_timeout(HANG).unwrap();
        countdown.store(2, Ordering::SeqCst);
        publisher.send(&[2; 5000]).unwrap();
        publisher.send(&[3; 10]).unwrap();
        assert_eq!(subscriber.recv_timeout(HANG).unwrap().clock, 3);
        until("it is given up", || subscribing.status().drops.get(DropReason::Expired) == 1);
        publisher.send(&[4; 10]).unwrap();
        assert_eq!(subscriber.recv_timeout(HANG).unwrap().clock, 4);
        assert_eq!(subscriber.stats().lost, 1);
    });
}

#[test]
fn a_message_is_counted_before_the_program_gets_it() {
    within_hang(|| {
        let network = Network::new(1);
        let node = node(&network);
        let publisher = node.publisher::<[u8]>("topic").unwrap();
        let subscriber = node.subscriber::<[u8]>("topic").unwrap();
        let (called, calls) = mpsc::channel();
        let _subscriptions = [true, false].map(|inline| {
            let own = Arc::new(OnceLock::<Subscription<[u8]>>::new());
            let callback = {
                let (own, called) = (Arc::downgrade(&own), called.clone());
                move |message: ferrocal::Message<[u8]>| {
                    let own = own.upgrade().expect("it is not dropped");
                    called.send((message.clock as u64, own.get().expect("it is set").stats())).unwrap();
                }
            };
            let config = SubscriberConfig::default().inline(inline);
            own.set(node.subscribe_with("topic", config, callback).unwrap()).unwrap();
            own
        });
        assert!(publisher.wait_for_subscribers(3, HANG));
        for number in 1..=100 {
            publisher.send(&[0; 10]).unwrap();
            subscriber.recv_timeout(HANG).unwrap();
            let stats = subscriber.stats();
            assert_eq!((stats.received, stats.received_bytes), (number, 10 * number));
            for _ in 0..2 {
                let (clock, stats) = calls.recv_timeout(HANG).unwrap();
                assert_eq!((clock, stats.received, stats.received_bytes), (number, number, 10 * number));
            }
        }
    });
}

#[test]
fn publishers_of_equal_ids_on_two_hosts_have_clocks_of_their_own() {
    within_hang(|| {
        let network = Network::new(1);
        let subscriber = node(&network).subscriber::<[u8]>("topic").unwrap();
        let forger = Forger::new(&network);
        let messages = [("a", 7, 10), ("b", 7, 3), ("a", 7, 11), ("b", 7, 4), ("b", 8, 4), ("b", 7, 4)];
        for (host_name, id, clock) in messages {
            forger.payload("topic", host_name, id, clock, &[0; 8]);
        }
        for (host_name, id, clock) in &messages[..5] {
            let message = subscriber.recv_timeout(HANG).unwrap();
            let publisher = (message.publisher.host_name.as_str(), message.publisher.id.to_string());
            assert_eq!((publisher, message.clock), ((*host_name, id.to_string()), *clock));
        }
        until("the last one is dropped", || subscriber.stats().duplicate == 1);
        let stats = subscriber.stats();
        assert_eq!((stats.received, stats.lost, stats.out_of_order), (5, 0, 0));
    });
}

/// Each message goes to one of them, and no wake-up is lost.
#[test]
fn two_tasks_share_a_subscriber() {
    within_hang(|| {
        const MESSAGES: u8 = 100;
        let network = Network::new(1);
        let node = node(&network);
        let publisher = node.publisher::<[u8]>("topic").unwrap();
        let subscriber = node.subscriber::<[u8]>("topic").unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        let (taken, all_taken) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..2 {
                let (taken, subscriber) = (taken.clone(), &subscriber);
                scope.spawn(move || {
                    while let Ok(message) = block_on(subscriber.recv_async()) {
                        taken.send(message.payload[0]).unwrap();
                    }
                });
            }
            for number in 0..MESSAGES {
                publisher.send(&[number]).unwrap();
            }
            let mut received: Vec<_> = (0..MESSAGES).map(|_| all_taken.recv_timeout(HANG).unwrap()).collect();
            received.sort_unstable();
            assert_eq!(received, (0..MESSAGES).collect::<Vec<_>>());
            subscriber.close();
        });
    });
}

#[test]
fn each_of_many_publishers_is_looked_up_once() {
    // More than the layer remembers, which names them anew then.
    within_hang(|| {
        let network = Network::new(1);
        let (subscribing, publishing) = (node(&network), node(&network));
        let subscriber = subscribing.subscriber::<[u8]>("topic").unwrap();
        let publishers: Vec<_> = (0..300).map(|_| publishing.publisher::<[u8]>("topic").unwrap()).collect();
        assert!(subscriber.wait_for_publishers(publishers.len(), HANG));
        let round = || {
            let send = |publisher: &ferrocal::Publisher<[u8]>| {
                assert!(publisher.wait_for_subscriber(HANG));
                publisher.send(b"x").unwrap();
                subscriber.recv_timeout(HANG).unwrap().publisher
            };
            publishers.iter().map(send).collect::<Vec<_>>()
        };
        let (first, second) = (round(), round());
        assert!(first.iter().zip(&second).all(|(one, other)| Arc::ptr_eq(one, other)));
    });
}

#[test]
fn publishers_that_did_not_register_are_not_looked_up_anew_with_each_message() {
    // As many registered ones as are stored before the others are looked through for those that are gone.
    within_hang(|| {
        let network = Network::new(1);
        let (subscribing, publishing) = (node(&network), node(&network));
        let subscriber = subscribing.subscriber::<[u8]>("topic").unwrap();
        let publishers: Vec<_> = (0..16).map(|_| publishing.publisher::<[u8]>("topic").unwrap()).collect();
        assert!(subscriber.wait_for_publishers(publishers.len(), HANG));
        for publisher in &publishers {
            assert!(publisher.wait_for_subscriber(HANG));
            publisher.send(b"x").unwrap();
            subscriber.recv_timeout(HANG).unwrap();
        }
        let forger = Forger::new(&network);
        let round = |clock| {
            [1001, 1002].map(|id| {
                forger.payload("topic", "forged", id, clock, b"x");
                subscriber.recv_timeout(HANG).unwrap().publisher
            })
        };
        let (first, second) = (round(1), round(2));
        assert!(first.iter().zip(&second).all(|(one, other)| Arc::ptr_eq(one, other)));
    });
}

#[test]
fn what_is_missing_counts_even_if_the_publisher_has_left_before_its_last_messages_come() {
    within_hang(|| {
        let network = Network::new(1);
        let subscriber = node(&network).subscriber::<[u8]>("topic").unwrap();
        let forger = Forger::new(&network);
        let publisher = || Announcement::Publisher(forge::topic("topic", 7));
        forger.register(publisher());
        forger.register(publisher());
        assert!(subscriber.wait_for_publisher(HANG));
        forger.payload("topic", "forged", 7, 1, b"first");
        assert_eq!(subscriber.recv_timeout(HANG).unwrap().clock, 1);
        forger.unregister(publisher());
        until("it has left", || subscriber.publisher_count() == 0);
        forger.payload("topic", "forged", 7, 4, b"last");
        assert_eq!(subscriber.recv_timeout(HANG).unwrap().clock, 4);
        assert_eq!(subscriber.stats().lost, 2);
    });
}
