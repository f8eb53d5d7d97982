//! What the log says of peers: once for each, and of so many at most.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Mutex;

use ferrocal_proto::{LayerKind, TopicInfo};

use crate::lock;
use crate::shown::Shown;

/// What peers are reported for. Each has room of its own, so that nobody can use up that of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    RefusedRegistration,
    OtherType,
    NoCommonLayer,
    OtherMode,
    OtherSettings,
    NotRegistered,
}

/// Reports of one kind. The network says how many there could be.
const MAX_EACH: usize = 32;

/// The reports there were, to make none twice.
#[derive(Debug, Default)]
pub(super) struct Notices {
    made: Mutex<HashMap<Kind, HashSet<u64>>>,
    hasher: RandomState,
}

impl Notices {
    /// Logs a warning, unless there was one of this kind about the same.
    pub(super) fn warn(&self, kind: Kind, about: impl Hash, text: fmt::Arguments<'_>) {
        let about = self.hasher.hash_one(about);
        let count = {
            let mut made = lock(&self.made);
            let made = made.entry(kind).or_default();
            if made.len() >= MAX_EACH || !made.insert(about) {
                return;
            }
            made.len()
        };
        let end = if count == MAX_EACH { "; no more like this is logged" } else { "" };
        log::warn!("{text}{end}");
    }
}

/// A peer's process.
pub(super) struct ProcessOf<'a>(pub(super) &'a TopicInfo);

impl fmt::Display for ProcessOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TopicInfo { unit_name, process_id, host_name, .. } = self.0;
        write!(f, "`{}` (process {process_id} on {})", Shown(unit_name), Shown(host_name))
    }
}

/// eCAL's names for layers in `ecal.yaml`.
pub(super) fn names(layers: impl Iterator<Item = LayerKind>) -> String {
    let names: Vec<_> = layers
        .filter_map(|layer| match layer {
            LayerKind::UdpMulticast => Some("udp"),
            LayerKind::SharedMemory => Some("shm"),
            LayerKind::Tcp => Some("tcp"),
            LayerKind::Other(_) => None,
        })
        .collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_fill_the_log_or_the_memory() {
        let notices = Notices::default();
        for about in 0..1000 {
            notices.warn(Kind::OtherMode, about, format_args!(""));
        }
        notices.warn(Kind::OtherType, 1, format_args!(""));
        let made = lock(&notices.made);
        assert_eq!((made[&Kind::OtherMode].len(), made[&Kind::OtherType].len()), (MAX_EACH, 1));
    }
}
