//! A node that hostile peers have to do with, and a well-behaved one whose messages have to arrive all the while.

use std::cell::Cell;
use std::time::Duration;

use ferrocal::{Config, Monitor, Node, Seen, TopicInfo};
use ferrocal_proto::EntityId;

use crate::pair::{Injector, Pair};
use crate::process::HANG;
use crate::{forge, wait};

/// The topic that hostile peers have to do with.
pub const TOPIC: &str = "hello";
/// The topic of one who is well-behaved.
pub const OTHER: &str = "other";

/// A node with a subscriber that hostile peers have to do with, and one that they have not.
pub struct Victim {
    /// The node.
    pub node: Node,
    /// Sends to it.
    pub injector: Injector,
    /// Of the node.
    pub monitor: Monitor,
    /// That of [`TOPIC`].
    pub subscriber: ferrocal::Subscriber<[u8]>,
    /// That of [`OTHER`].
    pub other: ferrocal::Subscriber<[u8]>,
    sent: i64,
    /// Registrations sent in several datagrams.
    fragmented: Cell<i32>,
}

impl Victim {
    /// The id of the publisher of [`OTHER`], whose process has the same id.
    pub const WELL_BEHAVED: u64 = 9999;

    /// Opens the node, and registers a publisher for its subscriber of [`OTHER`]. No peer expires, however long a test takes.
    ///
    /// # Panics
    /// When that cannot be done.
    pub fn open(pair: &Pair, mut config: Config) -> Self {
        config.registration.timeout = Duration::from_secs(10_000);
        let (node, injector) = pair.node(config);
        let monitor = node.monitor();
        let [subscriber, other] =
            [TOPIC, OTHER].map(|topic| node.subscriber::<[u8]>(topic).expect("a good topic"));
        let victim = Self { node, injector, monitor, subscriber, other, sent: 0, fragmented: Cell::new(0) };
        victim.register(&forge::publisher(forge::on_this_host(forge::topic_info("forged", 8, 9999, OTHER))));
        victim.register(&forge::publisher(forge::on_this_host(forge::topic_info("forged", 8, 9999, OTHER))));
        assert!(victim.other.wait_for_publisher(HANG));
        victim
    }

    /// Sends a registration, in as many datagrams as it needs.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn register(&self, message: &[u8]) {
        if message.len() < 60_000 {
            self.injector.registration(&[forge::whole(message)]);
            return;
        }
        let id = self.fragmented.get() + 1;
        self.fragmented.set(id);
        let chunks: Vec<_> = message.chunks(50_000).collect();
        let info = forge::info(id, chunks.len() as u32, message.len() as u32);
        let fragments = (0..).zip(chunks).map(|(number, chunk)| forge::fragment(id, number, chunk));
        self.injector.registration(&[info].into_iter().chain(fragments).collect::<Vec<_>>());
    }

    /// Messages of other topics are delivered, and nothing of them was lost.
    ///
    /// # Panics
    /// When that is not so.
    #[track_caller]
    pub fn still_receives(&mut self) {
        self.still_hears();
        assert_eq!((self.other.stats().lost, self.other.publisher_count()), (0, 1));
    }

    /// Messages of other topics are delivered, whatever else comes on those topics.
    ///
    /// # Panics
    /// When that is not so.
    #[track_caller]
    pub fn still_hears(&mut self) {
        self.sent += 1;
        let payload = forge::payload(OTHER, Self::WELL_BEHAVED, self.sent, b"on time");
        self.injector.payload(&[forge::whole(&payload)]);
        let message = self.other.recv_timeout(HANG).expect("messages of others arrive");
        assert_eq!((message.clock, &message.payload[..]), (self.sent, &b"on time"[..]));
        assert!(!self.node.status().has_failed);
    }

    /// The publisher of this id, as soon as it was registered so often.
    ///
    /// # Panics
    /// When that does not happen.
    #[track_caller]
    pub fn publisher(&self, process_id: i32, id: EntityId, registrations: u64) -> Seen<TopicInfo> {
        wait::until_some(&format!("registration {registrations} of {id}"), || {
            let publishers = self.monitor.snapshot().publishers;
            publishers.into_iter().find(|seen| {
                let info = &seen.info;
                (info.process_id, info.topic_id, seen.registrations) == (process_id, id, registrations)
            })
        })
    }
}
