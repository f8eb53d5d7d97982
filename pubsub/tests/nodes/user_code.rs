//! Code of the program runs without a lock: it may block, and use what called it.

use std::convert::Infallible;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::thread;

use ferrocal::transport::memory::Network;
use ferrocal::{Bytes, DataType, Node, Payload, Subscriber, SubscriberConfig, Subscription};

use super::node;
use super::wait::{HANG, until, within_hang};

/// A number whose encoding may have to wait.
struct Gated {
    number: u8,
    gate: Option<Gate>,
}

struct Gate {
    entered: Sender<()>,
    leave: Mutex<Receiver<()>>,
}

impl Payload for Gated {
    type Value = Self;
    type Received = u8;
    type EncodeError = Infallible;
    type DecodeError = Infallible;

    fn data_type() -> DataType {
        DataType::default()
    }

    fn encode<'a>(value: &'a Self, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Infallible> {
        if let Some(gate) = &value.gate {
            gate.entered.send(()).unwrap();
            gate.leave.lock().unwrap().recv_timeout(HANG).unwrap();
        }
        scratch.push(value.number);
        Ok(scratch)
    }

    fn decode(payload: Bytes) -> Result<u8, Infallible> {
        Ok(payload[0])
    }
}

#[test]
fn encoding_that_blocks_delays_no_other_sender() {
    within_hang(|| {
        let network = Network::new(1);
        let node = node(&network);
        let publisher = node.publisher::<Gated>("topic").unwrap();
        let subscriber = node.subscriber::<Gated>("topic").unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        let (entered, wait_entered) = mpsc::channel();
        let (leave, wait_leave) = mpsc::channel();
        thread::scope(|scope| {
            let publisher = &publisher;
            scope.spawn(move || {
                let gate = Gate { entered, leave: Mutex::new(wait_leave) };
                publisher.send(&Gated { number: 1, gate: Some(gate) }).unwrap();
            });
            wait_entered.recv_timeout(HANG).unwrap();
            publisher.send(&Gated { number: 2, gate: None }).unwrap();
            publisher.send_batch([&Gated { number: 3, gate: None }]).unwrap();
            leave.send(()).unwrap();
        });
        let received = [(); 3].map(|()| subscriber.recv_timeout(HANG).unwrap());
        assert_eq!(received.each_ref().map(|message| message.payload), [2, 3, 1]);
        assert_eq!(received.map(|message| message.clock), [1, 2, 3], "in the order of sending");
    });
}

#[test]
fn an_iterator_that_blocks_delays_no_other_sender() {
    within_hang(|| {
        let network = Network::new(1);
        let node = node(&network);
        let publisher = node.publisher::<str>("topic").unwrap();
        let subscriber = node.subscriber::<str>("topic").unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        let (messages, from_channel) = mpsc::channel::<&str>();
        let (taken, wait_taken) = mpsc::channel();
        thread::scope(|scope| {
            let publisher = &publisher;
            scope.spawn(move || {
                let batch = from_channel.iter().inspect(|_| taken.send(()).unwrap());
                publisher.send_batch(batch).unwrap();
            });
            messages.send("first of the batch").unwrap();
            wait_taken.recv_timeout(HANG).unwrap();
            publisher.send("single").unwrap();
            publisher.send_batch(["other batch"]).unwrap();
            for expected in ["single", "other batch"] {
                assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload, expected);
            }
            messages.send("last of the batch").unwrap();
            drop(messages);
        });
        for expected in ["first of the batch", "last of the batch"] {
            assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload, expected);
        }
        assert_eq!(subscriber.stats().lost, 0);
    });
}

/// An executor that uses the node as soon as it is woken.
struct Use {
    node: Node,
    subscriber: Arc<Subscriber<str>>,
    done: Sender<Option<String>>,
}

impl Wake for Use {
    fn wake(self: Arc<Self>) {
        let received = self.subscriber.try_recv().map(|message| message.payload);
        self.subscriber.stats();
        drop(self.node.publisher::<str>("made in wake").unwrap());
        drop(self.node.subscriber::<str>("made in wake").unwrap());
        self.node.status();
        let _ = self.done.send(received);
    }
}

