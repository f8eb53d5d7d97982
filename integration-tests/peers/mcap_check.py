"""Checks what Foxglove and other indexed readers of MCAP rely on: `mcap_check.py FILE`, and tells what of that a file breaks.

The requirements are those of the format's specification (https://mcap.dev/spec) and registry, and of Foxglove's documentation of
custom schemas. Without an index in the summary, Foxglove reads a whole file into memory; a topic that it cannot decode, it shows
as an error.
"""

import collections
import io
import json
import struct
import sys
import zlib

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from mcap import records
from mcap.data_stream import ReadDataStream
from mcap.opcode import Opcode
from mcap.stream_reader import get_chunk_data_stream

MAGIC = b"\x89MCAP0\r\n"
KINDS = {
    Opcode.HEADER: records.Header,
    Opcode.FOOTER: records.Footer,
    Opcode.SCHEMA: records.Schema,
    Opcode.CHANNEL: records.Channel,
    Opcode.CHUNK: records.Chunk,
    Opcode.MESSAGE_INDEX: records.MessageIndex,
    Opcode.CHUNK_INDEX: records.ChunkIndex,
    Opcode.STATISTICS: records.Statistics,
    Opcode.METADATA: records.Metadata,
    Opcode.METADATA_INDEX: records.MetadataIndex,
    Opcode.SUMMARY_OFFSET: records.SummaryOffset,
    Opcode.DATA_END: records.DataEnd,
}


def read_records(data, start):
    """The offset, the length with its head, the operation code and the record of each record."""
    while start < len(data):
        code, length = struct.unpack_from("<BQ", data, start)
        body = data[start + 9 : start + 9 + length]
        assert len(body) == length, f"the record at {start} is cut"
        stream = ReadDataStream(io.BytesIO(body))
        record = records.Message.read(stream, length) if code == Opcode.MESSAGE else KINDS[code].read(stream)
        yield start, length + 9, code, record
        start += length + 9


