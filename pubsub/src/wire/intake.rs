//! From received datagrams to messages, with counts of what was dropped.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ferrocal_proto::{DropCounts, DropReason, GivenUp, Limits, Message, Reassembler};
use ferrocal_transport::{
    Chain, Datagram, Granted, InterfaceStatus, Membership, ReceiveDrops, ReceiveError, Receiver,
};

use crate::outage::Outage;
use crate::source::Flow;
use crate::{AllowConfig, lock};

/// What one receiver dropped, for others to read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub(crate) protocol: DropCounts,
    pub(crate) transport: ReceiveDrops,
    /// `None` until the receiver is open.
    pub(crate) granted: Option<Granted>,
    membership: Option<MembershipHandle>,
}

#[derive(Clone)]
struct MembershipHandle(Arc<dyn Membership>);

impl fmt::Debug for MembershipHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MembershipHandle").finish_non_exhaustive()
    }
}

impl Report {
    /// The interfaces that the receiver's settings choose, with its groups on each.
    pub(crate) fn interfaces(&self) -> Vec<InterfaceStatus> {
        self.membership.as_ref().map_or_else(Vec::new, |MembershipHandle(membership)| membership.interfaces())
    }
}

/// Puts messages together and counts what cannot be used.
#[derive(Debug)]
pub(crate) struct Intake {
    reassembler: Reassembler,
    /// Who may be heard.
    allow: AllowConfig,
    /// Messages that were complete, but could not be used, and datagrams from others than may be heard.
    unusable: DropCounts,
    start: Instant,
    expired: Instant,
}

/// How often incomplete messages are searched for expired ones.
pub(crate) const EXPIRE_EVERY: Duration = Duration::from_secs(1);

impl Intake {
    /// Takes what comes from those who may be heard.
    pub(crate) fn new(allow: AllowConfig, limits: Limits) -> Self {
        let (reassembler, start) = (Reassembler::new(limits), Instant::now());
        Self { reassembler, allow, unusable: DropCounts::default(), start, expired: start }
    }

    /// Passes the messages that a datagram completes to `use_message`, which returns why if it cannot use one. Returns
    /// that, too, of the last one, or that the message is too long to be put together.
    pub(crate) fn each_message(
        &mut self,
        datagram: Datagram<'_>,
        mut use_message: impl FnMut(Message<'_>) -> Result<(), DropReason>,
    ) -> Option<DropReason> {
        let now = self.since_start(datagram.received);
        if datagram.is_after_loss {
            self.reassembler.note_loss();
        }
        if !self.allow.allows_source(*datagram.source.ip()) {
            let datagrams = datagram.bytes.len().div_ceil(datagram.segment_len.max(1)).max(1);
            (0..datagrams).for_each(|_| self.unusable.count(DropReason::SourceNotAllowed));
            return None;
        }
        let mut rest = datagram.bytes;
        let too_long = self.reassembler.drops().get(DropReason::TooLong);
        let mut refused = None;
        // Once even for an empty datagram, which is to be counted as such.
        loop {
            let (bytes, behind) = rest.split_at(datagram.segment_len.min(rest.len()));
            if let Some(message) = self.reassembler.push(now, datagram.source, bytes)
                && let Err(reason) = use_message(message)
            {
                self.unusable.count(reason);
                refused = Some(reason);
            }
            if behind.is_empty() || bytes.is_empty() {
                break;
            }
            rest = behind;
        }
        let is_too_long = self.reassembler.drops().get(DropReason::TooLong) > too_long;
        refused.or(is_too_long.then_some(DropReason::TooLong))
    }

    /// Gives up what nothing was added to for too long, if that was not done within the last second.
    pub(crate) fn expire(&mut self, now: Instant) {
        if now.saturating_duration_since(self.expired) >= EXPIRE_EVERY {
            self.expired = now;
            self.reassembler.expire(self.since_start(now));
        }
    }

    /// The messages that were given up since the last call.
    pub(crate) fn take_given_up(&mut self) -> impl Iterator<Item = GivenUp> + '_ {
        self.reassembler.take_given_up()
    }

    /// Stores what was dropped so far.
    pub(crate) fn report(&self, report: &Mutex<Report>, receiver: &dyn Receiver) {
        let mut report = lock(report);
        report.protocol = self.reassembler.drops().clone();
        report.protocol.add(&self.unusable);
        report.transport = receiver.drops();
        report.granted = Some(receiver.granted());
        report.membership.get_or_insert_with(|| MembershipHandle(receiver.membership()));
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }
}

/// Keeps a receiver that fails from filling the log or a processor.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    outage: Outage,
}

impl Failures {
    const PAUSE: Duration = Duration::from_millis(100);

    /// How to go on after a batch.
    pub(crate) fn after(&mut self, result: Result<(), ReceiveError>) -> Flow {
        let Err(error) = result else {
            self.outage.worked();
            return Flow::Continue;
        };
        match error {
            ReceiveError::EndOfFile(None) => Flow::End,
            ReceiveError::EndOfFile(Some(_)) => {
                log::warn!("{}", Chain(&error));
                Flow::End
            }
            _ => {
                if self.outage.failed() {
                    log::warn!("{}; trying again", Chain(&error));
                }
                Flow::Pause(Self::PAUSE)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use ferrocal_proto::Fragments;

    use super::*;

    #[test]
    fn what_was_lost_is_not_waited_for() {
        let now = Instant::now();
        let source = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 14_002);
        let mut intake = Intake::new(AllowConfig::default(), Limits::default());
        let mut take = |bytes: &[u8], is_after_loss| {
            let datagram = Datagram {
                bytes,
                memory: None,
                segment_len: bytes.len(),
                source,
                is_after_loss,
                received: now,
            };
            intake.each_message(datagram, |_| Ok(()))
        };
        let fragments = Fragments::new(1, [&[0; 300], &[]], 124).expect("a header fits");
        let datagrams =
            fragments.map(|datagram| [&datagram.header[..], datagram.parts[0], datagram.parts[1]].concat());
        let [info, first, _, third] = &datagrams.collect::<Vec<_>>()[..] else { panic!("three fragments") };
        take(info, false);
        take(first, false);
        take(third, true);
        assert_eq!(intake.reassembler.drops().get(DropReason::Lost), 1);
    }
}
