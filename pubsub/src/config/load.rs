//! Reads the environment and eCAL's `ecal.yaml`.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ferrocal_proto::HashVersion;
use saphyr::{LoadableYamlNode, Yaml};

use super::{BUFFER, Config, ConfigError, PORT, TTL};
use crate::{Mode, SendPath};

impl Config {
    /// The settings of this machine: `ecal.yaml`, then the environment variable `TRANSPORT` (`auto`, `socket` or
    /// `npcap`).
    ///
    /// `ecal.yaml` is taken from where eCAL takes it: the folder that the environment variable `ECAL_DATA` names, else
    /// the working directory, else the user's folder (`~/.ecal`; on Windows `%LOCALAPPDATA%\eCAL`), else the system's
    /// (`/etc/ecal`; on Windows `%ProgramData%\eCAL`). It may be absent. Keys of eCAL's other layers are passed over.
    ///
    /// | key in `ecal.yaml` | setting |
    /// | --- | --- |
    /// | `communication_mode` | [`mode`](Config::mode) |
    /// | `transport_layer.udp.{config_version, port, mask, send_buffer, receive_buffer, join_all_interfaces, npcap_enabled}` | [`udp`](Config::udp) |
    /// | `transport_layer.udp.{local, network}.{group, ttl}` | [`udp`](Config::udp) |
    /// | `registration.{registration_refresh, registration_timeout, loopback, shm_transport_domain}` | [`registration`](Config::registration) |
    /// | `registration.{local, network}.udp.port` | [`registration`](Config::registration) |
    /// | `subscriber.drop_out_of_order_messages` | [`subscriber`](Config::subscriber) |
    /// | `ferrocal.{transport, send, interfaces, loopback}` | [`transport`](Config::transport), [`udp`](Config::udp) |
    ///
    /// # Errors
    /// When the file cannot be read, is not YAML, or a value of it or of the environment makes no sense.
    pub fn load() -> Result<Self, ConfigError> {
        Self::load_from(|variable| std::env::var_os(variable))
    }

    fn load_from(environment: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for folder in folders(&environment) {
            let path = folder.join("ecal.yaml");
            match std::fs::read_to_string(&path) {
                Ok(text) => {
                    File::parse(&path, &text)?.apply(&mut config)?;
                    break;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(ConfigError::Read { path, source }),
            }
        }
        if let Some(value) = environment("TRANSPORT") {
            let text = value.to_string_lossy();
            config.transport = text.parse().map_err(|_| ConfigError::Value {
                key: "TRANSPORT",
                origin: None,
                value: text.into_owned(),
                expected: TRANSPORT,
            })?;
        }
        Ok(config)
    }
}

fn folders(environment: &impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let folder = |variable: &str, below: &str| {
        environment(variable).filter(|value| !value.is_empty()).map(|value| Path::new(&value).join(below))
    };
    let (user, system) = if cfg!(windows) {
        (folder("LOCALAPPDATA", "eCAL"), folder("ProgramData", "eCAL"))
    } else {
        (folder("HOME", ".ecal"), Some("/etc/ecal".into()))
    };
    [folder("ECAL_DATA", ""), Some(PathBuf::new()), user, system].into_iter().flatten().collect()
}

const TRANSPORT: &str = "one of auto, socket, npcap, file:PATH";
const ADDRESS: &str = "an IPv4 address";
const BOOL: &str = "true or false";
const MILLISECONDS: &str = "a time in whole milliseconds, 1 or more";

struct File<'a> {
    path: &'a Path,
    root: Option<Yaml<'a>>,
}

impl<'a> File<'a> {
    fn parse(path: &'a Path, text: &'a str) -> Result<Self, ConfigError> {
        let documents = Yaml::load_from_str(text)
            .map_err(|error| ConfigError::Syntax { path: path.into(), message: error.to_string() })?;
        Ok(Self { path, root: documents.into_iter().next() })
    }

