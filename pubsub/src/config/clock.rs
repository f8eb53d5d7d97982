//! Where a node has its time from.

use std::sync::Arc;
use std::time::SystemTime;

/// Where a node has its time from: the send times of its publishers, the receive times of its messages, and the times of
/// its log lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A function of the program, such as a clock that is synchronized with other machines. It is called for each message
    /// that is sent, and once for messages that arrive together. It has to be quick.
    Program(ClockFunction),
    /// Simulated time, as eCAL's player publishes it on the topic `__sim_time__`. Until it does, the system's clock.
    SimTime,
}

/// A function that returns the time; see [`Clock::Program`].
#[derive(Clone)]
pub struct ClockFunction(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// A clock of the program.
    pub fn program(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self::Program(ClockFunction(Arc::new(now)))
    }
}

impl ClockFunction {
    pub(crate) fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl std::fmt::Debug for ClockFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClockFunction").finish_non_exhaustive()
    }
}

/// Two are equal if they are clones of one.
impl PartialEq for ClockFunction {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ClockFunction {}
