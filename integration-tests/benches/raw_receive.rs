//! Receiving by raw frames against receiving by a socket: the same stream over a veth, to both at once and to each alone.
//!
//! Needs the examples: `cargo build --release --examples`. Prints a table; medians of five runs.

use std::process::ExitCode;

use ferrocal_integration_tests::example::{self, Ended};
use ferrocal_integration_tests::netns;
use ferrocal_integration_tests::world::{Mode, World};

const RUNS: usize = 5;

/// What is sent, for some seconds.
struct Stream {
    name: &'static str,
    arguments: &'static str,
}

const STREAMS: [Stream; 2] = [
    Stream { name: "1 MB at 300/s", arguments: "--size 1000000 --rate 300 --count 1500" },
    Stream { name: "64 B flat out", arguments: "--size 64 --rate 0 --count 1000000" },
];

/// What one subscriber made of it.
#[derive(Clone, Copy)]
struct Outcome {
    received: f64,
    mb_per_s: f64,
    cpu_seconds: f64,
}

fn main() -> ExitCode {
    if let Err(reason) = netns::enter() {
        eprintln!("this benchmark cannot run here: {reason}");
        return ExitCode::FAILURE;
    }
    println!("| stream | receiver | received of sent | MB/s | CPU seconds |");
    println!("| --- | --- | --- | --- | --- |");
    for stream in STREAMS {
        let runs: Vec<_> =
            (0..RUNS).map(|_| ["socket", "npcap"].map(|transport| run(&stream, transport))).collect();
        for (column, receiver) in ["socket", "raw frames"].into_iter().enumerate() {
            let middle =
                |value: fn(Outcome) -> f64| median(runs.iter().map(|run| value(run[column])).collect());
            println!(
                "| {} | {receiver} | {:.1} % | {:.1} | {:.2} |",
                stream.name,
                100.0 * middle(|outcome| outcome.received),
                middle(|outcome| outcome.mb_per_s),
                middle(|outcome| outcome.cpu_seconds),
            );
        }
    }
    ExitCode::SUCCESS
}

fn run(stream: &Stream, transport: &str) -> Outcome {
    let world = World::new(Mode::Network);
    let network = |address: Option<std::net::Ipv4Addr>| {
        let address = address.expect("network mode has addresses");
        format!("--mode network --interface {address} --json")
    };
    let here = network(world.interface());
    let subscriber = example::start(
        world.here(),
        "sub",
        &format!("ramp {here} --transport {transport} --verify ramp --duration 12"),
    );
    let there = network(world.interface_there());
    let sending = format!("ramp {there} --payload ramp --wait-for-subscriber 20 {}", stream.arguments);
    let publisher = Ended::of(example::start(world.there(), "pub", &sending));
    let sent = publisher.number("sent");
    let subscriber = Ended::of(subscriber);
    let number = |key: &str| subscriber.line[key].as_f64().unwrap_or_default();
    assert_eq!(number("corrupt"), 0.0, "{}", subscriber.line);
    Outcome {
        received: number("received") / sent as f64,
        mb_per_s: number("mb_per_s"),
        cpu_seconds: number("cpu_seconds"),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
