//! Settings of a node.

/// Consuming setters, named like the fields. Those of optional fields take a value, `Some` or `None`.
macro_rules! setters {
    ($config:ident { $($field:ident: $type:ty),* $(,)? } $(optional { $($option:ident: $some:ty),* $(,)? })?) => {
        impl $config {
            $(
                #[doc = setters!(doc $config $field)]
                #[must_use]
                pub fn $field(mut self, $field: $type) -> Self {
                    self.$field = $field;
                    self
                }
            )*
            $($(
                #[doc = setters!(doc $config $option)]
                #[must_use]
                pub fn $option(mut self, $option: impl Into<Option<$some>>) -> Self {
                    self.$option = $option.into();
                    self
                }
            )*)?
        }
    };
    (doc $config:ident $field:ident) => {
        concat!("Sets [`", stringify!($field), "`](", stringify!($config), "#structfield.", stringify!($field), ").")
    };
}

mod allow;
mod check;
mod clock;
mod error;
mod file;
mod keys;
mod kind;
mod layers;
mod limits;
mod load;
mod logging;
mod near;
mod origin;
mod publisher;
mod receive_thread;
mod registration;
mod shm;
mod subscriber;
mod tcp;
mod udp;
mod yaml;

use std::net::Ipv4Addr;
use std::num::NonZeroU64;

use ferrocal_proto::{HashVersion, topic_group};

use crate::{Mode, Selection};

pub use allow::{AllowConfig, Network, ParseNetworkError};
pub use clock::{Clock, ClockFunction};
pub use error::{ConfigError, FilePosition};
pub use layers::LayersConfig;
pub use limits::{LimitsConfig, ServiceLimits};
#[cfg(fuzzing)]
pub use load::load_config;
pub use logging::{ConsoleStream, LogConfig, LogLevels, LogSink};
pub use origin::{Setting, SettingOrigin};
pub use publisher::{Fragmentation, PublisherConfig};
pub use receive_thread::ReceiveThreadConfig;
pub use registration::{LocalRegistration, RegistrationConfig};
pub use shm::ShmConfig;
pub use subscriber::SubscriberConfig;
pub use tcp::TcpConfig;
pub use udp::{Destination, UdpConfig};

/// Settings of a [`Node`](crate::Node): plain data, checked once when the node opens.
///
/// [`Config::default()`] reads nothing; [`Config::load()`] reads the environment and eCAL's `ecal.yaml`. What the
/// program sets afterwards wins: code, environment, file, default. [`Config::settings`] lists every value with where it
/// comes from.
///
/// # Settings
/// Those with a key in `ecal.yaml`:
///
#[doc = include_str!("keys.md")]
///
/// ```
/// use ferrocal::{Config, Mode, UdpConfig};
///
/// let config = Config::default().mode(Mode::Network).udp(UdpConfig::default().port(14_102));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Config {
    /// How far messages reach (`communication_mode`). Default: [`Mode::Local`], as eCAL.
    pub mode: Mode,
    /// Which backend moves the datagrams (`FERROCAL_TRANSPORT` in the environment, `ferrocal.transport`). Default:
    /// [`Selection::Auto`].
    pub transport: Selection,
    /// The UDP layer (`transport_layer.udp`).
    pub udp: UdpConfig,
    /// The TCP layer. Not in eCAL; `ferrocal.tcp`.
    pub tcp: TcpConfig,
    /// How nodes find each other (`registration`).
    pub registration: RegistrationConfig,
    /// The settings of publishers that have none of their own (`publisher`, `ferrocal.publisher`).
    pub publisher: PublisherConfig,
    /// The most bytes of payload that all publishers of the node send in a second, headers of UDP and IP aside.
    /// Registrations are never limited. Default: `None`, no limit but that of
    /// [`PublisherConfig::max_bytes_per_second`]. Not in eCAL; `ferrocal.max_bytes_per_second`.
    pub max_bytes_per_second: Option<NonZeroU64>,
    /// The settings of subscribers that have none of their own (`subscriber`, `ferrocal.subscriber`).
    pub subscriber: SubscriberConfig,
    /// The thread that receives payload. Not in eCAL; `ferrocal.receive_thread`.
    pub receive_thread: ReceiveThreadConfig,
    /// Where the node has its time from. Default: [`Clock::System`]. Not in the file.
    pub clock: Clock,
    /// Where log lines go, and how they are received (`logging`, `ferrocal.logging`).
    pub logging: LogConfig,
    /// Who may be heard. Not in eCAL; `ferrocal.allow`.
    pub allow: AllowConfig,
    /// Bounds on what the network can make a node keep. Not in eCAL; `ferrocal.limits`.
    pub limits: LimitsConfig,
    /// What [`Config::load`] found, which [`Config::origin`] compares with.
    loaded: origin::Loaded,
}

