//! A layer for the crate `tracing`.

use std::fmt::{self, Write};

use tracing_core::field::{Field, Visit};
use tracing_core::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::Logger;
use super::logger::level_of;

impl<S: Subscriber> Layer<S> for Logger {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = match *event.metadata().level() {
            Level::ERROR => log::Level::Error,
            Level::WARN => log::Level::Warn,
            Level::INFO => log::Level::Info,
            Level::DEBUG => log::Level::Debug,
            Level::TRACE => log::Level::Trace,
        };
        let level = level_of(level, event.metadata().target());
        if self.is_enabled(level) {
            let mut text = Text::default();
            event.record(&mut text);
            self.log(level, &text.finish());
        }
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn finish(mut self) -> String {
        if !self.message.is_empty() && !self.fields.is_empty() {
            self.message.push(' ');
        }
        self.message + &self.fields
    }

    fn put(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let separator = if self.fields.is_empty() { "" } else { " " };
        // Writing to a string does not fail. A value that does is cut off.
        let _ = match field.name() {
            "message" => self.message.write_fmt(value),
            name => write!(self.fields, "{separator}{name}={value}"),
        };
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use ferrocal_transport::memory::Network;
    use tracing_subscriber::layer::SubscriberExt;

    use crate::{Config, LogConfig, LogLevel, LogLevels, LogSink, Node};

    /// Bounds a hang. No test takes as long unless it fails.
    const HANG: Duration = Duration::from_secs(60);

    #[test]
    fn events_arrive_with_their_level_and_fields() {
        let console = LogSink::new(false, LogLevels::NONE);
        let udp = LogSink::new(true, LogLevels::ALL);
        let config = Config::default().logging(LogConfig::default().console(console).udp(udp));
        let node = Node::with_transport("node", config, Arc::new(Network::new(1).host())).unwrap();
        let logs = node.logs().unwrap();
        let subscriber = tracing_subscriber::registry().with(node.logger());
        tracing::subscriber::with_default(subscriber, || {
            tracing::error!(target: "fatal", "of fatal");
            tracing::error!(code = 7, name = "x y", "of {}", "error");
            tracing::warn!("of warn");
            tracing::info!(only = "a field");
            tracing::debug!("of debug");
            tracing::trace!("of trace");
        });
        for (level, text) in [
            (LogLevel::Fatal, "of fatal"),
            (LogLevel::Error, "of error code=7 name=x y"),
            (LogLevel::Warning, "of warn"),
            (LogLevel::Info, "only=a field"),
            (LogLevel::Debug1, "of debug"),
            (LogLevel::Debug2, "of trace"),
        ] {
            let line = logs.recv_timeout(HANG).unwrap();
            assert_eq!((line.level, &*line.content), (level, text));
        }
    }
}
