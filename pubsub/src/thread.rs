//! Settings of threads.

use thread_priority::{ThreadPriority, ThreadPriorityValue};

use crate::ReceiveThreadConfig;

/// As many processors fit the system's set of them. For one beyond it, `core_affinity` would panic, or choose another.
const MAX_CPUS: usize = if cfg!(windows) { 64 } else { 1024 };

/// Applies the settings to the current thread. What the system refuses is logged.
pub(crate) fn apply_here(settings: ReceiveThreadConfig) {
    if let Some(id) = settings.cpu
        && !(id < MAX_CPUS && core_affinity::set_for_current(core_affinity::CoreId { id }))
    {
        log::warn!("receive_thread.cpu: the system does not let the thread run on processor {id}");
    }
    if let Some(priority) =
        settings.priority.and_then(|priority| ThreadPriorityValue::try_from(priority).ok())
        && let Err(error) = ThreadPriority::Crossplatform(priority).set_for_current()
    {
        let priority = u8::from(priority);
        log::warn!("receive_thread.priority: the system refuses {priority}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_that_no_system_has_is_only_logged() {
        for id in [MAX_CPUS, usize::MAX] {
            apply_here(ReceiveThreadConfig::default().cpu(id));
        }
    }
}
