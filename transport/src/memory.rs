//! An in-memory network, for tests: hosts, ports and groups, with seeded loss, reordering and duplication.
//!
//! What happens to a datagram depends only on the seed and the order of sends, never on timing.
//!
//! ```
//! use ferrocal_transport::{Transport, memory::Network};
//!
//! let network = Network::new(1).with_loss(0.1);
//! let host_a = network.host();
//! let host_b = network.host();
//! let sender = host_a.sender()?;
//! let receiver = host_b.receiver(14000)?;
//! # Ok::<(), ferrocal_transport::OpenError>(())
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ferrocal_proto::MAX_DATAGRAM_LEN;

use crate::backend::Backend;
use crate::drops::ReceiveDrops;
use crate::error::{MembershipError, OpenError, ReceiveError, SendError};
use crate::seam::{self, Datagram, Granted, Interrupt, Membership, SendLimits, Transmit, Transport, Wait};
use crate::sync::{Signal, lock};

/// A network that exists only in this process. Cloning gives another handle to the same network.
#[derive(Debug, Clone)]
pub struct Network {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    random: fastrand::Rng,
    loss: f64,
    reordering: f64,
    duplication: f64,
    hosts: u8,
    last_port: u16,
    mailboxes: Vec<Arc<Mailbox>>,
}

impl Network {
    /// A network without faults, whose later choices follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner {
                random: fastrand::Rng::with_seed(seed),
                loss: 0.0,
                reordering: 0.0,
                duplication: 0.0,
                hosts: 0,
                last_port: 49_151,
                mailboxes: Vec::new(),
            })),
        }
    }

    /// Loses each datagram with this probability (0 to 1), for each receiver on its own.
    pub fn with_loss(self, probability: f64) -> Self {
        lock(&self.inner).loss = probability;
        self
    }

    /// Exchanges each datagram of a batch with another one of the batch with this probability (0 to 1).
    pub fn with_reordering(self, probability: f64) -> Self {
        lock(&self.inner).reordering = probability;
        self
    }

    /// Delivers each datagram twice with this probability (0 to 1), for each receiver on its own.
    pub fn with_duplication(self, probability: f64) -> Self {
        lock(&self.inner).duplication = probability;
        self
    }

    /// Adds a host, with the address 10.0.0.1 for the first, 10.0.0.2 for the second and so on.
    ///
    /// A datagram to a multicast group reaches the members of the group on every host, one to 127.255.255.255 every
    /// receiver of the port on the sender's own host.
    ///
    /// # Panics
    /// At the 255th host.
    pub fn host(&self) -> Host {
        let mut inner = lock(&self.inner);
        inner.hosts =
            inner.hosts.checked_add(1).filter(|&n| n < 255).expect("a network has at most 254 hosts");
        Host { network: self.clone(), address: Ipv4Addr::new(10, 0, 0, inner.hosts) }
    }
}

/// A host of a [`Network`]: the transport that a node on it uses.
#[derive(Debug, Clone)]
pub struct Host {
    network: Network,
    address: Ipv4Addr,
}

impl Transport for Host {
    fn backend(&self) -> Backend {
        Backend::Memory
    }

    fn receiver(&self, port: u16) -> Result<Box<dyn seam::Receiver>, OpenError> {
        let mailbox =
            Arc::new(Mailbox { host: self.address, port, state: Mutex::default(), signal: Arc::default() });
        lock(&self.network.inner).mailboxes.push(mailbox.clone());
        Ok(Box::new(Receiver { network: self.network.clone(), mailbox }))
    }

    fn sender(&self) -> Result<Arc<dyn seam::Sender>, OpenError> {
        let mut inner = lock(&self.network.inner);
        inner.last_port += 1;
        let source = SocketAddrV4::new(self.address, inner.last_port);
        Ok(Arc::new(Sender { network: self.network.clone(), source }))
    }
}

#[derive(Debug)]
struct Mailbox {
    host: Ipv4Addr,
    port: u16,
    state: Mutex<MailboxState>,
    /// Notified when something was put into the queue.
    signal: Arc<Signal>,
}

