//! All that is known of one thing.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use ferrocal::{Message, SubscriberStats};

use super::data::Data;
use super::look::Look;
use super::message::{Line, MAX_DECODED, View};
use super::sheet::{Key, Sheet};
use super::tabs::{Field, Tab, topics};
use crate::payload::{Any, Content};

/// What is shown in place of a tab's rows.
#[derive(Debug)]
pub(crate) enum Details {
    Topic(Box<Topic>),
    Fields { key: Key, fields: Vec<Field>, is_gone: bool, scroll: usize },
}

/// A topic, with its messages.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) peers: Sheet,
    pub(crate) view: View,
    pub(crate) message: Option<Arrived>,
    /// The lines of the message in this view.
    pub(crate) lines: Vec<Line>,
    pub(crate) scroll: usize,
    pub(crate) reception: Reception,
    /// Why the topic cannot be subscribed to.
    pub(crate) error: Option<String>,
}

/// A message.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) content: Content,
    pub(crate) clock: i64,
    pub(crate) send_time: SystemTime,
    pub(crate) receive_time: SystemTime,
    pub(crate) host: String,
    /// The publisher's id.
    pub(crate) id: u64,
}

impl From<Message<Any<MAX_DECODED>>> for Arrived {
    fn from(message: Message<Any<MAX_DECODED>>) -> Self {
        let Message { payload, clock, send_time, receive_time, publisher, .. } = message;
        let (host, id) = (publisher.host_name.clone(), publisher.id.get());
        Self { content: payload, clock, send_time, receive_time, host, id }
    }
}

/// What this program's own subscriber got.
#[derive(Debug, Default)]
pub(crate) struct Reception {
    pub(crate) stats: SubscriberStats,
    /// When, and how many messages and bytes there were.
    window: VecDeque<(Instant, u64, u64)>,
}

/// The time over which messages are counted.
const WINDOW: Duration = Duration::from_secs(5);

impl Reception {
    pub(crate) fn set(&mut self, now: Instant, stats: SubscriberStats) {
        self.stats = stats;
        self.window.push_back((now, stats.received, stats.received_bytes));
        let is_old = |at: Instant| now.saturating_duration_since(at) > WINDOW;
        while self.window.len() > 2 && self.window.get(1).is_some_and(|&(at, ..)| is_old(at)) {
            self.window.pop_front();
        }
    }

    /// Messages and bytes in a second. `None` before that can be said.
    pub(crate) fn rates(&self) -> Option<(f64, f64)> {
        let (&(from, messages, bytes), &(to, messages_now, bytes_now)) =
            (self.window.front()?, self.window.back()?);
        let seconds = to.saturating_duration_since(from).as_secs_f64();
        let rate = |before, now: u64| now.saturating_sub(before) as f64 / seconds;
        (seconds >= 1.0).then(|| (rate(messages, messages_now), rate(bytes, bytes_now)))
    }
}

impl Topic {
    pub(crate) fn new(name: String, data: &Data, look: Look) -> Self {
        let mut topic = Self {
            name,
            peers: Sheet::new(topics::PEER_COLUMNS, Some(0)),
            view: View::Tree,
            message: None,
            lines: Vec::new(),
            scroll: 0,
            reception: Reception::default(),
            error: None,
        };
        topic.set(data, look);
        topic
    }

    fn set(&mut self, data: &Data, look: Look) {
        self.peers.set(topics::peer_rows(data, look, &self.name));
    }

    pub(crate) fn arrived(&mut self, message: Arrived) {
        self.lines = message.content.lines(self.view);
        self.message = Some(message);
    }

    pub(crate) fn next_view(&mut self) {
        self.view = self.view.next();
        self.scroll = 0;
        if let Some(message) = &self.message {
            self.lines = message.content.lines(self.view);
        }
    }
}

impl Details {
    pub(crate) fn fields(tab: Tab, key: Key, data: &Data) -> Self {
        let fields = tab.fields(data, &key);
        Self::Fields { key, fields, is_gone: false, scroll: 0 }
    }

    /// Takes what is known now.
    pub(crate) fn set(&mut self, tab: Tab, data: &Data, look: Look) {
        match self {
            Self::Topic(topic) => topic.set(data, look),
            Self::Fields { key, fields, is_gone, .. } => {
                let now = tab.fields(data, key);
                *is_gone = now.is_empty();
                if !now.is_empty() {
                    *fields = now;
                }
            }
        }
    }

    pub(crate) fn scroll(&mut self) -> &mut usize {
        match self {
            Self::Topic(topic) => &mut topic.scroll,
            Self::Fields { scroll, .. } => scroll,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let (mut reception, start) = (Reception::default(), Instant::now());
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        let mut stats = SubscriberStats::default();
        for tenth in 0..=200 {
            if tenth == 5 {
                assert_eq!(reception.rates(), None);
            }
            // Ten times as many in the second half.
            let step = if tenth > 100 { 10 } else { 1 };
            (stats.received, stats.received_bytes) = (stats.received + step, stats.received_bytes + 7 * step);
            reception.set(at(tenth), stats);
        }
        let (messages, bytes) = reception.rates().unwrap();
        assert!((messages - 100.0).abs() < 1e-6 && (bytes - 700.0).abs() < 1e-6, "{messages} {bytes}");
        assert!(reception.window.len() < 60);
    }
}
