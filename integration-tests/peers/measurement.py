"""Writes a measurement with eCAL's own Python writer: `measurement.py FOLDER NAME`, and tells each entry of it.

Splits into several files. Tells each entry as eCAL's own reader has it afterwards.
"""

import json
import sys

import ecal.measurement.hdf5 as hdf5
from ecal.measurement.measurement import Measurement
from ecal.measurement.writer import BinaryChannelWriter, Encoding, MeasurementWriter
from google.protobuf import timestamp_pb2


def main():
    """Writes and reads."""
    folder, name = sys.argv[1:]
    writer = MeasurementWriter(folder, name, 1)  # MB for each file
    stamps = writer.create_channel("stamps/a,b%c\u00e9", Encoding.PROTOBUF, timestamp_pb2.Timestamp)
    text = BinaryChannelWriter("text", writer._meas, "utf-8", "string", b"")
    large = BinaryChannelWriter("large", writer._meas, "", "", b"")
    for n in range(200):
        now = 1_700_000_000_000_000 + n * 1000
        stamps.write_entry(timestamp_pb2.Timestamp(seconds=n, nanos=n * 7), now, now + 500)
        text.write_entry(f"text {n}".encode(), now + 1, now + 501)
        if n % 10 == 0:
            large.write_entry(bytes([n]) * 200_000, now + 2, now + 502)
    text.write_entry(b"", now + 3, now + 503)
    writer._meas.close()
    del writer, stamps, text, large

    measurement = Measurement(folder, Measurement.ChannelAccessMode.BINARY)
    for channel in measurement:
        infos = hdf5.Meas(folder).get_entries_info(channel.topic_name)
        for info, entry in zip(infos, channel):
            print(
                json.dumps(
                    {
                        "event": "entry",
                        "topic": channel.topic_name,
                        "type": channel.type_name,
                        "encoding": channel.type_encoding,
                        "descriptor_bytes": len(channel.type_descriptor),
                        "received_us": entry.rcv_timestamp,
                        "sent_us": entry.snd_timestamp,
                        "clock": info.get("snd_clock"),
                        "data": bytes(entry.msg).hex(),
                    }
                )
            )
    print(json.dumps({"event": "done"}))


main()
