//! Finds the settings of this machine: the environment and eCAL's `ecal.yaml`.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use ferrocal_transport::ParseSelectionError;

use super::file::{self, KeyOrigins};
use super::kind::{BUILT_TRANSPORT, TRANSPORT};
use super::origin::{Loaded, SettingOrigin};
use super::yaml::{self, Node};
use super::{Config, ConfigError};
use crate::Selection;
use crate::shown::Shown;

impl Config {
    /// The settings of this machine: `ecal.yaml`, then the environment.
    ///
    /// `ecal.yaml` is taken from where eCAL takes it: the folder that the environment variable `ECAL_DATA` names, else
    /// the working directory, else the user's folder (`~/.ecal`; on Windows `%LOCALAPPDATA%\eCAL`), else the system's
    /// (`/etc/ecal`; on Windows `%ProgramData%\eCAL`). It may be absent. A folder that the program may not read is
    /// skipped with a warning in the log.
    ///
    /// [`Config`] lists the keys. A value that is not allowed is an error. Keys of eCAL for what ferrocal does not have are
    /// ignored. What else is ignored is reported as a warning in the log: unknown keys, settings that cannot be had, an
    /// `ecal.ini` of eCAL 5 without an `ecal.yaml`.
    ///
    /// The environment variable `FERROCAL_TRANSPORT` sets [`transport`](Config#structfield.transport): `auto`, `socket`,
    /// `npcap`, `file:PATH` or `file-fast:PATH`. Without it, `TRANSPORT` does, if it has such a value; another program may use that name
    /// for something else, so any other value is ignored with a warning in the log.
    ///
    /// # Errors
    /// If the file cannot be read, is longer than 1 MiB or is not YAML, or a value in it or in `FERROCAL_TRANSPORT` is not
    /// allowed.
    pub fn load() -> Result<Self, ConfigError> {
        Self::load_from(None)
    }

    /// The settings of this file in place of the machine's `ecal.yaml`, then the environment; as [`load`](Self::load)
    /// otherwise.
    ///
    /// # Errors
    /// As [`load`](Self::load), and if there is no such file.
    pub fn load_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::load_from(Some(path.as_ref()))
    }

    fn load_from(file: Option<&Path>) -> Result<Self, ConfigError> {
        let machine = Machine {
            environment: &|variable| std::env::var_os(variable),
            read: &read,
            is_folder: &Path::is_dir,
        };
        let (config, warnings) = machine.load(file)?;
        for warning in warnings {
            log::warn!("{warning}");
        }
        Ok(config)
    }
}

/// Where settings come from.
struct Machine<'a> {
    environment: &'a dyn Fn(&str) -> Option<OsString>,
    read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    is_folder: &'a dyn Fn(&Path) -> bool,
}

/// The settings of the bytes of a file, checked as those of a node are, and what was ignored.
#[cfg(fuzzing)]
pub fn load_config(file: &[u8]) -> Result<(Config, Vec<String>), ConfigError> {
    let machine = Machine { environment: &|_| None, read: &|_| Ok(file.to_vec()), is_folder: &|_| true };
    let (config, warnings) = machine.load(Some(Path::new("ecal.yaml")))?;
    config.check()?;
    Ok((config, warnings))
}

/// The longest configuration file that is read, in bytes. That of eCAL has 10000.
const MAX_FILE_LEN: u64 = 1024 * 1024;

/// Reads a file. Neither a pipe nor a device is one: reading them could block, or never end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        return Err(io::Error::new(ErrorKind::FileTooLarge, "longer than 1 MiB"));
    }
    Ok(bytes)
}