#[test]
fn a_waker_may_use_the_subscriber_and_its_node() {
    within_hang(|| {
        let network = Network::new(1);
        let subscribing = node(&network);
        let subscriber = Arc::new(subscribing.subscriber::<str>("topic").unwrap());
        let publisher = node(&network).publisher::<str>("topic").unwrap();
        assert!(publisher.wait_for_subscriber(HANG));
        let (done, woken) = mpsc::channel();
        let waker = Waker::from(Arc::new(Use { node: subscribing, subscriber: subscriber.clone(), done }));
        let mut future = std::pin::pin!(subscriber.recv_async());
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        publisher.send("hello").unwrap();
        assert_eq!(woken.recv_timeout(HANG).unwrap().as_deref(), Some("hello"));
        assert!(future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        subscriber.close();
        assert_eq!(woken.recv_timeout(HANG).unwrap(), None, "closing wakes it, too");
    });
}

#[cfg(feature = "tokio")]
#[test]
fn a_waker_that_waits_for_peers_may_use_its_node() {
    within_hang(|| {
        let network = Network::new(1);
        let waiting = node(&network);
        let publisher = waiting.publisher::<str>("topic").unwrap();
        let subscriber = Arc::new(waiting.subscriber::<str>("another topic").unwrap());
        let (done, woken) = mpsc::channel();
        let waker = Waker::from(Arc::new(Use { node: waiting, subscriber: subscriber.clone(), done }));
        let mut for_subscribers = std::pin::pin!(publisher.wait_for_subscribers_async(1));
        let mut for_publishers = std::pin::pin!(subscriber.wait_for_publishers_async(1));
        let cx = &mut Context::from_waker(&waker);
        assert!(for_subscribers.as_mut().poll(cx).is_pending());
        assert!(for_publishers.as_mut().poll(cx).is_pending());
        let other = node(&network);
        let _peers =
            (other.subscriber::<str>("topic").unwrap(), other.publisher::<str>("another topic").unwrap());
        for _ in 0..2 {
            woken.recv_timeout(HANG).unwrap();
        }
    });
}

#[test]
fn a_callback_may_drop_its_own_subscription_and_node() {
    within_hang(|| {
        for inline in [true, false] {
            let network = Network::new(1);
            let publisher = node(&network).publisher::<str>("topic").unwrap();
            let subscribing = node(&network);
            let own = Arc::new(Mutex::new(None::<(Subscription<str>, Node)>));
            let (called, calls) = mpsc::channel();
            let callback = {
                let own = own.clone();
                move |_| {
                    drop(own.lock().unwrap().take());
                    called.send(()).unwrap();
                }
            };
            let config = SubscriberConfig::default().inline(inline);
            let subscription = subscribing.subscribe_with("topic", config, callback).unwrap();
            *own.lock().unwrap() = Some((subscription, subscribing));
            assert!(publisher.wait_for_subscriber(HANG));
            publisher.send_batch(["first", "second", "third"]).unwrap();
            calls.recv_timeout(HANG).unwrap();
            assert_eq!(calls.recv_timeout(HANG), Err(mpsc::RecvTimeoutError::Disconnected), "not again");
            until("publishers see that it is gone", || publisher.subscriber_count() == 0);
        }
    });
}

#[test]
fn a_callback_may_publish_on_its_own_topic() {
    const ROUNDS: u64 = 100;
    within_hang(|| {
        for inline in [true, false] {
            let network = Network::new(1);
            let node = node(&network);
            let publisher = Arc::new(node.publisher::<[u8]>("topic").unwrap());
            let (called, calls) = mpsc::channel();
            let callback = {
                let publisher = publisher.clone();
                let mut count = 0;
                move |_| {
                    count += 1;
                    if count < ROUNDS {
                        publisher.send(&[0; 8]).unwrap();
                    }
                    called.send(count).unwrap();
                }
            };
            let config = SubscriberConfig::default().inline(inline);
            let _subscription = node.subscribe_with::<[u8]>("topic", config, callback).unwrap();
            assert!(publisher.wait_for_subscriber(HANG));
            publisher.send(&[0; 8]).unwrap();
            for round in 1..=ROUNDS {
                assert_eq!(calls.recv_timeout(HANG), Ok(round));
            }
        }
    });
}

#[test]
fn a_callback_may_create_publishers_and_subscribers() {
    within_hang(|| {
        for inline in [true, false] {
            let network = Network::new(1);
            let node = node(&network);
            let publisher = node.publisher::<str>("topic").unwrap();
            let (made, wait_made) = mpsc::channel();
            let callback = {
                let node = node.clone();
                move |_| {
                    let publisher = node.publisher::<str>("made in a callback").unwrap();
                    let subscriber = node.subscriber::<str>("made in a callback").unwrap();
                    let (called, calls) = mpsc::channel();
                    let callback = move |_| called.send(()).unwrap();
                    let subscription = node.subscribe::<str>("made in a callback", callback).unwrap();
                    made.send((publisher, subscriber, subscription, calls)).unwrap();
                }
            };
            let config = SubscriberConfig::default().inline(inline);
            let _subscription = node.subscribe_with::<str>("topic", config, callback).unwrap();
            assert!(publisher.wait_for_subscriber(HANG));
            publisher.send("make them").unwrap();
            let (publisher, subscriber, _subscription, calls) = wait_made.recv_timeout(HANG).unwrap();
            assert!(publisher.wait_for_subscribers(2, HANG));
            publisher.send("hello").unwrap();
            assert_eq!(subscriber.recv_timeout(HANG).unwrap().payload, "hello");
            calls.recv_timeout(HANG).unwrap();
        }
    });
}
