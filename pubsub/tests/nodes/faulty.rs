//! A transport with the faults that a test chooses.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

use ferrocal::transport::memory::{Host, Network};
use ferrocal::transport::{
    Datagram, Granted, Interrupt, Membership, Receiver, SendLimits, Sender, Transmit, Transport, Wait,
};
use ferrocal::{Backend, MembershipError, OpenError, ReceiveDrops, ReceiveError, SendError};

/// What becomes of a datagram that is sent.
pub(crate) enum Fate {
    Send,
    Lose,
    Refuse(io::ErrorKind),
}

type OnSend = Box<dyn Fn(&Transmit<'_>) -> Fate + Send + Sync>;
type OnPort = Box<dyn Fn(u16) + Send + Sync>;
type OnLeave = Box<dyn Fn(Ipv4Addr) + Send + Sync>;

/// A host of an in-memory network. Its receivers pass on one datagram a call, as raw frames may come.
pub(crate) struct Faulty {
    host: Host,
    max_datagram_len: usize,
    receive_buffer_len: usize,
    hooks: Arc<Hooks>,
}

struct Hooks {
    send: OnSend,
    receive: OnPort,
    received: OnPort,
    leave: OnLeave,
}

impl Faulty {
    /// Without faults.
    pub(crate) fn new(network: &Network) -> Self {
        let hooks = Hooks {
            send: Box::new(|_| Fate::Send),
            receive: Box::new(|_| ()),
            received: Box::new(|_| ()),
            leave: Box::new(|_| ()),
        };
        Self {
            host: network.host(),
            max_datagram_len: usize::MAX,
            receive_buffer_len: 0,
            hooks: Arc::new(hooks),
        }
    }

    fn hook(mut self, set: impl FnOnce(&mut Hooks)) -> Self {
        set(Arc::get_mut(&mut self.hooks).expect("nothing is open yet"));
        self
    }

    /// Calls `hook` for each datagram before it is sent.
    pub(crate) fn on_send(self, hook: impl Fn(&Transmit<'_>) -> Fate + Send + Sync + 'static) -> Self {
        self.hook(|hooks| hooks.send = Box::new(hook))
    }

    /// Calls `hook` with the port before something is received.
    pub(crate) fn on_receive(self, hook: impl Fn(u16) + Send + Sync + 'static) -> Self {
        self.hook(|hooks| hooks.receive = Box::new(hook))
    }

    /// Calls `hook` with the port when a receiver is asked for its drops, after something was received.
    pub(crate) fn on_received(self, hook: impl Fn(u16) + Send + Sync + 'static) -> Self {
        self.hook(|hooks| hooks.received = Box::new(hook))
    }

    /// Calls `hook` with each group before it is left.
    pub(crate) fn on_leave(self, hook: impl Fn(Ipv4Addr) + Send + Sync + 'static) -> Self {
        self.hook(|hooks| hooks.leave = Box::new(hook))
    }

    /// Sends datagrams of so many bytes at most.
    pub(crate) fn max_datagram_len(self, max_datagram_len: usize) -> Self {
        Self { max_datagram_len, ..self }
    }

    /// States a receive buffer of so many bytes.
    pub(crate) fn receive_buffer_len(self, receive_buffer_len: usize) -> Self {
        Self { receive_buffer_len, ..self }
    }
}

impl Transport for Faulty {
    fn backend(&self) -> Backend {
        self.host.backend()
    }

    fn receiver(&self, port: u16) -> Result<Box<dyn Receiver>, OpenError> {
        Ok(Box::new(FaultyReceiver {
            inner: self.host.receiver(port)?,
            port,
            receive_buffer_len: self.receive_buffer_len,
            hooks: self.hooks.clone(),
            waiting: VecDeque::new(),
        }))
    }

    fn sender(&self) -> Result<Arc<dyn Sender>, OpenError> {
        let inner = self.host.sender()?;
        Ok(Arc::new(FaultySender {
            inner,
            max_datagram_len: self.max_datagram_len,
            hooks: self.hooks.clone(),
        }))
    }
}

struct FaultyReceiver {
    inner: Box<dyn Receiver>,
    port: u16,
    receive_buffer_len: usize,
    hooks: Arc<Hooks>,
    waiting: VecDeque<(Vec<u8>, SocketAddrV4)>,
}

impl Receiver for FaultyReceiver {
    fn recv(&mut self, wait: Wait, sink: &mut dyn FnMut(Datagram<'_>)) -> Result<(), ReceiveError> {
        (self.hooks.receive)(self.port);
        if self.waiting.is_empty() {
            let waiting = &mut self.waiting;
            self.inner.recv(wait, &mut |datagram| {
                waiting.push_back((datagram.bytes.to_vec(), datagram.source));
            })?;
        }
        if let Some((bytes, source)) = self.waiting.pop_front() {
            sink(Datagram {
                bytes: &bytes,
                memory: None,
                segment_len: bytes.len(),
                source,
                is_after_loss: false,
                received: Instant::now(),
            });
        }
        Ok(())
    }

    fn interrupter(&self) -> Arc<dyn Interrupt> {
        self.inner.interrupter()
    }

    fn membership(&self) -> Arc<dyn Membership> {
        Arc::new(FaultyMembership { inner: self.inner.membership(), hooks: self.hooks.clone() })
    }

    fn drops(&self) -> ReceiveDrops {
        (self.hooks.received)(self.port);
        self.inner.drops()
    }

    fn granted(&self) -> Granted {
        Granted { receive_buffer_len: self.receive_buffer_len, ..self.inner.granted() }
    }
}

struct FaultyMembership {
    inner: Arc<dyn Membership>,
    hooks: Arc<Hooks>,
}

impl Membership for FaultyMembership {
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        self.inner.join(group)
    }

    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        (self.hooks.leave)(group);
        self.inner.leave(group)
    }
}

struct FaultySender {
    inner: Arc<dyn Sender>,
    max_datagram_len: usize,
    hooks: Arc<Hooks>,
}

impl Sender for FaultySender {
    fn limits(&self) -> SendLimits {
        let limits = self.inner.limits();
        SendLimits { max_datagram_len: limits.max_datagram_len.min(self.max_datagram_len), ..limits }
    }

    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError> {
        for (sent, datagram) in batch.iter().enumerate() {
            match (self.hooks.send)(datagram) {
                Fate::Send => self.inner.send(&[*datagram])?,
                Fate::Lose => {}
                Fate::Refuse(kind) => {
                    let Transmit { destination, .. } = *datagram;
                    return Err(SendError { sent, destination, len: datagram.len(), source: kind.into() });
                }
            }
        }
        Ok(())
    }
}
