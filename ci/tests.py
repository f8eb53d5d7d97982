#!/usr/bin/env python3
"""Runs test programs side by side: tests.py [COMMAND...], with the messages of `cargo test --no-run --message-format=json` as
standard input. COMMAND and its arguments come before each program.

Most of their time they wait for each other's processes, so that there are three for each processor. Prints what each printed
when it has ended. Returns 1 if one failed.
"""

import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys
import time

# They take longest, so that they start first, each in as many parts (integration-tests/src/suite.rs).
LONG = {
    "doctor": 6,
    "windows": 3,
    "restart": 3,
    "live": 3,
    "changing_networks": 2,
    "monitoring": 2,
    "memory": 1,
    "shared_memory": 1,
    "recording": 1,
}


def programs():
    for line in sys.stdin:
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            yield message["target"]["name"], pathlib.Path(message["manifest_path"]).parent, message["executable"]


def parts(found):
    """The programs, the longest first, each with the part of its tests that is to run, if that is not all."""
    order = list(LONG)
    for program in sorted(found, key=lambda program: order.index(program[0]) if program[0] in LONG else len(LONG)):
        count = LONG.get(program[0], 1)
        for part in range(1, count + 1):
            yield *program, f"{part}/{count}" if count > 1 else None


def run(command, name, folder, program, part):
    start = time.monotonic()
    result = subprocess.run(
        [*command, program],
        cwd=folder,
        # As cargo has it.
        env={**os.environ, "CARGO_MANIFEST_DIR": str(folder), **({"FERROCAL_TESTS_PART": part} if part else {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    seconds = time.monotonic() - start
    title = " ".join(filter(None, [name, part]))
    told = f"=== {title} of {folder.name}: "
    told += "ok" if result.returncode == 0 else f"failed with {result.returncode}"
    output = result.stdout.decode(errors="replace")
    print(output, f"{told}, {seconds:.0f} s", sep="", flush=True)
    return title, result.returncode == 0


def main(command):
    found = list(parts(programs()))
    if not found:
        sys.exit("there is no test program among cargo's messages")
    with concurrent.futures.ThreadPoolExecutor(3 * os.cpu_count()) as pool:
        results = list(pool.map(lambda program: run(command, *program), found))
    failed = [title for title, is_ok in results if not is_ok]
    if failed:
        sys.exit(f"{len(failed)} of {len(results)} test programs failed: {', '.join(failed)}")
    print(f"{len(results)} test programs passed")


main(sys.argv[1:])
