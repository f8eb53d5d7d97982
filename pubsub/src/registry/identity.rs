//! Who a node is, as it registers with the others.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use ferrocal_proto::{
    Action, Announcement, EntityId, ProcessInfo, ProcessState, Registration, Severity, Text, TimeSyncState,
};

use crate::{Clock, Config, UdpConfig, lock};

/// Who a node is, as it registers with the others.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) host_name: Text,
    /// eCAL's name for the group of hosts that share memory.
    pub(crate) domain: Text,
    pub(crate) process_id: i32,
    pub(crate) process_name: Text,
    pub(crate) unit_name: Text,
    command_line: Text,
    /// The configuration file, or an empty text.
    config_file: Text,
    ids: AtomicU16,
    joins_segments: AtomicBool,
    /// As [`groups_of`] has them.
    pub(super) groups: String,
    state: Mutex<ProcessState>,
    time_sync_state: TimeSyncState,
    /// The name of the module that an eCAL process would have its time from.
    time_module: &'static str,
}

/// What a node consists of, as eCAL's monitor shows it: it publishes (1), subscribes (2), serves and calls (4), monitors (8),
/// logs (16) and has the time (32). eCAL's own text leaves two of them out.
const COMPONENTS: (i32, &str) = (1 | 2 | 4 | 8 | 16 | 32, "pub|sub|log|time");

/// The first word of our runtime version.
const RUNTIME: &str = concat!("ferrocal ", env!("CARGO_PKG_VERSION"));
/// The end of the runtime version of a node whose system joins consecutive datagrams before it reads them (`UDP_GRO`).
const JOINS_SEGMENTS: &str = "+gro";

/// What a node is told to be by its runtime version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Runtime {
    /// Whether it is this crate, and topics have the same groups there as here.
    pub(super) shares_groups: bool,
    /// Whether its system joins consecutive datagrams before it reads them.
    pub(super) joins_segments: bool,
}

impl Runtime {
    /// `groups` are those of this node, as [`groups_of`] has them.
    pub(super) fn new(version: &Text, groups: &str) -> Self {
        let Some(version) = version.strip_prefix(b"ferrocal ") else { return Self::default() };
        let without_end = version.strip_suffix(JOINS_SEGMENTS.as_bytes());
        let version = without_end.unwrap_or(version);
        let start = version.iter().position(|&byte| byte == b'+').unwrap_or(version.len());
        Self { shares_groups: version[start..] == *groups.as_bytes(), joins_segments: without_end.is_some() }
    }
}

/// How a node finds the groups of topics, as a part of its runtime version: empty by default.
fn groups_of(udp: &UdpConfig) -> String {
    let of =
        |udp: &UdpConfig| format!("+{:?}/{}/{}", udp.hash_version, udp.effective_mask(), udp.network.group);
    let groups = of(udp);
    if groups == of(&UdpConfig::default()) { String::new() } else { groups }
}

impl Identity {
    pub(crate) fn new(unit_name: &str, config: &Config) -> Self {
        // The system's own bytes: eCAL programs on this host send the same.
        let bytes = OsString::into_encoded_bytes;
        let host_name = Text::from(bytes(gethostname::gethostname()));
        let domain = config.registration.shm_transport_domain.clone();
        let domain = domain.map_or_else(|| host_name.clone(), Text::from);
        let arguments: Vec<_> = std::env::args_os().map(bytes).collect();
        let process_name = match std::env::current_exe() {
            Ok(path) => bytes(path.into_os_string()),
            Err(_) => arguments.first().cloned().unwrap_or_default(),
        };
        let (time_sync_state, time_module) = match config.clock {
            Clock::System => (TimeSyncState::None, "ecaltime-localtime"),
            Clock::Program(_) => (TimeSyncState::Realtime, ""),
            Clock::SimTime => (TimeSyncState::Replay, "ecaltime-simtime"),
        };
        Self {
            time_sync_state,
            time_module,
            host_name,
            domain,
            process_id: std::process::id().cast_signed(),
            process_name: process_name.into(),
            unit_name: unit_name.into(),
            command_line: arguments.join(&b' ').into(),
            config_file: bytes(config.file().unwrap_or(Path::new("")).into()).into(),
            ids: AtomicU16::new(0),
            joins_segments: AtomicBool::new(false),
            groups: groups_of(&config.udp),
            state: Mutex::new(ProcessState {
                severity: Severity::Healthy,
                severity_level: 1,
                info: Text::default(),
            }),
        }
    }

    /// Stores whether this node's system joins consecutive datagrams, as its receiver found out.
    pub(crate) fn set_joins_segments(&self, joins_segments: bool) {
        self.joins_segments.store(joins_segments, Ordering::Relaxed);
    }

    /// Sets how the process is, for its registrations from now on.
    pub(crate) fn set_state(&self, state: ProcessState) {
        *lock(&self.state) = state;
    }

    fn runtime_version(&self) -> String {
        let suffix = if self.joins_segments.load(Ordering::Relaxed) { JOINS_SEGMENTS } else { "" };
        format!("{RUNTIME}{}{suffix}", self.groups)
    }

    pub(crate) fn new_entity_id(&self) -> EntityId {
        let counter = self.ids.fetch_add(1, Ordering::Relaxed);
        EntityId::new(self.process_id.cast_unsigned(), fastrand::u32(..), counter)
    }

    /// The process's own registration.
    pub(super) fn registration(&self, action: Action, registration_clock: i32) -> Registration {
        let announcement = Announcement::Process(ProcessInfo {
            host_name: self.host_name.clone(),
            shm_transport_domain: self.domain.clone(),
            process_id: self.process_id,
            process_name: self.process_name.clone(),
            unit_name: self.unit_name.clone(),
            process_parameter: self.command_line.clone(),
            registration_clock,
            state: lock(&self.state).clone(),
            component_init_state: COMPONENTS.0,
            component_init_info: COMPONENTS.1.into(),
            runtime_version: self.runtime_version().into(),
            time_sync_state: self.time_sync_state,
            time_sync_module_name: self.time_module.into(),
            config_file_path: self.config_file.clone(),
        });
        Registration { action, announcement }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_file_is_registered() {
        let registered =
            |config: Config| match Identity::new("node", &config).registration(Action::Register, 1) {
                Registration { announcement: Announcement::Process(process), .. } => process.config_file_path,
                other => panic!("{other:?}"),
            };
        assert_eq!(registered(Config::default()), "");
        assert_eq!(registered(Config::loaded_from("/etc/ecal/ecal.yaml")), "/etc/ecal/ecal.yaml");
    }
}
