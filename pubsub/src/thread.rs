//! Settings of the calling thread.

use thread_priority::{ThreadPriority, ThreadPriorityValue};

use crate::ReceiveThreadConfig;

impl ReceiveThreadConfig {
    /// Applies the settings to the calling thread. What the system refuses is logged.
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
