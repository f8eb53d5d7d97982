//! Multicast groups, and interfaces that come, go and change.

mod choice;
mod follow;
mod groups;
mod interfaces;
mod news;
mod reports;

#[cfg_attr(target_os = "linux", path = "changes_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "changes_other.rs")]
mod changes;

pub(crate) use choice::{Choice, Chosen};
pub(crate) use follow::{Follow, Follower};
pub(crate) use groups::{Groups, Place, Refusals};
#[cfg(feature = "raw")]
pub(crate) use interfaces::{Interface, list};
