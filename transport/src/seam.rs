//! The traits between a backend and its user.
//!
//! A [`Transport`] opens receivers and senders. They are separate because a backend may receive in one way and send in
//! another. Both work in batches, so that a backend can use one system call for many datagrams.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::backend::Backend;
use crate::drops::ReceiveDrops;
use crate::error::{MembershipError, OpenError, ReceiveError, SendError};
use crate::status::InterfaceStatus;

/// Sends and receives datagrams. Opens any number of receivers and senders.
pub trait Transport: Send + Sync {
    /// The kind of transport.
    fn backend(&self) -> Backend;

    /// Opens a receiver for one UDP port.
    ///
    /// # Errors
    /// If the port cannot be bound. That there is no network yet is no error: the receiver receives as soon as there is.
    fn receiver(&self, port: u16) -> Result<Box<dyn Receiver>, OpenError>;

    /// Opens a sender.
    ///
    /// # Errors
    /// If the system refuses a socket. That there is no network yet is no error.
    fn sender(&self) -> Result<Arc<dyn Sender>, OpenError>;
}

/// Receives the datagrams of one port. Any thread may call it, one at a time.
pub trait Receiver: Send {
    /// Waits for datagrams and passes one batch of them to `sink`.
    ///
    /// Returns as soon as one batch was passed on, after [`Wait::timeout`] without any, or early without any. After an
    /// [interrupt](Interrupt::interrupt) it returns at once and passes nothing on.
    ///
    /// # Errors
    /// What the operating system reports. The receiver stays usable: the caller may call again. Only after
    /// [`ReceiveError::EndOfFile`] nothing follows.
    fn recv(&mut self, wait: Wait, sink: &mut dyn FnMut(Datagram<'_>)) -> Result<(), ReceiveError>;

    /// A handle that ends the waiting from any thread.
    fn interrupter(&self) -> Arc<dyn Interrupt>;

    /// A handle that joins and leaves groups from any thread.
    fn membership(&self) -> Arc<dyn Membership>;

    /// The datagrams that were dropped before they reached the sink.
    fn drops(&self) -> ReceiveDrops;

    /// What the system granted this receiver.
    fn granted(&self) -> Granted;
}

/// How long [`Receiver::recv`] waits, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// How long to wait at most. The system may round it up to its own ticks.
    pub timeout: Duration,
    /// How long after the latest datagram to poll before sleeping. It occupies a processor for that time and saves the
    /// time that waking up takes. Zero: sleep at once.
    pub busy_poll: Duration,
}

impl Wait {
    /// Waits for `timeout` at most, without polling.
    pub fn sleep(timeout: Duration) -> Self {
        Self { timeout, busy_poll: Duration::ZERO }
    }
}

/// What the system granted a [`Receiver`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The backend that receives. It may differ from that of other receivers after a fallback.
    pub backend: Backend,
    /// Size of the kernel's receive buffer in bytes; 0 if there is none.
    pub receive_buffer_len: usize,
    /// Whether the kernel joins consecutive datagrams of one sender, so that many short datagrams cost no more than a few
    /// long ones.
    pub joins_segments: bool,
}

/// Ends the waiting of a [`Receiver`].
pub trait Interrupt: Send + Sync {
    /// Makes the present and every later [`Receiver::recv`] return at once, without datagrams.
    fn interrupt(&self);
}

/// The multicast groups of a [`Receiver`].
pub trait Membership: Send + Sync {
    /// Receives what is sent to `group` from now on, on the configured interfaces: those that are there, and those that
    /// come later. What the system refuses is logged and tried again. Does nothing in local mode.
    ///
    /// # Errors
    /// If the address is none of a group, or the group has been joined already.
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError>;

    /// Stops receiving what is sent to `group`.
    ///
    /// # Errors
    /// If the group has not been joined.
    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError>;

    /// The interfaces that the settings choose, and what became of the groups on each. Empty in local mode, and if the
    /// backend has no interfaces.
    fn interfaces(&self) -> Vec<InterfaceStatus> {
        Vec::new()
    }
}

