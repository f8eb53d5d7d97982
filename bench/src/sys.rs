//! What the system tells of time and of this process.

use serde_json::{Value, json};

/// Nanoseconds of the monotonic clock, which all processes of this machine share.
pub(crate) fn now_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// The same clock as it was at the latest tick, up to some milliseconds ago. It costs a fraction of that.
pub(crate) fn tick_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing for the whole call.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

/// CPU seconds (`user`, `system`) and peak memory (`peak_kb`) of this process.
pub(crate) fn usage() -> Value {
    // SAFETY: all fields are numbers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is valid for writing for the whole call.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    json!({
        "user": seconds(usage.ru_utime),
        "system": seconds(usage.ru_stime),
        "peak_kb": peak_kb(),
    })
}

/// Not `ru_maxrss`, which begins with the peak of the process that started this one.
fn peak_kb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
