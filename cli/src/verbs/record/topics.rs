//! The topics that are recorded.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrocal::{Change, ChangeKind, Feed, Monitor, Node, Registered, Subscription, TopicInfo};
use serde_json::json;

use crate::recording::{Intake, OTHERS, Patterns, Raw, RecordedTopic};

/// How often all topics are looked at again, in case news of some were dropped.
const LOOK_AGAIN_EVERY: Duration = Duration::from_secs(2);

/// How many topics are recorded at one time, besides those that are named.
pub(super) const MAX_TOPICS: usize = 8192;

/// How often topics are looked for that nobody publishes any more, when there is no room for others.
const MAKE_ROOM_EVERY: Duration = Duration::from_millis(200);

/// How many topics are said whose names are not UTF-8.
const MAX_NOT_UTF8: usize = 5;

/// Subscribes what is recorded.
pub(super) struct Topics<'a> {
    node: &'a Node,
    patterns: Patterns,
    intake: Arc<Intake>,
    monitor: Monitor,
    changes: Feed<Change>,
    looked: Instant,
    subscriptions: HashMap<String, Subscribed>,
    /// What came of topics that nobody publishes any more.
    ended: BTreeMap<String, Row>,
    /// The same of those of which messages may still wait, with how many never arrived.
    leaving: Vec<(String, Arc<RecordedTopic>, u64)>,
    /// The names that are not UTF-8 and were said, and how many publishers of others appeared.
    not_utf8: (HashSet<Vec<u8>>, u64),
    /// How many topics are recorded at one time, besides those that are named.
    max: usize,
    /// How many topics there was no room for at one time, at most.
    pub(super) left_out: u64,
}

struct Subscribed {
    /// `None` of one that cannot be subscribed.
    subscription: Option<Subscription<Raw>>,
    topic: Arc<RecordedTopic>,
    is_named: bool,
    /// Since when nobody publishes it.
    unpublished: Option<Instant>,
}

/// A topic at the end.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) topic: String,
    pub(super) publishers: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) lost: u64,
    pub(super) queue_full: u64,
}

impl Row {
    pub(super) fn json(&self) -> serde_json::Value {
        let Self { topic, publishers, messages, bytes, lost, queue_full } = self;
        json!({
            "topic": topic,
            "publishers": publishers,
            "messages": messages,
            "bytes": bytes,
            "lost": lost,
            "queue_full": queue_full,
        })
    }

    fn of(topic: &RecordedTopic, name: &str, lost: u64) -> Self {
        let (publishers, messages, bytes) = topic.recorded();
        Self { topic: name.to_owned(), publishers, messages, bytes, lost, queue_full: topic.refused() }
    }

    fn add(&mut self, other: &Self) {
        self.publishers += other.publishers;
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.lost += other.lost;
        self.queue_full += other.queue_full;
    }

    fn is_empty(&self) -> bool {
        self.messages + self.lost + self.queue_full == 0
    }
}

impl Subscribed {
    fn lost(&self) -> u64 {
        self.subscription.as_ref().map_or(0, |subscription| subscription.stats().lost)
    }

    /// Whether the node knows a publisher, even if the monitor has no room for it.
    fn is_published(&self) -> bool {
        self.subscription.as_ref().is_some_and(|subscription| subscription.publisher_count() > 0)
    }

    /// Ends it. The counts of what was written follow later.
    fn end(self) -> (Arc<RecordedTopic>, u64) {
        if let Some(subscription) = &self.subscription {
            subscription.close();
        }
        let lost = self.lost();
        (self.topic, lost)
    }
}

/// Adds what came of a topic to that of others.
fn add_row(rows: &mut BTreeMap<String, Row>, row: &Row) {
    if row.is_empty() {
        return;
    }
    let topic = if rows.len() < MAX_TOPICS || rows.contains_key(&row.topic) { &row.topic } else { OTHERS };
    let sum = rows.entry(topic.to_owned()).or_default();
    topic.clone_into(&mut sum.topic);
    sum.add(row);
}

