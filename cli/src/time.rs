//! Times, for people and programs.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Microseconds since the Unix epoch.
pub(crate) fn us(time: SystemTime) -> i64 {
    let us = |duration: std::time::Duration| i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => us(since),
        Err(before) => -us(before.duration()),
    }
}

/// The date and time in UTC, with microseconds.
pub(crate) fn text(time_us: i64) -> String {
    match Timestamp::from_microsecond(time_us) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => format!("{time_us} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc() {
        assert_eq!(text(1_795_690_263_000_250), "2026-11-26T10:51:03.000250Z");
        assert_eq!(text(i64::MAX), format!("{} us", i64::MAX));
    }
}
