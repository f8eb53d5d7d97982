//! Real processes of two releases and ours, on two hosts: both monitors show the same.

use std::process::ExitCode;

use ferrocal_integration_tests::ecal::{self, Release};
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{example, ours, snapshots, wait};
use serde_json::Value;

fn main() -> ExitCode {
    suite::main(vec![Test::new(
        "our_monitor_shows_what_the_real_one_does",
        &[Need::OldEcal, Need::Examples],
        our_monitor_shows_what_the_real_one_does,
    )])
}

const COUNT: u64 = 5;
/// The process id of one of ours on each host.
const PID: i32 = 1;

fn our_monitor_shows_what_the_real_one_does() {
    let world = World::new(Mode::Network);
    let (here, there, mode) = (world.here(), world.there(), world.mode());
    let node = ours::node(&world, here, "ours");
    let monitor = node.monitor();
    let subscriber = ours::Subscriber::new(&node, &["real", "ours"]);
    let _typed = node.publisher::<str>("text").expect("a good topic");
    // One message now, and the next one long after the test.
    let _our_publisher = example::start_as_process_1(
        here,
        "pub",
        "ours --mode network --payload ramp --size 20 --rate 0.001 --wait-for-subscriber 60",
    );
    let _our_subscriber = example::start_as_process_1(there, "sub", "real --mode network --verify ramp");
    let data_type = ecal::DataType { name: "demo.Point", encoding: "proto", descriptor: &[0x00, 0xff, 0x80] };
    let mut real_publisher = ecal::Publisher::start(here, mode, &[("real", 30)], &data_type);
    let _real_subscriber = ecal::Subscriber::start_of(Release::Old, there, mode, &[], &["ours"]);
    let _service = ecal::Service::start(here, mode, "service");
    let mut real_monitor = ecal::Monitor::start(there, mode);
    real_publisher.expect_matched("real", 2);
    real_publisher.send(COUNT, 1000.0);
    subscriber.await_received(1);

    wait::until_eq("what the monitors differ in", &Vec::<String>::new(), || {
        let (mut real, ours) = (real_monitor.snapshot(), monitor.snapshot());
        let rows = snapshots::rows(&ours);
        add_what_it_merges(&mut real, &rows);
        // What was sent has been registered: until then, both may agree on what was before.
        let clocks = |list: &str, topic: &str, clock: u64, count: usize| {
            let rows = rows[list].as_array().into_iter().flatten();
            let told = rows.filter(|row| row["topic"] == topic && row["data_clock"] == clock).count();
            (told != count).then(|| format!("{told} {list} of `{topic}` are at {clock}"))
        };
        let late = [
            clocks("publishers", "real", COUNT, 1),
            clocks("subscribers", "real", COUNT, 2),
            clocks("publishers", "ours", 1, 1),
        ];
        let mut differences = snapshots::differences(&real, &ours);
        differences.extend(late.into_iter().flatten());
        // Both may agree before all have registered.
        let counts = [ours.processes.len(), ours.publishers.len(), ours.subscribers.len()];
        differences.extend((counts != [7, 3, 4]).then(|| format!("not all are there: {counts:?}")));
        differences
    });

    let snapshot = monitor.snapshot();
    let mut hosts: Vec<_> = snapshot
        .processes
        .iter()
        .filter(|seen| seen.info.process_id == PID)
        .map(|seen| seen.info.host_name.to_string())
        .collect();
    hosts.sort();
    assert_eq!(hosts, [here.name(), there.name()], "two processes with one id");
    assert_eq!(monitor.refused(), 0);
}

/// eCAL's monitor knows processes by their id alone, so that it shows one of two hosts that have the same: that of which
/// it heard last. Adds the other one.
fn add_what_it_merges(real: &mut Value, ours: &Value) {
    let is_merged = |row: &&Value| row["pid"] == PID;
    let shown = real["processes"].as_array_mut().expect("a list");
    assert!(shown.iter().filter(is_merged).count() <= 1, "it shows both: {shown:#?}");
    let rows = ours["processes"].as_array().expect("a list").iter().filter(is_merged);
    if shown.iter().any(|row| is_merged(&row)) {
        let names: Vec<_> = shown.iter().filter(is_merged).map(|row| row["host"].clone()).collect();
        shown.extend(rows.filter(|row| !names.contains(&row["host"])).cloned().collect::<Vec<_>>());
    }
}
