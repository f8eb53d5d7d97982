//! Moves datagrams for ferrocal; knows no topics.
//!
//! A [`Transport`] opens a [`ReceiveHalf`] and a [`SendHalf`]. They are separate because a backend may receive one
//! way and send another, and both take batches, so that a backend can use one system call for many datagrams.
//!
//! | backend | what it is |
//! | --- | --- |
//! | [`SocketTransport`] | UDP sockets: multicast in network mode, broadcast to 127.255.255.255 in local mode |
//! | [`NpcapTransport`] | raw frames through Npcap (Windows) or libpcap |
//! | [`FileTransport`] | replay of a capture file |
//! | [`memory::Network`] | an in-memory network with seeded loss, reordering and duplication, for tests |
//!
//! [`select()`] picks the backend for a program and tells why.

mod config;
mod error;
mod file;
mod frame;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod groups;
mod interfaces;
pub mod memory;
mod npcap;
mod select;
mod socket;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
pub use config::{Config, Mode, SendPath};
pub use error::{MembershipError, OpenError, ReceiveError, SendError};
pub use file::FileTransport;
pub use frame::{FrameDrop, FrameDrops, IpReassemblyLimits, SavefileError};
pub use npcap::{CaptureError, Detection, NpcapTransport, Provider, RawFrames, Unavailable, detect};
pub use select::{ParseSelectionError, SelectError, Selected, Selection, SelectionReason, select};
use socket::SocketSender;
pub use socket::SocketTransport;

/// Largest UDP payload of an IPv4 datagram, in bytes (RFC 791 and RFC 768: 65535 − 20 − 8).
pub const MAX_DATAGRAM_LEN: usize = 65_507;

/// A way to send and receive datagrams, of which any number of halves can be opened.
pub trait Transport: Send + Sync {
    /// Which backend this is.
    fn backend(&self) -> Backend;

    /// Opens a receive half that gets what is sent to `ports`.
    ///
    /// Must be called within a tokio runtime that has its IO driver enabled; the half belongs to that runtime.
    ///
    /// # Errors
    /// When a port cannot be bound, or an interface that was configured does not exist.
    fn open(&self, ports: &[u16]) -> Result<Box<dyn ReceiveHalf>, OpenError>;

    /// Opens a send half.
    ///
    /// # Errors
    /// When the system refuses the socket, or an interface that was configured does not exist.
    fn sender(&self) -> Result<Arc<dyn SendHalf>, OpenError>;
}

/// The receiving side of a [`Transport`].
pub trait ReceiveHalf: Send {
    /// Hands one batch of received datagrams to `sink`, or arranges for `cx` to be woken.
    ///
    /// The datagrams are borrowed from the backend's own buffers. After `Ready(Ok(()))` there may be more to get, so
    /// the caller polls again. With several ports none of them can keep the others waiting for more than one batch.
    ///
    /// # Errors
    /// What the operating system reports. The half stays usable: the caller may poll again.
    fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut dyn FnMut(Datagram<'_>),
    ) -> Poll<Result<(), ReceiveError>>;

    /// The way to wait for datagrams in the system call that receives them, if there is one: sockets of one port on
    /// Linux. It takes a thread for itself, and wakes it sooner than a poll can. It may be there only after a while, and
    /// then stays.
    fn blocking(&mut self) -> Option<&mut dyn BlockingReceive> {
        None
    }

    /// A handle to join and leave groups, from any thread.
    fn membership(&self) -> Arc<dyn Membership>;

    /// What was dropped before it could be handed out.
    fn drops(&self) -> ReceiveDrops;

    /// The size of the kernel's receive buffer per port, in bytes, as the system granted it; 0 where there is none.
    fn receive_buffer_len(&self) -> usize;
}

/// Receives on a thread that waits. Calls of it and of [`ReceiveHalf::poll_recv`] may take turns.
pub trait BlockingReceive: Send {
    /// Waits for datagrams until `timeout` is over, and hands one batch of them to `sink`, as
    /// [`ReceiveHalf::poll_recv`] does. It may return without any before that, and after up to twice that.
    ///
    /// For `busy_poll` after the latest datagram it looks for new ones again and again before it has the system wake the
    /// thread: that takes a processor for itself and saves the time that waking takes. Below 10 µs, where datagrams come
    /// at intervals of up to 3 µs, it takes them 10 µs apart instead, without sleeping.
    ///
    /// # Errors
    /// What the operating system reports. The half stays usable: the caller may call again.
    fn recv(
        &mut self,
        busy_poll: Duration,
        timeout: Duration,
        sink: &mut dyn FnMut(Datagram<'_>),
    ) -> Result<(), ReceiveError>;

    /// Ends the waiting, from any thread and for good: nothing is handed out any more, and the caller has to see for
    /// itself that it is to stop. After that, the half is only good for being dropped.
    fn interrupter(&self) -> Interrupter;
}

/// Called once, makes the present and every later [`BlockingReceive::recv`] return at once.
pub type Interrupter = Box<dyn Fn() + Send + Sync>;

/// What a [`ReceiveHalf`] did not hand out, in datagrams.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReceiveDrops {
    /// In local mode: sent by another host.
    pub other_host: u64,
    /// Lost because the kernel's receive buffer was full (sockets on Linux, raw frames everywhere; 0 where the system
    /// does not tell).
    pub buffer_full: u64,
    /// Raw frames: seen on a second interface.
    pub seen_twice: u64,
    /// Raw frames: made no sense.
    pub frames: FrameDrops,
}

