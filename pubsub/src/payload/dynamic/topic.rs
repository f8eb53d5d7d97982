//! Messages of any topic, by what their publishers registered.

use std::string::FromUtf8Error;
use std::sync::Arc;

use bytes::Bytes;
use ferrocal_proto::DataType;
use prost::Message;
use prost_reflect::DynamicMessage;
use serde::de::IgnoredAny;
use thiserror::Error;

use super::{DynamicDecodeError, DynamicTypeError};
use crate::payload::json::JsonError;
use crate::{Payload, RegisteredType};

/// A message of a topic whose type is known only when the program runs.
///
/// A subscriber reads each message by the data type that its publisher registered, also if the publishers of a topic
/// differ, or one changes its type. The descriptor of a type is read once.
///
/// ```
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ferrocal::{Dynamic, JsonOptions, Node, protobuf_to_json};
///
/// let node = Node::new("display")?;
/// let subscriber = node.subscriber::<Dynamic>("anything")?;
/// # let publisher = node.publisher::<str>("anything")?;
/// # assert!(publisher.wait_for_subscriber(Duration::from_secs(5)));
/// # assert!(subscriber.wait_for_publisher(Duration::from_secs(5)));
/// # publisher.send("hello")?;
/// match subscriber.recv()?.payload {
///     Dynamic::Protobuf(message) => println!("{}", protobuf_to_json(&message, &JsonOptions::default())?),
///     Dynamic::Text(text) | Dynamic::Json(text) => println!("{text}"),
///     Dynamic::Bytes(bytes) => println!("{bytes:x?}"),
///     _ => {}
/// }
/// # Ok(())
/// # }
/// ```
///
/// A publisher of it needs [`PublisherConfig::data_type`](crate::PublisherConfig::data_type). Without that, no data type
/// is registered.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Dynamic {
    /// A protobuf message of a publisher that registered a descriptor.
    Protobuf(DynamicMessage),
    /// Text: the encoding is `utf-8`, or the type is eCAL 5's `std::string`.
    Text(String),
    /// JSON: the encoding is `json`.
    Json(String),
    /// Anything else: bytes, protobuf without a descriptor, or a message of a publisher whose type is not known.
    Bytes(Bytes),
}

/// Why a payload is not what its publisher registered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DynamicError {
    /// The descriptor cannot be used.
    #[error(transparent)]
    Type(Arc<DynamicTypeError>),
    /// It is no message of the registered type.
    #[error(transparent)]
    Protobuf(#[from] DynamicDecodeError),
    /// It is no text.
    #[error(transparent)]
    Text(#[from] FromUtf8Error),
    /// It is no JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
}

impl Payload for Dynamic {
    type Value = Self;
    type Received = Self;
    type EncodeError = prost::EncodeError;
    type DecodeError = DynamicError;

    fn data_type() -> DataType {
        DataType::default()
    }

    fn encode<'a>(value: &'a Self, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], prost::EncodeError> {
        Ok(match value {
            Self::Protobuf(message) => {
                message.encode(scratch)?;
                scratch
            }
            Self::Text(text) | Self::Json(text) => text.as_bytes(),
            Self::Bytes(bytes) => bytes,
        })
    }

    fn decode(payload: Bytes) -> Result<Self, DynamicError> {
        Ok(Self::Bytes(payload))
    }

    fn decode_as(payload: Bytes, registered: Option<&RegisteredType>) -> Result<Self, DynamicError> {
        let Some(registered) = registered else { return Self::decode(payload) };
        let DataType { name, encoding, descriptor } = registered.data_type();
        match (&**encoding, &**name) {
            ("proto", _) if !descriptor.is_empty() => {
                let message = registered.dynamic().map_err(DynamicError::Type)?.decode(payload)?;
                Ok(Self::Protobuf(message))
            }
            ("utf-8", _) | ("base", "std::string") => Ok(Self::Text(String::from_utf8(payload.into())?)),
            ("json", _) => {
                let text = String::from_utf8(payload.into())?;
                serde_json::from_str::<IgnoredAny>(&text).map_err(JsonError)?;
                Ok(Self::Json(text))
            }
            _ => Self::decode(payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(name: &str, encoding: &str, payload: &'static [u8]) -> Result<Dynamic, DynamicError> {
        let data_type = DataType { name: name.into(), encoding: encoding.into(), ..DataType::default() };
        Dynamic::decode_as(payload.into(), Some(&RegisteredType::new(Arc::new(data_type))))
    }

    #[test]
    fn the_encoding_says_what_a_payload_is() {
        assert!(matches!(decode("string", "utf-8", b"a").unwrap(), Dynamic::Text(text) if text == "a"));
        assert!(matches!(decode("std::string", "base", b"a").unwrap(), Dynamic::Text(_)));
        assert!(matches!(decode("", "json", b" [1]").unwrap(), Dynamic::Json(text) if text == " [1]"));
        for (name, encoding) in [("", ""), ("Pose", "capnp"), ("Pose", "proto"), ("image", "base")] {
            assert!(matches!(decode(name, encoding, b"\xff").unwrap(), Dynamic::Bytes(_)));
        }
        assert!(matches!(Dynamic::decode_as(b"a"[..].into(), None).unwrap(), Dynamic::Bytes(_)));
    }

    #[test]
    fn what_is_not_as_it_was_registered_is_an_error() {
        assert!(matches!(decode("string", "utf-8", b"\xff"), Err(DynamicError::Text(_))));
        assert!(matches!(decode("", "json", b"[1"), Err(DynamicError::Json(_))));
        assert!(matches!(decode("", "json", b"1 2"), Err(DynamicError::Json(_))));
    }

    #[test]
    fn what_is_published_is_what_was_received() {
        let mut scratch = Vec::new();
        assert_eq!(Dynamic::encode(&Dynamic::Text("a".into()), &mut scratch).unwrap(), b"a");
        assert_eq!(Dynamic::encode(&Dynamic::Bytes(b"b"[..].into()), &mut scratch).unwrap(), b"b");
    }
}