#[derive(Debug, Default)]
struct MailboxState {
    groups: BTreeSet<Ipv4Addr>,
    queue: VecDeque<Queued>,
}

#[derive(Debug, Clone)]
struct Queued {
    bytes: Vec<u8>,
    source: SocketAddrV4,
}

impl Mailbox {
    fn wants(&self, source: SocketAddrV4, destination: SocketAddrV4) -> bool {
        let address = *destination.ip();
        self.port == destination.port()
            && if address.is_multicast() {
                lock(&self.state).groups.contains(&address)
            } else {
                address == self.host || (address.is_loopback() && *source.ip() == self.host)
            }
    }
}

struct Sender {
    network: Network,
    source: SocketAddrV4,
}

impl seam::Sender for Sender {
    fn limits(&self) -> SendLimits {
        SendLimits { max_datagram_len: MAX_DATAGRAM_LEN, segment_len: None, receive_buffer_len: None }
    }

    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError> {
        let too_long = batch.iter().position(|datagram| datagram.len() > MAX_DATAGRAM_LEN);
        let (batch, refused) = batch.split_at(too_long.unwrap_or(batch.len()));
        let Inner { random, loss, reordering, duplication, mailboxes, .. } = &mut *lock(&self.network.inner);
        let mut order: Vec<_> = batch.iter().collect();
        for index in 0..order.len() {
            if random.f64() < *reordering {
                order.swap(index, random.usize(0..batch.len()));
            }
        }
        for datagram in order {
            for mailbox in mailboxes.iter().filter(|mailbox| mailbox.wants(self.source, datagram.destination))
            {
                let copies =
                    if random.f64() < *loss { 0 } else { 1 + usize::from(random.f64() < *duplication) };
                let queued = Queued { bytes: datagram.parts.concat(), source: self.source };
                lock(&mailbox.state).queue.extend(std::iter::repeat_n(queued, copies));
                mailbox.signal.notify();
            }
        }
        match refused.first() {
            None => Ok(()),
            Some(first) => Err(SendError {
                sent: batch.len(),
                destination: first.destination,
                len: first.len(),
                source: SendError::too_long(),
            }),
        }
    }
}

struct Receiver {
    network: Network,
    mailbox: Arc<Mailbox>,
}

impl seam::Receiver for Receiver {
    fn recv(&mut self, wait: Wait, sink: &mut dyn FnMut(Datagram<'_>)) -> Result<(), ReceiveError> {
        let Mailbox { state, signal, .. } = &*self.mailbox;
        let deadline = Instant::now().checked_add(wait.timeout);
        let mut queue = std::mem::take(&mut lock(state).queue);
        // A notification may be of datagrams that were received before.
        while queue.is_empty() && signal.wait_until(deadline) {
            queue = std::mem::take(&mut lock(state).queue);
        }
        if signal.is_interrupted() {
            return Ok(());
        }
        let received = Instant::now();
        for Queued { bytes, source } in &queue {
            sink(Datagram {
                bytes,
                memory: None,
                segment_len: bytes.len(),
                source: *source,
                is_after_loss: false,
                received,
            });
        }
        Ok(())
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.mailbox.signal.clone()
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.mailbox.clone()
    }

    fn drops(&self) -> ReceiveDrops {
        ReceiveDrops::default()
    }

    fn granted(&self) -> Granted {
        Granted { backend: Backend::Memory, receive_buffer_len: 0, joins_segments: false }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        lock(&self.network.inner).mailboxes.retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
    }
}

impl Membership for Mailbox {
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        // The broadcast address of local mode may be joined, without effect.
        if !group.is_multicast() && !group.is_loopback() {
            return Err(MembershipError::NotMulticast(group));
        }
        if lock(&self.state).groups.insert(group) {
            Ok(())
        } else {
            Err(MembershipError::AlreadyJoined(group))
        }
    }

    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        if lock(&self.state).groups.remove(&group) { Ok(()) } else { Err(MembershipError::NotJoined(group)) }
    }
}
