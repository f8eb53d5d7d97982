"""Makes the measurements of this folder: `make.py 5.0` with the Python of eclipse-ecal 6.1.1, `make.py 6.0` with h5py 3.14.

Both hold the same messages. 5.0 is written by eCAL itself. No Python package writes 6.0, so that this is laid out by hand
as eCAL's C++ writer does.
"""

import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
ODD, ODD_NAME, ODD_ID = "a/b,c%ä", "a%2Fb%2Cc%25%C3%A4", 0x123456789ABCDEF0
DESCRIPTOR = b"de\0sc"


def entries(channel):
    """The payload, receive time, send time and clock of the messages of a channel."""
    for n in range(3):
        if channel == ODD:
            yield b"x" * n, 2000 - n, 1000 + n, n + 1
        else:
            yield b"y%d" % n, 2000, 1000 + n, n + 1


def make_5():
    import ecal.measurement.hdf5 as hdf5

    with tempfile.TemporaryDirectory() as folder:
        measurement = hdf5.Meas(folder, 1)
        measurement.set_max_size_per_file(100)
        measurement.set_file_base_name("base")
        for name, kind, descriptor in [(ODD, "proto:demo.X", DESCRIPTOR), ("plain", "utf-8:string", b"")]:
            measurement.set_channel_type(name, kind)
            measurement.set_channel_description(name, descriptor)
        for pair in zip(entries(ODD), entries("plain")):
            for name, (payload, received, sent, clock) in zip((ODD, "plain"), pair):
                measurement.add_entry_to_file(payload, sent, received, name, clock)
        measurement.close()
        shutil.copy(pathlib.Path(folder) / "base.hdf5", HERE / "measurement-5.0.hdf5")


def make_6():
    import h5py
    import numpy

    with h5py.File(HERE / "measurement-6.0.hdf5", "w", libver="earliest") as file:
        file.attrs["Version"] = numpy.bytes_("6.0")
        file.attrs["Channels"] = numpy.bytes_(f"{ODD_NAME},plain,silent")
        tables, number = {ODD: [], "plain": []}, 0
        for pair in zip(entries(ODD), entries("plain")):
            for name, (payload, received, sent, clock) in zip((ODD, "plain"), pair):
                file.create_dataset(str(number), data=numpy.frombuffer(payload, "u1"))
                tables[name].append([received, number, clock, sent, 0])
                number += 1
        for name, id, kind, encoding, descriptor, rows in [
            (ODD_NAME, ODD_ID, b"demo.X", b"proto", DESCRIPTOR, tables[ODD]),
            ("plain", 0, b"string", b"utf-8", b"", tables["plain"]),
            ("silent", 7, b"", b"", b"", []),
        ]:
            group = file.create_group(f"{name}/{id:016X}")
            for key, value in [("TypeName", kind), ("TypeEncoding", encoding), ("TypeDescriptor", descriptor)]:
                group.create_dataset(key, data=numpy.bytes_(value) if value else h5py.Empty("u1"))
            group.create_dataset("DataTable", data=numpy.array(rows, "i8").reshape(len(rows), 5))


{"5.0": make_5, "6.0": make_6}[sys.argv[1]]()
