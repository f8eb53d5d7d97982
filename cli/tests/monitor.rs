//! `ferrocal monitor` in a real terminal, with the real eCAL on the network.

// Not all of it is needed here.
#[allow(dead_code)]
mod common;
// What takes the terminal is tried with a program that panics, which `ferrocal` does not do.
#[path = "../src/monitor/terminal.rs"]
mod terminal;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::{env, fs};

use common::Ended;
use ferrocal_integration_tests::ecal::{self, Logging, Publisher, Service, Subscriber};
use ferrocal_integration_tests::netns::{FIRST_ADDRESS, Host};
use ferrocal_integration_tests::process::Process;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::tmux::Terminal;
use ferrocal_integration_tests::wait;
use ferrocal_integration_tests::world::{Mode, World};
use ratatui::crossterm::event;

/// Makes this program one that takes the terminal and panics.
const PANIC: &str = "FERROCAL_TEST_PANIC";

fn main() -> ExitCode {
    if env::var_os(PANIC).is_some() {
        panic_with_the_terminal();
    }
    let mut tests = Vec::new();
    for mode in Mode::ALL {
        let mut test = |name: &str, body: fn(Mode)| {
            let needs = &[Need::Ecal, Need::Tmux];
            tests.push(Test::new(format!("{name}::{}", mode.name()), needs, move || body(mode)));
        };
        test("tabs_show_what_is_on_the_network", tabs_show_what_is_there);
        test("details_show_messages", details_show_messages);
    }
    let mut test = |name: &str, needs: &'static [Need], body: fn()| tests.push(Test::new(name, needs, body));
    test("a_large_screen_shows_more", &[Need::Ecal, Need::Tmux], a_large_screen_shows_more);
    test("the_terminal_is_given_back", &[Need::Tmux], the_terminal_is_given_back);
    test("the_terminal_is_given_back_after_a_panic", &[Need::Tmux], the_terminal_is_given_back_after_a_panic);
    test("no_colours_and_ascii_are_enough", &[Need::Tmux], no_colours_and_ascii);
    test("a_capture_is_replayed", &[Need::Tmux], a_capture_is_replayed);
    test("what_cannot_show_a_screen_is_refused", &[Need::Tmux], what_cannot_show_a_screen);
    suite::main(tests)
}

/// The line of shell that starts the monitor.
fn monitor(world: &World, arguments: &str) -> String {
    let network = match world.mode() {
        Mode::Local => "--mode local".to_owned(),
        Mode::Network => format!("--mode network --interface {FIRST_ADDRESS}"),
    };
    format!("{} monitor {network} {arguments}", env!("CARGO_BIN_EXE_ferrocal"))
}

/// The real eCAL: a publisher of text, one of protobuf, and a subscriber of both.
struct Real {
    text: Publisher,
    protobuf: Process,
    subscriber: Subscriber,
}

impl Real {
    fn start(world: &World) -> Self {
        let (host, mode) = (world.there(), world.mode());
        let options = ["--text=hello", "--type-name=string", "--encoding=utf-8", "--unit-name=greeter"];
        let mut text = Publisher::start_with(host, mode, &options, "greeting", 64);
        let protobuf = ecal::start_protobuf(host, mode, "robot", "nothing");
        let subscriber = Subscriber::start_with(world.here(), mode, &["--unit-name=display"], "greeting");
        text.expect_matched("greeting", 1);
        text.begin_sending(0, 20.0);
        Self { text, protobuf, subscriber }
    }

    fn finish(self) {
        self.text.process.finish();
        self.protobuf.finish();
        self.subscriber.finish();
    }
}

/// The row of the screen that has all of these texts.
fn row<'a>(screen: &'a str, texts: &[&str]) -> Option<&'a str> {
    screen.lines().find(|line| texts.iter().all(|text| line.contains(text)))
}

/// The number that is a word of a row, counted from 0.
fn number(row: &str, word: usize) -> Option<f64> {
    row.split_whitespace().nth(word)?.parse().ok()
}

