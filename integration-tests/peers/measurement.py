"""Writes a measurement with eCAL's own writers: `measurement.py FOLDER NAME LAYOUT`, and tells each entry of it.

LAYOUT is `python` for the writer of `ecal.measurement`, or a version of the format for the writer in C++, such as `6.0`, which
writes a file for each topic if ` one-file-per-topic` follows. Splits into several files. eCAL's own reader has to read the same.
"""

import collections
import hashlib
import json
import sys

import ecal.measurement.hdf5 as hdf5
import eh5
from ecal.measurement.measurement import Measurement
from ecal.measurement.writer import BinaryChannelWriter, Encoding, MeasurementWriter
from ecal.proto.helper import get_descriptor_from_type
from google.protobuf import timestamp_pb2

STAMPS, TEXT, LARGE = "stamps/a,b%c\u00e9", "text", "large"
TYPES = {
    STAMPS: ("google.protobuf.Timestamp", "proto", get_descriptor_from_type(timestamp_pb2.Timestamp)),
    TEXT: ("string", "utf-8", b""),
    LARGE: ("", "", b""),
}
MAX_MB = 1


def entries():
    """The topic, payload, send time and receive time of each message."""
    for n in range(200):
        now = 1_700_000_000_000_000 + n * 1000
        yield STAMPS, timestamp_pb2.Timestamp(seconds=n, nanos=n * 7).SerializeToString(), now, now + 500
        yield TEXT, f"text {n}".encode(), now + 1, now + 501
        if n % 10 == 0:
            yield LARGE, bytes([n]) * 200_000, now + 2, now + 502
    yield TEXT, b"", now + 3, now + 503


def write_by_python(folder, name):
    """Writes with the classes of `ecal.measurement`, which know neither clocks nor publishers."""
    writer = MeasurementWriter(folder, name, MAX_MB)
    stamps = writer.create_channel(STAMPS, Encoding.PROTOBUF, timestamp_pb2.Timestamp)
    channels = {STAMPS: stamps._binary_writer}
    for topic in (TEXT, LARGE):
        type_name, encoding, descriptor = TYPES[topic]
        channels[topic] = BinaryChannelWriter(topic, writer._meas, encoding, type_name, descriptor)
    for topic, payload, sent, received in entries():
        # Its receive time is the first, which it then hands on as the send time.
        channels[topic].write_entry(payload, sent, received)
        yield topic, 0, payload, sent, received, 0
    writer._meas.close()


def write_by_cpp(folder, name, version, one_file_per_topic):
    """Writes with the class in C++. Version 6.0 tells two publishers of a topic apart, and has long descriptors."""
    writer = eh5.Writer(folder, version, name, MAX_MB, one_file_per_topic)
    publishers = [0]
    if version == "6.0":
        publishers = [0xFEDC_BA98_7654_3210, 7]
        TYPES[LARGE] = ("Image", "flatb", bytes(range(256)) * 400)
    for topic, data_type in TYPES.items():
        for publisher in publishers:
            writer.set_type(topic, publisher, *data_type)
    clocks = collections.Counter()
    for number, (topic, payload, sent, received) in enumerate(entries()):
        publisher = publishers[number % len(publishers)]
        clocks[topic, publisher] += 1
        writer.add(topic, publisher, payload, sent, received, clocks[topic, publisher])
        yield topic, publisher, payload, sent, received, clocks[topic, publisher]
    assert writer.close(), "it says that it could not be completed"


def read(folder):
    """What eCAL's own reader says."""
    measurement = Measurement(folder, Measurement.ChannelAccessMode.BINARY)
    for channel in measurement:
        assert TYPES[channel.topic_name] == (channel.type_name, channel.type_encoding, channel.type_descriptor)
        infos = hdf5.Meas(folder).get_entries_info(channel.topic_name)
        for info, entry in zip(infos, channel, strict=True):
            yield (channel.topic_name, bytes(entry.msg), entry.snd_timestamp, entry.rcv_timestamp, info["snd_clock"])


def main():
    """Writes and reads."""
    folder, name, layout, *rest = sys.argv[1:]
    if layout == "python":
        written = list(write_by_python(folder, name))
    else:
        written = list(write_by_cpp(folder, name, layout, rest == ["one-file-per-topic"]))
    version = hdf5.Meas(folder).get_file_version()
    assert sorted(read(folder)) == sorted((topic, *entry) for topic, _, *entry in written)
    for topic, publisher, payload, sent, received, clock in written:
        type_name, encoding, descriptor = TYPES[topic]
        print(
            json.dumps(
                {
                    "event": "entry",
                    "version": version,
                    "topic": topic,
                    "publisher": str(publisher),
                    "type": type_name,
                    "encoding": encoding,
                    "descriptor_sha256": hashlib.sha256(descriptor).hexdigest() if descriptor else None,
                    "received_us": received,
                    "sent_us": sent,
                    "clock": clock,
                    "data": payload.hex(),
                }
            )
        )
    print(json.dumps({"event": "done"}))


main()
