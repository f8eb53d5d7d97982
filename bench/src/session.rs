//! The processes of one row, seen from the driver.

use ferrocal_integration_tests::netns::Host;
use ferrocal_integration_tests::process::Process;
use ferrocal_integration_tests::world::World;
use serde_json::Value;

use crate::peers::{Peer, ecal};
use crate::plan::Row;
use crate::role::{Role, Setup};

/// Matching, with the real eCAL, takes up to two seconds.
const WARM_UP_TRIES: usize = 100;

/// What a process used so far, or in some time.
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

    fn since(self, before: Self) -> Self {
        Self { cpu_seconds: self.cpu_seconds - before.cpu_seconds, ..self }
    }
}

/// What became of the messages of some time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe {
    pub sent: f64,
    pub received: f64,
    /// From the first sending to the end of sending, or to the last arrival.
    pub seconds: f64,
    pub sent_per_s: f64,
    pub publisher: Usage,
    pub subscriber: Usage,
}

impl Probe {
    pub(crate) fn lost(&self) -> f64 {
        1.0 - self.received / self.sent
    }

    pub(crate) fn delivered_per_s(&self) -> f64 {
        self.received / self.seconds
    }
}

/// A publisher and a subscriber that have found each other.
pub(crate) struct Stream {
    publisher: Process,
    subscriber: Process,
    publisher_usage: Usage,
    totals: Value,
}

impl Stream {
    pub(crate) fn start(world: &World, row: &Row) -> Self {
        let [from, to] = row.peers;
        let subscriber = spawn(world, row, Role::Sub, to);
        let publisher = spawn(world, row, Role::Pub, from);
        let totals = Value::default();
        let mut stream = Self { publisher, subscriber, publisher_usage: Usage::default(), totals };
        for _ in 0..WARM_UP_TRIES {
            let probe = stream.probe(20.0, 0.1);
            if probe.received > 0.0 && probe.received >= probe.sent {
                return stream;
            }
        }
        panic!("messages do not arrive");
    }

    /// Sends `rate` messages a second for `seconds`; 0: as fast as it goes.
    pub(crate) fn probe(&mut self, rate: f64, seconds: f64) -> Probe {
        self.publisher.send_line(&format!("send {rate} {seconds}"));
        let sent = self.publisher.event("sent");
        let before = self.totals.take();
        let expected = number(&before, "received") + number(&sent, "sent");
        self.subscriber.send_line(&format!("totals {expected}"));
        self.totals = self.subscriber.event("totals");
        self.publisher.send_line("usage");
        let publisher_before = self.publisher_usage;
        self.publisher_usage = Usage::of(&self.publisher.event("usage"));

        let damaged = number(&self.totals, "damaged");
        assert!(damaged == 0.0, "{damaged} messages came damaged");
        let to_last = (number(&self.totals, "last_ns") - number(&sent, "start_ns")) / 1e9;
        let seconds = number(&sent, "seconds");
        let (sent, received) =
            (number(&sent, "sent"), number(&self.totals, "received") - number(&before, "received"));
        Probe {
            sent,
            received,
            seconds: seconds.max(to_last),
            sent_per_s: sent / seconds,
            publisher: self.publisher_usage.since(publisher_before),
            subscriber: Usage::of(&self.totals).since(Usage::of(&before)),
        }
    }

    pub(crate) fn finish(self) {
        self.publisher.finish();
        self.subscriber.finish();
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
    let setup = Setup { role, peer, size: row.size, interface, topics: 1, subscribers: 1, nodes: 1 };
    let mut command = match peer {
        Peer::Ecal => ecal::command(host),
        _ => own_command(host),
    };
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