fn tabs_show_what_is_there(mode: Mode) {
    let world = World::new(mode);
    let real = Real::start(&world);
    let service = Service::start(world.there(), mode, "motion");
    let mut logging = Logging::start(world.there(), mode);
    let there = world.there().name();
    let terminal = Terminal::start(80, 24, &monitor(&world, ""));

    let screen = terminal.until("the topics, with the rate of the text", |screen| {
        row(screen, &["greeting", "pub", " B ", "greeter", there]).and_then(|row| number(row, 2)) > Some(0.0)
            && row(screen, &["greeting", "sub", "display", "host-a"]).is_some()
            && row(screen, &["robot", "pub", there]).is_some()
            && row(screen, &["nothing", "sub"]).is_some()
            && row(screen, &["q quit", "f filter"]).is_some()
    });
    let lines: Vec<_> = screen.lines().collect();
    assert_eq!(lines.len(), 24);
    assert!(lines[0].contains("1 Topics  2 Processes  3 Hosts  4 Services  5 Log  6 Traffic  7 Node"));
    assert!(lines[1].contains("3 topics · 2 pub 2 sub"), "{}", lines[1]);
    assert!(lines[2].starts_with(" topic▲"), "{}", lines[2]);
    assert!(lines[23].starts_with(" q quit  ? help  Enter details  / search  f filter"), "{}", lines[23]);
    assert!(terminal.is_taken());

    terminal.press(&["2"]);
    terminal.until("the processes", |screen| {
        row(screen, &["greeter", there, "6.1.1"]).is_some() && row(screen, &["display", "host-a"]).is_some()
    });
    terminal.press(&["f", "d", "i", "s", "p", "Enter"]);
    terminal.until("the one that is filtered for", |screen| {
        ["filter `disp`: 1 of ", "display"].iter().all(|text| screen.contains(text))
            && !screen.contains("greeter")
    });
    terminal.press(&["Enter"]);
    terminal.until_text(&["parameters", "sub.py", "Esc back"]);
    terminal.press(&["3"]);
    terminal.until("the hosts", |screen| row(screen, &[there, "B/s"]).is_some());
    terminal.press(&["4"]);
    terminal.until("the services", |screen| row(screen, &["motion", "server", "echo"]).is_some());
    terminal.press(&["5"]);
    logging.log("warning", "the battery is low");
    terminal.until("the line of the log", |screen| row(screen, &["warning", "the battery is low"]).is_some());
    terminal.press(&["6"]);
    terminal.until("the traffic", |screen| {
        row(screen, &["(all hosts)"]).is_some()
            && row(screen, &[there, "greeter"]).and_then(|row| number(row, 2)) > Some(0.0)
    });
    terminal.press(&["7"]);
    terminal.until_text(&["backend", "socket", "log lines"]);
    terminal.press(&["?"]);
    terminal.until_text(&["1 to 7, Tab, Shift-Tab", "q, Ctrl-C", "quit"]);
    terminal.press(&["x", "1", "r"]);
    terminal.until_text(&[" topic▼"]);
    terminal.press(&["q"]);
    assert_eq!(terminal.until_end().0, 0);

    drop(service);
    drop(logging);
    real.finish();
}

