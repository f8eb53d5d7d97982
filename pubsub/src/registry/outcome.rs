//! What the tables answer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ferrocal_proto::{EntityId, Text};

use super::entity::Entity;
use super::tables::{Event, ProcessKey, TopicName};
use crate::feed::FeedSender;

/// A registration that was not stored, because the tables are full.
#[derive(Debug)]
pub(super) struct Full;

/// The entities of this node whose connections changed.
pub(super) type Changed = Vec<Arc<Entity>>;

/// One that has changed several times is announced once, as it is then.
pub(super) fn keep_once(changed: &mut Changed) {
    changed.sort_unstable_by_key(Arc::as_ptr);
    changed.dedup_by(|one, other| Arc::ptr_eq(one, other));
}

/// What a step changed.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) changed: Changed,
    pub(super) type_conflicts: Vec<TypeConflict>,
    pub(super) seen: Seen,
    /// For those who listen, each with who that is.
    pub(super) events: Vec<(Arc<FeedSender<Event>>, Event)>,
    /// Publishers that are not there any more.
    pub(super) gone: Vec<GonePublisher>,
}

/// What a registration shows of the way between a peer and this node.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// Whether this node has entities that it would be matched with.
    pub(super) has_counterpart: bool,
    /// How long the peer has had none of this node's layers meanwhile.
    pub(super) without_layer_for: Option<Duration>,
}

/// What is known of the peers of a role.
#[derive(Debug)]
pub(super) struct Known {
    /// Those of a topic that are not matched.
    pub(super) unreachable: usize,
    /// The topics of all.
    pub(super) topics: BTreeSet<TopicName>,
}

/// An entity of this node that was matched with a peer of another data type.
#[derive(Debug)]
pub(super) struct TypeConflict {
    pub(super) entity: Arc<Entity>,
    /// The peer's data type and process.
    pub(super) type_name: Box<str>,
    pub(super) host_name: Text,
    pub(super) process_id: i32,
}

/// A publisher that unregistered or fell silent.
#[derive(Debug)]
pub(super) struct GonePublisher {
    pub(super) topic: TopicName,
    pub(super) host_name: Text,
    pub(super) id: EntityId,
}

impl TypeConflict {
    /// `None` if the types are the same, or one of them is not known.
    pub(super) fn between(entity: &Arc<Entity>, process: &ProcessKey, type_name: &str) -> Option<Self> {
        let own = &entity.data_type().name;
        let differs = !own.is_empty() && !type_name.is_empty() && own != type_name;
        differs.then(|| Self {
            entity: entity.clone(),
            type_name: type_name.into(),
            host_name: process.host_name.clone(),
            process_id: process.process_id,
        })
    }
}
