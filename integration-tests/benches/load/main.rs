//! The highest rates, for minutes: a program that publishes as fast as it can, and on the same topics subscribers that are
//! fast, one that is slow, and one that is killed and started again all the time. 1, 10 and 100 fast ones, each a process.
//!
//! `cargo bench --bench load -- MINUTES`, or `./ci.sh load MINUTES`; each number of processes has a third of the time. It
//! fails if one of the fast ones gets nothing for a sixth of that, if memory or descriptors grow, or if a message is
//! missing from the account.

mod roles;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use ferrocal_integration_tests::netns;
use ferrocal_integration_tests::process::Process;
use ferrocal_integration_tests::usage::Usage;
use serde_json::Value;

/// The topics, and the length of their messages.
const TOPICS: [(&str, usize); 2] = [("short", 100), ("long", 1_000_000)];
/// How many fast subscribers there are.
const PROCESSES: [usize; 3] = [1, 10, 100];
/// Looks at the programs within the time of a number of processes.
const LOOKS: u32 = 6;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["publisher"] => roles::publish(),
        ["fast"] => roles::subscribe_fast(),
        ["slow"] => roles::subscribe_slowly(),
        _ => {
            let minutes = words.first().map_or(Ok(10.0), |text| text.parse::<f64>());
            let Ok(minutes) = minutes else {
                eprintln!("usage: load MINUTES");
                return ExitCode::FAILURE;
            };
            if let Err(reason) = netns::enter() {
                eprintln!("this cannot run here: {reason}");
                return ExitCode::FAILURE;
            }
            println!(
                "| fast subscribers | topic | sent a second | received a second: fewest, most | lost: least, most | crashes |"
            );
            println!("| --- | --- | --- | --- | --- | --- |");
            let time = Duration::from_secs_f64(minutes * 60.0) / PROCESSES.len() as u32;
            let faults: Vec<_> = PROCESSES.iter().flat_map(|&count| Load::start(count).run(time)).collect();
            println!();
            for fault in &faults {
                println!("{fault}");
            }
            return if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
    }
    ExitCode::SUCCESS
}

struct Load {
    publisher: Process,
    fast: Vec<Process>,
    slow: Process,
    crashing: Process,
    crashes: u32,
    faults: Vec<String>,
}

/// What the programs said at one time.
struct Look {
    at: Instant,
    published: Value,
    fast: Vec<Value>,
    slow: Value,
    /// Of the publisher, the slow one and the fast ones.
    usages: Vec<Usage>,
}

impl Load {
    fn start(count: usize) -> Self {
        let fast = (0..count).map(|_| start("fast")).collect();
        let (slow, crashing) = (start("slow"), start("fast"));
        let mut publisher = start("publisher");
        publisher.send_line(&(count + 2).to_string());
        publisher.event("going");
        Self { publisher, fast, slow, crashing, crashes: 0, faults: Vec::new() }
    }

    fn run(mut self, time: Duration) -> Vec<String> {
        let count = self.fast.len();
        let mut looks = vec![self.look()];
        for _ in 0..LOOKS {
            let next = Instant::now() + time / LOOKS;
            while Instant::now() < next {
                // Its life is short, and what it does when it is killed is chance.
                let life = Duration::from_millis(500 + u64::from(self.crashes * 271 % 1500));
                std::thread::sleep(life.min(next.saturating_duration_since(Instant::now())));
                std::mem::replace(&mut self.crashing, start("fast")).kill();
                self.crashes += 1;
            }
            looks.push(self.look());
        }
        self.publisher.send_line("stop");
        self.publisher.event("stopped");
        for (topic, _) in TOPICS {
            self.print(topic, &looks);
        }
        let mut fault = |text: String| self.faults.push(format!("{count} processes: {text}"));
        for pair in looks.windows(2) {
            for (topic, _) in TOPICS {
                for (index, (before, after)) in pair[0].fast.iter().zip(&pair[1].fast).enumerate() {
                    if number(before, topic, "received") == number(after, topic, "received") {
                        fault(format!("the fast subscriber {index} of `{topic}` starves"));
                    }
                }
            }
        }
        let last = &looks[looks.len() - 1];
        for said in last.fast.iter().chain([&last.slow]) {
            for (topic, _) in TOPICS {
                let [received, lost, known] =
                    ["received", "lost", "known"].map(|key| number(said, topic, key));
                if received + lost < known || number(said, topic, "corrupt") > 0 {
                    fault(format!("the account of `{topic}` is wrong: {said}"));
                }
            }
        }
        for index in 0..last.usages.len() {
            let usages: Vec<_> = looks.iter().map(|look| look.usages[index]).collect();
            if let Some(why) = growth(&usages) {
                fault(format!("program {index} {why}: {usages:?}"));
            }
        }
        println!("memory of the publisher, the slow one and a fast one in kB: {}", memory(&looks));
        self.faults
    }

