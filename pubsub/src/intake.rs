//! From received datagrams to messages, with what was dropped on the way.

use std::error::Error;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ferrocal_proto::{DropCounts, DropReason, Limits, Message, Reassembler};
use ferrocal_transport::{Datagram, ReceiveDrops, ReceiveError, ReceiveHalf};

use crate::lock;

/// What one receive half dropped, for others to read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drops {
    pub(crate) protocol: DropCounts,
    pub(crate) transport: ReceiveDrops,
}

/// Puts messages together and counts what cannot be used.
#[derive(Debug)]
pub(crate) struct Intake {
    reassembler: Reassembler,
    /// Messages that were complete, but of no use.
    unusable: DropCounts,
    start: Instant,
}

impl Intake {
    pub(crate) fn new(limits: Limits, start: Instant) -> Self {
        Self { reassembler: Reassembler::new(limits), unusable: DropCounts::default(), start }
    }

    /// Hands the messages that a datagram completes to `use_message`, which says why if it cannot use one.
    pub(crate) fn each_message(
        &mut self,
        datagram: Datagram<'_>,
        mut use_message: impl FnMut(Message<'_>) -> Result<(), DropReason>,
    ) {
        let now = self.since_start(datagram.received);
        if datagram.is_after_loss {
            self.reassembler.note_loss();
        }
        let mut rest = datagram.bytes;
        // Once even for an empty datagram, which is to be counted as such.
        loop {
            let (bytes, behind) = rest.split_at(datagram.segment_len.min(rest.len()));
            if let Some(message) = self.reassembler.push(now, datagram.source, bytes)
                && let Err(reason) = use_message(message)
            {
                self.unusable.count(reason);
            }
            if behind.is_empty() || bytes.is_empty() {
                break;
            }
            rest = behind;
        }
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        self.reassembler.expire(self.since_start(now));
    }

    /// Writes down what was dropped so far.
    pub(crate) fn report(&self, drops: &Mutex<Drops>, half: &dyn ReceiveHalf) {
        let mut drops = lock(drops);
        drops.protocol = self.reassembler.drops().clone();
        drops.protocol.add(&self.unusable);
        drops.transport = half.drops();
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }
}

/// Keeps a receive half that fails from filling the log or a processor.
#[derive(Debug, Default)]
pub(crate) struct Failing(bool);

impl Failing {
    /// Tells whether anything can follow.
    pub(crate) async fn after_batch(&mut self, result: Result<(), ReceiveError>) -> bool {
        match result {
            Ok(()) => self.0 = false,
            Err(ReceiveError::EndOfFile(None)) => return false,
            Err(error) => {
                let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
                if matches!(error, ReceiveError::EndOfFile(_)) {
                    log::warn!("{error}{cause}");
                    return false;
                }
                if !self.0 {
                    log::warn!("{error}{cause}; trying again");
                }
                self.0 = true;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        true
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
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 14_002);
        let mut intake = Intake::new(Limits::default(), now);
        let mut take = |bytes: &[u8], is_after_loss| {
            let datagram = Datagram {
                bytes,
                memory: None,
                segment_len: bytes.len(),
                source: address,
                destination: address,
                is_after_loss,
                received: now,
            };
            intake.each_message(datagram, |_| Ok(()));
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
