//! The keys of `ecal.yaml`: which there are, and what each of them sets.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use super::check::{AT_LEAST_1, BUFFER, PORT, PRIORITY};
use super::near::nearest;
use super::yaml::{Entry, Node};
use super::{Config, ConfigError, FilePosition, LogLevels, LogSink, value};
use crate::Mode;

pub(super) const TRANSPORT: &str = "one of auto, socket, npcap, file:PATH";
/// For a backend that the program was built without.
pub(super) const BUILT_TRANSPORT: &str =
    "a backend of this program; it was built without the cargo feature `raw` or `replay`";
const ADDRESS: &str = "an IPv4 address";
const BOOL: &str = "true or false";
const MILLISECONDS: &str = "a time in whole milliseconds, 1 or more";
const BYTES: &str = "a number of bytes";
const RATE: &str = "a number of bytes in a second, 1 or more";

/// Keys of eCAL 6 that set nothing here. Known so that a near miss of one is noticed.
const OTHERS: &str = "
    application.sys.filter_excl application.terminal.emulator
    logging.receiver.enable
    publisher.layer.shm.acknowledge_timeout_ms publisher.layer.shm.enable publisher.layer.shm.memfile_buffer_count
    publisher.layer.shm.memfile_min_size_bytes publisher.layer.shm.memfile_reserve_percent
    publisher.layer.shm.zero_copy_mode publisher.layer.tcp.enable publisher.priority_local publisher.priority_network
    registration.local.shm.domain registration.local.shm.queue_size registration.local.transport_type
    registration.network.transport_type
    subscriber.layer.shm.enable subscriber.layer.tcp.enable
    time.replay time.rt
    transport_layer.tcp.max_reconnections transport_layer.tcp.number_executor_reader
    transport_layer.tcp.number_executor_writer transport_layer.udp.max_datagram_size
";
/// A layer that cannot be turned off, because it is the only one.
const LAYERS: [&str; 2] = ["publisher.layer.udp.enable", "subscriber.layer.udp.enable"];
/// Keys of eCAL before 6.0, which eCAL 6 does not read either.
const OLD: [&str; 3] = ["registration.network_enabled", "registration.layer", "transport_layer.udp.mode"];

/// Something in a file that is ignored.
#[derive(Debug)]
pub(super) struct Warning {
    position: FilePosition,
    text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.text)
    }
}

/// Sets what a file says. Returns what it says in vain.
pub(super) fn apply(path: &Path, root: &Node, config: &mut Config) -> Result<Vec<Warning>, ConfigError> {
    let mut file = File { path, root, known: OTHERS.split_whitespace().chain(LAYERS).chain(OLD).collect() };
    file.ecal(config)?;
    file.ferrocal(config)?;
    Ok(file.warnings(config.mode))
}

struct File<'a> {
    path: &'a Path,
    root: &'a Node,
    /// All keys that may stand in it, by their whole paths.
    known: BTreeSet<&'static str>,
}

