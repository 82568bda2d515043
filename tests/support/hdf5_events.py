"""Event recordings as columns of an HDF5 file: a layout that takes any dtype and any value."""

from __future__ import annotations

from pathlib import Path

import event_files as truth
import h5py

from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.recognition import sniff

OPTIONS = EventOptions()


def open_events(path: Path, options: EventOptions = OPTIONS, **small):
    """In blocks of about 200 events."""
    return sniff(path, "event").read(path, options, **{"block_events": 200, **small})


def write(path: Path, columns: dict, **attributes) -> Path:
    """columns: name of the data set -> values."""
    with h5py.File(path, "w") as file:
        for name, values in columns.items():
            file[name] = values
        file.attrs.update(attributes)
    return path


def columns_of(events, names=("x", "y", "t", "p"), group="", **dtypes):
    """The columns of `write`, int64 unless dtypes say otherwise (x="u2")."""
    table = dict(zip("xytp", truth.arrays(events), strict=True))
    place = f"{group}/" if group else ""
    return {
        f"{place}{name}": table[c].astype(dtypes.get(c, "i8")) for c, name in zip("xytp", names, strict=True)
    }


def with_generic(tmp_path, **changes):
    """1000 events in columns x, y, t, p; `changes` map a column to what is written (None: left out)."""
    events = truth.random_events(1000)
    columns = {c: a.copy() for c, a in zip("xytp", truth.arrays(events), strict=True)}
    for name, change in changes.items():
        columns[name] = change(columns[name])
    columns = {name: column for name, column in columns.items() if column is not None}
    return events, write(tmp_path / "a.h5", columns, width=64, height=48)
