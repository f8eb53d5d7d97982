//! Finds the settings of this machine: the environment and eCAL's `ecal.yaml`.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ferrocal_transport::ParseSelectionError;

use super::keys::{self, BUILT_TRANSPORT, TRANSPORT};
use super::yaml::{self, Node};
use super::{Config, ConfigError};
use crate::Selection;

impl Config {
    /// The settings of this machine: `ecal.yaml`, then the environment.
    ///
    /// `ecal.yaml` is taken from where eCAL takes it: the folder that the environment variable `ECAL_DATA` names, else
    /// the working directory, else the user's folder (`~/.ecal`; on Windows `%LOCALAPPDATA%\eCAL`), else the system's
    /// (`/etc/ecal`; on Windows `%ProgramData%\eCAL`). It may be absent. A folder that the program may not read is
    /// skipped with a warning in the log.
    ///
    /// | key in `ecal.yaml` | setting |
    /// | --- | --- |
    /// | `communication_mode` | [`mode`](Config#structfield.mode) |
    /// | `transport_layer.udp.{config_version, port, mask, send_buffer, receive_buffer, join_all_interfaces, npcap_enabled}` | [`udp`](Config#structfield.udp) |
    /// | `transport_layer.udp.{local, network}.{group, ttl}` | [`udp`](Config#structfield.udp) |
    /// | `registration.{registration_refresh, registration_timeout, loopback, shm_transport_domain}` | [`registration`](Config#structfield.registration) |
    /// | `registration.{local, network}.udp.port` | [`registration`](Config#structfield.registration) |
    /// | `logging.provider.{console, file, udp}.{enable, log_level}` | [`logging`](Config#structfield.logging) |
    /// | `logging.provider.file_config.path` | [`logging.folders`](crate::LogConfig#structfield.folders) |
    /// | `logging.{provider, receiver}.udp_config.port` | [`logging`](Config#structfield.logging) |
    /// | `subscriber.drop_out_of_order_messages` | [`subscriber`](Config#structfield.subscriber) |
    /// | `ferrocal.{transport, max_bytes_per_second}` | the fields of this name |
    /// | `ferrocal.{send, interfaces, loopback}` | [`udp`](Config#structfield.udp) |
    /// | `ferrocal.publisher.{fragmentation, max_bytes_per_second}` | [`publisher`](Config#structfield.publisher); `auto`, `large` or `mtu` |
    /// | `ferrocal.subscriber.{queue_len, queue_bytes, inline}` | [`subscriber`](Config#structfield.subscriber) |
    /// | `ferrocal.logging.{console_stream, queue_len, queue_bytes}` | [`logging`](Config#structfield.logging); `stderr` or `stdout` |
    /// | `ferrocal.receive_thread.{busy_poll_us, cpu, priority}` | [`receive_thread`](Config#structfield.receive_thread) |
    /// | `ferrocal.limits.{max_peers, max_registry_bytes, max_publishers_per_subscriber}` | [`limits`](Config#structfield.limits) |
    /// | `ferrocal.limits.reassembly.{max_message_len, max_bytes_per_sender, max_bytes, max_messages_per_sender, max_messages, timeout_ms}` | [`limits.reassembly`](crate::Limits) |
    /// | `ferrocal.limits.ip_reassembly.{max_bytes, max_packets, timeout_ms}` | [`limits.ip_reassembly`](crate::IpReassemblyLimits) |
    ///
    /// Other keys of eCAL are ignored. Unknown keys below `ferrocal`, and keys elsewhere that look like a misspelt one,
    /// are ignored with a warning in the log.
    ///
    /// The environment variable `FERROCAL_TRANSPORT` sets [`transport`](Config#structfield.transport): `auto`, `socket`,
    /// `npcap` or `file:PATH`. Without it, `TRANSPORT` does, if it has such a value; another program may use that name
    /// for something else, so any other value is ignored with a warning in the log.
    ///
    /// # Errors
    /// If the file cannot be read or is not YAML, or a value in it or in `FERROCAL_TRANSPORT` is not allowed.
    pub fn load() -> Result<Self, ConfigError> {
        let machine = Machine {
            environment: &|variable| std::env::var_os(variable),
            read: &|path| std::fs::read(path),
        };
        let (config, warnings) = machine.load()?;
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
}

impl Machine<'_> {
    /// The settings, and what was ignored.
    fn load(&self) -> Result<(Config, Vec<String>), ConfigError> {
        let (mut config, mut warnings) = (Config::default(), Vec::new());
        if let Some((path, bytes)) = self.find(&mut warnings)? {
            let root = Node::parse(&path, &yaml::decode(&bytes))?;
            let ignored = keys::apply(&path, &root, &mut config)?;
            warnings.extend(ignored.iter().map(ToString::to_string));
            let folder = path.parent().unwrap_or(Path::new(""));
            config.logging.folders.extend([folder.join("logs"), folder.to_owned()]);
        }
        let data = self.variable("ECAL_DATA").map(PathBuf::from);
        let logs = [
            self.variable("ECAL_LOG_DIR").map(PathBuf::from),
            data.as_ref().map(|data| data.join("logs")),
            data,
        ];
        config.logging.folders.splice(..0, logs.into_iter().flatten());
        if let Some(transport) = self.transport(&mut warnings)? {
            config.transport = transport;
        }
        Ok((config, warnings))
    }

