use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use serde_json::json;

use super::*;
use crate::protobuf_data_type;

mod hostile;

/// A `.proto` file in memory.
struct Source(&'static str);

impl FileResolver for Source {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == "test.proto" {
            File::from_source(name, self.0)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

fn compile(message: &str, source: &'static str) -> DynamicType {
    let mut resolver = ChainFileResolver::new();
    resolver.add(Source(source));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true).open_file("test.proto").unwrap();
    let set = compiler.encode_file_descriptor_set();
    DynamicType::new(&protobuf_data_type(message, &set).unwrap()).unwrap()
}

/// What JSON says after it was a payload.
#[track_caller]
fn through_payload(dynamic: &DynamicType, json: &serde_json::Value) -> serde_json::Value {
    let payload = dynamic.from_json(&json.to_string()).unwrap();
    let message = dynamic.decode(payload).unwrap();
    serde_json::from_str(&protobuf_to_json(&message, &JsonOptions::default()).unwrap()).unwrap()
}

const ROBOT: &str = r#"
    syntax = "proto3";
    package robots;
    import "google/protobuf/any.proto";
    import "google/protobuf/struct.proto";
    import "google/protobuf/timestamp.proto";
    import "google/protobuf/wrappers.proto";

    message Robot {
        message Wheel { double radius_m = 1; }
        enum State { option allow_alias = true; IDLE = 0; MOVING = 1; DRIVING = 1; }
        State state = 1;
        repeated Wheel wheels = 2;
        map<string, Wheel> named = 3;
        map<int32, State> states = 4;
        oneof goal { string place = 5; Wheel wheel = 6; }
        optional uint64 serial = 7;
        bytes image = 8;
        repeated sint32 offsets = 9;
        float speed = 10;
        google.protobuf.Timestamp time = 11;
        google.protobuf.Struct extra = 12;
        google.protobuf.Any any = 13;
        google.protobuf.Int64Value count = 14;
        Robot next = 15;
    }
"#;

#[test]
fn messages_of_all_kinds_of_fields_become_json_and_back() {
    let robot = compile("robots.Robot", ROBOT);
    assert_eq!(robot.name(), "robots.Robot");
    let json = json!({
        "state": "IDLE",
        "wheels": [{"radiusM": 0.5}, {}],
        "named": {"left": {"radiusM": 1.5}},
        "states": {"-3": "IDLE"},
        "wheel": {},
        "serial": "18446744073709551615",
        "image": "AAEC",
        "offsets": [-1, 0, 2_147_483_647],
        "speed": "NaN",
        "time": "2026-11-26T10:50:30.500Z",
        "extra": {"a": [1.5, null, {"b": "c"}]},
        "any": {"@type": "type.googleapis.com/robots.Robot.Wheel", "radiusM": 2.5},
        "count": "-5",
        "next": {"place": "dock", "serial": "0"},
    });
    let mut expected = json.clone();
    expected.as_object_mut().unwrap().remove("state");
    assert_eq!(through_payload(&robot, &json), expected);
    assert_eq!(robot.decode(vec![]).unwrap().fields().count(), 0);

    let proto_names = json!({"wheels": [{"radius_m": 1}], "state": 77});
    assert_eq!(through_payload(&robot, &proto_names), json!({"wheels": [{"radiusM": 1.0}], "state": 77}));
}

#[test]
fn groups_and_defaults_of_proto2_are_known() {
    let old = compile(
        "Old",
        r#"
        message Old {
            extensions 100 to 199;
            required int32 id = 1;
            optional group Part = 2 { optional string name = 3 [default = "screw"]; }
            optional Color color = 4 [default = GREEN];
            optional bytes raw = 5 [default = "\x01\"plain"];
            repeated int32 packed = 6 [packed = true];
        }
        enum Color { RED = 1; GREEN = 2; }
        extend Old { optional string note = 100; }
        "#,
    );
    let json = json!({"id": 5, "part": {"name": "nut"}, "color": "RED", "packed": [1, 2]});
    assert_eq!(through_payload(&old, &json), json);
    assert!(old.from_json(r#"{"part": {}}"#).unwrap().starts_with(&[(2 << 3) | 3]), "a group, not a message");

    let empty = old.decode(vec![]).unwrap();
    assert_eq!(empty.get_field_by_name("color").unwrap().as_enum_number(), Some(2));
    let extended = [&[8, 5][..], &[0xa2, 6, 2], b"hi"].concat();
    let message = old.decode(extended.clone()).unwrap();
    assert_eq!(protobuf_to_json(&message, &JsonOptions::default()).unwrap(), r#"{"id":5}"#);
    assert_eq!(message.encode_to_vec(), extended, "unknown fields stay");
}

#[test]
fn options_choose_names_and_defaults() {
    let wheel = compile("robots.Robot.Wheel", ROBOT);
    let write = |payload: &'static [u8], options: JsonOptions| {
        protobuf_to_json(&wheel.decode(payload).unwrap(), &options)
    };
    let one = b"\x09\0\0\0\0\0\0\xf0\x3f";
    assert_eq!(write(one, JsonOptions::default()).unwrap(), r#"{"radiusM":1.0}"#);
    assert_eq!(write(one, JsonOptions::default().proto_names(true)).unwrap(), r#"{"radius_m":1.0}"#);
    assert_eq!(write(b"", JsonOptions::default()).unwrap(), "{}");
    assert_eq!(write(b"", JsonOptions::default().default_fields(true)).unwrap(), r#"{"radiusM":0.0}"#);
    assert!(write(one, JsonOptions::default().max_len(15)).is_ok());
    assert!(matches!(write(one, JsonOptions::default().max_len(14)), Err(ToJsonError::TooLong)));
}

#[test]
fn any_of_an_unknown_type_is_shown_as_it_is() {
    let robot = compile("robots.Robot", ROBOT);
    let unknown = b"\x0a\x08x/robots\x12\x01\xff"; // an `Any` with the type `x/robots`
    let nested = [&b"\x0a\x15x/google.protobuf.Any\x12\x0d"[..], unknown].concat();
    let payload = |any: &[u8]| [&[0x6a, u8::try_from(any.len()).unwrap()][..], any].concat();
    let write = |payload: Vec<u8>| {
        let message = robot.decode(payload).unwrap();
        protobuf_to_json(&message, &JsonOptions::default()).unwrap()
    };
    assert_eq!(write(payload(unknown)), r#"{"any":{"@type":"x/robots","value":"/w=="}}"#);
    assert_eq!(
        write(payload(&nested)),
        r#"{"any":{"@type":"x/google.protobuf.Any","value":"Cgh4L3JvYm90cxIB/w=="}}"#,
    );
    assert_eq!(write(payload(b"")), r#"{"any":{}}"#);
}

#[test]
fn what_is_no_message_of_the_type_is_an_error() {
    let robot = compile("robots.Robot", ROBOT);
    assert!(matches!(robot.decode(vec![9, 0]), Err(DynamicDecodeError::Malformed(_))));
    for json in ["", "{", "[]", r#"{"unknown": 1}"#, r#"{"state": "NONE"}"#, "{} {}", r#"{"time": "noon"}"#] {
        assert!(robot.from_json(json).is_err(), "{json}");
    }
    // A year that RFC 3339 does not have.
    let late = robot.decode(b"\x5a\x09\x08\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec());
    assert!(late.is_err() || protobuf_to_json(&late.unwrap(), &JsonOptions::default()).is_err());
}

#[test]
fn a_type_needs_a_descriptor() {
    let new = |name: &str, encoding: &str, descriptor: &'static [u8]| {
        let descriptor = Bytes::from_static(descriptor);
        DynamicType::new(&DataType { name: name.into(), encoding: encoding.into(), descriptor }).unwrap_err()
    };
    assert!(
        matches!(new("string", "utf-8", b""), DynamicTypeError::NotProtobuf(encoding) if encoding == "utf-8")
    );
    assert!(matches!(new("A", "proto", b""), DynamicTypeError::NoDescriptor));
    assert!(matches!(new("A", "proto", b"\x0a\x05"), DynamicTypeError::Malformed(_)));
    assert!(matches!(new("A", "proto", b"\x0a\x00"), DynamicTypeError::NoMessage(name) if name == "A"));
}
