//! Messages as lines.

use std::fmt::Write;

use ferrocal::prost_reflect::{DynamicMessage, Kind, ReflectMessage, Value};
use ferrocal::{Dynamic, JsonOptions, protobuf_to_json};

use crate::output::counted;
use crate::payload::{Content, Undecoded, enum_text, key_text};

/// The longest message that is decoded, in bytes. Decoding a longer one several times a second would take too much time and
/// memory.
pub(crate) const MAX_DECODED: usize = 1024 * 1024;

/// How messages are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// The fields of protobuf, else text, else hexadecimal digits.
    Tree,
    Json,
    Hex,
}

impl View {
    pub(crate) fn next(self) -> Self {
        match self {
            Self::Tree => Self::Json,
            Self::Json => Self::Hex,
            Self::Hex => Self::Tree,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tree => "fields",
            Self::Json => "JSON",
            Self::Hex => "hex",
        }
    }
}

/// A line of a message. Its texts are as they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Line {
    pub(crate) depth: usize,
    /// The name of a field; empty if the line is only text.
    pub(crate) name: String,
    pub(crate) value: String,
}

/// The most lines that are made of a message.
const MAX_LINES: usize = 2_000;
/// The most characters of a value.
const MAX_CHARS: usize = 1_000;
/// The most elements of a list in a line.
const MAX_ELEMENTS: usize = 64;
/// Bytes in a line of hexadecimal digits.
const HEX: usize = 16;

impl Content {
    /// The lines of a message, the first ones of a long one.
    pub(crate) fn lines(&self, view: View) -> Vec<Line> {
        let mut lines = Lines::default();
        match (&self.decoded, view) {
            (_, View::Hex) => lines.hex(&self.bytes),
            (Ok(Dynamic::Protobuf(message)), View::Tree) => {
                lines.message(message, 0);
                if lines.0.is_empty() {
                    lines.text("(all fields have their defaults)");
                }
            }
            (Ok(Dynamic::Protobuf(message)), View::Json) => {
                let options = JsonOptions::default().max_len(MAX_DECODED);
                match protobuf_to_json(message, &options) {
                    Ok(json) => lines.json(&json),
                    Err(error) => lines.text(&format!("cannot be shown: {error}")),
                }
            }
            (Ok(Dynamic::Json(text)), _) => lines.json(text),
            (Ok(Dynamic::Text(text)), _) => text.lines().for_each(|line| lines.text(line)),
            (Ok(_), _) => match str::from_utf8(&self.bytes) {
                Ok(text) if !text.is_empty() && !text.contains(is_binary) => {
                    text.lines().for_each(|line| lines.text(line));
                }
                _ => lines.hex(&self.bytes),
            },
            (Err(error @ (Undecoded::Failed(_) | Undecoded::TooLarge)), _) => {
                lines.text(&format!("cannot be decoded: {error}"));
                lines.hex(&self.bytes);
            }
            (Err(Undecoded::TooLong), _) => {
                lines.text("longer than 1 MiB, and therefore not decoded here; `ferrocal echo` decodes it");
                lines.hex(&self.bytes);
            }
        }
        lines.0
    }
}

fn is_binary(char: char) -> bool {
    char.is_control() && !matches!(char, '\n' | '\r' | '\t')
}

#[derive(Default)]
struct Lines(Vec<Line>);

impl Lines {
    fn is_full(&self) -> bool {
        self.0.len() >= MAX_LINES
    }

    fn push(&mut self, depth: usize, name: &str, value: String) {
        match self.0.len() {
            len if len + 1 < MAX_LINES => self.0.push(Line { depth, name: name.to_owned(), value }),
            len if len < MAX_LINES => self.0.push(Line { value: "...".to_owned(), ..Line::default() }),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        self.push(0, "", short(text));
    }

    fn hex(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return self.text("(0 bytes)");
        }
        for (number, line) in bytes.chunks(HEX).enumerate().take(MAX_LINES) {
            let mut text = format!("{:08x} ", number * HEX);
            for byte in line {
                // Writing to a `String` cannot fail.
                let _ = write!(text, " {byte:02x}");
            }
            let _ = write!(text, "{:1$}", "", 3 * (HEX - line.len()) + 2);
            text.extend(line.iter().map(|&byte| match byte {
                b' '..=b'~' => char::from(byte),
                _ => '.',
            }));
            self.push(0, "", text);
        }
    }

