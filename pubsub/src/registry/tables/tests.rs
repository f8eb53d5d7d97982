use std::sync::atomic::{AtomicBool, Ordering};

use ferrocal_proto::{DataType, LayerKind};

use super::*;
use crate::PublisherConfig;
use crate::layer::LayerUse;

const TIMEOUT: Duration = Duration::from_secs(10);

fn tables() -> Tables {
    Tables::new(100, 1 << 20)
}

fn info(topic: &str, id: u64) -> TopicInfo {
    TopicInfo {
        host_name: "host".into(),
        process_id: 7,
        topic_id: EntityId::from_wire(id.to_string()),
        topic_name: topic.into(),
        ..TopicInfo::default()
    }
}

fn entity(role: Role, topic: &str, type_name: &str) -> Arc<Entity> {
    let data_type = DataType { name: type_name.into(), ..DataType::default() };
    let layers = LayerUse::of_publisher(&[LayerKind::UdpMulticast], &PublisherConfig::default());
    Arc::new(Entity::new(EntityId::from_wire("1000"), role, topic, data_type, layers))
}

const JOINS: Runtime = Runtime { shares_groups: true, joins_segments: true };
const LINK: Link = Link { local: true, layers: LayerSet::from_index(1), runtime: JOINS };

/// Stores a registration of a peer that can be reached; returns how many entities that changed.
fn see(tables: &mut Tables, now: Instant, role: Role, info: &TopicInfo) -> usize {
    tables.seen(now, role, info, Some(LINK), true).unwrap().changed.len()
}

#[test]
fn the_second_registration_connects() {
    let mut tables = tables();
    let publisher = entity(Role::Publisher, "a", "");
    tables.add(publisher.clone());
    let now = Instant::now();
    assert_eq!(see(&mut tables, now, Role::Subscriber, &info("a", 1)), 0);
    assert_eq!(publisher.connected(), 0);
    assert_eq!(see(&mut tables, now, Role::Subscriber, &info("a", 1)), 1);
    assert_eq!(publisher.connected(), 1);
    assert_eq!(see(&mut tables, now, Role::Subscriber, &info("a", 1)), 0, "nothing new");
    for _ in 0..2 {
        see(&mut tables, now, Role::Subscriber, &info("b", 2));
        see(&mut tables, now, Role::Publisher, &info("a", 3));
    }
    assert_eq!(publisher.connected(), 1, "other topics and other publishers do not count");
}

#[test]
fn who_comes_later_is_matched_with_known_peers_at_once() {
    let mut tables = tables();
    let now = Instant::now();
    for id in [1, 1, 2] {
        see(&mut tables, now, Role::Publisher, &info("a", id));
    }
    let subscriber = entity(Role::Subscriber, "a", "");
    tables.add(subscriber.clone());
    assert_eq!(subscriber.connected(), 1);
    see(&mut tables, now, Role::Publisher, &info("a", 2));
    assert_eq!(subscriber.connected(), 2);
}

#[test]
fn peers_that_leave_or_fall_silent_are_disconnected() {
    let mut tables = tables();
    let subscriber = entity(Role::Subscriber, "a", "");
    tables.add(subscriber.clone());
    let start = Instant::now();
    for id in 1..=3 {
        for _ in 0..2 {
            see(&mut tables, start + Duration::from_secs(id), Role::Publisher, &info("a", id));
        }
    }
    assert_eq!(subscriber.connected(), 3);
    let outcome = tables.gone(Role::Publisher, &info("a", 3));
    assert_eq!((outcome.changed.len(), outcome.gone.len()), (1, 1));
    assert_eq!(subscriber.connected(), 2);
    assert!(tables.expire(start + TIMEOUT, TIMEOUT).changed.is_empty());
    let outcome = tables.expire(start + TIMEOUT + Duration::from_secs(1), TIMEOUT);
    assert_eq!((outcome.changed.len(), outcome.gone.len()), (1, 1));
    assert_eq!(subscriber.connected(), 1);
    let last = [1, 2].map(|id| tables.gone(Role::Publisher, &info("a", id)).changed.len());
    assert_eq!(last, [0, 1], "the first has expired");
    assert_eq!((subscriber.connected(), tables.peer_count(), tables.bytes()), (0, 0, 0));
    tables.remove(&subscriber);
    assert!(tables.topics.is_empty(), "an unused topic is forgotten");
}

