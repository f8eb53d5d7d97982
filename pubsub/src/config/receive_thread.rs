//! Settings of the thread that receives.

use std::time::Duration;

/// The thread that receives payload. What the system refuses is logged, and the node works without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ReceiveThreadConfig {
    /// How long to poll for new datagrams before the thread sleeps (`busy_poll_us`, microseconds). It occupies a
    /// processor for that time and saves the time that waking up takes. Default: zero.
    ///
    /// With zero, sockets on Linux let short datagrams gather that come at intervals of up to 10 µs: they are read some
    /// 100 µs later, and cost the sender less.
    pub busy_poll: Duration,
    /// The number of the processor to run on, from 0 (`cpu`). Default: `None`, any.
    pub cpu: Option<usize>,
    /// The priority from 0 (least) to 99 (`priority`), where the system's usual one is in the middle. On Linux it becomes
    /// the niceness, and more than the usual needs `CAP_SYS_NICE`. Default: `None`, the usual one.
    pub priority: Option<u8>,
}

setters!(ReceiveThreadConfig {
    busy_poll: Duration,
} optional {
    cpu: usize,
    priority: u8,
});