impl<'a> Topics<'a> {
    pub(super) fn new(node: &'a Node, patterns: Patterns, intake: Arc<Intake>) -> Self {
        let monitor = node.monitor();
        let changes = monitor.changes();
        let names = patterns.names.clone();
        let mut topics = Self {
            node,
            patterns,
            intake,
            monitor,
            changes,
            looked: Instant::now(),
            subscriptions: HashMap::new(),
            ended: BTreeMap::new(),
            leaving: Vec::new(),
            not_utf8: (HashSet::new(), 0),
            max: MAX_TOPICS,
            left_out: 0,
        };
        // Before anybody publishes them, so that not even a first message is missed.
        names.iter().for_each(|name| _ = topics.subscribe(name));
        topics
    }

    /// Subscribes what came since the last time, and ends what nobody publishes any more.
    pub(super) fn look(&mut self) {
        /// As many as wait at most.
        const MAX_CHANGES: usize = 65_536;
        let changes = std::iter::from_fn(|| self.changes.try_recv()).take(MAX_CHANGES);
        let of_publishers = changes.filter_map(|change| match change.what {
            Registered::Publisher(info) => {
                Some((matches!(change.kind, ChangeKind::Left | ChangeKind::Expired), change.kind, info))
            }
            _ => None,
        });
        let changes: Vec<_> = of_publishers.collect();
        // To one that came and went, a subscription would say nothing any more.
        let mut gone = HashSet::new();
        for (is_gone, _, info) in &changes {
            let key = (info.topic_id, info.process_id);
            _ = if *is_gone { gone.insert(key) } else { gone.remove(&key) };
        }
        let mut has_no_room = false;
        for (is_gone, kind, info) in &changes {
            if *is_gone {
                self.intake.unregister(info);
            } else if let Some(name) = self.wanted(info, *kind == ChangeKind::Appeared) {
                self.intake.register(info);
                let is_here = !gone.contains(&(info.topic_id, info.process_id));
                has_no_room |= is_here && !self.subscribe(name);
            }
        }
        let since = self.looked.elapsed();
        if since >= LOOK_AGAIN_EVERY || has_no_room && since >= MAKE_ROOM_EVERY {
            self.look_again(Instant::now());
        }
        self.forget_left();
    }

    /// Looks at all topics.
    fn look_again(&mut self, now: Instant) {
        self.looked = now;
        let publishers: Vec<_> =
            self.monitor.snapshot().publishers.into_iter().map(|seen| seen.info).collect();
        let patterns = &self.patterns;
        let named = publishers.iter().filter_map(|info| Some((info, str::from_utf8(&info.topic_name).ok()?)));
        let wanted: Vec<_> = named.filter(|(_, name)| patterns.matches(name)).collect();
        wanted.iter().for_each(|(info, _)| self.intake.register(info));
        self.intake.set_registered(&publishers);
        let published: HashSet<_> = wanted.into_iter().map(|(_, name)| name).collect();
        self.end_unpublished(&published, now);
        let left_out = published.iter().filter(|name| !self.subscribe(name)).count() as u64;
        if left_out > 0 && self.left_out == 0 {
            log::warn!("there are more than {} topics; of others nothing is recorded", self.max);
        }
        self.left_out = self.left_out.max(left_out);
    }

    /// Ends what nobody has published for as long as the node remembers publishers, or at once if there is no room for others: a
    /// publisher that comes back has to find a subscriber again then.
    fn end_unpublished(&mut self, published: &HashSet<&str>, now: Instant) {
        let timeout = self.node.config().registration.timeout;
        let is_full = self.subscriptions.len() >= self.max;
        let mut ended = Vec::new();
        for (name, one) in &mut self.subscriptions {
            if one.is_named || published.contains(&**name) || one.is_published() {
                one.unpublished = None;
            } else if is_full || now - *one.unpublished.get_or_insert(now) >= timeout {
                ended.push(name.clone());
            }
        }
        for name in ended {
            if let Some(one) = self.subscriptions.remove(&name) {
                let (topic, lost) = one.end();
                self.leaving.push((name, topic, lost));
            }
        }
    }

    /// Adds up the counts of topics that were ended and of which no message waits.
    fn forget_left(&mut self) {
        for (name, topic, lost) in std::mem::take(&mut self.leaving) {
            if Arc::strong_count(&topic) > 1 {
                self.leaving.push((name, topic, lost));
            } else {
                add_row(&mut self.ended, &Row::of(&topic, &name, lost));
            }
        }
    }

