//! `traffic`: what travels on the interfaces, and whose it is.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ferrocal::{InterfaceSelector, Monitor, Selection};

use crate::args::period;
use crate::doctor::facts::Interface;
use crate::doctor::gather;
use crate::exit::Exit;
use crate::output::{DIM, HEAD, clean, tell};
use crate::session::{End, Session};
use crate::table::{Align, Table};
use crate::traffic::counters;
use crate::traffic::flows::Flows;
use crate::traffic::frames::{Captures, Frame, Target};
use crate::traffic::lines::{
    EcalLine, HostLine, InterfaceLine, MissingLine, Publishers, of_frames, of_registrations, processes,
    remember,
};
use crate::traffic::packet::Packet;
use crate::traffic::series::{Series, amount};

/// How many intervals a graph shows.
const GRAPH_WIDTH: usize = 30;
/// How often it is looked what publishers registered.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Of a message that is on its way at the end, fragments may still come.
const ON_ITS_WAY: Duration = Duration::from_millis(500);

/// Show what travels on the interfaces, and whose it is.
///
/// Prints the rates of each interface in an interval, and at the end (Ctrl-C, `--duration`, `--count`) the hosts, topics and
/// processes that sent, the fragments that were lost, and what is not of eCAL. Hosts, fragments and what is not of eCAL
/// need raw frames: Npcap on Windows, libpcap and root elsewhere.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Traffic {
    /// The time between two lines, in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = period, default_value = "1")]
    interval: Duration,
    /// The time over which average, lowest and highest rates are taken, in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = period, default_value = "300")]
    average: Duration,
    /// Show bits in place of bytes.
    #[arg(short, long)]
    bits: bool,
    /// Do without raw frames.
    #[arg(long)]
    no_raw: bool,
}

const AFTER_HELP: &str = "\
Objects of --json by their `kind`; all rates are in bytes a second:
  interface  in each interval: interface, loopback, source (system or raw_frames), seconds,
             in and out, each with current, average, min, max, and total in bytes
  ecal       in each interval, with raw frames: seconds, ecal and all (rates), fragments_lost,
             datagrams_lost, frames_missed (counts so far)
  host       at the end, with raw frames: address, host, bytes, ecal, registration, log, other
  topic      at the end: topic, host, process, pid, unit, id, messages, bytes, rate, fragments_lost,
             source (raw_frames, or registration: then bytes are payload as registered)
  process    at the end: host, process, pid, unit, bytes, messages, fragments_lost, source
  missing    at the end, without raw frames: what is missing, and why
Exit codes: 0, and 3 if fragments were lost.";

/// What only raw frames show.
const MISSING: [&str; 5] = [
    "hosts",
    "bytes of topics and processes on the network",
    "fragments lost",
    "what is not of eCAL",
    "loopback on Windows",
];

/// What raw frames show, as the thread that captures counts it.
#[derive(Default)]
struct Counted {
    flows: Flows,
    /// The bytes of each interface, incoming and outgoing.
    interfaces: BTreeMap<String, (u64, u64)>,
    missed: u64,
}

/// An interface, and what was counted on it before.
struct Device {
    /// What people call it. The system's name is a GUID on Windows.
    label: String,
    is_loopback: bool,
    source: &'static str,
    before: (u64, u64),
    incoming: Series,
    outgoing: Series,
}

/// How watching ended.
enum Ended {
    Normally,
    /// Ctrl-C was pressed before there was a result.
    BeforeAnything,
}

