//! The sender of raw frames, with a second path to this host's own sockets.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::{io, iter};

use ferrocal_pcap_lazy::pcap::{Active, Capture};
use ferrocal_proto::MAX_DATAGRAM_LEN;

use super::{capture, device_name};
use crate::config::Config;
use crate::error::{CaptureError, OpenError, SendError};
use crate::frame::{Emit, LinkType, multicast_mac};
use crate::membership::{Choice, Follow, Follower, Groups, Interface, Place};
use crate::seam::{self, SendLimits, Transmit};
use crate::socket::{SocketSender, SocketTransport};
use crate::sync::lock;

pub(super) struct Sender {
    config: Config,
    /// IPv4 identification of the next datagram.
    identification: AtomicU16,
    wire: Mutex<Result<Wire, NoWire>>,
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

/// Why there is no outgoing interface.
enum NoWire {
    /// There is none to send by.
    Network(io::Error),
    /// No frames can be sent by it.
    Capture(CaptureError),
}

impl NoWire {
    fn to_error(&self) -> io::Error {
        match self {
            Self::Network(error) => io::Error::new(error.kind(), error.to_string()),
            Self::Capture(error) => io::Error::new(io::ErrorKind::NetworkDown, error.clone()),
        }
    }
}

impl Wire {
    fn open(choice: &Choice) -> Result<Self, NoWire> {
        let (interface, source) = choice.outgoing_interface().map_err(NoWire::Network)?;
        let capture = capture::open_for_sending(&device_name(interface)).map_err(NoWire::Capture)?;
        let dlt = capture.get_datalink().0;
        let link = LinkType::from_dlt(dlt)
            .ok_or_else(|| NoWire::Capture(CaptureError(format!("link type {dlt} is unknown").into())))?;
        let interface = interface.clone();
        Ok(Self { interface, source, link, capture, buffer: Vec::new(), has_failed: false })
    }

    /// Whether it is the one to send by, and works.
    fn serves(&self, choice: &Choice) -> bool {
        let chosen = choice.outgoing_interface();
        !self.has_failed && chosen.is_ok_and(|(one, source)| *one == self.interface && source == self.source)
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
        let wire = match Wire::open(&follower.look()) {
            Err(NoWire::Capture(error)) => return Err(OpenError::Capture(error)),
            wire => wire,
        };
        let this_host = socket.sender_to_this_host()?;
        let port = this_host.port().map_err(OpenError::socket("getsockname"))?;
        let duplicate: UdpSocket = this_host.try_clone().map_err(OpenError::socket("dup"))?.into();
        let groups = Groups::new(Arc::new(duplicate), config.mode, follower.refusals());
        groups.change_to(wire.iter().map(Wire::place).collect(), Vec::new());
        let sender = Arc::new(Self {
            config: config.clone(),
            identification: AtomicU16::new(fastrand::u16(..)),
            groups,
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
        // The length fits: it is the interface that refuses.
        result.map_err(|error| io::Error::new(io::ErrorKind::NetworkDown, CaptureError::from(error)))
    }
}

impl Follow for Sender {
    fn follow(&self, choice: &Choice) {
        if lock(&self.wire).as_ref().is_ok_and(|wire| wire.serves(choice)) {
            return;
        }
        let wire = Wire::open(choice);
        self.groups.change_to(wire.iter().map(Wire::place).collect(), Vec::new());
        *lock(&self.wire) = wire;
    }
}

impl seam::Sender for Sender {
    fn limits(&self) -> SendLimits {
        self.this_host.limits()
    }

    fn send(&self, batch: &[Transmit<'_>]) -> Result<(), SendError> {
        let mut wire = lock(&self.wire);
        for (sent, datagram) in iter::zip(0.., batch) {
            let injected = match &mut *wire {
                Ok(wire) => self.inject(wire, datagram),
                Err(why) => Err(why.to_error()),
            };
            injected.map_err(|source| SendError {
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
        if !batch.iter().all(|datagram| self.groups.hold(*datagram.destination.ip())) {
            return Ok(());
        }
        self.this_host.send(batch)
    }
}
