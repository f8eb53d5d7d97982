//! The medians of throughput and round trips as horizontal bars, loopback on the left and the veth on the right.

use std::fmt::Write as _;

use ferrocal_integration_tests::world::Mode;

use crate::peers::Peer;
use crate::plan::{Kind, place_name, size_name};
use crate::report::{Measured, count, significant};

const PANEL_WIDTH: usize = 520;
const LABEL_WIDTH: usize = 150;
const BAR_WIDTH: usize = 250;
const LINE_HEIGHT: usize = 18;
const BAR_HEIGHT: usize = 12;
/// Above the bars of a panel, and above the first one.
const TITLE_HEIGHT: usize = 34;

const STYLE: &str = "text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600 } \
    .ours { fill: #0969da } .mixed { fill: #6ea8e5 } .bare { fill: #b3bac2 } .other { fill: #838c97 } \
    @media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .ours { fill: #4493f8 } \
    .mixed { fill: #2f5f9e } .bare { fill: #484f58 } .other { fill: #7d8590 } }";

pub(crate) fn svg(machine: &str, measured: &[Measured]) -> String {
    let mut panels = String::new();
    let mut top = TITLE_HEIGHT;
    let mut subjects: Vec<_> = measured
        .iter()
        .map(|measured| (measured.row.kind, measured.row.size))
        .filter(|(kind, _)| matches!(kind, Kind::Throughput | Kind::RoundTrip))
        .collect();
    // The places are the outermost order of a kind's rows, so sizes come again.
    let mut seen = Vec::new();
    subjects.retain(|subject| {
        !seen.contains(subject) && {
            seen.push(*subject);
            true
        }
    });
    for (kind, size) in subjects {
        let mut height = 0;
        for (column, place) in Mode::ALL.into_iter().enumerate() {
            let bars: Vec<_> = measured
                .iter()
                .filter(|Measured { row, .. }| (row.kind, row.size, row.place) == (kind, size, place))
                .filter(|Measured { row, .. }| !row.peers[0].is_lossy())
                .collect();
            if !bars.is_empty() {
                let title = match kind {
                    Kind::RoundTrip => "round trip, median: less is better",
                    _ => "delivered with under 0.1 % lost",
                };
                let title = format!("{}, {}: {title}", size_name(size), place_name(place));
                panel(&mut panels, &title, column * PANEL_WIDTH, top, &bars);
            }
            height = height.max(TITLE_HEIGHT + bars.len() * LINE_HEIGHT);
        }
        top += height;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\">\n\
         <style>{STYLE}</style>\n<text x=\"0\" y=\"14\">{machine}</text>\n{panels}</svg>\n",
        width = 2 * PANEL_WIDTH,
        height = top + LINE_HEIGHT,
    )
}

fn panel(out: &mut String, title: &str, left: usize, top: usize, bars: &[&Measured]) {
    let longest = bars.iter().filter_map(|bar| value(bar)).fold(0.0, f64::max);
    let _ = writeln!(out, "<text class=\"title\" x=\"{left}\" y=\"{}\">{title}</text>", top + 20);
    for (at, bar) in bars.iter().enumerate() {
        let y = top + TITLE_HEIGHT - 6 + at * LINE_HEIGHT;
        let base = y + BAR_HEIGHT - 2;
        let value = value(bar);
        let width = value.map_or(0.0, |value| value / longest * BAR_WIDTH as f64);
        let start = left + LABEL_WIDTH;
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text><rect class=\"{}\" x=\"{start}\" y=\"{y}\" \
             width=\"{width:.1}\" height=\"{BAR_HEIGHT}\"/><text x=\"{:.1}\" y=\"{base}\">{}</text>",
            start - 6,
            bar.row.candidate(),
            class(bar.row.peers),
            start as f64 + width + 6.0,
            value.map_or("failed".to_owned(), |value| label(bar, value)),
        );
    }
}

fn class(peers: [Peer; 2]) -> &'static str {
    match peers.map(Peer::is_ours) {
        [true, true] => "ours",
        [false, false] if peers[0].is_bare() => "bare",
        [false, false] => "other",
        _ => "mixed",
    }
}

fn value(bar: &Measured) -> Option<f64> {
    bar.median(if bar.row.kind == Kind::RoundTrip { "p50_us" } else { "per_s" })
}

fn label(bar: &Measured, value: f64) -> String {
    match (bar.row.kind, bar.row.size) {
        (Kind::RoundTrip, _) => format!("{} µs", significant(value)),
        (_, size @ 64_000..) => format!("{} MB/s", count(value * size as f64 / 1e6)),
        _ => format!("{}/s", count(value)),
    }
}