impl Traffic {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let config = session.settings()?;
        if matches!(config.transport, Selection::File(_) | Selection::FileFast(_)) {
            let message = "traffic shows interfaces, and no capture files; `list` and `hz` read them";
            return Err(Exit::Usage.because(message));
        }
        let selectors = config.udp.interfaces.clone();
        let interfaces = shown(&selectors);
        for selector in &selectors {
            if !interfaces.iter().any(|one| one.is_named(selector)) {
                log::warn!("this computer has no interface `{}` that is up", clean(&selector.to_string()));
            }
        }
        let target = |one: &Interface| Target { name: one.name.clone(), is_loopback: one.is_loopback };
        let targets: Vec<_> = interfaces.iter().map(target).collect();
        let captures =
            if self.no_raw { Err("`--no-raw` was given.".to_owned()) } else { Captures::open(&targets) };
        let node = session.open("traffic", config)?;
        let monitor = node.monitor();
        let is_over = AtomicBool::new(false);
        let counted = Mutex::new(Counted::default());
        let is_own =
            |address| interfaces.iter().any(|one| one.addresses.iter().any(|&(own, _)| own == address));
        let why = captures.as_ref().err().cloned();
        let mut publishers = Publishers::new();
        let start = Instant::now();
        let end = thread::scope(|scope| {
            if let Ok(mut captures) = captures {
                for failure in &captures.failures {
                    log::warn!("an interface is not captured on: {failure}");
                }
                let (is_over, counted, is_own) = (&is_over, &counted, &is_own);
                scope.spawn(move || capture(&mut captures, is_over, counted, is_own));
            }
            let end = self.watch(session, &selectors, &monitor, &mut publishers, &counted, why.as_deref());
            is_over.store(true, Ordering::Relaxed);
            end
        })?;
        match end {
            Ended::BeforeAnything => Ok(Exit::Interrupted),
            Ended::Normally => self.finish(session, &publishers, &counted, why.as_deref(), start.elapsed()),
        }
    }

    fn watch(
        &self,
        session: &Session,
        selectors: &[InterfaceSelector],
        monitor: &Monitor,
        publishers: &mut Publishers,
        counted: &Mutex<Counted>,
        why: Option<&str>,
    ) -> anyhow::Result<Ended> {
        if let Some(why) = why {
            tell!("{DIM}Without raw frames: {}. {why}{DIM:#}", MISSING.join(", "));
        }
        let mut devices: BTreeMap<String, Device> = BTreeMap::new();
        let (mut ecal, mut all) = (Series::new(self.average, 0), Series::new(self.average, 0));
        let start = Instant::now();
        let mut before = start;
        self.measure(selectors, &mut devices, Duration::ZERO, counted);
        let mut intervals = 0;
        let end = loop {
            // By the clock, so that no time is left out.
            let next = start + self.interval * (intervals + 1);
            let end = loop {
                remember(monitor, publishers);
                let left = next.saturating_duration_since(Instant::now());
                let end = session.wait(left.min(LOOK_EVERY));
                if end.is_some() || left <= LOOK_EVERY {
                    break end;
                }
            };
            let now = Instant::now();
            let time = now.saturating_duration_since(before);
            before = now;
            remember(monitor, publishers);
            if end.is_some() && time < self.interval / 2 && intervals > 0 {
                break end;
            }
            self.measure(selectors, &mut devices, time, counted);
            self.print_interval(session, &devices, start.elapsed())?;
            if why.is_none() {
                let counted = lock(counted);
                let Counted { flows, missed, .. } = &*counted;
                ecal.add(flows.ecal_bytes - ecal.rates().total, time);
                all.add(flows.bytes - all.rates().total, time);
                let line = EcalLine {
                    kind: "ecal",
                    seconds: start.elapsed().as_secs_f64(),
                    ecal: ecal.rates().current,
                    all: all.rates().current,
                    fragments_lost: flows.fragments_lost,
                    datagrams_lost: flows.datagrams_lost,
                    frames_missed: *missed,
                };
                drop(counted);
                self.print_ecal(session, &line, &ecal)?;
            }
            session.out().flush()?;
            intervals += 1;
            if end.is_some() || session.common.count.is_some_and(|count| u64::from(intervals) >= count) {
                break end;
            }
        };
        if intervals == 0 && end == Some(End::Stopped) {
            return Ok(Ended::BeforeAnything);
        }
        Ok(Ended::Normally)
    }

    /// Adds what travelled since the last call.
    fn measure(
        &self,
        selectors: &[InterfaceSelector],
        devices: &mut BTreeMap<String, Device>,
        time: Duration,
        counted: &Mutex<Counted>,
    ) {
        let system = counters::read();
        let counted = lock(counted);
        for one in shown(selectors) {
            let raw = counted.interfaces.get(&one.name).copied();
            // Windows counts nothing on loopback.
            let (now, source) = match (system.get(&one.name).copied(), raw) {
                (Some((0, 0)) | None, Some(raw)) => (raw, "raw_frames"),
                (Some(system), _) => (system, "system"),
                (None, None) => continue,
            };
            let new = || Device {
                label: one
                    .friendly_name
                    .clone()
                    .filter(|_| cfg!(windows))
                    .unwrap_or_else(|| one.name.clone()),
                is_loopback: one.is_loopback,
                source,
                before: now,
                incoming: Series::new(self.average, now.0),
                outgoing: Series::new(self.average, now.1),
            };
            let device = devices.entry(one.name.clone()).or_insert_with(new);
            if device.source != source {
                *device = Device { before: (0, 0), ..new() };
            }
            if !time.is_zero() {
                device.incoming.add(difference(now.0, device.before.0), time);
                device.outgoing.add(difference(now.1, device.before.1), time);
            }
            device.before = now;
        }
    }

    fn rate(&self, rate: f64) -> String {
        format!("{}/s", amount(rate, self.bits))
    }

    fn print_interval(
        &self,
        session: &Session,
        devices: &BTreeMap<String, Device>,
        elapsed: Duration,
    ) -> io::Result<()> {
        let out = &mut session.out();
        let width = devices.values().map(|device| device.label.chars().count()).max().unwrap_or(0);
        for (name, device) in devices {
            let (incoming, outgoing) = (device.incoming.rates(), device.outgoing.rates());
            if session.common.json {
                out.json(&InterfaceLine {
                    kind: "interface",
                    interface: name,
                    loopback: device.is_loopback,
                    source: device.source,
                    seconds: elapsed.as_secs_f64(),
                    incoming,
                    out: outgoing,
                })?;
                continue;
            }
            for (way, rates, series) in
                [("in", incoming, &device.incoming), ("out", outgoing, &device.outgoing)]
            {
                out.line(format_args!(
                    "{HEAD}{:<width$} {way:<3}{HEAD:#} {:>12}  avg {:>12}  min {:>12}  max {:>12}  total {:>10}  {}",
                    clean(&device.label),
                    self.rate(rates.current),
                    self.rate(rates.average),
                    self.rate(rates.min),
                    self.rate(rates.max),
                    amount(rates.total as f64, self.bits),
                    series.graph(GRAPH_WIDTH),
                ))?;
            }
        }
        Ok(())
    }

    fn print_ecal(&self, session: &Session, line: &EcalLine, ecal: &Series) -> io::Result<()> {
        let out = &mut session.out();
        if session.common.json {
            return out.json(line);
        }
        out.line(format_args!(
            "{HEAD}eCAL{HEAD:#} {:>12} of {}  fragments lost {}  datagrams lost {}  frames missed {}  {}",
            self.rate(line.ecal),
            self.rate(line.all),
            line.fragments_lost,
            line.datagrams_lost,
            line.frames_missed,
            ecal.graph(GRAPH_WIDTH),
        ))
    }

    fn finish(
        &self,
        session: &Session,
        publishers: &Publishers,
        counted: &Mutex<Counted>,
        why: Option<&str>,
        elapsed: Duration,
    ) -> anyhow::Result<Exit> {
        let mut counted = lock(counted);
        let flows = &mut counted.flows;
        flows.give_up(Instant::now(), ON_ITS_WAY);
        let topics = if why.is_none() {
            flows.topics.iter().map(|(key, topic)| of_frames(key, topic, publishers, elapsed)).collect()
        } else {
            of_registrations(publishers, elapsed)
        };
        let processes = processes(&topics);
        let hosts: Vec<_> = flows
            .hosts
            .iter()
            .map(|(address, host)| HostLine {
                kind: "host",
                address: address.to_string(),
                host: host.name.clone(),
                bytes: host.bytes,
                ecal: host.ecal_bytes,
                registration: host.registration_bytes,
                log: host.log_bytes,
                other: host.bytes - host.ecal_bytes,
            })
            .collect();
        let out = &mut session.out();
        if session.common.json {
            hosts.iter().try_for_each(|line| out.json(line))?;
            topics.iter().try_for_each(|line| out.json(line))?;
            processes.iter().try_for_each(|line| out.json(line))?;
            if let Some(why) = why {
                out.json(&MissingLine { kind: "missing", what: &MISSING, why })?;
            }
        } else {
            let bytes = |bytes: u64| Cow::Owned(amount(bytes as f64, self.bits));
            if why.is_none() {
                let heads =
                    ["bytes", "eCAL", "registration", "log", "other"].map(|head| (head, Align::Right));
                let mut table =
                    Table::new([("address", Align::Left), ("host", Align::Left)].into_iter().chain(heads));
                for line in &hosts {
                    let counts = [line.bytes, line.ecal, line.registration, line.log, line.other].map(bytes);
                    table.row(
                        [line.address.as_str().into(), line.host.as_str().into()].into_iter().chain(counts),
                    );
                }
                table.print(out)?;
            }
            let mut table = Table::new([
                ("topic", Align::Left),
                ("host", Align::Left),
                ("unit", Align::Left),
                ("pid", Align::Right),
                ("messages", Align::Right),
                ("bytes", Align::Right),
                ("rate", Align::Right),
                ("fragments lost", Align::Right),
            ]);
            for line in &topics {
                table.row([
                    line.topic.as_str().into(),
                    line.host.as_str().into(),
                    line.unit.as_str().into(),
                    line.pid.to_string().into(),
                    line.messages.to_string().into(),
                    bytes(line.bytes),
                    self.rate(line.rate).into(),
                    line.fragments_lost.to_string().into(),
                ]);
            }
            table.print(out)?;
            let mut table = Table::new([
                ("unit", Align::Left),
                ("pid", Align::Right),
                ("host", Align::Left),
                ("messages", Align::Right),
                ("bytes", Align::Right),
                ("fragments lost", Align::Right),
            ]);
            for line in &processes {
                table.row([
                    line.unit.as_str().into(),
                    line.pid.to_string().into(),
                    line.host.as_str().into(),
                    line.messages.to_string().into(),
                    bytes(line.bytes),
                    line.fragments_lost.to_string().into(),
                ]);
            }
            table.print(out)?;
        }
        let lost = flows.fragments_lost + flows.datagrams_lost;
        Ok(if lost > 0 { Exit::Lost } else { Exit::Fine })
    }
}

