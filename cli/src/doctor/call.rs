//! `doctor --call` and `doctor --listen`: what arrives from one host at another, at which size, each way.
//!
//! Both send datagrams of their own to the group and the port of payload. Programs of eCAL skip them: they do not begin as
//! eCAL's do. No registration is needed, so that it also works where nothing else does.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use ferrocal::{Config, Mode};
use ferrocal_transport::{Datagram, Receiver, Sender, Transmit, Wait, select};

use super::finding::{Finding, Sure};
use super::{probe, quoted, wire};
use crate::session::{End, Session};
use probe::{Kind, Probe, SIZES};

/// How many datagrams of each size are sent, unless `--count` says otherwise.
const COUNT: u32 = 10;
/// The most: their number is told in a few bytes, and nobody needs more.
const MAX_COUNT: u32 = 1000;
/// Between two datagrams, so that no buffer overflows.
const PACE: Duration = Duration::from_millis(5);
/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// How long to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Clocks that are synchronized by the network differ by less, in microseconds.
const MAX_CLOCK_DIFFERENCE_US: i64 = 100_000;
/// UDP and IPv4 put this in front of a datagram.
const HEADERS_LEN: usize = 28;
/// What a listener stores of others.
const MAX_RUNS: usize = 64;

struct Link {
    receiver: Box<dyn Receiver>,
    sender: Arc<dyn Sender>,
    destination: SocketAddrV4,
    host: String,
}

impl Link {
    fn open(config: &Config) -> anyhow::Result<Self> {
        let selected = select(&config.transport, wire::transport_config(config, config.mode))?;
        use ferrocal_transport::Transport as _;
        let receiver = selected.receiver(config.udp.port)?;
        let destination = match config.mode {
            Mode::Local => config.udp.local,
            Mode::Network => config.udp.network,
        };
        if config.mode == Mode::Network {
            receiver.membership().join(destination.group).context("the group cannot be joined")?;
        }
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let destination = SocketAddrV4::new(destination.group, config.udp.port);
        Ok(Self { receiver, sender: selected.sender()?, destination, host })
    }

    /// Sends, or does not: what is lost on the way here is what is to be found out.
    fn send(&self, probe: &Probe) -> bool {
        let bytes = probe.encode();
        let transmit = Transmit { destination: self.destination, parts: [&bytes, &[], &[]] };
        self.sender.send(&[transmit]).is_ok()
    }

    /// Passes on what comes within `timeout`.
    fn receive(&mut self, timeout: Duration, each: &mut dyn FnMut(SocketAddrV4, Probe)) {
        let mut sink = |datagram: Datagram<'_>| {
            for bytes in datagram.bytes.chunks(datagram.segment_len.max(1)) {
                if let Some(probe) = Probe::decode(bytes) {
                    each(datagram.source, probe);
                }
            }
        };
        if self.receiver.recv(Wait::sleep(timeout), &mut sink).is_err() {
            std::thread::sleep(timeout);
        }
    }
}

