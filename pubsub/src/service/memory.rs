//! The memory that the connections of a node share: what they are receiving and answering.

use std::collections::HashMap;

use ferrocal_proto::MAX_NAME_LEN;

use crate::ServiceLimits;

/// What a request has at most beside its payload: the method's name, and tags and lengths.
pub(super) const MAX_HEAD_LEN: usize = MAX_NAME_LEN + 1024;

/// What connections hold, by their tokens.
pub(super) struct Memory {
    max: usize,
    bytes: usize,
    held: HashMap<usize, Held>,
    /// Connections that had to make room, and are still to be closed.
    evicted: Vec<usize>,
}

struct Held {
    bytes: usize,
    /// A method works on it: to close the connection would give nothing back.
    is_in_use: bool,
}

impl Memory {
    pub(super) fn new(limits: &ServiceLimits) -> Self {
        // The longest message may be all that there is room for.
        let max = limits.max_bytes.saturating_add(MAX_HEAD_LEN);
        Self { max, bytes: 0, held: HashMap::new(), evicted: Vec::new() }
    }

    /// Stores what a connection holds. If that is too much, those that hold more than it make room: whoever begins long
    /// requests and does not end them is to keep nobody out. Returns whether there is room.
    #[must_use]
    pub(super) fn hold(&mut self, token: usize, bytes: usize) -> bool {
        let before = self.release(token);
        self.bytes += bytes;
        self.held.insert(token, Held { bytes, is_in_use: false });
        if bytes <= before {
            return true;
        }
        while self.bytes > self.max {
            let larger = self.held.iter().filter(|(_, held)| !held.is_in_use && held.bytes > bytes);
            let largest = larger.max_by_key(|(_, held)| held.bytes).map(|(&token, _)| token);
            let Some(largest) = largest else { return false };
            self.release(largest);
            self.evicted.push(largest);
        }
        true
    }

    /// A method works on what a connection holds, until that is stored anew or released.
    pub(super) fn use_held(&mut self, token: usize) {
        if let Some(held) = self.held.get_mut(&token) {
            held.is_in_use = true;
        }
    }

    /// A connection, or the method that it has left running, holds nothing any more. Returns how much it held.
    pub(super) fn release(&mut self, token: usize) -> usize {
        let bytes = self.held.remove(&token).map_or(0, |held| held.bytes);
        self.bytes -= bytes;
        bytes
    }

    /// A connection that is to be closed, because another one needed the room.
    pub(super) fn next_evicted(&mut self) -> Option<usize> {
        self.evicted.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(max: usize) -> Memory {
        Memory { max, ..Memory::new(&ServiceLimits::default()) }
    }

    #[test]
    fn the_longest_message_has_room_with_its_header() {
        let mut memory = Memory::new(&ServiceLimits::default().max_bytes(100));
        assert!(memory.hold(1, 100 + MAX_HEAD_LEN));
        memory.use_held(1);
        assert!(!memory.hold(2, 1), "all counts");
    }

    #[test]
    fn who_holds_most_makes_room() {
        let mut memory = memory(100);
        assert!(memory.hold(1, 30) && memory.hold(2, 40) && memory.hold(3, 20));
        assert!(memory.hold(4, 20));
        assert_eq!([memory.next_evicted(), memory.next_evicted()], [Some(2), None]);
        assert!(!memory.hold(3, 60), "nobody holds more");
        assert_eq!([memory.release(3), memory.release(2), memory.bytes], [60, 0, 50]);
    }

    #[test]
    fn what_a_method_works_on_is_not_given_back() {
        let mut memory = memory(100);
        assert!(memory.hold(1, 90));
        memory.use_held(1);
        assert!(!memory.hold(2, 20), "there is no room");
        assert!(memory.hold(2, 5), "it has become less");
        // It is answered now.
        assert!(memory.hold(1, 80) && memory.hold(2, 30));
        assert_eq!((memory.next_evicted(), memory.bytes), (Some(1), 30));
        memory.release(2);
        assert_eq!(memory.bytes, 0);
    }
}
