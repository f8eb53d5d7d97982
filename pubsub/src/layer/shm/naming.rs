//! What eCAL calls the files of a memory file.

/// A new name for a memory file.
pub(super) fn new_name() -> String {
    format!("ecal_{:x}", fastrand::u32(..))
}

pub(super) fn lock_name(file: &str) -> String {
    format!("{file}_mtx")
}

/// The event that a process reads by: there is a new message.
pub(super) fn event_name(file: &str, process_id: u32) -> String {
    ferrocal_shm::event_name(&format!("{file}_{process_id}"))
}

/// The event that the writer waits for: the process has taken the message.
pub(super) fn acknowledge_name(file: &str, process_id: u32) -> String {
    ferrocal_shm::event_name(&format!("{file}_{process_id}_ack"))
}
