//! Messages for people.

use std::borrow::Cow;
use std::fmt::{self, Write};

use ferrocal::prost_reflect::{DynamicMessage, Kind, ReflectMessage, Value};
use ferrocal::{Bytes, Dynamic};

use crate::output::{DIM, clean, counted};
use crate::payload::{Content, enum_text, key_text};

/// How much of a message is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Render {
    /// The most characters of a text, bytes of binary data, and elements of a list.
    pub(crate) max: usize,
    /// What is not decoded, or is to be shown like that anyway, is shown in hexadecimal digits.
    pub(crate) hex: bool,
    /// Fields that hold their default are shown, too, if the type does not store whether they are set.
    pub(crate) defaults: bool,
}

impl Render {
    /// The lines of a message; the last one has no end. They are made while they are written.
    pub(crate) fn content(self, content: &Content) -> impl fmt::Display {
        Shown { render: self, content }
    }

    /// A value as JSON has it, in a line.
    pub(crate) fn json(self, value: &serde_json::Value) -> String {
        match value {
            serde_json::Value::String(text) => self.text(text).into_owned(),
            value => self.text(&value.to_string()).into_owned(),
        }
    }

    fn text(self, text: &str) -> Cow<'_, str> {
        match text.char_indices().nth(self.max) {
            None => clean(text),
            Some((len, _)) => format!("{}{DIM}... ({} bytes){DIM:#}", clean(&text[..len]), text.len()).into(),
        }
    }

    fn hex(self, bytes: &Bytes) -> String {
        if bytes.is_empty() {
            return format!("{DIM}(0 bytes){DIM:#}");
        }
        let mut text = String::new();
        for (number, byte) in bytes.iter().take(self.max).enumerate() {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "{}{byte:02x}", if number > 0 { " " } else { "" });
        }
        if bytes.len() > self.max {
            let _ = write!(text, "{DIM}... ({} bytes){DIM:#}", bytes.len());
        }
        text
    }

    fn scalar(self, value: &Value, kind: &Kind) -> String {
        match value {
            Value::Bool(value) => value.to_string(),
            Value::I32(value) => value.to_string(),
            Value::I64(value) => value.to_string(),
            Value::U32(value) => value.to_string(),
            Value::U64(value) => value.to_string(),
            Value::F32(value) => value.to_string(),
            Value::F64(value) => value.to_string(),
            Value::String(value) => format!("\"{}\"", self.text(value)),
            Value::Bytes(value) => self.hex(value),
            Value::EnumNumber(number) => {
                enum_text(kind, *number).map_or_else(|| number.to_string(), |name| name.to_string())
            }
            // None of these is a scalar.
            Value::Message(_) | Value::List(_) | Value::Map(_) => String::new(),
        }
    }
}

/// A message that is shown.
struct Shown<'a> {
    render: Render,
    content: &'a Content,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let &Self { render, content } = self;
        if render.hex {
            return f.write_str(&render.hex(&content.bytes));
        }
        match &content.decoded {
            Ok(Dynamic::Protobuf(message)) => {
                let mut lines = Lines { render, f, is_empty: true };
                lines.message(message, 0)?;
                match lines.is_empty {
                    true => write!(f, "{DIM}(all fields have their defaults){DIM:#}"),
                    false => Ok(()),
                }
            }
            Ok(Dynamic::Text(text) | Dynamic::Json(text)) => f.write_str(&render.text(text)),
            Ok(_) => match str::from_utf8(&content.bytes) {
                Ok(text) if !text.is_empty() && !text.contains(is_binary) => f.write_str(&render.text(text)),
                _ => f.write_str(&render.hex(&content.bytes)),
            },
            Err(error) => {
                write!(f, "{DIM}cannot be decoded: {}:{DIM:#} ", clean(&error.to_string()))?;
                f.write_str(&render.hex(&content.bytes))
            }
        }
    }
}

/// Writes the fields of a message.
struct Lines<'a, 'b> {
    render: Render,
    f: &'a mut fmt::Formatter<'b>,
    is_empty: bool,
}

impl Lines<'_, '_> {
    /// Begins a line with this.
    fn line(&mut self, depth: usize, text: fmt::Arguments<'_>) -> fmt::Result {
        let end = if self.is_empty { "" } else { "\n" };
        self.is_empty = false;
        write!(self.f, "{end}{:1$}{text}", "", 2 * depth)
    }

