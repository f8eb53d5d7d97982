//! What registration costs: five processes with a node each, on one host, and the same topics in all of them.
//!
//! Prints a table: how long after the start of the last process everything is matched, and what of a processor core and of
//! memory a node takes from then on. Nothing is published.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use ferrocal::{Config, Node};
use ferrocal_integration_tests::netns;
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::world::Mode;

const NODES: usize = 5;
/// Topics of a node, and whether it has a publisher and a subscriber of each, or takes turns.
const SETTINGS: [(usize, Sides); 3] = [(200, Sides::InTurns), (200, Sides::Both), (400, Sides::Both)];
/// How long the steady state is looked at, and how often memory is within that time.
const STEADY: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sides {
    /// Publishers and subscribers of each topic.
    Both,
    /// Publishers of one half of the topics and subscribers of the other: one node the other way round than the next.
    InTurns,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, word, topics, sides, index] = &arguments[..]
        && word == "node"
    {
        let number = |text: &str| text.parse().expect("a number");
        let sides = if sides == "both" { Sides::Both } else { Sides::InTurns };
        run_node(number(topics), sides, number(index));
        return ExitCode::SUCCESS;
    }
    if let Err(reason) = netns::enter() {
        eprintln!("this benchmark cannot run here: {reason}");
        return ExitCode::FAILURE;
    }
    println!(
        "| topics in each of {NODES} nodes | entities | matched after | core, mean of a node | highest | memory of a node, \
         then after {} s |",
        STEADY.as_secs()
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for (topics, sides) in SETTINGS {
        measure(topics, sides);
    }
    ExitCode::SUCCESS
}

fn measure(topics: usize, sides: Sides) {
    let word = if sides == Sides::Both { "both" } else { "in turns" };
    let program = std::env::current_exe().expect("its path is known");
    let mut start = Instant::now();
    let mut nodes: Vec<_> = (0..NODES)
        .map(|index| {
            let mut command = Command::new(&program);
            command.args(["node", &topics.to_string(), word, &index.to_string()]);
            start = Instant::now();
            Process::spawn(&format!("node {index}"), command)
        })
        .collect();
    nodes.iter_mut().for_each(|node| drop(node.event("matched")));
    let matched = start.elapsed();
    // Announcing what has just changed is over after a refresh.
    std::thread::sleep(Duration::from_secs(2));
    let usage = |nodes: &[Process]| nodes.iter().map(|node| usage(node.id())).collect::<Vec<_>>();
    let (start, before) = (Instant::now(), usage(&nodes));
    std::thread::sleep(STEADY);
    let (elapsed, after) = (start.elapsed().as_secs_f64(), usage(&nodes));
    let shares: Vec<_> =
        before.iter().zip(&after).map(|(before, after)| 100.0 * (after.0 - before.0) / elapsed).collect();
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / NODES as f64;
    let entities = NODES * if sides == Sides::Both { 2 * topics } else { topics };
    println!(
        "| {topics}, {word} | {entities} | {:.2} s | {:.2} % | {:.2} % | {:.1} MB, {:.1} MB |",
        matched.as_secs_f64(),
        mean(&mut shares.iter().copied()),
        shares.iter().copied().fold(0.0, f64::max),
        mean(&mut before.iter().map(|usage| usage.1)),
        mean(&mut after.iter().map(|usage| usage.1)),
    );
}

/// A node that says when all it has is matched, and ends with its input.
fn run_node(topics: usize, sides: Sides, index: usize) {
    let config = Config::default().mode(Mode::Local.into());
    let node = Node::with_config(&format!("node {index}"), config).expect("a node opens");
    let name = |topic: usize| format!("/robot/part_{topic}/state");
    let is_published = |topic: usize| sides == Sides::Both || topic % 2 == index % 2;
    let is_subscribed = |topic: usize| sides == Sides::Both || topic % 2 != index % 2;
    let publishers: Vec<_> = (0..topics)
        .filter(|&topic| is_published(topic))
        .map(|topic| node.publisher::<[u8]>(&name(topic)).expect("a good topic"))
        .collect();
    let subscribers: Vec<_> = (0..topics)
        .filter(|&topic| is_subscribed(topic))
        .map(|topic| node.subscribe::<[u8]>(&name(topic), drop).expect("a good topic"))
        .collect();
    // Of each topic, all nodes have the one side or the other, or both.
    let others = match sides {
        Sides::Both => NODES,
        Sides::InTurns => (0..NODES).filter(|other| other % 2 != index % 2).count(),
    };
    let are_matched = publishers.iter().all(|publisher| publisher.wait_for_subscribers(others, HANG))
        && subscribers.iter().all(|subscriber| subscriber.wait_for_publishers(others, HANG));
    assert!(are_matched, "not everything is matched");
    println!("{{\"event\": \"matched\"}}");
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// The processor time of a process in seconds, and its memory in MB.
fn usage(id: u32) -> (f64, f64) {
    /// The kernel's unit of times in `stat`, which is the same on all systems of today (proc_pid_stat(5)).
    const TICKS_PER_SECOND: f64 = 100.0;
    let read = |file: &str| fs::read_to_string(format!("/proc/{id}/{file}")).expect("the process is there");
    // The name of the program, in parentheses, may have spaces.
    let stat = read("stat");
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).expect("a time");
    let status = read("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    let kb: f64 = line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number");
    ((ticks(11) + ticks(12)) / TICKS_PER_SECOND, kb / 1000.0)
}
