//! Which layer carries a publisher's messages to a subscriber: the first that the publisher prefers and both have.

use ferrocal_proto::LayerKind;

use super::{LayerChoice, LayerReason, MAX_LAYERS};
use crate::{LayersConfig, PublisherConfig, SubscriberConfig};

/// A set of a node's layers, by their indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LayerSet(u8);

impl LayerSet {
    /// How many different sets there are.
    pub(crate) const COUNT: usize = 1 << MAX_LAYERS;

    /// All layers for which `is_in` holds.
    pub(crate) fn of(mut is_in: impl FnMut(usize) -> bool) -> Self {
        Self((0..MAX_LAYERS).filter(|&layer| is_in(layer)).map(|layer| 1 << layer).sum())
    }

    pub(crate) fn contains(self, layer: usize) -> bool {
        self.0 & (1 << layer) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// A number of its own, below [`COUNT`](Self::COUNT).
    pub(crate) fn index(self) -> usize {
        self.0.into()
    }

    /// The set with a number.
    pub(crate) const fn from_index(index: usize) -> Self {
        assert!(index < Self::COUNT);
        Self(index as u8)
    }
}

/// How a publisher or subscriber uses the layers of its node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LayerUse {
    /// The layers of the node.
    kinds: Vec<LayerKind>,
    /// Those that it may use.
    pub(crate) enabled: LayerSet,
    /// Of a publisher, those of them that it prefers for subscribers of its host, in order.
    local: Vec<usize>,
    /// The same for subscribers of other hosts.
    network: Vec<usize>,
}

impl LayerUse {
    /// `kinds` are the layers of the node.
    pub(crate) fn of_publisher(kinds: &[LayerKind], config: &PublisherConfig) -> Self {
        let enabled = enabled(kinds, config.layers);
        let indexes = |priority: &[LayerKind]| {
            let index = |kind| kinds.iter().position(|one| one == kind);
            priority.iter().filter_map(index).filter(|&layer| enabled.contains(layer)).collect()
        };
        let (local, network) = (indexes(&config.priority_local), indexes(&config.priority_network));
        Self { kinds: kinds.into(), enabled, local, network }
    }

    pub(crate) fn of_subscriber(kinds: &[LayerKind], config: &SubscriberConfig) -> Self {
        Self { kinds: kinds.into(), enabled: enabled(kinds, config.layers), ..Self::default() }
    }

    /// The layer that a publisher sends by to a subscriber that can be reached by those of `reaching`.
    pub(crate) fn choose(&self, is_local: bool, reaching: LayerSet) -> Option<usize> {
        self.preferred(is_local).iter().copied().find(|&layer| reaching.contains(layer))
    }

    /// Whether it may use one of these layers.
    pub(crate) fn has_one_of(&self, layers: LayerSet) -> bool {
        (0..MAX_LAYERS).any(|layer| self.enabled.contains(layer) && layers.contains(layer))
    }

    /// The layers that it may use.
    pub(crate) fn enabled_kinds(&self) -> impl Iterator<Item = LayerKind> {
        let enabled = self.kinds.iter().enumerate().filter(|(layer, _)| self.enabled.contains(*layer));
        enabled.map(|(_, kind)| *kind)
    }

    /// A layer that a publisher and a subscriber have, but the publisher's priorities do not name.
    pub(crate) fn unnamed(&self, is_local: bool, reaching: LayerSet) -> Option<LayerKind> {
        let mut choices = self.explain(is_local, reaching).into_iter();
        choices.find(|choice| choice.reason == LayerReason::NotInPriority).map(|choice| choice.kind)
    }

    /// What each layer is for a publisher and a subscriber that can be reached by those of `reaching`.
    pub(crate) fn explain(&self, is_local: bool, reaching: LayerSet) -> [LayerChoice; 3] {
        let chosen = self.choose(is_local, reaching);
        LayerChoice::each(|kind| {
            let Some(layer) = self.kinds.iter().position(|one| *one == kind) else {
                return LayerReason::Unavailable;
            };
            if chosen == Some(layer) {
                LayerReason::Carries
            } else if !self.enabled.contains(layer) {
                LayerReason::OffInPublisher
            } else if kind == LayerKind::SharedMemory && !is_local {
                LayerReason::OtherHost
            } else if !reaching.contains(layer) {
                LayerReason::OffInSubscriber
            } else if self.preferred(is_local).contains(&layer) {
                LayerReason::AnotherIsPreferred
            } else {
                LayerReason::NotInPriority
            }
        })
    }

