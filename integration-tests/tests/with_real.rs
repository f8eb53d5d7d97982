//! Messages between the real eCAL and ours: either way, and both at once on one topic.

use std::process::ExitCode;

use ferrocal::Node;
use ferrocal_integration_tests::ecal::{self, DataType};
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::totals::Totals;
use ferrocal_integration_tests::world::{LENS, Mode, World};

/// Messages on every topic of every publisher.
const COUNT: u64 = 5;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let mut test = |name: &str, publishers: Sides, subscribers: Sides| {
            let name = format!("{name}::{}", mode.name());
            let body = move || every_length_arrives(mode, publishers, subscribers);
            tests.push(Test::new(name, &[Need::Ecal], body));
        };
        test("real_to_ours", Sides::REAL, Sides::OURS);
        test("ours_to_real", Sides::OURS, Sides::REAL);
        test("both_on_one_topic", Sides::BOTH, Sides::BOTH);
    }
    suite::main(tests)
}

/// Who takes a part: the real eCAL, ours, or both at once.
#[derive(Clone, Copy)]
struct Sides {
    real: bool,
    ours: bool,
}

impl Sides {
    const REAL: Self = Self { real: true, ours: false };
    const OURS: Self = Self { real: false, ours: true };
    const BOTH: Self = Self { real: true, ours: true };

    fn count(self) -> usize {
        usize::from(self.real) + usize::from(self.ours)
    }
}

fn every_length_arrives(mode: Mode, publishers: Sides, subscribers: Sides) {
    let world = World::new(mode);
    // Apart from the others, as two of the longest at the same moment are what the tests' receive buffers just hold.
    let (shorter, longest) = LENS.split_at(LENS.len() - 1);
    Exchange::start(&world, publishers, subscribers, shorter).at_the_same_time().finish();
    Exchange::start(&world, publishers, subscribers, longest).at_the_same_time().finish();
}

/// Publishers and subscribers that are all matched, on a topic for each length.
struct Exchange<'w> {
    world: &'w World,
    publishers: Sides,
    lens: Vec<(String, usize)>,
    node: Node,
    our_subscriber: Option<ours::Subscriber>,
    real_subscriber: Option<ecal::Subscriber>,
    our_publisher: Option<ours::Publisher>,
    real_publisher: Option<ecal::Publisher>,
}

impl<'w> Exchange<'w> {
    fn start(world: &'w World, publishers: Sides, subscribers: Sides, lens: &[usize]) -> Self {
        let lens: Vec<_> = lens.iter().map(|len| (format!("ramp_{len}"), *len)).collect();
        let topics: Vec<&str> = lens.iter().map(|(topic, _)| topic.as_str()).collect();
        let borrowed: Vec<_> = lens.iter().map(|(topic, len)| (topic.as_str(), *len)).collect();
        let (there, mode) = (world.there(), world.mode());
        let node = ours::node(world, world.here(), "ours");
        let mut exchange = Self {
            world,
            publishers,
            our_subscriber: subscribers.ours.then(|| ours::Subscriber::new(&node, &topics)),
            real_subscriber: subscribers
                .real
                .then(|| ecal::Subscriber::start(there, mode, &topics, COUNT * publishers.count() as u64)),
            our_publisher: publishers.ours.then(|| ours::Publisher::new(&node, &borrowed)),
            real_publisher: publishers
                .real
                .then(|| ecal::Publisher::start(there, mode, &borrowed, &DataType::default())),
            node,
            lens: Vec::new(),
        };
        exchange.expect_matched(&topics, publishers.count(), subscribers.count());
        Self { lens, ..exchange }
    }

    /// Waits until everybody has found everybody.
    fn expect_matched(&mut self, topics: &[&str], publishers: usize, subscribers: usize) {
        if let Some(subscriber) = &self.our_subscriber {
            subscriber.expect_matched(publishers);
        }
        if let Some(publisher) = &self.our_publisher {
            publisher.expect_matched(subscribers);
        }
        for topic in topics {
            if let Some(subscriber) = &mut self.real_subscriber {
                subscriber.expect_matched(topic, publishers);
            }
            if let Some(publisher) = &mut self.real_publisher {
                publisher.expect_matched(topic, subscribers);
            }
        }
    }

    /// All publishers send a message on every topic at the same time, and the next when that has arrived everywhere:
    /// a subscriber may get no processor for a while, and its buffer does not hold all of them.
    fn at_the_same_time(mut self) -> Self {
        for sent in 1..=COUNT {
            if let Some(publisher) = &mut self.real_publisher {
                publisher.begin_sending(1, 0.0);
            }
            if let Some(publisher) = &mut self.our_publisher {
                publisher.send(1, 0.0);
            }
            if let Some(publisher) = &mut self.real_publisher {
                publisher.await_sent();
            }
            let each = sent * self.publishers.count() as u64;
            if let Some(subscriber) = &self.our_subscriber {
                subscriber.await_received(each);
            }
            if let Some(subscriber) = &mut self.real_subscriber {
                subscriber.await_received(each, self.lens.len());
            }
        }
        self
    }

    /// Checks that every subscriber has got every message.
    fn finish(self) {
        let our_ids = self.our_publisher.as_ref().map(ours::Publisher::ids).unwrap_or_default();
        if let Some(subscriber) = self.our_subscriber {
            check(self.world, self.publishers, &our_ids, &self.lens, &subscriber.totals());
        }
        if let Some(mut subscriber) = self.real_subscriber {
            subscriber.await_complete();
            check(self.world, self.publishers, &our_ids, &self.lens, &subscriber.finish());
        }
        if let Some(publisher) = self.real_publisher {
            publisher.process.finish();
        }
        let status = self.node.status();
        assert_eq!((status.drops.total(), status.receive_drops.buffer_full), (0, 0), "{status:?}");
    }
}

/// Checks what one subscriber received: all of every publisher's messages on every topic, and nothing else.
#[track_caller]
fn check(world: &World, publishers: Sides, our_ids: &[String], lens: &[(String, usize)], rows: &[Totals]) {
    assert_eq!(rows.len(), lens.len() * publishers.count(), "{rows:#?}");
    for (topic, len) in lens {
        let rows: Vec<_> = rows.iter().filter(|row| row.topic == *topic).collect();
        assert_eq!(rows.len(), publishers.count(), "{topic}: {rows:#?}");
        let of_ours = rows.iter().filter(|row| our_ids.contains(&row.topic_id)).count();
        assert_eq!(of_ours, usize::from(publishers.ours), "{topic}: {rows:#?}");
        for row in rows {
            row.assert_all(COUNT, *len);
            let host = if our_ids.contains(&row.topic_id) { world.here() } else { world.there() };
            assert!(row.host.as_deref().is_none_or(|name| name == host.name()), "{row:?}");
        }
    }
}