    fn message(&mut self, message: &DynamicMessage, depth: usize) -> fmt::Result {
        for field in message.descriptor().fields() {
            let is_set = message.has_field(&field);
            if !is_set && (!self.render.defaults || field.supports_presence()) {
                continue;
            }
            let name = field.name();
            let value = message.get_field(&field);
            match &*value {
                Value::List(values) => self.list(name, values, &field.kind(), depth)?,
                Value::Map(map) => {
                    let Kind::Message(entry) = field.kind() else { continue };
                    let kind = entry.map_entry_value_field().kind();
                    let mut entries: Vec<_> = map.iter().map(|(key, value)| (key_text(key), value)).collect();
                    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                    for (key, value) in entries.iter().take(self.render.max) {
                        let name = format!("{name}[\"{}\"]", self.render.text(key));
                        self.field(&name, value, &kind, depth)?;
                    }
                    self.more(name, entries.len(), depth)?;
                }
                value => self.field(name, value, &field.kind(), depth)?,
            }
        }
        let unknown = message.unknown_fields().count() as u64;
        if unknown > 0 {
            self.line(depth, format_args!("{DIM}({}){DIM:#}", counted(unknown, "unknown field")))?;
        }
        Ok(())
    }

    fn more(&mut self, name: &str, len: usize, depth: usize) -> fmt::Result {
        if len > self.render.max {
            self.line(depth, format_args!("{DIM}{name}: ... ({len} elements){DIM:#}"))?;
        }
        Ok(())
    }

    fn list(&mut self, name: &str, values: &[Value], kind: &Kind, depth: usize) -> fmt::Result {
        let max = self.render.max;
        if matches!(kind, Kind::Message(_)) {
            for (number, value) in values.iter().take(max).enumerate() {
                self.field(&format!("{name}[{number}]"), value, kind, depth)?;
            }
            return self.more(name, values.len(), depth);
        }
        self.line(depth, format_args!("{DIM}{name}:{DIM:#} ["))?;
        for (number, value) in values.iter().take(max).enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(self.f, "{comma}{}", self.render.scalar(value, kind))?;
        }
        match values.len() {
            len if len > max => write!(self.f, "{DIM}, ... ({len} elements){DIM:#}]"),
            _ => self.f.write_str("]"),
        }
    }

    fn field(&mut self, name: &str, value: &Value, kind: &Kind, depth: usize) -> fmt::Result {
        if let Value::Message(inner) = value {
            self.line(depth, format_args!("{DIM}{name}:{DIM:#}"))?;
            return self.message(inner, depth + 1);
        }
        let value = self.render.scalar(value, kind);
        self.line(depth, format_args!("{DIM}{name}:{DIM:#} {value}"))
    }
}

fn is_binary(char: char) -> bool {
    char.is_control() && !matches!(char, '\n' | '\r' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::tests::robot;

    /// Without the styles.
    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn protobuf_is_a_tree() {
        let text = plain(&Render { max: 100, hex: false, defaults: false }.content(&robot()).to_string());
        let expected = "robot_name: \"Ada\"\nwheels[0]:\n  radius: 1.5\nwheels[1]:\nnamed[\"left\"]:\n  radius: \
             2\nnumbered[\"-7\"]: \"seven\"\nstate: MOVING\nimage: 00 01 ff\nserial: \
             18446744073709551615\nspeed: 0.1\noffsets: [1, 2, 3]";
        assert_eq!(text, expected);
    }

    #[test]
    fn defaults_are_shown_on_demand() {
        let text = plain(&Render { max: 100, hex: false, defaults: true }.content(&robot()).to_string());
        assert!(text.contains("wheels[1]:\n  radius: 0\n"), "{text}");
        assert!(!text.contains("maybe") && !text.contains("spare"), "{text}");
    }

    #[test]
    fn what_is_long_is_cut() {
        let text = plain(&Render { max: 2, hex: false, defaults: false }.content(&robot()).to_string());
        for line in [
            "robot_name: \"Ad... (3 bytes)\"",
            "offsets: [1, 2, ... (3 elements)]",
            "image: 00 01... (3 bytes)",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }

    #[test]
    fn bytes_are_text_if_they_can_be() {
        let render = Render { max: 8, hex: false, defaults: false };
        let content = |bytes: &'static [u8]| Content {
            bytes: bytes.into(),
            data_type: None,
            decoded: Ok(Dynamic::Bytes(bytes.into())),
        };
        assert_eq!(render.content(&content("Grüße".as_bytes())).to_string(), "Grüße");
        assert_eq!(plain(&render.content(&content(b"123456789")).to_string()), "12345678... (9 bytes)");
        assert_eq!(render.content(&content(b"\x00\x01")).to_string(), "00 01");
        assert_eq!(plain(&render.content(&content(b"")).to_string()), "(0 bytes)");
        assert_eq!(
            Render { max: 8, hex: true, defaults: false }.content(&content(b"ab")).to_string(),
            "61 62"
        );
    }
}
