//! Says in the log why payload does not flow, as far as registrations show it, and what to do.

use std::collections::BTreeSet;
use std::iter;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ferrocal_proto::{DropReason, EntityId, LayerKind, MAX_METHODS, TopicInfo};

use super::Registry;
use super::entity::{Entity, Role};
use super::notices::{Kind, ProcessOf, names};
use super::outcome::{Known, Seen, TypeConflict};
use crate::shown::Shown;
use crate::{Mode, lock};

/// So many refreshes pass before something that has not come is worth a line.
const PATIENCE: u32 = 5;

/// How many entities without a connection are reported after one refresh: for each, all peers are looked through.
const MAX_LONELY: usize = 16;

impl Registry {
    fn patience(&self) -> Duration {
        self.refresh * PATIENCE
    }

    /// Reports a registration that could not be used.
    pub(super) fn report_refused(&self, source: SocketAddrV4, reason: DropReason) {
        let more = match reason {
            DropReason::TooLong => format!(", or has more than {MAX_METHODS} methods of a service"),
            _ => String::new(),
        };
        self.notices.warn(
            Kind::RefusedRegistration,
            (source, reason),
            format_args!(
                "a registration from {source} cannot be used: {reason}{more}; this node does not know its sender"
            ),
        );
    }

    pub(super) fn report_conflicts(&self, conflicts: &[TypeConflict]) {
        for TypeConflict { entity, type_name, host_name, process_id } in conflicts {
            self.notices.warn(
                Kind::OtherType,
                (&entity.topic, &entity.data_type().name, type_name, host_name, process_id),
                format_args!(
                    "topic `{}`: this node's data type is `{}`, that of process {process_id} on {} is `{}`; they are \
                     connected all the same, as eCAL goes by the topic's name alone: give both the same type, or one \
                     another topic",
                    entity.topic,
                    entity.data_type().name,
                    Shown(host_name),
                    Shown(type_name.as_bytes()),
                ),
            );
        }
    }

    /// Reports a peer of a topic of this node's that payload does not reach, or may not.
    pub(super) fn report_peer(&self, source: SocketAddrV4, role: Role, info: &TopicInfo, seen: Seen) {
        let Seen { has_counterpart: true, without_layer_for } = seen else { return };
        let topic = Shown(&info.topic_name);
        let (peer, about) = (ProcessOf(info), (&info.topic_name, &info.host_name, info.process_id));
        let is_here = self.mode == Mode::Network && source.ip().is_loopback();
        if is_here && self.is_heard_beyond_loopback.load(Ordering::Relaxed) {
            self.notices.warn(
                Kind::OtherMode,
                about,
                format_args!(
                    "topic `{topic}`: {peer} is in local mode, and this node in network mode: they see each other, but \
                     payload may not arrive; set the same `communication_mode` for both"
                ),
            );
        }
        if let Some(advice) = self.layers.iter().find_map(|layer| layer.advice(info)) {
            let about = (&info.host_name, info.process_id);
            self.notices.warn(Kind::OtherSettings, about, format_args!("topic `{topic}`: {peer} {advice}"));
        }
        if without_layer_for.is_none_or(|time| role == Role::Publisher && time < self.patience()) {
            return;
        }
        let Some(own) = lock(&self.tables).counterpart(role, &info.topic_name) else { return };
        let text = self.no_layer(role, info, &own);
        self.notices.warn(
            Kind::NoCommonLayer,
            about,
            format_args!("topic `{topic}`: the {} of {peer} {text}", role.name()),
        );
    }

