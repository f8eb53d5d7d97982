//! An in-memory network, for tests: hosts, ports and groups, with seeded loss, reordering and duplication.
//!
//! What happens to a datagram depends on the seed and the order of sends alone, never on timing.
//!
//! ```
//! use ferrocal_transport::{Transport, memory::Network};
//!
//! let network = Network::new(1).with_loss(0.1);
//! let host_a = network.host();
//! let host_b = network.host();
//! let sender = host_a.sender()?;
//! let receiver = host_b.open(&[14000])?;
//! # Ok::<(), ferrocal_transport::OpenError>(())
//! ```

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::{
    Backend, Datagram, MAX_DATAGRAM_LEN, Membership, MembershipError, OpenError, ReceiveDrops, ReceiveError,
    ReceiveHalf, SendError, SendHalf, SendLimits, Transmit, Transport,
};

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

    fn open(&self, ports: &[u16]) -> Result<Box<dyn ReceiveHalf>, OpenError> {
        let mailbox = Arc::new(Mailbox { host: self.address, ports: ports.into(), state: Mutex::default() });
        lock(&self.network.inner).mailboxes.push(mailbox.clone());
        Ok(Box::new(Receiver { network: self.network.clone(), mailbox }))
    }

    fn sender(&self) -> Result<Arc<dyn SendHalf>, OpenError> {
        let mut inner = lock(&self.network.inner);
        inner.last_port += 1;
        let source = SocketAddrV4::new(self.address, inner.last_port);
        Ok(Arc::new(Sender { network: self.network.clone(), source }))
    }
}

#[derive(Debug)]
struct Mailbox {
    host: Ipv4Addr,
    ports: Box<[u16]>,
    state: Mutex<MailboxState>,
}

#[derive(Debug, Default)]
struct MailboxState {
    groups: HashSet<Ipv4Addr>,
    queue: VecDeque<Queued>,
    waker: Option<Waker>,
}

#[derive(Debug, Clone)]
struct Queued {
    bytes: Vec<u8>,
    source: SocketAddrV4,
    destination: SocketAddrV4,
}

impl Mailbox {
    fn wants(&self, source: SocketAddrV4, destination: SocketAddrV4) -> bool {
        let address = *destination.ip();
        self.ports.contains(&destination.port())
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

impl SendHalf for Sender {
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
                let queued = Queued {
                    bytes: datagram.parts.concat(),
                    source: self.source,
                    destination: datagram.destination,
                };
                let mut state = lock(&mailbox.state);
                state.queue.extend(std::iter::repeat_n(queued, copies));
                if let Some(waker) = state.waker.take() {
                    waker.wake();
                }
            }
        }
        match refused.first() {
            None => Ok(()),
            Some(first) => Err(SendError {
                sent: batch.len(),
                destination: first.destination,
                len: first.len(),
                source: io::Error::new(io::ErrorKind::InvalidInput, "UDP has no datagrams of this length"),
            }),
        }
    }
}

struct Receiver {
    network: Network,
    mailbox: Arc<Mailbox>,
}

impl ReceiveHalf for Receiver {
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Datagram<'_>),
    ) -> Poll<Result<(), ReceiveError>> {
        let batch = {
            let mut state = lock(&self.mailbox.state);
            if state.queue.is_empty() {
                state.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            std::mem::take(&mut state.queue)
        };
        let received = Instant::now();
        for Queued { bytes, source, destination } in &batch {
            sink(Datagram {
                bytes,
                memory: None,
                segment_len: bytes.len(),
                is_after_loss: false,
                source: *source,
                destination: *destination,
                received,
            });
        }
        Poll::Ready(Ok(()))
    }

    fn membership(&self) -> Arc<dyn Membership> {
        self.mailbox.clone()
    }

    fn drops(&self) -> ReceiveDrops {
        ReceiveDrops::default()
    }

    fn receive_buffer_len(&self) -> usize {
        0
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        lock(&self.network.inner).mailboxes.retain(|mailbox| !Arc::ptr_eq(mailbox, &self.mailbox));
    }
}

impl Membership for Mailbox {
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        // The broadcast address of local mode is joined without need.
        if !group.is_multicast() && !group.is_loopback() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "this is no multicast address");
            return Err(MembershipError::Join { group, interface: self.host, source });
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
