"""Reads what eCAL's monitoring sees from its serialized form, `eCAL.pb.Monitoring`: the rows of `monitor.py`."""

import struct

# Names of fields by their number. Those of messages in messages have a dictionary of their own.
_STATE = {1: "state", 2: "state_info", 3: "state_level"}
_PROCESS = {
    1: "registration_clock",
    2: "host",
    3: "pid",
    4: "name",
    5: "unit",
    6: "parameter",
    12: _STATE,
    13: "time_sync_state",
    14: "time_sync_module",
    15: "component_state",
    16: "component_info",
    17: "runtime_version",
    18: "shm_transport_domain",
    19: "config_file",
}
_TOPIC = {
    1: "registration_clock",
    2: "host",
    3: "pid",
    4: "process_name",
    5: "unit",
    6: "topic_id",
    7: "topic",
    8: "direction",
    12: "layers",
    13: "topic_size",
    16: "connections_local",
    17: "connections_external",
    18: "message_drops",
    20: "data_clock",
    21: "data_frequency_mhz",
    28: "shm_transport_domain",
    30: {1: "type_name", 2: "encoding", 3: "descriptor"},
}
_SERVER = {2: "host", 3: "process_name", 4: "unit", 5: "pid", 6: "service", 8: "methods", 9: "service_id"}
_CLIENT = {2: "host", 3: "process_name", 4: "unit", 5: "pid", 6: "service", 9: "methods", 7: "service_id"}
_LAYER = {1: "type", 3: "active"}
_LAYER_NAMES = {1: "UDP_MC", 4: "SHM", 5: "TCP"}
_METHOD = {1: "name", 4: "calls", 7: {1: "request"}, 8: {1: "response"}}
# What a row has though it stands at its default, which is not serialized.
_NUMBERS = {
    "registration_clock", "pid", "state", "state_level", "component_state", "time_sync_state", "topic_size",
    "connections_local", "connections_external", "message_drops", "data_clock", "data_frequency_mhz", "calls",
    "type", "active",
}  # fmt: skip


_LATENCY = ("count", "latest", "min", "max", "mean", "variance")


def latencies(serialized):
    """What each subscriber registered of its messages' latency, a row each. Of floats the text, which loses nothing."""
    found = []
    for number, value in _fields(serialized):
        topic = dict(_fields(value)) if number == 4 else {}
        if topic.get(8) == b"subscriber":
            latency = dict(_fields(topic.get(31, b"")))
            row = {name: _double(latency.get(n, bytes(8))) for n, name in enumerate(_LATENCY[1:], 2)}
            found.append({"topic_id": topic[6].decode(), "count": latency.get(1, 0), **row})
    return found


def _double(value):
    return repr(struct.unpack("<d", value)[0])


def rows(serialized):
    """The lists of `monitor.py` by their name."""
    lists = {"processes": [], "publishers": [], "subscribers": [], "servers": [], "clients": []}
    for number, value in _fields(serialized):
        if number == 2:
            lists["processes"].append(_row(value, _PROCESS))
        elif number == 3:
            lists["servers"].append(_row(value, _SERVER))
        elif number == 4:
            topic = _row(value, _TOPIC)
            lists[topic["direction"] + "s"].append(topic)
        elif number == 5:
            lists["clients"].append(_row(value, _CLIENT))
    return lists


def _row(message, names):
    row = {}
    _add_defaults(row, names)
    _fill(row, message, names)
    return row


def _add_defaults(row, names):
    for name in names.values():
        if isinstance(name, dict):
            _add_defaults(row, name)
        elif name in ("methods", "layers"):
            row[name] = []
        else:
            row[name] = 0 if name in _NUMBERS else ""


def _fill(row, message, names):
    for number, value in _fields(message):
        name = names.get(number)
        if isinstance(name, dict):
            _fill(row, value, name)
        elif name == "methods":
            row[name].append(_row(value, _METHOD))
        elif name == "layers":
            layer = _row(value, _LAYER)
            if layer["active"]:
                row[name].append(_LAYER_NAMES[layer["type"]])
        elif name == "descriptor":
            row[name] = value.hex()
        elif name is not None:
            row[name] = value if isinstance(value, int) else value.decode("utf-8", "replace")


def _fields(message):
    """The numbers and values of a message's fields: signed numbers, and bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            value, at = _varint(message, at)
            value -= (value >> 63) << 64
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if size is None:
                size, at = _varint(message, at)
            value, at = message[at : at + size], at + size
        yield tag >> 3, value


def _varint(message, at):
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        shift += 7
        at += 1
        if message[at - 1] < 0x80:
            return value, at
