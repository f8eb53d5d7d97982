//! The TCP layer's settings.

use std::time::Duration;

/// The TCP layer. Not in eCAL, whose own settings of this layer are about its threads; `ferrocal.tcp`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpConfig {
    /// How long a connection may take to be made and to agree on a version. Default: 5 s.
    pub connect_timeout: Duration,
    /// How long a subscriber may take nothing of what waits for it, or a publisher send nothing of a message that it has
    /// begun, before the connection is closed. The next one is made when the publisher registers next. Default: 10 s.
    pub write_timeout: Duration,
    /// How many connections there are at most, of all publishers and subscribers of the node. Default: 1024.
    pub max_connections: usize,
}

setters!(TcpConfig { connect_timeout: Duration, write_timeout: Duration, max_connections: usize });

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(10),
            max_connections: 1024,
        }
    }
}
