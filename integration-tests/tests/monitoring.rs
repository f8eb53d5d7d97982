//! What eCAL's own monitoring shows of our process, publishers and subscribers.

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ferrocal::{Bytes, Config, DataType, Event, EventKind, Feed, Node, Payload, ProcessState, Severity};
use ferrocal_integration_tests::ecal::{self, Monitor};
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::snapshots;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::world::{Mode, World};
use serde_json::{Value, json};

const TOPIC: &str = "typed";
const UNIT: &str = "our unit";
/// All byte values, as a descriptor is no text.
const DESCRIPTOR: [u8; 256] = {
    let mut bytes = [0; 256];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = at as u8;
        at += 1;
    }
    bytes
};

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let mut test = |name: &str, body: fn(Mode)| {
            tests.push(Test::new(format!("{name}::{}", mode.name()), &[Need::Ecal], move || body(mode)));
        };
        test("process_publisher_and_subscriber_are_listed", everything_is_listed);
        test("traffic_is_told", traffic_is_told);
        test("frequencies_are_those_of_the_messages", frequencies_are_those_of_the_messages);
        test("our_monitor_shows_what_the_real_one_does", our_monitor_shows_what_the_real_one_does);
        test("the_state_of_a_process_is_told", the_state_is_told);
        test("events_name_the_real_peers", events_name_the_real_peers);
        test("what_is_dropped_disappears", what_is_dropped_disappears);
    }
    suite::main(tests)
}

/// A payload with a data type.
struct Typed;

impl Payload for Typed {
    type Value = Self;
    type Received = Bytes;
    type EncodeError = Infallible;
    type DecodeError = Infallible;

    fn data_type() -> DataType {
        DataType {
            name: "demo.Point".into(),
            encoding: "proto".into(),
            descriptor: Bytes::from_static(&DESCRIPTOR),
        }
    }

    fn encode<'a>(_: &'a Self, _: &'a mut Vec<u8>) -> Result<&'a [u8], Infallible> {
        Ok(b"point")
    }

    fn decode(payload: Bytes) -> Result<Bytes, Infallible> {
        Ok(payload)
    }
}

fn descriptor_digits() -> String {
    DESCRIPTOR.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The rows of a list that are our process's.
fn of_ours<'s>(snapshot: &'s Value, list: &str) -> Vec<&'s Value> {
    let ours = |row: &&Value| row["pid"] == std::process::id() && row["host"] == Host::first().name();
    snapshot[list].as_array().into_iter().flatten().filter(ours).collect()
}

/// Checks some fields of a row.
#[track_caller]
fn assert_fields(row: &Value, expected: &Value) {
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(row[key], *value, "{key} in {row:#}");
    }
}

fn program() -> String {
    std::env::current_exe().expect("the path of the test is known").to_string_lossy().into_owned()
}

