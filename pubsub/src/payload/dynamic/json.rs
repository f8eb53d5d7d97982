//! Trees to JSON, bounded in depth, work and length.

use std::io::{self, Write};
use std::sync::LazyLock;

use prost_reflect::prost_types::field_descriptor_proto::Type;
use prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage, SerializeOptions, Value,
};
use thiserror::Error;

use crate::payload::json::JsonError;

/// A message that holds another one of any type. Writing it decodes that one, with a depth of its own.
pub(super) const ANY: &str = "google.protobuf.Any";

/// How deep messages are nested at most, in `Any` and outside together; prost's own limit.
const MAX_DEPTH: usize = 100;
/// How many fields are looked at and bytes of `Any` decoded at most to write JSON: a second's work.
const MAX_WORK: usize = 32 * 1024 * 1024;

/// How messages are written as JSON.
#[derive(Debug, Clone)]
pub struct JsonOptions {
    default_fields: bool,
    proto_names: bool,
    max_len: usize,
}

/// Why a message cannot be written as JSON.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ToJsonError {
    /// It would be longer than [`JsonOptions::max_len`], or has so many fields that it takes too long to write.
    #[error("the JSON is too long")]
    TooLong,
    /// Messages nest deeper than 100 levels.
    #[error("the message is nested too deeply")]
    TooDeep,
    /// JSON cannot hold a value.
    #[error("JSON cannot hold the message")]
    Json(#[source] JsonError),
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self { default_fields: false, proto_names: false, max_len: 64 * 1024 * 1024 }
    }
}

impl JsonOptions {
    /// Whether fields that hold their default are written, too, if the type does not store whether they are set.
    /// Default: `false`.
    pub fn default_fields(mut self, yes: bool) -> Self {
        self.default_fields = yes;
        self
    }

    /// Whether fields have their names of the `.proto` file in place of those of JSON, `max_speed` in place of
    /// `maxSpeed`. Default: `false`.
    pub fn proto_names(mut self, yes: bool) -> Self {
        self.proto_names = yes;
        self
    }

    /// The longest JSON in bytes. Default: 64 MiB.
    pub fn max_len(mut self, max_len: usize) -> Self {
        self.max_len = max_len;
        self
    }
}

/// Whether a tree is no deeper than allowed, with what its `Any` hold.
pub(super) fn is_flat(message: &DynamicMessage) -> bool {
    let mut walk = Walk { work: usize::MAX, has_opaque: false };
    walk.message(message, MAX_DEPTH).is_ok()
}

/// Writes a message of a [`DynamicType`](crate::DynamicType) in
/// [protobuf's JSON](https://protobuf.dev/programming-guides/json/).
///
/// The content of a `google.protobuf.Any` whose type the descriptor does not define is in base64, in the key `value`.
///
/// # Errors
/// If JSON cannot hold the message, such as a `google.protobuf.Timestamp` out of range, or it would be too long.
pub fn protobuf_to_json(message: &DynamicMessage, options: &JsonOptions) -> Result<String, ToJsonError> {
    let mut walk = Walk { work: MAX_WORK, has_opaque: false };
    walk.message(message, MAX_DEPTH)?;
    let replaced = walk.has_opaque.then(|| {
        let mut message = message.clone();
        replace_opaque(&mut message);
        message
    });
    let mut serializer =
        serde_json::Serializer::new(Bounded { written: Vec::new(), max_len: options.max_len });
    let options = SerializeOptions::new()
        .skip_default_fields(!options.default_fields)
        .use_proto_field_name(options.proto_names);
    let message = replaced.as_ref().unwrap_or(message);
    message.serialize_with_options(&mut serializer, &options).map_err(|error| {
        if error.is_io() { ToJsonError::TooLong } else { ToJsonError::Json(JsonError(error)) }
    })?;
    let json = serializer.into_inner().written;
    Ok(String::from_utf8(json).expect("serde_json writes UTF-8"))
}

/// A look at all messages of a tree.
struct Walk {
    /// What may still be done.
    work: usize,
    /// Whether there is an `Any` of unknown content.
    has_opaque: bool,
}

