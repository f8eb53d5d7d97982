//! Once warm, sending allocates nothing, and receiving at most once a message, however many subscribers share it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ferrocal::{
    Config, LayerAvailability, LayerKind, LayersConfig, Node, Publisher, PublisherConfig, ShmConfig,
    Subscriber, SubscriberConfig,
};

thread_local! {
    static HERE: Cell<usize> = const { Cell::new(0) };
}
static EVERYWHERE: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with a count for each thread and one for all.
struct Counting;

fn note() {
    HERE.set(HERE.get() + 1);
    EVERYWHERE.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and `ptr` came from `System`.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `realloc`, and `ptr` came from `System`.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_UP: usize = 100;
const MESSAGES: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);

/// The allocations of all threads, by rounds.
#[derive(Default)]
struct Rounds {
    latest: usize,
    each: Vec<usize>,
}

impl Rounds {
    /// Ends a round, in which `others` is not to count.
    fn end(&mut self, others: usize) {
        let now = EVERYWHERE.load(Ordering::Relaxed);
        self.each.push(now - self.latest - others);
        self.latest = now;
    }

    /// Those of all rounds since the warm-up, but for the twentieth part that has most: now and then the node looks at
    /// the system's interfaces, or a message is held for longer.
    fn total(&self) -> usize {
        let mut each = self.each[WARM_UP..].to_vec();
        each.sort_unstable();
        each[..MESSAGES - MESSAGES / 20].iter().sum()
    }
}

/// Exchanges messages and returns the allocations of sending and those of receiving.
fn exchange(
    publisher: &Publisher<[u8]>,
    subscribers: &[Subscriber<[u8]>],
    len: usize,
    send: impl Fn(&Publisher<[u8]>, &[u8]),
    each_send: usize,
) -> (usize, usize) {
    let payload = vec![7; len];
    let mut rounds = Rounds::default();
    let mut sending = 0;
    for round in 0..WARM_UP + MESSAGES {
        let start = HERE.get();
        send(publisher, &payload);
        let own = HERE.get() - start;
        if round >= WARM_UP {
            sending += own;
        }
        for _ in 0..each_send {
            let mut received = subscribers
                .iter()
                .map(|subscriber| subscriber.recv_timeout(PATIENCE).expect("a message").payload);
            let first = received.next().expect("a subscriber");
            assert_eq!(first, payload);
            assert!(received.all(|other| other.as_ptr() == first.as_ptr()), "they share the payload");
        }
        rounds.end(own);
    }
    (sending, rounds.total())
}

fn is_available(node: &Node, layer: LayerKind) -> bool {
    let mut layers = node.status().layers.into_iter();
    layers.any(|status| status.kind == layer && status.availability == LayerAvailability::Available)
}

/// Messages in shared memory that are looked at in place: neither who sends them nor the thread that reads them allocates.
/// What the node does beside does not count.
fn in_place(node: &Node, len: usize) {
    let topic = format!("{len} in place");
    let layers = LayersConfig::NONE.shm(true);
    // How often it was called, and the allocations of its thread: when it was warm, and at the latest call.
    let called = Arc::new((Mutex::new((0, 0, 0)), Condvar::new()));
    let config = SubscriberConfig::default().layers(layers);
    let _subscription = node.subscribe_borrowed_with(&topic, config, {
        let called = called.clone();
        move |message| {
            assert!(message.payload.is_in_place());
            message.payload.for_each_chunk(|chunk| assert_eq!(chunk[0], 7)).unwrap();
            let (count, warm, latest) = &mut *called.0.lock().unwrap();
            *count += 1;
            *latest = HERE.get();
            if *count == WARM_UP {
                *warm = *latest;
            }
            called.1.notify_one();
        }
    });
    let shm = ShmConfig::default().zero_copy(true).acknowledge_timeout(PATIENCE);
    let config = PublisherConfig::default().layers(layers).shm(shm);
    let publisher = node.publisher_with::<[u8]>(&topic, config).unwrap();
    assert!(publisher.wait_for_subscriber(PATIENCE));
    let payload = vec![7; len];
    let mut start = 0;
    for round in 0..WARM_UP + MESSAGES {
        if round == WARM_UP {
            start = HERE.get();
        }
        publisher.send(&payload).unwrap();
        let called_before = called.0.lock().unwrap();
        let (_called, timeout) =
            called.1.wait_timeout_while(called_before, PATIENCE, |(count, ..)| *count <= round).unwrap();
        assert!(!timeout.timed_out(), "{topic}");
    }
    assert_eq!(HERE.get() - start, 0, "{topic}: sending");
    let (_, warm, latest) = *called.0.lock().unwrap();
    assert_eq!(latest - warm, 0, "{topic}: receiving");
}

