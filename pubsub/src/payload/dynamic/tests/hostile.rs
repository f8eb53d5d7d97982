//! Descriptors and messages that are made to do harm.

use prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use prost_reflect::prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto,
    FileDescriptorProto, FileDescriptorSet, MessageOptions, OneofDescriptorProto, UninterpretedOption,
};

use super::*;

fn field(name: &str, number: i32, kind: Type) -> FieldDescriptorProto {
    FieldDescriptorProto {
        name: Some(name.into()),
        number: Some(number),
        label: Some(Label::Optional.into()),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    }
}

fn message(name: &str, field: Vec<FieldDescriptorProto>) -> DescriptorProto {
    DescriptorProto { name: Some(name.into()), field, ..DescriptorProto::default() }
}

fn file(name: &str, message_type: Vec<DescriptorProto>) -> FileDescriptorProto {
    FileDescriptorProto { name: Some(name.into()), message_type, ..FileDescriptorProto::default() }
}

fn load(file: Vec<FileDescriptorProto>) -> Result<DynamicType, DynamicTypeError> {
    let descriptor = FileDescriptorSet { file }.encode_to_vec().into();
    DynamicType::new(&DataType { name: "A".into(), encoding: "proto".into(), descriptor })
}

#[track_caller]
fn expect_too_complex(file: Vec<FileDescriptorProto>) {
    assert!(matches!(load(file), Err(DynamicTypeError::TooComplex)));
}

#[track_caller]
fn expect_bad(name: &str, definition: DescriptorProto) {
    let error = load(vec![file("a", vec![message("A", vec![]), definition])]).unwrap_err();
    assert!(matches!(&error, DynamicTypeError::BadDefinition(bad) if bad == name), "{error:?}");
}

#[test]
fn imports_in_a_circle_end() {
    let importing = |name: &str, import: &str, messages| FileDescriptorProto {
        dependency: vec![import.into()],
        public_dependency: vec![0],
        ..file(name, messages)
    };
    load(vec![importing("a", "a", vec![message("A", vec![])])]).unwrap();
    load(vec![importing("a", "b", vec![message("A", vec![])]), importing("b", "a", vec![])]).unwrap();
}

#[test]
fn defaults_and_options_that_the_library_would_panic_at_are_left_out() {
    let mut default = field("a", 1, Type::Bytes);
    default.default_value = Some("\\x1\u{e9}".into());
    load(vec![file("a", vec![message("A", vec![default])])]).unwrap();

    let option = UninterpretedOption { string_value: Some(vec![1]), ..UninterpretedOption::default() };
    let options = MessageOptions {
        map_entry: Some(false),
        uninterpreted_option: vec![option],
        ..MessageOptions::default()
    };
    let a = DescriptorProto { options: Some(options), ..message("A", vec![]) };
    load(vec![file("a", vec![a.clone()])]).unwrap();

    let mut repeated = field("map_entry", 7, Type::Uint32);
    repeated.label = Some(Label::Repeated.into());
    let redefined = |field| FileDescriptorProto {
        package: Some("google.protobuf".into()),
        syntax: Some("proto3".into()), // packs what is repeated
        ..file("b", vec![message("MessageOptions", vec![field])])
    };
    load(vec![file("a", vec![a.clone()]), redefined(field("map_entry", 7, Type::Bool))]).unwrap();
    let error = load(vec![file("a", vec![a]), redefined(repeated)]).unwrap_err();
    assert!(
        matches!(error, DynamicTypeError::BadDefinition(name) if name == "google.protobuf.MessageOptions")
    );
}

#[test]
fn map_entries_have_a_key_and_a_value() {
    let entry = |field| DescriptorProto {
        options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
        ..message("Entry", field)
    };
    let (key, value) = (field("key", 1, Type::Int32), field("value", 2, Type::Int32));
    let repeated = FieldDescriptorProto { label: Some(Label::Repeated.into()), ..value.clone() };
    let named = FieldDescriptorProto { type_name: Some(".A".into()), ..key.clone() };
    expect_bad("Entry", entry(vec![]));
    expect_bad("Entry", entry(vec![key.clone()]));
    expect_bad("Entry", entry(vec![value.clone()]));
    expect_bad("Entry", entry(vec![key, repeated]));
    expect_bad("Entry", entry(vec![named, value.clone()]));
    expect_bad("Entry", entry(vec![field("key", 1, Type::Double), value]));
}

