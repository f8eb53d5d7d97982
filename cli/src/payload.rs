//! What a message holds, whatever its type.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ferrocal::prost_reflect::{
    DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage, Value as ProtoValue,
};
use ferrocal::{
    Bytes, DataType, Dynamic, DynamicError, JsonOptions, Payload, RegisteredType, protobuf_to_json,
};
use serde_json::Value;

use crate::path::{Path, Step};

/// A payload that is decoded as its publisher registered it, if it has `MAX_LEN` bytes at most, and takes
/// [`MAX_TREE_LEN`] decoded. What is not decoded is kept.
pub(crate) struct Any<const MAX_LEN: usize = { usize::MAX }>;

/// The bytes that a decoded protobuf message takes at most beside the payload, about.
const MAX_TREE_LEN: usize = 256 * 1024 * 1024;
/// Messages of so many bytes take less, whatever they hold.
const ALWAYS_LEN: usize = 256 * 1024;
/// The longest JSON whose fields are looked for, in bytes. They can take a hundred times as many.
const MAX_JSON_LEN: usize = 4 * 1024 * 1024;

/// What a message holds.
#[derive(Debug)]
pub(crate) struct Content {
    /// As it came.
    pub(crate) bytes: Bytes,
    /// What its publisher registered. `None` if that is not known.
    pub(crate) data_type: Option<DataType>,
    /// As its type says.
    pub(crate) decoded: Result<Dynamic, Undecoded>,
}

/// Why a message is not decoded.
#[derive(Debug)]
pub(crate) enum Undecoded {
    Failed(DynamicError),
    /// It is longer than what is to be decoded.
    TooLong,
    /// It would take too much memory.
    TooLarge,
}

impl fmt::Display for Undecoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::TooLong => f.write_str("it is too long"),
            Self::TooLarge => f.write_str("it has so many values that they take more than 256 MiB"),
        }
    }
}

/// A payload that is only counted: nothing is decoded.
pub(crate) struct Length;

impl<const MAX_LEN: usize> Payload for Any<MAX_LEN> {
    type Value = [u8];
    type Received = Content;
    type EncodeError = std::convert::Infallible;
    type DecodeError = std::convert::Infallible;

    fn data_type() -> DataType {
        DataType::default()
    }

    fn encode<'a>(bytes: &'a [u8], _: &'a mut Vec<u8>) -> Result<&'a [u8], Self::EncodeError> {
        Ok(bytes)
    }

    fn decode(bytes: Bytes) -> Result<Content, Self::DecodeError> {
        Self::decode_as(bytes, None)
    }

    fn decode_as(bytes: Bytes, registered: Option<&RegisteredType>) -> Result<Content, Self::DecodeError> {
        let data_type = registered.map(|registered| registered.data_type().clone());
        let decoded = match bytes.len() {
            len if len > MAX_LEN => Err(Undecoded::TooLong),
            len if len > ALWAYS_LEN && !fits(registered, &bytes) => Err(Undecoded::TooLarge),
            _ => Dynamic::decode_as(bytes.clone(), registered).map_err(Undecoded::Failed),
        };
        Ok(Content { decoded, data_type, bytes })
    }
}

/// Whether a message is not too large to be decoded.
fn fits(registered: Option<&RegisteredType>, bytes: &[u8]) -> bool {
    let proto = registered.filter(|registered| registered.data_type().encoding == "proto");
    let Some(Ok(dynamic)) = proto.map(RegisteredType::dynamic) else { return true };
    dynamic.tree_fits(bytes, MAX_TREE_LEN)
}

impl Payload for Length {
    type Value = [u8];
    type Received = usize;
    type EncodeError = std::convert::Infallible;
    type DecodeError = std::convert::Infallible;

    fn data_type() -> DataType {
        DataType::default()
    }

    fn encode<'a>(bytes: &'a [u8], _: &'a mut Vec<u8>) -> Result<&'a [u8], Self::EncodeError> {
        Ok(bytes)
    }

    fn decode(bytes: Bytes) -> Result<usize, Self::DecodeError> {
        Ok(bytes.len())
    }
}

impl Content {
    /// Why a protobuf message is not decoded whose publisher registered no descriptor.
    pub(crate) fn undescribed(&self) -> Option<String> {
        let data_type = self.data_type.as_ref().filter(|data_type| data_type.encoding == "proto")?;
        let is_unknown = data_type.descriptor.is_empty() && matches!(self.decoded, Ok(Dynamic::Bytes(_)));
        is_unknown.then(|| format!("type `{}` was registered without a descriptor", data_type.name))
    }

