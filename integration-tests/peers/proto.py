"""Protobuf messages with the real eCAL: publishes on one topic and subscribes another: `proto.py --mode local OUT IN`.

A line `send JSON` publishes that message. What arrives is decoded by the descriptor that its publisher registered, and
told as JSON.
"""

import argparse
import json
import sys

import common
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory, text_format
from google.protobuf import any_pb2, struct_pb2, timestamp_pb2  # noqa: F401, what robot.proto imports

# robot.proto, as a compiler describes it.
_ROBOT = """
name: "robot.proto"
package: "robots"
dependency: "google/protobuf/any.proto"
dependency: "google/protobuf/struct.proto"
dependency: "google/protobuf/timestamp.proto"
syntax: "proto3"
message_type {
  name: "Robot"
  field { name: "robot_name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "state" number: 2 label: LABEL_OPTIONAL type: TYPE_ENUM type_name: ".robots.Robot.State" }
  field { name: "wheels" number: 3 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".robots.Wheel" }
  field { name: "named" number: 4 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".robots.Robot.NamedEntry" }
  field { name: "place" number: 5 label: LABEL_OPTIONAL type: TYPE_STRING oneof_index: 0 }
  field { name: "wheel" number: 6 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".robots.Wheel" oneof_index: 0 }
  field { name: "serial" number: 7 label: LABEL_OPTIONAL type: TYPE_UINT64 oneof_index: 1 proto3_optional: true }
  field { name: "image" number: 8 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "offsets" number: 9 label: LABEL_REPEATED type: TYPE_SINT32 }
  field { name: "time" number: 10 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" }
  field { name: "extra" number: 11 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".google.protobuf.Struct" }
  field { name: "any" number: 12 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".google.protobuf.Any" }
  nested_type {
    name: "NamedEntry"
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".robots.Wheel" }
    options { map_entry: true }
  }
  enum_type { name: "State" value { name: "IDLE" number: 0 } value { name: "MOVING" number: 1 } }
  oneof_decl { name: "goal" }
  oneof_decl { name: "_serial" }
}
message_type {
  name: "Wheel"
  field { name: "radius_m" number: 1 label: LABEL_OPTIONAL type: TYPE_DOUBLE }
}
"""


def main():
    """Runs both sides."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out_topic")
    parser.add_argument("in_topic")
    common.add_system(parser, "ecal_proto")
    args = parser.parse_args()

    ecal = common.initialize(args)
    from ecal.msg.proto.core import DynamicSubscriber, Publisher  # only after eCAL has its configuration

    pool = descriptor_pool.Default()
    pool.Add(text_format.Parse(_ROBOT, descriptor_pb2.FileDescriptorProto()))
    robot = message_factory.GetMessageClass(pool.FindMessageTypeByName("robots.Robot"))
    matches = common.Matches(ecal.PublisherEvent.CONNECTED, ecal.PublisherEvent.DISCONNECTED)
    publisher = Publisher(robot, args.out_topic, ecal.get_publisher_configuration(), matches)
    in_matches = common.Matches(ecal.SubscriberEvent.CONNECTED, ecal.SubscriberEvent.DISCONNECTED)
    subscriber = DynamicSubscriber(args.in_topic, ecal.get_subscriber_configuration(), in_matches)
    subscriber.set_receive_callback(
        lambda _topic, data: common.emit(
            "message",
            type=data.message.DESCRIPTOR.full_name,
            # Decoded by a type of another pool, which does not know what `any` holds.
            json=json_format.MessageToDict(robot.FromString(data.message.SerializeToString())),
        )
    )
    common.emit("ready")

    for line in sys.stdin:
        command, _, text = line.partition(" ")
        if command != "send":
            sys.exit(f"unknown command {command}")
        message = json_format.ParseDict(json.loads(text), robot())
        common.emit("sent", unsent=not publisher.send(message))
    common.emit("done")
    common.leave()


main()
