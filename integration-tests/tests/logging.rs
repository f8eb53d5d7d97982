//! Log lines: those of the real eCAL arrive here and ours there, and hostile ones are counted.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use ferrocal::{
    Config, DropReason, LogConfig, LogLevel, LogLevels, LogMessage, LogReceiver, LogSink, Node, RecvError,
    RecvTimeoutError, Selection,
};
use ferrocal_integration_tests::ecal::Logging;
use ferrocal_integration_tests::pair::Pair;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use ferrocal_integration_tests::{forge, ours, wait};
use ferrocal_transport::{Config as TransportConfig, SocketTransport};
use serde_json::json;

fn main() -> ExitCode {
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let mut test = |name: &str, body: fn(Mode)| {
            tests.push(Test::new(format!("{name}::{}", mode.name()), &[Need::Ecal], move || body(mode)));
        };
        test("lines_of_every_level_arrive_here", lines_arrive_here);
        test("lines_of_every_level_arrive_there", lines_arrive_there);
        test("only_lines_of_wanted_levels_arrive_there", only_wanted_lines_arrive_there);
    }
    for (name, make) in [("memory", memory as fn() -> Pair), ("sockets", sockets)] {
        let mut test = |case: &str, body: fn(&Pair)| {
            tests.push(Test::new(format!("{case}::{name}"), &[], move || body(&make())));
        };
        test("bad_lines_are_counted_and_passed_over", bad_lines);
    }
    for mode in Mode::ALL {
        let name = format!("lines_of_other_hosts_are_taken_in_network_mode::{}", mode.name());
        tests.push(Test::new(name, &[], move || lines_of_other_hosts(mode)));
    }
    tests.push(Test::new("a_replay_has_lines", &[], a_replay_has_lines));
    suite::main(tests)
}

/// Two hosts in memory.
fn memory() -> Pair {
    Pair::memory(ferrocal::Mode::Network)
}

/// Sockets on loopback.
fn sockets() -> Pair {
    Pair::on_loopback(Arc::new(SocketTransport::new(TransportConfig::default())))
}

const UNIT: &str = "our unit";
const LEVELS: [(&str, LogLevel); 8] = [
    ("info", LogLevel::Info),
    ("warning", LogLevel::Warning),
    ("error", LogLevel::Error),
    ("fatal", LogLevel::Fatal),
    ("debug1", LogLevel::Debug1),
    ("debug2", LogLevel::Debug2),
    ("debug3", LogLevel::Debug3),
    ("debug4", LogLevel::Debug4),
];

/// A node whose lines go to UDP alone.
fn node(world: &World, levels: LogLevels) -> Node {
    let logging = LogConfig::default().console(LogSink::new(false, LogLevels::NONE));
    let config = ours::config(world, world.here()).logging(logging.udp(LogSink::new(true, levels)));
    world.here().run(|| Node::with_config(UNIT, config)).expect("a node opens")
}

/// The next line of this text.
#[track_caller]
fn line(logs: &LogReceiver, text: &str) -> LogMessage {
    loop {
        match logs.recv_timeout(HANG) {
            Ok(line) if line.content == text => return line,
            Ok(_) => {}
            Err(error) => panic!("no line `{text}`: {error}"),
        }
    }
}

fn now_us() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    now.as_micros().try_into().expect("it is before the year 294246")
}

fn lines_arrive_here(mode: Mode) {
    let world = World::new(mode);
    let logs = node(&world, LogLevels::NONE).logs().expect("the port opens");
    let mut real = Logging::start(world.there(), mode);
    for (name, level) in LEVELS {
        let before = now_us();
        real.log(name, &format!("of level {name}"));
        let line = line(&logs, &format!("of level {name}"));
        assert_eq!(line.level, level);
        assert_eq!((&*line.host_name, &*line.unit_name), (world.there().name(), "ecal_log"));
        assert!(line.process_id > 0 && line.process_name.contains("python"), "{line:?}");
        assert!((before..=now_us()).contains(&line.time_us), "{line:?}");
    }
    // Longer than a datagram.
    let long = "x".repeat(60_000) + "end";
    real.log("info", &long);
    line(&logs, &long);
    let stats = logs.stats();
    assert_eq!((stats.drops.total(), stats.queue_full, stats.other_hosts), (0, 0, 0), "{stats:?}");
}

fn lines_arrive_there(mode: Mode) {
    let world = World::new(mode);
    let node = node(&world, LogLevels::ALL);
    let mut real = Logging::start(world.there(), mode);
    let before = now_us();
    for (name, level) in LEVELS {
        node.log(level, &format!("of level {name}"));
    }
    let long = "ä".repeat(40_000);
    node.log(LogLevel::Info, &long);
    node.log(LogLevel::Info, "the last one");
    let lines = real.lines_until(UNIT, "the last one");
    let program = std::env::current_exe().expect("the path of the test is known");
    for ((name, _), line) in LEVELS.iter().zip(&lines) {
        let time_us = line["time_us"].as_i64().expect("a number");
        assert!((before..=now_us()).contains(&time_us), "{line}");
        assert_eq!(
            *line,
            json!({
                "time_us": time_us,
                "host": world.here().name(),
                "pid": std::process::id(),
                "process_name": program.to_string_lossy(),
                "unit": UNIT,
                "level": name,
                "text": format!("of level {name}"),
            })
        );
    }
    assert_eq!(lines.len(), LEVELS.len() + 2, "{lines:#?}");
    let text = lines[LEVELS.len()]["text"].as_str().expect("a text");
    assert_eq!((text.len(), long.starts_with(text)), (65_536, true), "it is cut off");
    assert_eq!(node.logger().stats().sent, 10);
}