#[test]
fn a_peer_that_cannot_be_reached_or_moves_to_another_topic_is_not_connected() {
    let mut tables = tables();
    let publisher = entity(Role::Publisher, "a", "");
    tables.add(publisher.clone());
    let now = Instant::now();
    for _ in 0..3 {
        tables.seen(now, Role::Subscriber, &info("a", 1), None, false).unwrap();
    }
    assert_eq!(publisher.connected(), 0);
    see(&mut tables, now, Role::Subscriber, &info("a", 1));
    assert_eq!(publisher.connected(), 1, "now it can");
    see(&mut tables, now, Role::Subscriber, &info("b", 1));
    assert_eq!(publisher.connected(), 0);
}

/// A publisher that looked at its connections in between would send to nobody.
#[test]
fn a_changed_link_is_one_step() {
    let mut tables = tables();
    let publisher = entity(Role::Publisher, "a", "");
    tables.add(publisher.clone());
    let now = Instant::now();
    for _ in 0..2 {
        see(&mut tables, now, Role::Subscriber, &info("a", 1));
    }
    let stop = AtomicBool::new(false);
    let least = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut least = usize::MAX;
            while !stop.load(Ordering::Relaxed) {
                least = least.min(publisher.connected());
            }
            least
        });
        for joins_segments in [false, true].into_iter().cycle().take(20_000) {
            let link = Link { runtime: Runtime { joins_segments, ..JOINS }, ..LINK };
            let changed =
                tables.seen(now, Role::Subscriber, &info("a", 1), Some(link), true).unwrap().changed;
            assert!(changed.is_empty(), "others need not hear of it");
            assert_eq!(tables.destinations(&publisher, 0)[0].joins_segments, joins_segments);
        }
        stop.store(true, Ordering::Relaxed);
        watch.join().unwrap()
    });
    assert_eq!(least, 1);
}

#[test]
fn a_process_of_nodes_of_two_kinds_does_not_join_segments() {
    let mut tables = tables();
    let start = Instant::now();
    let info = info("a", 1);
    let mut register = |seconds, joins| {
        let now = start + Duration::from_secs(seconds);
        tables.process_seen(now, b"host", 7, Runtime { joins_segments: joins, ..JOINS }).unwrap();
        tables.expire(now, TIMEOUT);
        tables.runtime(&info).joins_segments
    };
    assert!(!register(0, false), "it has no receiver yet");
    assert!(register(1, true), "now it has");
    assert!(!register(2, false) && !register(3, true), "there are two nodes");
    assert!((4..=12).map(|seconds| register(seconds, true)).last().unwrap(), "one of them is gone");
}

#[test]
fn a_lost_registration_of_a_process_changes_nothing() {
    let mut tables = tables();
    let now = Instant::now();
    tables.process_seen(now, b"host", 7, JOINS).unwrap();
    assert!(tables.runtime(&info("a", 1)).joins_segments);
    tables.expire(now + TIMEOUT / 2, TIMEOUT);
    assert!(tables.runtime(&info("a", 1)).joins_segments);
    assert!(!tables.runtime(&TopicInfo { process_id: 8, ..info("a", 1) }).joins_segments);
}

#[test]
fn the_number_of_peers_is_bounded() {
    let mut tables = Tables::new(2, usize::MAX);
    let now = Instant::now();
    for id in [1, 2, 1, 2] {
        see(&mut tables, now, Role::Publisher, &info("a", id));
    }
    tables.seen(now, Role::Publisher, &info("a", 3), Some(LINK), true).unwrap_err();
    tables.gone(Role::Publisher, &info("a", 1));
    see(&mut tables, now, Role::Publisher, &info("a", 3));
}

