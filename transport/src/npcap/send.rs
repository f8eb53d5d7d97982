//! The send half as raw frames, with a second path to this host's own sockets.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{io, iter};

use ferrocal_pcap_lazy::pcap::{Active, Capture};

use super::{CaptureError, capture, device_name};
use crate::frame::{Emit, LinkType, multicast_mac};
use crate::groups::Groups;
use crate::interfaces::{self, Interface};
use crate::{
    Config, MAX_DATAGRAM_LEN, Membership, MembershipError, OpenError, SendError, SendHalf, SendLimits,
    SocketSender, SocketTransport, Transmit,
};

pub(super) struct Sender {
    config: Config,
    /// IPv4 identification of the next datagram.
    identification: AtomicU16,
    wire: Mutex<Wire>,
    /// Reaches this host's own sockets, which injected frames do not, and holds the source port.
    this_host: SocketSender,
    port: u16,
    /// The groups that were sent to. Linux keeps a time to live of 0 from the wire only in groups that the host is a
    /// member of.
    groups: Groups,
}

/// The way out.
struct Wire {
    interface: Interface,
    source: Ipv4Addr,
    link: LinkType,
    capture: Capture<Active>,
    buffer: Vec<u8>,
}

impl Wire {
    fn open(config: &Config) -> Result<Self, OpenError> {
        let (interface, source) = outgoing(config)?;
        let capture = capture::open_for_sending(&device_name(&interface)).map_err(OpenError::Capture)?;
        let dlt = capture.get_datalink().0;
        let link = LinkType::from_dlt(dlt)
            .ok_or_else(|| OpenError::Capture(CaptureError(format!("link type {dlt} is unknown").into())))?;
        Ok(Self { interface, source, link, capture, buffer: Vec::new() })
    }
}

impl Sender {
    pub(super) fn open(config: &Config, socket: &SocketTransport) -> Result<Self, OpenError> {
        let wire = Wire::open(config)?;
        let this_host = socket.sender_to_this_host()?;
        let port = this_host.port().map_err(|source| OpenError::Socket { option: "getsockname", source })?;
        let duplicate =
            this_host.try_clone().map_err(|source| OpenError::Socket { option: "dup", source })?;
        Ok(Self {
            config: config.clone(),
            identification: AtomicU16::new(fastrand::u16(..)),
            groups: Groups::new(vec![duplicate], config.mode, vec![wire.source]),
            wire: Mutex::new(wire),
            this_host,
            port,
        })
    }

    fn inject(&self, wire: &mut Wire, datagram: &Transmit<'_>) -> io::Result<()> {
        if datagram.len() > MAX_DATAGRAM_LEN {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "UDP has no datagrams of this length"));
        }
        let emit = Emit {
            source_mac: wire.interface.mac,
            destination_mac: multicast_mac(*datagram.destination.ip()),
            source: SocketAddrV4::new(wire.source, self.port),
            destination: datagram.destination,
            ttl: self.config.ttl,
            identification: self.identification.fetch_add(1, Ordering::Relaxed),
            mtu: wire.interface.mtu,
            link: wire.link,
        };
        let Wire { capture, buffer, .. } = wire;
        let mut result = Ok(());
        emit.frames(datagram.parts, buffer, |frame| {
            if result.is_ok() {
                result = capture.sendpacket(frame);
            }
        });
        result.map_err(|error| io::Error::other(CaptureError::from(error)))
    }

    /// As [`inject`](Self::inject), once more if the interface was gone for a while and is back.
    fn inject_or_reopen(&self, wire: &mut Wire, datagram: &Transmit<'_>) -> io::Result<()> {
        self.inject(wire, datagram).or_else(|error| match Wire::open(&self.config) {
            Ok(reopened) => {
                *wire = reopened;
                self.groups.follow(vec![(wire.interface.index, wire.source)]);
                self.inject(wire, datagram)
            }
            Err(_) => Err(error),
        })
    }
}

impl SendHalf for Sender {
    fn limits(&self) -> SendLimits {
        self.this_host.limits()
    }

    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError> {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner);
        for (sent, datagram) in iter::zip(0.., batch) {
            self.inject_or_reopen(&mut wire, datagram).map_err(|source| SendError {
                sent,
                destination: datagram.destination,
                len: datagram.len(),
                source,
            })?;
        }
        drop(wire);
        if !self.config.loopback {
            return Ok(());
        }
        for datagram in batch {
            match self.groups.join(*datagram.destination.ip()) {
                Ok(()) | Err(MembershipError::AlreadyJoined(_)) => {}
                Err(error) => {
                    log::debug!("this host's own subscribers are not reached: {error}");
                    return Ok(());
                }
            }
        }
        self.this_host.send(batch)
    }
}

/// The interface that multicast leaves by, and the address it comes from: the first that is configured, or what the
/// system's routes choose.
fn outgoing(config: &Config) -> Result<(Interface, Ipv4Addr), OpenError> {
    let failed = |source| OpenError::Socket { option: "route for multicast", source };
    let address = match config.interfaces.first() {
        Some(&address) => address,
        None => routed_address().map_err(failed)?,
    };
    let interfaces = interfaces::list();
    let available = interfaces.iter().flat_map(|interface| interface.addresses.clone()).collect();
    match interfaces.into_iter().find(|interface| interface.has(address)) {
        Some(interface) => Ok((interface, address)),
        None => Err(OpenError::UnknownInterface { address, available }),
    }
}

/// The address that the system sends multicast from. Connecting a UDP socket sends nothing.
fn routed_address() -> io::Result<Ipv4Addr> {
    /// eCAL's group base.
    const GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 0, 0, 1), 14_002);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(GROUP)?;
    match socket.local_addr()?.ip() {
        std::net::IpAddr::V4(address) => Ok(address),
        std::net::IpAddr::V6(_) => Ok(Ipv4Addr::UNSPECIFIED),
    }
}
