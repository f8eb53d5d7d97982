//! Which layers payload takes, and in which order a publisher prefers them.

use ferrocal_proto::LayerKind;

/// Which layers a publisher or subscriber may use.
///
/// A layer that this system or this program does not have is not used, whatever is set here:
/// [`Status::layers`](crate::Status::layers) says which those are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LayersConfig {
    /// Shared memory, between programs of one host (`layer.shm.enable`). Default: `false`, unlike eCAL's: by it, a
    /// subscriber that is slower than its publisher gets the newest message alone.
    pub shm: bool,
    /// UDP (`layer.udp.enable`). Default: `true`.
    pub udp: bool,
    /// TCP (`layer.tcp.enable`). Default, as eCAL's: `true` for publishers, `false` for subscribers.
    pub tcp: bool,
}

setters!(LayersConfig { shm: bool, udp: bool, tcp: bool });

impl LayersConfig {
    /// What publishers may use by default.
    pub(super) const PUBLISHER: Self = Self { shm: false, udp: true, tcp: true };
    /// What subscribers may use by default.
    pub(super) const SUBSCRIBER: Self = Self { shm: false, udp: true, tcp: false };

    /// None of the layers, to add those that are wanted.
    pub const NONE: Self = Self { shm: false, udp: false, tcp: false };

    /// Whether a layer may be used.
    pub fn is_enabled(&self, kind: LayerKind) -> bool {
        match kind {
            LayerKind::SharedMemory => self.shm,
            LayerKind::UdpMulticast => self.udp,
            LayerKind::Tcp => self.tcp,
            LayerKind::Other(_) => false,
        }
    }
}

/// The layers that a publisher prefers for subscribers of its own host, as eCAL's default is.
pub(super) const PRIORITY_LOCAL: [LayerKind; 3] =
    [LayerKind::SharedMemory, LayerKind::UdpMulticast, LayerKind::Tcp];
/// The same for subscribers of other hosts.
pub(super) const PRIORITY_NETWORK: [LayerKind; 2] = [LayerKind::UdpMulticast, LayerKind::Tcp];
