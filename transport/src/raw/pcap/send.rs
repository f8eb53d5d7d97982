//! The sender of raw frames, with a second path to this host's own sockets.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::{io, iter};

use ferrocal_pcap_lazy::pcap::{Active, Capture};
use ferrocal_proto::MAX_DATAGRAM_LEN;

use super::{capture, device_name};
use crate::config::Config;
use crate::error::{CaptureError, MembershipError, OpenError, SendError};
use crate::frame::{Emit, LinkType, multicast_mac};
use crate::membership::{self, Follow, Follower, Groups, Interface, Place};
use crate::seam::{self, Membership, SendLimits, Transmit};
use crate::socket::{SocketSender, SocketTransport};
use crate::sync::lock;

pub(super) struct Sender {
    config: Config,
    /// IPv4 identification of the next datagram.
    identification: AtomicU16,
    wire: Mutex<Wire>,
    /// Reaches this host's own sockets, which injected frames do not, and holds the source port.
    this_host: Arc<SocketSender>,
    port: u16,
    /// The groups that were sent to. Linux keeps a time to live of 0 from the wire only in groups that the host is a
    /// member of.
    groups: Groups,
    _follower: Arc<Follower>,
}

/// The outgoing interface.
struct Wire {
    interface: Interface,
    source: Ipv4Addr,
    link: LinkType,
    capture: Capture<Active>,
    buffer: Vec<u8>,
    /// Whether it refused a frame since it was opened.
    has_failed: bool,
}

impl Wire {
    fn open(config: &Config, interfaces: &[Interface]) -> Result<Self, OpenError> {
        let (interface, source) = outgoing(config, interfaces)?;
        let capture = capture::open_for_sending(&device_name(&interface)).map_err(OpenError::Capture)?;
        let dlt = capture.get_datalink().0;
        let link = LinkType::from_dlt(dlt)
            .ok_or_else(|| OpenError::Capture(CaptureError(format!("link type {dlt} is unknown").into())))?;
        Ok(Self { interface, source, link, capture, buffer: Vec::new(), has_failed: false })
    }

    fn place(&self) -> Place {
        Place { index: self.interface.index, address: self.source }
    }
}

impl Sender {
    pub(super) fn open(
        config: &Config,
        socket: &SocketTransport,
        follower: &Arc<Follower>,
    ) -> Result<Arc<Self>, OpenError> {
        let wire = Wire::open(config, &membership::list())?;
        let this_host = socket.sender_to_this_host()?;
        let port = this_host.port().map_err(OpenError::socket("getsockname"))?;
        let duplicate: UdpSocket = this_host.try_clone().map_err(OpenError::socket("dup"))?.into();
        let sender = Arc::new(Self {
            config: config.clone(),
            identification: AtomicU16::new(fastrand::u16(..)),
            groups: Groups::new(Arc::new(duplicate), config.mode, vec![wire.place()]),
            wire: Mutex::new(wire),
            this_host,
            port,
            _follower: follower.clone(),
        });
        follower.add(&sender);
        Ok(sender)
    }

    fn inject(&self, wire: &mut Wire, datagram: &Transmit<'_>) -> io::Result<()> {
        if datagram.len() > MAX_DATAGRAM_LEN {
            return Err(SendError::too_long());
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
        let Wire { capture, buffer, has_failed, .. } = wire;
        let mut result = Ok(());
        emit.frames(datagram.parts, buffer, |frame| {
            if result.is_ok() {
                result = capture.sendpacket(frame);
            }
        });
        *has_failed |= result.is_err();
        result.map_err(|error| io::Error::other(CaptureError::from(error)))
    }
}

impl Follow for Sender {
    fn follow(&self, interfaces: &[Interface], _: bool) {
        let is_usable = |wire: &Wire| !wire.has_failed && interfaces.contains(&wire.interface);
        if is_usable(&lock(&self.wire)) {
            return;
        }
        match Wire::open(&self.config, interfaces) {
            Ok(wire) => {
                self.groups.follow(vec![wire.place()]);
                *lock(&self.wire) = wire;
            }
            Err(error) => log::debug!("the outgoing interface cannot be opened again: {error}"),
        }
    }
}

impl seam::Sender for Sender {
    fn limits(&self) -> SendLimits {
        self.this_host.limits()
    }

    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError> {
        let mut wire = lock(&self.wire);
        for (sent, datagram) in iter::zip(0.., batch) {
            self.inject(&mut wire, datagram).map_err(|source| SendError {
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

/// Returns the outgoing interface and the source address: of the first interface that is configured, or what the
/// system's routes choose.
fn outgoing(config: &Config, interfaces: &[Interface]) -> Result<(Interface, Ipv4Addr), OpenError> {
    let address = match config.interfaces.first() {
        Some(&address) => address,
        None => membership::routed(config.group).map_err(OpenError::socket("route for multicast"))?,
    };
    match interfaces.iter().find(|interface| interface.has(address)) {
        Some(interface) => Ok((interface.clone(), address)),
        None => {
            let available = interfaces.iter().flat_map(|interface| interface.addresses.clone()).collect();
            Err(OpenError::UnknownInterface { address, available })
        }
    }
}