impl Walk {
    fn message(&mut self, message: &DynamicMessage, depth: usize) -> Result<(), ToJsonError> {
        let depth = depth.checked_sub(1).ok_or(ToJsonError::TooDeep)?;
        let descriptor = message.descriptor();
        // All fields are looked at, also those that are not set.
        self.charge(1 + descriptor.fields().len())?;
        if descriptor.full_name() == ANY {
            match any_content(message) {
                Some((len, content)) => {
                    self.charge(len)?;
                    self.message(&content, depth)?;
                }
                None => self.has_opaque = true,
            }
        }
        message.fields().try_for_each(|(_, value)| match value {
            Value::Message(inner) => self.message(inner, depth),
            Value::List(values) => values.iter().try_for_each(|value| self.value(value, depth)),
            Value::Map(values) => values.values().try_for_each(|value| self.value(value, depth)),
            _ => Ok(()),
        })
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), ToJsonError> {
        value.as_message().map_or(Ok(()), |message| self.message(message, depth))
    }

    fn charge(&mut self, work: usize) -> Result<(), ToJsonError> {
        self.work = self.work.checked_sub(work).ok_or(ToJsonError::TooLong)?;
        Ok(())
    }
}

/// The length of what an `Any` holds, and that itself. `None` if its type is not known, or it is no message of that.
fn any_content(any: &DynamicMessage) -> Option<(usize, DynamicMessage)> {
    let url = any.get_field_by_number(1)?;
    let value = any.get_field_by_number(2)?;
    let (_, name) = url.as_str()?.rsplit_once('/')?;
    let descriptor = any.descriptor().parent_pool().get_message_by_name(name)?;
    let value = value.as_bytes()?;
    Some((value.len(), DynamicMessage::decode(descriptor, value.clone()).ok()?))
}

/// Puts a message that can be written in the place of each `Any` that cannot.
fn replace_opaque(message: &mut DynamicMessage) {
    if message.descriptor().full_name() == ANY {
        let mut walk = Walk { work: usize::MAX, has_opaque: false };
        if walk.message(message, MAX_DEPTH).is_err() || walk.has_opaque {
            *message = opaque(message);
        }
        return;
    }
    for (_, value) in message.fields_mut() {
        match value {
            Value::Message(inner) => replace_opaque(inner),
            Value::List(values) => {
                values.iter_mut().filter_map(Value::as_message_mut).for_each(replace_opaque)
            }
            Value::Map(values) => {
                values.values_mut().filter_map(Value::as_message_mut).for_each(replace_opaque)
            }
            _ => {}
        }
    }
}

fn opaque(any: &DynamicMessage) -> DynamicMessage {
    let mut opaque = DynamicMessage::new(OPAQUE.clone());
    for (number, name) in [(1, "@type"), (2, "value")] {
        if let Some(value) = any.get_field_by_number(number) {
            // A descriptor may define `Any` with other types; then nothing is shown.
            let _ = opaque.try_set_field_by_name(name, value.into_owned());
        }
    }
    opaque
}

/// An `Any` that is written as its two fields.
static OPAQUE: LazyLock<MessageDescriptor> = LazyLock::new(|| {
    let field = |number, name: &str, kind: Type| FieldDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    };
    let message = DescriptorProto {
        name: Some("Opaque".to_owned()),
        field: vec![field(1, "@type", Type::String), field(2, "value", Type::Bytes)],
        ..DescriptorProto::default()
    };
    let file = FileDescriptorProto {
        message_type: vec![message],
        syntax: Some("proto3".to_owned()),
        ..FileDescriptorProto::default()
    };
    DescriptorPool::from_file_descriptor_set(FileDescriptorSet { file: vec![file] })
        .ok()
        .and_then(|pool| pool.get_message_by_name("Opaque"))
        .expect("the definition is valid")
});

/// Takes as many bytes as allowed, and then fails.
struct Bounded {
    written: Vec<u8>,
    max_len: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.max_len - self.written.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