#[test]
fn the_memory_of_peers_is_bounded_and_old_ones_stay() {
    const MAX_BYTES: usize = 1 << 20;
    let mut tables = Tables::new(usize::MAX, MAX_BYTES);
    let subscriber = entity(Role::Subscriber, "first", "");
    tables.add(subscriber.clone());
    let now = Instant::now();
    for _ in 0..2 {
        see(&mut tables, now, Role::Publisher, &info("first", 0));
    }
    let long = "x".repeat(60_000);
    let refused = (1..=100).filter(|&id| {
        let mut info = info(&format!("{long}{id}"), id);
        info.data_type.name = long.clone();
        info.host_name = long.as_str().into();
        let process = tables.process_seen(now, format!("{long}{id}").as_bytes(), 7, JOINS).is_err();
        tables.seen(now, Role::Publisher, &info, Some(LINK), true).is_err() || process
    });
    assert!(refused.count() >= 90);
    assert!(tables.bytes() <= MAX_BYTES);
    assert_eq!(subscriber.connected(), 1);
    // One that is known may grow only within the bound.
    let mut grown = info("first", 0);
    grown.data_type.name = "y".repeat(2 * MAX_BYTES);
    tables.seen(now + TIMEOUT / 2, Role::Publisher, &grown, Some(LINK), true).unwrap_err();
    tables.expire(now + TIMEOUT, TIMEOUT);
    assert_eq!(subscriber.connected(), 1, "it goes on registering");
    tables.expire(now + 2 * TIMEOUT, TIMEOUT);
    assert_eq!(tables.bytes(), 0);
}

#[test]
fn other_data_types_are_reported_once() {
    let mut tables = tables();
    tables.add(entity(Role::Publisher, "a", "Pose"));
    let now = Instant::now();
    let mut conflicts = |type_name: &str, id| {
        let mut info = info("a", id);
        info.data_type.name = type_name.into();
        let times = (0..4).map(|_| {
            let outcome = tables.seen(now, Role::Subscriber, &info, Some(LINK), true).unwrap();
            outcome.type_conflicts.len()
        });
        times.sum::<usize>()
    };
    assert_eq!(conflicts("Pose", 1), 0);
    assert_eq!(conflicts("", 2), 0, "it has none");
    assert_eq!(conflicts("Person", 3), 1);
    assert_eq!(tables.add(entity(Role::Publisher, "a", "Pose")).len(), 1, "who comes later has it, too");
    assert!(tables.add(entity(Role::Publisher, "a", "")).is_empty(), "it has none");
    assert!(tables.add(entity(Role::Subscriber, "a", "Person")).is_empty(), "it is on the same side");
}

#[test]
fn the_process_of_a_publisher_is_that_of_its_id_if_it_registered() {
    let mut tables = tables();
    let mut info = info("a", 0);
    info.topic_id = EntityId::new(7, 1, 2);
    assert!(tables.publisher(b"host", info.topic_id).is_none());
    see(&mut tables, Instant::now(), Role::Publisher, &info);
    assert_eq!(tables.publisher(b"host", info.topic_id).unwrap().0, 7);
    assert!(tables.publisher(b"other", info.topic_id).is_none(), "ids repeat between hosts");
    assert!(tables.publisher(b"host", EntityId::new(8, 1, 2)).is_none());
}

