//! The captures of a receiver, one for each interface, which follow the interfaces.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use super::filter;
use super::tap::{Tap, Waiter};
use super::{device_name, to_capture};
use crate::config::Config;
use crate::error::{CaptureError, MembershipError, ReceiveError};
use crate::frame::LinkType;
use crate::membership::{self, Choice, Follow, Groups, Interface};
use crate::raw::wanted::Wanted;
use crate::seam::Membership;
use crate::status::InterfaceStatus;
use crate::sync::lock;

/// What the receiver, its membership handle and the follower share.
pub(super) struct Captures {
    config: Config,
    /// Whether loopback can be captured on.
    loopback: bool,
    /// Ends the receiver's wait when captures come or go.
    pub(super) waiter: Arc<Waiter>,
    /// Captures make no host a member of a group: a socket that receives nothing does.
    groups: Groups,
    wanted: Mutex<Arc<Wanted>>,
    state: Mutex<State>,
    /// The thread that passes frames on, with `state` locked.
    reading: Mutex<Option<ThreadId>>,
    /// Whether that thread has to renew the filters when it is done.
    are_filters_stale: AtomicBool,
}

#[derive(Default)]
struct State {
    open: Vec<OpenCapture>,
    /// The capture to read first, so that a busy one does not starve the others.
    next: usize,
    /// Why the captures on some interfaces ended, by the name of the device.
    ended: BTreeMap<String, CaptureError>,
    /// What is to be reported by the receiver.
    failures: Vec<ReceiveError>,
    /// What captures that are closed had lost.
    lost_before: u64,
    /// The devices whose failure has been logged.
    logged: BTreeSet<String>,
}

struct OpenCapture {
    interface: Interface,
    link: LinkType,
    tap: Tap,
}

/// A captured frame.
pub(super) struct Frame<'a> {
    pub(super) bytes: &'a [u8],
    /// Its length before it was cut to what the capture takes.
    pub(super) original_len: usize,
    pub(super) link: LinkType,
    pub(super) interface: &'a Interface,
}

impl Captures {
    pub(super) fn new(
        config: &Config,
        loopback: bool,
        groups: Groups,
        wanted: Wanted,
        waiter: Arc<Waiter>,
    ) -> Self {
        Self {
            config: config.clone(),
            loopback,
            waiter,
            groups,
            wanted: Mutex::new(Arc::new(wanted)),
            state: Mutex::default(),
            reading: Mutex::default(),
            are_filters_stale: AtomicBool::new(false),
        }
    }

    /// Opens captures on new interfaces, and closes those of interfaces that are gone or changed. Returns the latest
    /// failure.
    pub(super) fn update(&self, choice: &Choice) -> Option<CaptureError> {
        let interfaces = to_capture(self.config.mode, self.loopback, choice);
        let mut state = lock(&self.state);
        let (stay, mut close) = std::mem::take(&mut state.open)
            .into_iter()
            .partition::<Vec<_>, _>(|capture| interfaces.contains(&capture.interface));
        state.open = stay;
        for capture in &mut close {
            state.lost_before += u64::from(capture.tap.lost());
            log::info!("interface {} is gone or changed; its capture is closed", capture.interface.name);
        }
        let is_open = |interface: &Interface| state.open.iter().any(|one| one.interface == *interface);
        let missing: Vec<_> = interfaces.iter().filter(|&one| !is_open(one)).cloned().collect();
        drop(state);
        let has_changed = !close.is_empty();
        drop(close);
        let joined = || interfaces.iter().filter(|one| !one.loopback);
        self.groups.change_to(joined().map(Interface::place).collect(), choice.chosen_and(joined()));

        let mut failure = None;
        let mut has_opened = false;
        for interface in missing {
            match self.open(interface) {
                Ok(()) => has_opened = true,
                Err(error) => failure = Some(error),
            }
        }
        if has_changed || has_opened {
            self.waiter.notify();
        }
        failure
    }

    /// Opens a capture, without keeping others from being read meanwhile.
    fn open(&self, interface: Interface) -> Result<(), CaptureError> {
        let device = device_name(&interface);
        let opened = OpenCapture::open(&interface, &device, self.config.receive_buffer_len, &self.waiter);
        let mut state = lock(&self.state);
        let wanted = lock(&self.wanted).clone();
        match opened.and_then(|mut capture| capture.set_filter(&wanted).map(|()| capture)) {
            Ok(capture) => {
                state.logged.remove(&device);
                state.ended.remove(&device);
                state.open.push(capture);
                Ok(())
            }
            Err(error) => {
                if state.logged.insert(device.clone()) {
                    log::warn!("interface {device} cannot be captured on: {error}");
                }
                // Unless it is the interface that has gone meanwhile.
                let is_there = || membership::list().is_ok_and(|interfaces| interfaces.contains(&interface));
                if state.ended.contains_key(&device) && is_there() {
                    let source = state.ended.remove(&device).unwrap_or_else(|| error.clone());
                    state.failures.push(ReceiveError::NoCapture { interface: device, source });
                    self.waiter.notify();
                }
                Err(error)
            }
        }
    }

