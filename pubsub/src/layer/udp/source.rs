//! Receives payload.

use std::sync::Arc;
use std::time::Instant;

use ferrocal_transport::{Datagram, Receiver, Wait};

use super::UdpCounters;
use super::dispatch::Dispatch;
use super::readers::Readers;
use crate::Config;
use crate::layer::Ended;
use crate::source::{Flow, Ready, Source};
use crate::wire::{EXPIRE_EVERY, Failures, Intake};

/// A receiver, from datagrams to the sinks of their topics.
pub(super) struct UdpSource {
    receiver: Box<dyn Receiver>,
    wait: Wait,
    intake: Intake,
    dispatch: Dispatch,
    failures: Failures,
    readers: Arc<Readers>,
    counters: Arc<UdpCounters>,
}

impl UdpSource {
    pub(super) fn new(
        receiver: Box<dyn Receiver>,
        config: &Config,
        readers: Arc<Readers>,
        counters: Arc<UdpCounters>,
    ) -> Self {
        let intake = Intake::new(config.allow.clone(), config.limits.reassembly);
        intake.report(&counters.report, &*receiver);
        Self {
            receiver,
            wait: Wait { timeout: EXPIRE_EVERY, busy_poll: config.receive_thread.busy_poll },
            intake,
            dispatch: Dispatch::new(readers.clone(), config.allow.clone()),
            failures: Failures::default(),
            readers,
            counters,
        }
    }
}

impl Source for UdpSource {
    fn receive(&mut self, ready: &mut Ready) -> Flow {
        let Self { receiver, wait, intake, dispatch, failures, readers, counters } = self;
        let mut latest = None;
        let result = receiver.recv(*wait, &mut |datagram: Datagram<'_>| {
            latest = Some(datagram.received);
            dispatch.take(intake, datagram, &counters.unsubscribed);
        });
        intake.expire(latest.unwrap_or_else(Instant::now));
        dispatch.deliver(ready);
        dispatch.count_lost(intake);
        intake.report(&counters.report, &**receiver);
        let flow = failures.after(result);
        if flow == Flow::End {
            readers.end(Ended::Replayed);
        }
        flow
    }
}
