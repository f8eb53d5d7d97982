//! What travels on a topic: bytes, text, protobuf messages, JSON and types of one's own.

mod borrowed;
#[cfg(feature = "dynamic")]
mod dynamic;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "protobuf")]
mod protobuf;
mod registered;

use std::convert::Infallible;
use std::error::Error;
use std::string::FromUtf8Error;

use bytes::Bytes;
use ferrocal_proto::DataType;

pub use borrowed::BorrowedPayload;
pub(crate) use borrowed::InPlace;
#[cfg(test)]
pub(crate) use borrowed::tests::Memory;
#[cfg(feature = "dynamic")]
pub use dynamic::{
    Dynamic, DynamicDecodeError, DynamicError, DynamicType, DynamicTypeError, JsonOptions, ToJsonError,
    protobuf_to_json,
};
#[cfg(feature = "json")]
pub use json::{Json, JsonError};
#[cfg(feature = "prost-reflect")]
pub use protobuf::Reflected;
#[cfg(feature = "protobuf")]
pub use protobuf::{
    DescriptorError, DescriptorSource, FromSettings, Generated, Protobuf, ProtobufMessage, protobuf_data_type,
};
pub use registered::RegisteredType;

/// A type that travels as the payload of a topic.
///
/// It names an encoding; what is published and what is received are its associated types:
///
/// | `Payload` | published | received |
/// | --- | --- | --- |
/// | `[u8]` | `&[u8]` | [`Bytes`], not copied |
/// | `str` | `&str` | [`String`] |
/// | `Protobuf<M>` | `&M` | `M` |
/// | `Json<T>` | `&T` | `T` |
///
/// Implement it for a type of your own to choose its encoding:
///
/// ```
/// use std::array::TryFromSliceError;
/// use std::convert::Infallible;
///
/// use ferrocal::{Bytes, DataType, Payload};
///
/// struct Speed(f64);
///
/// impl Payload for Speed {
///     type Value = Self;
///     type Received = Self;
///     type EncodeError = Infallible;
///     type DecodeError = TryFromSliceError;
///
///     fn data_type() -> DataType {
///         DataType { name: "Speed".into(), encoding: "f64-le".into(), ..DataType::default() }
///     }
///
///     fn encode<'a>(speed: &'a Self, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Infallible> {
///         scratch.extend_from_slice(&speed.0.to_le_bytes());
///         Ok(scratch)
///     }
///
///     fn decode(payload: Bytes) -> Result<Self, TryFromSliceError> {
///         Ok(Self(f64::from_le_bytes(payload.as_ref().try_into()?)))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a payload",
    label = "not a payload",
    note = "for text use `str`, which is received as `String`",
    note = "for bytes use `[u8]`, which is received as `Bytes`",
    note = "for a protobuf message `M` use `Protobuf<M>`",
    note = "for a type `T` that implements serde's `Serialize` and `DeserializeOwned` use `Json<T>`",
    note = "for an encoding of your own implement `Payload`"
)]
pub trait Payload {
    /// What a publisher sends.
    type Value: ?Sized;

    /// What a subscriber gets.
    type Received: Send + 'static;

    /// Why a value cannot be encoded.
    type EncodeError: Error + Send + Sync + 'static;

    /// Why a payload cannot be decoded.
    type DecodeError: Error + Send + Sync + 'static;

    /// The data type that is registered with the topic, for the other side and for eCAL's tools. The settings of a
    /// publisher or subscriber can replace it.
    fn data_type() -> DataType;

    /// Returns the bytes to send: some of the value's own, or what it writes into `scratch`, which is empty.
    ///
    /// # Errors
    /// If the value cannot be encoded. Nothing is sent then.
    fn encode<'a>(value: &'a Self::Value, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Self::EncodeError>;

    /// Reads a payload back.
    ///
    /// # Errors
    /// If the bytes are not what [`encode`](Payload::encode) writes.
    fn decode(payload: Bytes) -> Result<Self::Received, Self::DecodeError>;

    /// Reads a payload back, as a subscriber does: with the data type that its publisher registered. `None` if that did
    /// not register yet, or is one of eCAL 5. By default, this only calls [`decode`](Payload::decode).
    ///
    /// # Errors
    /// As [`decode`](Payload::decode).
    fn decode_as(
        payload: Bytes,
        registered: Option<&RegisteredType>,
    ) -> Result<Self::Received, Self::DecodeError> {
        let _ = registered;
        Self::decode(payload)
    }
}

/// Bytes, without a data type.
impl Payload for [u8] {
    type Value = [u8];
    type Received = Bytes;
    type EncodeError = Infallible;
    type DecodeError = Infallible;

    fn data_type() -> DataType {
        DataType::default()
    }

    fn encode<'a>(value: &'a [u8], _: &'a mut Vec<u8>) -> Result<&'a [u8], Infallible> {
        Ok(value)
    }

    fn decode(payload: Bytes) -> Result<Bytes, Infallible> {
        Ok(payload)
    }
}

/// Text. Registered as eCAL 6 does: type `string`, encoding `utf-8`.
impl Payload for str {
    type Value = str;
    type Received = String;
    type EncodeError = Infallible;
    type DecodeError = FromUtf8Error;

    fn data_type() -> DataType {
        DataType { name: "string".into(), encoding: "utf-8".into(), ..DataType::default() }
    }

    fn encode<'a>(value: &'a str, _: &'a mut Vec<u8>) -> Result<&'a [u8], Infallible> {
        Ok(value.as_bytes())
    }

    fn decode(payload: Bytes) -> Result<String, FromUtf8Error> {
        String::from_utf8(payload.into())
    }
}

/// ```compile_fail,E0277
/// # fn publish(node: ferrocal::Node) {
/// node.publisher::<String>("hello");
/// # }
/// ```
///
/// ```compile_fail,E0277
/// # fn subscribe(node: ferrocal::Node) {
/// node.subscriber::<Vec<u8>>("hello");
/// # }
/// ```
///
/// ```compile_fail,E0277
/// # #[derive(Clone, PartialEq, prost::Message)]
/// # struct Pose {}
/// # fn publish(node: ferrocal::Node) {
/// node.publisher::<ferrocal::Protobuf<Pose>>("pose");
/// # }
/// ```
#[cfg(doctest)]
struct NotPayloads;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_text_are_not_copied_into_the_scratch_buffer() {
        let mut scratch = Vec::new();
        let bytes = [1, 2, 3];
        assert_eq!(<[u8]>::encode(&bytes, &mut scratch).unwrap().as_ptr(), bytes.as_ptr());
        assert_eq!(str::encode("hello", &mut scratch).unwrap(), b"hello");
        assert!(scratch.is_empty());
    }

    #[test]
    fn received_bytes_are_not_copied() {
        let payload = Bytes::from(vec![1, 2, 3]);
        assert_eq!(<[u8]>::decode(payload.clone()).unwrap().as_ptr(), payload.as_ptr());
    }

    #[test]
    fn text_must_be_utf_8() {
        assert_eq!(str::decode(Bytes::from_static("ä".as_bytes())).unwrap(), "ä");
        assert!(str::decode(Bytes::from_static(b"\xe4")).is_err());
    }
}
