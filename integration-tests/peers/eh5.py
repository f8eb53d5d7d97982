"""eCAL's C++ writer of measurements, which the Python package has inside, and which its own classes use in part only.

They write version 5.0, all channels to one file. `Writer` also writes 6.0, several publishers of a topic, and a file for each
topic. What it calls is the public class `eCAL::eh5::v3::HDF5Meas` of the package's library, by the names of the Itanium ABI.
"""

import ctypes

import ecal._ecal_hdf5_py as extension

# `eCAL::eh5::v3::eAccessType`
ACCESS = {"6.0": 1, "5.0": 2}

CLASS = "_ZN4eCAL3eh52v38HDF5Meas"
BASE = "NS_12experimental11measurement4base"
NEW_STRING = "NSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE"


class Writer:
    """Writes a measurement into a folder."""

    def __init__(self, folder, version, name, max_mb, one_file_per_topic=False):
        self._library = ctypes.CDLL(extension.__file__)
        # `std::string` is that of the compiler: 6.0 is built with the one from before C++11.
        self._is_new = hasattr(self._library, f"{CLASS}15SetFileBaseNameERK{NEW_STRING}")
        string = f"K{NEW_STRING}" if self._is_new else "KSs"
        self._kept = []
        # The class holds one pointer.
        self._object = self._struct([0])
        access = ctypes.c_int(ACCESS[version])
        self._call(f"C1ER{string}NS1_11eAccessTypeE", self._struct(self._text(folder)), access)
        self._call(f"15SetFileBaseNameER{string}", self._struct(self._text(name)))
        self._call("17SetMaxSizePerFileEm", ctypes.c_size_t(max_mb))
        self._call("27SetOneFilePerChannelEnabledEb", ctypes.c_bool(one_file_per_topic))

    def set_type(self, topic, publisher, name, encoding, descriptor):
        """Says of a publisher, by its id, which type it has."""
        channel = self._struct(self._text(topic), [publisher])
        data_type = self._struct(self._text(name), self._text(encoding), self._text(descriptor))
        types = f"ERK{BASE}7ChannelERKNS5_19DataTypeInformationE"
        self._call(f"29SetChannelDataTypeInformation{types}", channel, data_type)

    def add(self, topic, publisher, payload, sent_us, received_us, clock):
        """Writes a message."""
        data = ctypes.create_string_buffer(payload, len(payload) + 1)
        numbers = [ctypes.addressof(data), len(payload), sent_us, received_us, 0, clock]
        entry = self._struct(self._text(topic), [publisher], numbers)
        assert self._call(f"14AddEntryToFileERK{BASE}10WriteEntryE", entry, returns=ctypes.c_bool)
        # The last two are the text of the topic and the struct, which are copied.
        del self._kept[-2:]

    def close(self):
        """Completes the files."""
        return self._call("5CloseEv", returns=ctypes.c_bool)

    def _call(self, name, *arguments, returns=None):
        function = self._library[CLASS + name]
        function.restype = returns
        return function(self._object, *arguments)

    def _struct(self, *parts):
        words = [word for part in parts for word in part]
        struct = (ctypes.c_uint64 * len(words))(*words)
        self._kept.append(struct)
        return struct

    def _text(self, text):
        """The words of a `std::string`, which owns nothing."""
        data = text if isinstance(text, bytes) else text.encode()
        # The old string points behind its length, its capacity and the number of those who share it.
        head = b"" if self._is_new else b"".join(n.to_bytes(8, "little") for n in (len(data), len(data), 1 << 30))
        buffer = ctypes.create_string_buffer(head + data, len(head) + len(data) + 1)
        self._kept.append(buffer)
        start = ctypes.addressof(buffer) + len(head)
        return [start, len(data), len(data), 0] if self._is_new else [start]
