//! Runs the measurements: within each run, every candidate of a group once, so that noise hits all alike.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use clap::Args;
use ferrocal_integration_tests::netns;
use ferrocal_integration_tests::world::{Mode, World};

use crate::peers::{Outcome, ecal};
use crate::plan::{self, Kind, Row};
use crate::report::{self, Figures, Measured};
use crate::search::{self, Effort};
use crate::session::{PingPong, Probe, Stream, number};
use crate::{chart, machine};

#[derive(Args)]
pub(crate) struct Options {
    /// Measure only rows whose name has each of these words as a part, as `throughput,veth,1MB,ferrocal`; given
    /// again, these too.
    #[arg(long, value_name = "WORD,...")]
    only: Vec<String>,
    /// How often to measure each; medians are told.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Shorter and coarser.
    #[arg(long)]
    quick: bool,
    /// Write all figures of all runs here.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw throughput and round trips here.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(crate) fn list(options: &Options) {
    for row in plan::rows(&options.only) {
        println!("{}", row.name());
    }
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    netns::enter()?;
    let mut rows = plan::rows(&options.only);
    if rows.iter().any(Row::has_ecal)
        && let Err(reason) = ecal::available()
    {
        eprintln!("without the real eCAL: {reason}");
        rows.retain(|row| !row.has_ecal());
    }
    if rows.is_empty() {
        return Err("no such measurement; `bench list` tells all".into());
    }
    let (local, network) = (World::new(Mode::Local), World::new(Mode::Network));
    // For LCM on loopback; the hosts' own routes to 239.0.0.0/8 go through the veth.
    let route = local.here().command("ip").args(["route", "add", "224.0.0.0/4", "dev", "lo"]).status()?;
    if !route.success() {
        return Err("multicast cannot be routed through the loopback interface".into());
    }
    // Before the measurements make their own load.
    let machine = machine::describe();
    println!("{machine}\n");
    let mut measured = Vec::new();
    for group in rows.chunk_by(|a, b| a.group() == b.group()) {
        let mut results: Vec<_> = group.iter().map(|row| Measured::new(row.clone())).collect();
        for run in 0..options.runs {
            for result in &mut results {
                eprintln!("{} ({} of {})", result.row.name(), run + 1, options.runs);
                let world = if result.row.place == Mode::Local { &local } else { &network };
                // A candidate that fails has told why, and the others go on.
                let figures = catch_unwind(AssertUnwindSafe(|| measure(world, &result.row, options.quick)));
                result.runs.push(figures.ok());
                result.row.peers[0].clean_up()?;
            }
        }
        report::print(&results);
        measured.extend(results);
        if let Some(path) = &options.json {
            std::fs::write(path, format!("{:#}\n", report::json(&machine, &measured)))?;
        }
        if let Some(path) = &options.svg {
            std::fs::write(path, chart::svg(&machine, &measured))?;
        }
    }
    Ok(())
}

fn measure(world: &World, row: &Row, quick: bool) -> Figures {
    match row.kind {
        Kind::Throughput => throughput(world, row, quick),
        Kind::RoundTrip => round_trip(world, row, quick),
        _ => steady(world, row, quick),
    }
}

fn throughput(world: &World, row: &Row, quick: bool) -> Figures {
    let effort = if quick {
        Effort { probe_seconds: 0.2, halvings: 2 }
    } else {
        Effort { probe_seconds: 0.5, halvings: 4 }
    };
    let mut stream = Stream::start(world, row);
    if row.peers[0].is_lossy() {
        // Two seconds, in which much is lost: how much differs from one moment to the next.
        let flat_out = stream.probe(0.0, 2.0);
        stream.finish();
        return flat_out_figures(costs(&flat_out), &flat_out);
    }
    let found = search::search(effort, |rate| stream.probe(rate, effort.probe_seconds));
    stream.finish();
    let mut figures = found.best.as_ref().map(costs).unwrap_or_default();
    figures.insert("per_s", found.best.map_or(0.0, |best| best.delivered_per_s()));
    flat_out_figures(figures, &found.flat_out)
}

fn flat_out_figures(mut figures: Figures, flat_out: &Probe) -> Figures {
    figures.extend([("flat_out_per_s", flat_out.delivered_per_s()), ("flat_out_lost", flat_out.lost())]);
    figures
}

/// At a rate that is given.
fn steady(world: &World, row: &Row, quick: bool) -> Figures {
    let mut stream = Stream::start(world, row);
    let probe = stream.probe(row.rate(), if quick { 0.5 } else { 2.0 });
    stream.finish();
    let mut figures = costs(&probe);
    figures.extend([
        ("per_s", probe.delivered_per_s()),
        ("lost", probe.lost()),
        ("publisher_cores", probe.publisher.cpu_seconds / probe.seconds),
        ("subscriber_cores", probe.subscriber.cpu_seconds / probe.seconds),
    ]);
    figures
}

/// CPU time for each message, and memory.
fn costs(probe: &Probe) -> Figures {
    Figures::from([
        ("publisher_cpu", probe.publisher.cpu_seconds / probe.sent),
        ("subscriber_cpu", probe.subscriber.cpu_seconds / probe.received),
        ("publisher_peak_kb", probe.publisher.peak_kb),
        ("subscriber_peak_kb", probe.subscriber.peak_kb),
    ])
}

fn round_trip(world: &World, row: &Row, quick: bool) -> Figures {
    let mut both = PingPong::start(world, row);
    let event = both.run(if quick { 0.3 } else { 1.0 });
    both.finish();
    ["count", "lost", "p50_us", "p99_us", "p999_us"].map(|key| (key, number(&event, key))).into()
}