impl ReceiveDrops {
    /// Adds the counts of another half.
    pub fn add(&mut self, other: &Self) {
        self.other_host += other.other_host;
        self.buffer_full += other.buffer_full;
        self.seen_twice += other.seen_twice;
        self.frames.add(&other.frames);
    }
}

/// The multicast groups of a [`ReceiveHalf`].
pub trait Membership: Send + Sync {
    /// Starts receiving what is sent to `group`, on the configured interfaces. In local mode it does nothing.
    ///
    /// # Errors
    /// When no interface could join, or the group had been joined already.
    fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError>;

    /// Stops receiving what is sent to `group`.
    ///
    /// # Errors
    /// When the group had not been joined.
    fn leave(&self, group: Ipv4Addr) -> Result<(), MembershipError>;
}

/// The sending side of a [`Transport`].
pub trait SendHalf: Send + Sync {
    /// What this half can send.
    fn limits(&self) -> SendLimits;

    /// Sends the datagrams in order. It may block while the system's send buffer is full.
    ///
    /// # Errors
    /// When the system refuses one; those before it were sent ([`SendError::sent`] says how many) and those after it
    /// were not.
    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError>;
}

/// What a [`SendHalf`] can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendLimits {
    /// Longest datagram, in bytes of UDP payload.
    pub max_datagram_len: usize,
    /// Length of datagrams at which many of them behind each other go in one system call, and none of them in pieces;
    /// `None` where there is none. Linux sockets have one, by the interface's MTU.
    pub segment_len: Option<usize>,
    /// The receive buffer in bytes that this system grants: it is assumed that the receivers' sockets have the same.
    /// `None` where nothing bounds what they hold.
    pub receive_buffer_len: Option<usize>,
}

/// A datagram to send.
#[derive(Debug, Clone, Copy)]
pub struct Transmit<'a> {
    /// Where to.
    pub destination: SocketAddrV4,
    /// The datagram's bytes, in up to three pieces behind each other; unused ones are empty.
    pub parts: [&'a [u8]; 3],
}

impl Transmit<'_> {
    /// Length of the datagram in bytes.
    #[expect(clippy::len_without_is_empty, reason = "a datagram may be empty and still be one")]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

/// A received datagram, borrowed from the backend's buffer, or a run of several from one sender.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// The UDP payload. If longer than `segment_len`, it holds several datagrams of that length behind each other,
    /// of which the last may be shorter.
    pub bytes: &'a [u8],
    /// The memory that `bytes` lies in, where it may be held beyond the call (sockets): a backend does not write to it
    /// as long as somebody has a clone.
    pub memory: Option<&'a Arc<Vec<u8>>>,
    /// Length of each datagram in `bytes`.
    pub segment_len: usize,
    /// Who sent it.
    pub source: SocketAddrV4,
    /// Where it was sent to. The address is 0.0.0.0 where the system does not tell it (sockets on other systems than
    /// Linux); the port is always known.
    pub destination: SocketAddrV4,
    /// Whether the system dropped datagrams to this port before this one, behind the one before it, as its receive buffer
    /// was full. False where the system does not tell (it does for sockets on Linux).
    pub is_after_loss: bool,
    /// When the batch it came with was taken from the system.
    pub received: Instant,
}

impl Datagram<'_> {
    /// Keeps a part of [`bytes`](Self::bytes): without a copy if it makes up half of the memory it lies in, so that
    /// never more than twice its length is held.
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

/// The kinds of [`Transport`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backend {
    /// UDP sockets of the operating system.
    Socket,
    /// Raw frames through Npcap or libpcap.
    Npcap,
    /// A capture file.
    File,
    /// An in-memory network, for tests.
    Memory,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Backend::Socket => "socket",
            Backend::Npcap => "npcap",
            Backend::File => "file",
            Backend::Memory => "memory",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_up_half_of_its_memory_is_kept_without_a_copy() {
        let memory = Arc::new(vec![7; 100]);
        let nowhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let datagram = Datagram {
            bytes: &memory[10..90],
            memory: Some(&memory),
            segment_len: 80,
            is_after_loss: false,
            source: nowhere,
            destination: nowhere,
            received: Instant::now(),
        };
        let kept = |datagram: Datagram<'_>, part: &[u8]| {
            let kept = datagram.keep(part);
            assert_eq!(kept, part);
            kept.as_ptr() == part.as_ptr()
        };
        assert!(kept(datagram, &datagram.bytes[20..70]));
        assert!(!kept(datagram, &datagram.bytes[20..69]), "it would hold more than twice its length");
        assert!(!kept(datagram, &[7; 60]), "it lies elsewhere");
        assert!(!kept(Datagram { memory: None, ..datagram }, datagram.bytes));
    }
}
