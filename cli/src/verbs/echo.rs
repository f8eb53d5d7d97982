//! `echo`: the messages of a topic.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use ferrocal::prost_reflect::{DynamicMessage, ReflectMessage};
use ferrocal::{
    Config, Dynamic, Message, Node, RecvTimeoutError, SettingOrigin, Subscriber, SubscriberConfig,
};
use serde::Serialize;

use crate::args::seconds;
use crate::columns::{Columns, quoted};
use crate::exit::Exit;
use crate::filter::Filter;
use crate::output::{DIM, HEAD, Output, clean, counted};
use crate::path::Path;
use crate::payload::{Any, Content, Fields, unknown_field};
use crate::render::Render;
use crate::session::{End, Session, is_replay};
use crate::silence::{self, Silence};
use crate::time;

/// Show the messages of a topic.
///
/// Each is shown as its publisher registered it: protobuf by its descriptor, text, JSON, and anything else in hexadecimal digits,
/// unless it is text.
///
/// A FILTER compares fields with == != < <= > >= and =~ (a regular expression in quotes), and joins conditions with && || ! and
/// parentheses, as in: pose.x > 1.5 && (name == "left" || !wheels[0].ok). A field alone stands for: there, and neither false
/// nor 0 nor empty. An enum's value is its name.
///
/// Keys of --json, an object for each message: topic, clock, send_time_us and receive_time_us (since 1970; of a capture, when it
/// was replayed), host, pid (null if
/// not known), id (of the publisher), type, encoding, bytes (its length), message (protobuf as its JSON with the names of the
/// .proto file; text; JSON; null if it is neither), fields (with --field: their values by their paths), hex (what has no
/// message, or with --hex), error (why it cannot be decoded). What does not apply is left out.
#[derive(clap::Args)]
pub(crate) struct Echo {
    /// The topic's name.
    topic: String,
    /// Show only this field, as a.b[2] or map["key"]; more than one may be given.
    #[arg(short, long = "field", value_name = "PATH")]
    fields: Vec<Path>,
    /// Show only messages that meet a condition.
    #[arg(long, value_name = "FILTER")]
    filter: Option<Filter>,
    /// End after the first message, as --count 1.
    #[arg(long, conflicts_with = "count")]
    once: bool,
    /// End if no message comes for this time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Show more than this of no field: characters, bytes or elements.
    #[arg(long, value_name = "N", default_value_t = 256)]
    truncate: usize,
    /// Show all of each field.
    #[arg(long, conflicts_with = "truncate")]
    full: bool,
    /// Show fields that hold their default, too.
    #[arg(long)]
    defaults: bool,
    /// Show the publisher, the clock and the times of each message.
    #[arg(short, long)]
    info: bool,
    /// Print a line of comma-separated values for each message, and the names of the fields first.
    #[arg(long, conflicts_with_all = ["json", "hex"])]
    csv: bool,
    /// Show hexadecimal digits, whatever the type.
    #[arg(long, conflicts_with = "fields")]
    hex: bool,
    /// Write the messages as they are, one after the other.
    #[arg(long, conflicts_with_all = ["json", "csv", "hex", "fields", "info"])]
    raw: bool,
}

/// A message, as `echo --json` prints it.
#[derive(Serialize)]
struct Record<'a> {
    topic: &'a str,
    clock: i64,
    send_time_us: i64,
    receive_time_us: i64,
    host: &'a str,
    pid: Option<i32>,
    id: String,
    #[serde(rename = "type")]
    type_name: &'a str,
    encoding: &'a str,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The bytes of messages that wait to be shown at most, unless the settings say otherwise. Showing a message takes longer than
/// what most programs do with one.
const QUEUE_BYTES: usize = 256 * 1024 * 1024;

/// The settings of the subscriber.
fn subscriber_config(config: &Config) -> SubscriberConfig {
    let subscriber = config.subscriber.clone();
    match config.origin("ferrocal.subscriber.queue_bytes") {
        Some(SettingOrigin::Default) => subscriber.queue_bytes(QUEUE_BYTES),
        _ => subscriber,
    }
}

