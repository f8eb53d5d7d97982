//! Listens to what programs register and log.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ferrocal::{Config, LocalRegistration, LogMessage, Mode, ProcessInfo, Seen, Snapshot, TopicInfo};
use ferrocal_proto::{Action, Announcement, Header, Limits, MAX_REGISTRATION_LEN, Reassembler, Registration};
use ferrocal_transport::{OpenError, Receiver, SocketTransport, Transport, Wait};

use super::facts::{Entity, Known, Process, Wire};
use crate::session::{End, Session};

/// What the network can make this program store, of each kind.
const MAX_ENTRIES: usize = 10_000;
/// How long a thread waits before it looks whether to end.
const SLICE: Duration = Duration::from_millis(50);

/// What listening showed.
pub(super) struct Watched {
    pub(super) wire: Wire,
    /// Why ports could not be opened.
    pub(super) failures: Vec<(u16, String)>,
    /// The receive buffer that was granted.
    pub(super) granted_buffer_len: Known<usize>,
}

/// The transport settings of a mode.
pub(super) fn transport_config(config: &Config, mode: Mode) -> ferrocal_transport::Config {
    let destination = match mode {
        Mode::Local => config.udp.local,
        Mode::Network => config.udp.network,
    };
    ferrocal_transport::Config {
        mode,
        group: destination.group,
        ttl: destination.ttl,
        interfaces: config.udp.interfaces.clone(),
        join_all_interfaces: config.udp.join_all_interfaces,
        loopback: true,
        send_buffer_len: config.udp.send_buffer_len,
        receive_buffer_len: config.udp.receive_buffer_len,
        prefer_raw_frames: config.udp.npcap_enabled,
        send: config.udp.send,
        ip_reassembly: config.limits.ip_reassembly,
    }
}

/// A receiver of one port, which has joined the group base in network mode.
struct Port {
    is_logging: bool,
    receiver: Box<dyn Receiver>,
}

/// Listens in both modes, whatever the settings say, until it is time to end. Calls `during` when all receivers are
/// open, and once more shortly before they close.
pub(super) fn watch(
    session: &Session,
    config: &Config,
    duration: Duration,
    during: &mut dyn FnMut(),
) -> Watched {
    let mut failures: Vec<(u16, String)> = Vec::new();
    let mut ports = Vec::new();
    let mut granted_buffer_len = Err("No receiver could be opened.".to_owned());
    for (mode, is_logging, port) in [
        (Mode::Network, false, config.registration.network_port),
        (Mode::Local, false, config.registration.local_port),
        (Mode::Network, true, config.logging.receiver_port),
        (Mode::Local, true, config.logging.receiver_port),
    ] {
        match open(config, mode, port) {
            Ok(receiver) => {
                granted_buffer_len = Ok(receiver.granted().receive_buffer_len);
                ports.push(Port { is_logging, receiver });
            }
            Err(error) => add_failure(&mut failures, port, &error),
        }
    }
    // Nothing is read from it.
    let transport = SocketTransport::new(transport_config(config, config.mode));
    if let Err(error) = transport.receiver(config.udp.port) {
        add_failure(&mut failures, config.udp.port, &error);
    }
    // Only a node reads what is registered there, and what it finds is what other nodes of these settings see.
    let by_memory =
        config.mode == Mode::Local && config.registration.local_transport == LocalRegistration::Shm;
    let node = by_memory.then(|| session.open("doctor", config.clone()));
    let monitor = node.as_ref().and_then(|node| node.as_ref().ok()).map(ferrocal::Node::monitor);
    during();
    let start = Instant::now();
    let shared = Mutex::new(Heard::new(start));
    thread::scope(|scope| {
        for port in ports {
            let shared = &shared;
            scope.spawn(move || listen(port, shared));
        }
        let end = start + duration;
        // The time is that of listening alone, whatever the tests took.
        while Instant::now() < end && session.end() != Some(End::Stopped) {
            thread::sleep(SLICE.min(end.saturating_duration_since(Instant::now())));
        }
        during();
        lock(&shared).is_over = true;
    });
    let mut wire = shared.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).finish();
    wire.watched = start.elapsed();
    wire.memory = node.map(|node| match (node, monitor) {
        (Ok(_), Some(monitor)) => {
            Ok(wire.add_registered(&monitor.snapshot(), start, config.registration.refresh))
        }
        (Err(error), _) => Err(format!("No node can be opened: {error:#}.")),
        (Ok(_), None) => Err("Nothing was watched.".to_owned()),
    });
    Watched { wire, failures, granted_buffer_len }
}

