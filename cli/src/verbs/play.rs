//! `play`: publishes a recording.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::bail;
use ferrocal::{CreateError, DataType, Node, Publisher};
use ferrocal_proto::{SIM_TIME_TOPIC, SimTime};
use serde_json::json;
use spin_sleep::SpinSleeper;
use thread_priority::{ThreadPriority, ThreadPriorityValue};

use crate::args::seconds;
use crate::exit::Exit;
use crate::output::{clean, counted, tell};
use crate::recording::{
    Ahead, Channel, KeyCode, Keys, Kind, Lateness, Peek, Place, Position, Range, ReadAhead, Recording,
    StatusLine, TopicArgs, clock, place,
};
use crate::session::{End, Session};
use crate::table::{Align, Table};
use crate::verbs::rec_info::stopped_early;

/// Publish a recording.
///
/// Publishes the messages of an MCAP file, byte by byte as they were recorded, each publisher with the data type that it had, at
/// the times at which they were received. Send times are those of the recording (--now: those of today). Clocks count anew, from 1.
///
/// Keys, on a terminal: space pauses and goes on, s or . publishes the next message of a pause, left and right go 5 s back and
/// forth, page up and page down a minute, home to the start, + and - double and halve the speed, q ends.
///
/// Keys of --json, in one object at the end: kind (play), file, messages, left_out (of channels that cannot be published), topics
/// (each with topic, messages, sent (to at least one subscriber), not_sent (refused by the system), subscribers), seconds,
/// late_mean_us and late_max_us (from when a message was due to when it was published).
///
/// Ends with 3 if messages could not be sent, or not all of the file can be read or published.
#[derive(clap::Args)]
pub(crate) struct Play {
    /// The MCAP file.
    file: PathBuf,
    /// How fast: 2 is twice as fast as recorded, 0 as fast as it goes.
    #[arg(short, long, default_value = "1", value_parser = rate, value_name = "FACTOR")]
    rate: f64,
    /// Begin again at the end. A round takes 0.1 s at least, unless --rate is 0.
    #[arg(short = 'l', long = "loop")]
    repeat: bool,
    /// Where to start: seconds after the first message, or a time such as 2026-11-26T10:50:30Z.
    #[arg(long, value_parser = place, value_name = "PLACE")]
    start: Option<Place>,
    /// Where to end.
    #[arg(long, value_parser = place, value_name = "PLACE")]
    end: Option<Place>,
    /// The topics, as they are in the recording [default: all].
    #[arg(long, value_delimiter = ',', value_name = "TOPIC")]
    topics: Vec<String>,
    #[command(flatten)]
    patterns: TopicArgs,
    /// Publish topic A as topic B; can be repeated.
    #[arg(short = 'm', long, value_parser = remap, value_name = "A:=B")]
    remap: Vec<(String, String)>,
    /// Publish the time of the recording on __sim_time__, so often in a second [without a number: 100].
    #[arg(long, num_args = 0..=1, default_missing_value = "100", value_parser = hertz, value_name = "HZ")]
    clock: Option<f64>,
    /// Wait until each topic has as many subscribers.
    #[arg(short, long, value_name = "N")]
    wait: Option<usize>,
    /// Wait this time before the first message, for subscribers that are there to find the publishers. Not with --wait.
    #[arg(long, default_value = "1.5", value_parser = seconds, value_name = "SECONDS")]
    delay: Duration,
    /// Publish nothing until space or s is pressed.
    #[arg(long)]
    paused: bool,
    /// Publish with the present time as the send time.
    #[arg(long)]
    now: bool,
    /// Ask the system for a real-time priority, so that messages are on time on a busy computer, too. On Linux, that needs root
    /// or CAP_SYS_NICE.
    #[arg(long)]
    realtime: bool,
}

/// Publishers, by the channels of the recording.
type Lines = HashMap<u16, Publisher<[u8]>>;

