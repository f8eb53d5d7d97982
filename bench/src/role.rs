//! The processes of a measurement: they take commands from standard input and answer in lines of JSON.

use std::io::{BufRead, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::peers::{Line, Outcome, Peer};
use crate::sys::{now_ns, usage};
use crate::tally::{self, Tally};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Pub,
    Sub,
    /// Sends, and measures the time to the answer.
    Ping,
    /// Sends back what it receives.
    Pong,
}

/// What a process has to know; `peers/ecal.py` takes the same options.
#[derive(Clone, Debug, Args)]
pub(crate) struct Setup {
    #[arg(long)]
    pub role: Role,
    #[arg(long)]
    pub peer: Peer,
    /// Length of each message in bytes.
    #[arg(long)]
    pub size: usize,
    /// The address of this side's interface in network mode; none in local mode.
    #[arg(long)]
    pub interface: Option<Ipv4Addr>,
    #[arg(long, default_value_t = 1)]
    pub topics: usize,
    /// Subscribers of each topic in this process.
    #[arg(long, default_value_t = 1)]
    pub subscribers: usize,
    /// Nodes of this process, among which the topics are dealt out.
    #[arg(long, default_value_t = 1)]
    pub nodes: usize,
}

impl Setup {
    /// The names of all topics.
    pub(crate) fn topic_names(&self) -> Vec<String> {
        (0..self.topics).map(|number| format!("bench{number}")).collect()
    }

    /// This setup as a command line.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let name = |value: Option<clap::builder::PossibleValue>| {
            value.expect("all variants have names").get_name().to_owned()
        };
        let mut arguments = vec![
            format!("--role={}", name(self.role.to_possible_value())),
            format!("--peer={}", self.peer.name()),
            format!("--size={}", self.size),
            format!("--topics={}", self.topics),
            format!("--subscribers={}", self.subscribers),
            format!("--nodes={}", self.nodes),
        ];
        arguments.extend(self.interface.map(|address| format!("--interface={address}")));
        arguments
    }
}

/// Plays the role until standard input ends.
pub(crate) fn run(setup: &Setup) -> Outcome<()> {
    match setup.role {
        Role::Pub => publish(setup),
        Role::Sub => subscribe(setup),
        Role::Ping => ping(setup),
        Role::Pong => pong(setup),
    }
}

fn tell(event: &str, mut fields: Value) {
    fields["event"] = event.into();
    println!("{fields}");
    let _ = std::io::stdout().flush();
}

/// Answers each command, split into words, until there are no more.
fn serve(mut answer: impl FnMut(&[&str]) -> Outcome<(&'static str, Value)>) -> Outcome<()> {
    tell("ready", json!({}));
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (event, fields) = match *line.split(' ').collect::<Vec<_>>() {
            ["usage"] => ("usage", usage()),
            ref words => answer(words)?,
        };
        tell(event, fields);
    }
    tell("done", usage());
    // A peer's threads need not be waited for.
    std::process::exit(0);
}

fn publish(setup: &Setup) -> Outcome<()> {
    let mut outlet = setup.peer.outlet(setup)?;
    let mut messages = vec![vec![b'.'; setup.size]; outlet.batch_len()];
    let mut number = 0_u64;
    serve(|words| {
        let ["send", rate, seconds] = words else { return Err("unknown command".into()) };
        let (rate, seconds): (f64, f64) = (rate.parse()?, seconds.parse()?);
        let start = now_ns();
        let elapsed = || (now_ns() - start) as f64 / 1e9;
        let mut sent = 0;
        let mut refused = 0;
        let mut now = 0.0;
        while now < seconds {
            let due = if rate > 0.0 { (rate * now) as u64 + 1 } else { u64::MAX };
            if sent < due {
                let count = messages.len().min((due - sent).try_into().unwrap_or(usize::MAX));
                for message in &mut messages[..count] {
                    tally::stamp(message, number);
                    number += 1;
                }
                let accepted = outlet.send(&messages[..count]);
                refused += count - accepted;
                sent += count as u64;
            } else {
                let wait = sent as f64 / rate - now;
                thread::sleep(Duration::from_secs_f64(wait.clamp(0.0, seconds - now)));
            }
            now = elapsed();
        }
        Ok(("sent", json!({"sent": sent, "refused": refused, "start_ns": start, "seconds": elapsed()})))
    })
}

