"""What the peer scripts share: starting the real eCAL over one layer, events as JSON lines, the ramp payload."""

import ctypes
import json
import os
import sys
import tempfile
import threading
import time

# eCAL prints to standard output as well; events go out on a copy of it, everything else to standard error.
_events = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
_lock = threading.Lock()

# The priorities have to be named: a `publisher:` section without them leaves the publisher no layer at all.
_ECAL_YAML = """\
communication_mode: {mode}
registration:
  registration_timeout: {registration_timeout}
  local: {{transport_type: {registration}}}
transport_layer:
  udp:
    receive_buffer: {receive_buffer}
    mask: {mask}
    config_version: {config_version}
publisher:
  layer:
    shm:
      enable: {shm}
      memfile_buffer_count: {buffer_count}
      acknowledge_timeout_ms: {acknowledge}
      zero_copy_mode: {zero_copy}
    udp: {{enable: {udp}}}
    tcp: {{enable: {tcp}}}
  priority_local: [{priority_local}]
  priority_network: [{priority_network}]
subscriber:
  layer:
    shm: {{enable: {shm}}}
    udp: {{enable: {udp}}}
    tcp: {{enable: {tcp}}}
logging:
  provider:
    console: {{enable: false}}
    file: {{enable: false}}
    udp: {{enable: true, log_level: {log_levels}}}
  receiver: {{enable: {receive_logs}}}
"""


def emit(event, **fields):
    """Writes one event, and flushes: whoever drives the script waits for it."""
    with _lock:
        print(json.dumps({"event": event, **fields}), file=_events, flush=True)


def add_system(parser, unit_name):
    """Adds the options that `initialize` reads."""
    parser.add_argument("--mode", choices=["local", "network"], required=True)
    parser.add_argument("--unit-name", default=unit_name)
    # Holds the largest test message with the kernel's overhead.
    parser.add_argument("--receive-buffer", type=int, default=16777216, help="in bytes")
    parser.add_argument("--mask", default="255.255.255.240", help="of the topics' groups")
    parser.add_argument("--config-version", choices=["v1", "v2"], default="v2", help="of the topics' groups")
    parser.add_argument(
        "--layer",
        choices=["udp", "shm", "tcp", "both", "default"],
        default="udp",
        help="which there are; both: shared memory and UDP; default: eCAL has no configuration at all",
    )
    parser.add_argument("--buffer-count", type=int, default=1, help="of shared memory")
    parser.add_argument("--acknowledge", type=int, default=0, help="of shared memory, in milliseconds")
    parser.add_argument("--zero-copy", action="store_const", const="true", default="false")
    parser.add_argument("--registration", choices=["udp", "shm"], default="udp", help="in local mode")
    parser.add_argument("--latin-1", action="store_true", help="the unit's name goes out in Latin-1")
    parser.add_argument("--registration-timeout", type=int, default=10000, help="in milliseconds")
    parser.set_defaults(log_levels="[info, warning, error, fatal]", receive_logs="false")


def initialize(args):
    """Starts eCAL with a configuration of our own and returns its module."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "ecal.yaml"), "w", encoding="ascii") as file:
            own = ("shm", "udp") if args.layer == "both" else (args.layer,)
            layers = {layer: str(layer in own).lower() for layer in ("shm", "udp", "tcp")}
            local = '"shm", "udp"' if args.layer == "both" else f'"{args.layer}"'
            network = '"udp"' if args.layer == "both" else f'"{args.layer}"'
            priorities = {"priority_local": local, "priority_network": network}
            file.write(_ECAL_YAML.format(**layers, **priorities, **vars(args)))
        if args.layer == "default":
            os.remove(file.name)
        os.environ["ECAL_DATA"] = folder  # read when eCAL is imported or initialized
        import ecal.nanobind_core as ecal

        unit_name = _latin_1(args.unit_name) if args.latin_1 else args.unit_name
        if not ecal.initialize(unit_name, ecal.init.ALL):
            sys.exit("eCAL cannot be initialized")
        loaded = ecal.get_configuration().get_configuration_file_path()
        if os.path.dirname(loaded) != ("" if args.layer == "default" else folder):
            sys.exit(f"eCAL took its configuration from {loaded!r}")
    return ecal


def _latin_1(text):
    """A text that reaches eCAL in Latin-1. Python passes on all others in UTF-8, but those in ASCII as they are."""
    encoded = text.encode("latin-1")
    passed = "?" * len(encoded)
    ctypes.memmove(id(passed) + sys.getsizeof("") - 1, encoded, len(encoded))
    return passed


def host_name(identity):
    """The name of an entity's host. None if it is not UTF-8: Python cannot read it then."""
    try:
        return identity.host_name
    except UnicodeDecodeError:
        return None


def leave():
    """Ends the process without Python's shutdown, which sometimes aborts after eCAL ran callbacks."""
    _events.flush()
    sys.stderr.flush()
    os._exit(0)


def data_type(ecal, args):
    """The data type of the command line."""
    information = ecal.DataTypeInformation()
    information.name = args.type_name
    information.encoding = args.encoding
    information.descriptor = bytes.fromhex(args.descriptor) or bytes(args.descriptor_len)
    return information


def add_data_type(parser):
    """Adds the options that `data_type` reads."""
    parser.add_argument("--type-name", default="")
    parser.add_argument("--encoding", default="")
    parser.add_argument("--descriptor", default="", help="in hexadecimal digits")
    parser.add_argument("--descriptor-len", type=int, default=0, help="of zeros, in bytes")


class Matches:
    """Counts the connected entities of the other side per topic, and tells each change."""

    def __init__(self, connected, disconnected):
        self._events = {connected: True, disconnected: False}
        self._peers = {}
        self._lock = threading.Lock()

    @staticmethod
    def settle():
        """Waits until eCAL's threads are back from all callbacks.

        They hold locks meanwhile that dropping an entity needs, and who drops one holds the interpreter, which they
        need to come back.
        """
        own = {thread.ident for thread in threading.enumerate()}
        while sys._current_frames().keys() - own:
            time.sleep(0.001)

    def __call__(self, topic, data):
        """The event callback of eCAL's publishers and subscribers; `topic` is the other side's."""
        connected = self._events.get(data.event_type)
        if connected is None:
            return
        identity = topic.topic_id
        with self._lock:
            peers = self._peers.setdefault(topic.topic_name, set())
            key = (host_name(identity), identity.process_id, identity.entity_id)
            (peers.add if connected else peers.discard)(key)
            emit(
                "matched" if connected else "unmatched",
                topic=topic.topic_name,
                peers=len(peers),
                host=host_name(identity),
                pid=identity.process_id,
                topic_id=str(identity.entity_id),
            )


class Ramp:
    """Byte k of message n is (k*31 + n) & 0xff, so every message is a window of one table."""

    # 31 * 223 = 1 (mod 256): message n starts where the table holds n.
    _INVERSE = 223

    def __init__(self, largest):
        period = bytes(k * 31 & 0xFF for k in range(256))
        self._table = period * (largest // 256 + 2)

    def message(self, n, size):
        """Message n, of `size` bytes."""
        start = n * self._INVERSE & 0xFF
        return self._table[start : start + size]

    def is_message(self, n, message):
        """Whether `message` is message n, of whatever size."""
        if len(message) + 256 > len(self._table):
            self.__init__(len(message))
        return self.message(n, len(message)) == message
