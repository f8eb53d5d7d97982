//! Publishers and subscribers.

use ferrocal::TopicInfo;

use super::text;
use crate::monitor::data::{Data, HZ, entity, hz, size};
use crate::monitor::look::{Look, Tone};
use crate::monitor::number;
use crate::monitor::sheet::{Cell, Column, Entity, Key, Row};
use crate::network::layer_name;
use crate::row::PUBLISHER;

pub(crate) const COLUMNS: &[Column] = &[
    Column::left("topic", 18, 0),
    Column::left("", 3, 1),
    Column::right("Hz", 6, 2),
    Column::right("size", 7, 3),
    Column::left("unit", 9, 4),
    Column::right("drops", 6, 5),
    Column::left("rate", WIDTH, 6),
    Column::left("host", 7, 7),
    Column::right("latency", 8, 8),
    Column::right("pid", 7, 10),
    Column::right("bytes/s", 9, 9),
    Column::right("clock", 8, 11),
    Column::right("peers", 6, 12),
    Column::left("layers", 9, 13),
    Column::left("encoding", 8, 15),
    Column::left("type", 12, 14),
    Column::left("id", 10, 16),
];

/// The columns of the peers in the details of a topic.
pub(crate) const PEER_COLUMNS: &[Column] = &[
    Column::left("peer", 5, 0),
    Column::left("unit", 10, 1),
    Column::left("host", 8, 2),
    Column::right("Hz", 6, 3),
    Column::right("size", 7, 4),
    Column::right("drops", 6, 5),
    Column::right("latency", 8, 6),
    Column::right("pid", 7, 8),
    Column::right("clock", 8, 7),
    Column::right("peers", 6, 10),
    Column::left("layers", 9, 9),
    Column::right("min", 8, 12),
    Column::right("max", 8, 13),
    Column::left("type", 12, 11),
];

/// The width of rates as bars.
const WIDTH: usize = 8;

pub(super) fn rows(data: &Data, look: Look) -> Vec<Row> {
    let row = |(kind, info): (&'static str, &TopicInfo)| {
        let entity = entity(kind, info);
        let (hz, size) = (hz(info), size(info));
        let history = data.topic_history(&entity).map(|values| values[HZ].values()).unwrap_or_default();
        let bars = look.graph(&history, WIDTH, 1).concat();
        let cells = vec![
            Cell::text(text(look, &info.topic_name)),
            Cell::text(if kind == PUBLISHER { "pub" } else { "sub" }),
            Cell::number(hz, number::hz(hz)),
            Cell::number(size, number::bytes(size)),
            Cell::text(text(look, &info.unit_name)),
            drops(data, &entity, info),
            Cell::number(hz, bars).tone(Tone::Good),
            Cell::text(text(look, &info.host_name)),
            latency(info, |latency| latency.mean_us),
            Cell::count(info.process_id.into()),
            Cell::number(hz * size, number::rate(hz * size)),
            Cell::count(info.data_clock),
            peers(info),
            Cell::text(layers(info)),
            Cell::text(look.text(&info.data_type.encoding)),
            Cell::text(look.text(&info.data_type.name)),
            Cell::text(info.topic_id.to_string()).tone(Tone::Dim),
        ];
        Row { key: Key::Topic(entity), cells }
    };
    data.entities().map(row).collect()
}

/// The publishers and subscribers of a topic.
pub(crate) fn peer_rows(data: &Data, look: Look, topic: &str) -> Vec<Row> {
    let row = |(kind, info): (&'static str, &TopicInfo)| {
        let entity = entity(kind, info);
        let (hz, size) = (hz(info), size(info));
        let cells = vec![
            Cell::text(if kind == PUBLISHER { "pub" } else { "sub" }),
            Cell::text(text(look, &info.unit_name)),
            Cell::text(text(look, &info.host_name)),
            Cell::number(hz, number::hz(hz)),
            Cell::number(size, number::bytes(size)),
            drops(data, &entity, info),
            latency(info, |latency| latency.mean_us),
            Cell::count(info.process_id.into()),
            Cell::count(info.data_clock),
            peers(info),
            Cell::text(layers(info)),
            latency(info, |latency| latency.min_us),
            latency(info, |latency| latency.max_us),
            Cell::text(look.text(&info.data_type.name)),
        ];
        Row { key: Key::Topic(entity), cells }
    };
    data.entities().filter(|(_, info)| info.topic_name == *topic).map(row).collect()
}

fn drops(data: &Data, entity: &Entity, info: &TopicInfo) -> Cell {
    let tone = match info.message_drops {
        0 => Tone::Dim,
        _ if data.drops_now(entity) => Tone::Bad,
        _ => Tone::Warn,
    };
    Cell::count(info.message_drops.into()).tone(tone)
}

fn latency(info: &TopicInfo, value: impl Fn(&ferrocal::LatencyInfo) -> f64) -> Cell {
    match &info.latency {
        Some(latency) => Cell::number(value(latency), number::us(value(latency))),
        None => Cell::text("-").tone(Tone::Dim),
    }
}

fn peers(info: &TopicInfo) -> Cell {
    let (local, external) = (i64::from(info.connections_local), i64::from(info.connections_external));
    Cell::count(local.saturating_add(external))
}

/// The layers that are in use, and in brackets those that may be.
fn layers(info: &TopicInfo) -> String {
    let name = |layer: &ferrocal::Layer| match layer.active {
        true => layer_name(layer.kind),
        false => format!("({})", layer_name(layer.kind)),
    };
    let enabled = info.layers.iter().filter(|layer| layer.enabled || layer.active);
    enabled.map(name).collect::<Vec<_>>().join(" ")
}
