//! Situations of programs rather than of the network.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use ferrocal::{Clock, Config, DataType, LogLevel, Node, PublisherConfig, Subscriber};
use ferrocal_integration_tests::ecal;
use ferrocal_integration_tests::example;
use ferrocal_integration_tests::netns::{Host, SECOND_ADDRESS};
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::suite::{Need, Test};
use ferrocal_integration_tests::world::{Mode, World};

use crate::Restored;
use crate::run::{Doctor, Nodes, cli, sh, sh_on};

const REAL: &[Need] = &[Need::Ecal];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("peers::host_name_of_another", &[], host_name_of_another),
        Test::new("peers::process_ids_of_containers", &[Need::Examples], process_ids_of_containers),
        Test::new("peers::port_that_is_taken", &[], port_that_is_taken),
        Test::new("peers::other_ports", &[Need::RawFrames], other_ports),
        Test::new("peers::other_mask_of_ferrocal", &[], other_mask_of_ferrocal),
        Test::new("peers::other_types", &[], other_types),
        Test::new("peers::other_clock", &[], other_clock),
        Test::new("peers::foreign_datagrams", &[], foreign_datagrams),
        Test::new("a_capture_file_is_refused", &[], a_capture_file_is_refused),
        Test::new("call::healthy", &[], call_healthy),
        Test::new("call::other_mtu", &[], call_with_another_mtu),
        Test::new("call::no_fragments_there", &[], call_without_fragments),
        Test::new("call::nobody", &[], call_nobody),
        Test::new("peers::real_in_local_mode", REAL, real_in_local_mode),
        Test::new("peers::real_in_network_mode", REAL, real_in_network_mode),
        Test::new("peers::real_with_another_mask", REAL, || real_reader("groups", &["--mask=255.255.255.0"])),
        Test::new("peers::real_with_another_hash", REAL, || real_reader("groups", &["--config-version=v1"])),
        Test::new("peers::real_reader_by_shared_memory", REAL, || {
            real_reader("reader_layer", &["--layer=shm"])
        }),
        Test::new("peers::real_writer_by_shared_memory", REAL, real_writer_by_shared_memory),
        Test::new("peers::real_registering_by_shared_memory", REAL, real_registering_by_shared_memory),
        Test::new("peers::real_and_healthy", REAL, real_and_healthy),
    ]
}

fn network() -> Config {
    Config::default().mode(ferrocal::Mode::Network)
}

/// A node on the second host with other settings.
#[track_caller]
fn there(world: &World, change: impl FnOnce(&mut Config)) -> Node {
    let mut config = network();
    config.udp.interfaces = vec![SECOND_ADDRESS.into()];
    change(&mut config);
    world.there().run(|| Node::with_config("other", config)).expect("a node opens")
}

fn host_name_of_another() {
    let world = World::new(Mode::Network);
    let _restored = Restored;
    sh_on(world.there(), "hostname host-a");
    let nodes = Nodes::open(&world);
    let finding = Doctor::run(&world, "").expect_only("host_name");
    drop(nodes);
    sh(finding["mend"].as_str().expect("a command"));
    // Programs take the name when they start.
    let nodes = Nodes::open(&world);
    nodes.expect_matched();
    Doctor::run(&world, "").expect_healthy();
}

/// Two programs, each the first process of a namespace of its own or none, of which the publisher has found the subscriber.
#[track_caller]
fn programs(arguments: &[&str]) -> [Process; 2] {
    let programs = ["pub", "sub"].map(|name| {
        let mut command = match arguments {
            [] => Command::new(example::path(name)),
            arguments => {
                let mut command = Command::new("unshare");
                command.args(arguments).arg(example::path(name));
                command
            }
        };
        let arguments: &[&str] = match name {
            "pub" => &["topic", "--mode", "network", "--count", "1000000", "--rate", "10"],
            _ => &["topic", "--mode", "network"],
        };
        command.args(arguments).env("HOME", "/nonexistent").current_dir("/");
        Process::spawn(name, command)
    });
    programs[0].await_text("subscribers: 1");
    programs
}

fn process_ids_of_containers() {
    let world = World::new(Mode::Network);
    let processes = programs(&["--pid", "--fork", "--kill-child"]);
    let finding = Doctor::run(&world, "").expect_only("process_id");
    assert!(finding["mend"].as_str().is_some_and(|mend| mend.contains("--pid host")), "{finding}");
    drop(processes);
    // As with `--pid host`.
    let _processes = programs(&[]);
    Doctor::run(&world, "").expect_healthy();
}

