//! Details of one thing.

use std::sync::Arc;

use ferrocal::TopicInfo;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::{put, put_line, row, rule, table, wrap};
use crate::monitor::data::{Data, HZ, SIZE, entity, hz};
use crate::monitor::details::{Details, Topic};
use crate::monitor::look::{Look, Tone};
use crate::monitor::message;
use crate::monitor::model::Model;
use crate::monitor::number;
use crate::monitor::tabs::Field;
use crate::row::PUBLISHER;
use crate::time;

pub(super) fn draw(buffer: &mut Buffer, area: Rect, model: &mut Model) {
    let Model { look, data, details, page, .. } = model;
    match details {
        Some(Details::Topic(one)) => *page = topic(buffer, area, data, one, *look),
        Some(Details::Fields { fields, is_gone, scroll, .. }) => {
            *page = usize::from(area.height).max(1);
            draw_fields(buffer, area, fields, *is_gone, scroll, *look);
        }
        None => {}
    }
}

/// Names and values, a long one on several lines.
fn draw_fields(
    buffer: &mut Buffer,
    area: Rect,
    fields: &[Field],
    is_gone: bool,
    scroll: &mut usize,
    look: Look,
) {
    let names = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let width = usize::from(area.width).saturating_sub(names + 4);
    let mut lines = Vec::new();
    if is_gone {
        lines.push((String::new(), "(it is gone; this is what was known last)".to_owned()));
    }
    for (name, value) in fields {
        let value = look.text(value);
        let value = if value.is_empty() { "-".into() } else { value };
        for (number, line) in wrap(&value, width).into_iter().enumerate() {
            let name = if number == 0 { *name } else { "" };
            lines.push((format!("{name:<names$}"), line));
        }
    }
    let height = usize::from(area.height);
    *scroll = (*scroll).min(lines.len().saturating_sub(height));
    for (number, (name, value)) in lines.iter().skip(*scroll).take(height).enumerate() {
        let line = Line::from(vec![
            Span::raw(" "),
            Span::styled(name.as_str(), Look::DIM),
            Span::raw("  "),
            Span::raw(value.as_str()),
        ]);
        put_line(buffer, row(area, number as u16), line);
    }
}

/// Returns how many lines the message has on the screen.
fn topic(buffer: &mut Buffer, area: Rect, data: &Data, topic: &mut Topic, look: Look) -> usize {
    let mut y = 0;
    let mut next = |height: u16| {
        let part = Rect { y: area.y + y, height: height.min(area.height.saturating_sub(y)), ..area };
        y += part.height;
        part
    };
    head(buffer, next(1), data, topic, look);
    let bars: u16 = if area.height >= 36 { 4 } else { 1 };
    graphs(buffer, next(bars), data, topic, look);
    here(buffer, next(1), data, topic, look);
    let peers = topic.peers.rows.len();
    let shown = peers.min(usize::from(area.height / 4)).max(1);
    let table = next(1 + shown as u16);
    if peers == 0 {
        put(
            buffer,
            table.x + 1,
            table.y,
            "nobody publishes or subscribes it at present",
            look.style(Tone::Warn),
        );
    } else {
        table::draw_rows(buffer, table, &topic.peers, 0..shown, None, look);
    }
    let more = if peers > shown { format!("{} more peers; ", peers - shown) } else { String::new() };
    let title = rule_title(data, topic, look);
    rule(buffer, next(1), &format!("{more}{title}"), look);
    let rest = next(u16::MAX);
    message(buffer, rest, topic, look);
    usize::from(rest.height).max(1)
}

fn head(buffer: &mut Buffer, area: Rect, data: &Data, topic: &Topic, look: Look) {
    let mut infos: Vec<_> = data.entities().filter(|(_, info)| info.topic_name == *topic.name).collect();
    infos.sort_by_key(|(kind, info)| (*kind != PUBLISHER, info.data_type.descriptor.is_empty()));
    let data_type = match infos.first().map(|(_, info)| &info.data_type) {
        Some(one) if !(one.name.is_empty() && one.encoding.is_empty()) => {
            let encoding = if one.encoding.is_empty() { "no encoding" } else { &one.encoding };
            format!("{} ({encoding})", one.name)
        }
        _ => "no type registered".to_owned(),
    };
    let line = Line::from(vec![
        Span::raw(" "),
        Span::styled(look.text(&topic.name).into_owned(), Look::HEAD),
        Span::raw("  "),
        Span::styled(look.text(&data_type).into_owned(), Look::DIM),
    ]);
    put_line(buffer, area, line);
}

/// The rates and lengths of the topic's publishers, else of its subscribers, as bars beside each other.
fn graphs(buffer: &mut Buffer, area: Rect, data: &Data, topic: &Topic, look: Look) {
    let of_topic = |wanted_publisher: bool| {
        data.entities()
            .filter(move |(kind, info)| {
                info.topic_name == *topic.name && (*kind == PUBLISHER) == wanted_publisher
            })
            .collect::<Vec<_>>()
    };
    let publishers = of_topic(true);
    let all = if publishers.is_empty() { of_topic(false) } else { publishers };
    let (mut rates, mut sizes) = (Vec::new(), Vec::new());
    for (kind, info) in &all {
        let Some(values) = data.topic_history(&entity(kind, info)) else { continue };
        add(&mut rates, &values[HZ].values(), |sum, value| sum + value);
        add(&mut sizes, &values[SIZE].values(), f32::max);
    }
    let hz: f64 = all.iter().map(|(_, info)| hz(info)).sum();
    let bytes = sizes.last().copied().unwrap_or(0.0).into();
    let half = area.width / 2;
    for (x, width, name, now, values) in [
        (area.x, half, "rate", format!("{} Hz", number::hz(hz)), &rates),
        (area.x + half, area.width - half, "size", number::bytes(bytes), &sizes),
    ] {
        let label = format!(" {name} {now:>10} ");
        let bars = usize::from(width).saturating_sub(label.width() + 1);
        for (number, line) in look.graph(values, bars, area.height.into()).iter().enumerate() {
            let y = area.y + number as u16;
            let start = x + label.width() as u16;
            put(buffer, start, y, line, look.style(Tone::Good));
        }
        put(buffer, x, area.bottom().saturating_sub(1), &label, Look::HEAD);
    }
}

