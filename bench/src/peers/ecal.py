"""One side of a measurement with the real eCAL; its options and commands are those of `bench role` (role.rs).

What is measured is in ecal.cpp. This script initializes eCAL, takes the commands, and leaves the rest to it.
"""

import argparse
import ctypes
import pathlib
import resource
import sys
import time

# In the place of this script's own folder, in which this script would hide eCAL's package of the same name.
sys.path[0] = str(pathlib.Path(__file__).parents[3] / "integration-tests" / "peers")
import common

QUIET = 0.15
STEP = 0.005


class Result(ctypes.Structure):
    """What a function of ecal.cpp returns."""

    def fields(self):
        """All of it by name."""
        return {name: getattr(self, name) for name, _ in self._fields_}


class Sent(Result):
    """What was sent."""

    _fields_ = [
        ("sent", ctypes.c_uint64),
        ("refused", ctypes.c_uint64),
        ("start_ns", ctypes.c_uint64),
        ("seconds", ctypes.c_double),
    ]


class Totals(Result):
    """What was received."""

    _fields_ = [("received", ctypes.c_uint64), ("damaged", ctypes.c_uint64), ("last_ns", ctypes.c_uint64)]


class Pinged(Result):
    """What was answered, and how fast."""

    _fields_ = [
        ("count", ctypes.c_uint64),
        ("lost", ctypes.c_uint64),
        ("p50_us", ctypes.c_double),
        ("p99_us", ctypes.c_double),
        ("p999_us", ctypes.c_double),
    ]


def load(ecal, path):
    """Loads what ecal.cpp was compiled to."""
    # So that its symbols are found.
    ctypes.CDLL(str(pathlib.Path(ecal.__file__).with_name("libecal_core.so.6")), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(path)
    for name, result, arguments in (
        ("add_publisher", None, [ctypes.c_char_p]),
        ("send_for", Sent, [ctypes.c_size_t, ctypes.c_double, ctypes.c_double]),
        ("count", None, [ctypes.c_char_p, ctypes.c_size_t]),
        ("totals", Totals, []),
        ("prepare_ping", None, [ctypes.c_size_t]),
        ("ping_for", Pinged, [ctypes.c_double]),
        ("pong", None, []),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def usage():
    """CPU seconds and peak memory of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Not `ru_maxrss`, which begins with the peak of the process that started this one.
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    peak_kb = int(status.partition("VmHWM:")[2].split()[0])
    return {"user": used.ru_utime, "system": used.ru_stime, "peak_kb": peak_kb}


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


def publish(library, args):
    """Sends at a rate."""
    for number in range(args.topics):
        library.add_publisher(f"bench{number}".encode())
    serve(lambda words: common.emit("sent", **library.send_for(args.size, *map(float, words[1:])).fields()))


def subscribe(library, args):
    """Counts messages."""
    for number in range(args.topics):
        for _ in range(args.subscribers):
            library.count(f"bench{number}".encode(), args.size)

    def answer(words):
        before, quiet = library.totals().received, 0.0
        while before < int(words[1]) and quiet < QUIET:
            time.sleep(STEP)
            quiet += STEP
            received = library.totals().received
            if received != before:
                before, quiet = received, 0.0
        common.emit("totals", **library.totals().fields(), **usage())

    serve(answer)


def ping(library, args):
    """Measures the time from sending to the answer."""
    library.prepare_ping(args.size)
    serve(lambda words: common.emit("pinged", **library.ping_for(float(words[1])).fields()))


def pong(library, _args):
    """Sends back what it receives."""
    library.pong()
    serve(lambda words: sys.exit(f"unknown command {words}"))


def main():
    """Plays the role."""
    roles = {"pub": publish, "sub": subscribe, "ping": ping, "pong": pong}
    parser = argparse.ArgumentParser()
    parser.add_argument("--library", required=True, help="what ecal.cpp was compiled to")
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
    if args.peer != "ecal":
        options += ["--layer", "shm"]
    if args.peer in ("ecal-shm", "ecal-shm-in-place") and args.role == "pub":
        options += ["--acknowledge", "1000"]
    if args.peer == "ecal-shm-in-place":
        options += ["--zero-copy"]
    roles[args.role](load(common.initialize(system.parse_args(options)), args.library), args)


main()
