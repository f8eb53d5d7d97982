"""One side of a measurement with the real eCAL; its options and commands are those of `bench role` (role.rs)."""

import argparse
import pathlib
import queue
import resource
import sys
import threading
import time

# In the place of this script's own folder, in which this script would hide eCAL's package of the same name.
sys.path[0] = str(pathlib.Path(__file__).parents[3] / "integration-tests" / "peers")
import common

PATIENCE = 0.2
QUIET = 0.15
STEP = 0.005


def usage():
    """CPU seconds and peak memory of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Not `ru_maxrss`, which begins with the peak of the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    peak_kb = int(status.partition("VmHWM:")[2].split()[0])
    return {"user": used.ru_utime, "system": used.ru_stime, "peak_kb": peak_kb}


def message(number, size):
    """A message with its number at both ends."""
    counter = number.to_bytes(8, "little")
    return counter + b"." * (size - 16) + counter


def serve(answer):
    """Answers each command until there are no more."""
    common.emit("ready")
    for line in sys.stdin:
        words = line.split()
        if words == ["usage"]:
            common.emit("usage", **usage())
        else:
            answer(words)
    common.emit("done", **usage())
    common.leave()


def publish(ecal, args):
    """Sends at a rate."""
    sends = [publisher(ecal, f"bench{n}").send for n in range(args.topics)]
    # The binding takes only `bytes`, which cannot be changed: messages are made before they are needed.
    pool = [message(number, args.size) for number in range(max(2, min(4096, 64_000_000 // args.size)))]
    count = 0

    def answer(words):
        nonlocal count
        rate, seconds = float(words[1]), float(words[2])
        start = time.monotonic_ns()
        sent, refused, now = 0, 0, 0.0
        while now < seconds:
            due = rate * now + 1 if rate > 0 else float("inf")
            if sent < due:
                refused += not sends[count % len(sends)](pool[count % len(pool)])
                count += 1
                sent += 1
            else:
                time.sleep(min(max(sent / rate - now, 0), seconds - now))
            now = (time.monotonic_ns() - start) / 1e9
        common.emit("sent", sent=sent, refused=refused, start_ns=start, seconds=now)

    serve(answer)


def subscribe(ecal, args):
    """Counts messages."""
    received, damaged, last = 0, 0, 0
    size = args.size
    lock = threading.Lock()

    def take(_topic, _data_type, data):
        nonlocal received, damaged, last
        content = data.buffer
        intact = len(content) == size and content[:8] == content[-8:]
        with lock:
            received += intact
            damaged += not intact
            last = time.monotonic_ns()

    alive = [subscriber(ecal, f"bench{n}", take) for n in range(args.topics) for _ in range(args.subscribers)]

    def answer(words):
        expected = int(words[1])
        before, quiet = received, 0.0
        while before < expected and quiet < QUIET:
            time.sleep(STEP)
            quiet += STEP
            if received != before:
                before, quiet = received, 0.0
        common.emit("totals", received=received, damaged=damaged, last_ns=last, **usage())

    serve(answer)
    del alive


def ping(ecal, args):
    """Measures the time from sending to the answer."""
    answers = queue.SimpleQueue()
    send = publisher(ecal, "ping").send
    alive = subscriber(ecal, "pong", lambda _topic, _data_type, data: answers.put(data.buffer))
    number = 0

    def answer(words):
        nonlocal number
        end = time.monotonic_ns() + int(float(words[1]) * 1e9)
        lost, times = 0, []
        while time.monotonic_ns() < end:
            number += 1
            content = message(number, args.size)
            sent = time.monotonic_ns()
            send(content)
            try:
                while answers.get(timeout=PATIENCE)[:8] != content[:8]:
                    pass
                times.append(time.monotonic_ns() - sent)
            except queue.Empty:
                lost += 1
        times.sort()

        def microseconds(share):
            return times[min(int(len(times) * share), len(times) - 1)] / 1e3 if times else None

        common.emit(
            "pinged",
            count=len(times),
            lost=lost,
            p50_us=microseconds(0.5),
            p99_us=microseconds(0.99),
            p999_us=microseconds(0.999),
        )

    serve(answer)
    del alive


def pong(ecal, _args):
    """Sends back what it receives, from the callback."""
    send = publisher(ecal, "pong").send
    alive = subscriber(ecal, "ping", lambda _topic, _data_type, data: send(data.buffer))
    serve(lambda words: sys.exit(f"unknown command {words}"))
    del alive


def publisher(ecal, topic):
    """A publisher without a data type."""
    return ecal.Publisher(topic, ecal.DataTypeInformation(), ecal.get_publisher_configuration())


def subscriber(ecal, topic, callback):
    """A subscriber without a data type."""
    made = ecal.Subscriber(topic, ecal.DataTypeInformation(), ecal.get_subscriber_configuration())
    made.set_receive_callback(callback)
    return made


def main():
    """Plays the role."""
    roles = {"pub": publish, "sub": subscribe, "ping": ping, "pong": pong}
    parser = argparse.ArgumentParser()
    parser.add_argument("--role", choices=roles, required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--interface")
    parser.add_argument("--topics", type=int, default=1)
    parser.add_argument("--subscribers", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=1)
    args = parser.parse_args()
    system = argparse.ArgumentParser()
    common.add_system(system, f"bench_{args.role}")
    options = ["--mode", "network" if args.interface else "local"]
    if args.peer == "ecal-shm":
        options += ["--layer", "shm"]
        if args.role in ("pub", "sub"):
            options += ["--acknowledge", "1000"]
    roles[args.role](common.initialize(system.parse_args(options)), args)


main()
