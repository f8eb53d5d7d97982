//! The settings in an `ecal.yaml` apply to the verbs: publishers, subscribers and registrations by shared memory alone. And how
//! processes of this computer end.

mod common;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Ended, command, start};
use ferrocal::{
    LayersConfig, LocalRegistration, Node, Publisher, ShmConfig, ShutdownError, Subscriber, request_shutdown,
};
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::tmux::Terminal;
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::world::{Mode, World};
use rustix::process::Signal;
use tempfile::TempDir;

const SETTINGS: &str = "
publisher: { layer: { shm: { enable: true }, udp: { enable: false }, tcp: { enable: false } } }
subscriber: { layer: { shm: { enable: true }, udp: { enable: false }, tcp: { enable: false } } }
";

fn main() -> ExitCode {
    let mut tests = Vec::new();
    let mut test = |name: &str, needs: &'static [Need], body: fn(&Side)| {
        tests.push(Test::new(name, needs, move || body(&Side::new())));
    };
    test("echo", &[], echo);
    test("rates", &[], rates);
    test("record_and_its_trigger", &[], record_and_its_trigger);
    test("monitor", &[Need::Tmux], monitor);
    test("publish", &[], publish);
    test("play", &[], play);
    test("two_signals_at_once_are_one", &[], two_signals_at_once_are_one);
    test("nohup_keeps_from_one_signal", &[], nohup_keeps_from_one_signal);
    test("a_full_standard_error_changes_nothing", &[], a_full_standard_error_changes_nothing);
    test("doctor_hears_of_shared_memory", &[], doctor_hears_of_shared_memory);
    test("stop_asks_no_process_that_is_gone", &[], stop_asks_no_process_that_is_gone);
    test("stop_waits_for_what_is_not_registered", &[], stop_waits_for_what_is_not_registered);
    test("stop_waits_for_no_process_that_is_gone", &[], stop_waits_for_no_process_that_is_gone);
    suite::main(tests)
}

/// A node that uses shared memory alone, and a folder with an `ecal.yaml` that says the same.
struct Side {
    world: World,
    node: Node,
    folder: TempDir,
}

impl Side {
    fn new() -> Self {
        let world = World::new(Mode::Local);
        let mut config = ours::config(&world, world.here());
        config.publisher.layers = LayersConfig::NONE.shm(true);
        // What nobody has read yet is not overwritten on a busy computer, either.
        config.publisher.shm = ShmConfig::default().acknowledge_timeout(HANG);
        config.subscriber.layers = LayersConfig::NONE.shm(true);
        let node = Node::with_config("peer", config).expect("a node opens");
        let folder = tempfile::tempdir().expect("there is a folder for temporary files");
        fs::write(folder.path().join("ecal.yaml"), SETTINGS).expect("it can be written");
        Self { world, node, folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// Runs the command with the settings to its end.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> Ended {
        let settings = self.path("ecal.yaml");
        Ended::of(start(self.world.here(), &[arguments, &["--config", &settings]].concat()))
    }

    /// Settings with which no registration is heard.
    fn deaf(&self) -> String {
        let path = self.path("deaf.yaml");
        fs::write(&path, "registration: { local: { udp: { port: 14100 } } }\n").expect("it can be written");
        path
    }

    /// Publishes on a topic as long as `body` runs.
    fn while_sending<T>(&self, topic: &str, body: impl FnOnce() -> T) -> T {
        let publisher: Publisher<str> = self.node.publisher(topic).expect("a good topic");
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    publisher.send("hello").expect("a message is sent");
                    thread::sleep(Duration::from_millis(20));
                }
            });
            let _over = Over(&is_over);
            body()
        })
    }

    fn subscriber(&self, topic: &str) -> Subscriber<str> {
        self.node.subscriber(topic).expect("a good topic")
    }
}

/// Ends what it is for even if a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[track_caller]
fn expect_hello(subscriber: &Subscriber<str>) {
    let message = subscriber.recv_timeout(HANG).expect("a message comes");
    assert_eq!(&*message.payload, "hello");
}

fn echo(side: &Side) {
    let ended = side.while_sending("text", || side.run(&["echo", "text", "--once"]));
    assert_eq!(ended.text(0), "hello");
}