/// How long publishers stay after the last message, so that those who receive it can still be matched.
const LINGER: Duration = Duration::from_millis(500);
/// The longest wait without a look at the keys and the end.
const SLICE: Duration = Duration::from_millis(20);
/// How slow and how fast keys make it.
const MIN_RATE: f64 = 1.0 / 1024.0;
const MAX_RATE: f64 = 1e6;

/// How long a round of --loop takes at least. A recording of one message has no length, and would be sent without a pause.
const MIN_ROUND: Duration = Duration::from_millis(100);

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1e6).contains(&rate) { Ok(rate) } else { Err("not from 0 to 1000000".to_owned()) }
}

fn hertz(text: &str) -> Result<f64, String> {
    let hertz: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=10_000.0).contains(&hertz) { Ok(hertz) } else { Err("not from 0.001 to 10000".to_owned()) }
}

fn remap(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once(":=").filter(|(a, b)| !a.is_empty() && !b.is_empty());
    let (a, b) = parts.ok_or_else(|| "not of the form A:=B".to_owned())?;
    Ok((a.to_owned(), b.to_owned()))
}

/// When the round after one that began at `began` may begin.
fn next_round(began: Instant, rate: f64) -> Instant {
    // As fast as it goes, as it was asked to.
    if rate > 0.0 { began + MIN_ROUND } else { began }
}

