//! Settings of a node.

mod load;

use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrocal_proto::{HashVersion, Limits};
use ferrocal_transport::IpReassemblyLimits;
use thiserror::Error;
use thread_priority::{ThreadPriority, ThreadPriorityValue};

use crate::{Mode, Selection, SendPath};

/// Settings of a [`Node`](crate::Node): plain data, checked once when the node opens.
///
/// [`Config::default()`] reads nothing; [`Config::load()`] reads the environment and eCAL's `ecal.yaml`. What the
/// program sets afterwards wins: code, environment, file, default.
///
/// ```
/// use ferrocal::{Config, Mode};
///
/// let config = Config { mode: Mode::Network, ..Config::default() };
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// How far messages reach (`communication_mode`). Default: [`Mode::Local`], as eCAL.
    pub mode: Mode,
    /// Which backend moves the datagrams (`TRANSPORT` in the environment, `ferrocal.transport`). Default:
    /// [`Selection::Auto`].
    pub transport: Selection,
    /// The UDP layer (`transport_layer.udp`).
    pub udp: UdpConfig,
    /// How nodes find each other (`registration`).
    pub registration: RegistrationConfig,
    /// What publishers do unless they are told otherwise. Not in eCAL.
    pub publisher: PublisherConfig,
    /// The most bytes that the node's publishers and registrations send in a second, headers of UDP and IP aside.
    /// Default: `None`, no limit but that of [`PublisherConfig::max_bytes_per_second`]. Not in eCAL.
    pub max_bytes_per_second: Option<NonZeroU64>,
    /// What subscribers do unless they are told otherwise (`subscriber`).
    pub subscriber: SubscriberConfig,
    /// The thread that receives payload. Not in eCAL.
    pub receive_thread: ReceiveThreadConfig,
    /// Bounds on what the network can make a node keep.
    pub limits: LimitsConfig,
}

/// The UDP layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UdpConfig {
    /// Port of payload (`port`). Default: 14002.
    pub port: u16,
    /// How a topic's multicast group follows from its name (`config_version`). Default: [`HashVersion::V2`].
    pub hash_version: HashVersion,
    /// Which bits of the group base all topics share (`mask`). Default: 255.255.255.240; 0.0.0.15 with
    /// [`HashVersion::V1`] names the bits that differ.
    pub mask: Ipv4Addr,
    /// Destination in local mode (`local`). Default: 127.255.255.255, TTL 1.
    pub local: Reach,
    /// Group base in network mode (`network`). Default: 239.0.0.1, TTL 3.
    pub network: Reach,
    /// Addresses of the interfaces to receive multicast on; it is sent through the first. Empty (the default) leaves
    /// the choice to the system's routes. Network mode only. Not in eCAL; `ferrocal.interfaces`.
    pub interfaces: Vec<Ipv4Addr>,
    /// Receive multicast on every interface (`join_all_interfaces`). Default: `false`. Network mode only.
    pub join_all_interfaces: bool,
    /// Whether what is sent reaches other programs of this host. Default: `true`. Network mode only. Not in eCAL;
    /// `ferrocal.loopback`.
    pub loopback: bool,
    /// Send buffer to ask of the system, in bytes (`send_buffer`). Default: 5242880.
    pub send_buffer_len: usize,
    /// Receive buffer to ask of the system, in bytes (`receive_buffer`). Default: 5242880. What the system grants of it
    /// is also taken for the buffer of those who receive what this node sends.
    pub receive_buffer_len: usize,
    /// With [`Selection::Auto`]: prefer raw frames wherever they can be had, not on Windows only (`npcap_enabled`).
    /// Default: `false`.
    pub npcap_enabled: bool,
    /// How the raw-frame backend sends. Default: [`SendPath::Socket`]. Not in eCAL; `ferrocal.send`.
    pub send: SendPath,
}

/// A destination and how far it reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reach {
    /// The IPv4 address (`group`).
    pub group: Ipv4Addr,
    /// Time to live in router hops (`ttl`).
    pub ttl: u8,
}