setters!(Config {
    mode: Mode,
    transport: Selection,
    udp: UdpConfig,
    tcp: TcpConfig,
    registration: RegistrationConfig,
    publisher: PublisherConfig,
    subscriber: SubscriberConfig,
    receive_thread: ReceiveThreadConfig,
    clock: Clock,
    logging: LogConfig,
    allow: AllowConfig,
    limits: LimitsConfig,
} optional {
    max_bytes_per_second: NonZeroU64,
});

impl Config {
    /// Port of registration in the configured mode.
    pub(crate) fn registration_port(&self) -> u16 {
        match self.mode {
            Mode::Local => self.registration.local_port,
            Mode::Network => self.registration.network_port,
        }
    }

    /// Where registration goes, and payload that has no group of its own.
    pub(crate) fn destination(&self) -> Destination {
        match self.mode {
            Mode::Local => self.udp.local,
            Mode::Network => self.udp.network,
        }
    }

    /// Where a topic's payload goes.
    pub(crate) fn topic_group(&self, topic: &str) -> Ipv4Addr {
        let UdpConfig { hash_version, network, .. } = &self.udp;
        match self.mode {
            Mode::Local => self.udp.local.group,
            Mode::Network => topic_group(*hash_version, network.group, self.udp.effective_mask(), topic),
        }
    }

    /// Where a topic's payload goes from those who have the same settings but for the version of the hash, if that is
    /// another group.
    pub(crate) fn other_topic_group(&self, topic: &str) -> Option<Ipv4Addr> {
        // The mask means the opposite in the other version.
        let mask = Ipv4Addr::from_bits(!self.udp.effective_mask().to_bits());
        let version = match self.udp.hash_version {
            HashVersion::V1 => HashVersion::V2,
            HashVersion::V2 => HashVersion::V1,
        };
        // As in `check_udp`: version 2 has to keep what makes an address one of multicast.
        let is_usable = version == HashVersion::V1 || mask.octets()[0] & 0xf0 == 0xf0;
        let is_usable = is_usable && self.mode == Mode::Network;
        let group = is_usable.then(|| topic_group(version, self.udp.network.group, mask, topic))?;
        (group != self.topic_group(topic)).then_some(group)
    }

    pub(crate) fn transport_config(&self) -> ferrocal_transport::Config {
        let Destination { group, ttl } = self.destination();
        ferrocal_transport::Config {
            mode: self.mode,
            group,
            interfaces: self.udp.interfaces.clone(),
            join_all_interfaces: self.udp.join_all_interfaces,
            ttl,
            loopback: self.udp.loopback,
            send_buffer_len: self.udp.send_buffer_len,
            receive_buffer_len: self.udp.receive_buffer_len,
            prefer_raw_frames: self.udp.npcap_enabled,
            send: self.udp.send,
            ip_reassembly: self.limits.ip_reassembly,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_settings_are_set_with_and_without_some() {
        let limit = NonZeroU64::new(7);
        let config = Config::default().max_bytes_per_second(limit).mode(Mode::Network);
        assert_eq!((config.max_bytes_per_second, config.mode), (limit, Mode::Network));
        let config = config.max_bytes_per_second(None).max_bytes_per_second(NonZeroU64::MIN);
        assert_eq!(config.max_bytes_per_second, Some(NonZeroU64::MIN));
    }

    #[test]
    fn the_mode_chooses_destination_and_port() {
        let mut config = Config::default();
        config.registration.network_port = 15_000;
        assert_eq!((config.destination(), config.registration_port()), (config.udp.local, 14_000));
        config.mode = Mode::Network;
        assert_eq!((config.destination(), config.registration_port()), (config.udp.network, 15_000));
        assert_eq!(config.transport_config().group, config.udp.network.group);
    }
}
