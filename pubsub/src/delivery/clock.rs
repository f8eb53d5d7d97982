//! Drops repeated and late messages, and finds those that are missing, by the publishers' clocks.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrocal_proto::EntityId;

use crate::layer::Origin;

/// The clock of a publisher that has left is known for this time, so that what is on its way twice is not delivered twice.
const KEEP: Duration = Duration::from_secs(10);

/// The newest clock of each publisher.
#[derive(Debug)]
pub(super) struct ClockFilter {
    max_publishers: usize,
    publishers: Vec<Newest>,
    /// Where in `publishers` each is.
    indexes: HashMap<Arc<Origin>, usize>,
    /// Where the publisher of the message before is: consecutive messages often have the same.
    latest: usize,
    /// Messages that were looked at.
    arrivals: u64,
}

#[derive(Debug)]
struct Newest {
    origin: Arc<Origin>,
    clock: i64,
    /// Which of the latest messages arrived: bit `n` is that of the clock `n` below the newest.
    arrived: u128,
    /// The number of the arrival.
    arrival: u64,
    /// When the publisher left, if nothing newer came since.
    left: Option<Instant>,
}

impl Newest {
    fn is_over(&self, now: Instant) -> bool {
        self.left.is_some_and(|left| now.saturating_duration_since(left) >= KEEP)
    }
}

/// What a message's clock says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// It is newer than all before it; so many are missing between.
    New {
        /// Messages that did not arrive.
        missing: u64,
    },
    /// It arrived before.
    Duplicate,
    /// A newer one arrived before, or was given up. It was counted as missing then. One that arrived before counts as late,
    /// too, if 128 newer ones came since.
    Late,
}

impl ClockFilter {
    pub(super) fn new(max_publishers: usize) -> Self {
        Self {
            max_publishers: max_publishers.max(1),
            publishers: Vec::new(),
            indexes: HashMap::new(),
            latest: 0,
            arrivals: 0,
        }
    }

    /// Stores the clock of a message that arrived.
    pub(super) fn check(&mut self, origin: &Arc<Origin>, clock: i64, now: Instant) -> Order {
        self.look_at(origin, clock, now, true)
    }

    fn look_at(&mut self, origin: &Arc<Origin>, clock: i64, now: Instant, has_arrived: bool) -> Order {
        self.arrivals += 1;
        let arrival = self.arrivals;
        if self.publishers.get(self.latest).is_none_or(|newest| !Arc::ptr_eq(&newest.origin, origin)) {
            let Some(&index) = self.indexes.get(origin) else {
                self.make_room();
                self.latest = self.publishers.len();
                self.indexes.insert(origin.clone(), self.latest);
                let arrived = u128::from(has_arrived);
                self.publishers.push(Newest { origin: origin.clone(), clock, arrived, arrival, left: None });
                return Order::New { missing: 0 };
            };
            self.latest = index;
            // The same publisher, perhaps as another value.
            self.publishers[index].origin = origin.clone();
        }
        let newest = &mut self.publishers[self.latest];
        if newest.is_over(now) {
            let (arrived, origin) = (u128::from(has_arrived), origin.clone());
            *newest = Newest { origin, clock, arrived, arrival, left: None };
            return Order::New { missing: 0 };
        }
        let step = clock.saturating_sub(newest.clock);
        let distance = step.unsigned_abs();
        let shift = u32::try_from(distance).unwrap_or(u32::MAX);
        if step > 0 {
            (newest.clock, newest.arrival) = (clock, arrival);
            newest.arrived = newest.arrived.checked_shl(shift).unwrap_or(0) | u128::from(has_arrived);
            // What it sent while it was not there is not missed.
            let missing = if newest.left.take().is_some() { 0 } else { distance - 1 };
            return Order::New { missing };
        }
        let bit = 1u128.checked_shl(shift).unwrap_or(0);
        if newest.arrived & bit != 0 {
            return Order::Duplicate;
        }
        if has_arrived {
            newest.arrived |= bit;
        }
        Order::Late
    }

    /// Stores the clock of a message that was given up. Returns how many are missing with it that were not known of.
    pub(super) fn lost(&mut self, origin: &Arc<Origin>, clock: i64, now: Instant) -> u64 {
        match self.look_at(origin, clock, now, false) {
            Order::New { missing } => missing.saturating_add(1),
            Order::Duplicate | Order::Late => 0,
        }
    }

    /// Takes note that a publisher has left, and forgets those that left long before.
    pub(super) fn left(&mut self, host_name: &[u8], id: EntityId, now: Instant) {
        for index in (0..self.publishers.len()).rev() {
            let newest = &mut self.publishers[index];
            if newest.is_over(now) {
                self.remove(index);
            } else if newest.origin.id == id && *newest.origin.host_name == *host_name {
                newest.left = Some(now);
            }
        }
    }

    /// Forgets one publisher if there are too many: one that has left, or the one that was silent longest.
    fn make_room(&mut self) {
        let rank = |newest: &Newest| (newest.left.is_none(), newest.arrival);
        if self.publishers.len() >= self.max_publishers
            && let Some((oldest, _)) =
                self.publishers.iter().enumerate().min_by_key(|(_, newest)| rank(newest))
        {
            self.remove(oldest);
        }
    }

