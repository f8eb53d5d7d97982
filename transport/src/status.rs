//! What became of the interfaces that the settings choose, for programs.

use std::io;
use std::net::Ipv4Addr;

use crate::selector::InterfaceSelector;

/// An interface that a receiver's groups are joined on, or should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InterfaceStatus {
    /// What of the settings names it. `None` if they name none: then the system's routes decide, or all interfaces are used.
    pub selector: Option<InterfaceSelector>,
    /// Its name; on Windows the name that the system shows its users. `None` if there is no interface.
    pub name: Option<String>,
    /// The address that it is used with. `None` if there is no interface.
    pub address: Option<Ipv4Addr>,
    /// How it is.
    pub state: InterfaceState,
    /// The groups that are to be joined on it. Empty if there is no interface.
    pub groups: Vec<GroupStatus>,
}

/// How an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterfaceState {
    /// It is up and has an address.
    Up,
    /// It is up, but has no carrier: perhaps its cable is not plugged in. What is sent by it reaches nobody.
    NoCarrier,
    /// No interface that the settings name so is up and has an IPv4 address. It is used as soon as there is one.
    Missing,
    /// The system's routes are to decide, and none leads to the group. The interface is used as soon as there is one.
    NoRoute,
}

/// A group on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupStatus {
    /// The group.
    pub group: Ipv4Addr,
    /// Whether it is joined.
    pub state: GroupState,
}

/// Whether a group is joined on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GroupState {
    /// It is.
    Joined,
    /// The system allows no more groups (Linux: `net.ipv4.igmp_max_memberships`). It is asked again.
    TooManyGroups,
    /// The system refuses it, and is asked again.
    Refused(io::ErrorKind),
}
