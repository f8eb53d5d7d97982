//! Settings of shared memory.

use std::time::Duration;

/// How a publisher uses shared memory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShmConfig {
    /// How many memory files it writes in turn (`memfile_buffer_count`). With more than one, a subscriber has time to
    /// read a message while the next one is written, and reads messages that come together out of their order at times.
    /// Default: 1.
    pub buffer_count: usize,
    /// The least size of a memory file in bytes (`memfile_min_size_bytes`). Default: 4096.
    pub min_len: usize,
    /// How much longer than its first message a memory file is made, in percent (`memfile_reserve_percent`). A longer
    /// message takes a new file, of which subscribers have to learn. Default: 50.
    pub reserve_percent: usize,
    /// How long to wait with each message until all subscribers have taken it (`acknowledge_timeout_ms`). A subscriber
    /// that did not answer in time is not waited for again until it does. Default: 0, which does not wait: a subscriber
    /// that is slower than its publisher gets the newest message, and loses others.
    pub acknowledge_timeout: Duration,
    /// Whether subscribers may look at a message in place, and keep the publisher from writing the next one meanwhile
    /// (`zero_copy_mode`): those of eCAL, and of [`subscribe_borrowed`](crate::Node::subscribe_borrowed). All others copy it.
    /// Default: `false`.
    pub zero_copy: bool,
}

setters!(ShmConfig {
    buffer_count: usize,
    min_len: usize,
    reserve_percent: usize,
    acknowledge_timeout: Duration,
    zero_copy: bool,
});

impl Default for ShmConfig {
    fn default() -> Self {
        Self {
            buffer_count: 1,
            min_len: 4096,
            reserve_percent: 50,
            acknowledge_timeout: Duration::ZERO,
            zero_copy: false,
        }
    }
}