/// Sends datagrams. Any number of threads may use it at the same time.
pub trait Sender: Send + Sync {
    /// What this sender can send.
    fn limits(&self) -> SendLimits;

    /// Sends the datagrams in order. Blocks while the system's send buffer is full.
    ///
    /// # Errors
    /// If the system refuses one. Those before it were sent ([`SendError::sent`] counts them), those after it were not.
    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError>;
}

/// What a [`Sender`] can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendLimits {
    /// The longest datagram, in bytes of UDP payload.
    pub max_datagram_len: usize,
    /// The length of datagrams that the system cuts from one long buffer (segmentation offload), in bytes of UDP payload.
    /// `None` without that. On Linux it follows from the interface's MTU.
    pub segment_len: Option<usize>,
    /// The receive buffer that this system grants, in bytes. The receivers are assumed to have the same. `None` if
    /// nothing bounds what they hold.
    pub receive_buffer_len: Option<usize>,
}

/// A datagram to send.
#[derive(Debug, Clone, Copy)]
pub struct Transmit<'a> {
    /// Where to send it.
    pub destination: SocketAddrV4,
    /// The datagram's bytes: three consecutive parts. Unused parts are empty.
    pub parts: [&'a [u8]; 3],
}

impl Transmit<'_> {
    /// Length of the datagram in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a datagram may be empty and still be one")]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

/// One received datagram, or several consecutive ones of one sender (segments), borrowed from the backend.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// The UDP payload. If it is longer than `segment_len`, it holds several datagrams of that length, of which the last
    /// may be shorter.
    pub bytes: &'a [u8],
    /// The buffer that holds `bytes`, if it may be kept after the call (sockets). A backend does not write to it while
    /// somebody holds a clone.
    pub memory: Option<&'a Arc<Vec<u8>>>,
    /// Length of each datagram in `bytes`.
    pub segment_len: usize,
    /// The sender's address.
    pub source: SocketAddrV4,
    /// Whether the system dropped datagrams between this one and the one before it, because the receive buffer was full.
    /// `false` if the system does not report it (only Linux does, for sockets).
    pub is_after_loss: bool,
    /// When this batch was read from the system.
    pub received: Instant,
}

impl Datagram<'_> {
    /// Keeps `part` of [`bytes`](Self::bytes). Does not copy it if it fills at least half of its buffer, so that never
    /// more than twice its length is held.
    pub fn keep(&self, part: &[u8]) -> Bytes {
        struct Held(Arc<Vec<u8>>);
        impl AsRef<[u8]> for Held {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let holds = |memory: &&Arc<Vec<u8>>| {
            let (memory, part) = (memory.as_ptr_range(), part.as_ptr_range());
            memory.start <= part.start && part.end <= memory.end
        };
        match self.memory.filter(|memory| part.len() >= memory.len() / 2).filter(holds) {
            Some(memory) => Bytes::from_owner(Held(memory.clone())).slice_ref(part),
            None => Bytes::copy_from_slice(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_part_of_at_least_half_the_buffer_is_kept_without_a_copy() {
        let memory = Arc::new(vec![7; 100]);
        let datagram = Datagram {
            bytes: &memory[10..90],
            memory: Some(&memory),
            segment_len: 80,
            is_after_loss: false,
            source: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
            received: Instant::now(),
        };
        let is_shared = |datagram: Datagram<'_>, part: &[u8]| {
            let kept = datagram.keep(part);
            assert_eq!(kept, part);
            kept.as_ptr() == part.as_ptr()
        };
        assert!(is_shared(datagram, &datagram.bytes[20..70]));
        assert!(!is_shared(datagram, &datagram.bytes[20..69]), "it would hold more than twice its length");
        assert!(!is_shared(datagram, &[7; 60]), "it lies elsewhere");
        assert!(!is_shared(Datagram { memory: None, ..datagram }, datagram.bytes));
    }
}
