//! Sockets alone, with the datagrams of eCAL's wire format: what is left when a library does nothing of its own.

mod receive;
mod send;

use std::any::Any;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;

use socket2::{Domain, SockAddr, Socket, Type};

use super::ferrocal::RECEIVE_BUFFER;
use super::{Outcome, Peer};
use crate::role::Setup;
use crate::tally::Tally;
use receive::{Assembler, Reader};
pub(super) use send::Sender;

const PORT: u16 = 14_002;
const HEADER_LEN: usize = 24;
/// A byte of the header that eCAL does not look at.
const MARK_AT: usize = 5;
/// What stands before the payload in a message: as long as ferrocal's sample head for the topics measured here.
const SAMPLE_HEAD_LEN: usize = 74;
/// An Ethernet frame's room for UDP, and the most that a datagram holds.
const SEGMENT_LEN: usize = 1472;
const LARGEST_LEN: usize = 65_507;

/// How a peer's datagrams are made.
#[derive(Clone, Copy)]
struct Shape {
    /// The longest datagram, header included.
    datagram_len: usize,
    /// Whether the kernel cuts and joins runs of datagrams.
    offload: bool,
    /// Whether readers spin.
    spin: bool,
}

impl Shape {
    fn of(peer: Peer) -> Self {
        let offload = matches!(peer, Peer::BareGso | Peer::BareBatch);
        let datagram_len = if offload { SEGMENT_LEN } else { LARGEST_LEN };
        Self { datagram_len, offload, spin: peer == Peer::BareSpin }
    }

    /// Bytes of a message in each of its fragments but the last.
    fn fragment_len(self) -> usize {
        self.datagram_len - HEADER_LEN
    }
}

/// The multicast group of one of two topics, in network mode.
fn group(mark: u8) -> Ipv4Addr {
    Ipv4Addr::new(239, 0, 0, 1 + mark)
}

/// Sends to where eCAL does: the socket, and the destination where the socket is not connected to it.
fn sending_socket(setup: &Setup, mark: u8) -> Outcome<(Socket, Option<SockAddr>)> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_SNDBUF, 5_242_880)?;
    if let Some(interface) = setup.interface {
        // Linux looks up the route of each multicast datagram in any case, and more slowly where the socket is connected.
        socket.set_multicast_if_v4(&interface)?;
        socket.set_multicast_ttl_v4(3)?;
        return Ok((socket, Some(SocketAddrV4::new(group(mark), PORT).into())));
    }
    socket.set_broadcast(true)?;
    let broadcast = SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), PORT).into();
    if setup.peer == Peer::BareSendto {
        return Ok((socket, Some(broadcast)));
    }
    socket.connect(&broadcast)?;
    Ok((socket, None))
}

fn receiving_socket(setup: &Setup, mark: u8) -> Outcome<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT).into())?;
    let socket = UdpSocket::from(socket);
    if let Some(interface) = setup.interface {
        socket.join_multicast_v4(&group(mark), &interface)?;
    }
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER.try_into()?)?;
    if Shape::of(setup.peer).offload {
        set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    }
    Ok(socket)
}

fn set_option(socket: &impl AsRawFd, level: i32, name: i32, value: i32) -> Outcome<()> {
    let len = size_of::<i32>().try_into()?;
    // SAFETY: `value` is read, and is as long as `len` says.
    let status = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if status == 0 { Ok(()) } else { Err(std::io::Error::last_os_error().into()) }
}

/// Counts messages on a thread, until the process ends.
pub(super) fn subscribe(setup: &Setup, tallies: &[Arc<Tally>]) -> Outcome<impl Any> {
    let [tally] = tallies else { return Err("bare sockets have one subscriber".into()) };
    let shape = Shape::of(setup.peer);
    let mut reader = Reader::new(receiving_socket(setup, 0)?, shape);
    let mut assembler = Assembler::new(shape);
    let (tally, len) = (tally.clone(), setup.size);
    Ok(thread::spawn(move || {
        loop {
            let read = reader.read(&mut |datagram| {
                if let Some(payload) = assembler.accept(datagram) {
                    tally.take(payload, len);
                }
            });
            if let Err(error) = read {
                eprintln!("receiving fails: {error}");
                return;
            }
        }
    }))
}

/// A sender and a reader that waits for one message at a time. Both sides have the same port, as eCAL's processes do, so
/// that in local mode each gets its own messages, too; in network mode each topic has a group.
pub(super) struct Line {
    sender: Sender,
    mark: u8,
    reader: Reader,
    assembler: Assembler,
}

impl Line {
    /// The two sides differ in `first`, and so in their marks.
    pub(super) fn new(setup: &Setup, first: bool) -> Outcome<Self> {
        let shape = Shape::of(setup.peer);
        let mark = u8::from(first);
        let reader = Reader::new(receiving_socket(setup, 1 - mark)?, shape);
        let sender = Sender::marked(setup, mark)?;
        Ok(Self { sender, mark, reader, assembler: Assembler::new(shape) })
    }

    /// Hands the next message to `look`, whose turn it is as soon as the message is complete.
    fn next(&mut self, mut look: impl FnMut(&mut Sender, &[u8])) -> Outcome<bool> {
        let Self { sender, mark, reader, assembler } = self;
        let mut seen = false;
        while !seen {
            let some = reader.read(&mut |datagram| {
                let is_own = datagram.get(MARK_AT) == Some(mark);
                if !is_own && let Some(payload) = assembler.accept(datagram) {
                    look(sender, payload);
                    seen = true;
                }
            })?;
            if !some {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl super::Line for Line {
    fn send(&mut self, message: &[u8]) -> Outcome<()> {
        Ok(self.sender.send_message(message)?)
    }

    fn receive(&mut self, look: &mut dyn FnMut(&[u8])) -> Outcome<bool> {
        self.next(|_, payload| look(payload))
    }

    fn echo(&mut self) -> Outcome<()> {
        let mut outcome = Ok(());
        self.next(|sender, payload| outcome = sender.send_message(payload))?;
        Ok(outcome?)
    }
}
