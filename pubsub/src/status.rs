//! What a node is doing.

use ferrocal_proto::DropCounts;
use ferrocal_transport::{Backend, Fallback, GroupState, InterfaceStatus, ReceiveDrops, SelectionReason};

/// What a node is doing. Made by [`Node::status`](crate::Node::status).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Status {
    /// The backend that was selected.
    pub backend: Backend,
    /// Why that one.
    pub reason: SelectionReason,
    /// The backend that receives registrations. Differs from `backend` after a fallback.
    pub registration_backend: Backend,
    /// The backend that receives payload. `None` until there is a subscriber. Differs from `backend` after a fallback.
    pub payload_backend: Option<Backend>,
    /// What uses another backend than the selected one, and why.
    pub fallbacks: Vec<Fallback>,
    /// The interfaces that the settings choose, those that are missing included, and the groups of registrations and of
    /// payload on each. Empty in local mode, and if the backend has no interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// The kernel's receive buffer for registrations and payload in bytes, as the system granted it; 0 if there is none.
    pub receive_buffer_len: usize,
    /// Publishers and subscribers known of, those of this node included.
    pub peers: usize,
    /// Memory that the registry is charged for them, in bytes; see
    /// [`max_registry_bytes`](crate::LimitsConfig::max_registry_bytes).
    pub registry_bytes: usize,
    /// Datagrams and messages that could not be used.
    pub drops: DropCounts,
    /// Datagrams that were lost or refused before they could be looked at.
    pub receive_drops: ReceiveDrops,
    /// Messages of topics that this node does not subscribe to. Topics may share a multicast group, so a few of them
    /// are no fault.
    pub unsubscribed: u64,
    /// Whether a thread of the node has failed. It is of no use any more then: open another one.
    pub has_failed: bool,
}

/// What two receivers say of their interfaces. A group that both have to join is joined if it is by both.
pub(crate) fn merge(mut all: Vec<InterfaceStatus>, others: Vec<InterfaceStatus>) -> Vec<InterfaceStatus> {
    for other in others {
        let is_same = |one: &&mut InterfaceStatus| {
            (&one.selector, &one.name, one.address) == (&other.selector, &other.name, other.address)
        };
        let Some(one) = all.iter_mut().find(is_same) else {
            all.push(other);
            continue;
        };
        for group in other.groups {
            match one.groups.iter_mut().find(|known| known.group == group.group) {
                Some(known) if known.state == GroupState::Joined => *known = group,
                Some(_) => {}
                None => one.groups.push(group),
            }
        }
    }
    all
}
