//! Sends messages on a topic.

use std::marker::PhantomData;
use std::net::SocketAddrV4;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrocal_proto::{EntityId, PayloadSample};

use crate::entity::Entity;
use crate::node::Inner;
use crate::outgoing::{Batch, Way, is_short};
use crate::pacing::Pacer;
use crate::{Fragmentation, Payload, PublishError, PublisherConfig, SendError, lock};

/// Sends messages on a topic; made by [`Node::publisher`](crate::Node::publisher).
///
/// It can be shared between threads. Dropping it tells the subscribers that it is gone.
pub struct Publisher<T: Payload + ?Sized> {
    node: Arc<Inner>,
    entity: Arc<Entity>,
    config: PublisherConfig,
    pacer: Option<Pacer>,
    destination: SocketAddrV4,
    buffers: Mutex<Buffers>,
    payload: PhantomData<fn(&T)>,
}

struct Buffers {
    payload: Vec<u8>,
    /// A message up to its payload. All of them start with the same bytes.
    head: Vec<u8>,
    same_len: usize,
    batch: Batch,
}

/// What a [`Publisher`] did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherStats {
    /// Messages published, including those for which there was no subscriber.
    pub published: u64,
}

impl<T: Payload + ?Sized> Publisher<T> {
    pub(crate) fn new(node: Arc<Inner>, entity: Arc<Entity>, config: PublisherConfig) -> Self {
        let node_config = &node.shared.config;
        let destination = SocketAddrV4::new(node_config.topic_group(&entity.topic), node_config.udp.port);
        let mut head = Vec::new();
        let id = entity.id.to_string();
        let host_name = &node.shared.identity.host_name;
        PayloadSample { topic_name: &entity.topic, topic_id: &id, host_name, ..PayloadSample::default() }
            .encode_topic(&mut head);
        let same_len = head.len();
        let buffers = Buffers { payload: Vec::new(), head, same_len, batch: Batch::default() };
        let pacer = config.max_bytes_per_second.map(Pacer::new);
        Self { node, entity, config, pacer, destination, buffers: Mutex::new(buffers), payload: PhantomData }
    }

    /// Publishes a message.
    ///
    /// Without a matched subscriber nothing is sent, and the message is gone: that is no error. It waits while the
    /// system's send buffer is full, and for as long as
    /// [`max_bytes_per_second`](PublisherConfig::max_bytes_per_second) says.
    ///
    /// # Errors
    /// When the message is longer than [`max_message_len`](crate::Limits::max_message_len) (nothing is sent then), or
    /// the system refuses to send it.
    pub fn send(&self, message: &T::Value) -> Result<(), PublishError> {
        let Buffers { payload: scratch, head, same_len, .. } = &mut *lock(&self.buffers);
        head.truncate(*same_len);
        let payload = self.encode(message, scratch, head)?;
        if self.entity.connected() == 0 {
            return Ok(());
        }
        self.sent(self.node.shared.send(self.destination, [head, payload], self.way()))
    }

