//! What was observed of this computer and of the network. The checks go by it, and by nothing else.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use ferrocal::{Config, HashVersion, InterfaceSelector, Mode, TopicInfo};

use super::firewall::Ruleset;

/// Something that was observed, or why it could not be.
pub(crate) type Known<T> = Result<T, String>;

/// Everything that was observed.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) settings: Settings,
    pub(crate) machine: Machine,
    pub(crate) wire: Wire,
    pub(crate) frames: Known<Frames>,
    pub(crate) tests: Vec<SelfTest>,
}

/// The settings in force.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) registration_port: u16,
    pub(crate) payload_port: u16,
    pub(crate) logging_port: u16,
    /// The group base of network mode.
    pub(crate) group: Ipv4Addr,
    pub(crate) mask: Ipv4Addr,
    pub(crate) hash_version: HashVersion,
    pub(crate) interfaces: Vec<InterfaceSelector>,
    pub(crate) receive_buffer_len: usize,
    /// Whether somebody asked for raw frames.
    pub(crate) wants_raw: bool,
}

/// What was observed of this computer.
#[derive(Debug, Clone)]
pub(crate) struct Machine {
    pub(crate) host_name: String,
    /// All interfaces, also those that are down.
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) route: Route,
    /// The groups that are joined, by the interface's name.
    pub(crate) memberships: Known<BTreeSet<(String, Ipv4Addr)>>,
    pub(crate) max_memberships: Known<usize>,
    /// The receive buffer that a socket got.
    pub(crate) granted_buffer_len: Known<usize>,
    pub(crate) reverse_path: Known<ReversePath>,
    /// The bytes that incomplete IP packets may take.
    pub(crate) max_fragment_bytes: Known<u64>,
    pub(crate) firewall: Known<Vec<Ruleset>>,
    pub(crate) ports: Vec<PortUse>,
    pub(crate) has_ipv6: Known<bool>,
    pub(crate) container: Known<Option<String>>,
    pub(crate) raw_frames: Result<String, String>,
    /// The processes of this network namespace that have loaded eCAL's library.
    pub(crate) ecal_processes: Known<Vec<Program>>,
    /// The files of eCAL's in shared memory that no process has open.
    pub(crate) unused_memory: Known<Vec<String>>,
}

/// An interface of this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    /// The system's name.
    pub(crate) name: String,
    /// The name that Windows shows its users.
    pub(crate) friendly_name: Option<String>,
    /// With the length of the network's prefix.
    pub(crate) addresses: Vec<(Ipv4Addr, u8)>,
    pub(crate) mtu: u32,
    pub(crate) is_loopback: bool,
    pub(crate) is_up: bool,
    pub(crate) has_carrier: bool,
    pub(crate) has_multicast: bool,
}

/// By which way multicast leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// The source address that the system chooses for the group.
    pub(crate) source: Result<Ipv4Addr, ErrorKind>,
    /// The interface, and the destination of the route with the length of its prefix, if the system's table shows it.
    /// There is no interface if the route refuses.
    pub(crate) entry: Known<Option<(Option<String>, Ipv4Addr, u8)>>,
    /// Whether there is a route to everywhere.
    pub(crate) has_default: bool,
}

/// How packets are refused because no route leads back to their source.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReversePath {
    /// The filter of each interface, as it works: 0 off, 1 strict, 2 loose.
    pub(crate) filters: Vec<(String, u32)>,
    /// The packets that were dropped while the network was watched.
    pub(crate) dropped: u64,
}

/// Whether a port can be shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortUse {
    pub(crate) port: u16,
    /// What it is for.
    pub(crate) role: &'static str,
    /// Why it cannot be opened.
    pub(crate) failure: Option<String>,
    /// Who holds it.
    pub(crate) holders: Vec<Program>,
}

/// A process of this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// What registrations showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wire {
    /// How long was watched.
    pub(crate) watched: Duration,
    pub(crate) processes: Vec<Process>,
    pub(crate) publishers: Vec<Entity>,
    pub(crate) subscribers: Vec<Entity>,
    /// What this computer's clock shows less what the clocks of others showed in their log lines, in microseconds, by the
    /// name of the host. Of several, the nearest to 0.
    pub(crate) clock_differences: Vec<(String, i64)>,
    /// Datagrams of which nothing could be used, by the address that they came from.
    pub(crate) unusable: Vec<(Ipv4Addr, u64)>,
    /// The hosts and process ids of those that registered by shared memory, if the settings say that programs do.
    pub(crate) memory: Option<Known<BTreeSet<(String, i32)>>>,
}

/// A process that registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    /// Where its registrations came from.
    pub(crate) sources: BTreeSet<Ipv4Addr>,
    pub(crate) host: String,
    pub(crate) pid: i32,
    pub(crate) name: String,
    pub(crate) command_line: String,
    pub(crate) unit: String,
    pub(crate) version: String,
    pub(crate) config_file: String,
}

/// A publisher or subscriber that registered.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entity {
    pub(crate) source: Ipv4Addr,
    /// For how long it was watched.
    pub(crate) watched: Duration,
    pub(crate) info: TopicInfo,
}