#[test]
fn a_syntax_that_is_not_known_is_an_error() {
    let editions =
        FileDescriptorProto { syntax: Some("editions".into()), ..file("a", vec![message("A", vec![])]) };
    assert!(
        matches!(load(vec![editions]), Err(DynamicTypeError::UnknownSyntax(syntax)) if syntax == "editions")
    );
}

#[test]
fn names_are_identifiers() {
    for name in ["", "1a", "a.b", "a-b", "\u{e4}"] {
        expect_bad(name, message(name, vec![]));
        expect_bad(&format!("B.{name}"), message("B", vec![field(name, 1, Type::Bool)]));
    }
}

#[test]
fn what_takes_much_time_or_memory_is_refused() {
    let a = || message("A", vec![]);
    let nested = |depth| {
        let wrap = |inner, _| DescriptorProto { nested_type: vec![inner], ..message("B", vec![]) };
        vec![file("a", vec![a(), (1..depth).fold(message("B", vec![]), wrap)])]
    };
    load(nested(32)).unwrap();
    expect_too_complex(nested(33));

    expect_too_complex(vec![file("a", vec![message("A", vec![FieldDescriptorProto::default(); 100_000])])]);
    let packaged =
        |package: String| FileDescriptorProto { package: Some(package), ..file("a", vec![a(); 100]) };
    expect_too_complex(vec![packaged("a".repeat(100_000))]);
    expect_too_complex(vec![packaged("a.".repeat(4000) + "a")]);
    expect_too_complex((0..3000).map(|n| file(&n.to_string(), vec![])).collect());

    let values = |count| {
        let value = |n: i32| EnumValueDescriptorProto {
            name: Some(format!("V{n}")),
            number: Some(count - n),
            ..EnumValueDescriptorProto::default()
        };
        let definition = EnumDescriptorProto {
            name: Some("E".into()),
            value: (0..count).map(value).collect(),
            ..EnumDescriptorProto::default()
        };
        FileDescriptorProto { enum_type: vec![definition], ..file("b", vec![]) }
    };
    load(vec![file("a", vec![a()]), values(4000)]).unwrap();
    expect_too_complex(vec![file("a", vec![a()]), values(12_000)]);

    let default = |number: i32| FieldDescriptorProto {
        default_value: Some("V0".into()),
        type_name: Some(".E".into()),
        ..field(&format!("f{number}"), number, Type::Enum)
    };
    let defaults =
        |count| vec![file("a", vec![message("A", (1..=count).map(default).collect())]), values(4000)];
    load(defaults(100)).unwrap();
    expect_too_complex(defaults(4000));

    let padded = FileDescriptorProto { syntax: Some("x".repeat(4 * 1024 * 1024)), ..file("a", vec![a()]) };
    expect_too_complex(vec![padded]);
}

#[test]
fn a_large_oneof_is_read_as_single_fields() {
    let member = |number: i32| FieldDescriptorProto {
        oneof_index: Some(0),
        ..field(&format!("f{number}"), number, Type::Int32)
    };
    let oneof = |members: i32| {
        let oneof = OneofDescriptorProto { name: Some("o".into()), ..OneofDescriptorProto::default() };
        let a =
            DescriptorProto { oneof_decl: vec![oneof], ..message("A", (1..=members).map(member).collect()) };
        load(vec![file("a", vec![a])]).unwrap()
    };
    let count = |dynamic: DynamicType| dynamic.decode(vec![8, 0, 16, 1]).unwrap().fields().count();
    assert_eq!(count(oneof(32)), 1);
    assert_eq!(count(oneof(33)), 2);
}

