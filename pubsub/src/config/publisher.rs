//! Settings of a publisher.

use std::num::NonZeroU64;

use ferrocal_proto::DataType;

/// How a publisher sends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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
}

setters!(PublisherConfig {
    fragmentation: Fragmentation,
} optional {
    data_type: DataType,
    max_bytes_per_second: NonZeroU64,
});

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
