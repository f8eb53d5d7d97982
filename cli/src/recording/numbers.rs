//! The names of a recording's parts.

use std::fs;
use std::path::{Path, PathBuf};

/// The path of a part: `NAME_0000.mcap`.
pub(super) fn numbered(base: &Path, number: u32) -> PathBuf {
    let (stem, extension) = around(base);
    base.with_file_name(format!("{stem}{number:04}{extension}"))
}

/// The number behind those that parts of earlier recordings have, or 0. With it, names are in the order of time.
pub(super) fn first_number(base: &Path) -> u32 {
    let (stem, extension) = around(base);
    let folder = base.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let number_of = |name: &str| {
        let digits = name.strip_prefix(&stem)?.strip_suffix(&extension)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u32>().ok())?
    };
    // Of a folder that cannot be listed, the numbers that are taken are found one by one.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| number_of(&entry.file_name().to_string_lossy()));
    numbers.max().map_or(0, |last| last.saturating_add(1))
}

/// What stands before and behind the number.
fn around(base: &Path) -> (String, String) {
    let stem = base.file_stem().unwrap_or_default().to_string_lossy();
    let extension = base.extension().unwrap_or("mcap".as_ref()).to_string_lossy();
    (format!("{stem}_"), format!(".{extension}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_goes_on_behind_the_parts_of_earlier_ones() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("q.mcap");
        let first_with = |name: &str| {
            fs::write(folder.path().join(name), "").unwrap();
            first_number(&base)
        };
        assert_eq!(first_number(&base), 0);
        assert_eq!(first_with("q_0007.mcap"), 8);
        for other in ["q.mcap", "r_0099.mcap", "q_0099.pcap", "q_.mcap", "q_+99.mcap", "q_0099.mcap.gz"] {
            assert_eq!(first_with(other), 8, "{other}");
        }
        assert_eq!(first_with("q_12345.mcap"), 12346);
        assert_eq!(numbered(&base, 12346), folder.path().join("q_12346.mcap"));
        assert_eq!(first_with("q_4294967295.mcap"), u32::MAX);
        assert_eq!(first_number(Path::new("/nonexistent/q.mcap")), 0);
    }
}
