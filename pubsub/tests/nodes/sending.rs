//! What a publisher sends and counts.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use ferrocal::transport::memory::Network;
use ferrocal::{
    Bytes, DataType, Limits, LimitsConfig, Node, Payload, PublishError, PublisherStats, UdpConfig,
};

use super::faulty::{Fate, Faulty};
use super::wait::{HANG, until, within_hang};
use super::{config, logged, node};

/// Counts how often it is encoded.
struct Counted;

impl Payload for Counted {
    type Value = AtomicUsize;
    type Received = Bytes;
    type EncodeError = Infallible;
    type DecodeError = Infallible;

    fn data_type() -> DataType {
        DataType::default()
    }

    fn encode<'a>(count: &'a AtomicUsize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Infallible> {
        count.fetch_add(1, Ordering::SeqCst);
        scratch.extend_from_slice(b"ten bytes.");
        Ok(scratch)
    }

    fn decode(payload: Bytes) -> Result<Bytes, Infallible> {
        Ok(payload)
    }
}

/// The counters as (published, sent, bytes sent, not sent).
fn counts(stats: PublisherStats) -> (u64, u64, u64, u64) {
    (stats.published, stats.sent, stats.sent_bytes, stats.not_sent)
}

#[test]
fn nothing_is_encoded_for_nobody() {
    within_hang(|| {
        let network = Network::new(1);
        let node = node(&network);
        let publisher = node.publisher::<Counted>("topic").unwrap();
        let encoded = AtomicUsize::new(0);
        publisher.send(&encoded).unwrap();
        publisher.send_batch([&encoded, &encoded]).unwrap();
        #[cfg(feature = "tokio")]
        super::wait::block_on(publisher.send_async(&encoded)).unwrap();
        let before = 3 + u64::from(cfg!(feature = "tokio"));
        assert_eq!(encoded.load(Ordering::SeqCst), 0);
        assert_eq!(counts(publisher.stats()), (before, 0, 0, 0));

        let subscriber = node.subscriber::<Counted>("topic").unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        publisher.send(&encoded).unwrap();
        publisher.send_batch([&encoded, &encoded]).unwrap();
        assert_eq!(encoded.load(Ordering::SeqCst), 3);
        assert_eq!(counts(publisher.stats()), (before + 3, 3, 30, 0));
        for _ in 0..3 {
            assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload, "ten bytes.");
        }
        drop(subscriber);
        until("it is gone", || publisher.subscriber_count() == 0);
        publisher.send(&encoded).unwrap();
        assert_eq!(encoded.load(Ordering::SeqCst), 3);
        assert_eq!(counts(publisher.stats()), (before + 4, 3, 30, 0));
    });
}

#[test]
fn a_network_that_cannot_be_reached_is_no_error_and_counted() {
    logged::start();
    for (kind, port) in [
        (io::ErrorKind::NetworkUnreachable, 14_777),
        (io::ErrorKind::HostUnreachable, 14_778),
        (io::ErrorKind::NetworkDown, 14_779),
    ] {
        within_hang(move || {
            let network = Network::new(1);
            // Datagrams that are sent before the trouble begins.
            let left = Arc::new(AtomicUsize::new(1));
            let is_down = Arc::new(AtomicBool::new(true));
            let transport = Faulty::new(&network).on_send({
                let (left, is_down) = (left.clone(), is_down.clone());
                move |datagram| {
                    if datagram.destination.port() != port || !is_down.load(Ordering::SeqCst) {
                        return Fate::Send;
                    }
                    let take_one = |left: usize| left.checked_sub(1);
                    match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one) {
                        Ok(_) => Fate::Send,
                        Err(_) => Fate::Refuse(kind),
                    }
                }
            });
            let config = config().udp(UdpConfig::default().port(port));
            let publishing = Node::with_transport("down", config.clone(), Arc::new(transport)).unwrap();
            let subscribing = Node::with_transport("up", config, Arc::new(network.host())).unwrap();
            let publisher = publishing.publisher::<[u8]>("topic").unwrap();
            let subscriber = subscribing.subscriber::<[u8]>("topic").unwrap();
            assert!(publisher.wait_for_subscriber(HANG));
            publisher.send(&[0; 10]).unwrap();
            assert_eq!(counts(publisher.stats()), (1, 1, 10, 0));
            publisher.send(&[0; 20]).unwrap();
            publisher.send(&[0; 200_000]).unwrap();
            assert_eq!(counts(publisher.stats()), (3, 1, 10, 2));
            left.store(2, Ordering::SeqCst);
            publisher.send_batch([&[0; 1][..], &[0; 2], &[0; 3], &[0; 4]]).unwrap();
            assert_eq!(counts(publisher.stats()), (7, 3, 13, 4));
            assert_eq!(logged::count(&["WARN", "counted as not sent", &format!(":{port}")]), 1, "once");

            is_down.store(false, Ordering::SeqCst);
            publisher.send(&[0; 30]).unwrap();
            assert_eq!(counts(publisher.stats()), (8, 4, 43, 4));
            let received = [(); 4].map(|()| subscriber.recv_timeout(HANG).unwrap());
            assert_eq!(received.each_ref().map(|message| message.payload.len()), [10, 1, 2, 30]);
            assert_eq!(received.map(|message| message.clock), [1, 4, 5, 8]);
            assert_eq!(subscriber.stats().lost, 4);
        });
    }
}