fn now_us() -> i64 {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// What came from one caller.
#[derive(Default)]
struct Run {
    host: String,
    counts: [u32; SIZES.len()],
    is_reported: bool,
}

/// Answers those who call until it is time to end. Passes on what came of each call.
pub(crate) fn listen(
    session: &Session,
    config: &Config,
    report: &mut dyn FnMut(Vec<Finding>) -> anyhow::Result<()>,
) -> anyhow::Result<Option<End>> {
    let mut link = Link::open(config)?;
    let mut runs: BTreeMap<(SocketAddrV4, u64), Run> = BTreeMap::new();
    let mut end = None;
    while end.is_none() {
        let (mut answers, mut over) = (Vec::new(), Vec::new());
        let own = link.host.clone();
        link.receive(session.slice(Duration::from_millis(50)), &mut |source, probe| {
            if !matches!(probe.kind, Kind::Probe | Kind::Ask) {
                return;
            }
            let key = (source, probe.run);
            if runs.len() >= MAX_RUNS && !runs.contains_key(&key) {
                runs.pop_first();
            }
            let run = runs.entry(key).or_default();
            probe.host.clone_into(&mut run.host);
            let times = [probe.times[0], now_us(), 0];
            if probe.kind == Kind::Ask {
                // A call that has sent all says so by the number.
                let is_over = probe.number > 0;
                answers.push(Probe {
                    kind: Kind::Summary,
                    host: own.clone(),
                    counts: run.counts,
                    times,
                    ..probe
                });
                if is_over && !std::mem::replace(&mut run.is_reported, true) {
                    over.push(arrived(&own, &run.host, run.counts, probe.number));
                }
            } else if let Some(index) = SIZES.iter().position(|&size| size == probe.len) {
                run.counts[index] = run.counts[index].saturating_add(1);
                if run.counts[index] <= MAX_COUNT {
                    answers.push(Probe { kind: Kind::Echo, host: own.clone(), times, ..probe });
                }
            }
        });
        for answer in answers {
            let [first, second, _] = answer.times;
            link.send(&Probe { times: [first, second, now_us()], ..answer });
        }
        over.into_iter().try_for_each(&mut *report)?;
        end = session.end();
    }
    Ok(if runs.is_empty() { end } else { None })
}

/// What a listener says of a call that is over.
fn arrived(own: &str, host: &str, counts: [u32; SIZES.len()], sent: u32) -> Vec<Finding> {
    let of =
        |(&size, count): (&usize, u32)| sizes_finding("listen", size, host, own, count, sent, String::new());
    SIZES.iter().zip(counts).map(of).collect()
}

fn sizes_finding(
    check: &'static str,
    size: usize,
    from: &str,
    to: &str,
    count: u32,
    sent: u32,
    mend: String,
) -> Finding {
    let subject = format!("{size} bytes, {from} to {to}");
    let meaning = format!("{count} of {sent} datagrams of {size} bytes arrived.");
    if count >= sent {
        return Finding::ok(check, subject, meaning);
    }
    let finding = if count == 0 {
        Finding::failed(check, subject, meaning)
    } else {
        Finding::failed(check, subject, format!("{meaning} The network, or a buffer, loses some."))
            .sure(Sure::Likely)
    };
    finding.mend(mend)
}

/// What came back from one listener.
#[derive(Default)]
struct Answer {
    /// What it counted.
    counts: [u32; SIZES.len()],
    /// Whether it counted after all was sent.
    is_final: bool,
    echoes: [u32; SIZES.len()],
    /// The shortest time there and back, and how much the listener's clock is ahead, in microseconds.
    best: Option<(i64, i64)>,
}

impl Answer {
    /// Whether all has come back that can come back.
    fn is_complete(&self) -> bool {
        self.is_final && self.echoes.iter().zip(self.counts).all(|(&got, sent)| got >= sent)
    }
}

/// Calls all who listen, and says what arrived, each way.
pub(crate) fn call(session: &Session, config: &Config) -> anyhow::Result<Vec<Finding>> {
    let mut link = Link::open(config)?;
    let count = session
        .common
        .count
        .map_or(COUNT, |count| u32::try_from(count).unwrap_or(MAX_COUNT))
        .clamp(1, MAX_COUNT);
    let run = u64::from_ne_bytes(now_us().to_ne_bytes()) ^ (u64::from(std::process::id()) << 40);
    let blank = Probe {
        kind: Kind::Ask,
        run,
        number: 0,
        len: SIZES[0],
        times: [0; 3],
        counts: [0; SIZES.len()],
        host: link.host.clone(),
    };
    let mut answers: BTreeMap<String, Answer> = BTreeMap::new();
    // Switches take a moment until they pass on what a new member of a group is to get.
    exchange(session, &mut link, &blank, &mut answers, PATIENCE, &|answers| !answers.is_empty());
    let mut unsent = 0;
    for &size in &SIZES {
        for number in 0..count {
            if session.end().is_some() {
                break;
            }
            let probe =
                Probe { kind: Kind::Probe, number, len: size, times: [now_us(), 0, 0], ..blank.clone() };
            unsent += u32::from(!link.send(&probe));
            let next = Instant::now() + PACE;
            while let Some(left) = next.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            {
                link.receive(left, &mut |_, probe| take(&mut answers, run, &probe));
            }
        }
    }
    let over = Probe { number: count, ..blank.clone() };
    exchange(session, &mut link, &over, &mut answers, PATIENCE, &|answers| {
        !answers.is_empty() && answers.values().all(Answer::is_complete)
    });
    Ok(findings(config, &link.host, &answers, count, unsent))
}

/// Asks again and again until `is_enough`, for `patience` at most.
fn exchange(
    session: &Session,
    link: &mut Link,
    ask: &Probe,
    answers: &mut BTreeMap<String, Answer>,
    patience: Duration,
    is_enough: &dyn Fn(&BTreeMap<String, Answer>) -> bool,
) {
    let start = Instant::now();
    let mut next = start;
    // One that answers late may be one of several.
    while session.end().is_none() && start.elapsed() < patience && !is_enough(answers) {
        if Instant::now() >= next {
            link.send(ask);
            next = Instant::now() + ASK_EVERY;
        }
        link.receive(PACE, &mut |_, probe| take(answers, ask.run, &probe));
    }
}

fn take(answers: &mut BTreeMap<String, Answer>, run: u64, probe: &Probe) {
    let is_answer = matches!(probe.kind, Kind::Echo | Kind::Summary) && probe.run == run;
    if !is_answer || (answers.len() >= MAX_RUNS && !answers.contains_key(&probe.host)) {
        return;
    }
    let answer = answers.entry(probe.host.clone()).or_default();
    if probe.kind == Kind::Summary {
        // An older one may come later.
        answer.counts = std::array::from_fn(|index| answer.counts[index].max(probe.counts[index]));
        // The answer to an early question may come late: then it counts nothing yet.
        answer.is_final |= probe.number > 0;
        return;
    }
    let Some(index) = SIZES.iter().position(|&size| size == probe.len) else { return };
    answer.echoes[index] += 1;
    // As NTP does (RFC 5905, section 8).
    let [sent, received, answered] = probe.times.map(i128::from);
    let now = i128::from(now_us());
    let (round_trip, ahead) =
        ((now - sent) - (answered - received), ((received - sent) + (answered - now)) / 2);
    // A clock that is set back meanwhile makes it negative.
    if let (Ok(round_trip @ 0..), Ok(ahead)) = (i64::try_from(round_trip), i64::try_from(ahead))
        && answer.best.is_none_or(|(best, _)| round_trip < best)
    {
        answer.best = Some((round_trip, ahead));
    }
}

fn findings(
    config: &Config,
    own: &str,
    answers: &BTreeMap<String, Answer>,
    count: u32,
    unsent: u32,
) -> Vec<Finding> {
    const CHECK: &str = "call";
    let mut findings = Vec::new();
    if unsent > 0 {
        let meaning = format!("The system refused to send {unsent} datagrams: see `ferrocal doctor`.");
        findings.push(Finding::failed(CHECK, own, meaning).mend("ferrocal doctor"));
    }
    if answers.is_empty() {
        let (meaning, mend) = match config.mode {
            Mode::Network => (
                "Nobody answered. `ferrocal doctor --listen` has to run on the other host, with the same mode. If it \
                 reports there what this host sent, the way back is what is broken, otherwise the way there: run \
                 `ferrocal doctor` on both.",
                "ferrocal doctor",
            ),
            Mode::Local => (
                "Nobody on this computer answered. In local mode, nothing is sent to other hosts: give both doctors, \
                 and all programs that are to see each other, network mode.",
                "ferrocal doctor --call --mode network",
            ),
        };
        findings.push(Finding::failed(CHECK, own, meaning).mend(mend));
    }
    for (host, answer) in answers {
        let back: Vec<_> =
            answer.counts.iter().zip(answer.echoes).map(|(&sent, got)| (got.min(sent), sent)).collect();
        let there: Vec<_> = answer.counts.iter().map(|&got| (got, count)).collect();
        let (mend_there, mend_back) = (mend(config, &there, true), mend(config, &back, false));
        for (index, &size) in SIZES.iter().enumerate() {
            let (got, sent) = there[index];
            findings.push(sizes_finding(CHECK, size, own, host, got, sent, mend_there.clone()));
            let (got, sent) = back[index];
            if sent > 0 {
                findings.push(sizes_finding(CHECK, size, host, own, got, sent, mend_back.clone()));
            }
        }
        if let Some((round_trip, ahead)) = answer.best {
            let way = if ahead < 0 { "behind" } else { "ahead of" };
            let meaning = format!(
                "The clock of {host} is {:.6} s {way} this computer's, give or take {:.6} s.",
                ahead.unsigned_abs() as f64 / 1e6,
                round_trip.unsigned_abs() as f64 / 2e6
            );
            findings.push(if ahead.abs() > MAX_CLOCK_DIFFERENCE_US + round_trip / 2 {
                Finding::failed("clock", host, meaning).mend("timedatectl set-ntp true")
            } else {
                Finding::ok("clock", host, meaning)
            });
        }
    }
    findings
}

/// What mends that only short datagrams arrive.
fn mend(config: &Config, counts: &[(u32, u32)], is_ours: bool) -> String {
    let arrives = |index: usize| counts[index].0 > 0;
    let longest = (0..SIZES.len()).rev().find(|&index| arrives(index));
    let Some(longest) = longest.filter(|&index| index + 1 < SIZES.len() && !arrives(SIZES.len() - 1)) else {
        return String::new();
    };
    let mtu = (SIZES[longest] + HEADERS_LEN).max(1280);
    let facts = super::gather::interfaces();
    let settings = super::facts::Settings::new(config);
    let in_use = facts.iter().filter(|one| !one.is_loopback && one.is_usable());
    let chosen = |one: &&super::facts::Interface| {
        settings.interfaces.is_empty() || settings.interfaces.iter().any(|selector| one.is_named(selector))
    };
    let name = in_use.filter(chosen).max_by_key(|one| one.mtu).map(|one| quoted(&one.name));
    match name {
        Some(name) if is_ours => format!("ip link set {name} mtu {mtu}"),
        _ => format!("ip link set INTERFACE mtu {mtu}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_that_answers_late_is_waited_for() {
        let mut answers = BTreeMap::new();
        let mut is_complete = |kind, number, counts| {
            let probe =
                Probe { kind, run: 1, number, len: SIZES[0], times: [0; 3], counts, host: "slow".into() };
            take(&mut answers, 1, &probe);
            answers["slow"].is_complete()
        };
        let (none, one) = ([0; SIZES.len()], [1, 0, 0, 0, 0]);
        assert!(!is_complete(Kind::Summary, 0, none), "it was asked before anything was sent");
        assert!(!is_complete(Kind::Summary, 1, one), "what it sent back is on the way");
        assert!(is_complete(Kind::Echo, 0, none));
    }
}
