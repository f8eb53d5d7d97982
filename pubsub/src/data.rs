//! Payload: from datagrams to the subscribers of this node.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ferrocal_proto::{EntityId, Message, PayloadSample};
use ferrocal_transport::{Datagram, ReceiveHalf};
use tokio::time::MissedTickBehavior;

use crate::inbox::Arrived;
use crate::intake::{Failing, Intake};
use crate::node::Shared;
use crate::worker::Stop;

/// How often incomplete messages are looked through for expired ones.
const EXPIRE_EVERY: Duration = Duration::from_secs(1);

/// Receives payload until it is stopped.
pub(crate) async fn run(shared: Arc<Shared>, mut half: Box<dyn ReceiveHalf>, mut stop: Stop) {
    if shared.replaying {
        // A file does not wait: without this, its start would be over before anyone listens.
        tokio::select! {
            _ = &mut stop => return,
            () = shared.topics.first_reader.notified() => {}
        }
    }
    let mut intake = Intake::new(shared.config.limits.reassembly, shared.start);
    let mut failing = Failing::default();
    let mut expire = tokio::time::interval(EXPIRE_EVERY);
    expire.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut stop => break,
            _ = expire.tick() => intake.expire(Instant::now()),
            result = poll_fn(|cx| half.poll_recv(cx, &mut |datagram| receive(&shared, &mut intake, datagram))) => {
                if !failing.after_batch(result).await {
                    shared.topics.end();
                    // Nothing follows: only the end of the node is left to wait for.
                    let _ = stop.await;
                    break;
                }
            }
        }
        intake.report(&shared.drops.payload, &*half);
    }
}

fn receive(shared: &Shared, intake: &mut Intake, datagram: Datagram<'_>) {
    let now = datagram.received;
    intake.each_message(datagram, |message| {
        let sample = PayloadSample::decode(message.as_slice())?;
        let Some(readers) = shared.topics.readers(sample.topic_name) else {
            // Topics may share a group, so this is nobody's fault.
            shared.unsubscribed.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        let arrived = Arrived {
            payload: payload(&message, sample.payload),
            clock: sample.clock,
            time_us: sample.time_us,
            publisher_id: EntityId::from_wire(sample.topic_id),
        };
        let len = i32::try_from(sample.payload.len()).unwrap_or(i32::MAX);
        for reader in &*readers {
            if let Some(lost) = reader.inbox.push(now, arrived.clone()) {
                reader.entity.messages.fetch_add(1, Ordering::Relaxed);
                reader.entity.lost.fetch_add(lost, Ordering::Relaxed);
                reader.entity.last_len.store(len, Ordering::Relaxed);
            }
        }
        Ok(())
    });
}

/// The payload as bytes of its own: those of a reassembled message are shared, those of a datagram copied.
fn payload(message: &Message<'_>, payload: &[u8]) -> Bytes {
    match message {
        Message::Whole(_) => Bytes::copy_from_slice(payload),
        // A share keeps the whole message, which must not be much more than what the queue accounts for.
        Message::Assembled(bytes) if payload.len() < bytes.len() / 2 => Bytes::copy_from_slice(payload),
        Message::Assembled(bytes) => bytes.slice_ref(payload),
    }
}