fn port_that_is_taken() {
    const TAKE: &str = "use Socket; socket(S, PF_INET, SOCK_DGRAM, 17) and bind(S, pack_sockaddr_in(14000, INADDR_ANY)) \
                        or die $!; $| = 1; print \"{\\\"event\\\": \\\"taken\\\"}\\n\"; sleep 1000";
    let world = World::new(Mode::Network);
    let mut command = Command::new("perl");
    command.args(["-e", TAKE]);
    let mut holder = Process::spawn("the holder", command);
    holder.event("taken");
    let finding = Doctor::run(&world, "").expect_only("port");
    assert_eq!(finding["mend"], format!("kill {}", holder.id()), "{finding}");
    sh(finding["mend"].as_str().expect("a command"));
    // `kill` does not wait for the end.
    holder.last_text(Duration::from_secs(60));
    let nodes = Nodes::open(&world);
    nodes.expect_matched();
    Doctor::run(&world, "").expect_healthy();
}

fn other_ports() {
    let world = World::new(Mode::Network);
    let node = there(&world, |config| config.registration.network_port = 15_000);
    let finding = Doctor::run(&world, "").expect_only("ports");
    assert_eq!(finding["mend"], "registration.network.udp.port: 14000", "{finding}");
    drop(node);
    let nodes = Nodes::open(&world);
    nodes.expect_matched();
    Doctor::run(&world, "").expect_healthy();
}

fn other_mask_of_ferrocal() {
    let world = World::new(Mode::Network);
    let _node = there(&world, |config| config.udp.mask = Some(Ipv4Addr::new(255, 255, 255, 0)));
    Doctor::run(&world, "").expect_only("groups");
}

fn other_types() {
    let world = World::new(Mode::Network);
    let here = ours::node(&world, world.here(), "here");
    let other = there(&world, |_| {});
    let open = |name: &str| {
        let data_type = DataType { name: name.into(), encoding: "proto".into(), ..DataType::default() };
        let config = PublisherConfig::default().data_type(data_type);
        other.publisher_with::<[u8]>("pose", config).expect("a good topic")
    };
    let _subscriber: Subscriber<str> = here.subscriber("pose").expect("a good topic");
    let publisher = open("robots.Pose");
    assert!(publisher.wait_for_subscriber(Duration::from_secs(60)));
    Doctor::run(&world, "").expect_only("type");
}

/// It logs as long as `doctor` runs.
fn other_clock() {
    let world = World::new(Mode::Network);
    let ahead = Clock::program(|| SystemTime::now() + Duration::from_secs(60));
    let clock = |clock: Clock| {
        let node = there(&world, |config| {
            config.clock = clock;
            config.logging.console.enable = false;
        });
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The first line opens a socket, which is to be on that host.
                world.there().run(|| {
                    while !is_over.load(Ordering::Relaxed) {
                        node.log(LogLevel::Warning, "the time");
                        std::thread::sleep(Duration::from_millis(100));
                    }
                });
            });
            let doctor = Doctor::run(&world, "");
            is_over.store(true, Ordering::Relaxed);
            doctor
        })
    };
    clock(ahead).expect_only("clock");
    clock(Clock::System).expect_healthy();
}

fn foreign_datagrams() {
    let world = World::new(Mode::Network);
    let is_over = AtomicBool::new(false);
    let doctor = std::thread::scope(|scope| {
        scope.spawn(|| {
            world.there().run(|| {
                let socket = std::net::UdpSocket::bind((SECOND_ADDRESS, 0)).expect("a port");
                while !is_over.load(Ordering::Relaxed) {
                    socket.send_to(b"hello", "239.0.0.1:14000").expect("it is sent");
                    std::thread::sleep(Duration::from_millis(100));
                }
            });
        });
        let doctor = Doctor::run(&world, "");
        is_over.store(true, Ordering::Relaxed);
        doctor
    });
    doctor.expect_only("unusable");
}

fn real_in_local_mode() {
    let world = World::new(Mode::Network);
    let publisher =
        ecal::Publisher::start(Host::first(), Mode::Local, &[("topic", 10)], &ecal::DataType::default());
    let finding = Doctor::run(&world, "").expect_only("mode");
    assert_eq!(finding["mend"], "communication_mode: network", "{finding}");
    drop(publisher);
    let _publisher =
        ecal::Publisher::start(Host::first(), Mode::Network, &[("topic", 10)], &ecal::DataType::default());
    Doctor::run(&world, "").expect_healthy();
}

fn real_in_network_mode() {
    let network = World::new(Mode::Network);
    let publisher =
        ecal::Publisher::start(Host::first(), Mode::Network, &[("topic", 10)], &ecal::DataType::default());
    let finding = Doctor::run_in(Mode::Local, "").expect_only("mode");
    assert_eq!(finding["mend"], "communication_mode: local", "{finding}");
    drop((publisher, network));
    let _publisher =
        ecal::Publisher::start(Host::first(), Mode::Local, &[("topic", 10)], &ecal::DataType::default());
    Doctor::run_in(Mode::Local, "").expect_healthy();
}

