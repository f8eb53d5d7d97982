//! What readers of the real eCAL get of long messages, with their default buffer and with a small one: from a publisher of the
//! real eCAL and from one of ferrocal in turns, ten messages at 5 Hz each. The argument is the number of rounds.
//!
//! Prints a table: how many messages came whole of each publisher, round by round.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use ferrocal::Node;
use ferrocal_integration_tests::ecal::{self, DataType, Release};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{netns, ours};

const TOPIC: &str = "long";
const COUNT: u64 = 10;
const RATE: f64 = 5.0;
const LENS: [usize; 3] = [1_000_000, 5_000_000, 20_000_000];
/// eCAL's own, and what Linux grants unless `net.core.rmem_max` is raised.
const BUFFERS: [usize; 2] = [5 * 1024 * 1024, 212_992];
/// How long a reader may take to pass on what has arrived.
const SETTLED: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let rounds = std::env::args().nth(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    if let Err(reason) = netns::enter().and_then(|()| Release::Current.available()) {
        eprintln!("this benchmark cannot run here: {reason}");
        return ExitCode::FAILURE;
    }
    println!(
        "| mode | message | reader's buffer | of {COUNT} from the real eCAL | sum | from ferrocal | sum |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for mode in Mode::ALL {
        for len in LENS {
            for buffer_len in BUFFERS {
                let (mut real, mut own) = (Vec::new(), Vec::new());
                for _ in 0..rounds {
                    real.push(of_real(mode, len, buffer_len));
                    own.push(of_ours(mode, len, buffer_len));
                }
                let told = |counts: &[u64]| counts.iter().map(u64::to_string).collect::<Vec<_>>().join(" ");
                println!(
                    "| {} | {} MB | {buffer_len} | {} | {} | {} | {} |",
                    mode.name(),
                    len / 1_000_000,
                    told(&real),
                    real.iter().sum::<u64>(),
                    told(&own),
                    own.iter().sum::<u64>(),
                );
            }
        }
    }
    ExitCode::SUCCESS
}

fn of_real(mode: Mode, len: usize, buffer_len: usize) -> u64 {
    let world = World::new(mode);
    let mut publisher = ecal::Publisher::start(world.here(), mode, &[(TOPIC, len)], &DataType::default());
    let mut subscriber = reader(&world, buffer_len);
    publisher.expect_matched(TOPIC, 1);
    publisher.send(COUNT, RATE);
    let received = received(&mut subscriber, len);
    publisher.process.finish();
    subscriber.finish();
    received
}

fn of_ours(mode: Mode, len: usize, buffer_len: usize) -> u64 {
    let world = World::new(mode);
    let mut config = ours::config(&world, world.here());
    // What it was granted itself it assumes of others.
    config.udp.receive_buffer_len = buffer_len;
    let node = Node::with_config("ours", config).expect("a node");
    let mut publisher = ours::Publisher::new(&node, &[(TOPIC, len)]);
    let mut subscriber = reader(&world, buffer_len);
    publisher.expect_matched(1);
    publisher.send(COUNT, RATE);
    let received = received(&mut subscriber, len);
    subscriber.finish();
    received
}

fn reader(world: &World, buffer_len: usize) -> ecal::Subscriber {
    let buffer = format!("--receive-buffer={buffer_len}");
    let mut reader = ecal::Subscriber::start_with(world.there(), world.mode(), &[&buffer], TOPIC);
    reader.expect_matched(TOPIC, 1);
    reader
}

/// What the reader has in the end.
fn received(reader: &mut ecal::Subscriber, len: usize) -> u64 {
    thread::sleep(SETTLED);
    let rows = reader.totals_with("totals", |_| true);
    assert!(rows.iter().all(|row| row.corrupt == 0 && row.lens == [len as u64]), "{rows:?}");
    rows.iter().map(|row| row.received).sum()
}