#[test]
fn other_errors_are_returned_and_what_is_too_long_is_not_published() {
    within_hang(|| {
        let network = Network::new(1);
        let refuses = Arc::new(AtomicBool::new(false));
        let transport = Faulty::new(&network).on_send({
            let refuses = refuses.clone();
            move |datagram| {
                if datagram.destination.port() == 14_002 && refuses.load(Ordering::SeqCst) {
                    Fate::Refuse(io::ErrorKind::PermissionDenied)
                } else {
                    Fate::Send
                }
            }
        });
        let limits = Limits { max_message_len: 1000, ..Limits::default() };
        let config = config().limits(LimitsConfig::default().reassembly(limits));
        let node = Node::with_transport("refused", config, Arc::new(transport)).unwrap();
        let publisher = node.publisher::<[u8]>("topic").unwrap();
        let subscriber = node.subscriber::<[u8]>("topic").unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        let result = publisher.send(&[0; 1000]);
        assert!(matches!(result, Err(PublishError::TooLong { max: 1000, .. })), "{result:?}");
        let result = publisher.send_batch([&[0; 10][..], &[0; 1000], &[0; 10]]);
        assert!(matches!(result, Err(PublishError::TooLong { .. })), "{result:?}");
        assert_eq!(counts(publisher.stats()), (1, 1, 10, 0), "those before it were sent");
        refuses.store(true, Ordering::SeqCst);
        let result = publisher.send(&[0; 20]);
        assert!(matches!(result, Err(PublishError::Send { .. })), "{result:?}");
        refuses.store(false, Ordering::SeqCst);
        publisher.send(&[0; 30]).unwrap();
        let stats = publisher.stats();
        assert_eq!((stats.sent, stats.sent_bytes, stats.not_sent), (2, 40, 0));
        for len in [10, 30] {
            assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload.len(), len);
        }
    });
}

/// A batch is the same datagrams as single messages are, also where a message is nearly too long for one of them.
#[test]
fn a_batch_is_cut_as_single_messages_are() {
    within_hang(|| {
        let network = Network::new(1);
        let datagrams = Arc::new(AtomicUsize::new(0));
        let transport = Faulty::new(&network).on_send({
            let datagrams = datagrams.clone();
            move |datagram| {
                if datagram.destination.port() == 14_002 {
                    datagrams.fetch_add(1, Ordering::SeqCst);
                }
                Fate::Send
            }
        });
        let config = config().udp(UdpConfig::default().max_datagram_len(2000));
        let node = Node::with_transport("cuts", config, Arc::new(transport)).unwrap();
        let publisher = node.publisher::<[u8]>("topic").unwrap();
        let subscriber = node.subscriber::<[u8]>("topic").unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        let messages: Vec<Vec<u8>> = (1800..2001).map(|len| vec![len as u8; len]).collect();
        let messages = messages.iter().map(Vec::as_slice);
        // From here on, clocks take two bytes.
        publisher.send_batch([&[][..]; 128]).unwrap();
        datagrams.store(0, Ordering::SeqCst);
        messages.clone().for_each(|message| publisher.send(message).unwrap());
        let single = datagrams.swap(0, Ordering::SeqCst);
        publisher.send_batch(messages.clone()).unwrap();
        assert_eq!(datagrams.load(Ordering::SeqCst), single);
        assert!(single > messages.len(), "the longest ones are cut");
        for message in [&[][..]; 128].into_iter().chain(messages.clone()).chain(messages) {
            assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload, message);
        }
    });
}