fn everything_is_listed(mode: Mode) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), UNIT);
    let publisher = node.publisher::<Typed>(TOPIC).expect("a good topic");
    let subscriber = node.subscriber::<Typed>("text").expect("a good topic");
    let mut monitor = Monitor::start(world.there(), mode);
    let nobody = monitor.snapshot_with("publisher and subscriber of ours", |snapshot| {
        of_ours(snapshot, "publishers").len() == 1 && of_ours(snapshot, "subscribers").len() == 1
    });
    for list in ["publishers", "subscribers"] {
        assert_fields(of_ours(&nobody, list)[0], &json!({"connections_local": 0, "connections_external": 0}));
    }

    // One real peer on the other side, and one of ours, for each.
    let our_other_side = node.subscriber::<Typed>(TOPIC).expect("a good topic");
    let mut real_subscriber = ecal::Subscriber::start(world.there(), mode, &[TOPIC], 0);
    let mut real_publisher =
        ecal::Publisher::start(world.there(), mode, &[("text", 20)], &ecal::DataType::default());
    real_subscriber.expect_matched(TOPIC, 1);
    real_publisher.expect_matched("text", 1);
    let (local, external) = if mode == Mode::Local { (2, 0) } else { (1, 1) };
    let snapshot = monitor.snapshot_with("connections of ours", |snapshot| {
        of_ours(snapshot, "publishers")
            .iter()
            .any(|row| row["connections_local"] == local && row["connections_external"] == external)
            && of_ours(snapshot, "subscribers").iter().any(|row| {
                row["topic"] == "text"
                    && row["connections_local"] == local - 1
                    && row["connections_external"] == external
            })
    });

    let processes = of_ours(&snapshot, "processes");
    assert_eq!(processes.len(), 1, "{snapshot:#}");
    let version = processes[0]["runtime_version"].as_str().expect("a text");
    assert_eq!(version, format!("ferrocal {}+gro", env!("CARGO_PKG_VERSION")));
    let healthy = 1;
    let parameter: Vec<_> = std::env::args().collect();
    assert_fields(
        processes[0],
        &json!({
            "name": program(),
            "unit": UNIT,
            "parameter": parameter.join(" "),
            "state": healthy,
            "shm_transport_domain": Host::first().name(),
        }),
    );

    let typed = json!({
        "process_name": program(),
        "unit": UNIT,
        "type_name": "demo.Point",
        "encoding": "proto",
        "descriptor": descriptor_digits(),
        "message_drops": 0,
        "shm_transport_domain": Host::first().name(),
    });
    let publishers = of_ours(&snapshot, "publishers");
    assert_eq!(publishers.len(), 1, "{snapshot:#}");
    assert_fields(publishers[0], &typed);
    let who = json!({"topic": TOPIC, "topic_id": publisher.id().to_string(), "direction": "publisher"});
    assert_fields(publishers[0], &who);

    let subscribers = of_ours(&snapshot, "subscribers");
    assert_eq!(subscribers.len(), 2, "{snapshot:#}");
    for (topic, id) in [("text", subscriber.id()), (TOPIC, our_other_side.id())] {
        let row = *subscribers.iter().find(|row| row["topic"] == topic).expect("both are listed");
        assert_fields(row, &typed);
        assert_fields(row, &json!({"topic_id": id.to_string(), "direction": "subscriber"}));
    }
}

fn traffic_is_told(mode: Mode) {
    const LEN: usize = 1234;
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), UNIT);
    let mut publisher = ours::Publisher::new(&node, &[("out", LEN)]);
    let subscriber = ours::Subscriber::new(&node, &["in"]);
    let mut real_subscriber = ecal::Subscriber::start(world.there(), mode, &["out"], 0);
    let mut real_publisher =
        ecal::Publisher::start(world.there(), mode, &[("in", LEN)], &ecal::DataType::default());
    let mut monitor = Monitor::start(world.there(), mode);
    real_subscriber.expect_matched("out", 1);
    real_publisher.expect_matched("in", 1);
    publisher.expect_matched(1);

    // Its frequency is told while it goes on.
    real_publisher.begin_sending(0, 50.0);
    subscriber.await_received(10);
    let mut sent = 0_u64;
    wait::until("frequencies of ours", || {
        publisher.send(1, 0.0);
        sent += 1;
        let snapshot = monitor.snapshot();
        let is_told = |row: &&Value| {
            row["data_frequency_mhz"].as_u64().is_some_and(|mhz| mhz > 0) && row["topic_size"] == LEN
        };
        ["publishers", "subscribers"].iter().all(|list| of_ours(&snapshot, list).iter().any(is_told))
    });
    let snapshot = monitor.snapshot_with("clock of ours", |snapshot| {
        of_ours(snapshot, "publishers").iter().any(|row| row["data_clock"] == sent)
    });
    for list in ["publishers", "subscribers"] {
        let row = of_ours(&snapshot, list)[0];
        assert_fields(row, &json!({"message_drops": 0, "layers": ["UDP_MC"]}));
    }
    real_publisher.process.finish();
}

/// The row of a topic.
fn of_topic<'s>(snapshot: &'s Value, list: &str, topic: &str) -> Option<&'s Value> {
    snapshot[list].as_array().into_iter().flatten().find(|row| row["topic"] == topic)
}

