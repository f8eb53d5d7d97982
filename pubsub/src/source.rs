//! What brings messages, a batch at a time, and the callbacks that are to be called for them.

use std::sync::Arc;
use std::time::Duration;

/// Brings messages, a batch at a time. It has no thread of its own: delivery runs it.
pub(crate) trait Source: Send {
    /// Waits for messages and pushes one batch into the sinks. May return early, without any.
    fn receive(&mut self, ready: &mut Ready) -> Flow;
}

/// The callbacks that have messages waiting. Whoever runs the source calls them next.
pub(crate) type Ready = Vec<Arc<dyn Task>>;

/// A callback that has messages waiting.
pub(crate) trait Task: Send + Sync {
    /// Calls it for all messages that wait.
    fn run(&self);

    /// Whether it is to run on the receiving thread, however long it takes.
    fn is_inline(&self) -> bool;

    /// Whether it took long lately, so that the receiving thread is not to run it.
    fn is_slow(&self) -> bool;

    /// Stores how long a run took.
    fn took(&self, time: Duration);
}

/// How to go on after [`Source::receive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Call again.
    Continue,
    /// Call again after this time: receiving fails at present.
    Pause(Duration),
    /// Nothing will come any more.
    End,
}
