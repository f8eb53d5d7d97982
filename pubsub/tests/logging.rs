//! A program whose logger is that of its node.

#[path = "nodes/faulty.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod faulty;
#[path = "nodes/wait.rs"]
#[allow(dead_code, reason = "other tests need more of it")]
mod wait;

use std::io::ErrorKind;
use std::panic::resume_unwind;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, UNIX_EPOCH};
use std::{env, fs, thread};

use faulty::{Fate, Faulty};
use ferrocal::transport::memory::Network;
use ferrocal::{
    Clock, Config, ConsoleStream, LogConfig, LogLevel, LogLevels, LogReceiver, LogSink, Mode, Node,
    RecvError, UdpConfig,
};
use wait::{HANG, block_on, until, within_hang};

/// The default port of log lines.
const PORT: u16 = 14_001;
/// No lines, or all of them.
const NONE: LogSink = LogSink::new(false, LogLevels::ALL);
const ALL: LogSink = LogSink::new(true, LogLevels::ALL);

/// Lines go to UDP alone.
fn config() -> Config {
    Config::default().mode(Mode::Network).logging(LogConfig::default().console(NONE).udp(ALL))
}

fn node(network: &Network, config: Config) -> Node {
    Node::with_transport("node", config, Arc::new(network.host())).unwrap()
}

/// The level and text of the next line.
fn next(logs: &LogReceiver) -> (LogLevel, String) {
    let line = logs.recv_timeout(HANG).unwrap();
    (line.level, line.content)
}

