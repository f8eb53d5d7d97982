//! Multicast groups, and interfaces that come, go and change.

mod follow;
mod groups;
mod interfaces;

#[cfg_attr(target_os = "linux", path = "changes_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "changes_other.rs")]
mod changes;

pub(crate) use follow::{Follow, Follower};
pub(crate) use groups::{Groups, Place};
pub(crate) use interfaces::{Interface, check, list, places};
#[cfg(feature = "raw")]
pub(crate) use interfaces::{configured, routed};