    /// Publishes messages in as few system calls as the transport can do with, one after the other as
    /// [`send`](Self::send) would.
    ///
    /// It pays for short messages; those of equal lengths go best together.
    ///
    /// # Errors
    /// As [`send`](Self::send). The messages before the one that cannot be sent were sent, or some of them when it is
    /// the system that refused; those after it were not.
    pub fn send_batch<'m>(&self, messages: impl IntoIterator<Item = &'m T::Value>) -> Result<(), PublishError>
    where
        T::Value: 'm,
    {
        let Buffers { payload: scratch, head, same_len, batch } = &mut *lock(&self.buffers);
        let shared = &self.node.shared;
        let way = self.way();
        for message in messages {
            head.truncate(*same_len);
            let payload = match self.encode(message, scratch, head) {
                Ok(payload) => payload,
                Err(error) => {
                    self.sent(batch.send(shared, self.destination, way))?;
                    return Err(error);
                }
            };
            if self.entity.connected() == 0 {
                continue;
            }
            let mut datagrams = shared.cut([head, payload], way);
            let long = !is_short(&datagrams, [head, payload]);
            if long || batch.is_full() {
                self.sent(batch.send(shared, self.destination, way))?;
            }
            if long {
                self.sent(shared.send(self.destination, [head, payload], way))?;
            } else if let Some(datagram) = datagrams.next() {
                batch.push(&datagram);
            }
        }
        self.sent(batch.send(shared, self.destination, way))
    }

    /// Counts a message and writes the rest of its head; returns its payload.
    fn encode<'a>(
        &self,
        message: &'a T::Value,
        scratch: &'a mut Vec<u8>,
        head: &mut Vec<u8>,
    ) -> Result<&'a [u8], PublishError> {
        let Self { node, entity, .. } = self;
        scratch.clear();
        let payload = T::encode(message, scratch).map_err(|error| PublishError::Encode {
            topic: self.topic().to_owned(),
            source: Box::new(error),
        })?;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let clock = entity.messages.load(Ordering::Relaxed) + 1;
        let sample = PayloadSample {
            clock,
            time_us: i64::try_from(time.as_micros()).unwrap_or(i64::MAX),
            hash: sample_hash(entity.id, clock),
            payload,
            ..PayloadSample::default()
        };
        sample.encode_content(head);
        let (len, max) = (head.len() + payload.len(), node.shared.config.limits.reassembly.max_message_len);
        if len > max {
            return Err(PublishError::TooLong { topic: self.topic().to_owned(), len, max });
        }
        entity.messages.store(clock, Ordering::Relaxed);
        entity.last_len.store(i32::try_from(payload.len()).unwrap_or(i32::MAX), Ordering::Relaxed);
        Ok(payload)
    }

    fn way(&self) -> Way<'_> {
        let all_take_runs = self.entity.all_take_runs();
        let runs = match self.config.fragmentation {
            Fragmentation::Auto => all_take_runs,
            Fragmentation::Large => false,
            Fragmentation::Mtu => true,
        };
        Way {
            sender: &*self.node.shared.sender,
            runs,
            one_by_one: !all_take_runs,
            pacer: self.pacer.as_ref(),
        }
    }

    fn sent(&self, result: Result<(), SendError>) -> Result<(), PublishError> {
        result.map_err(|source| PublishError::Send { topic: self.topic().to_owned(), source })
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.entity.topic
    }

    /// The publisher's id on the wire.
    pub fn id(&self) -> EntityId {
        self.entity.id
    }

    /// How many subscribers are matched, on this host and others, this program's own included.
    pub fn subscriber_count(&self) -> usize {
        self.entity.connected()
    }

    /// Waits until a subscriber is matched; tells whether one is.
    pub fn wait_for_subscriber(&self, timeout: Duration) -> bool {
        self.entity.wait_for_connection(timeout)
    }

    /// What the publisher did so far.
    pub fn stats(&self) -> PublisherStats {
        PublisherStats { published: self.entity.messages.load(Ordering::Relaxed).cast_unsigned() }
    }
}

impl<T: Payload + ?Sized> Drop for Publisher<T> {
    fn drop(&mut self) {
        self.node.remove(&self.entity);
    }
}

impl<T: Payload + ?Sized> std::fmt::Debug for Publisher<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("topic", &self.topic()).finish_non_exhaustive()
    }
}

/// A number that no other sample has: readers of eCAL 5 take samples with equal ones for the same.
///
/// It lies between 2^56 and 2^63, so that it takes 9 bytes on the wire, always.
fn sample_hash(id: EntityId, clock: i64) -> i64 {
    // The finalizer of SplitMix64 is a bijection, so one publisher's hashes differ from each other but for the bits
    // that are cut off.
    let mut hash = id.get().wrapping_add(clock.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15));
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    ((hash >> 1) | (1 << 62)).cast_signed()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn long_messages_are_spread() -> Result<(), Box<dyn std::error::Error>> {
        let publisher = crate::Node::new("spread")?.publisher::<[u8]>("spread")?;
        let shared = &publisher.node.shared;
        let bursts = shared.bursts.as_ref().ok_or("sockets have receive buffers")?;
        let mut taken = *lock(&bursts.taken);
        for (len, is_spread) in [(1000, false), (40_000, true), (200_000, true)] {
            for one_by_one in [false, true] {
                let way = Way { runs: true, one_by_one, ..publisher.way() };
                shared.send(publisher.destination, [&[][..], &vec![0; len]], way)?;
                let before = std::mem::replace(&mut taken, *lock(&bursts.taken));
                assert_eq!(taken > before, is_spread, "{len} bytes, one by one: {one_by_one}");
            }
        }
        Ok(())
    }

    #[test]
    fn hashes_differ_and_take_the_same_room() {
        let ids = [EntityId::from_wire("1"), EntityId::from_wire("2")];
        let hashes: HashSet<_> =
            ids.iter().flat_map(|&id| (1..10_000).map(move |clock| sample_hash(id, clock))).collect();
        assert_eq!(hashes.len(), 2 * 9_999);
        assert!(hashes.iter().all(|&hash| hash >= 1 << 56));
    }
}