fn subscribe(setup: &Setup) -> Outcome<()> {
    let tallies: Vec<_> = (0..setup.topics * setup.subscribers).map(|_| Arc::new(Tally::default())).collect();
    let _alive = setup.peer.subscribe(setup, &tallies)?;
    let total = || {
        tallies
            .iter()
            .map(|tally| tally.read())
            .fold((0, 0, 0), |(a, b, c), (received, damaged, last)| (a + received, b + damaged, last.max(c)))
    };
    serve(|words| {
        let ["totals", expected] = words else { return Err("unknown command".into()) };
        let expected = expected.parse()?;
        settle(|| total().0, expected);
        let (received, damaged, last_ns) = total();
        let mut fields = usage();
        fields["received"] = received.into();
        fields["damaged"] = damaged.into();
        fields["last_ns"] = last_ns.into();
        Ok(("totals", fields))
    })
}

/// Waits until `expected` messages came, or no more come.
fn settle(received: impl Fn() -> u64, expected: u64) {
    const QUIET: Duration = Duration::from_millis(150);
    const STEP: Duration = Duration::from_millis(5);
    let (mut count, mut quiet) = (received(), Duration::ZERO);
    while count < expected && quiet < QUIET {
        thread::sleep(STEP);
        quiet += STEP;
        let newer = received();
        if newer != count {
            (count, quiet) = (newer, Duration::ZERO);
        }
    }
}

fn ping(setup: &Setup) -> Outcome<()> {
    let mut line = setup.peer.line(setup, "ping", "pong")?;
    let mut message = vec![b'.'; setup.size];
    let mut number = 0;
    serve(|words| {
        let ["ping", seconds] = words else { return Err("unknown command".into()) };
        let seconds: f64 = seconds.parse()?;
        let end = now_ns() + (seconds * 1e9) as u64;
        let inline = line.ping_inline(setup.size, end)?;
        let is_done = inline.is_some();
        let (mut times_ns, mut lost) = inline.unwrap_or_default();
        while !is_done && now_ns() < end {
            number += 1;
            tally::stamp(&mut message, number);
            let sent_ns = now_ns();
            line.send(&message)?;
            if answered(&mut *line, number, setup.size)? {
                times_ns.push(now_ns() - sent_ns);
            } else {
                lost += 1;
            }
        }
        times_ns.sort_unstable();
        let microseconds = |share: f64| {
            let at = ((times_ns.len() as f64 * share) as usize).min(times_ns.len().saturating_sub(1));
            times_ns.get(at).map(|&time| time as f64 / 1e3)
        };
        Ok((
            "pinged",
            json!({
                "count": times_ns.len(), "lost": lost,
                "p50_us": microseconds(0.5), "p99_us": microseconds(0.99), "p999_us": microseconds(0.999),
            }),
        ))
    })
}

/// Passes over answers that came too late, to earlier messages.
fn answered(line: &mut dyn Line, number: u64, len: usize) -> Outcome<bool> {
    let mut answer = None;
    while answer != Some(number) {
        if !line.receive(&mut |message| answer = tally::number(message, len))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn pong(setup: &Setup) -> Outcome<()> {
    let mut line = setup.peer.line(setup, "pong", "ping")?;
    // The main thread is left to answer the driver.
    thread::Builder::new().name("pong".into()).spawn(move || {
        loop {
            line.echo().unwrap_or_else(|error| eprintln!("{error}"));
        }
    })?;
    serve(|_| Err("unknown command".into()))
}
