#!/usr/bin/env python3
"""Compares `ferrocal record` and `echo` with a recorder made of eCAL's own Python writer: record.py FERROCAL ECAL_PYTHON FOLDER.

FERROCAL is the executable, ECAL_PYTHON a Python with the package eclipse-ecal (.venv/bin/python), and FOLDER, which must not exist, is where recordings
go for a while. Each run publishes messages of 1 MB at 500 MB/s for ten seconds, and counts what the recording holds, and the
processor time that the recorder took; of `echo`, whose output nobody reads, what it did not say that it lost. Run it where
nothing can leave:

    unshare --net --uts --ipc sh -c 'ip link set lo up; ip link set lo multicast on; exec "$@"' sh bench/record.py ...

On a busy computer, or one with a slow disk, all lose. Both are printed.
"""

import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

LEN, RATE, SECONDS = 1_000_000, 500, 10
COUNT = RATE * SECONDS
SETTINGS = """communication_mode: local
publisher:
  layer:
    shm: {enable: SHM}
    udp: {enable: true}
    tcp: {enable: false}
subscriber:
  layer:
    shm: {enable: SHM}
    udp: {enable: true}
    tcp: {enable: false}
"""

RECORDER = """
import sys, time
import ecal.measurement.hdf5 as hdf5
import ecal.nanobind_core as ecal

folder, end = sys.argv[1], []
ecal.initialize("recorder", ecal.init.ALL)
measurement = hdf5.Meas(folder, 1)
measurement.set_max_size_per_file(100_000)
measurement.set_file_base_name("base")
measurement.set_channel_type("big", ":")
measurement.set_channel_description("big", b"")
subscriber = ecal.Subscriber("big")
count = 0

def receive(publisher, datatype, data):
    global count
    now = time.time_ns() // 1000
    measurement.add_entry_to_file(bytes(data.buffer), data.send_timestamp, now, "big", data.send_clock)
    count += 1

subscriber.set_receive_callback(receive)
print("ready", flush=True)
sys.stdin.readline()
subscriber.remove_receive_callback()
measurement.close()
print(count, flush=True)
"""

PUBLISHER = """
import os, sys, time
import ecal.nanobind_core as ecal

length, rate, count = map(int, sys.argv[1:])
ecal.initialize("publisher", ecal.init.ALL)
publisher = ecal.Publisher("big")
payload = os.urandom(length)
while publisher.get_subscriber_count() == 0:
    time.sleep(0.01)
time.sleep(2)
start = time.monotonic()
for number in range(count):
    time.sleep(max(start + number / rate - time.monotonic(), 0))
    publisher.send(payload)
time.sleep(1)
del publisher
ecal.finalize()
"""


def main():
    """Prints a line for each run."""
    ferrocal, python, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve()
    folder.mkdir(parents=True)
    (folder / "payload").write_bytes(os.urandom(LEN))
    for name, has_shm in (("udp", "false"), ("shm", "true")):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "ecal.yaml").write_text(SETTINGS.replace("SHM", has_shm))
    ours = [ferrocal, "pub", "big", "--file", str(folder / "payload"), "--rate", str(RATE)]
    ours += ["--count", str(COUNT), "--wait", "1", "--timeout", "30"]
    theirs = [python, "-W", "ignore", "-c", PUBLISHER, str(LEN), str(RATE), str(COUNT)]
    rate, load = disk_rate(folder), os.getloadavg()[0]
    print(f"{COUNT} messages of {LEN} bytes, {LEN * RATE / 1e6:.0f} MB/s; load {load:.1f} before, disk {rate:.0f} MB/s")
    print(f"{'recorder':32}{'from':24}{'recorded':>10}{'processor s':>13}{'MB written':>12}")
    run("ferrocal record", "ferrocal pub, UDP", ours, lambda: record(ferrocal, folder, "udp"), folder)
    run("ferrocal echo", "ferrocal pub, UDP", ours, lambda: echo([ferrocal, "echo", "big"], folder, "udp"), folder)
    json_echo = [ferrocal, "echo", "big", "--json"]
    run("ferrocal echo --json", "ferrocal pub, UDP", ours, lambda: echo(json_echo, folder, "udp"), folder)
    run("ecal.measurement in Python", "ferrocal pub, UDP", ours, lambda: measure(python, folder, "udp"), folder)
    run("ferrocal record", "eCAL, shared memory", theirs, lambda: record(ferrocal, folder, "shm"), folder)
    run("ferrocal echo --json", "eCAL, shared memory", theirs, lambda: echo(json_echo, folder, "shm"), folder)
    run("ecal.measurement in Python", "eCAL, shared memory", theirs, lambda: measure(python, folder, "shm"), folder)


def disk_rate(folder):
    """The MB that a program writes to a file in a second, without a recorder."""
    payload, count, path = os.urandom(LEN), 2000, folder / "disk"
    start = time.monotonic()
    with open(path, "wb", buffering=0) as file:
        for _ in range(count):
            file.write(payload)
    seconds = time.monotonic() - start
    path.unlink()
    return count * LEN / 1e6 / seconds


def run(recorder, source, publisher, start, folder):
    """Records once."""
    environment = {**os.environ, "ECAL_DATA": str(folder / ("shm" if "shared" in source else "udp"))}
    process, finish = start()
    with subprocess.Popen(publisher, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sender:
        if (code := sender.wait(120)) != 0:
            sys.exit(f"the publisher {publisher[0]} ended with {code}")
    # What waits is written.
    time.sleep(3)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    count = finish(process)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    output = folder / "output"
    written = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    shutil.rmtree(output)
    print(f"{recorder:32}{source:24}{count:>10}{seconds:>13.2f}{written / 1e6:>12.0f}", flush=True)


def record(ferrocal, folder, layer):
    """Starts `ferrocal record`. Returns the process, and what ends it and counts."""
    output = folder / "output"
    output.mkdir()
    command = [ferrocal, "record", "big", "-o", str(output / "a.mcap"), "--json"]
    environment = {**os.environ, "ECAL_DATA": str(folder / layer)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def finish(process):
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        return json.loads(out)["messages"]

    return process, finish


def echo(command, folder, layer):
    """Starts `ferrocal echo`, whose output nobody reads."""
    (folder / "output").mkdir()
    environment = {**os.environ, "ECAL_DATA": str(folder / layer)}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )

    def finish(process):
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        if process.returncode not in (0, 3):
            sys.exit(f"echo ended with {process.returncode}: {said}")
        return COUNT - sum(int(lost) for lost in re.findall(r"(?:dropped|lost) (\d+)", said))

    return process, finish


def measure(python, folder, layer):
    """Starts the recorder of eCAL's writer."""
    output = folder / "output"
    output.mkdir()
    environment = {**os.environ, "ECAL_DATA": str(folder / layer)}
    process = subprocess.Popen(
        [python, "-W", "ignore", "-c", RECORDER, str(output)],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    while "ready" not in process.stdout.readline():
        if process.poll() is not None:
            sys.exit("the recorder failed")

    def finish(process):
        out, _ = process.communicate("\n", timeout=300)
        return int(re.search(r"(\d+)\s*$", out)[1])

    return process, finish


if __name__ == "__main__":
    main()