fn only_wanted_lines_arrive_there(mode: Mode) {
    let world = World::new(mode);
    let node = node(&world, LogLevels::COMMON);
    let mut real = Logging::start(world.there(), mode);
    for (name, level) in LEVELS {
        node.log(level, name);
    }
    node.log(LogLevel::Error, "the last one");
    let texts: Vec<_> =
        real.lines_until(UNIT, "the last one").iter().map(|line| line["text"].clone()).collect();
    assert_eq!(texts, ["info", "warning", "error", "fatal", "the last one"]);
}

/// A line of this host.
fn forged(content: &str) -> LogMessage {
    let info = forge::on_this_host(forge::topic_info("", 7, 1, ""));
    LogMessage {
        time_us: 1,
        host_name: info.host_name.to_string(),
        process_id: info.process_id,
        process_name: info.process_name.to_string(),
        unit_name: info.unit_name.to_string(),
        level: LogLevel::Info,
        content: content.to_owned(),
    }
}

fn bad_lines(pair: &Pair) {
    use DropReason as R;
    let (node, injector) = pair.node(Config::default());
    let logs = node.logs().expect("the port opens");
    let named = |log: &[u8]| forge::whole(&[b"\x0e\0_log_message_\0", log].concat());
    let mut long_host = forged("x");
    long_host.host_name = "x".repeat(5000);
    let cases = vec![
        ("an empty datagram", vec![], R::Truncated),
        ("another protocol", b"GET / HTTP/1.1\r\nHost: example\r\n".to_vec(), R::ForeignMagic),
        ("no message", forge::whole(b""), R::Truncated),
        ("a name cut short", forge::whole(b"\x0e\0_log"), R::Truncated),
        ("a payload", forge::whole(&forge::payload("hello", 1, 1, b"x")), R::UnexpectedSample),
        ("another name", forge::whole(b"\x06\0hello\0"), R::UnexpectedSample),
        ("a field cut short", named(b"\x12\x7fx"), R::BadSample),
        ("a length beyond all", named(b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), R::BadSample),
        (
            "a number without end",
            named(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            R::BadSample,
        ),
        ("a host's name too long", forge::whole(&long_host.encode()), R::TooLong),
        ("a message too long", forge::info(1, 4, 200_000), R::TooLong),
    ];
    let mut expected = logs.stats().drops;
    for (what, datagram, reason) in cases {
        injector.log(&[datagram]);
        expected.count(reason);
        wait::until_eq(&format!("drops after {what}"), &expected, || logs.stats().drops);
        injector.log(&[forge::whole(&forged(what).encode())]);
        let line = logs.recv_timeout(HANG).unwrap_or_else(|error| panic!("after {what}: {error}"));
        assert_eq!(line, forged(what));
    }
    // A level without a name, and one without anything in it.
    let strange = LogMessage { level: LogLevel::Other(-1), ..forged("") };
    injector.log(&[forge::whole(&strange.encode())]);
    assert_eq!(logs.recv_timeout(HANG).expect("it arrives"), strange);
    // A text that is not UTF-8 is no reason to lose the line. The name of its host is behind it.
    let host = strange.host_name.as_bytes();
    injector.log(&[named(&[&b"\x3a\x02x\xff\x12"[..], &[host.len() as u8], host].concat())]);
    assert_eq!(logs.recv_timeout(HANG).expect("it arrives").content, "x\u{fffd}");
    assert_eq!(node.status().drops.total(), 0, "no other port has got it");
}

fn lines_of_other_hosts(mode: Mode) {
    let (node, injector) = Pair::memory(mode.into()).node(Config::default());
    let logs = node.logs().expect("the port opens");
    let foreign = LogMessage { host_name: "elsewhere".into(), ..forged("of another host") };
    injector.log(&[forge::whole(&foreign.encode())]);
    injector.log(&[forge::whole(&forged("of this host").encode())]);
    let first = logs.recv_timeout(HANG).expect("it arrives").content;
    let others = logs.stats().other_hosts;
    match mode {
        Mode::Local => assert_eq!((&*first, others), ("of this host", 1)),
        Mode::Network => assert_eq!((&*first, others), ("of another host", 0)),
    }
}

fn a_replay_has_lines() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/ecal-6.1.1-network-small.pcap");
    let config = Config::default().mode(ferrocal::Mode::Network).transport(Selection::File(file.into()));
    let logs = Node::with_config(UNIT, config).expect("a node opens").logs().expect("the file opens");
    let line = logs.recv_timeout(HANG).expect("the file has a line");
    assert!(line.level == LogLevel::Error && line.content.starts_with("Could not load eCAL"), "{line:?}");
    let end = loop {
        if let Err(end) = logs.recv_timeout(HANG) {
            break end;
        }
    };
    assert_eq!(end, RecvTimeoutError::Ended(RecvError::ReplayOver));
}
