#!/usr/bin/env python3
"""Runs test programs side by side: tests.py [COMMAND...], with the messages of `cargo test --no-run --message-format=json` as
standard input. COMMAND and its arguments come before each program.

Most of their time they wait for each other's processes, so that there is one more of them than processors. Prints what each
printed when it has ended. Returns 1 if one failed.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

# They take longest, and start first.
FIRST = ["doctor", "monitoring", "memory", "live", "recording", "restart", "changing_networks", "with_real"]


def programs():
    for line in sys.stdin:
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            yield message["target"]["name"], pathlib.Path(message["manifest_path"]).parent, message["executable"]


def run(command, name, folder, program):
    start = time.monotonic()
    result = subprocess.run(
        [*command, program],
        cwd=folder,
        # As cargo has it.
        env={**os.environ, "CARGO_MANIFEST_DIR": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    seconds = time.monotonic() - start
    told = f"=== {name} of {folder.name}: "
    told += "ok" if result.returncode == 0 else f"failed with {result.returncode}"
    output = result.stdout.decode(errors="replace")
    print(output, f"{told}, {seconds:.0f} s", sep="", flush=True)
    return result.returncode == 0


def main(command):
    found = sorted(programs(), key=lambda found: FIRST.index(found[0]) if found[0] in FIRST else len(FIRST))
    if not found:
        sys.exit("there is no test program among cargo's messages")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() + 1) as pool:
        results = list(pool.map(lambda found: (found[0], run(command, *found)), found))
    failed = [name for name, is_ok in results if not is_ok]
    if failed:
        sys.exit(f"{len(failed)} of {len(results)} test programs failed: {', '.join(failed)}")
    print(f"{len(results)} test programs passed")


main(sys.argv[1:])