fn rates(side: &Side) {
    for verb in ["hz", "bw", "delay"] {
        let arguments = [verb, "text", "--json", "--count", "1"];
        let rows = side.while_sending("text", || side.run(&arguments)).rows();
        assert!(rows[0]["messages"].as_u64() > Some(0), "{verb}: {rows:?}");
    }
}

fn record_and_its_trigger(side: &Side) {
    let path = side.path("a.mcap");
    let arguments = ["record", "text", "-o", &path, "--count", "3", "--json"];
    let rows = side.while_sending("text", || side.run(&arguments)).rows();
    assert_eq!(rows.last().expect("a result")["messages"], 3, "{rows:?}");
    let path = side.path("b.mcap");
    let arguments = ["record", "text", "-o", &path, "--count", "3", "--json"];
    let arguments = [&arguments[..], &["--pre-buffer", "1", "--trigger-topic", "trigger"]].concat();
    let sending = || side.while_sending("trigger", || side.run(&arguments));
    let rows = side.while_sending("text", sending).rows();
    assert_eq!(rows.last().expect("a result")["messages"], 3, "{rows:?}");
}

fn monitor(side: &Side) {
    let settings = side.path("ecal.yaml");
    let line = format!("{} monitor text --config {settings}", env!("CARGO_BIN_EXE_ferrocal"));
    side.while_sending("text", || {
        let terminal = Terminal::start(80, 24, &line);
        terminal.until_text(&["text  string (utf-8)", " hello"]);
        terminal.press(&["q"]);
        assert_eq!(terminal.until_end().0, 0);
    });
}

fn publish(side: &Side) {
    let subscriber = side.subscriber("text");
    let arguments = ["pub", "text", "hello", "--wait", "1", "--rate", "50", "--count", "50"];
    side.run(&arguments).text(0);
    expect_hello(&subscriber);
}

fn two_signals_at_once_are_one(side: &Side) {
    side.while_sending("text", || {
        let arguments = ["echo", "text", "--json", "--config", &side.path("ecal.yaml")];
        let mut showing = start(side.world.here(), &arguments);
        showing.expect("a message", |row| row["topic"] == "text");
        // As `timeout` does.
        showing.terminate();
        showing.terminate();
        Ended::of(showing).text(0);
    });
}

fn nohup_keeps_from_one_signal(side: &Side) {
    let script = "trap '' HUP INT; exec \"$@\"";
    let settings = side.path("ecal.yaml");
    side.while_sending("text", || {
        let mut command = side.world.here().command("sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_ferrocal"), "echo", "text", "--json"]);
        command.args(["--config", &settings]);
        let mut showing = Process::spawn("ferrocal below nohup", command);
        showing.expect("a message", |row| row["topic"] == "text");
        showing.signal(Signal::HUP);
        for _ in 0..25 {
            showing.expect("a message", |row| row["topic"] == "text");
        }
        // What a script starts in the background ignores this one, too, and is ended by it.
        showing.interrupt();
        Ended::of(showing).text(0);
    });
}

fn a_full_standard_error_changes_nothing(side: &Side) {
    let (settings, path) = (side.path("ecal.yaml"), side.path("full.mcap"));
    let recording = ["record", "text", "-o", &path, "--count", "3", "--config", &settings];
    side.while_sending("text", || {
        for (arguments, code) in [
            (&["config", "--config", &settings][..], 0),
            (&["info", "nobody", "--config", &settings], 4),
            (&recording, 0),
            (&["rec-info", &path], 0),
        ] {
            let full = File::options().write(true).open("/dev/full").expect("Linux has it");
            let mut command = command(side.world.here(), arguments);
            let status = command.stdout(Stdio::null()).stderr(full).status().expect("it runs");
            assert_eq!(status.code(), Some(code), "{arguments:?}");
        }
    });
}

/// A node that registers by shared memory alone, and the settings that say so.
fn registered_by_memory(side: &Side) -> (Node, String) {
    let mut config = ours::config(&side.world, side.world.here());
    config.registration.local_transport = LocalRegistration::Shm;
    let node = Node::with_config("by memory", config).expect("a node opens");
    let path = side.path("memory.yaml");
    fs::write(&path, "registration: { local: { transport_type: shm } }\n").expect("it can be written");
    (node, path)
}

