//! The messages that are done with, so that what is left of them starts none anew.

use core::time::Duration;

use super::Key;
use crate::DropReason;

/// How many messages are remembered.
///
/// Late datagrams are those still in some queue, so a few messages back is far enough.
const LEN: usize = 64;

/// The latest messages that were completed or given up, in a ring.
#[derive(Debug)]
pub(super) struct Closed {
    ring: [Option<Entry>; LEN],
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    reason: DropReason,
    since: Duration,
}

impl Default for Closed {
    fn default() -> Self {
        Self { ring: [None; LEN], next: 0 }
    }
}

impl Closed {
    /// Remembers a message, and why to drop what comes of it.
    pub(super) fn insert(&mut self, now: Duration, key: Key, reason: DropReason) {
        self.ring[self.next] = Some(Entry { key, reason, since: now });
        self.next = (self.next + 1) % LEN;
    }

    /// Returns why to drop a datagram of this message, if it was closed within the timeout.
    pub(super) fn find(&self, now: Duration, timeout: Duration, key: Key) -> Option<DropReason> {
        // Most of what comes late is of the newest.
        let (newer, older) = self.ring.split_at(self.next);
        newer
            .iter()
            .rev()
            .chain(older.iter().rev())
            .flatten()
            .find(|entry| entry.key == key && now.saturating_sub(entry.since) < timeout)
            .map(|entry| entry.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, SocketAddrV4};

    const SECOND: Duration = Duration::from_secs(1);

    fn key(id: i32) -> Key {
        Key { source: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1), id }
    }

    #[test]
    fn remembers_the_latest_for_the_timeout() {
        let mut closed = Closed::default();
        for id in 0..=LEN as i32 {
            closed.insert(SECOND, key(id), DropReason::Duplicate);
        }
        let find = |now, id| closed.find(now, SECOND, key(id));
        assert_eq!(find(SECOND, 0), None);
        assert_eq!(find(SECOND, 1), Some(DropReason::Duplicate));
        assert_eq!(find(SECOND, LEN as i32), Some(DropReason::Duplicate));
        assert_eq!(find(2 * SECOND, 1), None);
    }
}