/// Nearer to `hertz` than to its half or its double. Who sends is late at times, and unit tests of the formula are exact.
fn is_frequency(row: Option<&Value>, hertz: f64) -> bool {
    let told = row.and_then(|row| row["data_frequency_mhz"].as_f64());
    told.is_some_and(|mhz| (0.7..1.4).contains(&(mhz / 1000.0 / hertz)))
}

/// Slow topics, too: a count for each second would show 0 and 1 for the first.
fn frequencies_are_those_of_the_messages(mode: Mode) {
    const RATES: [f64; 4] = [0.4, 2.5, 10.0, 1000.0];
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), UNIT);
    let mut real_publisher =
        ecal::Publisher::start(world.there(), mode, &[("real", 20)], &ecal::DataType::default());
    let subscriber = ours::Subscriber::new(&node, &["real"]);
    let mut monitor = Monitor::start(world.there(), mode);
    real_publisher.expect_matched("real", 1);
    real_publisher.begin_sending(0, RATES[1]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for rate in RATES {
            let (node, is_over) = (&node, &is_over);
            scope.spawn(move || {
                // Nobody subscribes: whoever watches sees the frequency all the same.
                let publisher = node.publisher::<[u8]>(&format!("{rate} Hz")).expect("a good topic");
                let start = Instant::now();
                for n in 0.. {
                    let due = start + Duration::from_secs_f64(f64::from(n) / rate);
                    while Instant::now() < due && !is_over.load(Ordering::Relaxed) {
                        let left = due.saturating_duration_since(Instant::now());
                        thread::sleep(left.min(Duration::from_millis(50)));
                    }
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    publisher.send(b"message").expect("it is sent");
                }
            });
        }
        monitor.snapshot_with("frequencies of the messages", |snapshot| {
            RATES
                .iter()
                .all(|&rate| is_frequency(of_topic(snapshot, "publishers", &format!("{rate} Hz")), rate))
                && is_frequency(of_ours(snapshot, "subscribers").first().copied(), RATES[1])
                && is_frequency(of_topic(snapshot, "publishers", "real"), RATES[1])
        });
        is_over.store(true, Ordering::Relaxed);
    });
    let frequency = subscriber.stats("real").frequency;
    assert!(frequency > 0.0, "{frequency}");
}

fn our_monitor_shows_what_the_real_one_does(mode: Mode) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), UNIT);
    let monitor = node.monitor();
    let mut publisher = ours::Publisher::new(&node, &[("ours", 20)]);
    let subscriber = ours::Subscriber::new(&node, &["real"]);
    let _typed = node.publisher::<Typed>(TOPIC).expect("a good topic");
    let mut real_publisher =
        ecal::Publisher::start(world.there(), mode, &[("real", 30)], &ecal::DataType::default());
    let mut real_subscriber = ecal::Subscriber::start(world.there(), mode, &["ours"], 0);
    let _service = ecal::Service::start(world.there(), mode, "service");
    let mut real_monitor = Monitor::start(world.there(), mode);
    real_publisher.expect_matched("real", 1);
    real_subscriber.expect_matched("ours", 1);
    publisher.expect_matched(1);
    publisher.send(3, 1000.0);
    real_publisher.send(5, 1000.0);
    subscriber.await_received(5);
    wait::until_eq("what the monitors differ in", &Vec::<String>::new(), || {
        snapshots::differences(&real_monitor.snapshot(), &monitor.snapshot())
    });
    assert_eq!(monitor.refused(), 0);
}