    /// The first `ecal.yaml` that there is.
    fn find(&self, warnings: &mut Vec<String>) -> Result<Option<(PathBuf, Vec<u8>)>, ConfigError> {
        let mut old = None;
        for folder in self.folders() {
            let path = folder.join("ecal.yaml");
            match (self.read)(&path) {
                Ok(bytes) => return Ok(Some((path, bytes))),
                Err(error) => match error.kind() {
                    ErrorKind::NotFound | ErrorKind::NotADirectory => {}
                    ErrorKind::PermissionDenied => {
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

    fn transport(&self, warnings: &mut Vec<String>) -> Result<Option<Selection>, ConfigError> {
        for key in ["FERROCAL_TRANSPORT", "TRANSPORT"] {
            let Some(value) = self.variable(key) else { continue };
            let value = value.to_string_lossy().into_owned();
            let expected = match value.parse() {
                Ok(transport) => return Ok(Some(transport)),
                Err(ParseSelectionError::NotBuilt { .. }) => BUILT_TRANSPORT,
                Err(_) if key == "TRANSPORT" => {
                    warnings.push(format!(
                        "{key}: `{value}` is not {TRANSPORT} and is ignored, as it may be meant for another \
                         program; FERROCAL_TRANSPORT is meant for this one"
                    ));
                    continue;
                }
                Err(_) => TRANSPORT,
            };
            return Err(ConfigError::Value { key, position: None, value, expected });
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
        };
        machine.load()
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
    fn without_a_file_and_variables_the_defaults_apply() {
        assert_eq!(load(&[], &[]).unwrap().0, Config::default());
    }

    #[test]
    fn the_folders_for_log_files_are_those_of_ecal() {
        let variables = [("ECAL_LOG_DIR", "logs here"), ("ECAL_DATA", "given")];
        for (variables, file, expected) in [
            (
                &variables[..],
                "given/ecal.yaml",
                "logs here, given/logs, given, configured, given/logs, given",
            ),
            (&variables[..1], "ecal.yaml", "logs here, configured, logs, "),
        ] {
            let expected: Vec<_> = expected.split(", ").map(PathBuf::from).collect();
            let text: &[u8] = b"logging: { provider: { file_config: { path: configured } } }";
            assert_eq!(load(variables, &[(file, Some(text))]).unwrap().0.logging.folders, expected);
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

        let error = load(&[("FERROCAL_TRANSPORT", "udp")], &[]).unwrap_err().to_string();
        assert_eq!(error, "FERROCAL_TRANSPORT: `udp` is not one of auto, socket, npcap, file:PATH");
    }
}
