//! Protobuf messages whose type is known only when the program runs.

mod json;
mod reduce;
mod room;
mod topic;

use bytes::Bytes;
use ferrocal_proto::DataType;
use prost::Message;
use prost_reflect::{DescriptorError, DynamicMessage, MessageDescriptor};
use thiserror::Error;

use super::json::JsonError;

pub use json::{JsonOptions, ToJsonError, protobuf_to_json};
pub use topic::{Dynamic, DynamicError};

/// A type of protobuf messages, from the descriptor that a publisher registered.
///
/// It reads payloads to trees of prost-reflect, [`DynamicMessage`], and JSON to payloads:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let descriptor_set = b"\x0a\x21\x0a\x04pose\x12\x06robots\x22\x11\x0a\x04Pose\x12\x09\x0a\x01x\x18\x01\x20\x01\x28\x05";
/// use ferrocal::{DynamicType, JsonOptions, protobuf_data_type, protobuf_to_json};
///
/// // let descriptor_set = std::fs::read("descriptors.bin")?; // protoc --descriptor_set_out --include_imports
/// let pose = DynamicType::new(&protobuf_data_type("robots.Pose", descriptor_set)?)?;
///
/// let payload = pose.from_json(r#"{"x": 5}"#)?;
/// let message = pose.decode(payload)?;
/// assert_eq!(message.get_field_by_name("x").unwrap().as_i32(), Some(5));
/// assert_eq!(protobuf_to_json(&message, &JsonOptions::default())?, r#"{"x":5}"#);
/// # Ok(())
/// # }
/// ```
///
/// The descriptor is reduced to messages, fields and enums: it has no services, extensions and options. Fields of
/// extensions are unknown fields of a message. They are encoded again, and not in its JSON.
#[derive(Debug, Clone)]
pub struct DynamicType {
    descriptor: MessageDescriptor,
    has_any: bool,
}

/// Why a data type cannot be used to read messages.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DynamicTypeError {
    /// The data type's encoding, which is not `proto`.
    #[error("the encoding is `{0}`, not `proto`")]
    NotProtobuf(String),
    /// The descriptor is empty.
    #[error("the type has no descriptor")]
    NoDescriptor,
    /// The descriptor is no serialized `google.protobuf.FileDescriptorSet`.
    #[error("not a protobuf descriptor set")]
    Malformed(#[source] prost::DecodeError),
    /// The descriptor is longer than 4 MiB, nests messages deeper than 32 levels, or defines so much that it takes too
    /// long to read. A set of 10 000 fields in 100 files is none of these.
    #[error("the descriptor set is too complex")]
    TooComplex,
    /// A file is of another syntax than `proto2` and `proto3`, such as `editions`.
    #[error("the descriptor set is written in `{0}`, not in `proto2` or `proto3`")]
    UnknownSyntax(String),
    /// A definition that no protobuf compiler writes.
    #[error("the descriptor set has a bad definition: `{0}`")]
    BadDefinition(String),
    /// The definitions contradict each other, or one that they refer to is missing.
    #[error("the descriptor set is not valid")]
    Invalid(#[source] DescriptorError),
    /// The descriptor does not define the message.
    #[error("the descriptor set has no message `{0}`")]
    NoMessage(String),
}

/// Why a payload is no message of a [`DynamicType`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DynamicDecodeError {
    /// It does not fit the descriptor, or nests messages deeper than 100 levels.
    #[error("not a message of this type")]
    Malformed(#[source] prost::DecodeError),
    /// Messages inside of `google.protobuf.Any` nest deeper than 100 levels.
    #[error("the message is nested too deeply")]
    TooDeep,
}

impl DynamicType {
    /// The type that a data type describes: its name with the package, the encoding `proto`, and a serialized
    /// `google.protobuf.FileDescriptorSet`.
    ///
    /// The descriptor may come from the network: time, memory and recursion are bounded whatever it holds.
    ///
    /// # Errors
    /// If it is of another encoding, has no usable descriptor, or exceeds the bounds.
    pub fn new(data_type: &DataType) -> Result<Self, DynamicTypeError> {
        let DataType { name, encoding, descriptor } = data_type;
        if encoding != "proto" {
            return Err(DynamicTypeError::NotProtobuf(encoding.clone()));
        }
        if descriptor.is_empty() {
            return Err(DynamicTypeError::NoDescriptor);
        }
        let pool = reduce::load(descriptor)?;
        let descriptor =
            pool.get_message_by_name(name).ok_or_else(|| DynamicTypeError::NoMessage(name.clone()))?;
        let has_any = pool.get_message_by_name(json::ANY).is_some();
        Ok(Self { descriptor, has_any })
    }

    /// The message's name with its package, such as `robots.Pose`.
    pub fn name(&self) -> &str {
        self.descriptor.full_name()
    }

    /// The message's fields and their types.
    pub fn descriptor(&self) -> &MessageDescriptor {
        &self.descriptor
    }

    /// Reads a payload. The tree can take a hundred times as many bytes as the payload, if that consists of many short
    /// fields; see [`tree_fits`](Self::tree_fits). Fields of type `bytes` are not copied.
    ///
    /// # Errors
    /// If the payload is no message of this type, or is nested too deeply.
    pub fn decode(&self, payload: impl Into<Bytes>) -> Result<DynamicMessage, DynamicDecodeError> {
        let message = DynamicMessage::decode(self.descriptor.clone(), payload.into())
            .map_err(DynamicDecodeError::Malformed)?;
        // serde's traits, which the tree has, follow any nesting.
        if self.has_any && !json::is_flat(&message) {
            return Err(DynamicDecodeError::TooDeep);
        }
        Ok(message)
    }

    /// Whether the tree of a payload takes about `max_len` bytes at most beside the payload. The tree is not made for that.
    pub fn tree_fits(&self, payload: &[u8], max_len: usize) -> bool {
        room::Room(max_len).message(&self.descriptor, payload).is_some()
    }

    /// Reads [protobuf's JSON](https://protobuf.dev/programming-guides/json/), and encodes it as a payload. Fields can
    /// have their names in JSON or those of the `.proto` file.
    ///
    /// # Errors
    /// If the text is no JSON of this type, or is nested deeper than 127 levels.
    pub fn from_json(&self, json: &str) -> Result<Vec<u8>, JsonError> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let message =
            DynamicMessage::deserialize(self.descriptor.clone(), &mut deserializer).map_err(JsonError)?;
        deserializer.end().map_err(JsonError)?;
        Ok(message.encode_to_vec())
    }
}

#[cfg(test)]
mod tests;