impl Echo {
    pub(crate) fn run(&self, session: &Session) -> anyhow::Result<Exit> {
        let config = session.config()?;
        silence::check_capture(&self.topic, &config)?;
        let node = session.open("echo", config)?;
        let subscriber = node.subscriber_with::<Any>(&self.topic, subscriber_config(node.config()))?;
        let count = if self.once { Some(1) } else { session.common.count };
        let mut silence = Silence::new();
        let mut latest = Instant::now();
        self.await_type(session, &node, &subscriber, &mut silence);
        let dropped_before = subscriber.stats().queue_full;
        let mut is_checked = self.paths().next().is_none();
        let (mut came, mut shown) = (0_u64, 0);
        let mut columns = None;
        let end = loop {
            if count.is_some_and(|count| shown >= count) {
                break None;
            }
            let message = match subscriber.try_recv() {
                Some(message) => message,
                None => {
                    // Nothing waits, so there is time to show what came.
                    session.out().flush()?;
                    let left = self.timeout.map(|timeout| timeout.saturating_sub(latest.elapsed()));
                    match subscriber.recv_timeout(session.slice(left.unwrap_or(Duration::MAX))) {
                        Ok(message) => message,
                        Err(RecvTimeoutError::Timeout) => {
                            if came == 0 {
                                silence.wait(&self.topic, subscriber.publisher_count(), node.config());
                            }
                            match session.end() {
                                None if left.is_some_and(|left| left.is_zero()) => break Some(End::Deadline),
                                None => continue,
                                end => break end,
                            }
                        }
                        Err(RecvTimeoutError::Ended(_)) if is_replay(node.config()) => break None,
                        Err(error) => return Err(error.into()),
                    }
                }
            };
            latest = Instant::now();
            if !is_checked && let Ok(Dynamic::Protobuf(message)) = &message.payload.decoded {
                self.check_fields(message)?;
                is_checked = true;
            }
            if came == 0 {
                self.warn_of_no_fields(&message.payload);
                if let Some(reason) = message.payload.undescribed().filter(|_| !self.raw && !self.hex) {
                    log::warn!("topic `{}`: {reason}; its messages are shown as bytes", clean(&self.topic));
                }
            }
            came += 1;
            let is_wanted = self.filter.as_ref().is_none_or(|filter| {
                let fields = message.payload.fields();
                filter.accepts(&|path| fields.get(path))
            });
            if is_wanted {
                shown += 1;
                self.show(&message, &mut columns, session, is_replay(node.config()))?;
            }
            if session.end().is_some() {
                break session.end();
            }
        };
        session.out().flush()?;
        let stats = subscriber.stats();
        let dropped = stats.queue_full.saturating_sub(dropped_before);
        if dropped > 0 {
            log::warn!("dropped {}: they came faster than they could be shown", counted(dropped, "message"));
        }
        if stats.lost > 0 {
            log::warn!("lost {} on the way", counted(stats.lost, "message"));
        }
        Ok(match end {
            _ if dropped + stats.lost > 0 => Exit::Lost,
            _ if shown > 0 => Exit::Fine,
            Some(End::Stopped) => Exit::Interrupted,
            _ if came > 0 => {
                return Err(Exit::NotFound.because(format!("no message met the filter, of {came} that came")));
            }
            _ => return Err(silence::nothing(&self.topic, subscriber.publisher_count(), node.config())),
        })
    }

    /// Waits until a publisher has registered: its type is needed to decode what it sent. Messages wait meanwhile. Those of a
    /// publisher that does not register are shown without it.
    fn await_type(
        &self,
        session: &Session,
        node: &Node,
        subscriber: &Subscriber<Any>,
        silence: &mut Silence,
    ) {
        let patience = node.config().registration.refresh * 2;
        let started = Instant::now();
        let mut first = None;
        while !subscriber.wait_for_publisher(session.slice(Duration::from_millis(20))) {
            if subscriber.stats().received > 0 {
                first.get_or_insert_with(Instant::now);
            }
            let is_over = first.is_some_and(|first| first.elapsed() >= patience)
                || self.timeout.is_some_and(|timeout| started.elapsed() >= timeout);
            if is_over || subscriber.is_finished() || session.end().is_some() {
                return;
            }
            silence.wait(&self.topic, 0, node.config());
        }
    }