/// How nodes find each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationConfig {
    /// Time between two registrations (`registration_refresh`, milliseconds). Default: 1 s.
    pub refresh: Duration,
    /// A peer that was not heard of for this long is gone (`registration_timeout`, milliseconds). Default: 10 s.
    pub timeout: Duration,
    /// Whether publishers and subscribers of this process meet (`loopback`). Default: `true`.
    pub loopback: bool,
    /// Name of the group of hosts that share memory (`shm_transport_domain`). Default: `None`, the host's name.
    pub shm_transport_domain: Option<String>,
    /// Port of registration in local mode (`local.udp.port`). Default: 14000.
    pub local_port: u16,
    /// Port of registration in network mode (`network.udp.port`). Default: 14000.
    pub network_port: u16,
}

/// How a publisher sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PublisherConfig {
    /// How long messages are cut. Default: [`Fragmentation::Auto`].
    pub fragmentation: Fragmentation,
    /// The most bytes to send in a second, headers of UDP and IP aside. The datagrams of a long message are spread over
    /// the time that it takes, so that neither a slow reader nor a switch is flooded.
    ///
    /// Default: `None`. Unless the node has a limit of its own, messages longer than half of the longest datagram
    /// then go out as fast as receivers with this node's buffers are expected to take them: by half of the receive
    /// buffer that this system grants ([`UdpConfig::receive_buffer_len`]) at once, and by one such buffer in a
    /// millisecond; what is longer than the half, by no more than 1 GB/s.
    ///
    /// On Linux, all those of a node are also spread together, so that receivers have as much longer than sending takes
    /// as they need on the same machine: 2.8 times where one of them takes datagrams one by one, as eCAL does and
    /// ferrocal outside of Linux, else 1.4 times, and for runs ([`Fragmentation`]) 1.2 times, or 1.3 times if a message is
    /// longer than a quarter of the receive buffer. Sending counts as taking up to 0.2 ns a byte, so that this holds
    /// nobody below 1.7, 3.5, 4.1 and 3.8 GB/s.
    pub max_bytes_per_second: Option<NonZeroU64>,
}

/// The datagrams that a long message is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fragmentation {
    /// As [`Mtu`](Self::Mtu) when all matched subscribers are ferrocal's on Linux, which take a run of datagrams in one
    /// piece; as [`Large`](Self::Large) otherwise, for whom each datagram costs the same.
    #[default]
    Auto,
    /// As long as UDP allows (65507 bytes), as eCAL does; the system cuts them further as the network requires.
    Large,
    /// As long as the interface's MTU allows, sent in runs (UDP segmentation offload). As [`Large`](Self::Large) where
    /// the system has no such runs.
    Mtu,
}

/// What a subscriber keeps and what it drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscriberConfig {
    /// How many messages wait for the program at the most; when there are more, the oldest is dropped and counted;
    /// 1 at the least. Default: 16384.
    pub queue_len: usize,
    /// How many bytes of payload wait at the most; one message may be longer. They may hold up to twice as much
    /// memory. Default: 64 MiB.
    pub queue_bytes: usize,
    /// Whether to drop a message that is older than one already had of its publisher
    /// (`drop_out_of_order_messages`). Default: `true`.
    pub drop_out_of_order: bool,
}

impl Default for SubscriberConfig {
    fn default() -> Self {
        Self { queue_len: 16_384, queue_bytes: 64 * 1024 * 1024, drop_out_of_order: true }
    }
}

/// The thread that receives payload. What the system refuses is told in the log, and the node works without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveThreadConfig {
    /// How long to look for new datagrams again and again before waiting for the system to wake the thread. It takes
    /// a processor for itself meanwhile, and saves the time that waking takes. Default: zero.
    ///
    /// Below 10 µs, where datagrams come at intervals of up to 3 µs, sockets on Linux take them 10 µs apart, and so up
    /// to 10 µs later, which spares the sender; they do not sleep meanwhile.
    pub busy_poll: Duration,
    /// The number of the processor to run on, from 0. Default: `None`, any.
    pub cpu: Option<usize>,
    /// The priority from 0 (least) to 99, where the system's usual one is in the middle: on Linux it becomes the
    /// niceness, and more than the usual needs `CAP_SYS_NICE`. Default: `None`, the usual one.
    pub priority: Option<u8>,
}

impl ReceiveThreadConfig {
    pub(crate) fn apply_here(self) {
        if let Some(id) = self.cpu
            && !core_affinity::set_for_current(core_affinity::CoreId { id })
        {
            log::warn!("receive_thread.cpu: the system does not let the thread run on processor {id}");
        }
        if let Some(priority) =
            self.priority.and_then(|priority| ThreadPriorityValue::try_from(priority).ok())
            && let Err(error) = ThreadPriority::Crossplatform(priority).set_for_current()
        {
            let priority = u8::from(priority);
            log::warn!("receive_thread.priority: the system refuses {priority}: {error}");
        }
    }
}