fn add_failure(failures: &mut Vec<(u16, String)>, port: u16, error: &OpenError) {
    if failures.iter().all(|(other, _)| *other != port) {
        let cause = std::error::Error::source(error).map(|cause| format!("{cause}.")).unwrap_or_default();
        failures.push((port, cause));
    }
}

fn open(config: &Config, mode: Mode, port: u16) -> Result<Box<dyn Receiver>, OpenError> {
    // Raw frames have a check of their own.
    let receiver = SocketTransport::new(transport_config(config, mode)).receiver(port)?;
    if mode == Mode::Network {
        // What the system refuses is tried again, and the groups that are joined are checked.
        let _ = receiver.membership().join(config.udp.network.group);
    }
    Ok(receiver)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn listen(port: Port, shared: &Mutex<Heard>) {
    let Port { is_logging, mut receiver } = port;
    let limits = Limits { max_message_len: MAX_REGISTRATION_LEN, ..Limits::default() };
    let mut reassembler = Reassembler::new(limits);
    let start = Instant::now();
    while !lock(shared).is_over {
        let mut heard = None;
        let result = receiver.recv(Wait::sleep(SLICE), &mut |datagram| {
            let heard = heard.get_or_insert_with(|| lock(shared));
            let (now, source) = (datagram.received, datagram.source);
            for bytes in datagram.bytes.chunks(datagram.segment_len.max(1)) {
                if Header::parse(bytes).is_err() {
                    heard.unusable(*source.ip(), is_logging);
                    continue;
                }
                let since_start = now.saturating_duration_since(start);
                if let Some(message) = reassembler.push(since_start, source, bytes) {
                    heard.message(now, source, message.as_slice(), is_logging);
                }
            }
        });
        drop(heard);
        reassembler.expire(start.elapsed());
        match result {
            Ok(()) => {}
            // The interfaces are checked apart from this.
            Err(_) => thread::sleep(SLICE),
        }
    }
}

/// What was heard so far.
struct Heard {
    start: Instant,
    is_over: bool,
    processes: BTreeMap<(String, i32, String, String, String), Process>,
    publishers: BTreeMap<Key, Member>,
    subscribers: BTreeMap<Key, Member>,
    clocks: BTreeMap<String, i64>,
    unusable: BTreeMap<Ipv4Addr, u64>,
}

type Key = (Vec<u8>, i32, u64);

/// A publisher or subscriber, and when it was heard of.
struct Member {
    source: Ipv4Addr,
    first: Instant,
    latest: Instant,
    info: TopicInfo,
}

impl Heard {
    fn new(start: Instant) -> Self {
        Self {
            start,
            is_over: false,
            processes: BTreeMap::new(),
            publishers: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            clocks: BTreeMap::new(),
            unusable: BTreeMap::new(),
        }
    }

    fn unusable(&mut self, source: Ipv4Addr, is_logging: bool) {
        if !is_logging && (self.unusable.len() < MAX_ENTRIES || self.unusable.contains_key(&source)) {
            *self.unusable.entry(source).or_default() += 1;
        }
    }

    fn message(&mut self, now: Instant, source: SocketAddrV4, message: &[u8], is_logging: bool) {
        if is_logging {
            if let Ok(line) = LogMessage::decode(message) {
                self.log_line(&line);
            }
            return;
        }
        match Registration::decode(message) {
            Ok(registration) => self.registration(now, *source.ip(), registration),
            Err(_) => self.unusable(*source.ip(), false),
        }
    }

    fn log_line(&mut self, line: &LogMessage) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_micros());
        let difference = i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(line.time_us);
        let host = line.host_name.clone();
        if self.clocks.len() < MAX_ENTRIES || self.clocks.contains_key(&host) {
            let nearest = self.clocks.entry(host).or_insert(difference);
            if difference.abs() < nearest.abs() {
                *nearest = difference;
            }
        }
    }

    fn registration(&mut self, now: Instant, source: Ipv4Addr, registration: Registration) {
        let Registration { action, announcement } = registration;
        let (table, info) = match announcement {
            Announcement::Process(info) => {
                let process = process(&info, source);
                let key = (
                    process.host.clone(),
                    process.pid,
                    process.name.clone(),
                    process.command_line.clone(),
                    process.unit.clone(),
                );
                if action == Action::Unregister {
                    self.processes.remove(&key);
                } else if let Some(known) = self.processes.get_mut(&key) {
                    if known.sources.len() < 16 {
                        known.sources.insert(source);
                    }
                } else if self.processes.len() < MAX_ENTRIES {
                    self.processes.insert(key, process);
                }
                return;
            }
            Announcement::Publisher(info) => (&mut self.publishers, info),
            Announcement::Subscriber(info) => (&mut self.subscribers, info),
            _ => return,
        };
        let key = (info.host_name.as_bytes().to_vec(), info.process_id, info.topic_id.get());
        if action == Action::Unregister {
            table.remove(&key);
        } else if let Some(known) = table.get_mut(&key) {
            (known.latest, known.info) = (now, info);
        } else if table.len() < MAX_ENTRIES {
            table.insert(key, Member { source, first: now, latest: now, info });
        }
    }

    fn finish(self) -> Wire {
        let entities = |table: BTreeMap<Key, Member>| {
            let entity = |Member { source, first, latest, info }: Member| Entity {
                source,
                watched: latest.saturating_duration_since(first),
                info,
            };
            table.into_values().map(entity).collect()
        };
        Wire {
            watched: self.start.elapsed(),
            processes: self.processes.into_values().collect(),
            publishers: entities(self.publishers),
            subscribers: entities(self.subscribers),
            clock_differences: self.clocks.into_iter().collect(),
            unusable: self.unusable.into_iter().collect(),
            memory: None,
        }
    }
}