    /// The content as JSON on one line: a message as protobuf's JSON with the names of the .proto file, and with fields that
    /// hold their default if `defaults`. `None` for bytes.
    pub(crate) fn to_json(&self, defaults: bool) -> anyhow::Result<Option<String>> {
        Ok(match &self.decoded {
            Ok(Dynamic::Protobuf(message)) => {
                let options = JsonOptions::default().proto_names(true).default_fields(defaults);
                Some(protobuf_to_json(message, &options)?)
            }
            Ok(Dynamic::Text(text)) => Some(serde_json::to_string(text)?),
            // Its lines end between values alone.
            Ok(Dynamic::Json(text)) => Some(text.replace(['\n', '\r'], " ")),
            _ => None,
        })
    }

    /// The fields, to look for many of them.
    pub(crate) fn fields(&self) -> Fields<'_> {
        match &self.decoded {
            Ok(Dynamic::Protobuf(message)) => Fields::Protobuf(message),
            Ok(Dynamic::Json(text)) if text.len() <= MAX_JSON_LEN => {
                serde_json::from_str(text).map_or(Fields::None, Fields::Json)
            }
            _ => Fields::None,
        }
    }

    /// Why no fields are found, though the type has some.
    pub(crate) fn no_fields(&self) -> Option<String> {
        match &self.decoded {
            Err(error) => Some(error.to_string()),
            Ok(Dynamic::Json(text)) if text.len() > MAX_JSON_LEN => {
                Some("fields are looked for in JSON of up to 4 MiB".to_owned())
            }
            Ok(_) => None,
        }
    }
}

/// The fields of a message.
#[derive(Debug)]
pub(crate) enum Fields<'a> {
    Protobuf(&'a DynamicMessage),
    Json(Value),
    None,
}

impl Fields<'_> {
    /// The value of a field. `None` if there is none: it is not set, or the type has no such field.
    pub(crate) fn get(&self, path: &Path) -> Option<Value> {
        match self {
            Self::Protobuf(message) => field(message, &path.0),
            Self::Json(value) => path.0.iter().try_fold(value, json_step).cloned(),
            Self::None => None,
        }
    }
}

/// What the type of these messages has no field for, if that can be known.
pub(crate) fn unknown_field(descriptor: &MessageDescriptor, path: &Path) -> Option<String> {
    let mut kind = Kind::Message(descriptor.clone());
    for step in &path.0 {
        let Step::Name(name) = step else {
            if let Kind::Message(entry) = &kind
                && entry.is_map_entry()
            {
                kind = entry.map_entry_value_field().kind();
            }
            continue;
        };
        let Kind::Message(message) = &kind else {
            return Some(format!("`{name}`: what is before it has no fields"));
        };
        if message.is_map_entry() {
            kind = message.map_entry_value_field().kind();
            continue;
        }
        let Some(field) = find(message, name) else {
            return Some(format!("type `{}` has no field `{name}`", message.full_name()));
        };
        kind = field.kind();
    }
    None
}

fn find(message: &MessageDescriptor, name: &str) -> Option<ferrocal::prost_reflect::FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

fn json_step<'a>(value: &'a Value, step: &Step) -> Option<&'a Value> {
    match step {
        Step::Name(name) => value.get(name),
        Step::Index(index) => value.get(*index).or_else(|| value.get(index.to_string())),
    }
}

/// Follows a path from a message on, without a copy of what is passed by.
fn field(message: &DynamicMessage, path: &[Step]) -> Option<Value> {
    let Some((step, rest)) = path.split_first() else { return Some(message_to_json(message)) };
    let Step::Name(name) = step else { return None };
    let field = find(&message.descriptor(), name)?;
    if field.supports_presence() && !message.has_field(&field) {
        return None;
    }
    let value = message.get_field(&field);
    if field.is_map() {
        let Kind::Message(entry) = field.kind() else { return None };
        let kind = entry.map_entry_value_field().kind();
        let map = value.as_map()?;
        return match rest.split_first() {
            None => Some(map_to_json(map.iter(), &kind)),
            Some((step, rest)) => {
                let key = map_key(&entry.map_entry_key_field().kind(), step.to_string())?;
                inside(map.get(&key)?, &kind, rest)
            }
        };
    }
    inside(&value, &field.kind(), rest)
}

fn inside(value: &ProtoValue, kind: &Kind, path: &[Step]) -> Option<Value> {
    match (value, path.split_first()) {
        (_, None) => Some(value_to_json(value, kind)),
        (ProtoValue::Message(message), _) => field(message, path),
        (ProtoValue::List(values), Some((Step::Index(index), rest))) => {
            inside(values.get(*index)?, kind, rest)
        }
        _ => None,
    }
}