    fn preferred(&self, is_local: bool) -> &[usize] {
        if is_local { &self.local } else { &self.network }
    }
}

fn enabled(kinds: &[LayerKind], config: LayersConfig) -> LayerSet {
    LayerSet::of(|layer| kinds.get(layer).is_some_and(|&kind| config.is_enabled(kind)))
}

#[cfg(test)]
mod tests {
    use LayerKind::{SharedMemory, Tcp, UdpMulticast};

    use super::*;

    const KINDS: [LayerKind; 3] = [UdpMulticast, SharedMemory, Tcp];

    fn chosen(config: &PublisherConfig, is_local: bool, subscriber: &[LayerKind]) -> Option<LayerKind> {
        let reaching = LayerSet::of(|layer| KINDS.get(layer).is_some_and(|kind| subscriber.contains(kind)));
        LayerUse::of_publisher(&KINDS, config).choose(is_local, reaching).map(|layer| KINDS[layer])
    }

    #[test]
    fn the_first_of_the_publishers_priorities_that_both_have_is_chosen() {
        let config = PublisherConfig::default().layers(LayersConfig::NONE.shm(true).udp(true).tcp(true));
        assert_eq!(chosen(&config, true, &[Tcp, UdpMulticast, SharedMemory]), Some(SharedMemory));
        assert_eq!(chosen(&config, true, &[Tcp, UdpMulticast]), Some(UdpMulticast));
        assert_eq!(chosen(&config, true, &[Tcp]), Some(Tcp));
        assert_eq!(chosen(&config, true, &[]), None);
        assert_eq!(chosen(&config, false, &[Tcp, UdpMulticast, SharedMemory]), Some(UdpMulticast));
        assert_eq!(chosen(&config, false, &[SharedMemory]), None, "no priority names it");

        let config =
            config.layers(LayersConfig::NONE.tcp(true).udp(true)).priority_local(vec![Tcp, SharedMemory]);
        assert_eq!(chosen(&config, true, &[Tcp, UdpMulticast, SharedMemory]), Some(Tcp));
        assert_eq!(chosen(&config, true, &[UdpMulticast, SharedMemory]), None, "off, or not named");
    }

    #[test]
    fn what_is_not_chosen_has_a_reason() {
        use LayerReason::{
            AnotherIsPreferred, Carries, NotInPriority, OffInPublisher, OffInSubscriber, OtherHost,
        };

        let explain = |kinds: &[LayerKind], config: PublisherConfig, is_local, reaching: &[usize]| {
            let reaching = LayerSet::of(|layer| reaching.contains(&layer));
            LayerUse::of_publisher(kinds, &config).explain(is_local, reaching).map(|choice| choice.reason)
        };
        let all = LayersConfig::NONE.shm(true).udp(true).tcp(true);
        let config = || PublisherConfig::default().layers(all);
        assert_eq!(explain(&KINDS, config(), true, &[0, 1]), [Carries, AnotherIsPreferred, OffInSubscriber]);
        assert_eq!(explain(&KINDS, config(), false, &[0, 2]), [OtherHost, Carries, AnotherIsPreferred]);
        let udp_last = config().layers(LayersConfig::NONE.udp(true).tcp(true)).priority_local(vec![Tcp]);
        assert_eq!(explain(&KINDS, udp_last, true, &[0, 2]), [OffInPublisher, NotInPriority, Carries]);
        let only_udp = explain(&[UdpMulticast], config(), true, &[0]);
        assert_eq!(only_udp, [LayerReason::Unavailable, Carries, LayerReason::Unavailable]);
    }

    #[test]
    fn sets_have_numbers() {
        for index in 0..LayerSet::COUNT {
            assert_eq!(LayerSet::from_index(index).index(), index);
        }
        let set = LayerSet::from_index(0b101);
        assert_eq!([0, 1, 2].map(|layer| set.contains(layer)), [true, false, true]);
    }
}
