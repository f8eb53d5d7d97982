//! Writes the messages of one publisher.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Instant;

use ferrocal_proto::{EntityId, MAX_CONTENT_HEAD_LEN, PayloadSample};
use ferrocal_transport::{SendError, Transmit};

use super::pacing::Pacer;
use super::send::{Outbound, Plan, ShortBatch, short_header};
use super::window::{Receivers, Window};
use crate::Fragmentation;
use crate::layer::{Destination, Outgoing, Outlet, TooLong, Writer, Written, sample_hash};
use crate::outage::Outage;

/// Where the messages of a topic can be sent.
#[derive(Clone, Copy)]
pub(super) struct TopicGroups {
    /// The topic's own group. It keeps messages away from hosts that do not subscribe.
    pub(super) own: SocketAddrV4,
    /// The base group, to which eCAL 6 sends all messages. All subscribers are members, while those of eCAL may be unable
    /// to join the groups of all their topics, or compute them in another way.
    pub(super) base: SocketAddrV4,
}

pub(super) struct UdpWriter {
    outbound: Arc<Outbound>,
    id: EntityId,
    groups: TopicGroups,
    destination: SocketAddrV4,
    fragmentation: Fragmentation,
    pacer: Option<Pacer>,
    /// How much may be sent at present; `None` if nothing can overflow.
    window: Option<Window>,
    /// Whether all subscribers join consecutive datagrams before they read them.
    all_join: bool,
    /// A message up to its payload. The first bytes are the same in all of them.
    head: Vec<u8>,
    same_len: usize,
    /// The longest message, head included, in bytes.
    max_len: usize,
    batch: ShortBatch,
    outage: Outage,
}

impl UdpWriter {
    pub(super) fn new(
        outlet: &Outlet<'_>,
        groups: TopicGroups,
        max_len: usize,
        outbound: Arc<Outbound>,
    ) -> Self {
        let mut head = Vec::new();
        let topic_id = outlet.id.to_string();
        PayloadSample {
            topic_name: outlet.topic.as_bytes(),
            topic_id: topic_id.as_bytes(),
            host_name: outlet.host_name,
            ..PayloadSample::default()
        }
        .encode_topic(&mut head);
        Self {
            id: outlet.id,
            destination: groups.own,
            fragmentation: outlet.config.fragmentation,
            pacer: outlet.config.max_bytes_per_second.map(Pacer::new),
            window: outbound
                .receive_buffer_len()
                .map(|len| Window::new(len, groups.own.port(), Instant::now())),
            all_join: false,
            same_len: head.len(),
            head,
            max_len,
            batch: ShortBatch::default(),
            outage: Outage::default(),
            groups,
            outbound,
        }
    }
}

impl Writer for UdpWriter {
    fn connect(&mut self, destinations: &[Destination]) {
        self.all_join = destinations.iter().all(|destination| destination.joins_segments);
        let all_share = destinations.iter().all(|destination| destination.shares_groups);
        self.destination = if all_share { self.groups.own } else { self.groups.base };
        if let Some(window) = &mut self.window {
            let mut receivers = Receivers { ferrocal: self.all_join, ..Receivers::default() };
            for destination in destinations {
                match u32::try_from(destination.process_id) {
                    Ok(process) if destination.local => receivers.processes.push(process),
                    _ => receivers.remote = true,
                }
            }
            receivers.processes.sort_unstable();
            receivers.processes.dedup();
            window.set_receivers(receivers);
        }
    }

    fn write(&mut self, messages: &[Outgoing<'_>]) -> Result<Written, SendError> {
        let Self {
            outbound,
            id,
            destination,
            fragmentation,
            pacer,
            window,
            all_join,
            head,
            same_len,
            batch,
            outage,
            ..
        } = self;
        let plan = Plan {
            destination: *destination,
            max_datagram_len: outbound.max_datagram_len(match fragmentation {
                Fragmentation::Auto => *all_join,
                Fragmentation::Large => false,
                Fragmentation::Mtu => true,
            }),
            pacer: pacer.as_ref(),
        };
        let mut written = Written::default();
        for message in messages {
            let content = content(*id, message);
            // An upper bound, which is known before the content is written.
            let most = *same_len + MAX_CONTENT_HEAD_LEN + message.payload.len();
            if messages.len() > 1 && short_header(most, plan).is_some() {
                if batch.is_full() {
                    batch.flush(outbound, plan, outage, &mut written)?;
                }
                batch.push(&head[..*same_len], &content);
                continue;
            }
            batch.flush(outbound, plan, outage, &mut written)?;
            head.truncate(*same_len);
            content.encode_content(head);
            let result = match short_header(head.len() + message.payload.len(), plan) {
                Some(header) => {
                    let parts = [&header[..], head, message.payload];
                    outbound.send_short(&[Transmit { destination: *destination, parts }], plan)
                }
                None => outbound.send_long([head, message.payload], plan, window.as_mut()),
            };
            outbound.tolerate(result, 1, outage, &mut written)?;
        }
        batch.flush(outbound, plan, outage, &mut written)?;
        Ok(written)
    }

    fn check(&mut self, message: &Outgoing<'_>) -> Result<(), TooLong> {
        let Self { id, head, same_len, max_len, .. } = self;
        if *same_len + MAX_CONTENT_HEAD_LEN + message.payload.len() <= *max_len {
            return Ok(());
        }
        head.truncate(*same_len);
        content(*id, message).encode_content(head);
        let len = head.len() + message.payload.len();
        if len <= *max_len { Ok(()) } else { Err(TooLong { len, max: *max_len }) }
    }
}

impl Drop for UdpWriter {
    fn drop(&mut self) {
        if self.outage.is_on() {
            self.outbound.leave_outage();
        }
    }
}

/// The part of a sample that differs from message to message.
fn content<'a>(id: EntityId, message: &Outgoing<'a>) -> PayloadSample<'a> {
    PayloadSample {
        clock: message.clock,
        time_us: message.time_us,
        hash: sample_hash(id, message.clock),
        payload: message.payload,
        ..PayloadSample::default()
    }
}