    fn remove(&mut self, index: usize) {
        self.indexes.remove(&self.publishers.swap_remove(index).origin);
        if let Some(moved) = self.publishers.get(index) {
            self.indexes.insert(moved.origin.clone(), index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(host: &str, id: u64) -> Arc<Origin> {
        Arc::new(Origin { host_name: host.into(), id: EntityId::from_wire(id.to_string()) })
    }

    const fn new(missing: u64) -> Order {
        Order::New { missing }
    }

    #[test]
    fn repeated_and_late_messages_are_seen_and_gaps_counted() {
        let now = Instant::now();
        let mut filter = ClockFilter::new(8);
        let origin = origin("a", 1);
        let orders = [5, 6, 6, 9, 8, 10].map(|clock| filter.check(&origin, clock, now));
        assert_eq!(orders, [new(0), new(0), Order::Duplicate, new(2), Order::Late, new(0)]);
    }

    #[test]
    fn what_arrived_late_is_told_from_what_arrived_twice() {
        let now = Instant::now();
        let mut filter = ClockFilter::new(8);
        let origin = origin("a", 1);
        let orders = [1, 4, 2, 2, 1, 4, 3, 3].map(|clock| filter.check(&origin, clock, now));
        let (twice, late) = (Order::Duplicate, Order::Late);
        assert_eq!(orders, [new(0), new(2), late, twice, twice, twice, late, twice]);
        assert_eq!(filter.lost(&origin, 5, now), 1);
        assert_eq!(
            [5, 5].map(|clock| filter.check(&origin, clock, now)),
            [late, twice],
            "it was given up too early"
        );
        // As far back as is remembered.
        assert_eq!(filter.check(&origin, 5 + 127, now), new(126));
        assert_eq!([5, 4].map(|clock| filter.check(&origin, clock, now)), [twice, late]);
        assert_eq!(filter.check(&origin, 5 + 127 + 1000, now), new(999));
        assert_eq!(filter.check(&origin, 5 + 127, now), late);
    }

    #[test]
    fn each_publisher_has_a_clock_of_its_own_on_each_host() {
        let now = Instant::now();
        let mut filter = ClockFilter::new(8);
        assert_eq!(filter.check(&origin("a", 1), 7, now), new(0));
        assert_eq!(filter.check(&origin("a", 2), 7, now), new(0));
        assert_eq!(filter.check(&origin("b", 1), 7, now), new(0), "ids repeat between hosts");
        assert_eq!(filter.check(&origin("b", 1), 7, now), Order::Duplicate);
    }

    #[test]
    fn clocks_from_the_network_cannot_overflow() {
        let now = Instant::now();
        let mut filter = ClockFilter::new(8);
        let origin = origin("a", 1);
        let orders = [i64::MIN, i64::MAX, i64::MIN].map(|clock| filter.check(&origin, clock, now));
        assert_eq!(orders, [new(0), new(i64::MAX as u64 - 1), Order::Late]);
    }

    #[test]
    fn what_was_given_up_counts_once() {
        let now = Instant::now();
        let mut filter = ClockFilter::new(8);
        let origin = origin("a", 1);
        assert_eq!(filter.lost(&origin, 3, now), 1, "the first one may be lost, too");
        assert_eq!(filter.check(&origin, 4, now), new(0), "the gap is known of");
        assert_eq!(filter.lost(&origin, 6, now), 2, "so is the one before it");
        assert_eq!(filter.check(&origin, 8, now), new(1));
        assert_eq!(filter.lost(&origin, 7, now), 0, "its gap was counted when a later one came");
    }

    #[test]
    fn the_publisher_that_was_silent_longest_is_forgotten() {
        let now = Instant::now();
        let mut filter = ClockFilter::new(2);
        for id in 1..=3 {
            filter.check(&origin("a", id), 7, now);
        }
        assert_eq!(filter.check(&origin("a", 3), 7, now), Order::Duplicate);
        assert_eq!(filter.check(&origin("a", 1), 7, now), new(0), "it made room for the third");
    }

    #[test]
    fn what_comes_again_after_its_publisher_left_is_known_for_some_time() {
        let now = Instant::now();
        let mut filter = ClockFilter::new(8);
        let (one, other) = (origin("a", 1), origin("a", 2));
        for clock in [1, 2, 4] {
            filter.check(&one, clock, now);
        }
        filter.check(&other, 1, now);
        filter.left(b"a", one.id, now);
        let orders = [4, 3, 2].map(|clock| filter.check(&one, clock, now + KEEP / 2));
        assert_eq!(orders, [Order::Duplicate, Order::Late, Order::Duplicate]);
        assert_eq!(filter.check(&one, 9, now + KEEP / 2), new(0), "it is there again");
        assert_eq!(filter.check(&one, 11, now + 2 * KEEP), new(1), "it has not left since");
        filter.left(b"a", one.id, now);
        assert_eq!(filter.check(&one, 1, now + KEEP), new(0), "one that begins anew");
        filter.left(b"a", one.id, now);
        filter.left(b"a", other.id, now + KEEP);
        assert_eq!(filter.publishers.len(), 1, "the first one is forgotten");
        assert_eq!(filter.check(&other, 1, now + KEEP), Order::Duplicate);
    }

    #[test]
    fn those_that_left_make_room_first() {
        let now = Instant::now();
        let mut filter = ClockFilter::new(2);
        filter.check(&origin("a", 1), 7, now);
        filter.check(&origin("a", 2), 7, now);
        filter.left(b"a", origin("a", 2).id, now);
        filter.check(&origin("a", 3), 7, now);
        assert_eq!(filter.check(&origin("a", 1), 7, now), Order::Duplicate);
        assert_eq!(filter.check(&origin("a", 3), 7, now), Order::Duplicate);
        assert_eq!(filter.check(&origin("a", 2), 7, now), new(0), "it made room for the third");
    }
}
