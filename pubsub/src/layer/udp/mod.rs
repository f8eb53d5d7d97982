//! Payload over UDP: multicast groups in network mode, broadcast on loopback in local mode.

mod dispatch;
mod groups;
mod pacing;
mod readers;
mod send;
mod source;
mod window;
mod writer;

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use ferrocal_proto::{HashVersion, LayerKind, TopicInfo};
use ferrocal_transport::{OpenError, Transport};

use crate::layer::{Layer, Opened, Outlet, Writer};
use crate::wire::{Report, open_sender};
use crate::{Config, Mode, NodeError, lock};
use groups::Groups;
use readers::{Readers, UdpInlet};
use send::Outbound;
use source::UdpSource;
use writer::{TopicGroups, UdpWriter};

/// The UDP layer of a node.
pub(crate) struct Udp {
    config: Config,
    transport: Arc<dyn Transport>,
    outbound: Arc<Outbound>,
    counters: Arc<UdpCounters>,
}

/// What the layer counts, for others to read.
#[derive(Debug, Default)]
pub(crate) struct UdpCounters {
    report: Mutex<Report>,
    /// Messages of topics that this node does not subscribe to.
    unsubscribed: AtomicU64,
}

impl UdpCounters {
    pub(crate) fn report(&self) -> Report {
        lock(&self.report).clone()
    }

    pub(crate) fn unsubscribed(&self) -> u64 {
        self.unsubscribed.load(Ordering::Relaxed)
    }
}

impl Udp {
    /// Opens what sends. What receives is opened for the first subscriber: a node that only publishes would get all that
    /// it sends itself.
    pub(crate) fn open(config: &Config, transport: Arc<dyn Transport>) -> Result<Self, OpenError> {
        let outbound = Arc::new(Outbound::new(open_sender(&*transport, config)?, config));
        Ok(Self { config: config.clone(), transport, outbound, counters: Arc::default() })
    }

    pub(crate) fn counters(&self) -> Arc<UdpCounters> {
        self.counters.clone()
    }
}

impl Layer for Udp {
    fn kind(&self) -> LayerKind {
        LayerKind::UdpMulticast
    }

    fn advice(&self, peer: &TopicInfo) -> Option<&'static str> {
        /// The version that eCAL 5 writes, whose default is another hash.
        const ECAL_5: i32 = 1;
        let Config { mode, udp, .. } = &self.config;
        let is_other = *mode == Mode::Network && udp.hash_version == HashVersion::V2;
        (is_other && peer.layers.iter().any(|layer| layer.version == ECAL_5)).then_some(
            "is of eCAL 5, where the groups of topics are those of `config_version: v1` unless it is configured, while \
             this node has v2; it receives those of both. If messages are missing, set \
             `transport_layer.udp.config_version: v1` for this node, and the same `mask` for both",
        )
    }

    fn writer(&self, outlet: &Outlet<'_>) -> Box<dyn Writer> {
        let port = self.config.udp.port;
        let groups = TopicGroups {
            own: SocketAddrV4::new(self.config.topic_group(outlet.topic), port),
            base: SocketAddrV4::new(self.config.destination().group, port),
        };
        let max_len = self.config.limits.reassembly.max_message_len;
        Box::new(UdpWriter::new(outlet, groups, max_len, self.outbound.clone()))
    }

    fn open(&self) -> Result<Opened, NodeError> {
        let receiver = self.transport.receiver(self.config.udp.port)?;
        let membership = receiver.membership();
        let base = self.config.destination().group;
        membership.join(base)?;
        let (interrupt, granted) = (receiver.interrupter(), receiver.granted());
        let readers = Arc::new(Readers::default());
        let groups = Arc::new(Groups::new(membership, base));
        let source = UdpSource::new(receiver, &self.config, readers.clone(), self.counters.clone());
        Ok(Opened {
            source: Box::new(source),
            inlet: Arc::new(UdpInlet::new(self.config.clone(), readers, groups)),
            interrupt,
            joins_segments: Some(granted.joins_segments),
        })
    }
}