/// Bounds on what the network can make a node keep. Not in eCAL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Incomplete messages, and the longest message that is sent or received.
    pub reassembly: Limits,
    /// Incomplete IPv4 packets, in the raw-frame backend.
    pub ip_reassembly: IpReassemblyLimits,
    /// Publishers and subscribers of other nodes. Default: 65536.
    pub max_peers: usize,
    /// Publishers whose message clock a subscriber remembers. Default: 1024.
    pub max_publishers_per_subscriber: usize,
}

impl Default for UdpConfig {
    fn default() -> Self {
        Self {
            port: 14_002,
            hash_version: HashVersion::V2,
            mask: Ipv4Addr::new(255, 255, 255, 240),
            local: Reach { group: Ipv4Addr::new(127, 255, 255, 255), ttl: 1 },
            network: Reach { group: Ipv4Addr::new(239, 0, 0, 1), ttl: 3 },
            interfaces: Vec::new(),
            join_all_interfaces: false,
            loopback: true,
            send_buffer_len: 5_242_880,
            receive_buffer_len: 5_242_880,
            npcap_enabled: false,
            send: SendPath::default(),
        }
    }
}

impl Default for RegistrationConfig {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            loopback: true,
            shm_transport_domain: None,
            local_port: 14_000,
            network_port: 14_000,
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            reassembly: Limits::default(),
            ip_reassembly: IpReassemblyLimits::default(),
            max_peers: 65_536,
            max_publishers_per_subscriber: 1024,
        }
    }
}

/// A setting that makes no sense.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value is of the wrong type or out of range.
    #[error("{key}{}: `{value}` is not {expected}", in_file(.origin.as_deref()))]
    Value {
        /// The setting, by its name in `ecal.yaml` or in the environment.
        key: &'static str,
        /// The file it was read from, where it was.
        origin: Option<PathBuf>,
        /// What stands there.
        value: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// The configuration file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The configuration file is not YAML.
    #[error("{} is not valid YAML: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
}

fn in_file(path: Option<&Path>) -> String {
    path.map(|path| format!(" (in {})", path.display())).unwrap_or_default()
}

