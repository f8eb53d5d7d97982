//! Hours of use: two programs on two hosts that exchange messages of mixed lengths while 1 % of the packets are lost, and
//! other programs come and go, some of them by kill -9.
//!
//! `cargo bench --bench soak -- MINUTES`, or `./ci.sh soak MINUTES`. At the end it prints what memory and descriptors did,
//! and the account of each topic, and fails if one grew or a message is missing from the account.

mod account;
mod listener;
mod talker;
mod visitor;

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ferrocal::{Config, Node};
use ferrocal_integration_tests::netns::{self, FIRST_ADDRESS, Host, SECOND_ADDRESS, SecondHost};
use ferrocal_integration_tests::process::{HANG, Process};
use ferrocal_integration_tests::usage::{Usage, slope};
use serde_json::Value;

/// The topics of the program that goes on all the time: the length of their messages, and how many a second.
const STEADY: [(&str, usize, f64); 6] = [
    ("steady_0", 0, 50.0),
    ("steady_100", 100, 100.0),
    ("steady_1k", 1400, 50.0),
    ("steady_20k", 20_000, 20.0),
    ("steady_100k", 100_000, 5.0),
    ("steady_1m", 1_000_000, 1.0),
];
/// The topics of programs that come and go: the length of their messages.
const VISITED: [(&str, usize); 4] =
    [("visit_50", 50), ("visit_5k", 5000), ("visit_100k", 100_000), ("visit_300k", 300_000)];
/// The topic of nodes that come and go within the two programs.
const SHORT: &str = "short";

const SAMPLE_EVERY: Duration = Duration::from_secs(5);
const VISITOR_EVERY: Duration = Duration::from_secs(3);

/// Has glibc give back what is freed. Otherwise it keeps, of each thread, what it has ever freed of long messages: many
/// times what is in use, so that a leak would not be seen in RAM.
const GIVE_BACK: [(&str, &str); 2] = [("MALLOC_ARENA_MAX", "2"), ("MALLOC_MMAP_THRESHOLD_", "131072")];

/// Counts the bytes in use.
struct Counting;

static IN_USE: AtomicI64 = AtomicI64::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as i64, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<_> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["listener", address] => listener::run(address.parse().expect("an address")),
        ["talker", address] => talker::run(address.parse().expect("an address")),
        ["visitor", address, file] => visitor::run(address.parse().expect("an address"), Path::new(file)),
        _ => {
            let minutes = words.first().map_or(Ok(1.0), |text| text.parse::<f64>());
            let Ok(minutes) = minutes else {
                eprintln!("usage: soak MINUTES");
                return ExitCode::FAILURE;
            };
            if let Err(reason) = netns::enter() {
                eprintln!("this cannot run here: {reason}");
                return ExitCode::FAILURE;
            }
            return Soak::start().run(Duration::from_secs_f64(minutes * 60.0));
        }
    }
    ExitCode::SUCCESS
}

/// A node with the default settings but for its network.
fn node(name: &str, address: Ipv4Addr) -> Node {
    let mut config = Config::default().mode(ferrocal::Mode::Network);
    config.udp.interfaces.push(address.into());
    Node::with_config(name, config).expect("a node opens")
}

/// What is said of a program's memory, for a line of JSON.
fn sample() -> Value {
    // What is needed for a moment only does not count.
    let now = || {
        std::thread::sleep(Duration::from_millis(10));
        IN_USE.load(Ordering::Relaxed)
    };
    let heap = (0..20).map(|_| now()).min();
    serde_json::json!({ "event": "sample", "heap": heap })
}

/// Seeded randomness (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// What is read of a sample.
type Quantity = fn(&Sample) -> f64;

struct Soak {
    listener: Process,
    talker: Process,
    visitors: Vec<(Instant, Process)>,
    files: Vec<PathBuf>,
    folder: PathBuf,
    second: SecondHost,
    random: Random,
    samples: BTreeMap<&'static str, Vec<Sample>>,
}

struct Sample {
    minutes: f64,
    heap_kb: f64,
    usage: Usage,
}

