//! Watches who is on the network.

use std::sync::Arc;

use crate::core::Core;
use crate::feed::Feed;
use crate::registry::{Change, Snapshot};

/// Everything that is registered on the network: processes, publishers, subscribers, servers and clients, with all that
/// they say of themselves. Made by [`Node::monitor`](crate::Node::monitor).
///
/// It fills within [`RegistrationConfig::refresh`](crate::RegistrationConfig::refresh), as each process repeats what it has
/// registered. In local mode it sees this host only. A node itself is seen if it sees its own registrations
/// ([`loopback`](crate::RegistrationConfig::loopback)).
///
/// Entries are known by host, process id and entity id, since ids repeat between hosts and containers. They take as much
/// memory as [`LimitsConfig`](crate::LimitsConfig) allows for peers at most; what has no room is
/// [counted](Self::refused). A node without a monitor stores none of this.
pub struct Monitor {
    core: Arc<Core>,
}

impl Monitor {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        core.registry.watch.start();
        Self { core }
    }

    /// What is registered at present.
    pub fn snapshot(&self) -> Snapshot {
        self.core.registry.watch.snapshot()
    }

    /// Each change from now on, after one for everything that is there already. Ends when the node's last monitor is
    /// dropped.
    pub fn changes(&self) -> Feed<Change> {
        self.core.registry.watch.changes()
    }

    /// How many registrations were not stored for lack of room.
    pub fn refused(&self) -> u64 {
        self.core.registry.watch.refused()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // In a forked child, a thread that does not exist there may hold the lock.
        if !self.core.is_forked() {
            self.core.registry.watch.stop();
        }
    }
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}