    /// Why nothing goes between a peer and an entity of this node's, and where that is to be changed.
    fn no_layer(&self, role: Role, info: &TopicInfo, own: &Entity) -> String {
        let is_local = *info.host_name == *self.identity.host_name;
        let is_of_use = |kind: &LayerKind| is_local || *kind != LayerKind::SharedMemory;
        let others = || info.layers.iter().filter(|layer| layer.enabled).map(|layer| layer.kind);
        let (used, theirs) = (names(own.layers().enabled_kinds()), names(others()));
        let key = if is_local { "publisher.priority_local" } else { "publisher.priority_network" };
        let first = own.layers().enabled_kinds().find(is_of_use);
        // What the other has, or else what all have.
        let missing = || names(iter::once(others().find(is_of_use).unwrap_or(LayerKind::UdpMulticast)));
        match (role, first) {
            (Role::Subscriber, None) => format!(
                "gets nothing from this node: it reads by {theirs}, and this node's publisher sends by {used}; \
                 enable `publisher.layer.{}` here",
                missing()
            ),
            (Role::Subscriber, Some(first)) => match own.layers().unnamed(is_local, self.reaching(info)) {
                Some(kind) => format!(
                    "gets nothing from this node: it reads by {theirs}, and this node's publisher prefers none of \
                     them; name `{}` in `{key}` here",
                    names(iter::once(kind))
                ),
                None => format!(
                    "gets nothing from this node: it reads by {theirs}, and this node's publisher sends by {used}; \
                     enable `subscriber.layer.{}` in its ecal.yaml",
                    names(iter::once(first))
                ),
            },
            (Role::Publisher, None) => format!(
                "sends nothing to this node: this node's subscriber reads by {used}; enable `subscriber.layer.{}` \
                 here",
                missing()
            ),
            (Role::Publisher, Some(_)) if (info.connections_local, info.connections_external) == (0, 0) => {
                format!(
                    "sends nothing to this node: it does not know of this node's subscriber, as what this node sends \
                     does not arrive there, or its `publisher.layer` and `{key}` leave it no layer; look at firewalls \
                     and routes, and at its ecal.yaml"
                )
            }
            (Role::Publisher, Some(first)) => format!(
                "sends nothing to this node: it sends by {theirs}, and this node's subscriber reads by {used}; enable \
                 `publisher.layer.{}` in its ecal.yaml, and name it in `{key}`",
                names(iter::once(first))
            ),
        }
    }

    /// Stores that a message came of a publisher that is not registered, or not known to be.
    pub(crate) fn heard_stranger(&self, topic: &Arc<str>, host_name: &[u8], id: EntityId, received: Instant) {
        lock(&self.strangers).heard(topic, host_name, id, received);
    }

    /// Reports the publishers whose messages go on coming without a registration.
    pub(super) fn report_strangers(&self, now: Instant) {
        let mut strangers = lock(&self.strangers).take_persistent(now, self.patience());
        if !strangers.is_empty() {
            let tables = lock(&self.tables);
            strangers.retain(|one| !tables.has_publisher(&one.host_name, one.id));
        }
        for one in strangers {
            self.notices.warn(
                Kind::NotRegistered,
                (&one.topic, &one.host_name, one.id),
                format_args!(
                    "topic `{}`: messages come from publisher {} on {}, which is not registered here, so that it is \
                     not counted as connected; have it register by UDP (`registration.local.transport_type: udp` in \
                     its ecal.yaml), with the same port and `communication_mode` as this node",
                    one.topic,
                    one.id,
                    Shown(&one.host_name),
                ),
            );
        }
    }

    /// Logs what is known of the topics of those that are not connected to anybody after some time.
    pub(super) fn report_lonely(&self, now: Instant, entities: &[Arc<Entity>]) {
        let patience = self.patience();
        let lonely: Vec<_> =
            entities.iter().filter(|entity| entity.becomes_lonely(now, patience)).take(MAX_LONELY).collect();
        if !log::log_enabled!(log::Level::Info) {
            return;
        }
        for entity in lonely {
            let Known { unreachable, topics } = lock(&self.tables).known(&entity.topic, entity.role.other());
            let (this, others) = (entity.role.name(), entity.role.other().name());
            let known = if unreachable > 0 {
                format!("{unreachable} on this topic cannot be reached from here")
            } else if topics.is_empty() {
                format!("no {others} of any topic is known")
            } else {
                format!("known are {others}s of {}", list(&topics))
            };
            let mode = match self.mode {
                Mode::Local => "in local mode, which hears programs of this host alone, in the same mode",
                Mode::Network => "in network mode",
            };
            log::info!(
                "topic `{}`: this {this} has no {others} after {patience:?}: {known}; the node is {mode} \
                 (`communication_mode`), and listens on port {}",
                entity.topic,
                self.destination.port(),
            );
        }
    }
}

/// Topics by name, and how many more there are.
fn list(topics: &BTreeSet<Arc<[u8]>>) -> String {
    const MAX_NAMED: usize = 8;
    let named: Vec<_> = topics.iter().take(MAX_NAMED).map(|topic| format!("`{}`", Shown(topic))).collect();
    let more = match topics.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    named.join(", ") + &more
}