/// The interfaces to show: those that are up, or those that are named.
fn shown(selectors: &[InterfaceSelector]) -> Vec<Interface> {
    let is_shown = |one: &Interface| {
        one.is_up && (selectors.is_empty() || selectors.iter().any(|selector| one.is_named(selector)))
    };
    gather::interfaces().into_iter().filter(is_shown).collect()
}

/// What a counter grew by. Some have 32 bits.
fn difference(now: u64, before: u64) -> u64 {
    if now >= before {
        now - before
    } else if before <= u64::from(u32::MAX) && cfg!(target_vendor = "apple") {
        now + (1 << 32) - before
    } else {
        // The interface was made anew.
        now
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn capture(
    captures: &mut Captures,
    is_over: &AtomicBool,
    counted: &Mutex<Counted>,
    is_own: &dyn Fn(std::net::Ipv4Addr) -> bool,
) {
    let names = captures.names();
    let mut each = |frame: Frame<'_>| {
        let packet = Packet::parse(frame.link, frame.bytes);
        let mut counted = lock(counted);
        counted.flows.frame(Instant::now(), frame.len, packet.as_ref());
        let source = packet.map(|packet| packet.source);
        let (incoming, outgoing) = counted.interfaces.entry(names[frame.interface].clone()).or_default();
        let len = frame.len as u64;
        match source {
            // On loopback, all that leaves comes in.
            Some(source) if source.is_loopback() => {
                *incoming += len;
                *outgoing += len;
            }
            Some(source) if is_own(source) => *outgoing += len,
            _ => *incoming += len,
        }
    };
    let mut next_look = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        next_look += Duration::from_millis(200);
        captures.read(&|| is_over.load(Ordering::Relaxed) || Instant::now() >= next_look, &mut each);
        lock(counted).missed = captures.lost();
    }
    captures.drain(&mut each);
}
