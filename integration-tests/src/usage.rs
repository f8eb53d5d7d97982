//! What a process takes of the system, and whether that grows.

use std::fs;

/// What a process holds at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Memory of its own that is in RAM, without files, in kB.
    pub memory_kb: u64,
    /// Open file descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

impl Usage {
    /// Reads it from `/proc`.
    ///
    /// # Panics
    /// When the process is gone.
    #[track_caller]
    pub fn of(id: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the process is there");
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok())
                .unwrap_or_else(|| panic!("no {key} of process {id}"))
        };
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).expect("the process is there").count();
        Self { memory_kb: number("RssAnon:"), descriptors: descriptors as u64, threads: number("Threads:") }
    }
}

/// The slope of the line that fits the points `(x, y)` best (least squares). 0 for fewer than two.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let across: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let along: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if along > 0.0 { across / along } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line() {
        let line: Vec<_> = (0..10).map(f64::from).map(|x| (x, 3.0 - 2.0 * x)).collect();
        assert!((slope(&line) + 2.0).abs() < 1e-9);
        assert_eq!(slope(&[(1.0, 5.0)]), 0.0);
        assert_eq!(slope(&[]), 0.0);
    }

    #[test]
    fn a_process_has_what_it_opened() {
        let before = Usage::of(std::process::id());
        let files: Vec<_> = (0..10).map(|_| fs::File::open("/dev/null").expect("it is there")).collect();
        let now = Usage::of(std::process::id());
        // Other tests open and close files meanwhile.
        assert!(now.descriptors + 5 > before.descriptors + files.len() as u64, "{before:?} {now:?}");
        assert!(now.memory_kb > 0 && now.threads > 0, "{now:?}");
    }
}