fn doctor_hears_of_shared_memory(side: &Side) {
    let (_node, settings) = registered_by_memory(side);
    let ended = Ended::run(side.world.here(), &["doctor", "--no-send", "--all", "--config", &settings]);
    let text = ended.out.join("\n");
    // The node of the side registers by UDP, which is heard, too.
    assert!(text.contains("programs heard: 2."), "{ended:?}");
    assert!(text.contains("register by shared memory, as these settings say"), "{ended:?}");
}

/// The file of the event by which a process is asked to end.
fn event_of(process_id: u32) -> PathBuf {
    format!("/dev/shm/ecal_shutdown_process_{process_id}_evt").into()
}

/// Leaves an event for a process as if it had made one. Nobody waits for it.
fn leave_event(side: &Side, process_id: u32) -> Left {
    let _own = side.node.shutdown_requested().expect("there is shared memory");
    let left = Left(event_of(process_id));
    fs::copy(event_of(std::process::id()), &left.0).expect("the event can be copied");
    left
}

/// A file that a test leaves behind otherwise.
struct Left(PathBuf);

impl Drop for Left {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn stop_asks_no_process_that_is_gone(side: &Side) {
    let mut child = Command::new("true").spawn().expect("it starts");
    let id = child.id();
    let left = leave_event(side, id);
    let event = fs::read(&left.0).expect("it can be read");
    // First it waits for its parent, and then it is gone.
    wait::until("it has ended", || {
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("its parent has not asked");
        status.contains("State:\tZ")
    });
    for _ in 0..2 {
        let asked = request_shutdown(id);
        assert!(matches!(asked, Err(ShutdownError::NotListening(_))), "{asked:?}");
        let ended = side.run(&["stop", &id.to_string(), "--json"]);
        ended.failed(4, "no such process was found on this computer");
        child.wait().expect("it has ended");
    }
    assert!(fs::read(&left.0).expect("it can be read") == event, "a request is left behind");
}

fn stop_waits_for_what_is_not_registered(side: &Side) {
    let (node, _) = registered_by_memory(side);
    let request = node.shutdown_requested().expect("there is shared memory");
    let id = std::process::id().to_string();
    // The node of the side is registered by UDP, which is not heard with these settings.
    let ended = Ended::run(side.world.here(), &["stop", &id, "--wait", "1", "--config", &side.deaf()]);
    assert!(ended.err.join("\n").contains("a process did not end in time"), "{ended:?}");
    assert_eq!(ended.text(4), format!("asked process {id} to end"));
    assert!(request.wait_timeout(HANG));
}

fn stop_waits_for_no_process_that_is_gone(side: &Side) {
    let waiting = start(side.world.here(), &["echo", "nothing", "--config", &side.path("ecal.yaml")]);
    let _left = leave_event(side, waiting.id());
    let monitor = side.node.monitor();
    wait::until("it is registered", || {
        let processes = monitor.snapshot().processes;
        processes.iter().any(|seen| seen.info.process_id.cast_unsigned() == waiting.id())
    });
    let settings = side.path("patient.yaml");
    fs::write(&settings, "registration: { registration_timeout: 600000 }\n").expect("it can be written");
    let arguments = ["stop", "ferrocal echo", "--wait", "60", "--json", "--config", &settings];
    let mut stop = start(side.world.here(), &arguments);
    stop.expect("that it is asked", |row| row["asked"] == true);
    // It says of itself no more that it ends, and is there until its parent has asked how it did.
    waiting.signal(Signal::KILL);
    Ended::of(stop).text(0);
}

fn play(side: &Side) {
    let path = side.path("a.mcap");
    let arguments = ["record", "text", "-o", &path, "--count", "50"];
    side.while_sending("text", || side.run(&arguments)).text(0);
    let subscriber = side.subscriber("again");
    side.run(&["play", &path, "--remap", "text:=again", "--wait", "1"]).text(0);
    expect_hello(&subscriber);
}
