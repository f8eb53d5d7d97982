//! Descriptors as the text of `.proto` files.

use std::collections::BTreeSet;
use std::fmt::Write;

use ferrocal::prost_reflect::FileDescriptor;
use ferrocal::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};
use ferrocal::prost_reflect::prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto};

/// The text of a file: what decoding needs. Comments, options and services are not in a registered type as it is read here,
/// and of imports there are those that are needed.
pub(crate) fn file(file: &FileDescriptor) -> String {
    let imports = imports(file);
    let file = file.file_descriptor_proto();
    let mut printer = Printer { text: String::new(), is_proto3: file.syntax() == "proto3" };
    let syntax = if printer.is_proto3 { "proto3" } else { "proto2" };
    printer.line(0, &format!("syntax = \"{syntax}\";"));
    if !file.package().is_empty() {
        printer.line(0, &format!("package {};", file.package()));
    }
    if !imports.is_empty() {
        printer.text.push('\n');
    }
    for import in imports {
        printer.line(0, &format!("import {};", quoted(import.as_bytes())));
    }
    for one in &file.enum_type {
        printer.text.push('\n');
        printer.enumeration(0, one);
    }
    for message in &file.message_type {
        printer.text.push('\n');
        printer.message(0, message);
    }
    printer.text
}

/// The files that define what a file uses.
fn imports(file: &FileDescriptor) -> BTreeSet<String> {
    fn walk(message: &DescriptorProto, file: &FileDescriptor, found: &mut BTreeSet<String>) {
        for field in &message.field {
            let Some(name) = field.type_name().strip_prefix('.') else { continue };
            let pool = file.parent_pool();
            let used = match field.r#type() {
                Type::Enum => pool.get_enum_by_name(name).map(|one| one.parent_file()),
                _ => pool.get_message_by_name(name).map(|message| message.parent_file()),
            };
            found.extend(used.filter(|used| used != file).map(|used| used.name().to_owned()));
        }
        message.nested_type.iter().for_each(|nested| walk(nested, file, found));
    }
    let mut found = BTreeSet::new();
    file.file_descriptor_proto().message_type.iter().for_each(|message| walk(message, file, &mut found));
    found
}

struct Printer {
    text: String,
    is_proto3: bool,
}