#[test]
fn few_allocations() {
    let mut config = Config::default();
    // Registrations allocate, and are not what is counted.
    config.registration.refresh = Duration::from_secs(1000);
    config.registration.timeout = Duration::from_secs(10_000);
    let node = Node::with_config("allocations", config).unwrap();
    for (len, subscriber_count) in
        [(64, 1), (64, 16), (10_000, 1), (60_000, 1), (60_000, 16), (1_000_000, 1), (1_000_000, 16)]
    {
        let topic = format!("{len} to {subscriber_count}");
        let subscribers: Vec<_> =
            (0..subscriber_count).map(|_| node.subscriber::<[u8]>(&topic).unwrap()).collect();
        let publisher = node.publisher::<[u8]>(&topic).unwrap();
        assert!(publisher.wait_for_subscribers(subscriber_count, PATIENCE));
        let send = |publisher: &Publisher<[u8]>, payload: &[u8]| publisher.send(payload).unwrap();
        let (sending, receiving) = exchange(&publisher, &subscribers, len, send, 1);
        assert_eq!(sending, 0, "{topic}");
        // That of the payload, and that of sharing it.
        let most = if subscriber_count == 1 { MESSAGES } else { 2 * MESSAGES };
        assert!(receiving <= most, "{topic}: {receiving} allocations for {MESSAGES} messages");
    }

    for inline in [false, true] {
        let topic = format!("callback, inline: {inline}");
        let called = Arc::new((Mutex::new(0), Condvar::new()));
        let config = SubscriberConfig::default().inline(inline);
        let _subscription = node.subscribe_with::<[u8]>(&topic, config, {
            let called = called.clone();
            move |_| {
                *called.0.lock().unwrap() += 1;
                called.1.notify_one();
            }
        });
        let publisher = node.publisher::<[u8]>(&topic).unwrap();
        assert!(publisher.wait_for_subscriber(PATIENCE));
        let mut rounds = Rounds::default();
        for round in 0..WARM_UP + MESSAGES {
            publisher.send(&[7; 64]).unwrap();
            let count = called.0.lock().unwrap();
            let (_count, timeout) =
                called.1.wait_timeout_while(count, PATIENCE, |count| *count <= round).unwrap();
            assert!(!timeout.timed_out(), "{topic}");
            rounds.end(0);
        }
        let receiving = rounds.total();
        assert!(receiving <= MESSAGES, "{topic}: {receiving} allocations");
    }

    if is_available(&node, LayerKind::SharedMemory) {
        for len in [64, 100_000] {
            in_place(&node, len);
        }
    }

    let subscriber = node.subscriber::<[u8]>("batch").unwrap();
    let publisher = node.publisher::<[u8]>("batch").unwrap();
    assert!(publisher.wait_for_subscriber(PATIENCE));
    const BATCH: usize = 10;
    let send = |publisher: &Publisher<[u8]>, payload: &[u8]| {
        publisher.send_batch(std::iter::repeat_n(payload, BATCH)).unwrap();
    };
    let (sending, receiving) = exchange(&publisher, &[subscriber], 64, send, BATCH);
    assert_eq!(sending, 0);
    assert!(receiving <= BATCH * MESSAGES, "{receiving} allocations for {} messages", BATCH * MESSAGES);
}
