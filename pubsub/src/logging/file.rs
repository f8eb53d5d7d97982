//! The file that log lines go to.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::logger::cut;

/// The bytes of a unit's name in that of the file, for which systems allow 255.
const MAX_NAME_LEN: usize = 128;

/// A file that is created for the first line.
pub(super) struct LogFile {
    folders: Vec<PathBuf>,
    /// The unit's name and the process's id, as they end the file's name.
    end_of_name: String,
    open: Option<(File, PathBuf)>,
}

impl LogFile {
    pub(super) fn new(folders: Vec<PathBuf>, unit_name: &str, process_id: i32) -> Self {
        // Not allowed in a file's name on some system or other.
        let is_bad = |char: char| char.is_control() || r#"/\:*?"<>|"#.contains(char);
        Self {
            folders,
            end_of_name: format!("{}_{process_id}.log", cut(&unit_name.replace(is_bad, "_"), MAX_NAME_LEN)),
            open: None,
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.open.as_ref().map(|(_, path)| &**path)
    }

    /// Appends a line. It has no buffer, so nothing is lost if the program crashes.
    ///
    /// # Errors
    /// If there is no folder for the file, or the system refuses the line.
    pub(super) fn write(&mut self, time: Duration, line: &str) -> io::Result<()> {
        let (file, _) = match &mut self.open {
            Some(open) => open,
            None => {
                let open = self.create(&format!("{}_{}", date_and_time(time.as_secs()), self.end_of_name))?;
                self.open.insert(open)
            }
        };
        file.write_all(line.as_bytes())
    }

    fn create(&self, name: &str) -> io::Result<(File, PathBuf)> {
        // Nodes of one name in one process share it.
        let open = |folder: &Path| {
            let path = folder.join(name);
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            Ok((file, path))
        };
        if let Some(open) = self.folders.iter().find_map(|folder| open(folder).ok()) {
            return Ok(open);
        }
        let folder = std::env::temp_dir().join(format!("ferrocal-log-{:016x}", fastrand::u64(..)));
        create_private(&folder)?;
        open(&folder).inspect_err(|_| {
            // Not one more for each line.
            let _ = fs::remove_dir(&folder);
        })
    }
}

/// Creates a folder that nobody else can look into, as it is where everybody has folders.
fn create_private(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    return std::os::unix::fs::DirBuilderExt::mode(&mut fs::DirBuilder::new(), 0o700).create(folder);
    #[cfg(not(unix))]
    fs::create_dir(folder)
}

/// The date and time of a second since the Unix epoch, in UTC, as a part of a file's name.
fn date_and_time(second: u64) -> String {
    let (day, second) = (second / 86_400, second % 86_400);
    // With years from March on, a leap day is the last day of its year, and the lengths of months have a period:
    // https://howardhinnant.github.io/date_algorithms.html#civil_from_days
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = (era * 400 + year + month / 10, (month + 2) % 12 + 1);
    format!("{year:04}-{month:02}-{day:02}-{:02}-{:02}-{:02}", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is removed in the end.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new() -> Self {
            let path = std::env::temp_dir().join(format!("ferrocal-test-{:016x}", fastrand::u64(..)));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_first_folder_that_there_is_has_the_file() {
        let (first, second) = (Temporary::new(), Temporary::new());
        let folders = vec![first.0.join("missing"), first.0.clone(), second.0.clone()];
        let mut file = LogFile::new(folders, "my/../unit", 7);
        assert_eq!(file.path(), None);
        file.write(Duration::from_secs(951_782_400), "first\n").unwrap();
        file.write(Duration::from_secs(951_782_401), "second\n").unwrap();
        let path = file.path().unwrap();
        assert_eq!(path, first.0.join("2000-02-29-00-00-00_my_.._unit_7.log"));
        assert_eq!(fs::read_to_string(path).unwrap(), "first\nsecond\n");
        assert_eq!(fs::read_dir(&second.0).unwrap().count(), 0);
    }

    #[test]
    fn without_a_folder_the_file_is_among_those_of_the_system_that_are_temporary() {
        let mut file = LogFile::new(vec!["/does/not/exist".into()], "unit", 7);
        file.write(Duration::ZERO, "line\n").unwrap();
        let path = file.path().unwrap();
        assert!(path.starts_with(std::env::temp_dir()), "{path:?}");
        assert_eq!(fs::read_to_string(path).unwrap(), "line\n");
        #[cfg(unix)]
        {
            let permissions = fs::metadata(path.parent().unwrap()).unwrap().permissions();
            assert_eq!(std::os::unix::fs::PermissionsExt::mode(&permissions) & 0o777, 0o700);
        }
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn seconds_are_dates() {
        for (second, expected) in [
            (0, "1970-01-01-00-00-00"),
            (951_782_399, "2000-02-28-23-59-59"),
            (951_868_800, "2000-03-01-00-00-00"),
            (1_735_689_599, "2024-12-31-23-59-59"),
            (1_795_690_263, "2026-11-26-10-51-03"),
            (4_107_542_400, "2100-03-01-00-00-00"),
        ] {
            assert_eq!(date_and_time(second), expected);
        }
    }
}
