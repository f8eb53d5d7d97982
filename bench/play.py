#!/usr/bin/env python3
"""Measures how exact the times are at which `ferrocal play` publishes: play.py FERROCAL ECAL_PYTHON FOLDER [SECONDS].

FERROCAL is the executable, ECAL_PYTHON a Python with the packages eclipse-ecal and mcap (.venv/bin/python), which also has to
run this program, and FOLDER, which must not exist, is where recordings go for a while. Each run plays SECONDS (20), in local mode
and over UDP. A time is the kernel's, of the moment at which the first datagram of a message was handed to the loopback
interface, so that nobody who receives delays it. What is printed is how much later, in milliseconds, that was than in the
recording, against the message that was earliest. Beside it is a player made of eCAL's own reader of measurements and its
publisher, which waits by `time.sleep`: eCAL's player itself is not in its Python package. Needs root, and a namespace where
nothing can leave:

    unshare --net --uts --ipc sh -c 'ip link set lo up; ip link set lo multicast on; exec "$@"' sh \\
        .venv/bin/python bench/play.py target/release/ferrocal .venv/bin/python /tmp/play
"""

import os
import pathlib
import random
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import threading

MARK = b"ferrocal-play "
# From <linux/if_packet.h>, <asm-generic/socket.h> and <linux/if_ether.h>. What is sent, only who asks for all protocols sees.
PACKET_OUTGOING, SO_TIMESTAMPNS, ETH_P_ALL, SO_RCVBUFFORCE = 4, 35, 3, 33
START_NS = 1_700_000_000_000_000_000
SETTINGS = """communication_mode: local
publisher:
  layer:
    shm: {enable: false}
    udp: {enable: true}
    tcp: {enable: false}
subscriber:
  layer:
    shm: {enable: false}
    udp: {enable: true}
    tcp: {enable: false}
"""

PLAYER = """
import sys, time
import ecal.measurement.hdf5 as hdf5
import ecal.nanobind_core as ecal

measurement = hdf5.Meas(sys.argv[1])
topics = measurement.get_channel_names()
ecal.initialize("player", ecal.init.ALL)
publishers = {topic: ecal.Publisher(topic) for topic in topics}
entries = [(info["rcv_timestamp"], info["id"], topic) for topic in topics for info in measurement.get_entries_info(topic)]
entries = [(at, topic, measurement.get_entry_data(entry)) for at, entry, topic in sorted(entries)]
while any(publisher.get_subscriber_count() == 0 for publisher in publishers.values()):
    time.sleep(0.01)
time.sleep(2)
start = time.monotonic() - entries[0][0] / 1e6
for at, topic, data in entries:
    left = start + at / 1e6 - time.monotonic()
    if left > 0:
        time.sleep(left)
    publishers[topic].send(data)
time.sleep(0.5)
del publishers
ecal.finalize()
"""


def schedule(name, seconds):
    """The messages of a recording: the time in nanoseconds after the first, the topic and the length of each."""
    chance = random.Random(1)
    if name == "1 kHz":
        return [(n * 1_000_000, "state", 100) for n in range(seconds * 1000)]
    if name == "10 Hz":
        return [(n * 100_000_000, "state", 100) for n in range(seconds * 10)]
    if name == "random, 500 Hz":
        times, now = [], 0.0
        while now < seconds:
            times.append((int(now * 1e9), "state", 100))
            now += chance.expovariate(500)
        return times
    # A camera of 1 MB at 30 Hz, and between its messages others.
    state = [(n * 2_000_000 + 1_000_000, "state", 100) for n in range(seconds * 500)]
    camera = [(n * 33_333_333, "camera", 1_000_000) for n in range(seconds * 30)]
    return sorted(state + camera)


