//! The examples as Windows programs: messages between two of them, and between one and Linux or the real eCAL. The command, too.

mod command;
mod shared_memory;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use ferrocal::Node;
use ferrocal_integration_tests::ecal::{self, DataType};
use ferrocal_integration_tests::example::{self, Ended};
use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::wine::{Machine, Situation};
use ferrocal_integration_tests::world::{LENS, Mode, World};

/// Messages on every topic, at this rate.
const COUNT: u64 = 5;
const RATE: f64 = 4.0;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for situation in Situation::ALL {
        let mut test = |mode: Mode, publisher: Side, subscriber: Side| {
            let (from, to) = (publisher.name(), subscriber.name());
            let name = format!("{from}_to_{to}::{}::{}", mode.name(), situation.name());
            let needs: &[Need] = match (publisher, subscriber) {
                (Side::Real, _) | (_, Side::Real) => &[Need::Wine, Need::Ecal],
                _ => &[Need::Wine, Need::Examples],
            };
            let body = move || every_length_arrives(situation, mode, publisher, subscriber);
            tests.push(Test::new(name, needs, body));
        };
        for mode in Mode::ALL {
            test(mode, Side::Windows, Side::Windows);
            // Where every situation leads to sockets, one of them does.
            if mode == Mode::Network || situation == Situation::Absent {
                test(mode, Side::Windows, Side::Linux);
                test(mode, Side::Linux, Side::Windows);
                test(mode, Side::Windows, Side::Real);
                test(mode, Side::Real, Side::Windows);
            }
        }
        let name = format!("says_what_it_uses_and_why::{}", situation.name());
        tests.push(Test::new(name, &[Need::Wine], move || says_what_it_uses_and_why(situation)));
    }
    let needs = &[Need::Wine];
    tests.push(Test::new("ctrl_c_ends_them_in_good_order", needs, ctrl_c_ends_them_in_good_order));
    command::add(&mut tests);
    shared_memory::add(&mut tests);
    suite::main(tests)
}

/// The backend that a Windows machine chooses by itself, and the start of the reason.
const fn choice(situation: Situation, mode: Mode) -> (&'static str, &'static str) {
    match (situation, mode) {
        (Situation::Absent, _) => ("socket", "auto, without raw frames: Npcap is not installed"),
        (Situation::LegacyWinPcap, _) => {
            ("socket", "auto, without raw frames: wpcap.dll is there, but the registry knows no Npcap")
        }
        // Wine has no device for loopback, whatever the registry says.
        (_, Mode::Local) => ("socket", "auto, fallen back: "),
        (Situation::NpcapCompatible, Mode::Network) => ("npcap", "auto: Npcap in WinPcap-compatible mode: "),
        (Situation::NpcapNative, Mode::Network) => ("npcap", "auto: Npcap: "),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Our examples on a Windows machine.
    Windows,
    /// Our examples on Linux.
    Linux,
    /// The real eCAL.
    Real,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Windows => "windows",
            Self::Linux => "linux",
            Self::Real => "real",
        }
    }
}

/// Where one side's examples run.
struct Place<'a> {
    mode: Mode,
    host: Host,
    interface: Option<Ipv4Addr>,
    machine: Option<&'a Machine>,
}

impl Place<'_> {
    /// Starts to publish messages of `len` bytes once there is a subscriber.
    #[track_caller]
    fn publish(&self, topic: &str, len: usize) -> Process {
        let wait = HANG.as_secs();
        let options = format!("--payload ramp --size {len} --rate {RATE} --wait-for-subscriber {wait}");
        self.start("pub", topic, &options)
    }

    /// Subscribes until all messages are there.
    #[track_caller]
    fn subscribe(&self, topic: &str) -> Process {
        self.start("sub", topic, &format!("--verify ramp --duration {}", HANG.as_secs()))
    }

    #[track_caller]
    fn start(&self, name: &str, topic: &str, options: &str) -> Process {
        let mode = self.mode.name();
        let interface = self.interface.map(|address| format!("--interface {address}")).unwrap_or_default();
        let arguments = format!("{topic} --mode {mode} {interface} --json --count {COUNT} {options}");
        match self.machine {
            Some(machine) => machine.start(name, &arguments),
            None => example::start(self.host, name, &arguments),
        }
    }
}

