//! A network that does not change, for tests.

use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use ferrocal::{
    DataType, EntityId, LatencyInfo, Layer, LayerKind, LayerParameters, LogLevel, LogMessage, MethodInfo,
    ProcessInfo, ProcessState, ServiceInfo, Severity, SubscriberStats, TopicInfo,
};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::data::Registered;
use super::details::Arrived;
use super::look::Look;
use super::message;
use super::model::{Action, Model};
use super::tabs::Fact;

pub(super) const COLOUR: Look = Look { has_colour: true, is_unicode: true };
pub(super) const ASCII: Look = Look { has_colour: false, is_unicode: false };

/// 2026-11-26T10:51:03.000250Z, in microseconds.
const NOW_US: i64 = 1_795_690_263_000_250;

struct Peer {
    topic: &'static str,
    host: &'static str,
    pid: i32,
    unit: &'static str,
    hz: f64,
    size: i32,
}

impl Peer {
    fn info(&self, number: u64) -> TopicInfo {
        let &Self { topic, host, pid, unit, hz, size } = self;
        let layer = |kind, active| Layer {
            kind,
            version: 1,
            enabled: true,
            active,
            parameters: LayerParameters::default(),
        };
        TopicInfo {
            host_name: host.into(),
            process_id: pid,
            unit_name: unit.into(),
            process_name: format!("/usr/bin/{unit}").into(),
            topic_id: EntityId::from_wire(number.to_string()),
            topic_name: topic.into(),
            data_type: DataType {
                name: "robots.Robot".into(),
                encoding: "proto".into(),
                ..DataType::default()
            },
            layers: vec![layer(LayerKind::UdpMulticast, true), layer(LayerKind::SharedMemory, false)],
            topic_size: size,
            connections_local: 1,
            data_clock: (hz * 60.0) as i64,
            data_frequency_mhz: (hz * 1000.0) as i32,
            ..TopicInfo::default()
        }
    }
}

/// The network at a time, in seconds since it began. The robot speeds up.
fn registered(second: u32) -> Registered {
    let speed = f64::from(second % 10 + 1);
    let publishers = [
        Peer { topic: "robot", host: "atlas", pid: 4711, unit: "robot", hz: 10.0 * speed, size: 48 },
        Peer { topic: "camera/front", host: "atlas", pid: 4712, unit: "camera", hz: 30.0, size: 1_200_000 },
        Peer { topic: "hello", host: "beta", pid: 99, unit: "greeter", hz: 0.5, size: 11 },
        Peer {
            topic: "a/very/long/name/of/a/topic/that/does/not/fit",
            host: "beta",
            pid: 99,
            unit: "greeter",
            hz: 0.0,
            size: 0,
        },
    ];
    let subscribers = [
        Peer { topic: "robot", host: "beta", pid: 100, unit: "display", hz: 9.8 * speed, size: 48 },
        Peer { topic: "camera/front", host: "beta", pid: 100, unit: "display", hz: 28.1, size: 1_200_000 },
    ];
    let lossy = |number: usize, mut info: TopicInfo| {
        info.message_drops = if number == 1 { 3 + second as i32 } else { 0 };
        info.latency = Some(LatencyInfo {
            count: 600,
            latest_us: 350.0,
            min_us: 90.0,
            max_us: 12_500.0,
            mean_us: 310.0,
            sum_of_squares_us2: 0.0,
        });
        Arc::new(info)
    };
    let process = |host: &str, pid, unit: &str, severity, info: &str| {
        Arc::new(ProcessInfo {
            host_name: host.into(),
            process_id: pid,
            process_name: format!("/usr/bin/{unit}").into(),
            unit_name: unit.into(),
            process_parameter: format!("/usr/bin/{unit} --fast --config /etc/robot/settings.yaml").into(),
            state: ProcessState { severity, severity_level: 1, info: info.into() },
            runtime_version: "6.1.1".into(),
            ..ProcessInfo::default()
        })
    };
    let service = |unit: &str, pid, port, methods| {
        Arc::new(ServiceInfo {
            host_name: "atlas".into(),
            process_id: pid,
            unit_name: unit.into(),
            service_id: EntityId::from_wire(pid.to_string()),
            service_name: "motion".into(),
            methods,
            tcp_port_v1: port,
            ..ServiceInfo::default()
        })
    };
    let named = |name: &str| DataType { name: name.into(), ..DataType::default() };
    let method = |name: &str, call_count| MethodInfo {
        name: name.into(),
        request: named("robots.Goal"),
        response: named("robots.Result"),
        call_count,
    };
    let numbered = |first: u64| move |(number, peer): (usize, &Peer)| peer.info(first + number as u64);
    Registered {
        processes: vec![
            process("atlas", 4711, "robot", Severity::Healthy, ""),
            process("atlas", 4712, "camera", Severity::Warning, "lens is dirty"),
            process("beta", 99, "greeter", Severity::Unknown, ""),
            process("beta", 100, "display", Severity::Critical, "no GPU"),
        ],
        publishers: publishers.iter().enumerate().map(numbered(1)).map(Arc::new).collect(),
        subscribers: subscribers
            .iter()
            .enumerate()
            .map(numbered(11))
            .enumerate()
            .map(|(number, info)| lossy(number, info))
            .collect(),
        servers: vec![service("robot", 4711, 5001, vec![method("move", 7), method("stop", 0)])],
        clients: vec![service("display", 100, 0, Vec::new())],
    }
}

