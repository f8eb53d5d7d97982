//! The keys of `ecal.yaml`: which there are, and what each of them sets.

use super::Config;
use super::kind::{self, *};
use super::yaml::Node;

/// A key that sets a field of [`Config`].
pub(super) struct Key {
    pub(super) name: &'static str,
    /// The field, from [`Config`] on.
    #[cfg(test)]
    pub(super) field: &'static str,
    /// What is allowed, in words.
    pub(super) expected: &'static str,
    /// Sets the field, if the value is allowed.
    pub(super) read: fn(&Node, &mut Config) -> Option<()>,
    /// Whether the field's value is allowed.
    pub(super) is_allowed: fn(&Config) -> bool,
    pub(super) show: fn(&Config) -> String,
}

macro_rules! keys {
    ($($name:literal: $kind:ident => $($field:ident).+;)+) => {
        &[$(Key {
            name: $name,
            #[cfg(test)]
            field: stringify!($($field).+),
            expected: $kind.expected,
            read: |node, config| {
                config.$($field).+ = ($kind.read)(node).filter($kind.is_allowed)?;
                Some(())
            },
            is_allowed: |config| ($kind.is_allowed)(&config.$($field).+),
            show: |config| ($kind.show)(&config.$($field).+),
        }),+]
    };
}

/// All of them.
pub(super) const KEYS: &[Key] = keys! {
    "communication_mode": MODE => mode;
    "transport_layer.udp.config_version": HASH_VERSION => udp.hash_version;
    "transport_layer.udp.port": PORT => udp.port;
    "transport_layer.udp.mask": MASK => udp.mask;
    "transport_layer.udp.send_buffer": BUFFER => udp.send_buffer_len;
    "transport_layer.udp.receive_buffer": BUFFER => udp.receive_buffer_len;
    "transport_layer.udp.max_datagram_size": DATAGRAM => udp.max_datagram_len;
    "transport_layer.udp.join_all_interfaces": BOOL => udp.join_all_interfaces;
    "transport_layer.udp.npcap_enabled": BOOL => udp.npcap_enabled;
    "transport_layer.udp.local.group": LOOPBACK => udp.local.group;
    "transport_layer.udp.local.ttl": TTL => udp.local.ttl;
    "transport_layer.udp.network.group": MULTICAST => udp.network.group;
    "transport_layer.udp.network.ttl": TTL => udp.network.ttl;
    "registration.registration_refresh": MILLISECONDS => registration.refresh;
    "registration.registration_timeout": MILLISECONDS => registration.timeout;
    "registration.loopback": BOOL => registration.loopback;
    "registration.shm_transport_domain": DOMAIN => registration.shm_transport_domain;
    "registration.local.udp.port": PORT => registration.local_port;
    "registration.local.transport_type": LOCAL_REGISTRATION => registration.local_transport;
    "registration.local.shm.domain": FILE_NAME => registration.local_shm_domain;
    "registration.local.shm.queue_size": AT_LEAST_1 => registration.local_shm_queue_len;
    "registration.network.udp.port": PORT => registration.network_port;
    "publisher.layer.shm.enable": BOOL => publisher.layers.shm;
    "publisher.layer.shm.zero_copy_mode": BOOL => publisher.shm.zero_copy;
    "publisher.layer.shm.acknowledge_timeout_ms": MILLISECONDS_OR_0 => publisher.shm.acknowledge_timeout;
    "publisher.layer.shm.memfile_min_size_bytes": BYTES => publisher.shm.min_len;
    "publisher.layer.shm.memfile_reserve_percent": PERCENT => publisher.shm.reserve_percent;
    "publisher.layer.shm.memfile_buffer_count": BUFFERS => publisher.shm.buffer_count;
    "publisher.layer.udp.enable": BOOL => publisher.layers.udp;
    "publisher.layer.tcp.enable": BOOL => publisher.layers.tcp;
    "publisher.priority_local": LAYERS => publisher.priority_local;
    "publisher.priority_network": LAYERS => publisher.priority_network;
    "subscriber.layer.shm.enable": BOOL => subscriber.layers.shm;
    "subscriber.layer.udp.enable": BOOL => subscriber.layers.udp;
    "subscriber.layer.tcp.enable": BOOL => subscriber.layers.tcp;
    "subscriber.drop_out_of_order_messages": BOOL => subscriber.drop_out_of_order;
    "logging.provider.console.enable": BOOL => logging.console.enable;
    "logging.provider.console.log_level": LEVELS => logging.console.levels;
    "logging.provider.file.enable": BOOL => logging.file.enable;
    "logging.provider.file.log_level": LEVELS => logging.file.levels;
    "logging.provider.file_config.path": FOLDER => logging.folder;
    "logging.provider.udp.enable": BOOL => logging.udp.enable;
    "logging.provider.udp.log_level": LEVELS => logging.udp.levels;
    "logging.provider.udp_config.port": PORT => logging.udp_port;
    "logging.receiver.udp_config.port": PORT => logging.receiver_port;
    "ferrocal.transport": TRANSPORT => transport;
    "ferrocal.send": SEND_PATH => udp.send;
    "ferrocal.interfaces": INTERFACES => udp.interfaces;
    "ferrocal.loopback": BOOL => udp.loopback;
    "ferrocal.max_bytes_per_second": RATE => max_bytes_per_second;
    "ferrocal.publisher.fragmentation": FRAGMENTATION => publisher.fragmentation;
    "ferrocal.publisher.max_bytes_per_second": RATE => publisher.max_bytes_per_second;
    "ferrocal.publisher.tcp_queue_bytes": BYTES => publisher.tcp_queue_bytes;
    "ferrocal.subscriber.queue_len": AT_LEAST_1 => subscriber.queue_len;
    "ferrocal.subscriber.queue_bytes": BYTES => subscriber.queue_bytes;
    "ferrocal.subscriber.inline": BOOL => subscriber.inline;
    "ferrocal.logging.console_stream": CONSOLE_STREAM => logging.console_stream;
    "ferrocal.logging.queue_len": AT_LEAST_1 => logging.queue_len;
    "ferrocal.logging.queue_bytes": BYTES => logging.queue_bytes;
    "ferrocal.receive_thread.busy_poll_us": MICROSECONDS => receive_thread.busy_poll;
    "ferrocal.receive_thread.cpu": CPU => receive_thread.cpu;
    "ferrocal.receive_thread.priority": PRIORITY => receive_thread.priority;
    "ferrocal.tcp.connect_timeout_ms": MILLISECONDS => tcp.connect_timeout;
    "ferrocal.tcp.write_timeout_ms": MILLISECONDS => tcp.write_timeout;
    "ferrocal.tcp.max_connections": AT_LEAST_1 => tcp.max_connections;
    "ferrocal.allow.networks": NETWORKS => allow.networks;
    "ferrocal.allow.host_names": NAMES => allow.host_names;
    "ferrocal.limits.max_peers": AT_LEAST_1 => limits.max_peers;
    "ferrocal.limits.max_registry_bytes": AT_LEAST_1 => limits.max_registry_bytes;
    "ferrocal.limits.max_publishers_per_subscriber": AT_LEAST_1 => limits.max_publishers_per_subscriber;
    "ferrocal.limits.reassembly.max_message_len": MESSAGE => limits.reassembly.max_message_len;
    "ferrocal.limits.reassembly.max_bytes_per_sender": AT_LEAST_1 => limits.reassembly.max_bytes_per_sender;
    "ferrocal.limits.reassembly.max_bytes": AT_LEAST_1 => limits.reassembly.max_bytes;
    "ferrocal.limits.reassembly.max_messages_per_sender": AT_LEAST_1 => limits.reassembly.max_messages_per_sender;
    "ferrocal.limits.reassembly.max_messages": AT_LEAST_1 => limits.reassembly.max_messages;
    "ferrocal.limits.reassembly.timeout_ms": MILLISECONDS => limits.reassembly.timeout;
    "ferrocal.limits.ip_reassembly.max_bytes": AT_LEAST_1 => limits.ip_reassembly.max_bytes;
    "ferrocal.limits.ip_reassembly.max_packets": AT_LEAST_1 => limits.ip_reassembly.max_packets;
    "ferrocal.limits.ip_reassembly.timeout_ms": MILLISECONDS => limits.ip_reassembly.timeout;
    "ferrocal.limits.service.max_message_len": MESSAGE => limits.service.max_message_len;
    "ferrocal.limits.service.max_bytes": AT_LEAST_1 => limits.service.max_bytes;
    "ferrocal.limits.service.max_connections": AT_LEAST_1 => limits.service.max_connections;
    "ferrocal.limits.service.timeout_ms": MILLISECONDS => limits.service.timeout;
};

