//! Settings of a publisher.

use std::num::NonZeroU64;

use ferrocal_proto::{DataType, LayerKind};

use super::layers::{PRIORITY_LOCAL, PRIORITY_NETWORK};
use crate::{LayersConfig, ShmConfig};

/// How a publisher sends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherConfig {
    /// The data type to register, instead of that of the [`Payload`](crate::Payload). Default: `None`.
    pub data_type: Option<DataType>,
    /// How long messages are cut. Default: [`Fragmentation::Auto`].
    pub fragmentation: Fragmentation,
    /// The most bytes to send in a second, headers of UDP and IP aside. The datagrams of a long message are sent evenly
    /// over the time that it takes, so that neither a slow reader nor a switch loses any.
    ///
    /// Default: `None`. Long messages are then sent as fast as receivers with this node's receive buffer are expected to
    /// read them, unless the [node](crate::Config::max_bytes_per_second) has a limit.
    pub max_bytes_per_second: Option<NonZeroU64>,
    /// The layers that it may send by (`publisher.layer`). Default: UDP and TCP.
    pub layers: LayersConfig,
    /// The order in which it prefers layers for a subscriber on the same host (`priority_local`). The first that both
    /// have enabled carries the messages. A layer that is not named is not used. Default: shared memory, UDP, TCP.
    pub priority_local: Vec<LayerKind>,
    /// The same for subscribers on other hosts (`priority_network`). Default: UDP, TCP.
    pub priority_network: Vec<LayerKind>,
    /// How many bytes of messages wait for each subscriber that reads by TCP, while it takes them more slowly than they
    /// are sent. When there are more, the oldest is dropped and counted
    /// ([`overwritten`](crate::PublisherStats::overwritten)).
    ///
    /// Default: 0, as eCAL has it: beside the message that is being transferred, only the newest waits. A value that is
    /// as large as what can come together loses nothing. Sending never waits.
    pub tcp_queue_bytes: usize,
    /// How it uses shared memory (`publisher.layer.shm`).
    pub shm: ShmConfig,
}

setters!(PublisherConfig {
    fragmentation: Fragmentation,
    layers: LayersConfig,
    priority_local: Vec<LayerKind>,
    priority_network: Vec<LayerKind>,
    tcp_queue_bytes: usize,
    shm: ShmConfig,
} optional {
    data_type: DataType,
    max_bytes_per_second: NonZeroU64,
});

impl Default for PublisherConfig {
    fn default() -> Self {
        Self {
            data_type: None,
            fragmentation: Fragmentation::default(),
            max_bytes_per_second: None,
            layers: LayersConfig::PUBLISHER,
            priority_local: PRIORITY_LOCAL.into(),
            priority_network: PRIORITY_NETWORK.into(),
            tcp_queue_bytes: 0,
            shm: ShmConfig::default(),
        }
    }
}

/// The datagrams that a long message is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Fragmentation {
    /// As [`Mtu`](Self::Mtu) if all connected subscribers can receive many short datagrams at once, as those of ferrocal
    /// on Linux; otherwise as [`Large`](Self::Large).
    #[default]
    Auto,
    /// As long as UDP allows (65507 bytes), as eCAL does. The system cuts them further as the network requires.
    Large,
    /// As long as the interface's MTU allows, passed to the system many at once (UDP segmentation offload). As
    /// [`Large`](Self::Large) where the system cannot do that.
    Mtu,
}