    /// The fields that are asked for.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        self.fields.iter().chain(self.filter.iter().flat_map(Filter::paths))
    }

    /// Refuses fields that the type of the messages does not have.
    fn check_fields(&self, message: &DynamicMessage) -> anyhow::Result<()> {
        let descriptor = message.descriptor();
        match self.paths().find_map(|path| unknown_field(&descriptor, path)) {
            Some(problem) => Err(Exit::Usage.because(problem)),
            None => Ok(()),
        }
    }

    /// Says that messages have no fields, if some are asked for.
    fn warn_of_no_fields(&self, content: &Content) {
        let are_asked = !self.fields.is_empty() || self.filter.is_some();
        if let Some(reason) = content.no_fields().filter(|_| are_asked || self.csv) {
            log::warn!("topic `{}`: a message has no fields to show: {}", clean(&self.topic), clean(&reason));
        }
        let what = match &content.decoded {
            Ok(Dynamic::Text(_)) if are_asked => "text",
            Ok(Dynamic::Bytes(_)) if are_asked => "bytes of no known type",
            _ => return,
        };
        log::warn!(
            "topic `{}` has {what}, and no fields; those of protobuf and JSON have some",
            clean(&self.topic)
        );
    }

    fn render(&self) -> Render {
        let max = if self.full { usize::MAX } else { self.truncate };
        Render { max, hex: self.hex, defaults: self.defaults }
    }

    fn show(
        &self,
        message: &Message<Any>,
        columns: &mut Option<Vec<Path>>,
        session: &Session,
        is_replay: bool,
    ) -> std::io::Result<()> {
        let out = &mut session.out();
        let content = &message.payload;
        if self.raw {
            return out.bytes(&content.bytes);
        }
        if session.common.json {
            return match self.record(message) {
                (record, None) => out.json(&record),
                (record, Some((key, json))) => out.json_and(&record, key, &json),
            };
        }
        if self.csv {
            return self.csv(message, columns, out);
        }
        if self.info {
            out.line(info(message, is_replay))?;
        }
        if self.fields.is_empty() {
            out.line(self.render().content(content))?;
            if let Ok(Dynamic::Protobuf(_)) = content.decoded
                && !self.hex
            {
                out.line(format_args!("{DIM}---{DIM:#}"))?;
            }
            return Ok(());
        }
        let fields = content.fields();
        for path in &self.fields {
            let value = fields.get(path);
            let value = value.map_or_else(|| format!("{DIM}-{DIM:#}"), |value| self.render().json(&value));
            match self.fields.len() {
                1 => out.line(value)?,
                _ => out.line(format_args!("{DIM}{}:{DIM:#} {value}", clean(&path.to_string())))?,
            }
        }
        Ok(())
    }

    /// The object of a message, and what else is to be in it: what may be long, as JSON.
    fn record<'a>(&self, message: &'a Message<Any>) -> (Record<'a>, Option<(&'static str, Vec<u8>)>) {
        let Content { bytes, data_type, decoded } = &message.payload;
        let mut error =
            decoded.as_ref().err().map(ToString::to_string).or_else(|| message.payload.undescribed());
        let (mut fields, mut more) = (None, None);
        if !self.fields.is_empty() {
            let all = message.payload.fields();
            error = error.or_else(|| message.payload.no_fields());
            let entry = |path: &Path| (path.to_string(), all.get(path).unwrap_or_default());
            fields = Some(self.fields.iter().map(entry).collect());
        } else if !self.hex {
            match message.payload.to_json(self.defaults) {
                Ok(json) => more = json.map(|json| ("message", json.into_bytes())),
                Err(failed) => error = Some(failed.to_string()),
            }
        }
        if fields.is_none() && more.is_none() {
            more = Some(("hex", hex_json(bytes)));
        }
        let (type_name, encoding) =
            data_type.as_ref().map_or(("", ""), |data_type| (&data_type.name, &data_type.encoding));
        let record = Record {
            topic: &message.topic,
            clock: message.clock,
            send_time_us: time::us(message.send_time),
            receive_time_us: time::us(message.receive_time),
            host: &message.publisher.host_name,
            pid: message.publisher.process_id,
            id: message.publisher.id.to_string(),
            type_name,
            encoding,
            bytes: bytes.len(),
            fields,
            error,
        };
        (record, more)
    }

    /// The columns of --csv: those of --field, or all single values of a message.
    fn columns(&self, fields: &Fields<'_>) -> Vec<Path> {
        if !self.fields.is_empty() {
            return self.fields.clone();
        }
        let Columns { paths, is_cut, .. } = Columns::of(fields);
        if is_cut {
            log::warn!(
                "topic `{}`: a message has more values than a table has columns; only the first {} are shown; --field \
                 chooses others",
                clean(&self.topic),
                paths.len()
            );
        }
        paths
    }

    /// Prints a line of values. The columns are those of --field, or all single values of the first message.
    fn csv(
        &self,
        message: &Message<Any>,
        columns: &mut Option<Vec<Path>>,
        out: &mut Output,
    ) -> std::io::Result<()> {
        let content = &message.payload;
        let is_screen = std::io::stdout().is_terminal();
        let safe = |text: &str| match is_screen {
            true => quoted(&clean(text)),
            false => quoted(text),
        };
        let is_first = columns.is_none();
        let fields = content.fields();
        let columns = columns.get_or_insert_with(|| self.columns(&fields));
        let cells = |info: [String; 6], values: Vec<String>| {
            let info = info.into_iter().filter(|_| self.info);
            info.chain(values).collect::<Vec<_>>().join(",") + "\n"
        };
        // Without fields, the message is the one value.
        let is_whole = columns.is_empty();
        if is_first {
            let heads = ["clock", "send_time_us", "receive_time_us", "host", "pid", "id"];
            let mut names: Vec<_> = columns.iter().map(|path| safe(&path.to_string())).collect();
            if is_whole {
                names.push("message".to_owned());
            }
            out.bytes(cells(heads.map(str::to_owned), names).as_bytes())?;
        }
        let text = |value: serde_json::Value| match value {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => safe(&text),
            value => safe(&value.to_string()),
        };
        let mut values: Vec<_> =
            columns.iter().map(|path| fields.get(path).map_or_else(String::new, text)).collect();
        if is_whole {
            let value = match &content.decoded {
                Ok(Dynamic::Text(text)) => Some(text.as_str().into()),
                Ok(Dynamic::Json(text)) if matches!(fields, Fields::None) => Some(text.as_str().into()),
                _ => fields.get(&Path(Vec::new())),
            };
            values.push(value.map_or_else(|| const_hex::encode(&content.bytes), text));
        }
        let publisher = &message.publisher;
        let info = [
            message.clock.to_string(),
            time::us(message.send_time).to_string(),
            time::us(message.receive_time).to_string(),
            safe(&publisher.host_name),
            publisher.process_id.map_or_else(String::new, |id| id.to_string()),
            publisher.id.to_string(),
        ];
        out.bytes(cells(info, values).as_bytes())
    }
}

