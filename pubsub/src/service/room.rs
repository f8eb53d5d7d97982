//! Who makes room when there are as many connections as there may be.

use std::collections::HashMap;
use std::hash::Hash;

/// A connection among others, of which each peer is to have its share.
pub(super) struct Place<P> {
    /// It is greater if the connection is newer.
    pub(super) token: usize,
    pub(super) peer: P,
    pub(super) usage: Usage,
}

/// What a connection is used for. Those that are used less make room first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Usage {
    /// The other side has still to say which versions it speaks.
    Handshake,
    /// For nothing at present.
    Idle,
    /// Something is received, called or answered.
    Busy,
    /// A method runs.
    Running,
}

/// The connection that makes room for one of `newcomer`: one of the peer with most connections, if it has more than one
/// more, so that nobody can take all places. Among those of one peer, only one without a handshake makes room.
pub(super) fn make_room<P: Eq + Hash>(places: &[Place<P>], newcomer: &P) -> Option<usize> {
    let mut counts = HashMap::<&P, usize>::new();
    places.iter().for_each(|place| *counts.entry(&place.peer).or_default() += 1);
    let own = counts.get(newcomer).copied().unwrap_or(0);
    let (peer, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    let (peer, least) = if most > own + 1 { (peer, Usage::Running) } else { (newcomer, Usage::Handshake) };
    let of_peer = places.iter().filter(|place| place.peer == *peer && place.usage <= least);
    of_peer
        .min_by_key(|place| {
            // One without a handshake that has just come is about to send it.
            let is_young = place.usage == Usage::Handshake;
            (place.usage, if is_young { place.token } else { usize::MAX - place.token })
        })
        .map(|place| place.token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(usages: &[(char, Usage)]) -> Vec<Place<char>> {
        let place = |(token, &(peer, usage))| Place { token, peer, usage };
        usages.iter().enumerate().map(place).collect()
    }

    #[test]
    fn the_peer_with_most_makes_room() {
        use Usage::{Busy, Handshake, Idle, Running};
        let full = places(&[('a', Idle), ('b', Idle), ('b', Idle), ('b', Running), ('b', Busy), ('a', Idle)]);
        assert_eq!(make_room(&full, &'c'), Some(2), "the newest that is idle");
        assert_eq!(make_room(&full, &'a'), Some(2));
        assert_eq!(make_room(&full, &'b'), None, "nobody has more");
        let full = places(&[('a', Running), ('b', Running), ('b', Running), ('b', Busy)]);
        assert_eq!(make_room(&full, &'c'), Some(3));
        assert_eq!(make_room(&full[..3], &'c'), Some(2), "there is no other");
        assert_eq!(make_room(&places(&[('a', Idle), ('b', Idle)]), &'c'), None, "each has one");
        assert_eq!(make_room(&places(&[('a', Idle), ('b', Handshake)]), &'a'), None);
        assert_eq!(make_room::<char>(&[], &'a'), None);
    }

    #[test]
    fn the_oldest_without_a_handshake_makes_room_for_its_own_peer() {
        use Usage::{Handshake, Idle};
        let full = places(&[('a', Idle), ('a', Handshake), ('a', Handshake), ('b', Handshake)]);
        assert_eq!(make_room(&full, &'a'), Some(1));
        assert_eq!(make_room(&full, &'b'), Some(1));
    }
}
