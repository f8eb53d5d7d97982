"""Publishes text and protobuf messages with the real eCAL: `session.py --mode local TEXT PROTOBUF`.

A line `send N` publishes N more messages on both topics, and tells each of them with its bytes.
"""

import argparse
import sys

import common
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf import timestamp_pb2  # noqa: F401, what the file imports

_FILE = """
name: "reading.proto"
package: "robots"
dependency: "google/protobuf/timestamp.proto"
syntax: "proto3"
message_type {
  name: "Reading"
  field { name: "number" number: 1 label: LABEL_OPTIONAL type: TYPE_INT64 }
  field { name: "values" number: 2 label: LABEL_REPEATED type: TYPE_DOUBLE }
  field { name: "time" number: 3 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".google.protobuf.Timestamp" }
}
"""


def main():
    """Runs the publishers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("text_topic")
    parser.add_argument("protobuf_topic")
    common.add_system(parser, "ecal_session")
    args = parser.parse_args()

    ecal = common.initialize(args)
    import ecal.msg.proto.core as proto  # only after eCAL has its configuration
    import ecal.msg.string.core as string
    import ecal.nanobind_core as core

    pool = descriptor_pool.Default()
    pool.Add(text_format.Parse(_FILE, descriptor_pb2.FileDescriptorProto()))
    reading = message_factory.GetMessageClass(pool.FindMessageTypeByName("robots.Reading"))
    matches = common.Matches(core.PublisherEvent.CONNECTED, core.PublisherEvent.DISCONNECTED)
    text = string.Publisher(args.text_topic, core.get_publisher_configuration(), matches)
    protobuf = proto.Publisher(reading, args.protobuf_topic, core.get_publisher_configuration(), matches)
    common.emit("ready")

    number = 0
    for line in sys.stdin:
        command, _, count = line.partition(" ")
        if command != "send":
            sys.exit(f"unknown command {command}")
        for _ in range(int(count)):
            number += 1
            words = f"message {number} \u00e4\u4e16"
            message = reading(number=number, values=[number / 4] * (number % 5))
            message.time.FromNanoseconds(number * 1_000_000_007)
            unsent = (not text.send(words)) + (not protobuf.send(message))
            common.emit(
                "message",
                number=number,
                unsent=unsent,
                text=words.encode().hex(),
                protobuf=message.SerializeToString().hex(),
            )
        common.emit("sent", total=number)
    common.emit("done")
    common.leave()


main()