/// Adds a history to another one, of which either may be longer. Their newest values are of the same time.
fn add(sums: &mut Vec<f32>, values: &[f32], join: impl Fn(f32, f32) -> f32) {
    if values.len() > sums.len() {
        sums.splice(0..0, std::iter::repeat_n(0.0, values.len() - sums.len()));
    }
    for (sum, &value) in sums.iter_mut().rev().zip(values.iter().rev()) {
        *sum = join(*sum, value);
    }
}

/// What this program receives.
fn here(buffer: &mut Buffer, area: Rect, data: &Data, topic: &Topic, look: Look) {
    if let Some(error) = &topic.error {
        let text = format!("its messages cannot be received: {error}");
        return put(buffer, area.x + 1, area.y, &look.text(&text), look.style(Tone::Bad));
    }
    let stats = &topic.reception.stats;
    let tone = if stats.lost > 0 { Tone::Bad } else { Tone::Plain };
    let mut rest = String::new();
    if let Some((messages, bytes)) = topic.reception.rates() {
        rest += &format!("{}{} Hz, {}", look.separator(), number::hz(messages), number::rate(bytes));
    }
    if let Some(latency) = stats.latency.filter(|_| !data.is_replay) {
        let [mean, min, max] = [latency.mean_us, latency.min_us, latency.max_us].map(number::us);
        rest += &format!("{}latency {mean} ({min} to {max})", look.separator());
    }
    let line = Line::from(vec![
        Span::raw(format!(" here  {} received, ", stats.received)),
        Span::styled(format!("{} lost", stats.lost), look.style(tone)),
        Span::raw(rest),
    ]);
    put_line(buffer, area, line);
}

fn rule_title(data: &Data, topic: &Topic, look: Look) -> String {
    let Some(message) = &topic.message else { return format!("{}: no message", topic.view.name()) };
    let is_its =
        |info: &&Arc<TopicInfo>| info.topic_id.get() == message.id && info.host_name == *message.host;
    let publisher = data.registered.publishers.iter().find(is_its);
    let unit = publisher.map(|info| format!("{} on ", info.unit_name)).unwrap_or_default();
    let sent = time::us(message.send_time);
    let way = number::us(time::us(message.receive_time).saturating_sub(sent) as f64);
    let sent = time::text(sent);
    let sent = sent.get(11..23).unwrap_or(&sent);
    let parts = [
        format!("{}: message {}", topic.view.name(), message.clock),
        number::bytes(message.content.bytes.len() as f64),
        format!("{unit}{}", message.host),
        if data.is_replay { format!("sent {sent}") } else { format!("sent {sent}, took {way}") },
    ];
    look.text(&parts.join(look.separator())).into_owned()
}

fn message(buffer: &mut Buffer, area: Rect, topic: &mut Topic, look: Look) {
    if topic.message.is_none() {
        return put(buffer, area.x + 1, area.y, "no message came yet", Look::DIM);
    }
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    topic.scroll = topic.scroll.min(last_top(&topic.lines, width, height, look));
    let mut y = area.y;
    for line in &topic.lines[topic.scroll..] {
        let (name, rows) = message_rows(line, width, look);
        for (number, text) in rows.iter().enumerate() {
            if y >= area.bottom() {
                return;
            }
            let (name, text) = match text.strip_prefix(&*name) {
                Some(rest) if number == 0 => (&*name, rest),
                _ => ("", text.as_str()),
            };
            let line = Line::from(vec![
                Span::raw(" ".repeat(indent(line, width))),
                Span::styled(name, look.accent()),
                Span::raw(text),
            ]);
            put_line(buffer, Rect { y, height: 1, ..area }, line);
            y += 1;
        }
    }
}

/// How far a line is moved in, which leaves room for its text.
fn indent(line: &message::Line, width: usize) -> usize {
    1 + (2 * line.depth).min(width / 2)
}

/// The name of a line's field, and the rows that the line takes on the screen.
fn message_rows(line: &message::Line, width: usize, look: Look) -> (String, Vec<String>) {
    let name = if line.name.is_empty() { String::new() } else { format!("{}:", look.text(&line.name)) };
    let space = if name.is_empty() || line.value.is_empty() { "" } else { " " };
    let rows = wrap(&format!("{name}{space}{}", look.text(&line.value)), width - indent(line, width));
    (name, rows)
}

/// The first line on a screen that ends with the last one.
fn last_top(lines: &[message::Line], width: usize, height: usize, look: Look) -> usize {
    let mut left = height;
    let mut top = lines.len();
    while top > 0 {
        let rows = message_rows(&lines[top - 1], width, look).1.len();
        if rows > left {
            // A line that is longer than the screen has its beginning there.
            return top.min(lines.len() - 1);
        }
        left -= rows;
        top -= 1;
    }
    0
}