    fn apply(&self, config: &mut Config) -> Result<(), ConfigError> {
        let Config { mode, transport, udp, registration, subscriber, .. } = config;
        self.set("communication_mode", "local or network", parse_mode, mode)?;
        self.set("transport_layer.udp.config_version", "v1 or v2", parse_version, &mut udp.hash_version)?;
        self.set("transport_layer.udp.port", PORT, parse_port, &mut udp.port)?;
        self.set("transport_layer.udp.mask", ADDRESS, parse_str, &mut udp.mask)?;
        self.set("transport_layer.udp.send_buffer", BUFFER, parse_len, &mut udp.send_buffer_len)?;
        self.set("transport_layer.udp.receive_buffer", BUFFER, parse_len, &mut udp.receive_buffer_len)?;
        self.set("transport_layer.udp.join_all_interfaces", BOOL, parse_bool, &mut udp.join_all_interfaces)?;
        self.set("transport_layer.udp.npcap_enabled", BOOL, parse_bool, &mut udp.npcap_enabled)?;
        self.set("transport_layer.udp.local.group", ADDRESS, parse_str, &mut udp.local.group)?;
        self.set("transport_layer.udp.local.ttl", TTL, parse_ttl, &mut udp.local.ttl)?;
        self.set("transport_layer.udp.network.group", ADDRESS, parse_str, &mut udp.network.group)?;
        self.set("transport_layer.udp.network.ttl", TTL, parse_ttl, &mut udp.network.ttl)?;
        self.set("registration.registration_refresh", MILLISECONDS, parse_ms, &mut registration.refresh)?;
        self.set("registration.registration_timeout", MILLISECONDS, parse_ms, &mut registration.timeout)?;
        self.set("registration.loopback", BOOL, parse_bool, &mut registration.loopback)?;
        self.set(
            "registration.shm_transport_domain",
            "a text",
            parse_domain,
            &mut registration.shm_transport_domain,
        )?;
        self.set("registration.local.udp.port", PORT, parse_port, &mut registration.local_port)?;
        self.set("registration.network.udp.port", PORT, parse_port, &mut registration.network_port)?;
        self.set(
            "subscriber.drop_out_of_order_messages",
            BOOL,
            parse_bool,
            &mut subscriber.drop_out_of_order,
        )?;
        self.set("ferrocal.transport", TRANSPORT, parse_str, transport)?;
        self.set("ferrocal.send", "socket or raw", parse_send, &mut udp.send)?;
        self.set("ferrocal.interfaces", "a list of IPv4 addresses", parse_addresses, &mut udp.interfaces)?;
        self.set("ferrocal.loopback", BOOL, parse_bool, &mut udp.loopback)
    }

    fn set<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        parse: impl Fn(&Yaml<'_>) -> Option<T>,
        into: &mut T,
    ) -> Result<(), ConfigError> {
        let node = self
            .root
            .as_ref()
            .and_then(|root| key.split('.').try_fold(root, |node, name| node.as_mapping_get(name)))
            .filter(|node| !node.is_null());
        let Some(node) = node else { return Ok(()) };
        *into = parse(node).ok_or_else(|| ConfigError::Value {
            key,
            origin: Some(self.path.into()),
            value: text(node),
            expected,
        })?;
        Ok(())
    }
}

/// The value as it stands in the file, as far as one line can tell.
fn text(node: &Yaml<'_>) -> String {
    if let Some(text) = node.as_str() {
        text.into()
    } else if let Some(number) = node.as_integer() {
        number.to_string()
    } else if let Some(flag) = node.as_bool() {
        flag.to_string()
    } else if let Some(number) = node.as_floating_point() {
        number.to_string()
    } else if let Some(items) = node.as_vec() {
        format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", "))
    } else {
        "a mapping".into()
    }
}

fn parse_str<T: std::str::FromStr>(node: &Yaml<'_>) -> Option<T> {
    node.as_str()?.parse().ok()
}

fn parse_mode(node: &Yaml<'_>) -> Option<Mode> {
    match node.as_str()? {
        "local" => Some(Mode::Local),
        "network" => Some(Mode::Network),
        _ => None,
    }
}

fn parse_version(node: &Yaml<'_>) -> Option<HashVersion> {
    match node.as_str()? {
        "v1" => Some(HashVersion::V1),
        "v2" => Some(HashVersion::V2),
        _ => None,
    }
}

fn parse_send(node: &Yaml<'_>) -> Option<SendPath> {
    match node.as_str()? {
        "socket" => Some(SendPath::Socket),
        "raw" => Some(SendPath::Raw),
        _ => None,
    }
}

fn parse_port(node: &Yaml<'_>) -> Option<u16> {
    u16::try_from(node.as_integer()?).ok().filter(|&port| port != 0)
}

fn parse_ttl(node: &Yaml<'_>) -> Option<u8> {
    u8::try_from(node.as_integer()?).ok().filter(|&ttl| ttl != 0)
}

fn parse_len(node: &Yaml<'_>) -> Option<usize> {
    node.as_integer().filter(|len| (1..=i32::MAX.into()).contains(len)).and_then(|len| len.try_into().ok())
}

fn parse_bool(node: &Yaml<'_>) -> Option<bool> {
    node.as_bool()
}

fn parse_ms(node: &Yaml<'_>) -> Option<Duration> {
    u64::try_from(node.as_integer()?).ok().filter(|&ms| ms != 0).map(Duration::from_millis)
}

/// eCAL takes an empty name as none.
fn parse_domain(node: &Yaml<'_>) -> Option<Option<String>> {
    node.as_str().map(|name| Some(name.to_owned()).filter(|name| !name.is_empty()))
}

