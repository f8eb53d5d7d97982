//! What is known of the route that a socket's datagrams take.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use ferrocal_proto::MAX_DATAGRAM_LEN;
use socket2::{Domain, Socket, Type};

use super::get;
use crate::config::LOOPBACK_BROADCAST;
use crate::sync::lock;

/// Headers of IPv4 and UDP.
const HEADERS_LEN: usize = 28;
/// The port "discard" (RFC 863), for a socket that sends nothing.
const NO_PORT: u16 = 9;
/// How long segmentation is not tried again for a destination, after the kernel refused it.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How many destinations are remembered for that. Two of them may share a place, which costs a call that fails now and
/// then.
const REFUSALS: usize = 64;

/// The route of a socket's datagrams.
pub(in crate::socket) struct Route {
    group: Ipv4Addr,
    /// Up to which length of datagrams the kernel cuts a long buffer (`UDP_SEGMENT`, udp(7), Linux 4.18); else 0.
    max_segment_len: AtomicUsize,
    /// Destinations to which the kernel refused to do that: each an address and the time in seconds since `start`, plus
    /// one. Zero if there is none.
    refusals: [AtomicU64; REFUSALS],
    start: Instant,
    /// Where the socket is connected to, if it is: datagrams to there need no look-up of a route. Only ever a port of
    /// loopback's broadcast address. Elsewhere the source address, which connect(2) fixes, may change, and a host's own
    /// address may answer that nobody listens, which a connected socket takes for a failure.
    connected: OnceLock<SocketAddrV4>,
    /// Held by the thread that connects it.
    connecting: Mutex<()>,
}

impl Route {
    /// Makes a route to `group` that is not looked up yet.
    pub(in crate::socket) fn new(group: Ipv4Addr) -> Self {
        Self {
            group,
            max_segment_len: AtomicUsize::new(0),
            refusals: [const { AtomicU64::new(0) }; REFUSALS],
            start: Instant::now(),
            connected: OnceLock::new(),
            connecting: Mutex::new(()),
        }
    }

    /// Looks up the route, and forgets what was refused.
    pub(in crate::socket) fn look_up(&self, socket: &Socket) {
        self.max_segment_len.store(max_segment_len(self.group, socket), Ordering::Relaxed);
        for refusal in &self.refusals {
            refusal.store(0, Ordering::Relaxed);
        }
    }

    /// The longest segments, in bytes, if longer datagrams would be sent in IPv4 fragments. Loopback takes the longest
    /// datagrams as they are, and without the copy that segmentation costs.
    pub(in crate::socket) fn segment_len(&self) -> Option<usize> {
        Some(self.max_segment_len.load(Ordering::Relaxed)).filter(|len| (1..MAX_DATAGRAM_LEN).contains(len))
    }

    /// The longest segments on the way to a destination, in bytes; 0 if there are none.
    pub(super) fn max_segment_len(&self, destination: Ipv4Addr) -> usize {
        let (address, seconds) = unpack(self.refusal(destination).load(Ordering::Relaxed));
        let is_refused = seconds != 0
            && address == destination
            && self.start.elapsed().as_secs().saturating_sub(u64::from(seconds - 1)) < RETRY_AFTER.as_secs();
        if is_refused { 0 } else { self.max_segment_len.load(Ordering::Relaxed) }
    }

    /// Notes that the kernel refused segments to a destination: either the MTU has become smaller, or that interface
    /// computes no checksums.
    pub(super) fn note_refusal(&self, socket: &Socket, destination: Ipv4Addr, len: usize) {
        let max = max_segment_len(self.group, socket);
        self.max_segment_len.store(max, Ordering::Relaxed);
        if len <= max {
            self.refuse(destination, self.start.elapsed());
        }
    }

    fn refuse(&self, destination: Ipv4Addr, at: Duration) {
        let seconds = u32::try_from(at.as_secs() + 1).unwrap_or(u32::MAX);
        let packed = u64::from(u32::from(destination)) << 32 | u64::from(seconds);
        self.refusal(destination).store(packed, Ordering::Relaxed);
    }

    fn refusal(&self, destination: Ipv4Addr) -> &AtomicU64 {
        &self.refusals[u32::from(destination) as usize % REFUSALS]
    }

    /// Whether the socket is connected to a destination, or has just been connected to it.
    pub(super) fn is_connected(&self, socket: &Socket, destination: SocketAddrV4) -> bool {
        if *destination.ip() != LOOPBACK_BROADCAST {
            return false;
        }
        if self.connected.get().is_none() {
            let _turn = lock(&self.connecting);
            if self.connected.get().is_none() && socket.connect(&destination.into()).is_ok() {
                let _ = self.connected.set(destination);
            }
        }
        self.connected.get() == Some(&destination)
    }
}

fn unpack(refusal: u64) -> (Ipv4Addr, u32) {
    (Ipv4Addr::from((refusal >> 32) as u32), refusal as u32)
}

fn max_segment_len(group: Ipv4Addr, socket: &Socket) -> usize {
    let look_up = || {
        get(socket, libc::SOL_UDP, libc::UDP_SEGMENT).ok()?;
        // A connected socket knows the MTU of its route. Nothing is sent.
        let probe = Socket::new(Domain::IPV4, Type::DGRAM, None).ok()?;
        probe.set_broadcast(true).ok()?;
        probe.set_multicast_if_v4(&socket.multicast_if_v4().ok()?).ok()?;
        probe.connect(&SocketAddrV4::new(group, NO_PORT).into()).ok()?;
        let mtu = usize::try_from(get(&probe, libc::IPPROTO_IP, libc::IP_MTU).ok()?).ok()?;
        mtu.checked_sub(HEADERS_LEN)
    };
    look_up().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_for_one_destination_and_for_a_while() {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket opens");
        let mut route = Route::new(LOOPBACK_BROADCAST);
        route.look_up(&socket);
        let (one, other) = (Ipv4Addr::new(239, 0, 0, 1), Ipv4Addr::new(239, 0, 0, 2));
        let max = route.max_segment_len(one);
        assert_ne!(max, 0, "loopback has an MTU");
        route.note_refusal(&socket, one, max);
        assert_eq!((route.max_segment_len(one), route.max_segment_len(other)), (0, max));
        route.look_up(&socket);
        assert_eq!(route.max_segment_len(one), max, "the interfaces have changed");
        route.note_refusal(&socket, one, max + 1);
        assert_eq!(route.max_segment_len(one), max, "the MTU was the reason, and is known now");

        route.start = Instant::now().checked_sub(2 * RETRY_AFTER).expect("the clock began before that");
        route.refuse(one, RETRY_AFTER + Duration::from_secs(1));
        assert_eq!(route.max_segment_len(one), 0);
        route.refuse(one, Duration::ZERO);
        assert_eq!(route.max_segment_len(one), max, "that was long ago");
    }
}
