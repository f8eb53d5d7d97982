//! Recognizes a frame that a second capture sees.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use crate::frame::Udp;

/// Datagrams remembered: more than pass between the first and the second sight of one.
const SLOTS: usize = 1024;
/// A frame reaches all captures of a machine within milliseconds; IPv4 identifications come again after seconds.
const WINDOW: Duration = Duration::from_secs(1);
/// Enough for the header of a datagram and the start of its payload, which distinguishes messages.
const HASHED_LEN: usize = 128;

/// The datagrams seen lately, on captures that may see the same frame: a bridge and its ports, a VLAN and its card.
pub(super) struct Recent {
    hasher: RandomState,
    slots: Vec<Option<Seen>>,
}

#[derive(Clone, Copy)]
struct Seen {
    hash: u64,
    capture: u32,
    at: Duration,
}

impl Recent {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), slots: vec![None; SLOTS] }
    }

    /// Whether another capture has just seen the same datagram.
    pub(super) fn seen_elsewhere(&mut self, now: Duration, capture: u32, udp: &Udp<'_>) -> bool {
        let start = &udp.payload[..udp.payload.len().min(HASHED_LEN)];
        let hash =
            self.hasher.hash_one((udp.source, udp.destination, udp.identification, udp.payload.len(), start));
        let slot = &mut self.slots[hash as usize % SLOTS];
        match slot {
            Some(seen)
                if seen.hash == hash && seen.capture != capture && now.saturating_sub(seen.at) < WINDOW =>
            {
                true
            }
            _ => {
                *slot = Some(Seen { hash, capture, at: now });
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use super::*;

    fn udp(identification: u16, payload: &[u8]) -> Udp<'_> {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1);
        Udp { source: address, destination: address, payload, identification }
    }

    #[test]
    fn only_another_capture_and_only_soon_makes_it_the_same() {
        let mut recent = Recent::new();
        let ms = Duration::from_millis;
        assert!(!recent.seen_elsewhere(ms(0), 1, &udp(7, b"a")));
        assert!(recent.seen_elsewhere(ms(1), 2, &udp(7, b"a")));
        assert!(!recent.seen_elsewhere(ms(1), 1, &udp(7, b"a")), "sent again");
        assert!(!recent.seen_elsewhere(ms(1), 2, &udp(8, b"a")));
        assert!(!recent.seen_elsewhere(ms(1), 2, &udp(7, b"b")));
        assert!(!recent.seen_elsewhere(ms(1_500), 2, &udp(7, b"a")), "too long ago");
    }
}
