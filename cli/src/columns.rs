//! Messages as columns of values.

use ferrocal::Dynamic;
use ferrocal::prost_reflect::{DynamicMessage, ReflectMessage, Value};

use crate::path::{Path, Step};
use crate::payload::{Content, key_text};

/// A value as RFC 4180 has it.
pub(crate) fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// The paths to all single values of a message. What protobuf's JSON has a form of its own for is one.
pub(crate) fn leaves(content: &Content) -> Vec<Path> {
    let mut found = Vec::new();
    match &content.decoded {
        Ok(Dynamic::Protobuf(message)) => leaves_of_message(message, &mut Vec::new(), &mut found),
        Ok(Dynamic::Json(text)) => {
            if let Ok(value) = serde_json::from_str(text) {
                leaves_of_json(&value, &mut Vec::new(), &mut found);
            }
        }
        _ => {}
    }
    found
}

fn leaves_of_message(message: &DynamicMessage, path: &mut Vec<Step>, found: &mut Vec<Path>) {
    for field in message.descriptor().fields() {
        path.push(Step::Name(field.name().to_owned()));
        match &*message.get_field(&field) {
            Value::Map(entries) => {
                let mut entries: Vec<_> = entries.iter().map(|(key, value)| (key_text(key), value)).collect();
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                for (key, value) in entries {
                    leaves_of_value(value, Step::Name(key), path, found);
                }
            }
            Value::List(values) => {
                for (index, value) in values.iter().enumerate() {
                    leaves_of_value(value, Step::Index(index), path, found);
                }
            }
            Value::Message(inner) if !is_single(inner) => {
                if message.has_field(&field) {
                    leaves_of_message(inner, path, found);
                }
            }
            _ => found.push(Path(path.clone())),
        }
        path.pop();
    }
}

fn leaves_of_value(value: &Value, step: Step, path: &mut Vec<Step>, found: &mut Vec<Path>) {
    path.push(step);
    match value {
        Value::Message(inner) if !is_single(inner) => leaves_of_message(inner, path, found),
        _ => found.push(Path(path.clone())),
    }
    path.pop();
}

fn is_single(message: &DynamicMessage) -> bool {
    message.descriptor().full_name().starts_with("google.protobuf.")
}

fn leaves_of_json(value: &serde_json::Value, path: &mut Vec<Step>, found: &mut Vec<Path>) {
    let mut step = |step, value| {
        path.push(step);
        leaves_of_json(value, path, found);
        path.pop();
    };
    match value {
        serde_json::Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| step(Step::Name(name.clone()), value));
        }
        serde_json::Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| step(Step::Index(index), value));
        }
        _ if path.is_empty() => {}
        _ => found.push(Path(path.clone())),
    }
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
        let leaves = leaves(&content(PROTO, "M", r#"{"n": {}, "l": [{}, {"b": true}]}"#));
        let names: Vec<_> = leaves.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "n.b", "l[0].b", "l[1].b", "s"]);
    }
}