def write(folder, messages):
    """Writes the same recording for both players."""
    import ecal.measurement.hdf5 as hdf5
    from mcap.writer import CompressionType, Writer

    lengths = {topic: length for _, topic, length in messages}
    noise = {topic: os.urandom(length) for topic, length in lengths.items()}
    (folder / "measurement").mkdir()
    measurement = hdf5.Meas(str(folder / "measurement"), 1)
    measurement.set_max_size_per_file(100_000)
    measurement.set_file_base_name("base")
    with open(folder / "a.mcap", "wb") as file:
        writer = Writer(file, compression=CompressionType.NONE)
        writer.start("", "bench")
        channels = {topic: writer.register_channel(topic, "", 0) for topic in lengths}
        for topic in lengths:
            measurement.set_channel_type(topic, ":")
            measurement.set_channel_description(topic, b"")
        for number, (at, topic, length) in enumerate(messages):
            head = MARK + struct.pack("<Q", number)
            payload = head + noise[topic][len(head) :]
            time = START_NS + at
            writer.add_message(channels[topic], time, payload, time, number)
            measurement.add_entry_to_file(payload, time // 1000, time // 1000, topic, number)
        writer.finish()
    measurement.close()


class Tap(threading.Thread):
    """Notes when each message was sent."""

    def __init__(self):
        super().__init__(daemon=True)
        self.times = {}
        self.is_over = False
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self.socket.bind(("lo", ETH_P_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 * 1024 * 1024)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.settimeout(0.2)

    def run(self):
        while not self.is_over:
            try:
                data, notes, _, address = self.socket.recvmsg(512, 64)
            except TimeoutError:
                continue
            at = data.find(MARK)
            if address[2] != PACKET_OUTGOING or at < 0 or len(data) < at + len(MARK) + 8:
                continue
            (number,) = struct.unpack_from("<Q", data, at + len(MARK))
            for level, kind, note in notes:
                if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                    seconds, nanos = struct.unpack("<qq", note[:16])
                    self.times.setdefault(number, seconds * 1_000_000_000 + nanos)


def run(player, messages, command, subscriber, folder):
    """Plays once, and prints a line."""
    environment = {**os.environ, "ECAL_DATA": str(folder)}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    tap = Tap()
    tap.start()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with subprocess.Popen(subscriber, **quiet) as receiver:
        try:
            result = subprocess.run(command, env=environment, timeout=600, capture_output=True, text=True, check=False)
        finally:
            receiver.terminate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    tap.is_over = True
    tap.join()
    if result.returncode not in (0, 3):
        sys.exit(f"{player} ended with {result.returncode}: {result.stderr}")
    offsets = sorted(sent - messages[number][0] for number, sent in tap.times.items())
    late = [(offset - offsets[0]) / 1e6 for offset in offsets]
    count = len(late)
    at = [late[min(int(count * part), count - 1)] for part in (0.5, 0.99, 0.999)]
    over = sum(one > at[0] + 1 for one in late)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    figures = [sum(late) / count, *at, late[-1]]
    print(
        f"{player:32}{f'{count} of {len(messages)}':>16}"
        + "".join(f"{figure:10.3f}" for figure in figures)
        + f"{over:10}{seconds:9.1f}",
        flush=True,
    )
    if warnings := re.findall(r"warn.*", result.stderr, re.IGNORECASE):
        print(f"  {warnings[0]}")


def main():
    """Prints a line for each run."""
    ferrocal, python, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve()
    seconds = int(sys.argv[4]) if len(sys.argv) > 4 else 20
    folder.mkdir(parents=True)
    print(f"load {os.getloadavg()[0]:.1f} before; times in ms")
    heads = ["sent", "mean", "median", "99 %", "99.9 %", "most", ">1 ms", "CPU s"]
    widths = [16, 10, 10, 10, 10, 10, 10, 9]
    for name in ("1 kHz", "10 Hz", "random, 500 Hz", "500 Hz and 30 Hz of 1 MB"):
        messages = schedule(name, seconds)
        scratch = folder / "run"
        scratch.mkdir()
        (scratch / "ecal.yaml").write_text(SETTINGS)
        write(scratch, messages)
        topics = sorted({topic for _, topic, _ in messages})
        subscriber = [ferrocal, "record", "-o", str(scratch / "received.mcap"), *topics]
        print(f"\n{name:32}" + "".join(f"{head:>{width}}" for head, width in zip(heads, widths)))
        play = [ferrocal, "play", str(scratch / "a.mcap"), "--wait", "1", "--json"]
        theirs = [python, "-W", "ignore", "-c", PLAYER, str(scratch / "measurement")]
        for player, command in [
            ("ferrocal play", play),
            ("ferrocal play --realtime", [*play, "--realtime"]),
            ("eCAL's reader and publisher", theirs),
        ]:
            run(player, messages, command, subscriber, scratch)
            (scratch / "received.mcap").unlink(missing_ok=True)
        shutil.rmtree(scratch)
    folder.rmdir()


if __name__ == "__main__":
    main()