    fn look(&mut self) -> Look {
        let fast = self.fast.iter_mut().map(report).collect();
        let (published, slow) = (report(&mut self.publisher), report(&mut self.slow));
        let processes = [&self.publisher, &self.slow].into_iter().chain(&self.fast);
        Look {
            at: Instant::now(),
            published,
            fast,
            slow,
            usages: processes.map(|one| Usage::of(one.id())).collect(),
        }
    }

    fn print(&self, topic: &str, looks: &[Look]) {
        let (first, last) = (&looks[0], &looks[looks.len() - 1]);
        let seconds = (last.at - first.at).as_secs_f64();
        let rate = |before: &Value, after: &Value, key: &str| {
            (number(after, topic, key) - number(before, topic, key)) as f64 / seconds
        };
        let pairs = || first.fast.iter().zip(&last.fast);
        let rates: Vec<_> = pairs().map(|(before, after)| rate(before, after, "received")).collect();
        let shares: Vec<_> = pairs()
            .zip(&rates)
            .map(|((before, after), received)| (rate(before, after, "lost"), received))
            .map(|(lost, received)| 100.0 * lost / (lost + received).max(f64::MIN_POSITIVE))
            .collect();
        let least = |values: &[f64]| values.iter().copied().fold(f64::MAX, f64::min);
        let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        println!(
            "| {} | {topic} | {:.0} | {:.0}, {:.0} | {:.2} %, {:.2} % | {} |",
            self.fast.len(),
            rate(&first.published, &last.published, "published"),
            least(&rates),
            most(&rates),
            least(&shares),
            most(&shares),
            self.crashes
        );
    }
}

/// Whether a program holds more than its settings allow, or more and more.
fn growth(usages: &[Usage]) -> Option<&'static str> {
    /// Two queues, which hold up to twice their bound, incomplete messages, and 30 MB for all else.
    const MOST_KB: u64 = (2 * 2 * roles::QUEUE_BYTES + roles::INCOMPLETE_BYTES) as u64 / 1000 + 30_000;
    let (last, before) = usages.split_last()?;
    let highest = before.iter().map(|usage| usage.memory_kb).max()?;
    let middle = usages[usages.len() / 2];
    if last.memory_kb > MOST_KB {
        Some("holds more than its settings allow")
    } else if last.memory_kb > highest * 5 / 4 + 8000 || last.descriptors > middle.descriptors + 2 {
        Some("grows")
    } else {
        None
    }
}

/// Memory at each look.
fn memory(looks: &[Look]) -> String {
    let at = |index: usize| {
        let all: Vec<_> = looks.iter().map(|look| look.usages[index].memory_kb.to_string()).collect();
        all.join(" ")
    };
    [0, 1, 2].map(at).join("; ")
}

fn start(role: &str) -> Process {
    let mut command = Command::new(std::env::current_exe().expect("its path is known"));
    command.arg(role);
    let mut process = Process::spawn(role, command);
    process.event("ready");
    process
}

fn report(process: &mut Process) -> Value {
    process.send_line("report");
    process.event("report")
}

fn number(said: &Value, topic: &str, key: &str) -> u64 {
    said["topics"][topic][key].as_u64().unwrap_or_else(|| panic!("{key} of {topic} in {said}"))
}