/// A model that has seen the network for so many seconds.
pub(super) fn model(look: Look, seconds: u32) -> Model {
    let mut model = Model::new(look, "network");
    let start = Instant::now();
    for second in 0..seconds {
        update(&mut model, start, second);
    }
    let line = |number: i64| LogMessage {
        time_us: NOW_US + number * 1_500_000,
        host_name: "atlas".into(),
        process_id: 4712,
        process_name: "/usr/bin/camera".into(),
        unit_name: "camera".into(),
        level: [LogLevel::Info, LogLevel::Warning, LogLevel::Error, LogLevel::Debug1][number as usize % 4],
        content: format!(
            "frame {number} is late, by more than the shutter time and the time to read the sensor"
        ),
    };
    model.log((0..30).map(line));
    model
}

/// Shows a model the network of a second.
pub(super) fn update(model: &mut Model, start: Instant, second: u32) {
    let fact = |name, value: &str, is_bad| Fact { name, value: value.to_owned(), is_bad };
    let facts =
        vec![fact("backend", "socket (auto)", false), fact("datagrams of no use", "Truncated 2", true)];
    model.update(start + Duration::from_secs(second.into()), registered(second), facts);
}

/// A message of the robot.
pub(super) fn message(clock: i64) -> Arrived {
    let json = format!(
        r#"{{"name": "Grüße {clock}", "wheels": [{{"radius": 1.5}}, {{"radius": 2}}], "state": "MOVING",
             "image": "AAECAwQFBgcICQoLDA0ODxAREg==", "offsets": [1, -2]}}"#
    );
    let send_time = UNIX_EPOCH + Duration::from_micros(NOW_US.unsigned_abs());
    Arrived {
        content: message::tests::robot(&json),
        clock,
        send_time,
        receive_time: send_time + Duration::from_micros(420),
        host: "atlas".to_owned(),
        id: 1,
    }
}

/// What was received so far.
pub(super) fn stats(received: u64) -> SubscriberStats {
    let mut stats = SubscriberStats::default();
    (stats.received, stats.received_bytes, stats.lost) = (received, 48 * received, 2);
    stats
}

/// Presses keys: a letter each, `\n` for Enter and `\x1b` for Esc.
pub(super) fn press(model: &mut Model, keys: &str) -> Action {
    let mut action = Action::Nothing;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            key => KeyCode::Char(key),
        };
        action = model.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    action
}