#[cfg(feature = "tokio")]
mod from_tasks {
    use std::thread;

    use super::*;
    use crate::wait::block_on;

    #[test]
    fn messages_go_in_the_order_of_the_calls() {
        const MESSAGES: u64 = 200;
        within_hang(|| {
            let network = Network::new(1);
            let node = node(&network);
            let publisher = node.publisher::<[u8]>("topic").unwrap();
            let subscriber = node.subscriber::<[u8]>("topic").unwrap();
            assert!(publisher.wait_for_subscriber(HANG));
            thread::scope(|scope| {
                scope.spawn(|| {
                    for number in 0..MESSAGES {
                        publisher.send(&[&[0][..], &number.to_le_bytes()].concat()).unwrap();
                    }
                });
                let all: Vec<_> = (0..MESSAGES)
                    .map(|number| publisher.send_async(&[&[1][..], &number.to_le_bytes()].concat()))
                    .collect();
                for sent in all {
                    block_on(sent).unwrap();
                }
            });
            let mut next = [0; 2];
            for clock in 1..=2 * MESSAGES as i64 {
                let message = subscriber.recv_timeout(HANG).unwrap();
                assert_eq!(message.clock, clock);
                let next = &mut next[usize::from(message.payload[0])];
                assert_eq!(message.payload[1..], u64::to_le_bytes(*next));
                *next += 1;
            }
            assert_eq!(next, [MESSAGES; 2]);
            assert_eq!(counts(publisher.stats()), (2 * MESSAGES, 2 * MESSAGES, 18 * MESSAGES, 0));
            let stats = subscriber.stats();
            assert_eq!((stats.lost, stats.out_of_order, stats.duplicate), (0, 0, 0));
        });
    }

    #[test]
    fn a_message_is_sent_even_if_nobody_waits_for_that() {
        within_hang(|| {
            let network = Network::new(1);
            let publishing = node(&network);
            let publisher = publishing.publisher::<str>("topic").unwrap();
            let subscriber = node(&network).subscriber::<str>("topic").unwrap();
            assert!(publisher.wait_for_subscriber(HANG));
            drop(publisher.send_async("not waited for"));
            let waited_for = publisher.send_async("waited for");
            // The future does not borrow them, and what they were is kept until it is sent.
            drop((publisher, publishing));
            block_on(waited_for).unwrap();
            for text in ["not waited for", "waited for"] {
                assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload, text);
            }
        });
    }

    #[test]
    fn errors_are_returned_by_the_future() {
        within_hang(|| {
            let network = Network::new(1);
            let limits = Limits { max_message_len: 1000, ..Limits::default() };
            let config = config().limits(LimitsConfig::default().reassembly(limits));
            let node = Node::with_transport("short", config, Arc::new(network.host())).unwrap();
            let publisher = node.publisher::<[u8]>("topic").unwrap();
            let _subscriber = node.subscriber::<[u8]>("topic").unwrap();
            assert!(publisher.wait_for_subscriber(HANG));
            let result = block_on(publisher.send_async(&[0; 1000]));
            assert!(matches!(result, Err(PublishError::TooLong { .. })), "{result:?}");
        });
    }
}

#[test]
fn datagrams_are_as_short_as_configured() {
    within_hang(|| {
        let network = Network::new(1);
        let longest = Arc::new(AtomicUsize::new(0));
        let seen = longest.clone();
        let transport = Faulty::new(&network).on_send(move |datagram| {
            seen.fetch_max(datagram.len(), Ordering::SeqCst);
            Fate::Send
        });
        let udp = UdpConfig::default().max_datagram_len(100);
        let sender = Node::with_transport("sender", config().udp(udp), Arc::new(transport)).unwrap();
        let receiver = node(&network);
        let subscriber = receiver.subscriber::<[u8]>("topic").unwrap();
        let publisher = sender.publisher::<[u8]>("topic").unwrap();
        until("they are connected", || publisher.subscriber_count() > 0);
        // Registrations are longer than 100 bytes, too.
        assert_eq!(longest.load(Ordering::SeqCst), 100);
        publisher.send(&[7; 1000]).unwrap();
        assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload, [7; 1000][..]);
        assert_eq!(longest.load(Ordering::SeqCst), 100);
    });
}