/// What raw frames showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frames {
    /// Datagrams of eCAL that went to another port or group than the settings say.
    pub(crate) strays: Vec<Stray>,
    /// Interfaces that frames of the registration port came in by, with the source addresses of other hosts.
    pub(crate) heard: BTreeSet<(String, Ipv4Addr)>,
}

/// Datagrams of eCAL that went elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stray {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) port: u16,
    pub(crate) kind: StrayKind,
    /// Who sent it, if it says so: the host's name and the id of the process.
    pub(crate) sender: Option<(String, i32)>,
}

/// What went elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StrayKind {
    Registration,
    Logging,
    /// The payload of a topic.
    Payload(String),
}

/// A test that sent and received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SelfTest {
    /// The backend, and the interface if it was chosen.
    pub(crate) subject: String,
    /// Whether multicast goes that way by the settings and routes.
    pub(crate) is_in_use: bool,
    pub(crate) outcome: Outcome,
}

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All messages came back.
    Passed,
    /// It could not begin.
    NotRun(String),
    /// What did not come back.
    Failed(String),
}

impl Settings {
    pub(crate) fn new(config: &Config) -> Self {
        let registration = &config.registration;
        let default_mask = match config.udp.hash_version {
            HashVersion::V1 => Ipv4Addr::new(0, 0, 0, 15),
            HashVersion::V2 => Ipv4Addr::new(255, 255, 255, 240),
        };
        Self {
            mode: config.mode,
            registration_port: match config.mode {
                Mode::Local => registration.local_port,
                Mode::Network => registration.network_port,
            },
            payload_port: config.udp.port,
            logging_port: config.logging.receiver_port,
            group: config.udp.network.group,
            mask: config.udp.mask.unwrap_or(default_mask),
            hash_version: config.udp.hash_version,
            interfaces: config.udp.interfaces.clone(),
            receive_buffer_len: config.udp.receive_buffer_len,
            wants_raw: config.udp.npcap_enabled || config.transport == ferrocal::Selection::Npcap,
        }
    }
}

impl Machine {
    /// The interfaces that multicast uses: those that the settings name, else that of the route.
    pub(crate) fn in_use<'a>(&'a self, settings: &'a Settings) -> Vec<&'a Interface> {
        if settings.interfaces.is_empty() {
            let name = match &self.route.entry {
                Ok(Some((name, ..))) => name.as_deref(),
                _ => None,
            };
            let by_source = |one: &&Interface| {
                self.route
                    .source
                    .is_ok_and(|source| one.addresses.iter().any(|&(address, _)| address == source))
            };
            let is_it = |one: &&Interface| match name {
                Some(name) => one.name == name,
                None => by_source(one),
            };
            self.interfaces.iter().filter(is_it).collect()
        } else {
            let is_named =
                |one: &&Interface| settings.interfaces.iter().any(|selector| one.is_named(selector));
            self.interfaces.iter().filter(is_named).collect()
        }
    }

    /// The interface that the user most likely means, for advice.
    pub(crate) fn candidate(&self) -> Option<&Interface> {
        let mut others: Vec<_> = self.interfaces.iter().filter(|one| !one.is_loopback).collect();
        others.sort_by_key(|one| {
            (!one.has_carrier, one.addresses.is_empty(), !one.is_up, is_virtual(&one.name), one.name.clone())
        });
        others.first().copied()
    }

    pub(crate) fn is_own(&self, address: Ipv4Addr) -> bool {
        address.is_loopback()
            || self.interfaces.iter().any(|one| one.addresses.iter().any(|&(own, _)| own == address))
    }
}

/// Whether an interface leads to containers or virtual machines, as its name shows.
fn is_virtual(name: &str) -> bool {
    ["docker", "br-", "virbr", "vmnet", "tun", "tap"].iter().any(|prefix| name.starts_with(prefix))
}

/// Whether an address lies in a network.
pub(crate) fn is_in(address: Ipv4Addr, network: Ipv4Addr, prefix_len: u8) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= u32::from(prefix_len)
}

impl Interface {
    pub(crate) fn is_named(&self, selector: &InterfaceSelector) -> bool {
        match selector {
            InterfaceSelector::Name(name) => self.name == *name || self.friendly_name.as_ref() == Some(name),
            InterfaceSelector::Address(address) => self.addresses.iter().any(|(own, _)| own == address),
            InterfaceSelector::Network { address, prefix_len } => {
                self.addresses.iter().any(|&(own, _)| is_in(own, *address, *prefix_len))
            }
            _ => false,
        }
    }

    /// Whether it can send and receive.
    pub(crate) fn is_usable(&self) -> bool {
        self.is_up && self.has_carrier && !self.addresses.is_empty()
    }
}

impl Wire {
    /// The process of a publisher or subscriber.
    pub(crate) fn process_of(&self, info: &TopicInfo) -> Option<&Process> {
        let host = info.host_name.to_str_lossy();
        self.processes.iter().find(|one| one.pid == info.process_id && one.host == host)
    }
}

impl Process {
    pub(crate) fn is_ferrocal(&self) -> bool {
        self.version.starts_with("ferrocal")
    }
}
