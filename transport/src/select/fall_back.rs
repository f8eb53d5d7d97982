//! Receivers and senders that use another backend when the selected one fails.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, Weak};

use super::{Chain, Fallback, FallbackReason};
use crate::backend::Backend;
use crate::drops::ReceiveDrops;
use crate::error::{MembershipError, ReceiveError, SendError};
use crate::seam::{
    Datagram, Granted, Interrupt, Membership, Receiver, SendLimits, Sender, Transmit, Transport, Wait,
};
use crate::status::InterfaceStatus;
use crate::sync::lock;

/// What fell back and is still open.
#[derive(Default)]
pub(super) struct Fallbacks(Mutex<Vec<Weak<Fallback>>>);

impl Fallbacks {
    pub(super) fn list(&self) -> Vec<Fallback> {
        lock(&self.0).iter().filter_map(Weak::upgrade).map(|fallback| (*fallback).clone()).collect()
    }

    /// Adds a fallback. It is listed for as long as the returned handle exists.
    fn add(&self, port: Option<u16>, backend: Backend, reason: FallbackReason) -> Arc<Fallback> {
        let what = port.map_or_else(|| "sending".into(), |port| format!("receiving on port {port}"));
        log::warn!("{what} uses the {backend} backend from now on: {reason}");
        let fallback = Arc::new(Fallback { port, backend, reason });
        let mut all = lock(&self.0);
        all.retain(|fallback| fallback.strong_count() > 0);
        all.push(Arc::downgrade(&fallback));
        fallback
    }
}

/// Makes a receiver that changes over to `fallback` when its captures have ended.
pub(super) fn replaceable(
    receiver: Box<dyn Receiver>,
    port: u16,
    fallback: &Arc<dyn Transport>,
    fallbacks: &Arc<Fallbacks>,
) -> Box<dyn Receiver> {
    Box::new(Replaceable {
        groups: Arc::new(Groups(Mutex::new(Joined {
            membership: receiver.membership(),
            groups: Vec::new(),
        }))),
        interrupter: Arc::new(Interrupter(Mutex::new(Interruption {
            current: receiver.interrupter(),
            is_interrupted: false,
        }))),
        receiver,
        port,
        state: State::Original(fallback.clone(), fallbacks.clone()),
        drops_before: ReceiveDrops::default(),
    })
}

/// Makes a listed fallback of a receiver that the selected backend could not open.
pub(super) fn replaced(
    receiver: Box<dyn Receiver>,
    port: u16,
    reason: FallbackReason,
    fallbacks: &Fallbacks,
) -> Box<dyn Receiver> {
    let _fallback = fallbacks.add(Some(port), receiver.granted().backend, reason);
    Box::new(Listed { inner: receiver, _fallback })
}

/// Makes a listed fallback of a sender that the selected backend could not open.
pub(super) fn replaced_sender(
    sender: Arc<dyn Sender>,
    backend: Backend,
    reason: FallbackReason,
    fallbacks: &Fallbacks,
) -> Arc<dyn Sender> {
    let _fallback = fallbacks.add(None, backend, reason);
    Arc::new(Listed { inner: sender, _fallback })
}

/// A receiver or a sender that is listed as a fallback.
struct Listed<T> {
    inner: T,
    _fallback: Arc<Fallback>,
}

impl Sender for Listed<Arc<dyn Sender>> {
    fn limits(&self) -> SendLimits {
        self.inner.limits()
    }

    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError> {
        self.inner.send(batch)
    }
}

impl Receiver for Listed<Box<dyn Receiver>> {
    fn recv(&mut self, wait: Wait, sink: &mut dyn FnMut(Datagram<'_>)) -> Result<(), ReceiveError> {
        self.inner.recv(wait, sink)
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.inner.interrupter()
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.inner.membership()
    }

    fn drops(&self) -> ReceiveDrops {
        self.inner.drops()
    }

    fn granted(&self) -> Granted {
        self.inner.granted()
    }
}

struct Replaceable {
    receiver: Box<dyn Receiver>,
    port: u16,
    groups: Arc<Groups>,
    interrupter: Arc<Interrupter>,
    state: State,
    drops_before: ReceiveDrops,
}

enum State {
    /// Of the selected backend. Holds what takes its place.
    Original(Arc<dyn Transport>, Arc<Fallbacks>),
    /// Of the backend that took its place.
    Replaced { _fallback: Arc<Fallback> },
}

impl Replaceable {
    /// Changes over to the fallback, or returns the error if that is not possible.
    fn replace(&mut self, error: ReceiveError) -> Result<(), ReceiveError> {
        let State::Original(fallback, fallbacks) = &self.state else { return Err(error) };
        let receiver = match fallback.receiver(self.port) {
            Ok(receiver) => receiver,
            Err(why) => {
                log::warn!("no fallback: {}", Chain(&why));
                return Err(error);
            }
        };
        let backend = receiver.granted().backend;
        let reason = FallbackReason::CaptureEnded(Arc::new(error));
        self.state = State::Replaced { _fallback: fallbacks.add(Some(self.port), backend, reason) };
        self.groups.change_to(receiver.membership());
        self.interrupter.change_to(receiver.interrupter());
        self.drops_before = self.drops();
        self.receiver = receiver;
        Ok(())
    }
}

impl Receiver for Replaceable {
    fn recv(&mut self, wait: Wait, sink: &mut dyn FnMut(Datagram<'_>)) -> Result<(), ReceiveError> {
        match self.receiver.recv(wait, sink) {
            Err(error @ ReceiveError::NoCapture { .. }) => self.replace(error),
            result => result,
        }
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.interrupter.clone()
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.groups.clone()
    }

    fn drops(&self) -> ReceiveDrops {
        let mut drops = self.drops_before.clone();
        drops.add(&self.receiver.drops());
        drops
    }

    fn granted(&self) -> Granted {
        self.receiver.granted()
    }
}

/// Interrupts a receiver that may be replaced.
struct Interrupter(Mutex<Interruption>);

struct Interruption {
    current: Arc<dyn Interrupt>,
    is_interrupted: bool,
}

impl Interrupter {
    fn change_to(&self, interrupter: Arc<dyn Interrupt>) {
        let mut state = lock(&self.0);
        if state.is_interrupted {
            interrupter.interrupt();
        }
        state.current = interrupter;
    }
}

impl Interrupt for Interrupter {
    fn interrupt(&self) {
        let mut state = lock(&self.0);
        state.is_interrupted = true;
        state.current.interrupt();
    }
}

/// The groups of a receiver that may be replaced.
struct Groups(Mutex<Joined>);

struct Joined {
    membership: Arc<dyn Membership>,
    groups: Vec<Ipv4Addr>,
}

impl Groups {
    fn change_to(&self, membership: Arc<dyn Membership>) {
        let mut joined = lock(&self.0);
        for &group in &joined.groups {
            if let Err(error) = membership.join(group) {
                log::warn!("{error}");
            }
        }
        joined.membership = membership;
    }
}

impl Membership for Groups {
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        let mut joined = lock(&self.0);
        joined.membership.join(group)?;
        joined.groups.push(group);
        Ok(())
    }

    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        let mut joined = lock(&self.0);
        joined.membership.leave(group)?;
        joined.groups.retain(|&one| one != group);
        Ok(())
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        lock(&self.0).membership.interfaces()
    }
}