    /// Whether a capture can see what is sent to this receiver. Loopback alone is no network.
    pub(super) fn is_useful(&self, is_local: bool) -> bool {
        lock(&self.state).open.iter().any(|capture| is_local || !capture.interface.loopback)
    }

    /// Reads one batch of frames from one capture. Passes each to `each`, with what is wanted and whether there are several
    /// captures. Returns whether there were frames.
    ///
    /// # Errors
    /// If a capture ended and cannot be opened again.
    pub(super) fn read(&self, each: &mut dyn FnMut(Frame<'_>, &Wanted, bool)) -> Result<bool, ReceiveError> {
        let wanted = lock(&self.wanted).clone();
        let State { open, next, ended, failures, lost_before, .. } = &mut *lock(&self.state);
        if let Some(failure) = failures.pop() {
            return Err(failure);
        }
        let are_several = open.len() > 1;
        for _ in 0..open.len() {
            let index = *next % open.len();
            let OpenCapture { interface, link, tap } = &mut open[index];
            *lock(&self.reading) = Some(thread::current().id());
            let read = tap.read(&mut |bytes, original_len| {
                each(Frame { bytes, original_len, link: *link, interface }, &wanted, are_several);
            });
            *lock(&self.reading) = None;
            if self.are_filters_stale.swap(false, Ordering::Relaxed) {
                renew_filters(open, &lock(&self.wanted));
            }
            *next = index + 1;
            match read {
                Ok(0) => {}
                Ok(_) => return Ok(true),
                Err(error) => {
                    // The follower opens it again.
                    let mut capture = open.swap_remove(index);
                    let device = device_name(&capture.interface);
                    log::warn!(
                        "the capture on interface {device} ended and is opened again if possible: {error}"
                    );
                    *lost_before += u64::from(capture.tap.lost());
                    ended.insert(device, error);
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    /// Adds what to wait for.
    pub(super) fn sources(&self, sources: &mut Vec<super::tap::Source>) {
        sources.extend(lock(&self.state).open.iter().map(|capture| capture.tap.source()));
    }

    /// Returns how many frames were lost because a buffer was full.
    pub(super) fn lost(&self) -> u64 {
        let State { open, lost_before, .. } = &mut *lock(&self.state);
        *lost_before + open.iter_mut().map(|capture| u64::from(capture.tap.lost())).sum::<u64>()
    }

    fn want(&self, change: impl FnOnce(&mut BTreeSet<Ipv4Addr>) -> bool) {
        change(&mut Arc::make_mut(&mut lock(&self.wanted)).groups);
        if *lock(&self.reading) == Some(thread::current().id()) {
            self.are_filters_stale.store(true, Ordering::Relaxed);
        } else {
            let mut state = lock(&self.state);
            renew_filters(&mut state.open, &lock(&self.wanted));
        }
    }
}

impl OpenCapture {
    fn open(
        interface: &Interface,
        device: &str,
        buffer_len: usize,
        waiter: &Arc<Waiter>,
    ) -> Result<Self, CaptureError> {
        let tap = Tap::open(device, buffer_len, waiter)?;
        let dlt = tap.link_type().0;
        let link = LinkType::from_dlt(dlt).ok_or_else(|| {
            CaptureError(format!("its frames are of an unknown kind (link type {dlt})").into())
        })?;
        Ok(Self { interface: interface.clone(), tap, link })
    }

    fn set_filter(&mut self, wanted: &Wanted) -> Result<(), CaptureError> {
        let is_tagged = self.link == LinkType::Ethernet;
        self.tap.set_filter(&filter::program(wanted, &self.interface.addresses, is_tagged))
    }
}

fn renew_filters(captures: &mut [OpenCapture], wanted: &Wanted) {
    for capture in captures {
        if let Err(error) = capture.set_filter(wanted) {
            log::warn!("interface {}: the filter cannot be renewed: {error}", capture.interface.name);
        }
    }
}

impl Follow for Captures {
    fn follow(&self, choice: &Choice) {
        // Failures are logged and reported there.
        let _ = self.update(choice);
    }
}

impl Membership for Captures {
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        self.groups.join(group)?;
        self.want(|groups| groups.insert(group));
        if cfg!(windows) {
            self.groups.send_first_datagram(group);
        }
        Ok(())
    }

    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        self.want(|groups| groups.remove(&group));
        self.groups.leave(group)
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        self.groups.interfaces()
    }
}