impl File<'_> {
    fn ecal(&mut self, config: &mut Config) -> Result<(), ConfigError> {
        let Config { mode, udp, registration, subscriber, .. } = config;
        self.set("communication_mode", "local or network", value::mode, mode)?;
        self.set(
            "transport_layer.udp.config_version",
            "v1 or v2",
            value::hash_version,
            &mut udp.hash_version,
        )?;
        self.set("transport_layer.udp.port", PORT, value::port, &mut udp.port)?;
        self.set("transport_layer.udp.mask", ADDRESS, value::optional, &mut udp.mask)?;
        self.set("transport_layer.udp.send_buffer", BUFFER, value::buffer_len, &mut udp.send_buffer_len)?;
        self.set(
            "transport_layer.udp.receive_buffer",
            BUFFER,
            value::buffer_len,
            &mut udp.receive_buffer_len,
        )?;
        self.set("transport_layer.udp.join_all_interfaces", BOOL, value::bool, &mut udp.join_all_interfaces)?;
        self.set("transport_layer.udp.npcap_enabled", BOOL, value::bool, &mut udp.npcap_enabled)?;
        const TTL: &str = "a time to live from 0 to 255";
        self.set("transport_layer.udp.local.group", ADDRESS, value::parse, &mut udp.local.group)?;
        self.set("transport_layer.udp.local.ttl", TTL, value::parse, &mut udp.local.ttl)?;
        self.set("transport_layer.udp.network.group", ADDRESS, value::parse, &mut udp.network.group)?;
        self.set("transport_layer.udp.network.ttl", TTL, value::parse, &mut udp.network.ttl)?;
        let refresh = &mut registration.refresh;
        self.set("registration.registration_refresh", MILLISECONDS, value::milliseconds, refresh)?;
        let timeout = &mut registration.timeout;
        self.set("registration.registration_timeout", MILLISECONDS, value::milliseconds, timeout)?;
        self.set("registration.loopback", BOOL, value::bool, &mut registration.loopback)?;
        let domain = &mut registration.shm_transport_domain;
        self.set("registration.shm_transport_domain", "a text", value::domain, domain)?;
        self.set("registration.local.udp.port", PORT, value::port, &mut registration.local_port)?;
        self.set("registration.network.udp.port", PORT, value::port, &mut registration.network_port)?;
        let drop = &mut subscriber.drop_out_of_order;
        self.set("subscriber.drop_out_of_order_messages", BOOL, value::bool, drop)?;
        self.logging(config)
    }

    fn logging(&mut self, config: &mut Config) -> Result<(), ConfigError> {
        const LEVELS: &str = "a list of info, warning, error, fatal, debug1, debug2, debug3, debug4, all";
        let logging = &mut config.logging;
        for (section, enable, levels, sink) in [
            (
                "logging.provider.console",
                "logging.provider.console.enable",
                "logging.provider.console.log_level",
                &mut logging.console,
            ),
            (
                "logging.provider.file",
                "logging.provider.file.enable",
                "logging.provider.file.log_level",
                &mut logging.file,
            ),
            (
                "logging.provider.udp",
                "logging.provider.udp.enable",
                "logging.provider.udp.log_level",
                &mut logging.udp,
            ),
        ] {
            // As in eCAL 6.1: what is missing in a section that is there is off.
            if self.root.find(section).is_some() {
                *sink = LogSink::new(false, LogLevels::NONE);
            }
            self.set(enable, BOOL, value::bool, &mut sink.enable)?;
            self.set(levels, LEVELS, value::log_levels, &mut sink.levels)?;
        }
        self.set("logging.provider.file_config.path", "a path", value::folder, &mut logging.folders)?;
        self.set("logging.provider.udp_config.port", PORT, value::port, &mut logging.udp_port)?;
        self.set("logging.receiver.udp_config.port", PORT, value::port, &mut logging.receiver_port)?;
        let stream = &mut logging.console_stream;
        self.set("ferrocal.logging.console_stream", "stderr or stdout", value::console_stream, stream)?;
        self.set("ferrocal.logging.queue_len", AT_LEAST_1, value::at_least_1, &mut logging.queue_len)?;
        self.set("ferrocal.logging.queue_bytes", BYTES, value::parse, &mut logging.queue_bytes)
    }

    fn ferrocal(&mut self, config: &mut Config) -> Result<(), ConfigError> {
        let Config { transport, udp, publisher, max_bytes_per_second, subscriber, .. } = config;
        self.set("ferrocal.transport", TRANSPORT, value::parse, transport)?;
        self.set("ferrocal.send", "socket or raw", value::send_path, &mut udp.send)?;
        self.set("ferrocal.interfaces", "a list of IPv4 addresses", value::addresses, &mut udp.interfaces)?;
        self.set("ferrocal.loopback", BOOL, value::bool, &mut udp.loopback)?;
        self.set("ferrocal.max_bytes_per_second", RATE, value::rate, max_bytes_per_second)?;
        let (cut, rate) = (&mut publisher.fragmentation, &mut publisher.max_bytes_per_second);
        self.set("ferrocal.publisher.fragmentation", "auto, large or mtu", value::fragmentation, cut)?;
        self.set("ferrocal.publisher.max_bytes_per_second", RATE, value::rate, rate)?;
        self.set("ferrocal.subscriber.queue_len", AT_LEAST_1, value::at_least_1, &mut subscriber.queue_len)?;
        self.set("ferrocal.subscriber.queue_bytes", BYTES, value::parse, &mut subscriber.queue_bytes)?;
        self.set("ferrocal.subscriber.inline", BOOL, value::bool, &mut subscriber.inline)?;
        self.receive_thread(config)?;
        self.limits(config)
    }

    fn receive_thread(&mut self, config: &mut Config) -> Result<(), ConfigError> {
        const MICROSECONDS: &str = "a time in whole microseconds";
        let thread = &mut config.receive_thread;
        let (busy_poll, cpu) = (&mut thread.busy_poll, &mut thread.cpu);
        self.set("ferrocal.receive_thread.busy_poll_us", MICROSECONDS, value::microseconds, busy_poll)?;
        self.set("ferrocal.receive_thread.cpu", "the number of a processor", value::optional, cpu)?;
        self.set("ferrocal.receive_thread.priority", PRIORITY, value::priority, &mut thread.priority)
    }

    fn limits(&mut self, config: &mut Config) -> Result<(), ConfigError> {
        let limits = &mut config.limits;
        let (messages, packets) = (&mut limits.reassembly, &mut limits.ip_reassembly);
        for (key, into) in [
            ("ferrocal.limits.reassembly.max_message_len", &mut messages.max_message_len),
            ("ferrocal.limits.reassembly.max_bytes_per_sender", &mut messages.max_bytes_per_sender),
            ("ferrocal.limits.reassembly.max_bytes", &mut messages.max_bytes),
            ("ferrocal.limits.reassembly.max_messages_per_sender", &mut messages.max_messages_per_sender),
            ("ferrocal.limits.reassembly.max_messages", &mut messages.max_messages),
            ("ferrocal.limits.ip_reassembly.max_bytes", &mut packets.max_bytes),
            ("ferrocal.limits.ip_reassembly.max_packets", &mut packets.max_packets),
            ("ferrocal.limits.max_peers", &mut limits.max_peers),
            ("ferrocal.limits.max_registry_bytes", &mut limits.max_registry_bytes),
            ("ferrocal.limits.max_publishers_per_subscriber", &mut limits.max_publishers_per_subscriber),
        ] {
            self.set(key, AT_LEAST_1, value::at_least_1, into)?;
        }
        let (messages, packets) = (&mut messages.timeout, &mut packets.timeout);
        self.set("ferrocal.limits.reassembly.timeout_ms", MILLISECONDS, value::milliseconds, messages)?;
        self.set("ferrocal.limits.ip_reassembly.timeout_ms", MILLISECONDS, value::milliseconds, packets)
    }

    fn set<T>(
        &mut self,
        key: &'static str,
        expected: &'static str,
        parse: impl Fn(&Node) -> Option<T>,
        into: &mut T,
    ) -> Result<(), ConfigError> {
        self.known.insert(key);
        let Some(Entry { value, line, .. }) = self.root.find(key) else { return Ok(()) };
        *into = parse(value).ok_or_else(|| ConfigError::Value {
            key,
            position: Some(self.position(*line)),
            value: value.to_string(),
            expected,
        })?;
        Ok(())
    }

    fn position(&self, line: usize) -> FilePosition {
        FilePosition { path: self.path.into(), line }
    }

    fn warnings(&self, mode: Mode) -> Vec<Warning> {
        let mut warnings = Vec::new();
        self.unknown("", self.root, &mut warnings);
        let is_off = |entry: &Entry| value::bool(&entry.value) == Some(false);
        let udp = "UDP is the only layer here: it stays enabled";
        warnings.extend(self.ignored(&LAYERS, is_off, udp));
        let mode = match mode {
            Mode::Local => "they are of a version before eCAL 6.0; `communication_mode` is local",
            Mode::Network => "they are of a version before eCAL 6.0; `communication_mode` is network",
        };
        warnings.extend(self.ignored(&OLD, |_| true, mode));
        warnings
    }

    /// One warning for those of `keys` whose value is such that it does not apply.
    fn ignored(&self, keys: &[&str], applies_not: impl Fn(&Entry) -> bool, why: &str) -> Option<Warning> {
        let found = keys.iter().filter_map(|&key| Some((key, self.root.find(key)?)));
        let found: Vec<_> = found.filter(|(_, entry)| applies_not(entry)).collect();
        let line = found.iter().map(|(_, entry)| entry.line).min()?;
        let keys: Vec<_> = found.iter().map(|(key, _)| format!("`{key}`")).collect();
        Some(Warning {
            position: self.position(line),
            text: format!("{}: ignored, because {why}", keys.join(", ")),
        })
    }

    /// Finds keys that are not known: all below `ferrocal`, elsewhere those that look like a typing error.
    fn unknown(&self, parent: &str, node: &Node, warnings: &mut Vec<Warning>) {
        let siblings: BTreeSet<&str> =
            self.known.iter().filter_map(|path| path.strip_prefix(parent)?.split('.').next()).collect();
        if siblings.is_empty() {
            return; // `parent` is no mapping, or not one that is looked into.
        }
        for Entry { key, line, value } in node.entries() {
            if siblings.contains(&**key) {
                self.unknown(&format!("{parent}{key}."), value, warnings);
                continue;
            }
            let hint = match nearest(key, siblings.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if parent.starts_with("ferrocal.") => {
                    format!("known are {}", siblings.iter().copied().collect::<Vec<_>>().join(", "))
                }
                None => continue,
            };
            let text = format!("`{parent}{key}` is not a setting and is ignored; {hint}");
            warnings.push(Warning { position: self.position(*line), text });
        }
    }
}

#[cfg(test)]
mod tests;
