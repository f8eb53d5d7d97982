//! The multicast groups of topics, several of which may be one.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use ferrocal_transport::{Membership, MembershipError};

use crate::lock;

/// Joins a group for its first reader and leaves it after its last.
pub(super) struct Groups {
    membership: Arc<dyn Membership>,
    /// Joined for as long as the node receives.
    base: Ipv4Addr,
    readers: Mutex<HashMap<Ipv4Addr, usize>>,
}

impl Groups {
    /// `base` is joined already.
    pub(super) fn new(membership: Arc<dyn Membership>, base: Ipv4Addr) -> Self {
        Self { membership, base, readers: Mutex::default() }
    }

    pub(super) fn join(&self, group: Ipv4Addr) -> Result<(), MembershipError> {
        if group == self.base {
            return Ok(());
        }
        let mut readers = lock(&self.readers);
        let count = readers.entry(group).or_insert(0);
        if *count == 0
            && let Err(error) = self.membership.join(group)
        {
            readers.remove(&group);
            return Err(error);
        }
        *count += 1;
        Ok(())
    }

    pub(super) fn leave(&self, group: Ipv4Addr) {
        let mut readers = lock(&self.readers);
        let Some(count) = readers.get_mut(&group) else { return };
        *count -= 1;
        if *count > 0 {
            return;
        }
        readers.remove(&group);
        let left = self.membership.leave(group);
        // The program's logger may subscribe.
        drop(readers);
        if let Err(error) = left {
            log::warn!("{error}");
        }
    }
}
