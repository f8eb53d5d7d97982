//! What eCAL's own monitoring shows of our process, publishers and subscribers.

use std::convert::Infallible;
use std::process::ExitCode;
use std::thread;

use ferrocal::{Bytes, DataType, Payload};
use ferrocal_integration_tests::ecal::{self, Monitor};
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::suite::{self, Need, Test};
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
    // For several seconds.
    const COUNT: u64 = 200;
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
    thread::scope(|scope| {
        scope.spawn(|| publisher.send(COUNT, 50.0));
        monitor.snapshot_with("frequencies of ours", |snapshot| {
            let is_told = |row: &&Value| {
                row["data_frequency_mhz"].as_u64().is_some_and(|mhz| mhz > 0) && row["topic_size"] == LEN
            };
            ["publishers", "subscribers"].iter().all(|list| of_ours(snapshot, list).iter().any(is_told))
        });
    });
    let snapshot = monitor.snapshot_with("clock of ours", |snapshot| {
        of_ours(snapshot, "publishers").iter().any(|row| row["data_clock"] == COUNT)
    });
    for list in ["publishers", "subscribers"] {
        let row = of_ours(&snapshot, list)[0];
        assert_fields(row, &json!({"message_drops": 0, "layers": ["UDP_MC"]}));
    }
    real_publisher.process.finish();
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
