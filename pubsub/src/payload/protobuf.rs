//! Protobuf messages of prost.

mod descriptor;

use std::marker::PhantomData;

use bytes::Bytes;
use ferrocal_proto::DataType;

use crate::Payload;

pub use descriptor::{DescriptorError, protobuf_data_type};

/// A protobuf message of prost.
///
/// eCAL registers a message's descriptor with the topic, so that its tools can show the fields. The second parameter
/// says where that descriptor comes from:
///
/// | | the descriptor comes from |
/// | --- | --- |
/// | `Protobuf<M>` | `ferrocal-build`, which implements [`ProtobufMessage`] for the messages that it generates |
/// | `Protobuf<M, Reflected>` | `prost-reflect`, for messages that implement its `ReflectMessage` (feature `prost-reflect`) |
/// | `Protobuf<M, FromSettings>` | [`PublisherConfig::data_type`](crate::PublisherConfig::data_type), for any message |
///
/// A message of another crate, with a descriptor from a file:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # #[derive(Clone, PartialEq, prost::Message)]
/// # struct Pose {}
/// # let descriptor_set = [&[10, 22][..], b"\x0a\x04pose\x12\x06robots\x22\x06\x0a\x04Pose"].concat();
/// use ferrocal::{FromSettings, Node, Protobuf, PublisherConfig, protobuf_data_type};
///
/// // let descriptor_set = std::fs::read("descriptors.bin")?; // protoc --descriptor_set_out --include_imports
/// let config = PublisherConfig::default().data_type(protobuf_data_type("robots.Pose", &descriptor_set)?);
/// let node = Node::new("my_robot")?;
/// let publisher = node.publisher_with::<Protobuf<Pose, FromSettings>>("pose", config)?;
/// publisher.send(&Pose {})?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Protobuf<M, D = Generated>(PhantomData<fn() -> (M, D)>);

impl<M: prost::Message + Default + 'static, D: DescriptorSource<M>> Payload for Protobuf<M, D> {
    type Value = M;
    type Received = M;
    type EncodeError = prost::EncodeError;
    type DecodeError = prost::DecodeError;

    fn data_type() -> DataType {
        D::data_type()
    }

    fn encode<'a>(value: &'a M, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], prost::EncodeError> {
        value.encode(scratch)?;
        Ok(scratch)
    }

    fn decode(payload: Bytes) -> Result<M, prost::DecodeError> {
        M::decode(payload)
    }
}

/// A message with a name and a descriptor. `ferrocal-build` implements it for the messages that it generates.
#[diagnostic::on_unimplemented(
    message = "the descriptor of the protobuf message `{Self}` is not known",
    label = "has no descriptor",
    note = "compile the `.proto` file with `ferrocal_build::compile` in `build.rs`, which implements `ProtobufMessage`",
    note = "if the message implements prost-reflect's `ReflectMessage`, use `Protobuf<M, Reflected>`",
    note = "for any other message use `Protobuf<M, FromSettings>` and set `data_type` in the publisher's settings"
)]
pub trait ProtobufMessage {
    /// The full name, such as `robots.Pose`.
    const FULL_NAME: &'static str;
    /// A serialized `google.protobuf.FileDescriptorSet` that holds the message's file and all that it imports.
    const FILE_DESCRIPTOR_SET: &'static [u8];
}

/// Where the data type of the protobuf message `M` comes from; the second parameter of [`Protobuf`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not provide the descriptor of the protobuf message `{M}`",
    note = "the second parameter of `Protobuf` is one of `Generated` (the default), `Reflected` and `FromSettings`"
)]
pub trait DescriptorSource<M> {
    /// The data type to register.
    fn data_type() -> DataType;
}

/// Descriptors from [`ProtobufMessage`], which `ferrocal-build` implements.
#[derive(Debug)]
pub enum Generated {}

impl<M: ProtobufMessage> DescriptorSource<M> for Generated {
    fn data_type() -> DataType {
        data_type(M::FULL_NAME, Bytes::from_static(M::FILE_DESCRIPTOR_SET))
    }
}

/// Descriptors from prost-reflect.
#[cfg(feature = "prost-reflect")]
#[derive(Debug)]
pub enum Reflected {}

#[cfg(feature = "prost-reflect")]
impl<M: prost_reflect::ReflectMessage + Default> DescriptorSource<M> for Reflected {
    fn data_type() -> DataType {
        let descriptor = M::default().descriptor();
        data_type(descriptor.full_name(), descriptor::of_file(&descriptor.parent_file()))
    }
}

/// Descriptors from [`PublisherConfig::data_type`](crate::PublisherConfig::data_type) and
/// [`SubscriberConfig::data_type`](crate::SubscriberConfig::data_type). Without these, only the encoding is registered.
#[derive(Debug)]
pub enum FromSettings {}

impl<M> DescriptorSource<M> for FromSettings {
    fn data_type() -> DataType {
        data_type("", Bytes::new())
    }
}

fn data_type(name: &str, descriptor: Bytes) -> DataType {
    DataType { name: name.to_owned(), encoding: "proto".to_owned(), descriptor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, PartialEq, prost::Message)]
    struct Pose {
        #[prost(double, tag = "1")]
        x: f64,
    }

    impl ProtobufMessage for Pose {
        const FULL_NAME: &'static str = "robots.Pose";
        const FILE_DESCRIPTOR_SET: &'static [u8] = b"descriptor";
    }

    #[test]
    fn a_message_travels_as_protobuf() {
        let mut scratch = Vec::new();
        let encoded = Protobuf::<Pose>::encode(&Pose { x: 1.5 }, &mut scratch).unwrap();
        assert_eq!(encoded, [&[9][..], &1.5f64.to_le_bytes()].concat());
        assert_eq!(Protobuf::<Pose>::decode(scratch.into()).unwrap(), Pose { x: 1.5 });
        assert!(Protobuf::<Pose>::decode(Bytes::from_static(&[9, 0])).is_err());
    }

    #[test]
    fn the_second_parameter_chooses_the_data_type() {
        let generated = Protobuf::<Pose>::data_type();
        assert_eq!((&*generated.name, &*generated.encoding), ("robots.Pose", "proto"));
        assert_eq!(generated.descriptor, "descriptor");
        let unnamed = DataType { encoding: "proto".into(), ..DataType::default() };
        assert_eq!(Protobuf::<Pose, FromSettings>::data_type(), unnamed);
    }
}