fn every_length_arrives(situation: Situation, mode: Mode, publisher: Side, subscriber: Side) {
    let world = World::new(mode);
    // In local mode there is one host, and it can have one Windows machine.
    let here = (subscriber == Side::Windows || publisher == Side::Windows && mode == Mode::Local)
        .then(|| Machine::new(world.here(), situation));
    let there =
        (publisher == Side::Windows && mode == Mode::Network).then(|| Machine::new(world.there(), situation));
    let publishers = Place {
        mode,
        host: world.there(),
        interface: world.interface_there(),
        machine: there.as_ref().or(here.as_ref()).filter(|_| publisher == Side::Windows),
    };
    let subscribers = Place {
        mode,
        host: world.here(),
        interface: world.interface(),
        machine: here.as_ref().filter(|_| subscriber == Side::Windows),
    };
    let backend = choice(situation, mode).0;
    let names = LENS.map(|len| format!("ramp_{len}"));
    let topics: Vec<&str> = names.iter().map(String::as_str).collect();
    let lens: Vec<(&str, usize)> = topics.iter().copied().zip(LENS).collect();

    let mut received = Vec::new();
    let mut real_subscriber = None;
    if subscriber == Side::Real {
        real_subscriber = Some(ecal::Subscriber::start(subscribers.host, mode, &topics, COUNT));
    } else {
        received.extend(topics.iter().map(|topic| subscribers.subscribe(topic)));
    }
    let mut sent = Vec::new();
    if publisher == Side::Real {
        let mut real = ecal::Publisher::start(publishers.host, mode, &lens, &DataType::default());
        for topic in &topics {
            real.expect_matched(topic, 1);
        }
        real.send(COUNT, RATE);
        real.process.finish();
    } else {
        sent.extend(lens.iter().map(|(topic, len)| publishers.publish(topic, *len)));
    }

    if let Some(mut real) = real_subscriber {
        real.await_complete();
        let rows = real.finish();
        assert_eq!(rows.len(), lens.len(), "{rows:#?}");
        for (topic, len) in &lens {
            rows.iter().find(|row| row.topic == *topic).expect("a row a topic").assert_all(COUNT, *len);
        }
    }
    for (processes, counted, side) in [(received, "received", subscriber), (sent, "sent", publisher)] {
        let backend = if side == Side::Windows { backend } else { "socket" };
        for (process, (topic, len)) in processes.into_iter().zip(&lens) {
            let ended = Ended { backend, ..Ended::of(process) };
            ended.assert_all(topic, counted, COUNT, *len as u64);
        }
    }
}

fn says_what_it_uses_and_why(situation: Situation) {
    let world = World::new(Mode::Network);
    let machine = Machine::new(world.here(), situation);
    let interface = world.interface().expect("there is a network");
    for mode in Mode::ALL {
        let arguments = format!("hello --count 1 --mode {} --interface {interface}", mode.name());
        let (backend, why) = choice(situation, mode);
        let told = machine.run("pub", &arguments).expect("it runs");
        let expected = format!("topic hello, {backend} backend ({why}");
        assert!(told.starts_with(&expected), "not {expected}, but {told}");

        let told = machine.run("pub", &format!("{arguments} --transport socket")).expect("it runs");
        assert!(told.starts_with("topic hello, socket backend (requested)"), "{told}");

        let told = machine.run("pub", &format!("{arguments} --transport npcap"));
        match (backend, told) {
            ("npcap", Ok(told)) => {
                assert!(told.starts_with("topic hello, npcap backend (requested)"), "{told}")
            }
            ("socket", Err(why)) => assert!(why.contains("npcap"), "{why}"),
            (_, told) => panic!("strictly npcap: {told:?}"),
        }
    }
}

/// Wine makes the signal of Ctrl-C the event that Windows has for it.
fn ctrl_c_ends_them_in_good_order() {
    let world = World::new(Mode::Local);
    let machine = Machine::new(world.here(), Situation::Absent);
    let mut config = ours::config(&world, world.here());
    // Long enough that only what the programs say can end the connection.
    config.registration.timeout = Duration::from_secs(3600);
    let node = Node::with_config("ours", config).expect("a node opens");
    let publisher = node.publisher::<[u8]>("to_sub").expect("a good topic");
    let subscriber = node.subscriber::<[u8]>("from_pub").expect("a good topic");

    let process = machine.start("sub", "to_sub --mode local --json");
    assert!(publisher.wait_for_subscriber(HANG));
    process.interrupt();
    Ended::of(process).assert_all("to_sub", "received", 0, 0);
    wait::until_eq("subscribers", &0, || publisher.subscriber_count());

    let arguments =
        "from_pub --mode local --payload ramp --size 4 --rate 0.001 --wait-for-subscriber 60 --json";
    let process = machine.start("pub", arguments);
    assert!(subscriber.wait_for_publisher(HANG) && subscriber.recv_timeout(HANG).is_ok());
    process.interrupt();
    Ended::of(process).assert_all("from_pub", "sent", 1, 4);
    wait::until_eq("publishers", &0, || subscriber.publisher_count());
}