fn process(info: &ProcessInfo, source: Ipv4Addr) -> Process {
    let text = |text: &ferrocal::Text| text.to_str_lossy().into_owned();
    Process {
        sources: BTreeSet::from([source]),
        host: text(&info.host_name),
        pid: info.process_id,
        name: text(&info.process_name),
        command_line: text(&info.process_parameter),
        unit: text(&info.unit_name),
        version: text(&info.runtime_version),
        config_file: text(&info.config_file_path),
    }
}

impl Wire {
    /// Adds what a node of this computer sees, but for this program. Returns the hosts and ids of the processes.
    fn add_registered(
        &mut self,
        snapshot: &Snapshot,
        start: Instant,
        refresh: Duration,
    ) -> BTreeSet<(String, i32)> {
        let is_own = |process_id: i32| process_id.cast_unsigned() == std::process::id();
        let mut found = BTreeSet::new();
        for seen in snapshot.processes.iter().filter(|seen| !is_own(seen.info.process_id)) {
            let process = process(&seen.info, Ipv4Addr::LOCALHOST);
            found.insert((process.host.clone(), process.pid));
            let is_it = |other: &Process| {
                (&other.host, other.pid, &other.unit) == (&process.host, process.pid, &process.unit)
            };
            if !self.processes.iter().any(is_it) {
                self.processes.push(process);
            }
        }
        let add = |entities: &mut Vec<Entity>, registered: &[Seen<TopicInfo>]| {
            let id = |info: &TopicInfo| (info.host_name.clone(), info.process_id, info.topic_id.get());
            let known: BTreeSet<_> = entities.iter().map(|entity| id(&entity.info)).collect();
            let is_new =
                |seen: &&Seen<TopicInfo>| !is_own(seen.info.process_id) && !known.contains(&id(&seen.info));
            for Seen { info, registrations, last_seen, .. } in registered.iter().filter(is_new) {
                // It may have come late.
                let times = u32::try_from(registrations.saturating_sub(1)).unwrap_or(u32::MAX);
                let watched = last_seen.saturating_duration_since(start).min(refresh.saturating_mul(times));
                let info = TopicInfo::clone(info);
                entities.push(Entity { source: Ipv4Addr::LOCALHOST, watched, info });
            }
        };
        add(&mut self.publishers, &snapshot.publishers);
        add(&mut self.subscribers, &snapshot.subscribers);
        found
    }
}