class Check:
    """A file, and what it breaks."""

    def __init__(self, data):
        self.broken = []
        self.expect(data[:8] == MAGIC and data[-8:] == MAGIC, "it begins and ends with the magic bytes")
        self.data = data
        self.all = list(read_records(data[:-8], 8))
        codes = [code for _, _, code, _ in self.all]
        self.end = codes.index(Opcode.DATA_END) if Opcode.DATA_END in codes else len(codes)
        self.schemas, self.channels, self.messages = {}, {}, collections.defaultdict(list)
        self.metadata = []
        self.chunks = {}

    def expect(self, holds, requirement):
        """Notes a requirement that does not hold, once."""
        if not holds and requirement not in self.broken:
            self.broken.append(requirement)

    def of(self, kind, records_of=None):
        """The records of a kind, with their offsets and lengths."""
        chosen = self.all if records_of is None else records_of
        return [(start, length, record) for start, length, _, record in chosen if isinstance(record, kind)]

    def run(self):
        """Checks all."""
        self.frame()
        self.read_data()
        self.summary()
        self.statistics()
        self.chunk_indexes()
        for channel in self.channels.values():
            self.channel(channel)

    def frame(self):
        """The order of the parts."""
        first = self.all[0][3]
        self.expect(isinstance(first, records.Header), "the header is the first record")
        self.expect(bool(first.library), "the header names the library")
        self.expect(first.profile in ("", "ros1", "ros2"), "the profile is empty or one of the registry")
        self.expect(isinstance(self.all[-1][3], records.Footer), "the footer is the last record")
        self.expect(len(self.of(records.DataEnd)) == 1, "one record ends the data")

    def read_data(self):
        """Schemas, channels and messages: each known before it is used, and messages in chunks, or an index misses them."""
        for start, length, code, record in self.all[: self.end]:
            self.expect(code != Opcode.MESSAGE, "messages are in chunks")
            if isinstance(record, records.Chunk):
                stream, size = get_chunk_data_stream(record, validate_crc=True)
                self.expect(record.uncompressed_crc != 0, "chunks have checksums")
                inside = stream.read(size) if size else b""
                self.expect(len(inside) == record.uncompressed_size, "chunks have the length that they say")
                self.chunks[start] = (length, record, list(read_records(inside, 0)))
                for _, _, _, one in self.chunks[start][2]:
                    self.take(one)
            elif isinstance(record, records.Metadata):
                self.metadata.append((start, length, record.name))
            else:
                self.take(record)

    def take(self, record):
        if isinstance(record, records.Schema):
            self.expect(record.id != 0, "no schema has the number 0")
            self.expect(self.schemas.setdefault(record.id, record) == record, "a schema is always the same")
        elif isinstance(record, records.Channel):
            self.expect(self.channels.setdefault(record.id, record) == record, "a channel is always the same")
            self.expect(record.schema_id in (0, *self.schemas), "a channel's schema comes before it")
        elif isinstance(record, records.Message):
            self.expect(record.channel_id in self.channels, "a message's channel comes before it")
            self.messages[record.channel_id].append(record)

    def summary(self):
        """What readers take in place of the data."""
        footer = self.all[-1][3]
        behind = self.all[self.end + 1 :]
        start = behind[0][0] if len(behind) > 1 else None
        self.expect(footer.summary_start == start, "the footer says where the summary is")
        checksum = zlib.crc32(self.data[footer.summary_start : -12])
        self.expect(footer.summary_crc == checksum, "the summary's checksum is right")
        summary = [one for one in behind if not isinstance(one[3], (records.SummaryOffset, records.Footer))]
        schemas = {record.id: record for _, _, record in self.of(records.Schema, summary)}
        channels = {record.id: record for _, _, record in self.of(records.Channel, summary)}
        self.expect(schemas == self.schemas, "the summary repeats all schemas")
        self.expect(channels == self.channels, "the summary repeats all channels")
        indexes = [record for _, _, record in self.of(records.MetadataIndex, summary)]
        indexed = sorted((record.offset, record.length, record.name) for record in indexes)
        self.expect(indexed == sorted(self.metadata), "the summary says where metadata is")
        groups = collections.defaultdict(list)
        for start, length, code, _ in summary:
            groups[int(code)].append((start, length))
        offsets = {}
        found = self.of(records.SummaryOffset, behind)
        start = found[0][0] if found else 0
        self.expect(footer.summary_offset_start == start, "the footer says where the summary's offsets are")
        for _, _, record in found:
            offsets[record.group_opcode] = (record.group_start, record.group_length)
        expected = {code: (group[0][0], sum(length for _, length in group)) for code, group in groups.items()}
        self.expect(offsets == expected, "each group of the summary has its offset")

    def statistics(self):
        """The counts that Foxglove shows."""
        found = self.of(records.Statistics)
        self.expect(len(found) == 1, "there is one record of statistics")
        if not found:
            return
        statistics = found[0][2]
        counts = {channel: len(messages) for channel, messages in self.messages.items()}
        told = {channel: count for channel, count in statistics.channel_message_counts.items() if count}
        self.expect(told == counts, "the statistics count each channel's messages")
        self.expect(statistics.message_count == sum(counts.values()), "the statistics count all messages")
        self.expect(
            (statistics.schema_count, statistics.channel_count, statistics.chunk_count, statistics.metadata_count)
            == (len(self.schemas), len(self.channels), len(self.chunks), len(self.metadata)),
            "the statistics count schemas, channels, chunks and metadata",
        )
        times = [message.log_time for messages in self.messages.values() for message in messages] or [0]
        told = (statistics.message_start_time, statistics.message_end_time)
        self.expect(told == (min(times), max(times)), "the statistics have the first and the last time")

    def chunk_indexes(self):
        """Where the messages of a channel and of a time are."""
        indexes = {record.chunk_start_offset: record for _, _, record in self.of(records.ChunkIndex)}
        self.expect(bool(indexes) and indexes.keys() == self.chunks.keys(), "each chunk has an index")
        for start, (length, chunk, inside) in self.chunks.items():
            index = indexes.get(start)
            if index is None:
                continue
            self.expect(
                (index.chunk_length, index.compression, index.compressed_size, index.uncompressed_size)
                == (length, chunk.compression, len(chunk.data), chunk.uncompressed_size),
                "a chunk's index says how long it is",
            )
            expected = collections.defaultdict(list)
            times = []
            for at, _, _, record in inside:
                if isinstance(record, records.Message):
                    expected[record.channel_id].append((record.log_time, at))
                    times.append(record.log_time)
            span = (min(times, default=0), max(times, default=0))
            for one in (chunk, index):
                told = (one.message_start_time, one.message_end_time)
                self.expect(told == span, "a chunk and its index have the first and the last time")
            found = {}
            for channel, at in index.message_index_offsets.items():
                _, _, _, record = next(read_records(self.data[at:-8], 0))
                is_right = isinstance(record, records.MessageIndex) and record.channel_id == channel
                self.expect(is_right, "a chunk's index says where the index of its messages is")
                found[channel] = [tuple(entry) for entry in record.records]
            self.expect(found == dict(expected), "the index of messages finds each of them")

    def channel(self, channel):
        """Encodings of the registry, by which Foxglove decodes."""
        schema = self.schemas.get(channel.schema_id)
        messages = self.messages[channel.id]
        if schema:
            self.expect(bool(schema.encoding) or not schema.data, "a schema with data has an encoding")
        if channel.message_encoding == "protobuf" and schema:
            self.expect(schema.encoding == "protobuf", "protobuf messages have a schema of protobuf")
            self.protobuf(schema, messages)
        elif channel.message_encoding == "json":
            self.expect(not schema or schema.encoding == "jsonschema", "JSON has a JSON schema or none")
            self.expect(all(isinstance(json.loads(one.data), dict) for one in messages), "JSON messages are objects")

    def protobuf(self, schema, messages):
        """A set of files with all that they import."""
        try:
            files = descriptor_pb2.FileDescriptorSet.FromString(schema.data).file
            by_name = {file.name: file for file in files}
            self.expect(len(by_name) == len(files), "a set has each file once")
            pool = descriptor_pool.DescriptorPool()

            def add(name, depth=0):
                assert depth < 100
                for imported in by_name[name].dependency:
                    add(imported, depth + 1)
                pool.Add(by_name[name])

            for name in by_name:
                add(name)
            kind = message_factory.GetMessageClass(pool.FindMessageTypeByName(schema.name))
            for message in messages:
                assert kind.FromString(message.data).SerializeToString(deterministic=True) is not None
        except Exception as error:  # noqa: BLE001, any of them is the finding
            self.expect(False, f"protobuf schemas are complete, and decode their messages ({schema.name}: {error!r})")


def main():
    """Checks the file."""
    with open(sys.argv[1], "rb") as stream:
        check = Check(stream.read())
    check.run()
    count = sum(len(messages) for messages in check.messages.values())
    encodings = sorted({channel.message_encoding for channel in check.channels.values()})
    print(json.dumps({"event": "checked", "broken": check.broken, "messages": count, "encodings": encodings}))


main()
