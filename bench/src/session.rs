//! The processes of one row, seen from the driver.

use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::process::Process;
use ferrocal_integration_tests::world::World;
use serde_json::Value;

use crate::peers::{Peer, ecal};
use crate::plan::{Kind, Row};
use crate::role::{Role, Setup};

/// Matching, with the real eCAL, takes up to two seconds.
const WARM_UP_TRIES: usize = 100;

/// What processes used so far, or in some time; the peaks are of all time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub cpu_seconds: f64,
    pub peak_kb: f64,
}

impl Usage {
    fn of(event: &Value) -> Self {
        Self {
            cpu_seconds: number(event, "user") + number(event, "system"),
            peak_kb: number(event, "peak_kb"),
        }
    }
}

/// What became of the messages of some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub sent: f64,
    /// By all subscribers.
    pub received: f64,
    /// What they should have received.
    pub expected: f64,
    /// From the first sending to the end of sending, or to the last arrival.
    pub seconds: f64,
    pub sent_per_s: f64,
    pub publisher: Usage,
    pub subscriber: Usage,
}

impl Probe {
    pub(crate) fn lost(&self) -> f64 {
        1.0 - self.received / self.expected
    }

    pub(crate) fn delivered_per_s(&self) -> f64 {
        self.received / self.seconds
    }
}

/// A publisher and its subscribers, which have found each other.
pub(crate) struct Stream {
    publisher: Process,
    publisher_usage: Usage,
    /// With what each told last.
    subscribers: Vec<(Process, Value)>,
    /// How many messages each receives for one that is sent.
    copies: f64,
}

impl Stream {
    pub(crate) fn start(world: &World, row: &Row) -> Self {
        let [from, to] = row.peers;
        let processes = row.count_of(&[Kind::Processes]);
        let mut stream = Self {
            subscribers: (0..processes)
                .map(|_| (spawn(world, row, Role::Sub, to), Value::default()))
                .collect(),
            publisher: spawn(world, row, Role::Pub, from),
            publisher_usage: Usage::default(),
            copies: row.count_of(&[Kind::Subscribers]) as f64,
        };
        // All topics have a turn.
        let rate = 20.0 * row.count_of(&[Kind::Topics, Kind::Nodes]) as f64;
        for _ in 0..WARM_UP_TRIES {
            let probe = stream.probe(rate, 0.1);
            if probe.received > 0.0 && probe.received >= probe.expected {
                return stream;
            }
        }
        panic!("messages do not arrive");
    }

    /// Sends `rate` messages a second for `seconds`; 0: as fast as it goes.
    pub(crate) fn probe(&mut self, rate: f64, seconds: f64) -> Probe {
        self.publisher.send_line(&format!("send {rate} {seconds}"));
        let event = self.publisher.event("sent");
        let sent = number(&event, "sent");
        let (start_ns, seconds) = (number(&event, "start_ns"), number(&event, "seconds"));
        let mut probe = Probe {
            sent,
            received: 0.0,
            expected: sent * self.copies * self.subscribers.len() as f64,
            seconds,
            sent_per_s: sent / seconds,
            publisher: Usage::default(),
            subscriber: Usage::default(),
        };
        for (process, totals) in &mut self.subscribers {
            let before = totals.take();
            let received_before = number(&before, "received");
            process.send_line(&format!("totals {}", received_before + sent * self.copies));
            *totals = process.event("totals");
            let damaged = number(totals, "damaged");
            assert!(damaged == 0.0, "{damaged} messages came damaged");
            probe.received += number(totals, "received") - received_before;
            probe.seconds = probe.seconds.max((number(totals, "last_ns") - start_ns) / 1e9);
            let usage = Usage::of(totals);
            probe.subscriber.cpu_seconds +=
                usage.cpu_seconds - number(&before, "user") - number(&before, "system");
            probe.subscriber.peak_kb += usage.peak_kb;
        }
        self.publisher.send_line("usage");
        let usage = Usage::of(&self.publisher.event("usage"));
        let cpu_seconds = usage.cpu_seconds - self.publisher_usage.cpu_seconds;
        probe.publisher = Usage { cpu_seconds, ..usage };
        self.publisher_usage = usage;
        probe
    }

    pub(crate) fn finish(self) {
        self.publisher.finish();
        for (process, _) in self.subscribers {
            process.finish();
        }
    }
}

/// One that asks and one that answers.
pub(crate) struct PingPong {
    ping: Process,
    pong: Process,
}

impl PingPong {
    pub(crate) fn start(world: &World, row: &Row) -> Self {
        let [asking, answering] = row.peers;
        let pong = spawn(world, row, Role::Pong, answering);
        let ping = spawn(world, row, Role::Ping, asking);
        let mut both = Self { ping, pong };
        for _ in 0..WARM_UP_TRIES {
            let event = both.run(0.1);
            if number(&event, "count") > 0.0 && number(&event, "lost") == 0.0 {
                return both;
            }
        }
        panic!("answers do not arrive");
    }

    pub(crate) fn run(&mut self, seconds: f64) -> Value {
        self.ping.send_line(&format!("ping {seconds}"));
        self.ping.event("pinged")
    }

    pub(crate) fn finish(self) {
        self.ping.finish();
        self.pong.finish();
    }
}

pub(crate) fn number(event: &Value, key: &str) -> f64 {
    event[key].as_f64().unwrap_or_default()
}

fn spawn(world: &World, row: &Row, role: Role, peer: Peer) -> Process {
    let here = matches!(role, Role::Pub | Role::Ping);
    let (host, interface) =
        if here { (world.here(), world.interface()) } else { (world.there(), world.interface_there()) };
    let setup = Setup {
        role,
        peer,
        size: row.size,
        interface,
        topics: row.count_of(&[Kind::Topics, Kind::Nodes]),
        subscribers: row.count_of(&[Kind::Subscribers]),
        nodes: row.count_of(&[Kind::Nodes]),
    };
    let mut command = if peer.is_ecal() { ecal::command(host) } else { own_command(host) };
    command.args(setup.arguments());
    let mut process = Process::spawn(&format!("{} as {role:?} of {}", peer.name(), row.name()), command);
    process.event("ready");
    process
}

fn own_command(host: Host) -> std::process::Command {
    let mut command = host.command(std::env::current_exe().expect("the program has a path"));
    command.arg("role");
    command
}
