//! Settings of a subscriber.

use ferrocal_proto::DataType;

use crate::LayersConfig;

/// What a subscriber keeps, what it drops, and where its callback runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberConfig {
    /// The data type to register, instead of that of the [`Payload`](crate::Payload). Default: `None`.
    pub data_type: Option<DataType>,
    /// How many messages wait for the program at most, 1 at least. When there are more, the oldest is dropped and
    /// counted. Default: 16384.
    pub queue_len: usize,
    /// How many bytes of payload wait at most; one message may be longer. They may hold up to twice as much memory.
    /// Default: 64 MiB.
    pub queue_bytes: usize,
    /// Whether to drop a message that is older than the latest one of its publisher (`drop_out_of_order_messages`).
    /// Default: `true`.
    pub drop_out_of_order: bool,
    /// Where a callback runs: `true` on the thread that receives, `false` (the default) on the node's threads for
    /// callbacks.
    ///
    /// On the receiving thread it is called earliest, and its messages never wait in a queue. While it runs, the node
    /// receives nothing else, so it must be short and must not wait.
    pub inline: bool,
    /// The layers that it reads (`subscriber.layer`). Default: UDP.
    pub layers: LayersConfig,
}

setters!(SubscriberConfig {
    queue_len: usize,
    queue_bytes: usize,
    drop_out_of_order: bool,
    inline: bool,
    layers: LayersConfig,
} optional {
    data_type: DataType,
});

impl Default for SubscriberConfig {
    fn default() -> Self {
        Self {
            data_type: None,
            queue_len: 16_384,
            queue_bytes: 64 * 1024 * 1024,
            drop_out_of_order: true,
            inline: false,
            layers: LayersConfig::SUBSCRIBER,
        }
    }
}
