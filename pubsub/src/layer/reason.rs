//! Why a layer carries messages between a publisher and a subscriber, or not.

use std::fmt;

use ferrocal_proto::{LayerKind, TopicInfo};

use LayerKind::{SharedMemory, Tcp, UdpMulticast};

/// The layers of eCAL, in the order in which publishers prefer them by default.
const LAYERS: [LayerKind; 3] = [SharedMemory, UdpMulticast, Tcp];

/// A layer between a publisher and a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LayerChoice {
    /// Which layer.
    pub kind: LayerKind,
    /// Whether it carries the messages, and why not otherwise.
    pub reason: LayerReason,
}

/// Whether a layer carries messages from a publisher to a subscriber, and why not otherwise. Its `Display` is a few words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerReason {
    /// It carries them.
    Carries,
    /// Both have it, but the publisher prefers another one that both have.
    AnotherIsPreferred,
    /// The publisher's priorities for subscribers of its own host, or of others, do not name it.
    NotInPriority,
    /// The publisher's settings exclude it.
    OffInPublisher,
    /// The publisher does not offer it: it is off there, or the publisher prefers another one for each subscriber.
    NotOffered,
    /// The subscriber does not read it.
    OffInSubscriber,
    /// The two are on different hosts.
    OtherHost,
    /// This node does not have it: see [`Status::layers`](crate::Status::layers).
    Unavailable,
}

impl fmt::Display for LayerReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Carries => "carries the messages",
            Self::AnotherIsPreferred => "another one is preferred",
            Self::NotInPriority => "not in the publisher's priorities",
            Self::OffInPublisher => "off in the publisher",
            Self::NotOffered => "not offered by the publisher",
            Self::OffInSubscriber => "off in the subscriber",
            Self::OtherHost => "another host",
            Self::Unavailable => "not available in this program",
        })
    }
}

impl LayerChoice {
    /// What each layer is for a publisher and a subscriber of one topic, as far as their registrations show it, if the
    /// publisher's priorities are eCAL's default.
    pub fn between(publisher: &TopicInfo, subscriber: &TopicInfo) -> [Self; 3] {
        let is_local = publisher.host_name == subscriber.host_name;
        let has =
            |info: &TopicInfo, kind| info.layers.iter().any(|layer| layer.enabled && layer.kind == kind);
        let mut carrier = None;
        LAYERS.map(|kind| {
            let reason = if kind == SharedMemory && !is_local {
                LayerReason::OtherHost
            } else if !has(subscriber, kind) {
                LayerReason::OffInSubscriber
            } else if !has(publisher, kind) {
                LayerReason::NotOffered
            } else if *carrier.get_or_insert(kind) == kind {
                LayerReason::Carries
            } else {
                LayerReason::AnotherIsPreferred
            };
            Self { kind, reason }
        })
    }

    /// What each layer is, by a function of its kind.
    pub(crate) fn each(reason: impl Fn(LayerKind) -> LayerReason) -> [Self; 3] {
        LAYERS.map(|kind| Self { kind, reason: reason(kind) })
    }
}

#[cfg(test)]
mod tests {
    use LayerReason::{AnotherIsPreferred, Carries, NotOffered, OffInSubscriber, OtherHost};
    use ferrocal_proto::{Layer, LayerParameters};

    use super::*;

    #[test]
    fn registrations_show_which_layer_carries_the_messages() {
        let info = |host: &str, kinds: &[LayerKind]| TopicInfo {
            host_name: host.into(),
            layers: kinds
                .iter()
                .map(|&kind| Layer {
                    kind,
                    version: 2,
                    enabled: true,
                    active: false,
                    parameters: LayerParameters::default(),
                })
                .collect(),
            ..TopicInfo::default()
        };
        let between = |publisher: (&str, &[LayerKind]), subscriber: (&str, &[LayerKind])| {
            LayerChoice::between(&info(publisher.0, publisher.1), &info(subscriber.0, subscriber.1))
                .map(|choice| choice.reason)
        };
        assert_eq!(
            between(("a", &LAYERS), ("a", &LAYERS)),
            [Carries, AnotherIsPreferred, AnotherIsPreferred]
        );
        assert_eq!(between(("a", &LAYERS), ("b", &LAYERS)), [OtherHost, Carries, AnotherIsPreferred]);
        assert_eq!(
            between(("a", &[Tcp]), ("a", &[UdpMulticast, Tcp])),
            [OffInSubscriber, NotOffered, Carries]
        );
        assert_eq!(between(("a", &[]), ("a", &[])), [OffInSubscriber; 3]);
    }
}
