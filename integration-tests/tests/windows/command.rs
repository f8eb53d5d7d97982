//! The command `ferrocal` as a Windows program, with ferrocal on Linux.

use ferrocal_integration_tests::example;
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::suite::{Need, Test};
use ferrocal_integration_tests::wine::{Machine, Situation};
use ferrocal_integration_tests::world::{Mode, World};
use serde_json::Value;

pub(super) fn add(tests: &mut Vec<Test>) {
    for mode in Mode::ALL {
        let mut test = |name: &str, body: fn(Mode)| {
            let name = format!("command::{name}::{}", mode.name());
            tests.push(Test::new(name, &[Need::Wine, Need::Examples], move || body(mode)));
        };
        test("shows_what_linux_publishes", shows_what_linux_publishes);
        test("publishes_to_linux", publishes_to_linux);
        test("records_and_plays", records_and_plays);
    }
    let needs = &[Need::Wine];
    tests.push(Test::new("command::says_what_is_wrong", needs, says_what_is_wrong));
    tests.push(Test::new("command::ends_quietly_where_nobody_reads", needs, ends_quietly_where_nobody_reads));
}

/// The command on a Windows machine.
struct Windows {
    machine: Machine,
    options: String,
}

impl Windows {
    fn new(world: &World) -> Self {
        let interface = world.interface().map(|address| format!("--interface {address}")).unwrap_or_default();
        let options = format!("--mode {} {interface} --json", world.mode().name());
        Self { machine: Machine::new(world.here(), Situation::Absent), options }
    }

    #[track_caller]
    fn start(&self, arguments: &str) -> Process {
        self.machine.start_command(&format!("{arguments} {}", self.options))
    }

    /// Runs it to its end. Returns the last object that it printed.
    #[track_caller]
    fn run(&self, arguments: &str) -> Value {
        end_of(self.start(arguments))
    }
}

/// Waits for the end of a command that succeeds. Returns the last object that it printed.
#[track_caller]
fn end_of(process: Process) -> Value {
    let (status, last) = process.last_event(HANG);
    assert!(status.success(), "{status}: {last}");
    last
}

/// Publishes `TOPIC` on Linux, until it is dropped.
fn publish_on_linux(world: &World) -> Process {
    let interface =
        world.interface_there().map(|address| format!("--interface {address}")).unwrap_or_default();
    let arguments = format!("{TOPIC} --mode {} {interface} --rate 50", world.mode().name());
    example::start(world.there(), "pub", &arguments)
}

const TOPIC: &str = "from_linux";

fn shows_what_linux_publishes(mode: Mode) {
    let world = World::new(mode);
    let windows = Windows::new(&world);
    let _publisher = publish_on_linux(&world);

    let mut list = windows.start("list --watch --types");
    let row = list.expect("the publisher", |row| row["topic"] == TOPIC);
    assert_eq!((&row["kind"], &row["host"]), (&"publisher".into(), &world.there().name().into()), "{row}");
    list.interrupt();
    let (status, text) = list.last_text(HANG);
    assert!(status.success(), "{status}: {text}");

    let echo = windows.run(&format!("echo {TOPIC} --count 3"));
    assert!(echo["message"].as_str().is_some_and(|text| text.starts_with("hello")), "{echo}");
    let hz = windows.run(&format!("hz {TOPIC} --count 2"));
    assert!(hz["hz"].as_f64() > Some(0.0), "{hz}");

    let mut doctor = windows.start("doctor --all --duration 1");
    doctor.expect("the self test", |finding| finding["check"] == "self_test" && finding["status"] == "ok");
    end_of(doctor);
}

fn publishes_to_linux(mode: Mode) {
    let world = World::new(mode);
    let windows = Windows::new(&world);
    let node = ours::node(&world, world.there(), "ours");
    let subscriber = node.subscriber::<str>("from_windows").expect("a good topic");
    let end = windows.run("pub from_windows hello --wait 1 --timeout 60 --count 3 --rate 20");
    assert_eq!((&end["published"], &end["sent"]), (&3.into(), &3.into()), "{end}");
    for _ in 0..3 {
        let message = subscriber.recv_timeout(HANG).expect("a message");
        assert_eq!(&*message.payload, "hello");
    }
}

fn records_and_plays(mode: Mode) {
    let world = World::new(mode);
    let windows = Windows::new(&world);
    let publisher = publish_on_linux(&world);
    let recorded = windows.run(&format!(r"record {TOPIC} -o C:\drive.mcap --count 5"));
    assert_eq!((&recorded["messages"], &recorded["lost"]), (&5.into(), &0.into()), "{recorded}");
    drop(publisher);

    let mut info = windows.start(r"rec-info C:\drive.mcap");
    let file = info.expect("the file", |row| row["file"] == r"C:\drive.mcap");
    assert_eq!((&file["messages"], &file["complete"]), (&5.into(), &true.into()), "{file}");
    assert_eq!(end_of(info)["topic"], TOPIC);
    let converted = windows.run(r"convert C:\drive.mcap C:\drive.pcap");
    assert_eq!(converted["messages"], 5, "{converted}");

    let node = ours::node(&world, world.there(), "ours");
    let subscriber = node.subscriber::<str>(TOPIC).expect("a good topic");
    let played = windows.run(r"play C:\drive.mcap --wait 1");
    assert_eq!(played["messages"], 5, "{played}");
    for _ in 0..5 {
        let message = subscriber.recv_timeout(HANG).expect("a message");
        assert!(message.payload.starts_with("hello"), "{message:?}");
    }
}

fn says_what_is_wrong() {
    let world = World::new(Mode::Local);
    let machine = Machine::new(world.here(), Situation::Absent);
    for (arguments, expected) in [
        (r"rec-info C:\none.mcap", r"C:\none.mcap"),
        (r"list --config C:\none.yaml", r"C:\none.yaml"),
        (r"record --count 1 -o C:\none\a.mcap", r"C:\none\a.mcap"),
        ("list --mode local --interface 10.0.0.1", "--interface"),
        ("monitor", "standard output is no terminal"),
        ("echo nothing --mode local --timeout 1", "no message came on topic `nothing`"),
    ] {
        let error = machine.run_command(arguments).expect_err("it fails");
        assert!(error.contains(expected), "{arguments}: {error}");
    }
}

fn ends_quietly_where_nobody_reads() {
    let world = World::new(Mode::Local);
    let machine = Machine::new(world.here(), Situation::Absent);
    assert_eq!(machine.run_command_unread("completions powershell").as_deref(), Ok("0\n"));
}
