"""Tells what an MCAP file holds, as Python's mcap and mcap-protobuf-support read it: `mcap_read.py FILE`.

The first line is the summary, or tells that the file has none. Then comes a line for each message, with its bytes, and with
the decoded message if it is protobuf, in the order of their receive times, or in that of a file without a summary.
"""

import hashlib
import json
import sys

from google.protobuf import json_format
from google.protobuf.message import DecodeError
from mcap.exceptions import McapError
from mcap.reader import NonSeekingReader, SeekingReader
from mcap.stream_reader import StreamReader
from mcap_protobuf.decoder import DecoderFactory


def of_cut_file(stream):
    """The messages of a file that was not completed, up to where it ends."""
    schemas, channels = {}, {}
    try:
        for record in StreamReader(stream, validate_crcs=True).records:
            kind = type(record).__name__
            if kind == "Schema":
                schemas[record.id] = record
            elif kind == "Channel":
                channels[record.id] = record
            elif kind == "Message":
                channel = channels[record.channel_id]
                yield schemas.get(channel.schema_id), channel, record
    except McapError as error:
        print(json.dumps({"event": "end", "error": type(error).__name__}), flush=True)


def main():
    """Reads the file."""
    with open(sys.argv[1], "rb") as stream:
        summary = None
        try:
            reader = SeekingReader(stream, validate_crcs=True)
            summary = reader.get_summary()
            header = reader.get_header()
        except McapError:
            stream.seek(0)
            header = NonSeekingReader(stream).get_header()
            stream.seek(0)
        metadata = [] if summary is None else [[one.name, one.metadata] for one in reader.iter_metadata()]
        print(
            json.dumps(
                {
                    "event": "summary",
                    "complete": summary is not None,
                    "library": header.library,
                    "profile": header.profile,
                    "messages": summary.statistics.message_count if summary else None,
                    "metadata": metadata,
                }
            )
        )
        messages = reader.iter_messages() if summary is not None else of_cut_file(stream)
        factory = DecoderFactory()
        for schema, channel, message in messages:
            try:
                decoder = factory.decoder_for(channel.message_encoding, schema)
                decoded = decoder(message.data) if decoder else None
            except DecodeError:
                decoded = None  # some tests register descriptors that are none
            print(
                json.dumps(
                    {
                        "event": "message",
                        "topic": channel.topic,
                        "encoding": channel.message_encoding,
                        "schema": schema.name if schema else None,
                        "schema_encoding": schema.encoding if schema else None,
                        "schema_sha256": hashlib.sha256(schema.data).hexdigest() if schema else None,
                        "metadata": channel.metadata,
                        "log_ns": message.log_time,
                        "publish_ns": message.publish_time,
                        "sequence": message.sequence,
                        "data": message.data.hex(),
                        "decoded": None if decoded is None else json_format.MessageToDict(decoded),
                    }
                )
            )
    print(json.dumps({"event": "done"}))


main()
