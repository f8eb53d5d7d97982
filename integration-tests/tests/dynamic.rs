//! Protobuf messages of the real eCAL, by the descriptor that it registers, and ours in its hands.

use std::process::ExitCode;
use std::sync::Arc;

use bytes::Bytes;
use ferrocal::{
    DataType, Dynamic, DynamicType, JsonOptions, Payload, PublisherConfig, RegisteredType, protobuf_to_json,
};
use ferrocal_integration_tests::ecal;
use ferrocal_integration_tests::ours;
use ferrocal_integration_tests::process::HANG;
use ferrocal_integration_tests::suite::{self, Need, Test};
use ferrocal_integration_tests::world::{Mode, World};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let test = |mode: Mode| {
        let name = format!("messages_of_a_registered_type_become_json_and_back::{}", mode.name());
        Test::new(name, &[Need::Ecal], move || json_and_back(mode))
    };
    suite::main(Mode::ALL.map(test).into())
}

/// What a publisher registered.
struct Registered;

impl Payload for Registered {
    type Value = [u8];
    type Received = Option<Arc<DataType>>;
    type EncodeError = std::convert::Infallible;
    type DecodeError = std::convert::Infallible;

    fn data_type() -> DataType {
        DataType::default()
    }

    fn encode<'a>(bytes: &'a [u8], _: &'a mut Vec<u8>) -> Result<&'a [u8], Self::EncodeError> {
        Ok(bytes)
    }

    fn decode(_: Bytes) -> Result<Self::Received, Self::DecodeError> {
        Ok(None)
    }

    fn decode_as(_: Bytes, registered: Option<&RegisteredType>) -> Result<Self::Received, Self::DecodeError> {
        Ok(registered.map(|registered| Arc::new(registered.data_type().clone())))
    }
}

fn robot() -> Value {
    json!({
        "robotName": "Ada",
        "state": "MOVING",
        "wheels": [{"radiusM": 0.25}, {}],
        "named": {"left": {"radiusM": 1.5}},
        "place": "dock",
        "serial": "18446744073709551615",
        "image": "AAH/",
        "offsets": [-1, 0, 2_147_483_647],
        "time": "2026-11-26T10:50:30.250Z",
        "extra": {"a": [1.5, null, "b"]},
        "any": {"@type": "type.googleapis.com/robots.Wheel", "radiusM": 2.5},
    })
}

fn json_and_back(mode: Mode) {
    let world = World::new(mode);
    let node = ours::node(&world, world.here(), "ours");
    let subscriber = node.subscriber::<Dynamic>("from_real").expect("a good topic");
    let types = node.subscriber::<Registered>("from_real").expect("a good topic");
    let mut real = ecal::start_protobuf(world.there(), mode, "from_real", "to_real");
    ecal::expect_matched(&mut real, "from_real", 2);
    assert!(subscriber.wait_for_publisher(HANG));

    real.send_line(&format!("send {}", robot()));
    real.event("sent");
    let message = subscriber.recv_timeout(HANG).expect("a message");
    let Dynamic::Protobuf(tree) = message.payload else { panic!("{:?}", message.payload) };
    let text = protobuf_to_json(&tree, &JsonOptions::default()).expect("valid JSON");
    assert_eq!(serde_json::from_str::<Value>(&text).expect("valid JSON"), robot());

    let registered = types.recv_timeout(HANG).expect("a message").payload.expect("it registered");
    let dynamic = DynamicType::new(&registered).expect("a good type");
    assert_eq!(dynamic.name(), "robots.Robot");
    let config = PublisherConfig::default().data_type(DataType::clone(&registered));
    let publisher = node.publisher_with::<[u8]>("to_real", config).expect("a good topic");
    ecal::expect_matched(&mut real, "to_real", 1);
    assert!(publisher.wait_for_subscriber(HANG));
    publisher.send(&dynamic.from_json(&robot().to_string()).expect("a good message")).expect("sent");
    let received = real.event("message");
    assert_eq!((&received["type"], &received["json"]), (&json!("robots.Robot"), &robot()));
    real.finish();
}
