use std::time::Duration;

use super::*;
use crate::monitor::fixture::{COLOUR, message, model, press, stats, update};
use crate::monitor::look::Tone;
use crate::monitor::message::View;

fn first_cells(model: &Model) -> Vec<&str> {
    model.sheet().rows.iter().map(|row| row.cells[0].text.as_str()).collect()
}

fn selected(model: &Model) -> &str {
    &model.sheet().selected().unwrap().cells[0].text
}

#[test]
fn keys_choose_tabs() {
    let mut model = model(COLOUR, 2);
    press(&mut model, "3");
    assert_eq!((model.tab, first_cells(&model)), (Tab::Hosts, vec!["atlas", "beta"]));
    press(&mut model, "\t");
    assert_eq!(model.tab, Tab::Services);
    for _ in 0..4 {
        model.key(KeyEvent::new(KeyCode::BackTab, KeyModifiers::NONE));
    }
    assert_eq!(model.tab, Tab::Node);
}

#[test]
fn keys_sort() {
    let mut model = model(COLOUR, 2);
    press(&mut model, "2");
    assert_eq!(first_cells(&model), ["camera", "display", "greeter", "robot"]);
    press(&mut model, "s");
    assert_eq!(first_cells(&model), ["greeter", "display", "robot", "camera"], "by process id");
    press(&mut model, "r");
    assert_eq!(first_cells(&model), ["camera", "robot", "display", "greeter"]);
    press(&mut model, "S");
    assert_eq!(first_cells(&model), ["robot", "greeter", "display", "camera"]);
    press(&mut model, "5SSSSSS");
    assert_eq!(model.sheet().sort, Some(0));
    press(&mut model, "S");
    assert!(model.sheet().is_following(), "lines have an order of their own");
}

#[test]
fn keys_filter_and_search() {
    let mut model = model(COLOUR, 2);
    press(&mut model, "2fBETA");
    assert_eq!(first_cells(&model), ["display", "greeter"], "it filters while it is typed");
    press(&mut model, "\x1b");
    assert_eq!(model.sheet().rows.len(), 4, "Esc cancels");
    press(&mut model, "fbeta\n");
    assert_eq!(first_cells(&model), ["display", "greeter"]);
    press(&mut model, "1");
    assert_eq!(model.sheet().rows.len(), 6, "each tab has a filter of its own");
    press(&mut model, "2\x1b");
    assert_eq!(model.sheet().rows.len(), 4, "Esc shows all");

    press(&mut model, "/gree");
    assert_eq!(selected(&model), "greeter");
    press(&mut model, "\x08\x08\x08\x08rob");
    assert_eq!(selected(&model), "robot");
    press(&mut model, "\x1b");
    assert_eq!(selected(&model), "camera", "Esc goes back");
    press(&mut model, "/r\n");
    assert_eq!(selected(&model), "camera");
    press(&mut model, "nnn");
    assert_eq!(selected(&model), "robot");
    press(&mut model, "N");
    assert_eq!(selected(&model), "greeter");
    press(&mut model, "/nobody\n");
    assert!(model.notice.as_ref().unwrap().contains("nobody"));
    press(&mut model, "j");
    assert_eq!(model.notice, None);
    assert_eq!(press(&mut model, "/q"), Action::Nothing, "a letter that is typed is no command");
}

#[test]
fn the_topic_of_the_selected_row_is_received_and_no_other() {
    let mut model = model(COLOUR, 2);
    assert_eq!(model.topic(), None);
    press(&mut model, "/robot\n\n");
    assert_eq!(model.topic(), Some("robot"));
    assert!(model.received(Instant::now(), Some(message(1)), stats(1)));
    press(&mut model, "p");
    assert!(!model.received(Instant::now(), Some(message(2)), stats(2)), "not during a pause");
    let Some(Details::Topic(topic)) = &model.details else { panic!() };
    assert_eq!((topic.message.as_ref().unwrap().clock, topic.view), (1, View::Tree));
    press(&mut model, "v");
    let Some(Details::Topic(topic)) = &model.details else { panic!() };
    assert_eq!(
        (topic.lines[0].value.as_str(), topic.view),
        ("{", View::Json),
        "the view changes nevertheless"
    );
    press(&mut model, "/moving\n");
    let Some(Details::Topic(topic)) = &model.details else { panic!() };
    assert!(topic.lines[topic.scroll].value.contains("MOVING"));
    press(&mut model, "\x1b");
    assert_eq!(model.topic(), None);
}

