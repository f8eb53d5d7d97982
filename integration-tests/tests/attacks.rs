//! Attacks of a few datagrams, and what they do to ours and to the real eCAL, side by side on one host.
//!
//! Ours has to go on. What the real one does is printed: `cargo test --test attacks -- --nocapture`.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use ferrocal::{Config, Node, Selection};
use ferrocal_integration_tests::ecal::{self, DataType};
use ferrocal_integration_tests::pair::Injector;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{forge, ours};
use ferrocal_proto::ProcessInfo;

fn main() -> ExitCode {
    let attacks: [(&str, Attack); 7] = [
        ("nothing", |_| {}),
        ("a_name_longer_than_its_datagram", |injector| {
            injector.payload(&[forge::whole(b"\xff\xffhello")]);
        }),
        ("one_fragment_with_a_large_number", |injector| {
            injector.payload(&[forge::fragment(1, 30_000_000, b"\0\0\0\0")]);
        }),
        ("fragment_5_then_an_info_of_1_fragment", |injector| {
            injector.payload(&[forge::fragment(1, 5, b"x"), forge::info(1, 1, 100)]);
        }),
        ("a_hundred_announcements_of_256_mib", |injector| {
            (0..100).for_each(|id| injector.payload(&[forge::info(id, 4096, 256 << 20)]));
        }),
        ("noise", noise),
        ("registrations_of_20000_topics", registrations),
    ];
    let test = |(name, attack)| Test::new(name, &[Need::Ecal, Need::RawFrames], move || under(name, attack));
    suite::main(attacks.into_iter().map(test).collect())
}

type Attack = fn(&Injector);

const TOPIC: &str = "hello";
const LEN: usize = 100;

/// Datagrams of the greatest length, for a second.
fn noise(injector: &Injector) {
    let mut random = fastrand::Rng::with_seed(15);
    let datagram: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(65_507).collect();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        injector.payload(std::slice::from_ref(&datagram));
        injector.registration(std::slice::from_ref(&datagram));
    }
}

/// Publishers on topics with long names, and a process for each.
fn registrations(injector: &Injector) {
    for id in 0..20_000 {
        let topic = format!("topic {id} {}", "x".repeat(1000));
        let info =
            forge::on_this_host(forge::topic_info("forged", id, 1000 + u64::from(id.unsigned_abs()), &topic));
        let process =
            ProcessInfo { host_name: info.host_name.clone(), process_id: id, ..ProcessInfo::default() };
        injector
            .registration(&[forge::whole(&forge::process(process)), forge::whole(&forge::publisher(info))]);
        if id % 100 == 99 {
            // Not faster than they are read.
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The memory of a process in kB, as a line of its status says; `None` if it has ended.
fn memory(process_id: u32, line: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).ok()?;
    let value = status.lines().find_map(|text| text.strip_prefix(line))?;
    value.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().ok()
}

fn under(name: &str, attack: Attack) {
    let world = World::new(Mode::Local);
    let nodes = [Selection::Socket, Selection::Npcap].map(|backend| {
        let config: Config = ours::config(&world, world.here()).transport(backend);
        Node::with_config("ours", config).expect("a node opens")
    });
    let subscribers = nodes.each_ref().map(|node| ours::Subscriber::new(node, &[TOPIC]));
    let mut real = ecal::Subscriber::start(world.here(), Mode::Local, &[TOPIC], 0);
    let mut publisher =
        ecal::Publisher::start(world.here(), Mode::Local, &[(TOPIC, LEN)], &DataType::default());
    publisher.expect_matched(TOPIC, 3);
    subscribers.iter().for_each(|subscriber| subscriber.expect_matched(1));
    real.expect_matched(TOPIC, 1);
    publisher.send(5, 50.0);
    subscribers.iter().for_each(|subscriber| subscriber.await_received(5));
    real.await_received(5, 1);
    let id = real.process.id();
    let own = std::process::id();
    let (before, own_before) = (memory(id, "VmRSS"), memory(own, "VmRSS"));

    attack(&Injector::in_world(&world));
    publisher.send(20, 50.0);
    subscribers.iter().for_each(|subscriber| subscriber.await_received(25));
    let own_after = memory(own, "VmRSS");
    assert!(nodes.iter().all(|node| !node.status().has_failed));
    for node in &nodes {
        println!("{name}: ours: {:?}, {:?}", node.status().drops, node.status().receive_drops);
    }
    println!("{name}: ours: {own_before:?} kB before, {own_after:?} after (both nodes and the test)");

    // It gets a while for what it does get.
    let start = Instant::now();
    let mut received = 0;
    while memory(id, "VmRSS").is_some() && received < 25 && start.elapsed() < Duration::from_secs(5) {
        real.process.send_line("totals");
        let totals = real.process.event("totals");
        received = totals["rows"][0]["received"].as_u64().unwrap_or(0);
        thread::sleep(Duration::from_millis(50));
    }
    let peak = memory(id, "VmHWM");
    println!(
        "{name}: real: {received} of 25 received, {before:?} kB before, peak {peak:?} (none: it has ended)"
    );
}