impl Machine<'_> {
    /// The settings, of this file or the first that there is, and what was ignored.
    fn load(&self, file: Option<&Path>) -> Result<(Config, Vec<String>), ConfigError> {
        let (mut config, mut origins, mut warnings) = (Config::default(), KeyOrigins::new(), Vec::new());
        let mut loaded = None;
        let found = match file.map(Path::to_owned) {
            Some(path) => match (self.read)(&path) {
                Ok(bytes) => Some((path, bytes)),
                Err(source) => return Err(ConfigError::Read { path, source }),
            },
            None => self.find(&mut warnings)?,
        };
        if let Some((path, bytes)) = found {
            let root = Node::parse(&path, &yaml::decode(&bytes))?;
            let ignored = file::apply(&path, &root, &mut config, &mut origins)?;
            warnings.extend(ignored);
            let folder = path.parent().unwrap_or(Path::new(""));
            config.logging.other_folders = vec![folder.join("logs"), folder.to_owned()];
            loaded = Some(std::path::absolute(&path).unwrap_or(path));
        }
        let data = self.variable("ECAL_DATA").map(PathBuf::from);
        let logs = [
            self.variable("ECAL_LOG_DIR").map(PathBuf::from),
            data.as_ref().map(|data| data.join("logs")),
            data,
        ];
        config.logging.folders = logs.into_iter().flatten().collect();
        if let Some((variable, transport)) = self.transport(&mut warnings)? {
            config.transport = transport;
            origins.insert("ferrocal.transport", SettingOrigin::Environment(variable));
        }
        config.loaded = Loaded::new(config.clone(), origins, loaded);
        Ok((config, warnings))
    }

    /// The first `ecal.yaml` that there is.
    fn find(&self, warnings: &mut Vec<String>) -> Result<Option<(PathBuf, Vec<u8>)>, ConfigError> {
        if let Some(folder) = self.variable("ECAL_DATA").filter(|folder| !(self.is_folder)(Path::new(folder)))
        {
            warnings.push(format!("ECAL_DATA: there is no folder {}", Path::new(&folder).display()));
        }
        let mut old = None;
        for folder in self.folders() {
            let path = folder.join("ecal.yaml");
            match (self.read)(&path) {
                Ok(bytes) => return Ok(Some((path, bytes))),
                Err(error) => match error.kind() {
                    ErrorKind::NotFound | ErrorKind::NotADirectory => {}
                    ErrorKind::PermissionDenied | ErrorKind::IsADirectory => {
                        warnings.push(format!("{} is ignored: {error}", path.display()));
                    }
                    _ => return Err(ConfigError::Read { path, source: error }),
                },
            }
            let path = folder.join("ecal.ini");
            if old.is_none() && (self.read)(&path).is_ok() {
                old = Some(path);
            }
        }
        if let Some(path) = old {
            warnings.push(format!(
                "{} is of eCAL 5 and is ignored; without an ecal.yaml, the defaults apply",
                path.display()
            ));
        }
        Ok(None)
    }

    fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let folder =
            |variable: &str, below: &str| self.variable(variable).map(|value| Path::new(&value).join(below));
        let (user, system) = if cfg!(windows) {
            (folder("LOCALAPPDATA", "eCAL"), folder("ProgramData", "eCAL"))
        } else {
            (folder("HOME", ".ecal"), Some("/etc/ecal".into()))
        };
        [folder("ECAL_DATA", ""), Some(PathBuf::new()), user, system].into_iter().flatten()
    }

    fn transport(
        &self,
        warnings: &mut Vec<String>,
    ) -> Result<Option<(&'static str, Selection)>, ConfigError> {
        for key in ["FERROCAL_TRANSPORT", "TRANSPORT"] {
            let Some(value) = self.variable(key) else { continue };
            let value = value.to_string_lossy().into_owned();
            let expected = match value.parse() {
                Ok(transport) => return Ok(Some((key, transport))),
                Err(ParseSelectionError::NotBuilt { .. }) => BUILT_TRANSPORT,
                Err(_) if key == "TRANSPORT" => {
                    warnings.push(format!(
                        "{key}: `{}` is not {} and is ignored, as it may be meant for another \
                         program; FERROCAL_TRANSPORT is meant for this one",
                        Shown(value.as_bytes()),
                        TRANSPORT.expected
                    ));
                    continue;
                }
                Err(_) => TRANSPORT.expected,
            };
            return Err(ConfigError::Value { key, position: None, value, expected: expected.into() });
        }
        Ok(None)
    }

    /// An environment variable that is not empty.
    fn variable(&self, name: &str) -> Option<OsString> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FilePosition;

    /// Loads settings where the given variables are set and the given files exist. A file without text may not be read.
    fn load(
        variables: &[(&str, &str)],
        files: &[(&str, Option<&[u8]>)],
    ) -> Result<(Config, Vec<String>), ConfigError> {
        let machine = Machine {
            environment: &|wanted| {
                let (_, value) = variables.iter().find(|(variable, _)| *variable == wanted)?;
                Some(value.into())
            },
            read: &|wanted| match files.iter().find(|(path, _)| Path::new(path) == wanted) {
                Some((_, Some(text))) => Ok(text.to_vec()),
                Some((_, None)) => Err(ErrorKind::PermissionDenied.into()),
                None => Err(ErrorKind::NotFound.into()),
            },
            is_folder: &|folder| folder != Path::new("missing"),
        };
        machine.load(None)
    }

    const SOCKET: Option<&[u8]> = Some(b"ferrocal: { transport: socket }");
    const NPCAP: Option<&[u8]> = Some(b"ferrocal: { transport: npcap }");

    #[test]
    fn the_first_file_counts() {
        let in_order = ["given/ecal.yaml", "ecal.yaml", "/home/me/.ecal/ecal.yaml", "/etc/ecal/ecal.yaml"];
        if cfg!(windows) {
            return;
        }
        let variables = [("ECAL_DATA", "given"), ("HOME", "/home/me")];
        for first in 0..in_order.len() {
            let files: Vec<_> = (first..in_order.len())
                .map(|n| (in_order[n], if n == first { SOCKET } else { NPCAP }))
                .collect();
            let (config, warnings) = load(&variables, &files).unwrap();
            assert_eq!((config.transport, warnings), (Selection::Socket, vec![]), "{}", in_order[first]);
        }
    }

    #[test]
    fn a_file_that_is_named_counts_alone() {
        let read = |path: &Path| match path.to_str() {
            Some("mine.yaml") => Ok(b"ferrocal: { transport: socket }".to_vec()),
            Some("ecal.yaml") => Ok(b"ferrocal: { transport: npcap }".to_vec()),
            _ => Err(ErrorKind::NotFound.into()),
        };
        let machine = Machine { environment: &|_| None, read: &read, is_folder: &|_| true };
        let (config, warnings) = machine.load(Some(Path::new("mine.yaml"))).unwrap();
        assert_eq!((&config.transport, warnings), (&Selection::Socket, vec![]));
        assert_eq!(config.file(), std::path::absolute("mine.yaml").ok().as_deref());
        let missing = machine.load(Some(Path::new("missing.yaml"))).unwrap_err();
        assert!(matches!(missing, ConfigError::Read { path, .. } if path == Path::new("missing.yaml")));
    }

    #[test]
    fn without_a_file_and_variables_the_defaults_apply() {
        assert_eq!(load(&[], &[]).unwrap().0, Config::default());
    }

    #[test]
    fn the_folders_for_log_files_are_those_of_ecal() {
        let variables = [("ECAL_LOG_DIR", "logs here"), ("ECAL_DATA", "given")];
        for (variables, file, expected) in [
            (&variables[..], "given/ecal.yaml", "logs here, given/logs, given, configured"),
            (&variables[..1], "ecal.yaml", "logs here, configured, logs, "),
        ] {
            let expected: Vec<_> = expected.split(", ").map(PathBuf::from).collect();
            let text: &[u8] = b"logging: { provider: { file_config: { path: configured } } }";
            assert_eq!(load(variables, &[(file, Some(text))]).unwrap().0.logging.all_folders(), expected);
        }
    }

    #[test]
    fn the_folder_for_log_files_is_shown_as_it_is_configured() {
        fn shown(variables: &[(&str, &str)], files: &[(&str, Option<&[u8]>)]) -> String {
            let (config, _) = load(variables, files).unwrap();
            let setting =
                config.settings().find(|setting| setting.key == "logging.provider.file_config.path").unwrap();
            format!("{} ({})", setting.value, setting.origin)
        }
        let variables = [("ECAL_LOG_DIR", "logs here"), ("ECAL_DATA", "given")];
        assert_eq!(shown(&[], &[]), "\"\" (default)");
        assert_eq!(shown(&variables, &[]), "\"\" (default)");
        for (path, value) in [("''", "\"\""), ("/var/log/mine", "/var/log/mine")] {
            let text = format!("logging: {{ provider: {{ file_config: {{ path: {path} }} }} }}");
            let files = [("given/ecal.yaml", Some(text.as_bytes()))];
            assert_eq!(shown(&variables, &files), format!("{value} (given/ecal.yaml:1)"));
        }
    }

    #[test]
    fn what_may_not_be_read_is_skipped() {
        let files = [("given/ecal.yaml", None), ("ecal.yaml", SOCKET)];
        let (config, warnings) = load(&[("ECAL_DATA", "given")], &files).unwrap();
        assert_eq!(config.transport, Selection::Socket);
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].starts_with("given/ecal.yaml is ignored: "), "{warnings:?}");
    }

    #[test]
    fn a_file_of_ecal_5_is_mentioned_where_there_is_no_other() {
        let ini = ("ecal.ini", Some(&b"[network]"[..]));
        let (config, warnings) = load(&[], &[ini]).unwrap();
        assert_eq!((config, warnings.len()), (Config::default(), 1));
        assert!(warnings[0].starts_with("ecal.ini is of eCAL 5"), "{warnings:?}");
        assert_eq!(load(&[], &[ini, ("ecal.yaml", SOCKET)]).unwrap().1, [""; 0]);
    }

    #[test]
    fn a_missing_folder_is_mentioned() {
        let files = [("ecal.yaml", SOCKET)];
        let (config, warnings) = load(&[("ECAL_DATA", "missing")], &files).unwrap();
        assert_eq!((config.transport, warnings.len()), (Selection::Socket, 1));
        assert_eq!(warnings, ["ECAL_DATA: there is no folder missing"]);
        assert_eq!(load(&[("ECAL_DATA", "empty")], &files).unwrap().1, [""; 0]);
    }

    #[test]
    fn bad_files_are_named_with_the_line() {
        let laughs = (1..40).fold("a0: &a0 [ha, ha]\n".to_owned(), |text, n| {
            text + &format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", "))
        });
        let cases: [(&[u8], &str); 10] = [
            (b"transport_layer:\n  udp:\n    port: many\n", "3: transport_layer.udp.port: `many` is not "),
            (b"transport_layer:\n  udp: 5\n", "2: transport_layer.udp: `5` is not a section of keys"),
            (b"\ncommunication_mode: cloud\n", "2: communication_mode: `cloud` is not "),
            (
                b"registration: { local: { transport_type: mail } }\n",
                "1: registration.local.transport_type: `mail`",
            ),
            (b"ferrocal:\n  transport: tcp\n", "2: ferrocal.transport: `tcp` is not one of "),
            (b"transport_layer:\n\tudp:\n\t\tport: 1\n", "2: not valid YAML: "),
            (b"a: 1\ncommunication_mode: n\xe4twork\n", "2: communication_mode: `n\u{fffd}twork` is not "),
            (b"a: [1\nb: 2\n", "2: not valid YAML: "),
            (b"network\n", "1: not valid YAML: "),
            (laughs.as_bytes(), "6: not valid YAML: too many values, or aliases that repeat too much"),
        ];
        for (text, expected) in cases {
            let error = load(&[], &[("ecal.yaml", Some(text))]).expect_err("it is bad").to_string();
            assert!(error.starts_with(&format!("ecal.yaml:{expected}")), "{error}");
        }
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_named() {
        let folder = std::env::temp_dir().join(format!("ferrocal-folder-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("long")).unwrap();
        std::fs::create_dir_all(folder.join("folder/ecal.yaml")).unwrap();
        std::fs::write(folder.join("long/ecal.yaml"), vec![b'#'; 10_000_000]).unwrap();
        std::fs::write(folder.join("file"), "").unwrap();
        let load = |data: &str| {
            let data = folder.join(data);
            Machine {
                environment: &|variable| (variable == "ECAL_DATA").then(|| data.clone().into_os_string()),
                read: &|path| {
                    if path.starts_with(&folder) { read(path) } else { Err(ErrorKind::NotFound.into()) }
                },
                is_folder: &Path::is_dir,
            }
            .load(None)
        };
        for (data, expected) in [
            ("none", "ECAL_DATA: there is no folder "),
            ("file", "ECAL_DATA: there is no folder "),
            ("folder", &format!("{} is ignored: ", folder.join("folder/ecal.yaml").display())),
        ] {
            let (config, warnings) = load(data).unwrap();
            assert_eq!((config.udp, warnings.len()), (Config::default().udp, 1), "{data}: {warnings:?}");
            assert!(warnings[0].starts_with(expected), "{warnings:?}");
        }
        let error = load("long").unwrap_err();
        let ConfigError::Read { path, source } = &error else { panic!("{error}") };
        assert_eq!((path, &*source.to_string()), (&folder.join("long/ecal.yaml"), "longer than 1 MiB"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn only_files_of_reasonable_length_are_read() {
        let folder = std::env::temp_dir().join(format!("ferrocal-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("ecal.yaml");
        std::fs::write(&path, vec![b'#'; MAX_FILE_LEN as usize]).unwrap();
        assert_eq!(read(&path).unwrap().len() as u64, MAX_FILE_LEN);
        std::fs::write(&path, vec![b'#'; 10_000_000]).unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "longer than 1 MiB");
        assert_eq!(read(&folder).unwrap_err().kind(), ErrorKind::IsADirectory);
        assert_eq!(read(&folder.join("none")).unwrap_err().kind(), ErrorKind::NotFound);
        if cfg!(unix) {
            assert_eq!(read(Path::new("/dev/zero")).unwrap_err().to_string(), "not a regular file");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn every_value_has_an_origin() {
        let text = b"transport_layer:\n  udp:\n    port: 14003\n    send_buffer: 7\nferrocal: { transport: socket }\n";
        let files = [("ecal.yaml", Some(&text[..]))];
        let (mut config, _) = load(&[], &files).unwrap();
        let line = |line| Some(SettingOrigin::File(FilePosition { path: "ecal.yaml".into(), line }));
        assert_eq!(config.origin("transport_layer.udp.port"), line(3));
        assert_eq!(config.origin("ferrocal.transport"), line(5));
        assert_eq!(config.origin("communication_mode"), Some(SettingOrigin::Default));
        assert_eq!(config.origin("transport_layer.udp"), None);
        assert_eq!(config.file(), std::path::absolute("ecal.yaml").ok().as_deref());

        config.udp.port = 14_004;
        config = config.mode(crate::Mode::Network);
        config.udp.send_buffer_len = 0;
        let origins: Vec<_> = config
            .settings()
            .filter(|setting| setting.origin != SettingOrigin::Default)
            .map(|setting| (setting.key, setting.value, setting.origin.to_string()))
            .collect();
        let is = |key, value: &str, origin: &str| (key, value.to_owned(), origin.to_owned());
        assert_eq!(
            origins,
            [
                is("communication_mode", "network", "code"),
                is("transport_layer.udp.port", "14004", "code"),
                is("transport_layer.udp.send_buffer", "0", "code"),
                is("ferrocal.transport", "socket", "ecal.yaml:5"),
            ]
        );

        let (config, _) = load(&[("FERROCAL_TRANSPORT", "auto")], &files).unwrap();
        assert_eq!(
            config.origin("ferrocal.transport"),
            Some(SettingOrigin::Environment("FERROCAL_TRANSPORT"))
        );
        assert_eq!(
            Config::default().udp(config.udp.clone()).origin("transport_layer.udp.port"),
            Some(SettingOrigin::Code)
        );
        assert_eq!(load(&[], &[]).unwrap().0.file(), None);
    }

    #[test]
    fn settings_that_do_not_fit_together_are_named_with_their_line() {
        let text = b"registration:\n  registration_timeout: 10\n";
        let (config, _) = load(&[], &[("ecal.yaml", Some(text))]).unwrap();
        assert_eq!(
            config.check().unwrap_err().to_string(),
            "ecal.yaml:2: registration.registration_timeout: `10` is not at least the registration_refresh (1000 ms)"
        );
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let transport = |variables: &[_]| load(variables, &[("ecal.yaml", SOCKET)]);
        assert_eq!(transport(&[]).unwrap().0.transport, Selection::Socket);
        for variable in ["TRANSPORT", "FERROCAL_TRANSPORT"] {
            let (config, warnings) = transport(&[(variable, "auto")]).unwrap();
            assert_eq!((config.transport, warnings), (Selection::Auto, vec![]));
            assert_eq!(transport(&[(variable, "")]).unwrap().0.transport, Selection::Socket);
            let chosen = transport(&[(variable, "npcap")]);
            if cfg!(feature = "raw") {
                assert_eq!(chosen.unwrap().0.transport, Selection::Npcap);
            } else {
                let error = chosen.unwrap_err().to_string();
                assert!(error.contains("cargo feature"), "{error}");
            }
        }
    }

    #[test]
    fn only_our_own_variable_is_strict() {
        let (config, warnings) = load(&[("TRANSPORT", "udp")], &[]).unwrap();
        assert_eq!((config, warnings.len()), (Config::default(), 1));
        assert!(warnings[0].starts_with("TRANSPORT: `udp` is not one of auto"), "{warnings:?}");

        let (config, warnings) =
            load(&[("TRANSPORT", "udp"), ("FERROCAL_TRANSPORT", "socket")], &[]).unwrap();
        assert_eq!((config.transport, warnings), (Selection::Socket, vec![]));

        let long = "x".repeat(100_000);
        let (_, warnings) = load(&[("TRANSPORT", &long)], &[]).unwrap();
        let cut = format!("TRANSPORT: `{}...` is not one of auto", "x".repeat(120));
        assert!(warnings[0].starts_with(&cut), "{} bytes", warnings[0].len());

        let error = load(&[("FERROCAL_TRANSPORT", "udp")], &[]).unwrap_err().to_string();
        assert_eq!(
            error,
            "FERROCAL_TRANSPORT: `udp` is not one of auto, socket, npcap, file:PATH, file-fast:PATH"
        );
    }
}