impl Soak {
    fn start() -> Self {
        let second = SecondHost::new().unwrap_or_else(|reason| panic!("{reason}"));
        for host in [Host::first(), second.host()] {
            lose(host);
        }
        let folder = std::env::temp_dir().join(format!("ferrocal-soak-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder for the counts");
        let start = |name: &str, host: Host, address: Ipv4Addr| {
            let mut command = host.command(program());
            command.args([name, &address.to_string()]).envs(GIVE_BACK);
            let mut process = Process::spawn(name, command);
            process.event("ready");
            process
        };
        let listener = start("listener", Host::first(), FIRST_ADDRESS);
        let talker = start("talker", second.host(), SECOND_ADDRESS);
        Self {
            listener,
            talker,
            visitors: Vec::new(),
            files: Vec::new(),
            folder,
            second,
            random: Random(1),
            samples: BTreeMap::new(),
        }
    }

    fn run(mut self, duration: Duration) -> ExitCode {
        // The account of a publisher starts with its first message that arrives.
        self.send_until("the first messages arrive", |_, seen| seen.is_some());
        self.talker.send_line("go");
        self.talker.event("going");
        let start = Instant::now();
        let mut next_sample = start + SAMPLE_EVERY;
        let mut next_visitor = start;
        while start.elapsed() < duration {
            let now = Instant::now();
            if now >= next_visitor {
                self.visit();
                next_visitor += VISITOR_EVERY;
            }
            self.end_visitors(now);
            if now >= next_sample {
                self.sample(start.elapsed().as_secs_f64() / 60.0);
                next_sample += SAMPLE_EVERY;
            }
            let next = next_sample.min(next_visitor).min(now + Duration::from_millis(200));
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        let late = Instant::now() + HANG;
        self.end_visitors(late);
        self.talker.send_line("stop");
        self.talker.event("stopped");
        // And ends with its last message, so that one arrives after all that were lost.
        self.send_until("the last messages arrive", |sent, seen| seen == Some(sent));
        self.listener.send_line("report");
        let heard = self.listener.event("report");
        self.talker.send_line("report");
        let said = self.talker.event("report");
        let lost = [Host::first(), self.second.host()].map(lost_packets);
        let visits = account::visits(&self.files);
        println!(
            "ran for {:.1} minutes with {} programs that came and went",
            duration.as_secs_f64() / 60.0,
            self.files.len()
        );
        println!("packets dropped on the way, of those received: {}\n", lost.join(" and "));
        let is_flat = self.growth();
        let is_complete = account::print(&heard, &said, &visits);
        let _ = fs::remove_dir_all(&self.folder);
        if is_flat && is_complete { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// Sends a message on each steady topic until that holds of what was sent and the newest that arrived.
    fn send_until(&mut self, what: &str, holds: impl Fn(i64, Option<i64>) -> bool) {
        let start = Instant::now();
        loop {
            self.talker.send_line("one");
            let sent = self.talker.event("sent");
            // What is under way arrives meanwhile, unless it is lost.
            std::thread::sleep(Duration::from_millis(200));
            self.listener.send_line("newest");
            let newest = self.listener.event("newest");
            let is_done = |(topic, _, _): &(&str, usize, f64)| {
                holds(sent["clocks"][topic].as_i64().expect("a clock"), newest["clocks"][topic].as_i64())
            };
            if STEADY.iter().all(is_done) {
                return;
            }
            assert!(start.elapsed() < HANG, "not within {HANG:?}: {what}: {sent} {newest}");
        }
    }

    fn visit(&mut self) {
        let (host, address) = match self.random.below(2) {
            0 => (Host::first(), FIRST_ADDRESS),
            _ => (self.second.host(), SECOND_ADDRESS),
        };
        let file = self.folder.join(self.files.len().to_string());
        let mut command = host.command(program());
        command.args(["visitor", &address.to_string()]).arg(&file);
        let end = Instant::now() + Duration::from_millis(1000 + self.random.below(5000));
        self.visitors.push((end, Process::spawn("visitor", command)));
        self.files.push(file);
    }

    /// Ends those whose time has come: in good order, by SIGTERM, or by SIGKILL.
    fn end_visitors(&mut self, now: Instant) {
        let (due, stay) = std::mem::take(&mut self.visitors).into_iter().partition(|(end, _)| *end <= now);
        self.visitors = stay;
        for (_, visitor) in due {
            let visitor: Process = visitor;
            match self.random.below(3) {
                0 => drop(visitor.finish()),
                1 => {
                    visitor.terminate();
                    visitor.last_text(HANG);
                }
                _ => visitor.kill(),
            }
        }
    }

    fn sample(&mut self, minutes: f64) {
        for (name, process) in [("listener", &mut self.listener), ("talker", &mut self.talker)] {
            process.send_line("sample");
            let heap_kb = process.event("sample")["heap"].as_f64().expect("a number") / 1000.0;
            let sample = Sample { minutes, heap_kb, usage: Usage::of(process.id()) };
            if self.samples.get(name).is_none_or(|samples| samples.len() % 60 == 0) {
                eprintln!("{minutes:6.1} min: {name}: {heap_kb:.0} kB in use, {:?}", sample.usage);
            }
            self.samples.entry(name).or_default().push(sample);
        }
    }

    /// Prints what memory, descriptors and threads did after the first quarter, and returns whether they stay.
    fn growth(&self) -> bool {
        /// What the middle of the last quarter may be above that of the second: tables keep the size they once had.
        const GROWTH: f64 = 0.05;
        const SLACK_KB: f64 = 2000.0;
        /// Nodes within the program that come and go have some of their own.
        const SLACK_COUNT: f64 = 2.0;
        println!(
            "| program | | lowest | highest | middle of the 2nd quarter | of the last | slope per hour |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- |");
        let mut is_flat = true;
        for (name, samples) in &self.samples {
            let series: [(&str, Quantity, f64); 4] = [
                ("heap in use, kB", |sample| sample.heap_kb, SLACK_KB),
                ("memory in RAM, kB", |sample| sample.usage.memory_kb as f64, SLACK_KB),
                ("descriptors", |sample| sample.usage.descriptors as f64, SLACK_COUNT),
                ("threads", |sample| sample.usage.threads as f64, SLACK_COUNT),
            ];
            let samples = &samples[samples.len() / 4..];
            for (what, value, slack) in series {
                let points: Vec<_> =
                    samples.iter().map(|sample| (sample.minutes / 60.0, value(sample))).collect();
                let values: Vec<_> = points.iter().map(|point| point.1).collect();
                let third = values.len() / 3;
                let (first, last) =
                    (median(&values[..third.max(1)]), median(&values[values.len() - third.max(1)..]));
                let (lowest, highest) = values
                    .iter()
                    .fold((f64::MAX, 0.0_f64), |(low, high), &value| (low.min(value), high.max(value)));
                let stays = last <= first * (1.0 + GROWTH) + slack;
                is_flat &= stays;
                println!(
                    "| {name} | {what} | {lowest:.0} | {highest:.0} | {first:.0} | {last:.0} | {:+.1}{} |",
                    slope(&points),
                    if stays { "" } else { " GROWS" }
                );
            }
        }
        println!();
        is_flat
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

fn program() -> PathBuf {
    std::env::current_exe().expect("its path is known")
}

/// Loses 1 % of the packets that come from the other host: IP fragments, and datagrams, several at once where the kernel has
/// joined them.
///
/// Linux keeps what it has of an incomplete IP packet for 30 s, and receives no fragments any more once that is 4 MB. So
/// it is kept for 3 s.
fn lose(host: Host) {
    sh(
        host,
        "echo 3 >/proc/sys/net/ipv4/ipfrag_time && \
         nft add table ip t && nft add chain ip t c '{ type filter hook prerouting priority -300; }' && \
         nft add rule ip t c iifname 'veth-*' ip protocol udp counter && \
         nft add rule ip t c iifname 'veth-*' ip protocol udp numgen random mod 100 == 0 counter drop",
    );
}

/// How many packets were dropped, of how many.
fn lost_packets(host: Host) -> String {
    let text = sh(host, "nft list ruleset");
    let counts: Vec<_> =
        text.split("counter packets ").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
    match counts[..] {
        [all, dropped] => format!("{dropped} of {all}"),
        _ => text,
    }
}

fn sh(host: Host, script: &str) -> String {
    let mut command: Command = host.command("sh");
    let output = command.args(["-c", script]).output().expect("a shell");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