/// A real reader on this host, and a publisher of ferrocal.
fn real_reader(check: &str, options: &[&str]) {
    let world = World::new(Mode::Network);
    let here = ours::node(&world, world.here(), "here");
    let _publisher = here.publisher::<str>("topic").expect("a good topic");
    let reader = ecal::Subscriber::start_with(Host::first(), Mode::Network, options, "topic");
    let finding = Doctor::run(&world, "").expect_only(check);
    assert!(
        finding["subject"].as_str().is_some_and(|subject| subject.contains("topic `topic`")),
        "{finding}"
    );
    drop(reader);
    let _reader = ecal::Subscriber::start_with(Host::first(), Mode::Network, &[], "topic");
    Doctor::run(&world, "").expect_healthy();
}

fn real_writer_by_shared_memory() {
    let world = World::new(Mode::Network);
    let here = ours::node(&world, world.here(), "here");
    let _subscriber = here.subscriber::<str>("topic").expect("a good topic");
    let start =
        |options: &[&str]| ecal::Publisher::start_with(Host::first(), Mode::Network, options, "topic", 10);
    let writer = start(&["--layer=shm"]);
    // What programs say of each other counts after 3.5 s. They may be late.
    Doctor::run(&world, "--duration 10").expect_only("writer_layer");
    drop(writer);
    let _writer = start(&[]);
    Doctor::run(&world, "").expect_healthy();
}

fn real_registering_by_shared_memory() {
    let start =
        |options: &[&str]| ecal::Publisher::start_with(Host::first(), Mode::Local, options, "topic", 10);
    let silent = start(&["--registration=shm"]);
    let finding = Doctor::run_in(Mode::Local, "").expect_only("registration");
    assert_eq!(finding["mend"], "registration.local.transport_type: udp", "{finding}");
    drop(silent);
    let _publisher = start(&[]);
    Doctor::run_in(Mode::Local, "").expect_healthy();
}

fn real_and_healthy() {
    let world = World::new(Mode::Network);
    let mut publisher =
        ecal::Publisher::start(world.there(), Mode::Network, &[("topic", 10)], &ecal::DataType::default());
    let mut subscriber = ecal::Subscriber::start(Host::first(), Mode::Network, &["topic"], 0);
    publisher.expect_matched("topic", 1);
    subscriber.expect_matched("topic", 1);
    publisher.begin_sending(0, 10.0);
    Doctor::run(&world, "").expect_healthy();
}

/// A process that answers calls on the second host.
fn listener(world: &World) -> Process {
    let listener = Process::spawn("the listener", cli(world.there(), "doctor --listen --mode network"));
    listener.await_text("Listening");
    listener
}

fn call_healthy() {
    let world = World::new(Mode::Network);
    let listener = listener(&world);
    let call = Doctor::run(&world, "--call");
    call.expect_healthy();
    // Five sizes, both ways, and the clock.
    assert_eq!(call.findings.len(), 11, "{call:#?}");
    listener.await_text("ok listen 65507 bytes, host-a to host-b: 10 of 10 datagrams");
    Doctor::run(&world, "--call --count 3").expect_healthy();
    listener.await_text("ok listen 65507 bytes, host-a to host-b: 3 of 3 datagrams");
    listener.interrupt();
    let (status, said) = listener.last_text(HANG);
    assert_eq!(status.code(), Some(0), "{said}");
}

fn call_with_another_mtu() {
    let world = World::new(Mode::Network);
    sh("ip link set veth-a mtu 9000");
    let _listener = listener(&world);
    let finding = Doctor::run(&world, "--call").expect_only("call");
    assert_eq!(finding["mend"], "ip link set veth-a mtu 1500", "{finding}");
    assert_eq!(finding["subject"], "1600 bytes, host-a to host-b");
    sh(finding["mend"].as_str().expect("a command"));
    Doctor::run(&world, "--call").expect_healthy();
}

fn call_without_fragments() {
    let world = World::new(Mode::Network);
    sh_on(world.there(), "sysctl -q -w net.ipv4.ipfrag_low_thresh=0 net.ipv4.ipfrag_high_thresh=0");
    let _listener = listener(&world);
    let finding = Doctor::run(&world, "--call").expect_only("call");
    assert_eq!(finding["subject"], "1600 bytes, host-a to host-b");
}

fn call_nobody() {
    let world = World::new(Mode::Network);
    let finding = Doctor::run(&world, "--call").expect_only("call");
    assert!(
        finding["meaning"].as_str().is_some_and(|text| text.starts_with("Nobody answered.")),
        "{finding}"
    );
    let silent = Doctor::run(&world, "--listen --duration 0.2");
    assert_eq!(silent.code, Some(4), "{silent:#?}");
    let local = Doctor::run_in(Mode::Local, "--call").expect_only("call");
    assert_eq!(local["mend"], "ferrocal doctor --call --mode network", "{local}");
}

fn a_capture_file_is_refused() {
    let output = cli(Host::first(), "doctor --transport file:/dev/null").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no capture files"));
}
