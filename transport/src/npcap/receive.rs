//! The receive half: a capture an interface, decoded and filtered like a socket would.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::{Interval, MissedTickBehavior};

use super::capture::Tap;
use super::filter::Wanted;
use super::recent::Recent;
use super::{CaptureError, device_name, to_capture};
use crate::frame::{Decoder, LinkType, Udp, each_datagram};
use crate::groups::Groups;
use crate::interfaces::{self, Interface};
use crate::{
    Config, Datagram, Membership, MembershipError, Mode, OpenError, ReceiveDrops, ReceiveError, ReceiveHalf,
};

/// How often the machine's interfaces are looked at for changes.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);

pub(super) struct Receiver {
    config: Config,
    loopback: bool,
    shared: Arc<Shared>,
    decoder: Decoder,
    recent: Recent,
    counted: ReceiveDrops,
    /// What captures that are closed had lost.
    lost_before: u64,
    start: Instant,
    follow: Interval,
    /// The capture to look at first, so that a busy one cannot starve the others.
    next: usize,
    /// The failures of interfaces that have been told.
    told: BTreeSet<String>,
}

/// What the membership handle works on too.
struct Shared {
    groups: Groups,
    wanted: Mutex<Arc<Wanted>>,
    captures: Mutex<Vec<OpenCapture>>,
    /// The thread that is handing out frames, with `captures` locked.
    handing_out: Mutex<Option<ThreadId>>,
    /// Whether that thread has to renew the filters when it is done.
    stale: AtomicBool,
}

struct OpenCapture {
    interface: Interface,
    tap: Tap,
    link: LinkType,
}

impl Receiver {
    pub(super) fn open(config: &Config, loopback: bool, ports: &[u16]) -> Result<Self, OpenError> {
        interfaces::check(config)?;
        // Captures make no host a member of a group: a socket that receives nothing does.
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))
            .map_err(|source| OpenError::Socket { option: "socket", source })?;
        let groups = Groups::new(vec![socket], config.mode, Vec::new());
        let wanted = Wanted { ports: ports.into(), groups: BTreeSet::new() };
        let mut follow = tokio::time::interval(FOLLOW_EVERY);
        follow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut receiver = Self {
            config: config.clone(),
            loopback,
            shared: Arc::new(Shared {
                groups,
                wanted: Mutex::new(Arc::new(wanted)),
                captures: Mutex::default(),
                handing_out: Mutex::default(),
                stale: AtomicBool::new(false),
            }),
            decoder: Decoder::new(ports, config.ip_reassembly),
            recent: Recent::new(),
            counted: ReceiveDrops::default(),
            lost_before: 0,
            start: Instant::now(),
            follow,
            next: 0,
            told: BTreeSet::new(),
        };
        let failed = receiver.follow(to_capture(config, loopback)).pop();
        // Loopback alone is no network.
        let useful = |capture: &OpenCapture| config.mode == Mode::Local || !capture.interface.loopback;
        let none = !lock(&receiver.shared.captures).iter().any(useful);
        match failed {
            Some((_, source)) if none => Err(OpenError::Capture(source)),
            _ => Ok(receiver),
        }
    }

    /// Opens captures on new interfaces and closes those of interfaces that are gone or changed. Returns the
    /// names of those that could not be opened, and why.
    fn follow(&mut self, interfaces: Vec<Interface>) -> Vec<(String, CaptureError)> {
        let captures = &mut *lock(&self.shared.captures);
        captures.retain_mut(|capture| {
            let stays = interfaces.contains(&capture.interface);
            if !stays {
                self.lost_before += u64::from(capture.tap.lost());
                log::info!("interface {} is gone or changed; its capture is closed", capture.interface.name);
            }
            stays
        });
        let addresses = interfaces.iter().filter(|one| !one.loopback);
        self.shared.groups.follow(
            addresses.flat_map(|one| one.addresses.first().map(|&first| (one.index, first))).collect(),
        );
        let mut failed = Vec::new();
        for interface in interfaces {
            if captures.iter().any(|capture| capture.interface == interface) {
                continue;
            }
            let (name, device) = (interface.name.clone(), device_name(&interface));
            let wanted = lock(&self.shared.wanted).clone();
            match OpenCapture::open(interface, &device, self.config.receive_buffer_len, &wanted) {
                Ok(capture) => {
                    self.told.remove(&device);
                    captures.push(capture);
                }
                Err(error) => {
                    if self.told.insert(device.clone()) {
                        log::warn!("interface {device} cannot be captured on: {error}");
                    }
                    failed.push((name, error));
                }
            }
        }
        failed
    }
}

impl Receiver {
    /// Tries to capture again on an interface whose capture ended, and tells how that went.
    fn reopen(&mut self, ended: Interface, source: CaptureError) -> ReceiveError {
        let interface = device_name(&ended);
        let failed = self.follow(to_capture(&self.config, self.loopback));
        if failed.iter().any(|(name, _)| *name == ended.name) {
            ReceiveError::NoCapture { interface, source }
        } else {
            ReceiveError::Capture { interface, source }
        }
    }
}

