"""Publishes ramp messages, or text, with the real eCAL: `pub.py --mode local hello:20 image:200000`.

Reads commands from standard input, a line each, and ends with it:
  send COUNT RATE   COUNT messages on every topic at RATE Hz; RATE 0: as fast as it goes; COUNT 0: until the next line
  send_at TIME      one message on every topic with this send time, in microseconds since the epoch
  size BYTES        messages are so long from now on
  bytes HEX         one message on every topic, with this payload
  drop              the publishers are gone, and nothing but the end can follow
"""

import argparse
import queue
import sys
import threading
import time

import common


def read_commands(commands):
    """Queues each line of standard input, and None at its end."""
    for line in sys.stdin:
        commands.put(line.split())
    commands.put(None)


def main():
    """Runs the publisher."""
    parser = argparse.ArgumentParser()
    parser.add_argument("topics", nargs="+", metavar="TOPIC:SIZE")
    common.add_system(parser, "ecal_pub")
    common.add_data_type(parser)
    parser.add_argument("--text", help="what each message says, with its number behind, in place of a ramp")
    args = parser.parse_args()

    ecal = common.initialize(args)
    matches = common.Matches(ecal.PublisherEvent.CONNECTED, ecal.PublisherEvent.DISCONNECTED)
    publishers = []
    for topic in args.topics:
        name, _, size = topic.rpartition(":")
        publisher = ecal.Publisher(
            name, common.data_type(ecal, args), ecal.get_publisher_configuration(), matches
        )
        publishers.append((name, int(size), publisher))
    ramp = common.Ramp(max(size for _, size, _ in publishers))

    commands = queue.Queue()
    threading.Thread(target=read_commands, args=(commands,), daemon=True).start()
    common.emit("ready")

    sent = 0
    command = commands.get()
    while command is not None:
        if command == ["drop"]:
            matches.settle()
            del publisher
            publishers.clear()
            common.emit("dropped")
            command = commands.get()
            continue
        if command[:1] == ["size"]:
            publishers = [(name, int(command[1]), publisher) for name, _, publisher in publishers]
            ramp = common.Ramp(int(command[1]))
            command = commands.get()
            continue
        if command[:1] in (["send_at"], ["bytes"]):
            unsent = 0
            for _, size, publisher in publishers:
                if command[0] == "bytes":
                    unsent += not publisher.send(bytes.fromhex(command[1]))
                else:
                    unsent += not publisher.send(ramp.message(sent, size), int(command[1]))
            sent += 1
            common.emit("sent", count=1, total=sent, unsent=unsent)
            command = commands.get()
            continue
        if command[:1] != ["send"]:
            sys.exit(f"unknown command {command}")
        count, rate = int(command[1]), float(command[2])
        start, first, unsent = time.monotonic(), sent, 0
        command = False
        while command is False and (count == 0 or sent - first < count):
            for _, size, publisher in publishers:
                message = f"{args.text} {sent}".encode() if args.text else ramp.message(sent, size)
                unsent += not publisher.send(message)
            sent += 1
            # The pause between two messages ends early when a command comes.
            pause = start + (sent - first) / rate - time.monotonic() if rate else 0
            try:
                command = commands.get(timeout=pause) if pause > 0 else commands.get_nowait()
            except queue.Empty:
                pass
        seconds = time.monotonic() - start
        common.emit("sent", count=sent - first, total=sent, unsent=unsent, seconds=seconds)
        if command is False:
            command = commands.get()
    common.emit("done", total=sent)
    common.leave()


main()
