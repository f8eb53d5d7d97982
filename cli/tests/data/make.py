"""Makes the measurements of this folder, with the Python of eclipse-ecal 6.1.1. Both hold the same messages."""

import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "integration-tests/peers"))

import eh5  # noqa: E402

ODD, ODD_ID = "a/b,c%ä", 0x123456789ABCDEF0


def make(version):
    """Writes a file."""
    odd_id, silent_id = (ODD_ID, 7) if version == "6.0" else (0, 0)
    with tempfile.TemporaryDirectory() as folder:
        writer = eh5.Writer(folder, version, "base", max_mb=100)
        writer.set_type(ODD, odd_id, "demo.X", "proto", b"de\0sc")
        writer.set_type("plain", 0, "string", "utf-8", b"")
        writer.set_type("silent", silent_id, "", "", b"")
        for n in range(3):
            writer.add(ODD, odd_id, b"x" * n, 1000 + n, 2000 - n, n + 1)
            writer.add("plain", 0, b"y%d" % n, 1000 + n, 2000, n + 1)
        assert writer.close()
        shutil.copy(pathlib.Path(folder) / "base.hdf5", HERE / f"measurement-{version}.hdf5")


for version in eh5.ACCESS:
    make(version)
