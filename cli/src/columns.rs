//! Messages as columns of values.

use ferrocal::prost_reflect::{DynamicMessage, ReflectMessage, Value};

use crate::path::{Path, Step};
use crate::payload::{Fields, key_text};

/// A value as RFC 4180 has it.
pub(crate) fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The paths to the single values of a message.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    pub(crate) paths: Vec<Path>,
    /// Whether there are more than are kept.
    pub(crate) is_cut: bool,
    /// To what is looked at.
    path: Vec<Step>,
    bytes: usize,
}

/// The most columns: as many as spreadsheets have.
const MAX_COLUMNS: usize = 16_384;
/// The most bytes that their paths take together.
const MAX_BYTES: usize = 8 * 1024 * 1024;

impl Columns {
    /// Those of all single values. What protobuf's JSON has a form of its own for is one.
    pub(crate) fn of(fields: &Fields<'_>) -> Self {
        let mut columns = Self::default();
        let is_complete = match fields {
            Fields::Protobuf(message) => columns.message(message),
            Fields::Json(value) => columns.json(value),
            Fields::None => Some(()),
        };
        columns.is_cut = is_complete.is_none();
        columns
    }

    /// Adds the path to what is looked at. `None` if there is no room for it; this ends the walk.
    fn add(&mut self) -> Option<()> {
        self.bytes += self.path.iter().map(Step::memory).sum::<usize>();
        if self.paths.len() >= MAX_COLUMNS || self.bytes > MAX_BYTES {
            return None;
        }
        self.paths.push(Path(self.path.clone()));
        Some(())
    }

    fn message(&mut self, message: &DynamicMessage) -> Option<()> {
        for field in message.descriptor().fields() {
            self.path.push(Step::Name(field.name().to_owned()));
            match &*message.get_field(&field) {
                Value::Map(entries) => {
                    let mut entries: Vec<_> =
                        entries.iter().map(|(key, value)| (key_text(key), value)).collect();
                    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                    for (key, value) in entries {
                        self.value(value, Step::Name(key))?;
                    }
                }
                Value::List(values) => {
                    for (index, value) in values.iter().enumerate() {
                        self.value(value, Step::Index(index))?;
                    }
                }
                Value::Message(inner) if !is_single(inner) => {
                    if message.has_field(&field) {
                        self.message(inner)?;
                    }
                }
                _ => self.add()?,
            }
            self.path.pop();
        }
        Some(())
    }

    fn value(&mut self, value: &Value, step: Step) -> Option<()> {
        self.path.push(step);
        match value {
            Value::Message(inner) if !is_single(inner) => self.message(inner)?,
            _ => self.add()?,
        }
        self.path.pop();
        Some(())
    }

    fn json(&mut self, value: &serde_json::Value) -> Option<()> {
        let mut inside = |step, value| {
            self.path.push(step);
            self.json(value)?;
            self.path.pop();
            Some(())
        };
        match value {
            serde_json::Value::Object(fields) => {
                fields.iter().try_for_each(|(name, value)| inside(Step::Name(name.clone()), value))
            }
            serde_json::Value::Array(values) => {
                values.iter().enumerate().try_for_each(|(index, value)| inside(Step::Index(index), value))
            }
            _ if self.path.is_empty() => Some(()),
            _ => self.add(),
        }
    }
}

fn is_single(message: &DynamicMessage) -> bool {
    message.descriptor().full_name().starts_with("google.protobuf.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::tests::content;

    #[test]
    fn values_are_quoted_where_they_have_to_be() {
        assert_eq!(quoted("a b"), "a b");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }

    #[test]
    fn the_columns_are_all_single_values() {
        const PROTO: &str = r#"syntax = "proto3"; message M { int32 a = 1; N n = 2; repeated N l = 3; string s = 4; } message N { bool b = 1; }"#;
        let message = content(PROTO, "M", r#"{"n": {}, "l": [{}, {"b": true}]}"#);
        let columns = Columns::of(&message.fields());
        let names: Vec<_> = columns.paths.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "n.b", "l[0].b", "l[1].b", "s"]);
        assert!(!columns.is_cut);
    }

    #[test]
    fn the_columns_are_not_more_than_a_spreadsheet_has() {
        const PROTO: &str = r#"syntax = "proto3"; message M { map<int32, int32> m = 1; repeated N l = 2; } message N { bool b = 1; }"#;
        let entries: Vec<_> = (0..20_000).map(|key| format!(r#""{key}": 1"#)).collect();
        let map = format!(r#"{{"m": {{{}}}}}"#, entries.join(","));
        let list = format!(r#"{{"l": [{}]}}"#, vec!["{}"; 20_000].join(","));
        let full = format!("[{}]", vec!["0"; MAX_COLUMNS].join(","));
        let json = |text: &str| Columns::of(&Fields::Json(serde_json::from_str(text).unwrap()));
        let proto = |text: &str| Columns::of(&content(PROTO, "M", text).fields());
        for columns in [proto(&map), proto(&list), json(&map), json(&full.replace('[', "[0,"))] {
            assert_eq!((columns.paths.len(), columns.is_cut), (MAX_COLUMNS, true));
        }
        assert!(!json(&full).is_cut);
    }

    #[test]
    fn the_names_of_columns_do_not_multiply_a_message() {
        let text = format!(r#"{{"{}": [{}]}}"#, "x".repeat(1 << 20), vec!["0"; 1000].join(","));
        let columns = Columns::of(&Fields::Json(serde_json::from_str(&text).unwrap()));
        assert!(columns.is_cut && (1..8).contains(&columns.paths.len()), "{}", columns.paths.len());
    }
}
