//! Subscribers that read each message by what its publisher registered.

use bytes::Bytes;
use ferrocal::prost_reflect::DynamicMessage;
use ferrocal::prost_reflect::prost_types::field_descriptor_proto::Type;
use ferrocal::prost_reflect::prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
};
use ferrocal::transport::memory::Network;
use ferrocal::{DataType, Dynamic, DynamicType, JsonOptions, PublisherConfig, Subscriber, protobuf_to_json};
use ferrocal_proto::{Announcement, EntityId};
use prost::Message;

use super::forge::{self, Forger};
use super::node;
use super::wait::{HANG, until};

/// A message `Pose` with one field.
fn pose(field: &str, kind: Type) -> DataType {
    let field = FieldDescriptorProto {
        name: Some(field.into()),
        number: Some(1),
        r#type: Some(kind.into()),
        ..FieldDescriptorProto::default()
    };
    let message =
        DescriptorProto { name: Some("Pose".into()), field: vec![field], ..DescriptorProto::default() };
    let file = FileDescriptorProto {
        name: Some("pose.proto".into()),
        message_type: vec![message],
        ..FileDescriptorProto::default()
    };
    let descriptor = FileDescriptorSet { file: vec![file] }.encode_to_vec().into();
    DataType { name: "Pose".into(), encoding: "proto".into(), descriptor }
}

fn message(data_type: &DataType, json: &str) -> DynamicMessage {
    let pose = DynamicType::new(data_type).unwrap();
    pose.decode(pose.from_json(json).unwrap()).unwrap()
}

/// The next message, as text.
#[track_caller]
fn next(subscriber: &Subscriber<Dynamic>) -> String {
    match subscriber.recv_timeout(HANG).unwrap().payload {
        Dynamic::Protobuf(message) => protobuf_to_json(&message, &JsonOptions::default()).unwrap(),
        Dynamic::Text(text) | Dynamic::Json(text) => text,
        Dynamic::Bytes(bytes) => format!("{bytes:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn publishers_of_a_topic_may_differ() {
    let network = Network::new(1);
    let (publishing, display) = (node(&network), node(&network));
    let subscriber = display.subscriber::<Dynamic>("topic").unwrap();
    let typed = |data_type: DataType| {
        let config = PublisherConfig::default().data_type(data_type);
        publishing.publisher_with::<Dynamic>("topic", config).unwrap()
    };
    let numbers = pose("x", Type::Int32);
    let (first, second) = (typed(numbers.clone()), typed(pose("name", Type::String)));
    let text = publishing.publisher::<str>("topic").unwrap();
    let bytes = publishing.publisher::<[u8]>("topic").unwrap();
    let broken = typed(DataType { descriptor: Bytes::from_static(b"\x0a"), ..numbers.clone() });
    assert!(subscriber.wait_for_publishers(5, HANG));
    for publisher in [&first, &second, &broken] {
        assert!(publisher.wait_for_subscriber(HANG));
    }

    broken.send(&Dynamic::Bytes(Bytes::from_static(b"lost"))).unwrap();
    first.send(&Dynamic::Protobuf(message(&numbers, r#"{"x":1}"#))).unwrap();
    assert_eq!(next(&subscriber), r#"{"x":1}"#);
    second.send(&Dynamic::Bytes(Bytes::from_static(b"\x0a\x01a"))).unwrap();
    assert_eq!(next(&subscriber), r#"{"name":"a"}"#);
    text.send("hello").unwrap();
    assert_eq!(next(&subscriber), "hello");
    bytes.send(b"\xff").unwrap();
    assert_eq!(next(&subscriber), r#"b"\xff""#);
    assert_eq!(subscriber.stats().undecodable, 1);
}

#[test]
fn the_type_follows_what_the_publisher_registers() {
    let network = Network::new(1);
    let (display, forger) = (node(&network), Forger::new(&network));
    let subscriber = display.subscriber::<Dynamic>("topic").unwrap();
    let id = EntityId::new(7, 1, 1);
    let register = |id: EntityId, data_type| {
        let mut info = forge::topic("topic", id.get());
        info.process_id = 7;
        info.data_type = data_type;
        forger.register(Announcement::Publisher(info.clone()));
        forger.register(Announcement::Publisher(info));
    };
    let send = |clock, payload: &[u8]| forger.payload("topic", "forged", id.get(), clock, payload);

    send(1, b"\x08\x05");
    assert_eq!(next(&subscriber), r#"b"\x08\x05""#, "it did not register yet");
    register(id, pose("x", Type::Int32));
    assert!(subscriber.wait_for_publishers(1, HANG));
    send(2, b"\x08\x05");
    assert_eq!(next(&subscriber), r#"{"x":5}"#);
    register(id, pose("y", Type::Sint32));
    register(EntityId::new(7, 1, 2), DataType::default());
    assert!(subscriber.wait_for_publishers(2, HANG), "what was registered before is known, too");
    send(3, b"\x08\x05");
    assert_eq!(next(&subscriber), r#"{"y":-3}"#);
}

#[test]
fn messages_of_a_publisher_that_left_are_still_read_by_its_type() {
    let network = Network::new(1);
    let (publishing, display) = (node(&network), node(&network));
    let subscriber = display.subscriber::<Dynamic>("topic").unwrap();
    let config = PublisherConfig::default().data_type(pose("x", Type::Int32));
    let publisher = publishing.publisher_with::<[u8]>("topic", config).unwrap();
    assert!(publisher.wait_for_subscriber(HANG) && subscriber.wait_for_publisher(HANG));
    publisher.send(b"\x08\x05").unwrap();
    drop(publisher);
    until("the publisher is gone", || subscriber.publisher_count() == 0);
    assert_eq!(next(&subscriber), r#"{"x":5}"#);
}