    /// Valid JSON, a value a line.
    fn json(&mut self, json: &str) {
        let (mut depth, mut line, mut is_text, mut is_escaped) = (0_usize, String::new(), false, false);
        for char in json.chars() {
            if is_text {
                line.push(char);
                (is_escaped, is_text) = (char == '\\' && !is_escaped, char != '"' || is_escaped);
                continue;
            }
            match char {
                '{' | '[' => {
                    line.push(char);
                    self.push(depth, "", short(&std::mem::take(&mut line)));
                    depth += 1;
                }
                '}' | ']' => {
                    if !line.is_empty() {
                        self.push(depth, "", short(&std::mem::take(&mut line)));
                    }
                    depth = depth.saturating_sub(1);
                    line.push(char);
                }
                ',' => {
                    line.push(char);
                    self.push(depth, "", short(&std::mem::take(&mut line)));
                }
                ':' => line.push_str(": "),
                char if char.is_ascii_whitespace() => {}
                char => {
                    line.push(char);
                    is_text = char == '"';
                }
            }
            if self.is_full() {
                return;
            }
        }
        if !line.is_empty() {
            self.push(depth, "", short(&line));
        }
    }

    fn message(&mut self, message: &DynamicMessage, depth: usize) {
        for field in message.descriptor().fields() {
            if self.is_full() {
                return;
            }
            if !message.has_field(&field) {
                continue;
            }
            let (name, value) = (field.name(), message.get_field(&field));
            match &*value {
                Value::Map(map) => {
                    let Kind::Message(entry) = field.kind() else { continue };
                    let kind = entry.map_entry_value_field().kind();
                    let mut entries: Vec<_> =
                        map.iter().take(MAX_LINES).map(|(key, value)| (key_text(key), value)).collect();
                    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                    for (key, value) in entries {
                        self.field(&format!("{name}[{}]", short(&key)), value, &kind, depth);
                    }
                }
                Value::List(values) if matches!(field.kind(), Kind::Message(_)) => {
                    for (number, value) in values.iter().take(MAX_LINES).enumerate() {
                        self.field(&format!("{name}[{number}]"), value, &field.kind(), depth);
                    }
                }
                Value::List(values) => {
                    let shown = values.iter().take(MAX_ELEMENTS).map(|value| scalar(value, &field.kind()));
                    let mut text = format!("[{}", shown.collect::<Vec<_>>().join(", "));
                    match values.len() {
                        len if len > MAX_ELEMENTS => text.push_str(&format!(", ... ({len} elements)]")),
                        _ => text.push(']'),
                    }
                    self.push(depth, name, text);
                }
                value => self.field(name, value, &field.kind(), depth),
            }
        }
        let unknown = message.unknown_fields().count();
        if unknown > 0 {
            self.push(depth, "", format!("({})", counted(unknown as u64, "unknown field")));
        }
    }

    fn field(&mut self, name: &str, value: &Value, kind: &Kind, depth: usize) {
        if let Value::Message(inner) = value {
            self.push(depth, name, String::new());
            // prost itself reads no deeper messages.
            self.message(inner, depth + 1);
        } else {
            self.push(depth, name, scalar(value, kind));
        }
    }
}

/// The first characters of a text.
fn short(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        None => text.to_owned(),
        Some((len, _)) => format!("{}... ({} bytes)", &text[..len], text.len()),
    }
}

