use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::time::Duration;

use ferrocal_proto::HashVersion;

use super::*;
use crate::{ConsoleStream, Fragmentation, LogLevel, LogLevels, LogSink, Selection, SendPath};

fn load(text: &str) -> Result<(Config, Vec<String>), ConfigError> {
    let path = Path::new("ecal.yaml");
    let mut config = Config::default();
    let warnings = apply(path, &Node::parse(path, text)?, &mut config)?;
    Ok((config, warnings.iter().map(ToString::to_string).collect()))
}

#[test]
fn an_empty_file_changes_nothing() {
    for text in ["", "# nothing\n", "transport_layer:\n", "- a\n- list\n", "text"] {
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
    max_datagram_size: 65507
    join_all_interfaces: true
    npcap_enabled: true
    local: { group: \"127.1.2.3\", ttl: 2 }
    network: { group: \"239.1.0.1\", ttl: 0 }
registration:
  registration_refresh: 500
  registration_timeout: 3000
  loopback: false
  shm_transport_domain: \"domain\"
  local: { udp: { port: 15000 } }
  network: { udp: { port: 15001 } }
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
  interfaces: [10.0.0.1, 10.0.0.2]
  loopback: false
  max_bytes_per_second: 1
  publisher: { fragmentation: mtu, max_bytes_per_second: 2 }
  subscriber: { queue_len: 3, queue_bytes: 0, inline: true }
  receive_thread: { busy_poll_us: 20, cpu: 0, priority: 99 }
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
    assert!(udp.join_all_interfaces && udp.npcap_enabled && !udp.loopback);
    assert_eq!((udp.local.group, udp.local.ttl), (Ipv4Addr::new(127, 1, 2, 3), 2));
    assert_eq!((udp.network.group, udp.network.ttl), (Ipv4Addr::new(239, 1, 0, 1), 0));
    assert_eq!(udp.interfaces, [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)]);

    let registration = &config.registration;
    assert_eq!(registration.refresh, Duration::from_millis(500));
    assert_eq!(registration.timeout, Duration::from_secs(3));
    assert!(!registration.loopback);
    assert_eq!(registration.shm_transport_domain.as_deref(), Some("domain"));
    assert_eq!((registration.local_port, registration.network_port), (15_000, 15_001));

    let (publisher, subscriber) = (&config.publisher, &config.subscriber);
    assert_eq!(config.max_bytes_per_second, NonZeroU64::new(1));
    assert_eq!(publisher.max_bytes_per_second, NonZeroU64::new(2));
    assert_eq!(publisher.fragmentation, Fragmentation::Mtu);
    assert!(!subscriber.drop_out_of_order && subscriber.inline);
    assert_eq!((subscriber.queue_len, subscriber.queue_bytes), (3, 0));

    let levels = LogLevels::NONE.with(LogLevel::Debug1).with(LogLevel::Debug2);
    let logging = &config.logging;
    assert_eq!(logging.console, LogSink::new(false, LogLevels::ALL));
    assert_eq!(logging.file, LogSink::new(true, levels));
    assert_eq!(logging.udp, LogSink::new(false, LogLevels::NONE));
    assert_eq!(logging.folders, [Path::new("/var/log/mine")]);
    assert_eq!((logging.udp_port, logging.receiver_port), (15_003, 15_004));
    assert_eq!(logging.console_stream, ConsoleStream::Stdout);
    assert_eq!((logging.queue_len, logging.queue_bytes), (16, 17));

    let thread = config.receive_thread;
    assert_eq!(thread.busy_poll, Duration::from_micros(20));
    assert_eq!((thread.cpu, thread.priority), (Some(0), Some(99)));

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
            "ecal.yaml:1: registration.registration_refresh: `-1` is not a time in whole milliseconds, 1 or more",
        ),
        (
            "\nferrocal: { transport: pigeon }",
            "ecal.yaml:2: ferrocal.transport: `pigeon` is not one of auto, socket, npcap, file:PATH",
        ),
        (
            "ferrocal: { interfaces: [10.0.0.1, x] }",
            "ecal.yaml:1: ferrocal.interfaces: `[10.0.0.1, x]` is not a list of IPv4 addresses",
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

#[test]
fn unknown_keys_of_ours_are_reported() {
    let (config, warnings) = load("ferrocal:\n  transprot: socket\n  limits:\n    colour: 1\n").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(
        warnings,
        [
            "ecal.yaml:2: `ferrocal.transprot` is not a setting and is ignored; did you mean `transport`?",
            "ecal.yaml:4: `ferrocal.limits.colour` is not a setting and is ignored; known are ip_reassembly, max_peers, \
             max_publishers_per_subscriber, max_registry_bytes, reassembly",
        ]
    );
}

#[test]
fn near_misses_are_reported_and_strange_keys_are_not() {
    let (_, warnings) = load(
        "
tranport_layer: { udp: { port: 1 } }
transport_layer: { udp: { recieve_buffer: 1, mine: 2 } }
publisher: { layer: { shm: { enabled: true } } }
ferocal: { transport: socket }
my_own: { port: 1 }
udp: 1
",
    )
    .unwrap();
    let named: Vec<_> =
        warnings.iter().map(|warning| warning.split('`').skip(1).step_by(2).collect()).collect();
    let named: Vec<(usize, Vec<&str>)> = warnings
        .iter()
        .map(|warning| warning.split(':').nth(1).unwrap().parse().unwrap())
        .zip(named)
        .collect();
    assert_eq!(
        named,
        [
            (2, vec!["tranport_layer", "transport_layer"]),
            (3, vec!["transport_layer.udp.recieve_buffer", "receive_buffer"]),
            (4, vec!["publisher.layer.shm.enabled", "enable"]),
            (5, vec!["ferocal", "ferrocal"]),
        ]
    );
}

#[test]
fn settings_that_do_not_apply_are_reported_once() {
    let (config, warnings) = load(
        "
subscriber: { layer: { shm: { enable: true }, udp: { enable: false } } }
publisher: { layer: { udp: { enable: no } } }
",
    )
    .unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(
        warnings,
        [
            "ecal.yaml:2: `publisher.layer.udp.enable`, `subscriber.layer.udp.enable`: ignored, because UDP is the only \
          layer here: it stays enabled"
        ]
    );

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
            "ecal.yaml:3: `registration.network_enabled`, `registration.layer`, `transport_layer.udp.mode`: ignored, \
          because they are of a version before eCAL 6.0; `communication_mode` is local"
        ]
    );
}
