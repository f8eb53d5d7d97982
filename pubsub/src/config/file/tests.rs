use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::time::Duration;

use ferrocal_proto::{HashVersion, LayerKind};

use super::*;
use crate::{
    ConsoleStream, Fragmentation, LayersConfig, LocalRegistration, LogLevel, LogLevels, LogSink, Selection,
    SendPath, UdpConfig,
};

fn load(text: &str) -> Result<(Config, Vec<String>), ConfigError> {
    let path = Path::new("ecal.yaml");
    let mut config = Config::default();
    let warnings = apply(path, &Node::parse(path, text)?, &mut config, &mut KeyOrigins::new())?;
    Ok((config, warnings))
}

#[test]
fn an_empty_file_changes_nothing() {
    for text in ["", "# nothing\n", "transport_layer:\n", "registration: ~\n"] {
        assert_eq!(load(text).unwrap(), (Config::default(), vec![]), "{text}");
    }
}

#[test]
fn every_key_is_read() {
    let (config, warnings) = load(
        "
communication_mode: \"network\"
transport_layer:
  udp:
    config_version: \"v1\"
    port: 15002
    mask: \"0.0.0.255\"
    send_buffer: 1000
    receive_buffer: 2000
    max_datagram_size: 1472
    join_all_interfaces: true
    npcap_enabled: true
    local: { group: \"127.1.2.3\", ttl: 2 }
    network: { group: \"239.1.0.1\", ttl: 0 }
registration:
  registration_refresh: 500
  registration_timeout: 3000
  loopback: false
  shm_transport_domain: \"domain\"
  local: { udp: { port: 15000 }, transport_type: shm, shm: { domain: mine, queue_size: 26 } }
  network: { udp: { port: 15001 } }
publisher:
  layer:
    shm:
      zero_copy_mode: true
      acknowledge_timeout_ms: 22
      memfile_min_size_bytes: 23
      memfile_reserve_percent: 24
      memfile_buffer_count: 25
subscriber:
  drop_out_of_order_messages: false
  layer: { shm: { enable: false }, udp: { enable: true } }
logging:
  provider:
    console: { enable: false, log_level: [all] }
    file: { enable: true, log_level: [debug1, 'debug2'] }
    file_config: { path: /var/log/mine }
    udp: { enable: false, log_level: [] }
    udp_config: { port: 15003 }
  receiver: { enable: true, udp_config: { port: 15004 } }
ferrocal:
  logging: { console_stream: stdout, queue_len: 16, queue_bytes: 17 }
  transport: socket
  send: raw
  interfaces: [10.0.0.1, 10.0.1.0/24, eth0]
  loopback: false
  max_bytes_per_second: 1
  publisher: { fragmentation: mtu, max_bytes_per_second: 2, tcp_queue_bytes: 18 }
  tcp: { connect_timeout_ms: 19, write_timeout_ms: 20, max_connections: 21 }
  subscriber: { queue_len: 3, queue_bytes: 0, inline: true }
  receive_thread: { busy_poll_us: 20, cpu: 0, priority: 99 }
  allow: { networks: [10.0.0.0/8, 10.1.2.3], host_names: [robot-1, robot-2] }
  limits:
    max_peers: 4
    max_registry_bytes: 5
    max_publishers_per_subscriber: 6
    reassembly:
      max_message_len: 7
      max_bytes_per_sender: 8
      max_bytes: 9
      max_messages_per_sender: 10
      max_messages: 11
      timeout_ms: 12
    ip_reassembly: { max_bytes: 13, max_packets: 14, timeout_ms: 15 }
",
    )
    .unwrap();
    assert_eq!(warnings, [""; 0]);
    assert_eq!((config.mode, config.transport.clone()), (Mode::Network, Selection::Socket));
    let udp = &config.udp;
    assert_eq!((udp.hash_version, udp.port, udp.send), (HashVersion::V1, 15_002, SendPath::Raw));
    assert_eq!(udp.mask, Some(Ipv4Addr::new(0, 0, 0, 255)));
    assert_eq!((udp.send_buffer_len, udp.receive_buffer_len), (1000, 2000));
    assert_eq!(udp.max_datagram_len, 1472);
    assert!(udp.join_all_interfaces && udp.npcap_enabled && !udp.loopback);
    assert_eq!((udp.local.group, udp.local.ttl), (Ipv4Addr::new(127, 1, 2, 3), 2));
    assert_eq!((udp.network.group, udp.network.ttl), (Ipv4Addr::new(239, 1, 0, 1), 0));
    assert_eq!(udp.interfaces, ["10.0.0.1", "10.0.1.0/24", "eth0"].map(|text| text.parse().unwrap()));

    let registration = &config.registration;
    assert_eq!(registration.refresh, Duration::from_millis(500));
    assert_eq!(registration.timeout, Duration::from_secs(3));
    assert!(!registration.loopback);
    assert_eq!(registration.shm_transport_domain.as_deref(), Some("domain"));
    assert_eq!((registration.local_port, registration.network_port), (15_000, 15_001));

    assert_eq!(registration.local_transport, LocalRegistration::Shm);
    assert_eq!((&*registration.local_shm_domain, registration.local_shm_queue_len), ("mine", 26));

    let (publisher, subscriber) = (&config.publisher, &config.subscriber);
    assert_eq!(config.max_bytes_per_second, NonZeroU64::new(1));
    assert_eq!(publisher.max_bytes_per_second, NonZeroU64::new(2));
    assert_eq!((publisher.fragmentation, publisher.tcp_queue_bytes), (Fragmentation::Mtu, 18));
    let shm = &publisher.shm;
    assert_eq!((shm.zero_copy, shm.acknowledge_timeout), (true, Duration::from_millis(22)));
    assert_eq!((shm.min_len, shm.reserve_percent, shm.buffer_count), (23, 24, 25));
    let tcp = &config.tcp;
    assert_eq!(tcp.connect_timeout, Duration::from_millis(19));
    assert_eq!((tcp.write_timeout, tcp.max_connections), (Duration::from_millis(20), 21));
    assert!(!subscriber.drop_out_of_order && subscriber.inline);
    assert_eq!((subscriber.queue_len, subscriber.queue_bytes), (3, 0));

    let levels = LogLevels::NONE.with(LogLevel::Debug1).with(LogLevel::Debug2);
    let logging = &config.logging;
    assert_eq!(logging.console, LogSink::new(false, LogLevels::ALL));
    assert_eq!(logging.file, LogSink::new(true, levels));
    assert_eq!(logging.udp, LogSink::new(false, LogLevels::NONE));
    assert_eq!(logging.folder.as_deref(), Some(Path::new("/var/log/mine")));
    assert_eq!((logging.udp_port, logging.receiver_port), (15_003, 15_004));
    assert_eq!(logging.console_stream, ConsoleStream::Stdout);
    assert_eq!((logging.queue_len, logging.queue_bytes), (16, 17));

    let thread = config.receive_thread;
    assert_eq!(thread.busy_poll, Duration::from_micros(20));
    assert_eq!((thread.cpu, thread.priority), (Some(0), Some(99)));

    assert_eq!(config.allow.networks, ["10.0.0.0/8", "10.1.2.3"].map(|text| text.parse().unwrap()));
    assert_eq!(config.allow.host_names, ["robot-1", "robot-2"]);

    let limits = &config.limits;
    assert_eq!((limits.max_peers, limits.max_registry_bytes), (4, 5));
    assert_eq!(limits.max_publishers_per_subscriber, 6);
    let (messages, packets) = (&limits.reassembly, &limits.ip_reassembly);
    assert_eq!((messages.max_message_len, messages.max_bytes_per_sender, messages.max_bytes), (7, 8, 9));
    assert_eq!((messages.max_messages_per_sender, messages.max_messages), (10, 11));
    assert_eq!((packets.max_bytes, packets.max_packets), (13, 14));
    assert_eq!((messages.timeout, packets.timeout), (Duration::from_millis(12), Duration::from_millis(15)));
    config.check().unwrap();
}

#[test]
fn a_section_of_a_log_sink_has_no_defaults_as_in_ecal() {
    let (config, _) =
        load("logging: { provider: { udp: { log_level: [info] }, console: { enable: true }, file: } }")
            .unwrap();
    assert_eq!(config.logging.udp, LogSink::new(false, LogLevels::NONE.with(LogLevel::Info)));
    assert_eq!(config.logging.console, LogSink::new(true, LogLevels::NONE));
    assert_eq!(config.logging.file, Config::default().logging.file);
}

#[test]
fn quotes_make_no_difference_and_words_are_booleans() {
    let (config, warnings) = load(
        "transport_layer: { udp: { port: \"14003\", send_buffer: '7', join_all_interfaces: \"True\", npcap_enabled: yes } }",
    )
    .unwrap();
    assert_eq!((config.udp.port, config.udp.send_buffer_len), (14_003, 7));
    assert!(config.udp.join_all_interfaces && config.udp.npcap_enabled);
    assert_eq!(warnings, [""; 0]);
}

#[test]
fn bad_values_name_file_line_key_and_what_is_allowed() {
    for (text, message) in [
        ("communication_mode: both", "ecal.yaml:1: communication_mode: `both` is not local or network"),
        (
            "transport_layer:\n  udp:\n    # c\n    port: 70000",
            "ecal.yaml:4: transport_layer.udp.port: `70000` is not a port from 1 to 65535",
        ),
        (
            "transport_layer: { udp: { mask: 12 } }",
            "ecal.yaml:1: transport_layer.udp.mask: `12` is not an IPv4 address",
        ),
        (
            "transport_layer: { udp: { network: { ttl: 256 } } }",
            "ecal.yaml:1: transport_layer.udp.network.ttl: `256` is not a time to live from 0 to 255",
        ),
        (
            "registration: { registration_refresh: -1 }",
            "ecal.yaml:1: registration.registration_refresh: `-1` is not a time in whole milliseconds from 1 to 4294967295",
        ),
        (
            "\nferrocal: { transport: pigeon }",
            "ecal.yaml:2: ferrocal.transport: `pigeon` is not one of auto, socket, npcap, file:PATH, file-fast:PATH",
        ),
        (
            "ferrocal: { interfaces: [10.0.0.1, 10.0.0] }",
            "ecal.yaml:1: ferrocal.interfaces: `[10.0.0.1, 10.0.0]` is not a list of addresses (10.0.0.7), networks \
             (10.0.0.0/24) and names (eth0) of interfaces",
        ),
        (
            "ferrocal: { max_bytes_per_second: 0 }",
            "ecal.yaml:1: ferrocal.max_bytes_per_second: `0` is not a number of bytes in a second, 1 or more",
        ),
        (
            "logging: { provider: { udp: { log_level: [info, warn] } } }",
            "ecal.yaml:1: logging.provider.udp.log_level: `[info, warn]` is not a list of info, warning, error, fatal, \
             debug1, debug2, debug3, debug4, all",
        ),
        (
            "ferrocal: { loopback: { a: b } }",
            "ecal.yaml:1: ferrocal.loopback: `a mapping` is not true or false",
        ),
    ] {
        assert_eq!(load(text).unwrap_err().to_string(), message);
    }
    let error = load("a: b\nc: ]\nd: e").unwrap_err().to_string();
    assert!(error.starts_with("ecal.yaml:2: not valid YAML: "), "{error}");
}

/// What nobody can read, and no terminal is to be filled with.
#[test]
fn what_a_file_says_wrong_is_cut() {
    let (long, cut) = ("ä".repeat(100_000), "ä".repeat(120));
    for (text, key, expected) in [
        (format!("communication_mode: {long}"), "communication_mode", "local or network"),
        (format!("transport_layer: {long}"), "transport_layer", "a section of keys"),
        (format!("time: {{ rt: [{long}] }}"), "time.rt", "a text"),
    ] {
        let message = load(&text).unwrap_err().to_string();
        let cut = if key == "time.rt" { format!("[{}", "ä".repeat(119)) } else { cut.clone() };
        assert_eq!(message, format!("ecal.yaml:1: {key}: `{cut}...` is not {expected}"));
    }
    let (_, warnings) = load(&format!("ferrocal: {{ {long}: 1, \"a\\e[2J\": 2 }}")).unwrap();
    assert!(warnings[0].starts_with(&format!("ecal.yaml:1: `ferrocal.{cut}...` is not a setting and is ")));
    assert!(warnings[1].starts_with("ecal.yaml:1: `ferrocal.a\\u{1b}[2J` is not a setting and is "));
}

#[test]
fn a_file_has_a_bounded_number_of_warnings() {
    let keys = |count| (0..count).map(|n| format!("key{n}: {n}\n")).collect::<String>();
    assert_eq!(load(&keys(32)).unwrap().1.len(), 32);
    // Those of a section count, too.
    let (_, warnings) = load(&format!("{}ferrocal: {{ mine: 1, port: 2 }}\n", keys(10_000))).unwrap();
    assert_eq!(warnings.len(), 33);
    assert!(warnings[31].starts_with("ecal.yaml:32: `key31` is not a setting"), "{}", warnings[31]);
    assert_eq!(warnings[32], "ecal.yaml: and 9970 more warnings");
}

#[test]
fn unknown_keys_of_ours_are_reported() {
    let (config, warnings) = load("ferrocal:\n  transprot: socket\n  limits:\n    colour: 1\n").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(
        warnings,
        [
            "ecal.yaml:2: `ferrocal.transprot` is not a setting and is ignored; did you mean `transport`?",
            "ecal.yaml:4: `ferrocal.limits.colour` is not a setting and is ignored; known are ip_reassembly, max_peers, \
             max_publishers_per_subscriber, max_registry_bytes, reassembly, service",
        ]
    );
}

#[test]
fn unknown_keys_of_ecal_are_reported() {
    let (_, warnings) = load(
        "
tranport_layer: { udp: { port: 1 } }
transport_layer: { udp: { recieve_buffer: 1, mine: 2, PORT: 3, <<: 4 } }
publisher: { layer: { shm: { enabled: true } } }
ferocal: { transport: socket }
my_own: { port: 1 }
udp: 1
subscriber: { dropt_out_of_order_messages: true }
",
    )
    .unwrap();
    let said: Vec<(usize, Vec<&str>, bool)> = warnings
        .iter()
        .map(|warning| {
            let line = warning.split(':').nth(1).unwrap().parse().unwrap();
            let named = warning.split('`').skip(1).step_by(2).collect();
            (line, named, warning.contains("is not a setting and is ignored; "))
        })
        .collect();
    assert_eq!(
        said,
        [
            (2, vec!["tranport_layer", "transport_layer"], true),
            (3, vec!["transport_layer.udp.recieve_buffer", "receive_buffer"], true),
            (3, vec!["transport_layer.udp.mine"], true),
            (3, vec!["transport_layer.udp.PORT", "port"], true),
            (3, vec!["transport_layer.udp.<<"], true),
            (4, vec!["publisher.layer.shm.enabled", "enable"], true),
            (5, vec!["ferocal", "ferrocal"], true),
            (6, vec!["my_own"], true),
            (7, vec!["udp"], true),
            (8, vec!["subscriber.dropt_out_of_order_messages", "drop_out_of_order_messages"], true),
        ]
    );
    assert!(warnings[7].ends_with("registration, subscriber, time, transport_layer"), "{warnings:?}");
}

#[test]
fn the_first_of_two_counts() {
    let (config, warnings) = load(
        "transport_layer:\n  udp: { port: 1, port: 2 }\ntransport_layer:\n  udp: { port: 3, send_buffer: 4 }\ntransport_layer:\n",
    )
    .unwrap();
    assert_eq!((config.udp.port, config.udp.send_buffer_len), (1, UdpConfig::default().send_buffer_len));
    assert_eq!(
        warnings,
        [
            "ecal.yaml:2: `transport_layer.udp.port` is ignored, because line 2 has it already",
            "ecal.yaml:3: `transport_layer` is ignored, because line 1 has it already",
            "ecal.yaml:5: `transport_layer` is ignored, because line 1 has it already",
        ]
    );
}

/// What eCAL refuses, too, though it then goes on with its defaults.
#[test]
fn wrong_types_are_errors_in_every_key() {
    for (text, message) in [
        ("- a", "ecal.yaml:1: not valid YAML: the file is to hold keys with values"),
        ("text", "ecal.yaml:1: not valid YAML: the file is to hold keys with values"),
        ("\ntransport_layer: yes", "ecal.yaml:2: transport_layer: `yes` is not a section of keys"),
        ("publisher: { layer: [shm] }", "ecal.yaml:1: publisher.layer: `[shm]` is not a section of keys"),
        (
            "publisher: { layer: { shm: { enable: 1 } } }",
            "ecal.yaml:1: publisher.layer.shm.enable: `1` is not true or false",
        ),
        (
            "transport_layer: { tcp: { max_reconnections: many } }",
            "ecal.yaml:1: transport_layer.tcp.max_reconnections: `many` is not a whole number",
        ),
        ("time: { rt: [a] }", "ecal.yaml:1: time.rt: `[a]` is not a text"),
        (
            "publisher: { priority_local: udp }",
            "ecal.yaml:1: publisher.priority_local: `udp` is not a list of shm, udp, tcp",
        ),
        (
            "registration: { local: { transport_type: tcp } }",
            "ecal.yaml:1: registration.local.transport_type: `tcp` is not udp or shm",
        ),
    ] {
        assert_eq!(load(text).unwrap_err().to_string(), message);
    }
    // Nothing else of one name is taken, whatever the key.
    for name in names().filter(|name| !OLD.contains(name)) {
        let sections = name.split('.').count();
        let text = format!("{}: {{ a: b }}{}", name.replace('.', ": { "), " }".repeat(sections - 1));
        let message = load(&text).unwrap_err().to_string();
        assert!(message.starts_with(&format!("ecal.yaml:1: {name}: `a mapping` is not ")), "{message}");
    }
}

#[test]
fn files_of_real_ecal_load_without_a_warning() {
    for (name, text) in [
        ("generated", include_str!("ecal-6.1.yaml")),
        ("network", include_str!("ecal-6.1-network.yaml")),
        ("short", include_str!("ecal-6.1-short.yaml")),
        ("next", include_str!("ecal-6.2.yaml")),
    ] {
        let (config, warnings) = load(text).unwrap();
        assert_eq!(warnings, [""; 0], "{name}");
        config.check().unwrap();
        // They spell the mask out, and eCAL's buffer, which is smaller.
        let UdpConfig { mask, receive_buffer_len, .. } = config.udp;
        let mut like_default =
            Config::default().udp(UdpConfig::default().mask(mask).receive_buffer_len(receive_buffer_len));
        // They have it on.
        (like_default.publisher.layers.shm, like_default.subscriber.layers.shm) = (true, true);
        assert_eq!(config == like_default, name == "generated", "{name}");
    }
}

#[test]
fn layers_and_their_order_are_those_of_the_file() {
    use LayerKind::{SharedMemory, Tcp, UdpMulticast};

    let (config, warnings) = load(
        "
subscriber: { layer: { shm: { enable: false }, tcp: { enable: true } } }
publisher:
  layer: { udp: { enable: no } }
  priority_local: [tcp, \"shm\"]
  priority_network: []
",
    )
    .unwrap();
    assert_eq!(warnings, [""; 0]);
    config.check().unwrap();
    let LayersConfig { shm, udp, tcp } = config.publisher.layers;
    assert_eq!((shm, udp, tcp), (false, false, true));
    let LayersConfig { shm, udp, tcp } = config.subscriber.layers;
    assert_eq!((shm, udp, tcp), (false, true, true));
    assert_eq!(config.publisher.priority_local, [Tcp, SharedMemory]);
    assert_eq!(config.publisher.priority_network, []);

    let default = Config::default();
    assert_eq!(default.publisher.priority_local, [SharedMemory, UdpMulticast, Tcp]);
    assert_eq!(default.publisher.priority_network, [UdpMulticast, Tcp]);
}

#[test]
fn settings_that_do_not_apply_are_reported_once() {
    let shm = "registration: { local: { transport_type: shm } }";
    let warnings = load(shm).unwrap().1;
    assert_eq!(warnings.is_empty(), ferrocal_shm::is_available(), "{warnings:?}");
    assert_eq!(load(&format!("{shm}\ncommunication_mode: network")).unwrap().1, [""; 0]);

    let (config, warnings) = load(
        "
registration:
  network_enabled: true
  layer: { udp: { enable: true, port: 14020 } }
transport_layer: { udp: { mode: network, port: 14022 } }
",
    )
    .unwrap();
    assert_eq!((config.mode, config.udp.port), (Mode::Local, 14_022));
    assert_eq!(
        warnings,
        [
            "ecal.yaml:3: `registration.layer`, `registration.network_enabled`, `transport_layer.udp.mode`: ignored, \
          because they are of a version before eCAL 6.0; `communication_mode` is local"
        ]
    );
}