fn scalar(value: &Value, kind: &Kind) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::I32(value) => value.to_string(),
        Value::I64(value) => value.to_string(),
        Value::U32(value) => value.to_string(),
        Value::U64(value) => value.to_string(),
        Value::F32(value) => value.to_string(),
        Value::F64(value) => value.to_string(),
        Value::String(text) => format!("\"{}\"", short(text)),
        Value::Bytes(bytes) => {
            let digits = bytes.iter().take(MAX_ELEMENTS).map(|byte| format!("{byte:02x}"));
            let digits = digits.collect::<Vec<_>>().join(" ");
            match bytes.len() {
                0 => "(0 bytes)".to_owned(),
                len if len > MAX_ELEMENTS => format!("{digits}... ({len} bytes)"),
                _ => digits,
            }
        }
        Value::EnumNumber(number) => {
            enum_text(kind, *number).map_or_else(|| number.to_string(), |name| name.to_string())
        }
        // None of these is a scalar.
        Value::Message(_) | Value::List(_) | Value::Map(_) => String::new(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use ferrocal::prost::Message;
    use ferrocal::prost_reflect::prost_types::FileDescriptorSet;
    use ferrocal::{Bytes, DataType, DynamicType, Payload};

    use super::*;
    use crate::payload::Any;

    const PROTO: &str = r#"
        syntax = "proto3";
        message Robot {
          string name = 1;
          repeated Wheel wheels = 2;
          map<string, Wheel> named = 3;
          State state = 4;
          bytes image = 5;
          repeated int32 offsets = 6;
          Wheel spare = 7;
        }
        message Wheel { double radius = 1; }
        enum State { IDLE = 0; MOVING = 1; }
    "#;

    /// A message of a robot, from its JSON.
    pub(crate) fn robot(json: &str) -> Content {
        let file = protox::file::File::from_source("test.proto", PROTO).unwrap();
        let set = FileDescriptorSet { file: vec![file.file_descriptor_proto().clone()] };
        let descriptor = set.encode_to_vec().into();
        let data_type = DataType { name: "Robot".into(), encoding: "proto".into(), descriptor };
        let dynamic = DynamicType::new(&data_type).unwrap();
        let bytes: Bytes = dynamic.from_json(json).unwrap().into();
        let decoded = Ok(Dynamic::Protobuf(dynamic.decode(bytes.clone()).unwrap()));
        Content { bytes, data_type: Some(data_type), decoded }
    }

    fn done(decoded: Dynamic, bytes: &[u8]) -> Content {
        Content { bytes: Bytes::copy_from_slice(bytes), data_type: None, decoded: Ok(decoded) }
    }

    /// The lines, as they are shown.
    fn text(lines: &[Line]) -> Vec<String> {
        let line = |Line { depth, name, value }: &Line| {
            let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
            format!("{:1$}{name}{value}", "", 2 * depth).trim_end().to_owned()
        };
        lines.iter().map(line).collect()
    }

    #[test]
    fn protobuf_is_shown_as_fields_and_as_json() {
        let robot = robot(
            r#"{"name": "Ada", "wheels": [{"radius": 1.5}, {}], "named": {"left": {"radius": 2}},
                "state": "MOVING", "image": "AAH/", "offsets": [1, -2]}"#,
        );
        assert_eq!(
            text(&robot.lines(View::Tree)),
            [
                "name: \"Ada\"",
                "wheels[0]:",
                "  radius: 1.5",
                "wheels[1]:",
                "named[left]:",
                "  radius: 2",
                "state: MOVING",
                "image: 00 01 ff",
                "offsets: [1, -2]",
            ]
        );
        let json = text(&robot.lines(View::Json));
        assert_eq!(json[..4], ["{", "  \"name\": \"Ada\",", "  \"wheels\": [", "    {"]);
        assert_eq!(json.last().unwrap(), "}");
        assert_eq!(robot.lines(View::Hex)[0].value.len(), 8 + 2 + 3 * HEX + 1 + HEX);
    }

    #[test]
    fn what_is_no_protobuf_is_shown_as_what_it_is() {
        let lines = |content: Content, view| text(&content.lines(view));
        assert_eq!(lines(done(Dynamic::Text("a\nb".into()), b"a\nb"), View::Tree), ["a", "b"]);
        assert_eq!(
            lines(done(Dynamic::Json("{\"a\":[1,\"b,\\\"]\"],\"c\":{}}".into()), b""), View::Tree),
            ["{", "  \"a\": [", "    1,", "    \"b,\\\"]\"", "  ],", "  \"c\": {", "  }", "}"]
        );
        assert_eq!(lines(done(Dynamic::Bytes(Bytes::new()), b"text"), View::Json), ["text"]);
        assert_eq!(
            lines(done(Dynamic::Bytes(Bytes::new()), b"\x00abc"), View::Tree),
            [format!("00000000  00 61 62 63{:1$}.abc", "", 3 * 12 + 2)]
        );
        let bad = Dynamic::decode_as(Bytes::from_static(b"\xff"), None);
        assert!(matches!(bad, Ok(Dynamic::Bytes(_))));
        let long = Any::<MAX_DECODED>::decode(vec![b'a'; MAX_DECODED + 1].into()).unwrap();
        assert!(lines(long, View::Tree)[0].contains("not decoded"));
    }

    #[test]
    fn long_messages_have_few_lines() {
        let offsets = vec!["1"; 100_000].join(",");
        let one = robot(&format!(r#"{{"offsets": [{offsets}]}}"#));
        assert!(text(&one.lines(View::Tree))[0].ends_with(", ... (100000 elements)]"));
        let wheels = vec!["{}"; 100_000].join(",");
        let many = robot(&format!(r#"{{"wheels": [{wheels}]}}"#));
        for content in [one, many] {
            for view in [View::Tree, View::Json, View::Hex] {
                let lines = content.lines(view);
                assert!(lines.len() <= MAX_LINES);
                assert!(lines.iter().all(|line| line.value.len() < 2 * MAX_CHARS), "{view:?}");
            }
        }
    }
}