/// Keys of eCAL 6 that set nothing here, of one type.
pub(super) struct Others {
    pub(super) names: &'static [&'static str],
    /// What eCAL takes, in words. It refuses a whole file for one value that it cannot read.
    pub(super) expected: &'static str,
    pub(super) is_allowed: fn(&Node) -> bool,
}

pub(super) const OTHERS: [Others; 3] = [
    Others {
        names: &["logging.receiver.enable"],
        expected: BOOL.expected,
        is_allowed: |node| (BOOL.read)(node).is_some(),
    },
    Others {
        names: &[
            "transport_layer.tcp.max_reconnections",
            "transport_layer.tcp.number_executor_reader",
            "transport_layer.tcp.number_executor_writer",
        ],
        expected: "a whole number",
        is_allowed: |node| kind::whole::<u64>(node).is_some(),
    },
    Others {
        names: &[
            "application.sys.filter_excl",
            "application.terminal.emulator",
            "registration.network.transport_mode",
            "registration.network.transport_type",
            "time.replay",
            "time.rt",
        ],
        expected: "a text",
        is_allowed: |node| kind::text(node).is_some(),
    },
];

/// Keys of eCAL before 6.0, which eCAL 6 does not read either.
pub(super) const OLD: [&str; 3] =
    ["registration.network_enabled", "registration.layer", "transport_layer.udp.mode"];

/// The names of all keys that may stand in a file.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let others = OTHERS.iter().flat_map(|others| others.names.iter().copied());
    KEYS.iter().map(|key| key.name).chain(others).chain(OLD)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use super::*;

    #[test]
    fn every_key_has_a_name_and_a_field_of_its_own() {
        assert_eq!(names().collect::<BTreeSet<_>>().len(), names().count());
        assert_eq!(KEYS.iter().map(|key| key.field).collect::<BTreeSet<_>>().len(), KEYS.len());
    }

    #[test]
    fn the_documentation_lists_every_key() {
        let mut table =
            "| key | what is allowed | default | field of `Config` |\n| --- | --- | --- | --- |\n".to_owned();
        for Key { name, field, expected, show, .. } in KEYS {
            let default = show(&Config::default());
            writeln!(table, "| `{name}` | {expected} | {default} | `{field}` |").unwrap();
        }
        let written = include_str!("keys.md").replace("\r\n", "\n");
        assert!(written == table, "keys.md is to be:\n{table}");
    }
}