fn details_show_messages(mode: Mode) {
    let world = World::new(mode);
    let mut real = Real::start(&world);
    let terminal = Terminal::start(80, 24, &monitor(&world, ""));
    terminal.until("the topics", |screen| {
        row(screen, &["greeting", "pub"]).is_some() && row(screen, &["robot", "pub"]).is_some()
    });
    terminal.press(&["/", "g", "r", "e", "e", "t", "Enter", "Enter"]);
    let number = |screen: &str| {
        let line = screen.lines().find_map(|line| line.strip_prefix(" hello "))?;
        line.parse::<u64>().ok()
    };
    // Registrations and messages come one after the other.
    let texts =
        ["greeting  string (utf-8)", "fields: message ", "greeter on ", "received, 0 lost", "display"];
    let screen = terminal.until("a text, and its peers", |screen| {
        number(screen).is_some() && texts.iter().all(|text| screen.contains(text))
    });
    let first = number(&screen);
    terminal.until("a later text", |screen| number(screen) > first);
    terminal.press(&["p"]);
    let paused = terminal.until_text(&["PAUSED", "p go on"]);
    terminal.press(&["p"]);
    terminal.until("a text after the pause", |screen| {
        !screen.contains("PAUSED") && number(screen) > number(&paused)
    });

    // Nothing of the other topic was received while it was not shown.
    // A key behind Escape at once is another key.
    terminal.press(&["Escape"]);
    terminal.until_text(&["row "]);
    terminal.press(&["/", "r", "o", "b", "o", "t", "Enter", "Enter"]);
    terminal.until_text(&["robot  robots.Robot (proto)", "no message came yet", " 0 received, 0 lost"]);
    ecal::expect_matched(&mut real.protobuf, "robot", 1);
    real.protobuf.send_line(r#"send {"robotName": "Ada", "state": "MOVING", "wheels": [{"radiusM": 0.25}]}"#);
    real.protobuf.event("sent");
    terminal.until_text(&[
        "robot_name: \"Ada\"",
        "state: MOVING",
        "wheels[0]:",
        "  radius_m: 0.25",
        "1 received",
    ]);
    terminal.press(&["v"]);
    terminal.until_text(&["JSON: message 1", "\"robotName\": \"Ada\",", "\"radiusM\": 0.25"]);
    terminal.press(&["v"]);
    terminal.until_text(&["hex: message 1", "00000000  0a 03 41 64 61 10 01", "..Ada.."]);
    terminal.press(&["C-c"]);
    assert_eq!(terminal.until_end().0, 0);
    real.finish();
}

fn a_large_screen_shows_more() {
    let world = World::new(Mode::Local);
    let real = Real::start(&world);
    let terminal = Terminal::start(200, 50, &monitor(&world, "--tab topics --filter greeting"));
    let screen = terminal.until("the columns of a wide screen", |screen| {
        row(screen, &["greeting", "pub", " B/s", "udp", "utf-8", "string"]).is_some()
    });
    assert_eq!(screen.lines().count(), 50);
    for head in ["latency", "pid", "bytes/s", "clock", "peers", "layers", "encoding", "type", "id"] {
        assert!(row(&screen, &["topic▲", head]).is_some(), "no {head} in\n{screen}");
    }
    assert!(!screen.contains("robot"), "the filter hides it");

    terminal.resize(80, 24);
    let screen = terminal.until("the narrower screen", |screen| {
        row(screen, &["greeting", "pub", "greeter"]).is_some() && !screen.contains("bytes/s")
    });
    assert_eq!(screen.lines().count(), 24);
    terminal.press(&["Right", "Right", "Right", "Right", "Right"]);
    terminal
        .until("columns that were not there", |screen| row(screen, &["topic▲", "rate", "latency"]).is_some());
    terminal.resize(30, 8);
    terminal.until("that the terminal is too small", |screen| {
        screen
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .contains("too small: it has 30x8, and 40x10 are needed")
    });
    terminal.resize(40, 10);
    terminal.until_text(&["greeting", "q quit"]);
    terminal.clear();
    terminal.press(&["C-l"]);
    terminal.until_text(&["1 Topics", "greeting", "q quit"]);
    terminal.press(&["q"]);
    assert_eq!(terminal.until_end().0, 0);
    real.finish();
}

fn the_terminal_is_given_back() {
    let world = World::new(Mode::Local);
    let start = |arguments: &str| Terminal::start(80, 24, &monitor(&world, arguments));
    for key in ["q", "C-c"] {
        let terminal = start("");
        terminal.until_text(&["no topic is registered yet", "q quit"]);
        assert!(terminal.is_taken());
        terminal.press(&[key]);
        let (code, screen) = terminal.until_end();
        assert_eq!(code, 0);
        assert!(!screen.contains("q quit"), "{screen}");
    }
    // A terminal with a monitor, and the id of its process.
    let with_id = || {
        let file = env::temp_dir().join(format!("ferrocal-monitor-{}", std::process::id()));
        let line = format!("sh -c 'echo $$ >{}; exec {}'", file.display(), monitor(&world, ""));
        let terminal = Terminal::start(80, 24, &line);
        terminal.until_text(&["q quit"]);
        let id = fs::read_to_string(&file).expect("the shell wrote it");
        fs::remove_file(&file).expect("it can be removed");
        (terminal, id.trim().to_owned())
    };
    for signal in ["TERM", "INT", "HUP"] {
        let (terminal, id) = with_id();
        let kill = Command::new("sh").args(["-c", &format!("kill -{signal} {id}")]).status();
        assert!(kill.is_ok_and(|status| status.success()));
        assert_eq!(terminal.until_end().0, 0, "{signal}");
    }
    let (terminal, id) = with_id();
    terminal.close();
    // Who has ended, but is not yet waited for, has no command line.
    let command = format!("/proc/{id}/cmdline");
    wait::until("the end of a monitor whose terminal was closed", || {
        fs::read(&command).is_ok_and(|line| line.is_empty()) || !Path::new(&command).exists()
    });
    for arguments in ["--duration 0.5", "--count 2"] {
        assert_eq!(start(arguments).until_end().0, 0, "{arguments}");
    }
}

/// Takes the terminal, waits for a key, and panics.
fn panic_with_the_terminal() -> ! {
    let mut screen = terminal::Screen::take(true).expect("a terminal");
    screen
        .draw(|frame| frame.render_widget("the terminal is taken", frame.area()))
        .expect("it can be drawn on");
    while !matches!(event::read(), Ok(event::Event::Key(_))) {}
    panic!("something went wrong");
}

fn the_terminal_is_given_back_after_a_panic() {
    let program = env::current_exe().expect("the path of the test is known");
    let terminal = Terminal::start(80, 24, &format!("{PANIC}=1 RUST_BACKTRACE=0 {}", program.display()));
    terminal.until_text(&["the terminal is taken"]);
    assert!(terminal.is_taken());
    terminal.press(&["x"]);
    let (code, screen) = terminal.until_end();
    assert_eq!(code, 101);
    assert!(screen.contains("something went wrong") && !screen.contains("the terminal is taken"), "{screen}");
}

fn no_colours_and_ascii() {
    let world = World::new(Mode::Local);
    // Escape sequences that set a colour, or the background, of 8, 16 or 256.
    let has_colour = |screen: &str| {
        let mut codes = screen.split("\x1b[").skip(1).filter_map(|rest| rest.split_once('m'));
        codes.any(|(codes, _)| {
            codes.split(';').any(|code| {
                matches!(code.len(), 2 | 3)
                    && matches!(&code[..1], "3" | "4" | "9")
                    && code != "39"
                    && code != "49"
            })
        })
    };
    for (environment, arguments, is_coloured) in [
        ("", "", true),
        ("NO_COLOR=1", "", false),
        ("", "--color never", false),
        ("NO_COLOR=1", "--color always", true),
    ] {
        let terminal = Terminal::start(80, 24, &format!("{environment} {}", monitor(&world, arguments)));
        terminal.until_text(&["q quit"]);
        let screen = terminal.styled_screen();
        assert_eq!(has_colour(&screen), is_coloured, "{environment} {arguments} {screen:?}");
        terminal.press(&["q"]);
        assert_eq!(terminal.until_end().0, 0);
    }
    for (environment, arguments) in [("LC_ALL=C", ""), ("", "--ascii")] {
        let terminal = Terminal::start(80, 24, &format!("{environment} {}", monitor(&world, arguments)));
        let screen = terminal.until_text(&[" topic^", "q quit"]);
        assert!(screen.is_ascii(), "{screen}");
        terminal.press(&["q"]);
        assert_eq!(terminal.until_end().0, 0);
    }
}

fn a_capture_is_replayed() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../integration-tests/captures/ecal-6.1.1-local.pcap");
    let terminal = Terminal::start(
        80,
        24,
        &format!("{} monitor --transport file:{file}", env!("CARGO_BIN_EXE_ferrocal")),
    );
    terminal.until("the peers of the capture", |screen| {
        row(screen, &["hello", "pub", "lo1"]).is_some()
            && row(screen, &["hello", "sub", "lo1"]).is_some()
            && screen.contains(" · capture")
    });
    terminal.press(&["q"]);
    assert_eq!(terminal.until_end().0, 0);
}

fn what_cannot_show_a_screen() {
    let world = World::new(Mode::Local);
    let terminal = Terminal::start(39, 24, &monitor(&world, ""));
    let (code, screen) = terminal.until_end();
    assert_eq!(code, 1);
    let words = |text: &str| text.split_whitespace().collect::<String>();
    let message = words("error: the terminal is too small: it has 39x24, and 40x10 are needed");
    assert!(words(&screen).contains(&message), "{screen}");
    let terminal = Terminal::start(80, 24, &format!("TERM=dumb {}", monitor(&world, "")));
    let (code, screen) = terminal.until_end();
    assert!(code == 1 && screen.contains("the terminal cannot move its cursor"), "{screen}");

    let refused = |arguments: &[&str]| Ended::run(Host::first(), arguments);
    refused(&["monitor"]).failed(2, "standard output is no terminal");
    refused(&["monitor", "--json"]).failed(2, "ferrocal list --watch --json");
}