fn the_state_is_told(mode: Mode) {
    let world = World::new(mode);
    let file = std::env::temp_dir().join(format!("ecal-{}-{}.yaml", mode.name(), std::process::id()));
    let text = format!("communication_mode: {}\n", mode.name());
    std::fs::write(&file, text).expect("settings can be written");
    let mut config = Config::load_file(&file).expect("settings");
    config.udp = ours::config(&world, world.here()).udp;
    let node = world.here().run(|| Node::with_config(UNIT, config)).expect("a node");
    let _real = ecal::Publisher::start(world.there(), mode, &[("real", 20)], &ecal::DataType::default());
    let mut monitor = Monitor::start(world.there(), mode);
    let real = |snapshot: &Value| {
        let mut rows = snapshot["processes"].as_array().into_iter().flatten();
        rows.find(|row| row["unit"] == "ecal_pub").cloned()
    };
    let rows = monitor.snapshot_with("process of ours and theirs", |snapshot| {
        !of_ours(snapshot, "processes").is_empty() && real(snapshot).is_some()
    });
    let real = real(&rows).expect("it is there");
    assert_fields(
        of_ours(&rows, "processes")[0],
        &json!({"state": 1, "state_level": 1, "component_state": real["component_state"],
            "component_info": real["component_info"], "time_sync_module": real["time_sync_module"],
            "config_file": file.to_str()}),
    );
    let _ = std::fs::remove_file(file);
    node.set_state(ProcessState {
        severity: Severity::Critical,
        severity_level: 4,
        info: "the lidar is dirty".into(),
    });
    monitor.snapshot_with("state of ours", |snapshot| {
        of_ours(snapshot, "processes").iter().any(|row| {
            row["state"] == 3 && row["state_level"] == 4 && row["state_info"] == "the lidar is dirty"
        })
    });
}

fn events_name_the_real_peers(mode: Mode) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), UNIT);
    let publisher = node.publisher::<[u8]>("out").expect("a good topic");
    let subscriber = node.subscriber::<[u8]>("in").expect("a good topic");
    let (of_publisher, of_subscriber) = (publisher.events(), subscriber.events());
    let of_another_type = node.subscriber::<str>("in").expect("a good topic");
    let of_types = of_another_type.events();
    let real_subscriber = ecal::Subscriber::start(world.there(), mode, &["out"], 0);
    let point = ecal::DataType { name: "demo.Point", encoding: "proto", descriptor: b"" };
    let real_publisher = ecal::Publisher::start(world.there(), mode, &[("in", 20)], &point);
    let expect = |events: &Feed<Event>, kind: EventKind, unit: &str| {
        let event = events.recv_timeout(HANG).expect("an event");
        let peer = event.peer.expect("a peer");
        assert_eq!((event.kind, &peer.unit_name), (kind, &unit.into()));
        assert_eq!(peer.host_name, world.there().name());
        peer
    };
    let peer = expect(&of_publisher, EventKind::Connected, "ecal_sub");
    assert!(peer.process_name.to_str_lossy().contains("python"), "{peer:?}");
    assert_eq!(publisher.subscribers(), [(*peer).clone()]);
    expect(&of_subscriber, EventKind::Connected, "ecal_pub");
    for kind in [EventKind::Connected, EventKind::TypeDiffers] {
        assert_eq!(expect(&of_types, kind, "ecal_pub").data_type.name, "demo.Point");
    }
    // One says that it leaves, the other one does not.
    real_subscriber.finish();
    let gone = expect(&of_publisher, EventKind::Disconnected, "ecal_sub");
    assert_eq!(gone.id, peer.id);
    real_publisher.process.kill();
    expect(&of_subscriber, EventKind::Disconnected, "ecal_pub");
}

fn what_is_dropped_disappears(mode: Mode) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), UNIT);
    let publisher = node.publisher::<Typed>(TOPIC).expect("a good topic");
    let subscriber = node.subscriber::<Typed>(TOPIC).expect("a good topic");
    let mut monitor = Monitor::start_patient(world.there(), mode);
    let lists = |snapshot: &Value| {
        ["processes", "publishers", "subscribers"].map(|list| of_ours(snapshot, list).len())
    };
    let mut expect = |expected: [usize; 3]| {
        monitor.snapshot_with(&format!("{expected:?} of ours"), |snapshot| lists(snapshot) == expected);
    };
    expect([1, 1, 1]);
    drop(publisher);
    expect([1, 0, 1]);
    drop(subscriber);
    expect([1, 0, 0]);
    drop(node);
    expect([0, 0, 0]);
}
