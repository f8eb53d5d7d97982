//! Shared memory on Windows: between our programs, with the real eCAL of Windows, and with programs that are killed.

use ferrocal_integration_tests::example::Ended;
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::suite::{Need, Test};
use ferrocal_integration_tests::wine::{Machine, Situation};
use ferrocal_integration_tests::world::{Mode, World};

const TOPIC: &str = "memory";
/// Of messages, in turn: each but the first needs a longer file than the one before, or has room to spare.
const LENS: [u64; 4] = [20, 64_000, 50_000_000, 1_000_000];
/// Publishers wait until all subscribers have taken each message, for longer than anything takes.
const SETTINGS: &str = "
publisher:
  layer: { shm: { enable: true, acknowledge_timeout_ms: 60000 }, udp: { enable: false }, tcp: { enable: false } }
  # Without them, eCAL has no layer at all.
  priority_local: [shm]
  priority_network: [shm]
subscriber:
  layer: { shm: { enable: true }, udp: { enable: false }, tcp: { enable: false } }
";
const REGISTERED_THERE: &str = "
registration: { local: { transport_type: shm } }
";
/// How often a program is killed.
const KILLS: usize = 3;

pub(super) fn add(tests: &mut Vec<Test>) {
    let mut test = |name: &str, body: fn()| {
        tests.push(Test::new(format!("shared_memory::{name}"), &[Need::Wine], body));
    };
    test("growing", || growing(SETTINGS));
    test("registered_in_shared_memory", || growing(&format!("{SETTINGS}{REGISTERED_THERE}")));
    test("growing_ours_to_real", || growing_ours_to_real(SETTINGS));
    test("growing_real_to_ours", || growing_real_to_ours(SETTINGS));
    test("registered_in_shared_memory_with_real", || {
        let settings = format!("{SETTINGS}{REGISTERED_THERE}");
        growing_ours_to_real(&settings);
        growing_real_to_ours(&settings);
    });
    test("killed_publishers", killed_publishers);
    test("killed_subscribers", killed_subscribers);
    test("the_real_one_is_asked_to_end", the_real_one_is_asked_to_end);
}

fn machine(settings: &str) -> Machine {
    let machine = Machine::new(World::new(Mode::Local).here(), Situation::Absent);
    machine.configure(settings);
    machine
}

fn sizes() -> String {
    LENS.map(|len| len.to_string()).join(",")
}

fn publish_all(machine: &Machine) -> Process {
    let count = LENS.len();
    let arguments = format!("--payload ramp --size {} --rate 0 --count {count} --json", sizes());
    machine.start("pub", &format!("{TOPIC} --mode local --wait-for-subscriber 60 {arguments}"))
}

fn assert_all(process: Process, counted: &str) {
    let ended = Ended::of(process);
    assert!(ended.status.success(), "{ended:?}");
    ended.assert_line(TOPIC, counted, LENS.len() as u64, LENS.iter().sum());
    assert_eq!((ended.number("corrupt"), ended.number("dropped")), (0, 0), "{ended:?}");
}

fn growing(settings: &str) {
    let machine = machine(settings);
    let count = LENS.len();
    let subscriber = machine
        .start("sub", &format!("{TOPIC} --mode local --verify ramp --count {count} --duration 60 --json"));
    let publisher = publish_all(&machine);
    assert_all(subscriber, "received");
    assert_all(publisher, "sent");
}

fn growing_ours_to_real(settings: &str) {
    let machine = machine(settings);
    let mut real = machine.start_ecal("sub", TOPIC);
    real.event("ready");
    let publisher = publish_all(&machine);
    for len in LENS {
        let received = real.event("received");
        assert_eq!((received["len"].as_u64(), received["intact"].as_u64()), (Some(len), Some(len)));
    }
    assert_all(publisher, "sent");
}

fn growing_real_to_ours(settings: &str) {
    let machine = machine(settings);
    let count = LENS.len();
    let subscriber = machine
        .start("sub", &format!("{TOPIC} --mode local --verify ramp --count {count} --duration 60 --json"));
    let mut real = machine.start_ecal("pub", TOPIC);
    real.event("matched");
    for len in LENS {
        real.send_line(&len.to_string());
        real.event("sent");
    }
    assert_all(subscriber, "received");
}

/// Sends messages of a length without an end.
fn send_on(machine: &Machine, len: usize) -> Process {
    let arguments = format!("--payload ramp --size {len} --rate 0 --wait-for-subscriber 60");
    machine.start("pub", &format!("{TOPIC} --mode local {arguments}"))
}

fn killed_publishers() {
    let machine = machine(SETTINGS);
    let subscriber = machine.start("sub", &format!("{TOPIC} --mode local --verify ramp"));
    for round in 0..=KILLS {
        let len = 1_000_000 + round;
        let publisher = send_on(&machine, len);
        subscriber.await_text(&format!(": {len} bytes"));
        // It sends as fast as it can, so this is in the middle of a message.
        publisher.kill();
    }
    assert_intact(subscriber);
}

/// Ends a subscriber, none of whose messages was torn.
fn assert_intact(subscriber: Process) {
    subscriber.interrupt();
    let (status, text) = subscriber.last_text(HANG);
    assert!(status.success() && !text.contains("CORRUPT"), "{text}");
}

fn killed_subscribers() {
    // The dead are waited for once each.
    let machine = machine(&SETTINGS.replace("60000", "1000"));
    let survivor = machine.start("sub", &format!("{TOPIC} --mode local --verify ramp"));
    let _publisher = send_on(&machine, 1_000_000);
    survivor.await_text("received message ");
    for _ in 0..KILLS {
        let subscriber = machine.start("sub", &format!("{TOPIC} --mode local"));
        subscriber.await_text("received message ");
        subscriber.kill();
    }
    // With a time-out for each message and each of the dead, that would take minutes.
    let late = machine.start("sub", &format!("{TOPIC} --mode local --verify ramp --count 100 --json"));
    let ended = Ended::of(late);
    assert!(ended.status.success(), "{ended:?}");
    assert_intact(survivor);
}

fn the_real_one_is_asked_to_end() {
    let machine = machine(SETTINGS);
    let mut real = machine.start_ecal("sub", TOPIC);
    real.event("ready");
    let told = machine.run_command("stop peer").expect("it is asked");
    assert!(told.starts_with("asked process "), "{told}");
    real.event("asked to end");
}
