//! Settings of registration.

use std::time::Duration;

/// How nodes find each other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RegistrationConfig {
    /// Time between two registrations (`registration_refresh`, milliseconds). Default: 1 s.
    pub refresh: Duration,
    /// A peer that was not heard of for this long is gone (`registration_timeout`, milliseconds). Default: 10 s.
    pub timeout: Duration,
    /// Whether publishers and subscribers of this process are connected (`loopback`). Default: `true`.
    pub loopback: bool,
    /// Name of the group of hosts that share memory (`shm_transport_domain`). Default: `None`, the host's name.
    pub shm_transport_domain: Option<String>,
    /// Port of registration in local mode (`local.udp.port`). Default: 14000.
    pub local_port: u16,
    /// Port of registration in network mode (`network.udp.port`). Default: 14000.
    pub network_port: u16,
    /// How nodes find each other in local mode (`local.transport_type`). All of a host must have the same. Default:
    /// [`LocalRegistration::Udp`].
    pub local_transport: LocalRegistration,
    /// What the file of registrations in shared memory is called (`local.shm.domain`). Default: `ecal_mon`.
    pub local_shm_domain: String,
    /// How many pieces of news that file has room for, if this node makes it (`local.shm.queue_size`). Default: 1024.
    pub local_shm_queue_len: usize,
}

/// How nodes of one host find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum LocalRegistration {
    /// By datagrams on loopback.
    #[default]
    Udp,
    /// Through shared memory, where this system has it; by datagrams elsewhere. Nothing goes by UDP then.
    Shm,
}

setters!(RegistrationConfig {
    refresh: Duration,
    timeout: Duration,
    loopback: bool,
    local_port: u16,
    network_port: u16,
    local_transport: LocalRegistration,
    local_shm_domain: String,
    local_shm_queue_len: usize,
} optional {
    shm_transport_domain: String,
});

impl Default for RegistrationConfig {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(1),
            timeout: Duration::from_secs(10),
            loopback: true,
            shm_transport_domain: None,
            local_port: 14_000,
            network_port: 14_000,
            local_transport: LocalRegistration::default(),
            local_shm_domain: "ecal_mon".into(),
            local_shm_queue_len: 1024,
        }
    }
}
