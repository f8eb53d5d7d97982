//! Who a node is, as it tells the others.

use std::sync::atomic::{AtomicU16, Ordering};

use ferrocal_proto::{
    Action, Announcement, EntityId, ProcessInfo, ProcessState, Registration, Severity, TimeSyncState,
};

use crate::Config;

/// Who a node is, as it tells the others.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) host_name: String,
    /// eCAL's name for the group of hosts that share memory.
    pub(crate) domain: String,
    pub(crate) process_id: i32,
    pub(crate) process_name: String,
    pub(crate) unit_name: String,
    command_line: String,
    ids: AtomicU16,
}

/// What the runtime versions of nodes that receive runs of datagrams in one piece end with (`UDP_GRO`).
const TAKES_RUNS: &str = "+gro";

fn runtime_version() -> String {
    let version = concat!("ferrocal ", env!("CARGO_PKG_VERSION"));
    if cfg!(target_os = "linux") { format!("{version}{TAKES_RUNS}") } else { version.into() }
}

/// Whether the nodes of a process receive runs of datagrams in one piece.
pub(crate) fn takes_runs(runtime_version: &str) -> bool {
    runtime_version.starts_with("ferrocal ") && runtime_version.ends_with(TAKES_RUNS)
}

impl Identity {
    pub(crate) fn new(unit_name: &str, config: &Config) -> Self {
        let host_name = gethostname::gethostname().to_string_lossy().into_owned();
        let domain = config.registration.shm_transport_domain.clone().unwrap_or_else(|| host_name.clone());
        let arguments: Vec<_> =
            std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
        let process_name = match std::env::current_exe() {
            Ok(path) => path.to_string_lossy().into_owned(),
            Err(_) => arguments.first().cloned().unwrap_or_default(),
        };
        Self {
            host_name,
            domain,
            process_id: std::process::id().cast_signed(),
            process_name,
            unit_name: unit_name.to_owned(),
            command_line: arguments.join(" "),
            ids: AtomicU16::new(0),
        }
    }

    pub(crate) fn new_entity_id(&self) -> EntityId {
        let counter = self.ids.fetch_add(1, Ordering::Relaxed);
        EntityId::new(self.process_id.cast_unsigned(), fastrand::u32(..), counter)
    }

    /// The process's own registration.
    pub(crate) fn registration(&self, action: Action, registration_clock: i32) -> Registration {
        let announcement = Announcement::Process(ProcessInfo {
            host_name: self.host_name.clone(),
            shm_transport_domain: self.domain.clone(),
            process_id: self.process_id,
            process_name: self.process_name.clone(),
            unit_name: self.unit_name.clone(),
            process_parameter: self.command_line.clone(),
            registration_clock,
            state: ProcessState { severity: Severity::Healthy, severity_level: 1, info: String::new() },
            component_init_state: 0,
            component_init_info: "pub|sub".into(),
            runtime_version: runtime_version(),
            time_sync_state: TimeSyncState::None,
            time_sync_module_name: String::new(),
            config_file_path: String::new(),
        });
        Registration { action, announcement }
    }
}