impl Config {
    /// Checks that the settings make sense together.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let is = |ok: bool, key, value: &dyn ToString, expected| {
            if ok {
                Ok(())
            } else {
                Err(ConfigError::Value { key, origin: None, value: value.to_string(), expected })
            }
        };
        let Config { udp, registration, subscriber, limits, .. } = self;
        let buffer = 1..=i32::MAX as usize;
        let refresh_ms = registration.refresh.as_millis();
        is(udp.port != 0, "transport_layer.udp.port", &udp.port, PORT)?;
        is(registration.local_port != 0, "registration.local.udp.port", &registration.local_port, PORT)?;
        is(
            registration.network_port != 0,
            "registration.network.udp.port",
            &registration.network_port,
            PORT,
        )?;
        is(
            udp.network.group.is_multicast(),
            "transport_layer.udp.network.group",
            &udp.network.group,
            "a multicast address (224.0.0.0 to 239.255.255.255)",
        )?;
        is(
            udp.local.group.is_loopback(),
            "transport_layer.udp.local.group",
            &udp.local.group,
            "a loopback address (127.255.255.255 reaches all programs of this host)",
        )?;
        // With fewer bits kept, the hash of a name could make an address that is not multicast.
        is(
            udp.hash_version == HashVersion::V1 || udp.mask.octets()[0] & 0xf0 == 0xf0,
            "transport_layer.udp.mask",
            &udp.mask,
            "a mask for config_version v2, which keeps the first four bits of the group at least (255.255.255.240, say)",
        )?;
        is(udp.network.ttl != 0, "transport_layer.udp.network.ttl", &udp.network.ttl, TTL)?;
        is(udp.local.ttl != 0, "transport_layer.udp.local.ttl", &udp.local.ttl, TTL)?;
        is(
            buffer.contains(&udp.send_buffer_len),
            "transport_layer.udp.send_buffer",
            &udp.send_buffer_len,
            BUFFER,
        )?;
        is(
            buffer.contains(&udp.receive_buffer_len),
            "transport_layer.udp.receive_buffer",
            &udp.receive_buffer_len,
            BUFFER,
        )?;
        is(refresh_ms > 0, "registration.registration_refresh", &refresh_ms, "a time of 1 ms or more")?;
        is(
            registration.timeout >= registration.refresh,
            "registration.registration_timeout",
            &registration.timeout.as_millis(),
            "at least the registration_refresh",
        )?;
        let priority = self.receive_thread.priority.unwrap_or(0);
        is(priority <= 99, "receive_thread.priority", &priority, "a priority from 0 to 99")?;
        is(subscriber.queue_len > 0, "subscriber.queue_len", &subscriber.queue_len, AT_LEAST_1)?;
        self.check_reassembly()?;
        is(limits.max_peers > 0, "limits.max_peers", &limits.max_peers, AT_LEAST_1)?;
        is(
            limits.max_publishers_per_subscriber > 0,
            "limits.max_publishers_per_subscriber",
            &limits.max_publishers_per_subscriber,
            AT_LEAST_1,
        )
    }

    fn check_reassembly(&self) -> Result<(), ConfigError> {
        let Limits {
            max_message_len,
            max_bytes_per_sender,
            max_bytes,
            max_messages_per_sender,
            max_messages,
            timeout,
        } = self.limits.reassembly;
        let longest = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
        let at_least_1 = 1..=usize::MAX;
        for (key, value, range, expected) in [
            ("limits.reassembly.max_message_len", max_message_len, 1..=longest, MESSAGE),
            ("limits.reassembly.max_bytes_per_sender", max_bytes_per_sender, at_least_1.clone(), AT_LEAST_1),
            ("limits.reassembly.max_bytes", max_bytes, at_least_1.clone(), AT_LEAST_1),
            (
                "limits.reassembly.max_messages_per_sender",
                max_messages_per_sender,
                at_least_1.clone(),
                AT_LEAST_1,
            ),
            ("limits.reassembly.max_messages", max_messages, at_least_1, AT_LEAST_1),
        ] {
            if !range.contains(&value) {
                return Err(ConfigError::Value { key, origin: None, value: value.to_string(), expected });
            }
        }
        if timeout.is_zero() {
            let (key, value) = ("limits.reassembly.timeout", "0".to_owned());
            return Err(ConfigError::Value { key, origin: None, value, expected: "a time above zero" });
        }
        Ok(())
    }

    /// Port of registration in the configured mode.
    pub(crate) fn registration_port(&self) -> u16 {
        match self.mode {
            Mode::Local => self.registration.local_port,
            Mode::Network => self.registration.network_port,
        }
    }

    /// Where registration goes, and payload that has no group of its own.
    pub(crate) fn reach(&self) -> Reach {
        match self.mode {
            Mode::Local => self.udp.local,
            Mode::Network => self.udp.network,
        }
    }

    /// Where a topic's payload goes.
    pub(crate) fn topic_group(&self, topic: &str) -> Ipv4Addr {
        match self.mode {
            Mode::Local => self.udp.local.group,
            Mode::Network => ferrocal_proto::topic_group(
                self.udp.hash_version,
                self.udp.network.group,
                self.udp.mask,
                topic,
            ),
        }
    }

    pub(crate) fn transport_config(&self) -> ferrocal_transport::Config {
        ferrocal_transport::Config {
            mode: self.mode,
            interfaces: self.udp.interfaces.clone(),
            join_all_interfaces: self.udp.join_all_interfaces,
            ttl: self.reach().ttl,
            loopback: self.udp.loopback,
            send_buffer_len: self.udp.send_buffer_len,
            receive_buffer_len: self.udp.receive_buffer_len,
            prefer_raw_frames: self.udp.npcap_enabled,
            send: self.udp.send,
            ip_reassembly: self.limits.ip_reassembly,
        }
    }
}

const PORT: &str = "a port from 1 to 65535";
const TTL: &str = "a time to live from 1 to 255";
const AT_LEAST_1: &str = "1 or more";
/// The header of a message has 32 bits for its length (wire-format.md, section 2).
const MESSAGE: &str = "a length in bytes from 1 to 4294967295";
const BUFFER: &str = "a size in bytes from 1 to 2147483647";