/// What cannot be read of the recording. Each is said once, also if rounds and keys read it again.
#[derive(Clone)]
struct Damage {
    /// The file.
    shown: String,
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl Damage {
    fn add(&self, text: String) {
        /// Of more, one would read the beginning only.
        const MAX: usize = 1000;
        let mut known = self.lock();
        if known.len() < MAX && !known.contains(&text) {
            log::warn!("{}: {text}; the rest is played", self.shown);
            known.insert(text);
        }
    }

    fn is_any(&self) -> bool {
        !self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time of the recording, published.
struct SimClock {
    publisher: Publisher<[u8]>,
    every: Duration,
    next: Instant,
}

impl Play {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let kind = Kind::of(&self.file)?;
        let shown = clean(&self.file.to_string_lossy()).into_owned();
        if kind != Kind::Mcap {
            bail!("{shown}: a {kind} is converted first: ferrocal convert {shown} NAME.mcap");
        }
        let Some(recording) = Recording::open_while(&self.file, || session.end().is_none())? else {
            return stopped_early(session);
        };
        let recording = Arc::new(recording);
        let damage = Damage { shown: shown.clone(), known: Arc::default() };
        recording.damage().iter().for_each(|text| damage.add(text.clone()));
        let Some((first_ns, last_ns)) = recording.times() else {
            return Err(Exit::NotFound.because(format!("{shown}: there are no messages")));
        };
        let start_ns = self.start.map_or(first_ns, |place| place.resolve(first_ns)).max(first_ns);
        let end_ns = self.end.map(|place| place.resolve(first_ns));
        let last_ns = end_ns.unwrap_or(last_ns).min(last_ns);
        if start_ns > last_ns {
            return Err(Exit::NotFound.because(format!(
                "there are no messages between --start and --end; the recording is {} long",
                clock(Duration::from_nanos(recording.times().map_or(0, |(first, last)| last - first)))
            )));
        }
        let node = session.open("play", session.config()?)?;
        let (lines, left_out) = self.publishers(&node, &recording, &damage)?;
        let mut sim_clock = self.sim_clock(&node)?;
        if let Some(end) = self.wait_for_subscribers(session, &lines, sim_clock.as_ref()) {
            return match end {
                End::Stopped => Ok(Exit::Interrupted),
                End::Deadline if self.wait.is_none() => {
                    let message = "--duration was over before --delay; nothing was published";
                    Err(Exit::NotFound.because(message))
                }
                End::Deadline => Err(Exit::NotFound.because("there were not enough subscribers in time")),
            };
        }
        let ahead = |start_ns| -> anyhow::Result<ReadAhead> {
            let range = Range { start: Some(start_ns), end: end_ns };
            let mut reader = {
                let (wanted, damage) = (lines.keys().copied().collect(), damage.clone());
                ReadAhead::start(&recording, range, wanted, move |text| damage.add(text))?
            };
            // The time of the recording does not run before there is something to publish.
            let pause = || session.slice(Duration::from_millis(50));
            while matches!(reader.peek(pause())?, Peek::NotYet) && session.end().is_none() {}
            Ok(reader)
        };
        let mut reader = ahead(start_ns)?;
        let mut round = Instant::now();
        let mut keys = Keys::start();
        let sleeper = sleeper();
        if self.realtime {
            ask_for_realtime();
        }
        let mut line = StatusLine::new();
        let began = Instant::now();
        let since = (!self.paused).then(Instant::now);
        let mut position = Position { time_ns: start_ns, since, rate: self.rate };
        let (mut published, mut failed, mut lateness) = (0_u64, 0_u64, Lateness::default());
        let mut is_step = false;
        let end = loop {
            if let Some(end) = session.end() {
                break Some(end);
            }
            if session.common.count.is_some_and(|count| published >= count) {
                break None;
            }
            if let Some(sim_clock) = &mut sim_clock {
                sim_clock.tick(&position);
            }
            let next = reader.peek(Duration::ZERO)?;
            let due = match next {
                Peek::End if self.repeat => {
                    let due = next_round(round, position.rate);
                    if due <= Instant::now() {
                        reader = ahead(start_ns)?;
                        position.set(start_ns);
                        round = Instant::now();
                        continue;
                    }
                    Some(due)
                }
                Peek::End => break None,
                Peek::Due(_) if is_step => Some(Instant::now()),
                Peek::Due(time_ns) => position.due(time_ns),
                Peek::NotYet => None,
            };
            let now = Instant::now();
            if let Some(due) = due.filter(|due| *due <= now)
                && let Some(item) = reader.pop()
            {
                if !std::mem::take(&mut is_step) {
                    if position.rate > 0.0 {
                        lateness.add(now - due);
                    }
                } else {
                    position.set(item.time_ns);
                }
                if position.rate <= 0.0 {
                    position.time_ns = item.time_ns;
                }
                let sent = self.publish(&lines, &item);
                published += 1;
                if let Err(error) = sent {
                    failed += 1;
                    if failed == 1 {
                        log::warn!("{error:#}");
                    }
                }
                if published % 64 != 0 {
                    continue;
                }
            }
            let mut pause = match due {
                Some(due) => due.saturating_duration_since(Instant::now()).min(SLICE),
                None if matches!(next, Peek::NotYet) => Duration::from_millis(1),
                None => SLICE,
            };
            if let Some(sim_clock) = &sim_clock {
                pause = pause.min(sim_clock.next.saturating_duration_since(Instant::now()));
            }
            line.show_if(pause, || bar(&position, start_ns, last_ns, published, keys.are_read()));
            let left = due.map(|due| due.saturating_duration_since(Instant::now()));
            let key = if left.is_some_and(|left| left < SLICE * 2) {
                // A wait for keys ends too late for that, on Windows by up to 16 ms.
                sleeper.sleep(pause.min(left.unwrap_or(pause)));
                keys.wait(Duration::ZERO)
            } else {
                keys.wait(pause)
            };
            let Some(key) = key else { continue };
            line.refresh();
            let step = |from: u64, seconds: i64| {
                let to = from.saturating_add_signed(seconds * 1_000_000_000);
                to.clamp(start_ns, last_ns)
            };
            let target = match key {
                KeyCode::Char(' ') => {
                    position.toggle();
                    None
                }
                KeyCode::Char('s' | '.') if position.since.is_none() => {
                    is_step = true;
                    None
                }
                KeyCode::Char('+') => {
                    position.set_rate((position.rate * 2.0).min(MAX_RATE));
                    None
                }
                KeyCode::Char('-') => {
                    let is_timed = position.rate > 0.0;
                    position.set_rate(if is_timed { (position.rate / 2.0).max(MIN_RATE) } else { 0.0 });
                    None
                }
                KeyCode::Left => Some(step(position.now(), -5)),
                KeyCode::Right => Some(step(position.now(), 5)),
                KeyCode::PageUp => Some(step(position.now(), -60)),
                KeyCode::PageDown => Some(step(position.now(), 60)),
                KeyCode::Home => Some(start_ns),
                KeyCode::Char('q') => break Some(End::Stopped),
                _ => None,
            };
            if let Some(target) = target {
                reader = ahead(target)?;
                position.set(target);
            }
        };
        drop((line, keys));
        let seconds = began.elapsed().as_secs_f64();
        session.wait(LINGER);
        self.print(session, &lines, published, left_out, seconds, &lateness)?;
        let not_sent: u64 = lines.values().map(|line| line.stats().not_sent).sum();
        Ok(if failed + not_sent > 0 || damage.is_any() {
            Exit::Lost
        } else if published == 0 && end == Some(End::Stopped) {
            Exit::Interrupted
        } else {
            Exit::Fine
        })
    }

    /// A publisher for each channel that is wanted and has messages, and how many messages those have that cannot be published:
    /// other programs write names that eCAL has no room for.
    fn publishers(
        &self,
        node: &Node,
        recording: &Recording,
        damage: &Damage,
    ) -> anyhow::Result<(Lines, u64)> {
        let patterns = self.patterns.patterns(&self.topics);
        let names: Vec<_> = recording.channels().map(|(_, channel, _)| channel.topic.clone()).collect();
        let asked = self.topics.iter().chain(self.remap.iter().map(|(from, _)| from));
        if let Some(missing) = asked.into_iter().find(|name| !names.contains(name)) {
            return Err(
                Exit::NotFound.because(format!("topic {}: it is not in the recording", clean(missing)))
            );
        }
        let (mut lines, mut left_out) = (HashMap::new(), 0);
        for (id, channel, count) in recording.channels() {
            let is_replaced = self.clock.is_some() && channel.topic == SIM_TIME_TOPIC;
            if count == 0 || is_replaced || !patterns.matches(&channel.topic) {
                continue;
            }
            match self.publisher(node, channel) {
                Ok(publisher) => _ = lines.insert(id, publisher),
                Err(error) => {
                    left_out += count;
                    damage.add(format!("channel {id}, of {}: {error}", counted(count, "message")));
                }
            }
        }
        if lines.is_empty() && left_out > 0 {
            bail!("no channel of the recording can be published");
        }
        if lines.is_empty() {
            return Err(Exit::NotFound.because("no topic of the recording is meant"));
        }
        Ok((lines, left_out))
    }

    fn publisher(&self, node: &Node, channel: &Channel) -> Result<Publisher<[u8]>, CreateError> {
        let other = self.remap.iter().find(|(from, _)| *from == channel.topic).map(|(_, to)| to);
        let config = node.config().publisher.clone().data_type(channel.data_type.clone());
        node.publisher_with::<[u8]>(other.unwrap_or(&channel.topic), config)
    }

    fn sim_clock(&self, node: &Node) -> anyhow::Result<Option<SimClock>> {
        let Some(hertz) = self.clock else { return Ok(None) };
        let data_type =
            DataType { name: "eCAL.pb.SimTime".into(), encoding: "proto".into(), ..DataType::default() };
        let config = node.config().publisher.clone().data_type(data_type);
        let publisher = node.publisher_with::<[u8]>(SIM_TIME_TOPIC, config)?;
        let every = Duration::from_secs_f64(hertz.recip());
        Ok(Some(SimClock { publisher, every, next: Instant::now() }))
    }

    /// Returns why it is to end before.
    fn wait_for_subscribers(
        &self,
        session: &Session,
        lines: &Lines,
        sim_clock: Option<&SimClock>,
    ) -> Option<End> {
        let Some(wanted) = self.wait else { return session.wait(self.delay) };
        let all = lines.values().chain(sim_clock.map(|sim_clock| &sim_clock.publisher));
        let (started, mut is_said) = (Instant::now(), false);
        for publisher in all {
            while !publisher.wait_for_subscribers(wanted, session.slice(Duration::from_millis(50))) {
                if let Some(end) = session.end() {
                    return Some(end);
                }
                if !is_said && started.elapsed() >= Duration::from_secs(2) {
                    is_said = true;
                    let subscribers = counted(wanted as u64, "subscriber");
                    tell!("waiting for {subscribers} of topic {} (--wait)", clean(publisher.topic()));
                }
            }
        }
        None
    }

    fn publish(&self, lines: &Lines, item: &Ahead) -> anyhow::Result<()> {
        let Some(publisher) = lines.get(&item.channel) else { return Ok(()) };
        // A recording of other programs may know no send times.
        let time_ns = if item.publish_ns == 0 { item.time_ns } else { item.publish_ns };
        match UNIX_EPOCH.checked_add(Duration::from_nanos(time_ns)).filter(|_| !self.now) {
            Some(time) => publisher.send_at(&item.payload, time)?,
            None => publisher.send(&item.payload)?,
        }
        Ok(())
    }

    fn print(
        &self,
        session: &Session,
        lines: &Lines,
        published: u64,
        left_out: u64,
        seconds: f64,
        lateness: &Lateness,
    ) -> anyhow::Result<()> {
        let mut lines: Vec<_> = lines.values().collect();
        lines.sort_by(|a, b| a.topic().cmp(b.topic()));
        let out = &mut session.out();
        if session.common.json {
            let topics = lines.iter().map(|publisher| {
                let stats = publisher.stats();
                json!({
                    "topic": publisher.topic(),
                    "messages": stats.published,
                    "sent": stats.sent,
                    "not_sent": stats.not_sent,
                    "subscribers": publisher.subscriber_count(),
                })
            });
            out.json(&json!({
                "kind": "play",
                "file": self.file.to_string_lossy(),
                "messages": published,
                "left_out": left_out,
                "topics": topics.collect::<Vec<_>>(),
                "seconds": seconds,
                "late_mean_us": lateness.mean().as_secs_f64() * 1e6,
                "late_max_us": lateness.max.as_secs_f64() * 1e6,
            }))?;
            return Ok(());
        }
        out.line(format_args!("{} in {seconds:.1} s", counted(published, "message")))?;
        if left_out > 0 {
            let count = counted(left_out, "message");
            out.line(format_args!("left out, of channels that cannot be published: {count}"))?;
        }
        if lateness.count > 0 {
            let [mean, max] = [lateness.mean(), lateness.max].map(|late| late.as_secs_f64() * 1e3);
            out.line(format_args!("published {mean:.2} ms late on average, {max:.2} ms at most"))?;
        }
        let heads = ["MESSAGES", "SENT", "SUBSCRIBERS"].into_iter().map(|head| (head, Align::Right));
        let mut table = Table::new([("TOPIC", Align::Left)].into_iter().chain(heads));
        for publisher in lines {
            let stats = publisher.stats();
            let numbers = [stats.published, stats.sent, publisher.subscriber_count() as u64];
            let numbers = numbers.map(|number| number.to_string());
            table.row([publisher.topic().to_owned()].into_iter().chain(numbers).map(Into::into));
        }
        table.print(out)?;
        Ok(())
    }
}

impl SimClock {
    /// Publishes the time if that is due.
    fn tick(&mut self, position: &Position) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        // Those that were missed are not made up for.
        while self.next <= now {
            self.next += self.every;
        }
        let nanoseconds = i64::try_from(position.now()).unwrap_or(i64::MAX);
        let factor = if position.since.is_some() { position.rate } else { 0.0 };
        if let Err(error) = self.publisher.send(&SimTime { nanoseconds, factor }.encode()) {
            log::debug!("{error}");
        }
    }
}

/// What waits until a message is due.
///
/// Linux wakes up this thread to the point if it is asked to. Who spins in place of that is late more often on a busy computer:
/// the system then takes it for one that uses much. Elsewhere, the last part of a wait is spun.
fn sleeper() -> SpinSleeper {
    #[cfg(target_os = "linux")]
    if rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)).is_ok() {
        return SpinSleeper::new(0);
    }
    SpinSleeper::default()
}

