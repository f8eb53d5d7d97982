//! Our own side of a test: nodes in the test's process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ferrocal::{BorrowedMessage, Bytes, Config, EntityId, Node, Subscription};

use crate::netns::Host;
use crate::process::HANG;
use crate::ramp::{self, Table};
use crate::totals::Totals;
use crate::wait;
use crate::world::World;

/// Holds the largest test message with the kernel's overhead, twice over; as the real eCAL's in these tests.
pub const RECEIVE_BUFFER_LEN: usize = 16 * 1024 * 1024;

/// A node on one of the hosts.
///
/// # Panics
/// When it cannot be opened.
#[track_caller]
pub fn node(world: &World, host: Host, name: &str) -> Node {
    let config = config(world, host);
    host.run(|| Node::with_config(name, config)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The settings of a node on one of the hosts.
pub fn config(world: &World, host: Host) -> Config {
    let interface = if host == Host::first() { world.interface() } else { world.interface_there() };
    let mut config = Config::default().mode(world.mode().into());
    config.udp.interfaces.extend(interface.map(Into::into));
    config.udp.receive_buffer_len = RECEIVE_BUFFER_LEN;
    config
}

/// Publishes ramp messages, on one topic or several.
#[derive(Debug)]
pub struct Publisher {
    topics: Vec<(ferrocal::Publisher<[u8]>, usize)>,
    ramp: Table,
    sent: u64,
}

impl Publisher {
    /// Publishes on these topics messages of these lengths.
    ///
    /// # Panics
    /// When a topic's name is bad.
    #[track_caller]
    pub fn new(node: &Node, topics: &[(&str, usize)]) -> Self {
        let ramp = Table::new(topics.iter().map(|(_, len)| *len).max().unwrap_or(0));
        let topics = topics.iter().map(|(topic, len)| (node.publisher(topic).expect("a good name"), *len));
        Self { topics: topics.collect(), ramp, sent: 0 }
    }

    /// Waits until every topic has this many subscribers.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn expect_matched(&self, subscribers: usize) {
        for (publisher, _) in &self.topics {
            let what = format!("subscribers of {}", publisher.topic());
            wait::until_eq(&what, &subscribers, || publisher.subscriber_count());
        }
    }

    /// Sends `count` messages on every topic at `rate` Hz (0: as fast as it goes).
    ///
    /// # Panics
    /// When one is refused.
    #[track_caller]
    pub fn send(&mut self, count: u64, rate: f64) {
        let start = Instant::now();
        for n in 0..count {
            if rate > 0.0 {
                let due = start + Duration::from_secs_f64(n as f64 / rate);
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            for (publisher, len) in &self.topics {
                publisher.send(self.ramp.message(self.sent, *len)).expect("a message is sent");
            }
            self.sent += 1;
        }
    }

    /// The ids on the wire.
    pub fn ids(&self) -> Vec<String> {
        self.topics.iter().map(|(publisher, _)| publisher.id().to_string()).collect()
    }
}

/// Receives ramp messages and checks every one, on one topic or several.
#[derive(Debug)]
pub struct Subscriber {
    node: Node,
    subscriptions: Vec<Subscription<[u8]>>,
    received: Arc<Received>,
}

#[derive(Debug, Default)]
struct Received {
    rows: Mutex<BTreeMap<(String, String), Row>>,
    in_place: AtomicU64,
    more: Condvar,
}

#[derive(Debug)]
struct Row {
    totals: Totals,
    last_clock: i64,
}

impl Subscriber {
    /// Subscribes to these topics.
    ///
    /// # Panics
    /// When one cannot be subscribed to.
    #[track_caller]
    pub fn new(node: &Node, topics: &[&str]) -> Self {
        let received = Arc::new(Received::default());
        let subscribe = |topic: &&str| {
            let (received, name) = (Arc::clone(&received), (*topic).to_owned());
            node.subscribe::<[u8]>(topic, move |message| {
                received.take(&name, message.publisher.id, message.clock, &message.payload);
            })
            .expect("a good topic")
        };
        Self { node: node.clone(), subscriptions: topics.iter().map(subscribe).collect(), received }
    }

    /// Subscribes to these topics, and looks at messages where they lie.
    ///
    /// # Panics
    /// When one cannot be subscribed to.
    #[track_caller]
    pub fn borrowing(node: &Node, topics: &[&str]) -> Self {
        let received = Arc::new(Received::default());
        let subscribe = |topic: &&str| {
            let (received, name) = (Arc::clone(&received), (*topic).to_owned());
            node.subscribe_borrowed(topic, move |message| received.look_at(&name, &message))
                .expect("a good topic")
        };
        Self { node: node.clone(), subscriptions: topics.iter().map(subscribe).collect(), received }
    }

    /// How many messages it looked at in place.
    pub fn in_place(&self) -> u64 {
        self.received.in_place.load(Ordering::SeqCst)
    }

    /// Waits until every topic has this many publishers.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn expect_matched(&self, publishers: usize) {
        for subscription in &self.subscriptions {
            let what = format!("publishers of {}", subscription.topic());
            wait::until_eq(&what, &publishers, || subscription.publisher_count());
        }
    }

    /// Waits until this many messages came on every topic, from all publishers together.
    ///
    /// # Panics
    /// When they do not come.
    #[track_caller]
    pub fn await_received(&self, count: u64) {
        let rows = self.received.rows.lock().expect("no callback panics");
        let open = |rows: &mut BTreeMap<(String, String), Row>| {
            self.subscriptions.iter().any(|subscription| {
                let of_topic = rows.values().filter(|row| row.totals.topic == subscription.topic());
                of_topic.map(|row| row.totals.received).sum::<u64>() < count
            })
        };
        let (rows, timeout) =
            self.received.more.wait_timeout_while(rows, HANG, open).expect("no callback panics");
        if timeout.timed_out() {
            for subscription in &self.subscriptions {
                eprintln!("{}: {:?}", subscription.topic(), subscription.stats());
            }
            let rows: Vec<_> = rows.values().collect();
            panic!("not {count} messages on every topic: {rows:#?}, {:?}", self.node.status());
        }
    }

    /// Waits until this many messages each came from this many publishers of every topic.
    ///
    /// # Panics
    /// When they do not come.
    #[track_caller]
    pub fn await_publishers(&self, publishers: usize, each: u64) {
        wait::until(&format!("{each} messages each of {publishers} publishers"), || {
            let rows = self.received.rows.lock().expect("no callback panics");
            self.subscriptions.iter().all(|subscription| {
                let enough =
                    |row: &&Row| row.totals.topic == subscription.topic() && row.totals.received >= each;
                rows.values().filter(enough).count() >= publishers
            })
        });
    }

    /// Checks that all that came so far had this length and was as it was sent, whatever did not come.
    ///
    /// # Panics
    /// When something was not.
    #[track_caller]
    pub fn expect_intact(&self, len: usize) {
        for Row { totals, .. } in self.received.rows.lock().expect("no callback panics").values() {
            assert_eq!((totals.corrupt, &*totals.lens), (0, &[len as u64][..]), "{totals:?}");
        }
    }

    /// What the subscriber of a topic counted.
    ///
    /// # Panics
    /// When it is none of these topics.
    #[track_caller]
    pub fn stats(&self, topic: &str) -> ferrocal::SubscriberStats {
        let subscription = self.subscriptions.iter().find(|subscription| subscription.topic() == topic);
        subscription.expect("one of its topics").stats()
    }

    /// What came so far, a row per topic and publisher, the shortest messages first.
    ///
    /// # Panics
    /// When a subscription has dropped messages.
    #[track_caller]
    pub fn totals(&self) -> Vec<Totals> {
        for subscription in &self.subscriptions {
            let stats = subscription.stats();
            let dropped = stats.lost + stats.queue_full + stats.duplicate + stats.out_of_order;
            assert_eq!(dropped, 0, "{}: {stats:?}", subscription.topic());
        }
        let rows = self.received.rows.lock().expect("no callback panics");
        let mut totals: Vec<_> = rows.values().map(|row| row.totals.clone()).collect();
        totals.sort_by_key(|row| row.lens.clone());
        totals
    }
}

impl Received {
    fn look_at(&self, topic: &str, message: &BorrowedMessage<'_>) {
        let payload = message.payload;
        self.in_place.fetch_add(payload.is_in_place().into(), Ordering::SeqCst);
        let mut bytes = Vec::with_capacity(payload.len());
        payload.for_each_chunk(|chunk| bytes.extend_from_slice(chunk)).expect("nobody changes it");
        assert_eq!(payload.to_bytes().as_ref().map(Bytes::len), Ok(payload.len()));
        self.take(topic, message.publisher.id, message.clock, &bytes);
    }

    fn take(&self, topic: &str, publisher: EntityId, clock: i64, payload: &[u8]) {
        let len = payload.len();
        // A publisher's clock starts at 1, its ramp at message 0.
        let intact = ramp::is(payload, clock.wrapping_sub(1).cast_unsigned(), len);
        let key = (topic.to_owned(), publisher.to_string());
        let mut rows = self.rows.lock().expect("no callback panics");
        let row = rows.entry(key).or_insert_with_key(|(topic, topic_id)| Row {
            totals: Totals {
                topic: topic.clone(),
                topic_id: topic_id.clone(),
                host: None,
                received: 0,
                bytes: 0,
                corrupt: 0,
                dropped: 0,
                first_clock: clock,
                lens: Vec::new(),
            },
            last_clock: clock - 1,
        });
        row.totals.received += 1;
        row.totals.bytes += len as u64;
        row.totals.corrupt += u64::from(!intact);
        row.totals.dropped += u64::try_from(clock - row.last_clock - 1).unwrap_or(0);
        row.last_clock = clock;
        if !row.totals.lens.contains(&(len as u64)) {
            row.totals.lens.push(len as u64);
        }
        self.more.notify_all();
    }
}
