"""A server and a client of the real eCAL: `calls.py --mode local SERVED CALLED`. Commands come on standard input."""

import argparse
import sys
import threading
import time

import common


def name_of(value):
    """The name of a member of an enumeration of eCAL."""
    return getattr(value, "name", str(value))


class Releases:
    """Lets calls of `hang` go, by their requests: also those that come later."""

    def __init__(self):
        self._lock = threading.Lock()
        self._events = {}

    def of(self, request):
        """What a call with this request waits for."""
        with self._lock:
            return self._events.setdefault(request, threading.Event())


def serve(ecal, name, releases):
    """A server with a method for each thing that can happen."""
    server = ecal.ServiceServer(name)

    def hang(_, request):
        common.emit("hangs", request=request.decode())
        releases.of(request.decode()).wait()
        return (0, request)

    methods = {
        "echo": lambda _, request: (0, request),
        "sorry": lambda _, request: (-5, b"sorry: " + request),
        "hang": hang,
    }
    for method, function in methods.items():
        information = ecal.ServiceMethodInformation()
        information.method_name = method
        information.request_type.name = "Ask"
        information.request_type.encoding = "raw"
        information.response_type.name = "Answer"
        if not server.set_method_callback(information, function):
            sys.exit(f"{method} cannot be set")
    return server


def row(response):
    """What a call resulted in."""
    return {
        "state": name_of(response.call_state),
        "error": response.error_msg,
        "ret_state": response.ret_state,
        "response": response.response.decode("latin-1"),
    }


def main():
    """Does what it is told until its input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("served")
    parser.add_argument("called")
    common.add_system(parser, "ecal_calls")
    args = parser.parse_args()

    ecal = common.initialize(args)
    releases = Releases()
    _server = serve(ecal, args.served, releases)
    client = ecal.ServiceClient(args.called)
    common.emit("ready")
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "connected":
            while [one.is_connected() for one in client.get_client_instances()].count(True) != int(rest[0]):
                time.sleep(0.005)
            common.emit("connected")
        elif command == "call":
            responses = client.call_with_response(rest[0], rest[2].encode(), int(rest[1]))
            common.emit("called", rows=[row(response) for response in responses or []])
        elif command == "long":
            message = common.Ramp(int(rest[1])).message(7, int(rest[1]))
            responses = client.call_with_response(rest[0], message, -1)
            common.emit("called", rows=[{"whole": response.response == message} for response in responses])
        elif command == "many":
            count, answers, done = int(rest[1]), set(), threading.Event()

            def answered(response):
                answers.add((name_of(response.call_state), response.response))
                if len(answers) == count:
                    done.set()

            for n in range(count):
                client.call_with_callback_async(rest[0], str(n).encode(), answered)
            done.wait()
            common.emit("many", answers=sorted(int(text) for state, text in answers if state == "EXECUTED"))
        elif command == "stop":
            ecal.shutdown_process_by_pid(int(rest[0]))
        elif command == "stopped":
            # eCAL takes requests from its first look on.
            looked = ecal.ok()
            common.emit("looking", ok=looked)
            while ecal.ok():
                time.sleep(0.005)
            common.emit("stopped")
        elif command == "release":
            releases.of(rest[0]).set()
        else:
            sys.exit(f"unknown command {line!r}")
    common.leave()


main()