    /// The name of a publisher's topic if it is recorded.
    fn wanted<'i>(&mut self, info: &'i TopicInfo, is_new: bool) -> Option<&'i str> {
        match str::from_utf8(&info.topic_name) {
            Ok(name) => self.patterns.matches(name).then_some(name),
            Err(_) => {
                let (said, more) = &mut self.not_utf8;
                if is_new
                    && self.patterns.matches(&info.topic_name.to_str_lossy())
                    && !said.contains(info.topic_name.as_bytes())
                {
                    if said.len() < MAX_NOT_UTF8 {
                        said.insert(info.topic_name.as_bytes().to_vec());
                        log::warn!("topic {}: its name is not UTF-8; it is not recorded", info.topic_name);
                    } else {
                        *more += 1;
                    }
                }
                None
            }
        }
    }

    /// Returns whether there was room.
    fn subscribe(&mut self, name: &str) -> bool {
        if self.subscriptions.contains_key(name) {
            return true;
        }
        let is_named = self.patterns.names.iter().any(|one| one == name);
        if !is_named && self.subscriptions.len() >= self.max {
            return false;
        }
        let topic = Arc::new(RecordedTopic::new(name));
        let (intake, recorded) = (self.intake.clone(), topic.clone());
        // On the thread that receives: there is one queue of messages, that to the disk. A recording is of all that comes,
        // whatever subscribers drop.
        let config = self.node.config().subscriber.clone().inline(true).drop_out_of_order(false);
        let subscribed =
            self.node.subscribe_with::<Raw>(name, config, move |message| intake.take(&recorded, message));
        let subscription = subscribed.inspect_err(|error| log::warn!("{error}; it is not recorded")).ok();
        let subscribed = Subscribed { subscription, topic, is_named, unpublished: None };
        self.subscriptions.insert(name.to_owned(), subscribed);
        true
    }

    /// How many messages never arrived, by topic.
    pub(super) fn lost(&self) -> BTreeMap<String, u64> {
        let ended = self.ended.values().map(|row| (&row.topic, row.lost));
        let leaving = self.leaving.iter().map(|(name, _, lost)| (name, *lost));
        let open = self.subscriptions.iter().map(|(name, one)| (name, one.lost()));
        let mut sums = BTreeMap::new();
        for (name, lost) in ended.chain(leaving).chain(open).filter(|(_, lost)| *lost > 0) {
            *sums.entry(name.clone()).or_default() += lost;
        }
        sums
    }

    pub(super) fn queue_full(&self) -> u64 {
        let leaving = self.leaving.iter().map(|(_, topic, _)| topic.refused());
        let open = self.subscriptions.values().map(|one| one.topic.refused());
        self.ended.values().map(|row| row.queue_full).chain(leaving).chain(open).sum()
    }

    /// How many topics are subscribed.
    pub(super) fn len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Ends all subscriptions. Returns what came of them.
    pub(super) fn close(mut self) -> Vec<Row> {
        if self.not_utf8.1 > 0 {
            log::warn!("more publishers of topics whose names are not UTF-8: {}", self.not_utf8.1);
        }
        for (name, one) in std::mem::take(&mut self.subscriptions) {
            let (topic, lost) = one.end();
            self.leaving.push((name, topic, lost));
        }
        self.intake.close();
        // The counts are final only now.
        self.intake.wait_until_written();
        let mut rows = self.ended;
        for (name, topic, lost) in &self.leaving {
            add_row(&mut rows, &Row::of(topic, name, *lost));
        }
        rows.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use ferrocal::transport::memory::Network;
    use ferrocal::{Config, Mode, Publisher};
    use regex::Regex;

    use super::*;

    /// Bounds a hang. No test takes as long unless it fails.
    const HANG: Duration = Duration::from_secs(60);

    /// A node that records, and one that publishes.
    fn nodes() -> (Node, Node) {
        let network = Network::new(1);
        let node = |name: &str| {
            let config = Config::default().mode(Mode::Network);
            Node::with_transport(name, config, Arc::new(network.host())).unwrap()
        };
        (node("recorder"), node("robot"))
    }

    fn topics<'a>(node: &'a Node, names: &[&str]) -> Topics<'a> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        let patterns = Patterns { names, include: vec![Regex::new("").unwrap()], exclude: Vec::new() };
        Topics::new(node, patterns, Arc::new(Intake::new(1 << 20, 1 << 20)))
    }

    fn until(topics: &mut Topics<'_>, is_so: impl Fn(&Topics<'_>) -> bool) {
        let start = Instant::now();
        while !is_so(topics) {
            assert!(start.elapsed() < HANG, "{:?}", topics.subscriptions.keys());
            topics.look();
            std::thread::yield_now();
        }
    }

    fn is_seen(topics: &Topics<'_>, name: &str) -> bool {
        topics.monitor.snapshot().publishers.iter().any(|seen| &*seen.info.topic_name == name.as_bytes())
    }

    #[test]
    fn what_nobody_publishes_any_more_is_ended_unless_it_was_named() {
        let (node, other) = nodes();
        let mut topics = topics(&node, &["named"]);
        let publishers: Vec<Publisher<str>> =
            ["named", "a", "b"].iter().map(|name| other.publisher(name).unwrap()).collect();
        until(&mut topics, |topics| topics.len() == 3);
        assert!(publishers[1].wait_for_subscriber(HANG));
        publishers[1].send("x").unwrap();
        let start = Instant::now();
        while topics.intake.is_empty() {
            assert!(start.elapsed() < HANG);
            std::thread::yield_now();
        }
        let mut publishers = publishers;
        let stays = publishers.pop().unwrap();
        drop(publishers);
        until(&mut topics, |topics| !is_seen(topics, "a") && !is_seen(topics, "named"));
        let start = Instant::now();
        while topics.subscriptions["a"].is_published() {
            assert!(start.elapsed() < HANG);
            std::thread::yield_now();
        }
        let now = Instant::now();
        topics.look_again(now);
        assert_eq!(topics.len(), 3, "it may come back");
        topics.look_again(now + node.config().registration.timeout);
        let mut left: Vec<_> = topics.subscriptions.keys().map(|name| &**name).collect();
        left.sort_unstable();
        assert_eq!(left, ["b", "named"]);
        // Its message waits, and its counts are not final.
        topics.forget_left();
        assert_eq!(topics.leaving.len(), 1);
        drop(stays);
    }

    #[test]
    fn the_counts_of_what_was_ended_stay() {
        let (node, _other) = nodes();
        let mut topics = topics(&node, &[]);
        let topic = Arc::new(RecordedTopic::new("a"));
        topics.leaving.push(("a".to_owned(), topic.clone(), 2));
        topics.leaving.push(("a".to_owned(), Arc::new(RecordedTopic::new("a")), 3));
        topics.leaving.push(("b".to_owned(), Arc::new(RecordedTopic::new("b")), 0));
        topics.forget_left();
        assert_eq!((topics.leaving.len(), topics.ended["a"].lost, topics.ended.len()), (1, 3, 1));
        assert_eq!(topics.lost()["a"], 5);
        drop(topic);
        topics.forget_left();
        assert_eq!((topics.leaving.len(), topics.ended["a"].lost), (0, 5));
    }

    #[test]
    fn topics_beyond_the_bound_are_left_out_until_others_are_gone() {
        let (node, other) = nodes();
        let mut topics = topics(&node, &[]);
        topics.max = 2;
        let publisher = |name: &str| -> Publisher<str> { other.publisher(name).unwrap() };
        let first = [publisher("a"), publisher("b")];
        until(&mut topics, |topics| topics.len() == 2);
        let _third = publisher("c");
        until(&mut topics, |topics| topics.left_out == 1);
        assert!(topics.len() == 2 && !topics.subscriptions.contains_key("c"));
        drop(first);
        until(&mut topics, |topics| topics.subscriptions.contains_key("c"));
        assert!(topics.len() <= 2);
    }

    #[test]
    fn names_that_are_not_utf8_are_said_a_few_times_if_they_were_asked_for() {
        let (node, _other) = nodes();
        let info = |n: u32| TopicInfo {
            topic_name: format!("bad{n}").into_bytes().into_iter().chain([0xFF]).collect::<Vec<_>>().into(),
            ..TopicInfo::default()
        };
        let mut all = topics(&node, &[]);
        let mut one = topics(&node, &["named"]);
        one.patterns.include.clear();
        for topics in [&mut all, &mut one] {
            for n in 0..20 {
                assert!(topics.wanted(&info(n), true).is_none());
                assert!(topics.wanted(&info(n), false).is_none(), "once");
            }
        }
        assert_eq!((all.not_utf8.0.len(), all.not_utf8.1), (MAX_NOT_UTF8, 15));
        assert_eq!((one.not_utf8.0.len(), one.not_utf8.1), (0, 0));
        assert_eq!((all.len(), one.len()), (0, 1));
    }
}
