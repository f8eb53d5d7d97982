//! Screens, compared as text with the files in `screens/`. With FERROCAL_UPDATE_SCREENS=1, these are written anew.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{env, fs};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

use super::*;
use crate::monitor::fixture::{ASCII, COLOUR, message, model, press, stats, update};

fn buffer(model: &mut Model, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, model)).unwrap();
    terminal.backend().buffer().clone()
}

/// The lines of a screen, without the spaces at their ends.
fn text(buffer: &Buffer) -> String {
    let width = buffer.area.width.into();
    let mut text = String::new();
    for cells in buffer.content.chunks(width) {
        let line: String = cells.iter().map(|cell| cell.symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Compares a screen of each size with its file.
#[track_caller]
fn compare(name: &str, model: &mut Model) {
    for (width, height) in [(80, 24), (200, 60)] {
        compare_at(name, model, width, height);
    }
}

#[track_caller]
fn compare_at(name: &str, model: &mut Model, width: u16, height: u16) {
    let file = format!("src/monitor/view/screens/{name}-{width}x{height}.txt");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file);
    let screen = text(&buffer(model, width, height));
    if env::var_os("FERROCAL_UPDATE_SCREENS").is_some_and(|value| value == "1") {
        fs::write(&path, &screen).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(screen == expected, "{file} is\n{expected}\nand the screen is\n{screen}");
}

#[test]
fn tabs_are_as_they_were() {
    let mut model = model(COLOUR, 20);
    for tab in Tab::ALL {
        model.show(tab);
        compare(&tab.title().to_lowercase(), &mut model);
    }
}

/// A model that shows the details of the topic `robot`.
fn robot(look: Look) -> Model {
    let mut model = model(look, 20);
    press(&mut model, "/robot\n\n");
    let start = Instant::now();
    for second in 0..=4 {
        let now = start + Duration::from_secs(second);
        model.received(now, Some(message(second as i64 + 1)), stats(50 * second));
    }
    model
}

#[test]
fn details_of_a_topic_are_as_they_were() {
    let mut model = robot(COLOUR);
    for name in ["fields", "json", "hex"] {
        compare(&format!("topic-{name}"), &mut model);
        press(&mut model, "v");
    }
}

#[test]
fn details_of_other_things_are_as_they_were() {
    for (tab, keys) in
        [("process", "2/camera\n\n"), ("host", "3\n"), ("service", "4\n"), ("line", "5k\n"), ("load", "6\n")]
    {
        let mut model = model(COLOUR, 20);
        press(&mut model, keys);
        compare_at(&format!("details-{tab}"), &mut model, 80, 24);
    }
}

#[test]
fn help_and_what_is_typed_are_as_they_were() {
    let mut model = model(COLOUR, 20);
    press(&mut model, "?");
    compare("help", &mut model);
    press(&mut model, "xp3f");
    press(&mut model, "BET");
    compare_at("filter", &mut model, 80, 24);
}

#[test]
fn all_of_the_help_can_be_read_on_the_smallest_screen() {
    let mut model = model(COLOUR, 20);
    press(&mut model, "?");
    let mut seen = String::new();
    for _ in 0..60 {
        seen += &text(&buffer(&mut model, MIN_WIDTH, MIN_HEIGHT));
        press(&mut model, "j");
    }
    let words: Vec<_> = seen.split_whitespace().collect();
    for word in ["messages", "hex", "previous", "round", "Ctrl-L", "Ctrl-C", "decoded.", "present."] {
        assert!(words.contains(&word), "{word} in {seen}");
    }
    press(&mut model, "g");
    let first = text(&buffer(&mut model, MIN_WIDTH, MIN_HEIGHT));
    assert!(first.contains("1 to 7, Tab") && first.contains("any other key back"), "{first}");
    press(&mut model, "x");
    assert!(text(&buffer(&mut model, MIN_WIDTH, MIN_HEIGHT)).contains("row 1 of"));
    press(&mut model, "?");
    buffer(&mut model, 80, 24);
    press(&mut model, "j");
    let back = text(&buffer(&mut model, 80, 24));
    assert!(back.contains("row 1 of"), "where all of it fits, any key closes it: {back}");
}

#[test]
fn the_end_of_what_is_typed_is_seen() {
    let mut model = model(COLOUR, 20);
    press(&mut model, &format!("f{}the end", "0123456789".repeat(12)));
    let screen = text(&buffer(&mut model, 80, 24));
    let line = screen.lines().nth(22).unwrap();
    assert!(line.starts_with(" filter: ") && line.ends_with("9the end"), "{line}");
    press(&mut model, "\x1bf漢字");
    let screen = text(&buffer(&mut model, 80, 24));
    assert!(screen.contains(" filter: 漢 字    Enter accept, Esc cancel"), "{screen}");
}

#[test]
fn ascii_is_enough() {
    let mut model = model(ASCII, 20);
    compare_at("ascii-topics", &mut model, 80, 24);
    let mut robot = robot(ASCII);
    compare_at("ascii-topic", &mut robot, 80, 24);
    for tab in Tab::ALL {
        model.show(tab);
        assert!(text(&buffer(&mut model, 200, 60)).is_ascii(), "{tab:?}");
    }
    press(&mut model, "?");
    assert!(text(&buffer(&mut model, 200, 60)).is_ascii());
}

#[test]
fn without_colour_there_is_none() {
    let colours = |look: Look| {
        let mut model = robot(look);
        let mut count = 0;
        for keys in ["", "\x1b", "2", "3", "4", "5", "6", "7", "?"] {
            press(&mut model, keys);
            let buffer = buffer(&mut model, 80, 24);
            count += buffer
                .content
                .iter()
                .filter(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset))
                .count();
        }
        count
    };
    assert_eq!(colours(Look { has_colour: false, ..COLOUR }), 0);
    assert!(colours(COLOUR) > 100);
}

#[test]
fn every_size_can_be_drawn() {
    for look in [COLOUR, ASCII] {
        let mut model = robot(look);
        for keys in ["", "v", "v", "\x1b", "2", "3", "4", "5", "6", "7", "\n", "\x1b?", "?f", "f"] {
            press(&mut model, keys);
            for (width, height) in
                [(1, 1), (39, 10), (40, 9), (40, 10), (41, 11), (60, 15), (500, 12), (45, 200)]
            {
                let screen = text(&buffer(&mut model, width, height));
                let is_small = width < MIN_WIDTH || height < MIN_HEIGHT;
                assert_eq!(
                    screen.replace('\n', " ").contains("the terminal is"),
                    is_small && width > 1,
                    "{width}x{height}"
                );
            }
        }
    }
}

#[test]
fn long_lines_of_messages_are_wrapped_and_their_end_can_be_reached() {
    let mut model = robot(COLOUR);
    let line = |depth, name: &str, value: &str| crate::monitor::message::Line {
        depth,
        name: name.to_owned(),
        value: value.to_owned(),
    };
    let Some(Details::Topic(topic)) = &mut model.details else { panic!() };
    topic.lines =
        (0..50).map(|number| line(30, "name", &format!("{number} {}", "word ".repeat(20)))).collect();
    topic.lines.push(line(0, "end", "of it"));
    let first = text(&buffer(&mut model, 80, 24));
    assert!(
        first.contains(&format!("\n{:41}name: 0 word word", "")) && !first.contains("end: of it"),
        "{first}"
    );
    press(&mut model, "G");
    let last = text(&buffer(&mut model, 80, 24));
    assert!(last.contains("\n end: of it\n") && last.contains("name: 49 "), "{last}");
}

#[test]
fn what_was_sent_long_ago_has_no_latency() {
    let mut model = robot(COLOUR);
    assert!(text(&buffer(&mut model, 80, 24)).contains(", took 420 us"));
    model.data.is_replay = true;
    assert!(!text(&buffer(&mut model, 80, 24)).contains("took"));
}

#[test]
fn a_pause_is_shown_and_nothing_moves() {
    let mut model = model(COLOUR, 20);
    press(&mut model, "p");
    let before = text(&buffer(&mut model, 80, 24));
    assert!(before.contains("PAUSED") && before.contains("p go on"));
    update(&mut model, Instant::now() + Duration::from_secs(100), 25);
    assert_eq!(text(&buffer(&mut model, 80, 24)), before);
}

#[test]
fn lines_are_cut_between_words() {
    assert_eq!(wrap("one two three", 7), ["one two", "three"]);
    assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
    assert_eq!(wrap("a\n\nb", 3), ["a", "", "b"]);
    assert_eq!(wrap("", 0), [""]);
}
