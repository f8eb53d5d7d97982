"""Writes an MCAP file as another program would: `mcap_write.py FILE COMPRESSION`, with `none`, `lz4` or `zstd`."""

import json
import sys

from mcap.writer import CompressionType, Writer


def main():
    """Writes the file."""
    path, compression = sys.argv[1:]
    with open(path, "wb") as stream:
        writer = Writer(stream, compression=CompressionType[compression.upper()])
        writer.start("x-other", "another program")
        schema = writer.register_schema("State", "jsonschema", b"{}")
        channel = writer.register_channel("state", "json", schema)
        for n in range(100):
            writer.add_message(channel, n * 1_000_000, json.dumps({"n": n}).encode(), n * 1_000_000, n)
        writer.finish()
    print(json.dumps({"event": "done"}), flush=True)


main()
