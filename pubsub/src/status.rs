//! What a node is doing.

use ferrocal_proto::{DropCounts, LayerKind};
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
    /// The layers that payload can take: shared memory, UDP, TCP. Which of them carries what to whom,
    /// [`Publisher::subscribers`](crate::Publisher::subscribers) says.
    pub layers: [LayerStatus; 3],
    /// The connections of the TCP layer. `None` if the node does not have it.
    pub tcp: Option<TcpStatus>,
    /// Whether a thread of the node has failed. It is of no use any more then: open another one.
    pub has_failed: bool,
}

/// A layer of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayerStatus {
    /// Which layer.
    pub kind: LayerKind,
    /// Whether the node has it.
    pub availability: LayerAvailability,
    /// Whether publishers may use it, unless they have settings of their own.
    pub publishes: bool,
    /// Whether subscribers read it, unless they have settings of their own.
    pub subscribes: bool,
}

/// Whether a node has a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerAvailability {
    /// It has.
    Available,
    /// This program has none on this system.
    NotHere,
    /// The backend is no network of this system: a replay, or a transport of the program's own.
    NotWithBackend,
    /// The system refused what it needs. The log says what.
    Failed,
}

impl std::fmt::Display for LayerAvailability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Available => "available",
            Self::NotHere => "this program has none on this system",
            Self::NotWithBackend => "not with this backend",
            Self::Failed => "the system refused it",
        })
    }
}

/// The connections of the TCP layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TcpStatus {
    /// Connections of subscribers to publishers of this node.
    pub subscribers: u64,
    /// Connections of this node to publishers.
    pub publishers: u64,
    /// Connections that were refused so far: there were
    /// [too many](crate::TcpConfig::max_connections), few descriptors were left to the program, or one came from another host
    /// in local mode. Also those that were put off since as many names of hosts were to be looked up.
    pub refused: u64,
    /// Connections that were closed so far because the other side took too long: to connect, to take what was sent,
    /// or to go on with a message.
    pub timed_out: u64,
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
