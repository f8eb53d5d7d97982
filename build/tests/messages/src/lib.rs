//! Messages that ferrocal-build compiles, with everything that it must get right.

#![allow(missing_docs)]
#![forbid(unsafe_code)]

include!(concat!(env!("OUT_DIR"), "/messages.rs"));

#[cfg(test)]
mod tests {
    use ferrocal::prost::Message;
    use ferrocal::{DataType, Payload, Protobuf, ProtobufMessage, Reflected};
    use prost_reflect::{DescriptorPool, MessageDescriptor, ReflectMessage};

    use crate::{Alone, robots};

    fn data_type<M: ProtobufMessage + Message + Default + 'static>() -> DataType {
        Protobuf::<M>::data_type()
    }

    fn descriptor(data_type: &DataType) -> (DescriptorPool, MessageDescriptor) {
        let pool = DescriptorPool::decode(data_type.descriptor.clone()).unwrap();
        let message = pool.get_message_by_name(&data_type.name).unwrap();
        (pool, message)
    }

    #[test]
    fn messages_are_named_as_in_their_files() {
        use robots::{Pose, SnakeCase2d, Type, pose, r#type};
        for (data_type, name) in [
            (data_type::<Alone>(), "Alone"),
            (data_type::<Pose>(), "robots.Pose"),
            (data_type::<pose::Type>(), "robots.Pose.Type"),
            (data_type::<pose::r#type::InnerHttpPart>(), "robots.Pose.Type.inner_HTTPPart"),
            (data_type::<Type>(), "robots.type"),
            (data_type::<r#type::Self_>(), "robots.type.Self"),
            (data_type::<SnakeCase2d>(), "robots.snake_case_2d"),
            (data_type::<robots::base::Header>(), "robots.base.Header"),
        ] {
            assert_eq!((&*data_type.name, &*data_type.encoding), (name, "proto"));
            assert_eq!(descriptor(&data_type).1.full_name(), name);
        }
    }

    #[test]
    fn descriptors_hold_the_file_and_its_imports_only() {
        let (pool, _) = descriptor(&data_type::<robots::Pose>());
        let files: Vec<_> = pool.files().map(|file| file.name().to_owned()).collect();
        assert_eq!(files, ["google/protobuf/timestamp.proto", "robots/base.proto", "robots/pose.proto"]);
        assert!(pool.files().all(|file| file.file_descriptor_proto().source_code_info.is_none()));

        let (pool, _) = descriptor(&data_type::<robots::Unrelated>());
        assert_eq!(pool.files().len(), 1);
    }

    #[test]
    fn descriptors_describe_the_payload() {
        let time = prost_types::Timestamp { seconds: 7, nanos: 0 };
        let parts = [("arm".to_owned(), robots::pose::Type { x: 1.5 })].into();
        let pose = robots::Pose { header: Some(robots::base::Header { time: Some(time) }), parts };
        let mut scratch = Vec::new();
        let payload = Protobuf::<robots::Pose>::encode(&pose, &mut scratch).unwrap();

        let (_, message) = descriptor(&data_type::<robots::Pose>());
        let read = prost_reflect::DynamicMessage::decode(message, payload).unwrap();
        assert_eq!(read.transcode_to::<robots::Pose>().unwrap(), pose);
    }

    /// A message of a crate that knows prost-reflect but not ferrocal.
    #[derive(Clone, PartialEq, ferrocal::prost::Message)]
    #[prost(prost_path = "ferrocal::prost")]
    struct Foreign {}

    impl ReflectMessage for Foreign {
        fn descriptor(&self) -> MessageDescriptor {
            let files = ["robots/unrelated.proto", "robots/pose.proto"];
            let pool =
                DescriptorPool::from_file_descriptor_set(protox::compile(files, ["proto"]).unwrap()).unwrap();
            pool.get_message_by_name("robots.base.Header").unwrap()
        }
    }

    #[test]
    fn prost_reflect_gives_the_same() {
        let reflected = Protobuf::<Foreign, Reflected>::data_type();
        assert_eq!(reflected.name, "robots.base.Header");
        let (pool, _) = descriptor(&reflected);
        let files: Vec<_> = pool.files().map(|file| file.name().to_owned()).collect();
        assert_eq!(files, ["google/protobuf/timestamp.proto", "robots/base.proto"]);
    }
}