/// Raises the priority of this thread. What the system refuses is a warning.
fn ask_for_realtime() {
    // Above all that is not of real time; the system's own threads of real time have higher ones.
    let priority = ThreadPriority::Crossplatform(ThreadPriorityValue::try_from(10).unwrap_or_default());
    #[cfg(unix)]
    let result = {
        use thread_priority::unix::{
            RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
            thread_native_id,
        };
        let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::RoundRobin);
        set_thread_priority_and_policy(thread_native_id(), priority, policy)
    };
    #[cfg(not(unix))]
    let result = {
        let _ = priority;
        ThreadPriority::Max.set_for_current()
    };
    match result {
        Ok(()) => {}
        Err(thread_priority::Error::OS(code)) => {
            log::warn!("--realtime: the system refuses it: {}", std::io::Error::from_raw_os_error(code));
        }
        Err(error) => log::warn!("--realtime: the system refuses it: {error}"),
    }
}

/// Where it is, for people.
fn bar(position: &Position, start_ns: u64, last_ns: u64, published: u64, has_keys: bool) -> String {
    // The keys stand before what may be cut.
    const WIDTH: usize = 14;
    let (now, all) = (position.now().clamp(start_ns, last_ns) - start_ns, last_ns - start_ns);
    let filled = (now as f64 / (all.max(1)) as f64 * WIDTH as f64) as usize;
    let state = if position.since.is_some() { "play" } else { "pause" };
    let keys = if has_keys { " | space s \u{2190} \u{2192} + - q" } else { "" };
    format!(
        "{state:5} {} / {} [{}{}] x{}{keys} | {}",
        clock(Duration::from_nanos(now)),
        clock(Duration::from_nanos(all)),
        "#".repeat(filled),
        "-".repeat(WIDTH.saturating_sub(filled)),
        (position.rate * 1e3).round() / 1e3,
        counted(published, "message"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_checked() {
        assert_eq!(remap("a:=b:=c"), Ok(("a".into(), "b:=c".into())));
        assert!(["a", "a:b", ":=b", "a:="].iter().all(|text| remap(text).is_err()));
        assert!(["-1", "nan", "inf", "fast"].iter().all(|text| rate(text).is_err() && hertz(text).is_err()));
        assert_eq!((rate("0"), hertz("50")), (Ok(0.0), Ok(50.0)));
    }

    #[test]
    fn a_round_takes_some_time_unless_it_is_to_go_as_fast_as_it_can() {
        let began = Instant::now();
        assert_eq!(next_round(began, 1.0), began + MIN_ROUND);
        assert_eq!(next_round(began, MAX_RATE), began + MIN_ROUND);
        assert_eq!(next_round(began, 0.0), began);
    }

    #[test]
    fn damage_is_known_once() {
        let damage = Damage { shown: "a.mcap".into(), known: Arc::default() };
        assert!(!damage.is_any());
        (0..2).for_each(|_| damage.clone().add("damaged at byte 7".into()));
        assert!(damage.is_any());
        assert_eq!(damage.lock().len(), 1);
    }

    #[test]
    fn the_bar_has_the_same_length_everywhere() {
        let len = |time_ns| {
            let position = Position { time_ns, since: None, rate: 1.0 };
            bar(&position, 1_000_000_000, 11_000_000_000, 3, true).chars().count()
        };
        assert!(
            [0, 1_000_000_000, 5_000_000_000, 11_000_000_000, u64::MAX]
                .iter()
                .all(|&time| len(time) == len(0))
        );
    }

    #[test]
    fn all_keys_are_seen_on_a_terminal_of_80_columns() {
        const HOUR: u64 = 3_600_000_000_000;
        for rate in [1.0, 1.0 / 1024.0, 1e6] {
            let position = Position { time_ns: 100 * HOUR, since: None, rate };
            let bar = bar(&position, 0, 100 * HOUR, 1_000_000, true);
            let seen: String = bar.chars().take(79).collect();
            assert!(seen.contains("space s \u{2190} \u{2192} + - q"), "{seen}");
        }
    }
}