#[test]
fn what_is_gone_stays_in_its_details() {
    let mut model = model(COLOUR, 2);
    press(&mut model, "2\n");
    model.update(Instant::now() + Duration::from_secs(60), Registered::default(), Vec::new());
    let Some(Details::Fields { fields, is_gone, .. }) = &model.details else { panic!() };
    assert!(*is_gone && fields.iter().any(|(_, value)| value == "lens is dirty"));
    press(&mut model, "\x1b");
    assert!(model.sheet().rows.is_empty());
    press(&mut model, "\njkgGnN/x\nsSr12345");
}

#[test]
fn log_lines_wait_during_a_pause() {
    let mut model = model(COLOUR, 2);
    press(&mut model, "5");
    assert_eq!(model.sheet().rows.len(), 30);
    press(&mut model, "p");
    model.own_log([(log::Level::Warn, "a warning".to_owned())]);
    assert_eq!(model.sheet().rows.len(), 30);
    press(&mut model, "p");
    assert_eq!(model.sheet().rows.last().unwrap().cells[5].text, "a warning");
    assert!(model.sheet().is_following());
}

#[test]
fn the_log_is_bounded() {
    let mut model = model(COLOUR, 1);
    press(&mut model, "p");
    let lines = |count: u32| (0..count).map(|number| (log::Level::Info, format!("{number}")));
    model.own_log(lines(20_000));
    press(&mut model, "p5");
    assert!(model.sheet().rows.len() <= 5_000 && model.waiting.lines.is_empty());
    assert_eq!(model.sheet().rows.last().unwrap().cells[5].text, "19999");
    model.own_log((0..100).map(|_| (log::Level::Info, "x".repeat(1024 * 1024))));
    assert!(model.sheet().rows.len() <= 16);
}

#[test]
fn new_drops_are_marked_for_some_seconds() {
    let mut model = model(COLOUR, 1);
    let start = Instant::now() + Duration::from_secs(10);
    let tone = |model: &Model| {
        let row = model.sheet().rows.iter().find(|row| row.cells[5].number.is_some_and(|drops| drops > 0.0));
        row.unwrap().cells[5].tone
    };
    update(&mut model, start, 1);
    assert_eq!(tone(&model), Tone::Bad);
    for second in 1..30 {
        // The same counts again, later.
        update(&mut model, start + Duration::from_secs(second), 1);
    }
    assert_eq!(tone(&model), Tone::Warn);
}

#[test]
fn q_and_control_c_quit_from_everywhere() {
    for keys in ["", "?", "1\n", "2\n", "p"] {
        assert_eq!(press(&mut model(COLOUR, 2), &format!("{keys}q")), Action::Quit, "{keys:?}");
    }
    let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for keys in ["", "?", "1\n", "f", "/x"] {
        let mut model = model(COLOUR, 2);
        press(&mut model, keys);
        let control_l = KeyEvent::new(KeyCode::Char('l'), KeyModifiers::CONTROL);
        assert_eq!(model.key(control_l), Action::Redraw, "{keys:?}");
        assert_eq!(model.key(control_c), Action::Quit, "{keys:?}");
    }
}

#[test]
fn few_long_log_lines_wait_during_a_pause() {
    let mut model = model(COLOUR, 2);
    press(&mut model, "p");
    let (_, line) = model.data.log.lines[0].clone();
    let content = "x".repeat(64_000);
    model.log((0..500).map(|_| LogMessage { content: content.clone(), ..line.clone() }));
    let waiting: usize = model.waiting.lines.iter().map(|(_, line)| line.content.len()).sum();
    assert!(waiting <= 16 * 1024 * 1024, "{waiting} bytes wait");
    press(&mut model, "p");
    assert_eq!(model.data.log.lines.back().unwrap().1.content, content);
}