impl Printer {
    fn line(&mut self, depth: usize, line: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.text, "{:1$}{line}", "", 2 * depth);
    }

    fn enumeration(&mut self, depth: usize, one: &EnumDescriptorProto) {
        self.line(depth, &format!("enum {} {{", one.name()));
        let mut numbers: Vec<_> = one.value.iter().map(|value| value.number()).collect();
        numbers.sort_unstable();
        if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
            self.line(depth + 1, "option allow_alias = true;");
        }
        for value in &one.value {
            self.line(depth + 1, &format!("{} = {};", value.name(), value.number()));
        }
        self.line(depth, "}");
    }

    fn message(&mut self, depth: usize, message: &DescriptorProto) {
        self.line(depth, &format!("message {} {{", message.name()));
        self.body(depth + 1, message);
        self.line(depth, "}");
    }

    fn body(&mut self, depth: usize, message: &DescriptorProto) {
        for one in &message.enum_type {
            self.enumeration(depth, one);
        }
        // Maps and groups are written where they are used.
        let is_group = |nested: &DescriptorProto| {
            message
                .field
                .iter()
                .any(|field| field.r#type() == Type::Group && last_part(field.type_name()) == nested.name())
        };
        for nested in message.nested_type.iter().filter(|nested| !is_map(nested) && !is_group(nested)) {
            self.message(depth, nested);
        }
        let mut written = vec![false; message.oneof_decl.len()];
        for field in &message.field {
            let oneof = field.oneof_index.and_then(|index| usize::try_from(index).ok());
            let oneof = oneof.filter(|&index| !field.proto3_optional() && index < written.len());
            let Some(index) = oneof else {
                self.field(depth, field, message, true);
                continue;
            };
            if std::mem::replace(&mut written[index], true) {
                continue;
            }
            self.line(depth, &format!("oneof {} {{", message.oneof_decl[index].name()));
            for member in message.field.iter().filter(|one| one.oneof_index == field.oneof_index) {
                self.field(depth + 1, member, message, false);
            }
            self.line(depth, "}");
        }
    }

    fn field(
        &mut self,
        depth: usize,
        field: &FieldDescriptorProto,
        message: &DescriptorProto,
        has_label: bool,
    ) {
        let nested = message.nested_type.iter().find(|nested| {
            matches!(field.r#type(), Type::Message | Type::Group)
                && last_part(field.type_name()) == nested.name()
        });
        if let Some([key, value]) = nested.filter(|nested| is_map(nested)).and_then(entry) {
            let line = format!(
                "map<{}, {}> {} = {};",
                type_name(key),
                type_name(value),
                field.name(),
                field.number()
            );
            return self.line(depth, &line);
        }
        let label = match field.label() {
            _ if !has_label => "",
            Label::Repeated => "repeated ",
            Label::Required => "required ",
            Label::Optional if !self.is_proto3 || field.proto3_optional() => "optional ",
            Label::Optional => "",
        };
        if let Some(group) = nested.filter(|_| field.r#type() == Type::Group) {
            self.line(depth, &format!("{label}group {} = {} {{", group.name(), field.number()));
            self.body(depth + 1, group);
            return self.line(depth, "}");
        }
        let default = match &field.default_value {
            None => String::new(),
            Some(value) if matches!(field.r#type(), Type::String) => {
                format!(" [default = {}]", quoted(value.as_bytes()))
            }
            Some(value) if matches!(field.r#type(), Type::Bytes) => {
                format!(" [default = {}]", quoted_escapes(value.as_bytes()))
            }
            Some(value) => format!(" [default = {value}]"),
        };
        let (name, number) = (field.name(), field.number());
        self.line(depth, &format!("{label}{} {name} = {number}{default};", type_name(field)));
    }
}

fn is_map(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(|options| options.map_entry())
}

/// The key and the value of a map.
fn entry(message: &DescriptorProto) -> Option<[&FieldDescriptorProto; 2]> {
    let field = |number| message.field.iter().find(|field| field.number() == number);
    Some([field(1)?, field(2)?])
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

fn type_name(field: &FieldDescriptorProto) -> &str {
    match field.r#type() {
        Type::Double => "double",
        Type::Float => "float",
        Type::Int64 => "int64",
        Type::Uint64 => "uint64",
        Type::Int32 => "int32",
        Type::Fixed64 => "fixed64",
        Type::Fixed32 => "fixed32",
        Type::Bool => "bool",
        Type::String => "string",
        Type::Bytes => "bytes",
        Type::Uint32 => "uint32",
        Type::Sfixed32 => "sfixed32",
        Type::Sfixed64 => "sfixed64",
        Type::Sint32 => "sint32",
        Type::Sint64 => "sint64",
        // With the dot in front, a name means the same wherever it stands.
        Type::Group | Type::Message | Type::Enum => field.type_name(),
    }
}

fn quoted(text: &[u8]) -> String {
    let mut quoted = String::from("\"");
    for &byte in text {
        push_quoted(byte, &mut quoted);
    }
    quoted.push('"');
    quoted
}

fn push_quoted(byte: u8, quoted: &mut String) {
    match byte {
        b'"' | b'\\' => quoted.extend(['\\', byte.into()]),
        b' '..=b'~' => quoted.push(byte.into()),
        _ => {
            let _ = write!(quoted, "\\{byte:03o}");
        }
    }
}

/// As [`quoted`], of a text whose escapes stay: a compiler writes them into the default of a `bytes` field. What comes from the
/// network may have what is none.
fn quoted_escapes(text: &[u8]) -> String {
    let mut parts = String::from("\"");
    let mut rest = text;
    while let Some(&first) = rest.first() {
        let escape_len = escape_len(rest);
        let (part, behind) = rest.split_at(escape_len.max(1));
        match std::str::from_utf8(part) {
            Ok(escape) if escape_len > 0 => parts.push_str(escape),
            _ => push_quoted(first, &mut parts),
        }
        rest = behind;
    }
    parts.push('"');
    parts
}

/// The length of the escape that a text begins with, 0 if it begins with none.
fn escape_len(text: &[u8]) -> usize {
    let [b'\\', kind, digits @ ..] = text else { return 0 };
    let count = |most, is_digit: fn(&u8) -> bool| {
        digits.iter().take(most).take_while(|digit| is_digit(digit)).count()
    };
    match kind {
        b'a' | b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'?' | b'\'' | b'"' | b'\\' => 2,
        b'0'..=b'7' => match count(2, |digit| matches!(digit, b'0'..=b'7')) {
            // Of a byte.
            2 if *kind > b'3' => 0,
            digits => 2 + digits,
        },
        b'x' | b'X' => match count(2, u8::is_ascii_hexdigit) {
            0 => 0,
            digits => 2 + digits,
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use ferrocal::prost::Message;
    use ferrocal::prost_reflect::DescriptorPool;
    use ferrocal::prost_reflect::prost_types::FileDescriptorSet;

    use super::*;

    const TEXT: &str = r#"syntax = "proto3";
package robots;

import "other.proto";

enum Mode {
  option allow_alias = true;
  IDLE = 0;
  REST = 0;
}

message Robot {
  enum State {
    OFF = 0;
  }
  message Wheel {
    double radius = 1;
  }
  string name = 1;
  optional uint64 serial = 2;
  repeated .robots.Robot.Wheel wheels = 3;
  map<string, .robots.Robot.Wheel> named = 4;
  oneof goal {
    bytes place = 5;
    .robots.Robot.State state = 6;
  }
  .other.Pose pose = 7;
}
"#;

    const OLD: &str = r#"syntax = "proto2";

message Old {
  required string name = 1 [default = "a\"\\\303\274"];
  optional group Part = 2 {
    optional int32 n = 1 [default = -5];
  }
}
"#;

    fn compile(name: &str, text: &str) -> FileDescriptorSet {
        const OTHER: &str = "syntax = \"proto3\"; package other; message Pose {}";
        let mut resolver = protox::file::ChainFileResolver::new();
        for (name, text) in [(name, text), ("other.proto", OTHER)] {
            resolver.add(Single(protox::file::File::from_source(name, text).unwrap()));
        }
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_imports(true).open_file(name).unwrap();
        FileDescriptorSet::decode(&*compiler.encode_file_descriptor_set()).unwrap()
    }

    struct Single(protox::file::File);

    impl protox::file::FileResolver for Single {
        fn open_file(&self, name: &str) -> Result<protox::file::File, protox::Error> {
            if name == self.0.name() { Ok(self.0.clone()) } else { Err(protox::Error::file_not_found(name)) }
        }
    }

    #[test]
    fn defaults_of_bytes_cannot_leave_their_quotes() {
        for (value, expected) in [
            (r#"a\"\\\303\274\xfF\n\0"#, r#""a\"\\\303\274\xfF\n\0""#),
            ("a\"];\r\nmessage", r#""a\"];\015\012message""#),
            ("\u{9b}\0", r#""\302\233\000""#),
            (r"\777\q\x\", r#""\\777\\q\\x\\""#),
        ] {
            let quoted = quoted_escapes(value.as_bytes());
            assert_eq!(quoted, expected);
            let text = format!(
                "syntax = \"proto2\";\n\nmessage Old {{\n  optional bytes place = 1 [default = {quoted}];\n}}\n"
            );
            let pool = DescriptorPool::from_file_descriptor_set(compile("old.proto", &text)).unwrap();
            let printed = file(&pool.get_file_by_name("old.proto").unwrap());
            assert_eq!(compile("old.proto", &printed), compile("old.proto", &text));
        }
    }

    #[test]
    fn the_text_compiles_to_what_it_was_made_of() {
        for (name, text) in [("robot.proto", TEXT), ("old.proto", OLD)] {
            let mut set = compile(name, text);
            // A reduced descriptor imports all files everywhere.
            let names: Vec<_> = set.file.iter().map(|file| file.name().to_owned()).collect();
            let original = set.clone();
            for file in &mut set.file {
                file.dependency = names.iter().filter(|other| **other != file.name()).cloned().collect();
            }
            set.file[0].dependency.clear();
            let last = set.file.len() - 1;
            let pool = DescriptorPool::from_file_descriptor_set(set).unwrap();
            let printed = file(&pool.get_file_by_name(name).unwrap());
            assert_eq!(printed, text);
            let mut again = compile(name, &printed);
            again.file[last].source_code_info = original.file[last].source_code_info.clone();
            assert_eq!(again, original);
        }
    }
}
