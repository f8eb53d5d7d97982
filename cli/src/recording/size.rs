//! Sizes in bytes, as people write and read them.

/// Reads a size: `4096`, `64k`, `1.5M`, `2GiB`. The units are powers of 1024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| "not a size, such as 500M or 2G".to_owned())?;
    let power = match &*unit.to_ascii_lowercase() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return Err(format!("unknown unit `{unit}`: one of k, M, G, T")),
    };
    let bytes = number * 1024_f64.powi(power);
    if bytes > 1e18 {
        Err("too large".to_owned())
    } else if bytes < 1.0 {
        Err("less than one byte".to_owned())
    } else {
        Ok(bytes as u64)
    }
}

/// A size as people read it: three digits and a unit.
pub(crate) fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if unit == 0 || value >= 99.95 { 0 } else { 1 };
    format!("{value:.decimals$} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("1.5M"), Ok(1_572_864));
        assert_eq!(size("2GiB"), size("2g"));
        for bad in ["", "M", "-1", "1X", "1.2.3", "9999999999T", "nan", "0", "0.0k"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(
            [0, 999, 1000, 999_950, 123_456_789].map(human),
            ["0 B", "999 B", "1.0 kB", "1.0 MB", "123 MB"]
        );
    }
}
