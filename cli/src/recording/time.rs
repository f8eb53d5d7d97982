//! Times, as people write and read them.

use std::time::Duration;

use jiff::Timestamp;

/// A place in a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// So long after the first message.
    After(Duration),
    /// In nanoseconds since the Unix epoch.
    At(u64),
}

impl Place {
    /// In nanoseconds since the Unix epoch, in a recording that starts at `start_ns`.
    pub(crate) fn resolve(self, start_ns: u64) -> u64 {
        match self {
            Self::After(duration) => {
                start_ns.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
            }
            Self::At(time_ns) => time_ns,
        }
    }
}

/// Reads a place: `12.5` (seconds after the first message) or `2026-11-26T10:50:30.25Z`.
pub(crate) fn place(text: &str) -> Result<Place, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map(Place::After).map_err(|error| error.to_string());
    }
    let time = text.parse::<Timestamp>();
    let time = time.map_err(|_| "neither seconds nor a time such as 2026-11-26T10:50:30Z".to_owned())?;
    u64::try_from(time.as_nanosecond()).map(Place::At).map_err(|_| "before 1970".to_owned())
}

/// A time since the Unix epoch, in UTC.
pub(crate) fn utc(time_ns: u64) -> String {
    let time = Timestamp::from_nanosecond(time_ns.into());
    time.map_or_else(|_| format!("{time_ns} ns"), |time| format!("{time:.6}"))
}

/// The present time for the name of a file: without characters that some system does not allow.
pub(crate) fn for_file_name() -> String {
    Timestamp::now().strftime("%Y-%m-%d_%H-%M-%SZ").to_string()
}

/// A duration as a player shows it: `01:02.3`, `1:00:00.0`.
pub(crate) fn clock(duration: Duration) -> String {
    let tenths = duration.as_millis() / 100;
    let (hours, minutes, seconds) = (tenths / 36_000, tenths / 600 % 60, tenths / 10 % 60);
    let rest = format!("{minutes:02}:{seconds:02}.{}", tenths % 10);
    if hours > 0 { format!("{hours}:{rest}") } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_seconds_or_times() {
        assert_eq!(place("1.5"), Ok(Place::After(Duration::from_millis(1500))));
        assert_eq!(place("1970-01-01T00:00:02.5Z"), Ok(Place::At(2_500_000_000)));
        assert_eq!(place("2.5").unwrap().resolve(1_000_000_000), 3_500_000_000);
        for bad in ["-1", "nan", "tomorrow", "1969-01-01T00:00:00Z", ""] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(utc(1_500_000_000), "1970-01-01T00:00:01.500000Z");
        assert!(!utc(u64::MAX).is_empty());
        assert_eq!(clock(Duration::from_millis(62_345)), "01:02.3");
        assert_eq!(clock(Duration::from_secs(3600)), "1:00:00.0");
    }
}