/// The hexadecimal digits of bytes, as JSON.
fn hex_json(bytes: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'; 2 * bytes.len() + 2];
    let len = text.len();
    // It fails only if the lengths do not fit.
    let _ = const_hex::encode_to_slice(bytes, &mut text[1..len - 1]);
    text
}

/// A line on where a message comes from, and when. It was received when the capture was made, if that is replayed.
fn info(message: &Message<Any>, is_replay: bool) -> String {
    let (sent, received) = (time::us(message.send_time), time::us(message.receive_time));
    let delay = match is_replay {
        true => String::new(),
        false => {
            let ms = received.saturating_sub(sent) as f64 / 1e3;
            format!("{DIM}received after{DIM:#} {ms:.3} ms ")
        }
    };
    let publisher = &message.publisher;
    let pid = publisher.process_id.map_or_else(|| "?".to_owned(), |id| id.to_string());
    format!(
        "{HEAD}{}{HEAD:#} {DIM}clock{DIM:#} {} {DIM}sent{DIM:#} {} {delay}{DIM}from{DIM:#} {} \
         {DIM}pid{DIM:#} {pid} {DIM}id{DIM:#} {} {DIM}bytes{DIM:#} {}",
        clean(&message.topic),
        message.clock,
        time::text(sent),
        clean(&publisher.host_name),
        publisher.id,
        message.payload.bytes.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_json() {
        assert_eq!(hex_json(&[0, 0xaf]), b"\"00af\"");
        assert_eq!(hex_json(&[]), b"\"\"");
    }

    #[test]
    fn a_queue_is_as_long_as_the_settings_say() {
        let config = Config::default();
        assert_eq!(subscriber_config(&config).queue_bytes, QUEUE_BYTES);
        let config = config.subscriber(SubscriberConfig::default().queue_bytes(7).drop_out_of_order(false));
        assert_eq!(subscriber_config(&config), config.subscriber);
    }
}