#[test]
fn nested_messages_do_not_overflow_the_stack() {
    let robot = compile("robots.Robot", ROBOT);
    let wrap = |inner: Vec<u8>, key: &[u8]| {
        let mut outer = key.to_vec();
        prost::encoding::encode_varint(inner.len() as u64, &mut outer);
        outer.extend(inner);
        outer
    };
    let next = |depth| (0..depth).fold(vec![], |inner, _| wrap(inner, &[15 << 3 | 2]));
    let write = |payload: Vec<u8>| {
        let message = robot.decode(payload).map_err(|_| ())?;
        protobuf_to_json(&message, &JsonOptions::default()).map_err(|_| ())
    };
    assert_eq!(write(next(99)).unwrap().len(), 99 * r#"{"next":}"#.len() + 2);
    assert!(write(next(200)).is_err());
    assert!(write(next(100_000)).is_err());

    let any = |depth| {
        let any = |inner, _| {
            let type_url = wrap(b"x/google.protobuf.Any".to_vec(), &[10]);
            [type_url, wrap(inner, &[18])].concat()
        };
        wrap((0..depth).fold(vec![], any), &[13 << 3 | 2])
    };
    assert!(write(any(90)).unwrap().contains("@type"));
    assert!(matches!(robot.decode(any(110)), Err(DynamicDecodeError::TooDeep)));
    assert!(matches!(robot.decode(any(5000)), Err(DynamicDecodeError::TooDeep)));

    let json = |depth| r#"{"next":"#.repeat(depth) + "{}" + &"}".repeat(depth);
    assert!(robot.from_json(&json(100)).is_ok());
    assert!(robot.from_json(&json(200)).is_err());
    assert!(robot.from_json(&json(100_000)).is_err());
    let list = |depth| format!(r#"{{"extra":{{"a":{}{}}}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(robot.from_json(&list(100_000)).is_err());
}

#[test]
fn json_takes_work_in_the_length_of_the_message() {
    let fields = (1..=20_000).map(|number| FieldDescriptorProto {
        number: Some(if number < 19_000 { number } else { number + 1000 }),
        type_name: Some(".A".into()),
        label: Some(Label::Repeated.into()),
        ..field(&format!("f{number}"), number, Type::Message)
    });
    let wide = load(vec![file("a", vec![message("A", fields.collect())])]).unwrap();
    let message = wide.decode([10, 0].repeat(100_000)).unwrap();
    assert!(matches!(protobuf_to_json(&message, &JsonOptions::default()), Err(ToJsonError::TooLong)));
}

#[test]
fn trees_of_many_values_are_known_before_they_are_made() {
    let robot = compile("robots.Robot", ROBOT);
    let is_many = |payload: &[u8]| !robot.tree_fits(payload, 1_000_000);
    let of_len = |tag: u8, content: Vec<u8>| {
        let mut payload = vec![tag];
        prost::encoding::encode_varint(content.len() as u64, &mut payload);
        payload.extend(content);
        payload
    };
    // Wheels, with and without a radius, entries of a map, packed numbers, fields that the type does not have.
    for (payload, few) in [
        (&b"\x12\x00"[..], 10_000),
        (b"\x12\x09\x09\0\0\0\0\0\0\0\0", 1_000),
        (b"\x22\x00", 5_000),
        (b"\xf8\x01\x00", 10_000),
    ] {
        assert!(!is_many(&payload.repeat(few)) && is_many(&payload.repeat(10 * few)), "{payload:?}");
        let any = [&b"\x0a\x0ex/robots.Robot"[..], &of_len(0x12, payload.repeat(10 * few))].concat();
        assert!(is_many(&of_len(0x6a, any)), "{payload:?} in an Any");
    }
    assert!(!is_many(&of_len(0x4a, vec![0; 10_000])) && is_many(&of_len(0x4a, vec![0; 100_000])));
    assert!(!is_many(&of_len(0x4a, vec![0xff; 100_000])), "one number, which is too long");
    assert!(!is_many(&of_len(0x42, vec![0; 10_000_000])), "an image, which is not copied");
    assert!(is_many(&of_len(0x2a, vec![b'a'; 1_000_000])), "a text, which is");
    let group = |few| [&b"\xfb\x01"[..], &b"\x08\x00".repeat(few), b"\xfc\x01"].concat();
    assert!(!is_many(&group(1_000)) && is_many(&group(100_000)), "a group that the type does not have");
    assert!(is_many(&[&b"\xfb\x01"[..], &b"\x08\x00".repeat(100_000)].concat()), "one that does not end");
    // What is malformed, or too deep, is for decoding to refuse.
    for malformed in [&b"\x12"[..], b"\x12\xff", b"\x12\x02\x09", b"\x14", b"\x13", &[0xff; 20], &[0x7b; 200]]
    {
        assert!(
            robot.tree_fits(malformed, 1_000_000) && robot.decode(malformed.to_vec()).is_err(),
            "{malformed:?}"
        );
    }
}
