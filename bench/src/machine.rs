//! What the figures were measured on.

use std::fs;

/// Processor, cores, kernel, the limit of receive buffers and what else was running, in a line.
pub(crate) fn describe() -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |line| line.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let number = |file: &str| fs::read_to_string(file).unwrap_or_default().trim().to_owned();
    let kernel = number("/proc/sys/kernel/osrelease");
    // A network namespace does not always show it.
    let buffer = number("/proc/sys/net/core/rmem_max");
    let buffer = if buffer.is_empty() { String::new() } else { format!(", rmem_max {buffer}") };
    let load = number("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    format!("{processor}, {cores} cores, Linux {kernel}{buffer}, load average {load}")
}