#[test]
fn the_data_type_of_a_publisher_is_the_newest_and_outlives_it_for_a_while() {
    let (mut tables, now) = (tables(), Instant::now());
    let subscriber = entity(Role::Subscriber, "a", "");
    tables.add(subscriber.clone());
    let mut info = info("a", 0);
    info.topic_id = EntityId::new(7, 1, 2);
    info.data_type = DataType { name: "Pose".into(), encoding: "proto".into(), descriptor: "1".into() };
    let known = |tables: &Tables| tables.publisher(b"host", EntityId::new(7, 1, 2)).map(|(_, known)| known);
    for _ in 0..2 {
        see(&mut tables, now, Role::Publisher, &info);
    }
    assert_eq!(*known(&tables).unwrap(), info.data_type);

    let (version, before) = (subscriber.connections_version(), known(&tables).unwrap());
    see(&mut tables, now, Role::Publisher, &info);
    assert_eq!(subscriber.connections_version(), version);
    assert!(Arc::ptr_eq(&known(&tables).unwrap(), &before), "the same type is not stored again");
    info.data_type.descriptor = "2".into();
    see(&mut tables, now, Role::Publisher, &info);
    assert_ne!(subscriber.connections_version(), version, "the subscriber looks again");
    assert_eq!(*known(&tables).unwrap(), info.data_type);

    tables.gone(Role::Publisher, &info);
    assert_eq!(*known(&tables).unwrap(), info.data_type, "its messages may still wait");
    tables.expire(now + TIMEOUT, TIMEOUT);
    assert!(known(&tables).is_none());
    assert_eq!(tables.bytes(), 0);
}

#[test]
fn publishers_are_connected_without_their_descriptor_if_it_has_no_room() {
    let mut tables = Tables::new(usize::MAX, 10_000);
    let now = Instant::now();
    tables.add(entity(Role::Subscriber, "a", ""));
    let described = |tables: &mut Tables, id, role| {
        let mut info = info("a", 0);
        info.topic_id = EntityId::new(7, 1, id);
        info.data_type = DataType { descriptor: vec![1; 3000].into(), ..DataType::default() };
        see(tables, now, role, &info);
        tables.publisher(b"host", info.topic_id).map(|(_, known)| known.descriptor.len())
    };
    assert_eq!(described(&mut tables, 0, Role::Subscriber), None);
    let lens = [1, 2, 3, 4].map(|id| described(&mut tables, id, Role::Publisher).unwrap());
    assert_eq!(lens, [3000, 3000, 0, 0]);
    assert!(tables.bytes() <= 10_000);
    tables.gone(Role::Publisher, &TopicInfo { topic_id: EntityId::new(7, 1, 1), ..info("a", 0) });
    assert_eq!(described(&mut tables, 4, Role::Publisher), Some(3000), "as soon as there is room");
}

#[test]
fn a_process_with_a_node_of_another_kind_is_not_taken_for_this_crate() {
    let mut tables = tables();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let mut register = |seconds, shares_groups| {
        tables.expire(at(seconds), TIMEOUT);
        tables
            .process_seen(at(seconds), b"host", 7, Runtime { shares_groups, joins_segments: false })
            .unwrap();
        tables.runtime(&info("a", 1)).shares_groups
    };
    assert!(register(0, true));
    assert!(!register(1, false));
    assert!(!register(2, true), "it has nodes of both kinds");
    assert!(register(11, true), "the other one is gone");
}

#[test]
fn a_peer_without_a_layer_of_ours_is_timed_while_there_is_a_counterpart() {
    let mut tables = tables();
    let start = Instant::now();
    let see = |seconds, tables: &mut Tables, has_layer| {
        let now = start + Duration::from_secs(seconds);
        let seen = tables.seen(now, Role::Publisher, &info("a", 1), None, has_layer).unwrap().seen;
        (seen.has_counterpart, seen.without_layer_for.map(|time| time.as_secs()))
    };
    assert_eq!(see(0, &mut tables, false), (false, None));
    tables.add(entity(Role::Subscriber, "a", ""));
    assert_eq!(see(1, &mut tables, false), (true, Some(0)));
    assert_eq!(see(3, &mut tables, false), (true, Some(2)));
    assert_eq!(see(4, &mut tables, true), (true, None));
    assert_eq!(see(5, &mut tables, false), (true, Some(0)));
}
