//! Numbers that fit into columns.

/// A rate, as `12.5`.
pub(crate) fn hz(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 1000.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// A number of bytes, as `12.5 kB`.
pub(crate) fn bytes(value: f64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if value < 999.5 {
        return format!("{value:.0} B");
    }
    let mut value = value / 1000.0;
    let mut units = UNITS.iter();
    let mut unit = units.next().unwrap_or(&"");
    while value >= 999.5
        && let Some(next) = units.next()
    {
        value /= 1000.0;
        unit = next;
    }
    match value {
        value if value < 9.995 => format!("{value:.2} {unit}"),
        value if value < 99.95 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

/// A number of bytes in a second, as `12.5 kB/s`.
pub(crate) fn rate(value: f64) -> String {
    format!("{}/s", bytes(value))
}

/// A time, as `1.25 ms`.
pub(crate) fn us(value: f64) -> String {
    match value.abs() {
        us if us < 999.5 => format!("{value:.0} us"),
        us if us < 9_995.0 => format!("{:.2} ms", value / 1e3),
        us if us < 999_500.0 => format!("{:.0} ms", value / 1e3),
        _ => format!("{:.1} s", value / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.0, 0.5, 12.34, 2500.4].map(hz), ["0", "0.50", "12.3", "2500"]);
        assert_eq!(
            [0.0, 999.0, 999.9, 12_345.0, 999_499.0, 999_999.0, 1.5e9].map(bytes),
            ["0 B", "999 B", "1.00 kB", "12.3 kB", "999 kB", "1.00 MB", "1.50 GB"]
        );
        assert_eq!(
            [-5.0, 999.9, 1250.0, 25_000.0, 2.5e6].map(us),
            ["-5 us", "1.00 ms", "1.25 ms", "25 ms", "2.5 s"]
        );
    }
}
