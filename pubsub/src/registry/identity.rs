//! Who a node is, as it registers with the others.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use ferrocal_proto::{
    Action, Announcement, EntityId, ProcessInfo, ProcessState, Registration, Severity, TimeSyncState,
};

use crate::{Clock, Config, lock};

/// Who a node is, as it registers with the others.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) host_name: Arc<str>,
    /// eCAL's name for the group of hosts that share memory.
    pub(crate) domain: String,
    pub(crate) process_id: i32,
    pub(crate) process_name: String,
    pub(crate) unit_name: String,
    command_line: String,
    /// The configuration file, or an empty text.
    config_file: String,
    ids: AtomicU16,
    joins_segments: AtomicBool,
    state: Mutex<ProcessState>,
    time_sync_state: TimeSyncState,
    /// The name of the module that an eCAL process would have its time from.
    time_module: &'static str,
}

/// What a node consists of, as eCAL's monitor shows it: it publishes (1), subscribes (2) and has the time (32).
const COMPONENTS: (i32, &str) = (1 | 2 | 32, "pub|sub|time");

/// The first word of our runtime version.
const RUNTIME: &str = concat!("ferrocal ", env!("CARGO_PKG_VERSION"));
/// The end of the runtime version of a node whose system joins consecutive datagrams before it reads them (`UDP_GRO`).
const JOINS_SEGMENTS: &str = "+gro";

/// Whether a node of this runtime version reads consecutive datagrams in one piece.
pub(super) fn joins_segments(runtime_version: &str) -> bool {
    runtime_version.starts_with("ferrocal ") && runtime_version.ends_with(JOINS_SEGMENTS)
}

impl Identity {
    pub(crate) fn new(unit_name: &str, config: &Config) -> Self {
        let host_name = gethostname::gethostname().to_string_lossy().into_owned();
        let domain = config.registration.shm_transport_domain.clone().unwrap_or_else(|| host_name.clone());
        let host_name = host_name.into();
        let arguments: Vec<_> =
            std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let process_name = match std::env::current_exe() {
            Ok(path) => path.to_string_lossy().into_owned(),
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
            process_name,
            unit_name: unit_name.to_owned(),
            command_line: arguments.join(" "),
            config_file: config.file().unwrap_or(Path::new("")).to_string_lossy().into_owned(),
            ids: AtomicU16::new(0),
            joins_segments: AtomicBool::new(false),
            state: Mutex::new(ProcessState {
                severity: Severity::Healthy,
                severity_level: 1,
                info: String::new(),
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
        format!("{RUNTIME}{suffix}")
    }

    pub(crate) fn new_entity_id(&self) -> EntityId {
        let counter = self.ids.fetch_add(1, Ordering::Relaxed);
        EntityId::new(self.process_id.cast_unsigned(), fastrand::u32(..), counter)
    }

    /// The process's own registration.
    pub(super) fn registration(&self, action: Action, registration_clock: i32) -> Registration {
        let announcement = Announcement::Process(ProcessInfo {
            host_name: self.host_name.to_string(),
            shm_transport_domain: self.domain.clone(),
            process_id: self.process_id,
            process_name: self.process_name.clone(),
            unit_name: self.unit_name.clone(),
            process_parameter: self.command_line.clone(),
            registration_clock,
            state: lock(&self.state).clone(),
            component_init_state: COMPONENTS.0,
            component_init_info: COMPONENTS.1.into(),
            runtime_version: self.runtime_version(),
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