/// Runs one test of this file again, in a process of its own, which shows where its lines go.
fn run_again(test: &str, variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(AGAIN, "1").envs(variables.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

const AGAIN: &str = "FERROCAL_TEST_AGAIN";

#[test]
fn records_of_the_crate_log_arrive_elsewhere_with_their_level() {
    if env::var_os(AGAIN).is_none() {
        run_again("records_of_the_crate_log_arrive_elsewhere_with_their_level", &[]);
        return;
    }
    let network = Network::new(1);
    // Of another program, that would have a logger of its own.
    let logs = node(&network, config()).logs().unwrap();
    // The transport logs what it sends, and what it refuses.
    let refuses = Arc::new(AtomicBool::new(false));
    let transport = Faulty::new(&network).on_send({
        let refuses = refuses.clone();
        move |datagram| {
            if datagram.destination.port() != PORT {
                return Fate::Send;
            }
            log::warn!("sending");
            if refuses.load(Ordering::SeqCst) {
                Fate::Refuse(ErrorKind::NetworkUnreachable)
            } else {
                Fate::Send
            }
        }
    });
    // So does the program's clock, which stands still.
    let clock = Clock::program(|| {
        log::warn!("reading the clock");
        UNIX_EPOCH + Duration::from_micros(7)
    });
    let node = Node::with_transport("logging", config().clock(clock), Arc::new(transport)).unwrap();
    let logger = node.logger();
    log::set_max_level(logger.max_level());
    log::set_boxed_logger(Box::new(logger.clone())).unwrap();
    let before = logger.stats();
    log::error!(target: "fatal", "of {}", "fatal");
    log::error!("of error");
    log::warn!("of warn");
    log::info!("of info");
    log::debug!("of debug");
    log::trace!("of trace");
    refuses.store(true, Ordering::SeqCst);
    log::info!("refused");
    refuses.store(false, Ordering::SeqCst);
    // What comes of other threads meanwhile is no line of this one.
    thread::spawn(|| log::info!("of another thread")).join().unwrap();
    for (level, text) in [
        (LogLevel::Fatal, "fatal"),
        (LogLevel::Error, "error"),
        (LogLevel::Warning, "warn"),
        (LogLevel::Info, "info"),
        (LogLevel::Debug1, "debug"),
        (LogLevel::Debug2, "trace"),
        (LogLevel::Info, "another thread"),
    ] {
        let line = logs.recv_timeout(HANG).unwrap();
        assert_eq!((line.level, line.content, line.time_us), (level, format!("of {text}"), 7));
    }
    let stats = logger.stats();
    assert_eq!(stats.sent - before.sent, 7);
    let log_meanwhile = 2 * 8;
    assert_eq!(stats.not_sent - before.not_sent, log_meanwhile + 1, "one was refused");
}

#[test]
fn lines_go_to_standard_output_only_if_that_is_asked_for() {
    const TEST: &str = "lines_go_to_standard_output_only_if_that_is_asked_for";
    const STREAM: &str = "FERROCAL_TEST_STREAM";
    const TEXT: &str = "this is the line";
    if env::var_os(AGAIN).is_some() {
        let stream =
            if env::var(STREAM).unwrap() == "stdout" { ConsoleStream::Stdout } else { ConsoleStream::Stderr };
        let config = config().logging(LogConfig::default().console_stream(stream));
        let node = node(&Network::new(1), config);
        node.log(LogLevel::Info, TEXT);
        node.log(LogLevel::Debug1, TEXT);
        return;
    }
    for stream in ["stdout", "stderr"] {
        let output = run_again(TEST, &[(STREAM, stream)]);
        let [stdout, stderr] = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8(bytes).unwrap().matches(TEXT).count());
        assert_eq!((stdout, stderr), if stream == "stdout" { (1, 0) } else { (0, 1) });
    }
}

#[test]
fn console_file_and_udp_get_the_lines_that_they_are_to_get() {
    let levels = LogLevels::NONE.with(LogLevel::Error).with(LogLevel::Debug4);
    let console = LogSink::new(true, LogLevels::NONE.with(LogLevel::Warning));
    let logging = LogConfig::default().console(console).file(LogSink::new(true, levels));
    let logging = logging.folders(vec![env::temp_dir()]);
    let node = node(&Network::new(1), config().logging(logging));
    let logs = node.logs().unwrap();
    for level in [LogLevel::Error, LogLevel::Warning, LogLevel::Debug4, LogLevel::Fatal] {
        node.log(level, "text");
    }
    // Not the one for developers, by default.
    for level in [LogLevel::Error, LogLevel::Warning, LogLevel::Fatal] {
        assert_eq!(next(&logs).0, level);
    }
    let path = node.logger().file().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    fs::remove_file(path).unwrap();
    let lines: Vec<_> = text.lines().map(|line| line.splitn(6, " | ").skip(2).collect::<Vec<_>>()).collect();
    let process = std::process::id().to_string();
    assert_eq!(lines, [["node", &process, "error", "text"], ["node", &process, "debug4", "text"]]);
}

#[test]
fn no_datagram_is_longer_than_the_settings_allow() {
    let network = Network::new(1);
    let longest = Arc::new(AtomicUsize::new(0));
    let transport = Faulty::new(&network).on_send({
        let longest = longest.clone();
        move |datagram| {
            if datagram.destination.port() == PORT {
                longest.fetch_max(datagram.len(), Ordering::SeqCst);
            }
            Fate::Send
        }
    });
    let config = config().udp(UdpConfig::default().max_datagram_len(100));
    let node = Node::with_transport("node", config, Arc::new(transport)).unwrap();
    let logs = node.logs().unwrap();
    let text = "x".repeat(1000);
    node.log(LogLevel::Info, &text);
    assert_eq!(next(&logs).1, text);
    assert_eq!(longest.load(Ordering::SeqCst), 100);
}

#[test]
fn a_receiver_drops_the_oldest_lines_and_counts_them() {
    let network = Network::new(1);
    let logging = config().logging.queue_len(2);
    let node = node(&network, config().logging(logging));
    let logs = node.logs().unwrap();
    for text in ["a", "b", "c", "d"] {
        node.log(LogLevel::Info, text);
    }
    until("all lines are there", || logs.stats().received == 4);
    assert_eq!(logs.stats().queue_full, 2);
    assert_eq!([next(&logs).1, next(&logs).1], ["c", "d"]);
    assert!(logs.try_recv().is_none());
}

#[test]
fn each_receiver_gets_every_line_in_each_way() {
    let network = Network::new(1);
    let node = node(&network, config());
    let (blocking, task) = (node.logs().unwrap(), node.logs().unwrap());
    // Neither the receivers nor the logger need the node.
    let logger = node.logger();
    drop(node);
    let waiting = thread::spawn(move || (blocking.recv().unwrap().content, blocking));
    let tasks = thread::spawn(move || block_on(task.recv_async()).unwrap().content);
    logger.log(LogLevel::Info, "text");
    let (content, blocking) = waiting.join().unwrap();
    assert_eq!([content, tasks.join().unwrap()], ["text", "text"]);
    blocking.close();
    assert_eq!(blocking.recv().unwrap_err(), RecvError::Closed);
}

#[test]
fn the_port_is_open_only_while_somebody_listens() {
    let network = Network::new(1);
    let received = Arc::new(AtomicU64::new(0));
    let transport = Faulty::new(&network).on_receive({
        let received = received.clone();
        move |port| {
            received.fetch_add(u64::from(port == PORT), Ordering::SeqCst);
        }
    });
    let node = Node::with_transport("node", config(), Arc::new(transport)).unwrap();
    node.log(LogLevel::Info, "nobody listens");
    assert_eq!(received.load(Ordering::SeqCst), 0);
    let logs = node.logs().unwrap();
    node.log(LogLevel::Info, "somebody listens");
    assert_eq!(next(&logs).1, "somebody listens");
    drop(logs);
    let at_the_end = received.load(Ordering::SeqCst);
    node.log(LogLevel::Info, "nobody listens");
    assert_eq!(received.load(Ordering::SeqCst), at_the_end);
}

#[test]
fn those_who_wait_are_notified_of_a_thread_that_failed() {
    within_hang(|| {
        let network = Network::new(1);
        let fails = Arc::new(AtomicBool::new(false));
        let transport = Faulty::new(&network).on_received({
            let fails = fails.clone();
            move |port| {
                if port == PORT && fails.load(Ordering::SeqCst) {
                    resume_unwind(Box::new("on purpose"));
                }
            }
        });
        let node = Node::with_transport("node", config(), Arc::new(transport)).unwrap();
        let logs = node.logs().unwrap();
        fails.store(true, Ordering::SeqCst);
        node.log(LogLevel::Info, "the last one");
        while logs.recv().is_ok() {}
        assert_eq!(logs.recv().unwrap_err(), RecvError::NodeFailed);
    });
}