fn parse_addresses(node: &Yaml<'_>) -> Option<Vec<Ipv4Addr>> {
    node.as_vec()?.iter().map(parse_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Selection;

    fn from_yaml(text: &str) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        File::parse(Path::new("ecal.yaml"), text)?.apply(&mut config)?;
        Ok(config)
    }

    #[test]
    fn empty_file_changes_nothing() {
        assert_eq!(from_yaml("").unwrap(), Config::default());
        assert_eq!(from_yaml("# nothing\n").unwrap(), Config::default());
        assert_eq!(from_yaml("transport_layer:\n").unwrap(), Config::default());
    }

    #[test]
    fn every_key_is_read() {
        let config = from_yaml(
            "
communication_mode: \"network\"
transport_layer:
  udp:
    config_version: \"v1\"
    port: 15002
    mask: \"0.0.0.255\"
    send_buffer: 1000
    receive_buffer: 2000
    join_all_interfaces: true
    npcap_enabled: true
    local: { group: \"127.1.2.3\", ttl: 2 }
    network: { group: \"239.1.0.1\", ttl: 7 }
registration:
  registration_refresh: 500
  registration_timeout: 3000
  loopback: false
  shm_transport_domain: \"domain\"
  local: { udp: { port: 15000 } }
  network: { udp: { port: 15001 } }
subscriber:
  drop_out_of_order_messages: false
  layer: { shm: { enable: false } }
ferrocal:
  transport: socket
  send: raw
  interfaces: [10.0.0.1, 10.0.0.2]
  loopback: false
",
        )
        .unwrap();
        let udp = &config.udp;
        assert_eq!(config.mode, Mode::Network);
        assert_eq!((config.transport.clone(), udp.send), (Selection::Socket, SendPath::Raw));
        assert!(!config.subscriber.drop_out_of_order);
        assert_eq!((udp.hash_version, udp.port), (HashVersion::V1, 15_002));
        assert_eq!(udp.mask, Ipv4Addr::new(0, 0, 0, 255));
        assert_eq!((udp.send_buffer_len, udp.receive_buffer_len), (1000, 2000));
        assert!(udp.join_all_interfaces && udp.npcap_enabled && !udp.loopback);
        assert_eq!((udp.local.group, udp.local.ttl), (Ipv4Addr::new(127, 1, 2, 3), 2));
        assert_eq!((udp.network.group, udp.network.ttl), (Ipv4Addr::new(239, 1, 0, 1), 7));
        assert_eq!(udp.interfaces, [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)]);
        let registration = &config.registration;
        assert_eq!(registration.refresh, Duration::from_millis(500));
        assert_eq!(registration.timeout, Duration::from_secs(3));
        assert!(!registration.loopback);
        assert_eq!(registration.shm_transport_domain.as_deref(), Some("domain"));
        assert_eq!((registration.local_port, registration.network_port), (15_000, 15_001));
        config.check().unwrap();
    }

    #[test]
    fn bad_values_name_their_key_and_file() {
        for (text, key) in [
            ("communication_mode: both", "communication_mode"),
            ("transport_layer: { udp: { port: 70000 } }", "transport_layer.udp.port"),
            ("transport_layer: { udp: { mask: 12 } }", "transport_layer.udp.mask"),
            ("transport_layer: { udp: { network: { ttl: 0 } } }", "transport_layer.udp.network.ttl"),
            ("registration: { registration_refresh: -1 }", "registration.registration_refresh"),
            ("ferrocal: { transport: pigeon }", "ferrocal.transport"),
            ("ferrocal: { interfaces: [10.0.0.1, x] }", "ferrocal.interfaces"),
        ] {
            let message = from_yaml(text).unwrap_err().to_string();
            assert!(message.starts_with(key) && message.contains("ecal.yaml"), "{message}");
        }
        let error = from_yaml("a: [").unwrap_err();
        assert!(matches!(error, ConfigError::Syntax { .. }), "{error}");
    }

    #[test]
    fn environment_wins_over_file() {
        let folder = std::env::temp_dir().join(format!("ferrocal-config-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("ecal.yaml"), "ferrocal: { transport: socket }").unwrap();
        let load = |transport: Option<&str>| {
            Config::load_from(|variable| match variable {
                "ECAL_DATA" => Some(folder.clone().into()),
                "TRANSPORT" => transport.map(OsString::from),
                _ => None,
            })
        };
        assert_eq!(load(None).unwrap().transport, Selection::Socket);
        assert_eq!(load(Some("npcap")).unwrap().transport, Selection::Npcap);
        let message = load(Some("pigeon")).unwrap_err().to_string();
        assert!(message.starts_with("TRANSPORT: `pigeon`"), "{message}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