fn message_to_json(message: &DynamicMessage) -> Value {
    let text = protobuf_to_json(message, &JsonOptions::default().proto_names(true));
    match text.as_deref().map(serde_json::from_str) {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => format!("cannot be shown: {error}").into(),
        Err(error) => format!("cannot be shown: {error}").into(),
    }
}

fn map_to_json<'a>(map: impl Iterator<Item = (&'a MapKey, &'a ProtoValue)>, kind: &Kind) -> Value {
    Value::Object(map.map(|(key, value)| (key_text(key), value_to_json(value, kind))).collect())
}

/// The key that a text stands for.
fn map_key(kind: &Kind, text: String) -> Option<MapKey> {
    Some(match kind {
        Kind::Bool => MapKey::Bool(text.parse().ok()?),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => MapKey::I32(text.parse().ok()?),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => MapKey::I64(text.parse().ok()?),
        Kind::Uint32 | Kind::Fixed32 => MapKey::U32(text.parse().ok()?),
        Kind::Uint64 | Kind::Fixed64 => MapKey::U64(text.parse().ok()?),
        Kind::String => MapKey::String(text),
        _ => return None,
    })
}

pub(crate) fn key_text(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

/// The name of an enum's value, or its number if it has none.
pub(crate) fn enum_text(kind: &Kind, number: i32) -> Option<Arc<str>> {
    let Kind::Enum(one) = kind else { return None };
    Some(one.get_value(number)?.name().into())
}

/// A value as JSON. Other than in protobuf's own JSON, all integers are numbers.
fn value_to_json(value: &ProtoValue, kind: &Kind) -> Value {
    match value {
        ProtoValue::Bool(value) => (*value).into(),
        ProtoValue::I32(value) => (*value).into(),
        ProtoValue::I64(value) => (*value).into(),
        ProtoValue::U32(value) => (*value).into(),
        ProtoValue::U64(value) => (*value).into(),
        // The shortest digits that are this number.
        ProtoValue::F32(value) => float(value.to_string().parse().unwrap_or(f64::from(*value))),
        ProtoValue::F64(value) => float(*value),
        ProtoValue::String(text) => text.as_str().into(),
        ProtoValue::Bytes(bytes) => BASE64_STANDARD.encode(bytes).into(),
        ProtoValue::EnumNumber(number) => match enum_text(kind, *number) {
            Some(name) => (&*name).into(),
            None => (*number).into(),
        },
        ProtoValue::Message(message) => message_to_json(message),
        ProtoValue::List(values) => values.iter().map(|value| value_to_json(value, kind)).collect(),
        ProtoValue::Map(map) => map_to_json(map.iter(), kind),
    }
}

/// JSON has no number for these; protobuf's JSON has texts.
fn float(value: f64) -> Value {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 { "Infinity" } else { "-Infinity" }.into()
    } else {
        value.into()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A content of this type, defined by protobuf source, from its JSON.
    pub(crate) fn content(proto: &str, name: &str, json: &str) -> Content {
        let file = protox::file::File::from_source("test.proto", proto).unwrap();
        let set = ferrocal::prost_reflect::prost_types::FileDescriptorSet {
            file: vec![file.file_descriptor_proto().clone()],
        };
        use ferrocal::prost::Message;
        let data_type =
            DataType { name: name.into(), encoding: "proto".into(), descriptor: set.encode_to_vec().into() };
        let dynamic = ferrocal::DynamicType::new(&data_type).unwrap();
        let bytes: Bytes = dynamic.from_json(json).unwrap().into();
        let decoded = Ok(Dynamic::Protobuf(dynamic.decode(bytes.clone()).unwrap()));
        Content { bytes, data_type: Some(data_type), decoded }
    }

    pub(crate) const PROTO: &str = r#"
        syntax = "proto3";
        message Robot {
          string robot_name = 1;
          repeated Wheel wheels = 2;
          map<string, Wheel> named = 3;
          map<int32, string> numbered = 4;
          State state = 5;
          bytes image = 6;
          uint64 serial = 7;
          float speed = 8;
          optional int32 maybe = 9;
          repeated int32 offsets = 10;
          Wheel spare = 11;
        }
        message Wheel { double radius = 1; }
        enum State { IDLE = 0; MOVING = 1; }
    "#;

    pub(crate) fn robot() -> Content {
        let json = json!({
            "robotName": "Ada", "wheels": [{"radius": 1.5}, {}], "named": {"left": {"radius": 2}},
            "numbered": {"-7": "seven"}, "state": "MOVING", "image": "AAH/",
            "serial": "18446744073709551615", "speed": 0.1, "offsets": [1, 2, 3],
        });
        content(PROTO, "Robot", &json.to_string())
    }

    #[test]
    fn fields_are_found_by_their_path() {
        let robot = robot();
        let get = |path: &str| robot.fields().get(&path.parse().unwrap());
        for (path, expected) in [
            ("robot_name", json!("Ada")),
            ("robotName", json!("Ada")),
            ("wheels[0].radius", json!(1.5)),
            ("wheels[1].radius", json!(0.0)),
            ("wheels", json!([{"radius": 1.5}, {}])),
            ("named.left.radius", json!(2.0)),
            ("named[\"left\"]", json!({"radius": 2.0})),
            ("numbered[\"-7\"]", json!("seven")),
            ("state", json!("MOVING")),
            ("image", json!("AAH/")),
            ("serial", json!(u64::MAX)),
            ("speed", json!(0.1)),
            ("offsets[2]", json!(3)),
        ] {
            assert_eq!(get(path), Some(expected), "{path}");
        }
        for missing in ["maybe", "spare.radius", "offsets[3]", "nothing", "robot_name.more", "named.right"] {
            assert_eq!(get(missing), None, "{missing}");
        }
    }

    #[test]
    fn fields_of_json_are_found_by_their_path() {
        let json = Content {
            bytes: Bytes::new(),
            data_type: None,
            decoded: Ok(Dynamic::Json(r#"{"a": {"b": [1, {"c": null}]}}"#.into())),
        };
        let fields = json.fields();
        assert_eq!(fields.get(&"a.b[0]".parse().unwrap()), Some(json!(1)));
        assert_eq!(fields.get(&"a.b[1].c".parse().unwrap()), Some(Value::Null));
        assert_eq!(fields.get(&"a.b[2]".parse().unwrap()), None);
    }

    #[test]
    fn messages_of_too_many_values_are_not_decoded() {
        let Content { data_type: Some(proto), .. } = robot() else { panic!() };
        let registered = RegisteredType::new(proto);
        let decoded = |bytes: Vec<u8>| {
            let Ok(content) = <Any>::decode_as(bytes.into(), Some(&registered));
            content.decoded
        };
        // Wheels without a radius.
        assert!(matches!(decoded(b"\x12\0".repeat(1 << 20)), Ok(Dynamic::Protobuf(_))));
        assert!(matches!(decoded(b"\x12\0".repeat(1 << 23)), Err(Undecoded::TooLarge)));
        // An image of 32 MiB.
        let mut image = b"\x32\x80\x80\x80\x10".to_vec();
        image.resize(image.len() + (32 << 20), 0);
        assert!(matches!(decoded(image), Ok(Dynamic::Protobuf(_))));
    }

    #[test]
    fn fields_are_not_looked_for_in_long_json() {
        let json = |len: usize| {
            let text = format!("{{\"a\":1{}}}", " ".repeat(len - 7));
            let content = Content { bytes: Bytes::new(), data_type: None, decoded: Ok(Dynamic::Json(text)) };
            (content.fields().get(&"a".parse().unwrap()), content.no_fields().is_some())
        };
        assert_eq!(json(MAX_JSON_LEN), (Some(json!(1)), false));
        assert_eq!(json(MAX_JSON_LEN + 1), (None, true));
    }

    #[test]
    fn json_is_on_one_line() {
        let json = |decoded| {
            let content = Content { bytes: Bytes::new(), data_type: None, decoded: Ok(decoded) };
            content.to_json(false).unwrap()
        };
        assert_eq!(json(Dynamic::Json("{\n\"a\":\r\n1}".into())).unwrap(), "{ \"a\":  1}");
        assert_eq!(json(Dynamic::Text("a\n".into())).unwrap(), r#""a\n""#);
        assert_eq!(json(Dynamic::Bytes(Bytes::new())), None);
    }

    #[test]
    fn fields_that_a_type_does_not_have_are_named() {
        let robot = robot();
        let Ok(Dynamic::Protobuf(message)) = &robot.decoded else { panic!() };
        let unknown = |path: &str| unknown_field(&message.descriptor(), &path.parse().unwrap());
        for path in ["wheels[0].radius", "named.left.radius", "maybe", "spare.radius", "numbered[\"1\"]"] {
            assert_eq!(unknown(path), None, "{path}");
        }
        assert!(unknown("wheels[0].width").unwrap().contains("`Wheel` has no field `width`"));
        assert!(unknown("robot_name.x").is_some());
        assert!(unknown("numbered[1].x").is_some());
    }
}