impl OpenCapture {
    fn open(
        interface: Interface,
        device: &str,
        buffer_len: usize,
        wanted: &Wanted,
    ) -> Result<Self, CaptureError> {
        let tap = Tap::open(device, buffer_len)?;
        let dlt = tap.link_type().0;
        let link = LinkType::from_dlt(dlt).ok_or_else(|| {
            CaptureError(format!("its frames are of an unknown kind (link type {dlt})").into())
        })?;
        let mut capture = Self { interface, tap, link };
        capture.set_filter(wanted)?;
        Ok(capture)
    }

    fn set_filter(&mut self, wanted: &Wanted) -> Result<(), CaptureError> {
        let tagged = self.link == LinkType::Ethernet;
        self.tap.set_filter(&wanted.program(&self.interface.addresses, tagged))
    }
}

impl ReceiveHalf for Receiver {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Datagram<'_>),
    ) -> Poll<Result<(), ReceiveError>> {
        if self.follow.poll_tick(cx).is_ready() {
            // So that the next tick wakes.
            let _ = self.follow.poll_tick(cx);
            self.follow(to_capture(&self.config, self.loopback));
            self.decoder.expire(self.start.elapsed());
            self.counted.buffer_full = self.lost();
        }
        let Self { config, shared, decoder, recent, counted, start, next, .. } = self;
        let wanted = lock(&shared.wanted).clone();
        let mut guard = lock(&shared.captures);
        let captures = &mut *guard;
        let several = captures.len() > 1;
        for turn in 0..captures.len() {
            let index = (*next + turn) % captures.len();
            let OpenCapture { interface, tap, link } = &mut captures[index];
            let received = Instant::now();
            let now = received.duration_since(*start);
            *lock(&shared.handing_out) = Some(thread::current().id());
            let result = tap.poll(cx, &mut |frame, len| {
                let udp = match decoder.decode(now, *link, frame, len) {
                    Ok(Some(udp)) => udp,
                    Ok(None) => return,
                    Err(reason) => return counted.frames.count(reason),
                };
                if !accepts(config, &wanted, interface, &udp, counted) {
                    return;
                }
                if several && recent.seen_elsewhere(now, interface.index, &udp) {
                    counted.seen_twice += 1;
                    return;
                }
                each_datagram(udp.payload, |bytes| {
                    sink(Datagram {
                        bytes,
                        memory: None,
                        segment_len: bytes.len(),
                        is_after_loss: false,
                        source: udp.source,
                        destination: udp.destination,
                        received,
                    });
                });
            });
            *lock(&shared.handing_out) = None;
            match result {
                Poll::Pending => {}
                Poll::Ready(Ok(())) => {
                    *next = index + 1;
                    if shared.stale.swap(false, Ordering::Relaxed) {
                        renew_filters(captures, &lock(&shared.wanted));
                    }
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(source)) => {
                    let ended = captures.swap_remove(index).interface;
                    drop(guard);
                    return Poll::Ready(Err(self.reopen(ended, source)));
                }
            }
        }
        Poll::Pending
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.shared.clone()
    }

    fn drops(&self) -> ReceiveDrops {
        let mut drops = self.counted.clone();
        drops.frames.add(self.decoder.drops());
        drops
    }

    fn receive_buffer_len(&self) -> usize {
        self.config.receive_buffer_len
    }
}

/// Whether a socket in these groups would get the datagram.
fn accepts(
    config: &Config,
    wanted: &Wanted,
    interface: &Interface,
    udp: &Udp<'_>,
    counted: &mut ReceiveDrops,
) -> bool {
    let to = *udp.destination.ip();
    if !(interface.has(to) || to.is_loopback() || wanted.groups.contains(&to)) {
        return false;
    }
    match config.mode {
        Mode::Local if !udp.source.ip().is_loopback() => {
            counted.other_host += 1;
            false
        }
        Mode::Local => true,
        // A capture sees what this host sends, whether it wants to hear itself or not.
        Mode::Network => config.loopback || !interface.has(*udp.source.ip()),
    }
}

impl Membership for Shared {
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        self.groups.join(group)?;
        self.want(|groups| groups.insert(group));
        if cfg!(windows) {
            self.groups.kick(group);
        }
        Ok(())
    }

    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        self.want(|groups| groups.remove(&group));
        self.groups.leave(group)
    }
}

impl Shared {
    fn want(&self, change: impl FnOnce(&mut BTreeSet<Ipv4Addr>) -> bool) {
        change(&mut Arc::make_mut(&mut lock(&self.wanted)).groups);
        if *lock(&self.handing_out) == Some(thread::current().id()) {
            self.stale.store(true, Ordering::Relaxed);
        } else {
            let mut captures = lock(&self.captures);
            renew_filters(&mut captures, &lock(&self.wanted));
        }
    }
}

fn renew_filters(captures: &mut [OpenCapture], wanted: &Wanted) {
    for capture in captures {
        if let Err(error) = capture.set_filter(wanted) {
            log::warn!("interface {}: the filter cannot be renewed: {error}", capture.interface.name);
        }
    }
}

impl Receiver {
    fn lost(&self) -> u64 {
        let now: u64 =
            lock(&self.shared.captures).iter_mut().map(|capture| u64::from(capture.tap.lost())).sum();
        self.lost_before + now
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
