"""Event recordings in plain arrays: npz, npy, the memory maps of ESS (DDD17), EVIMO2 and the N-MNIST bytes.

Nothing is ever unpickled. Shape letters: N events.
"""

from __future__ import annotations

import contextlib
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.errors import FormatError, UsageError
from armseg_core.files.facts import head_of
from armseg_core.files.npy import map_npy, npy_header, npz_headers, open_npz
from armseg_core.sensors.event.columns import NAMES, Columns, guess_columns, guess_unit, match_names, to_us
from armseg_core.sensors.event.geometry import Geometry, find_geometry, needs_polarity
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.source import BLOCK_EVENTS, EventStream
from armseg_core.sensors.event.streams import MemoryStream
from armseg_core.sensors.reader import Reader

DDD17_SIZE = (260, 346)  # (H, W) of the DAVIS346 camera
PICKLE_ADVICE = (
    "load it once where you trust it and save plain arrays: numpy.savez('events.npz', x=x, y=y, t=t, p=p)"
)


class ArrayStream(EventStream):
    """Events in four arrays (in memory or memory-mapped) of the same length, cleaned block by block."""

    def __init__(
        self,
        path: Path,
        geometry: Geometry,
        columns: dict[str, Any],
        unit: str,
        *,
        block_events: int = BLOCK_EVENTS,
    ) -> None:
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise FormatError(
                "columns of different length: " + ", ".join(f"{c} {n:,}" for c, n in lengths.items()),
                where=path,
                expected="one x, y, t and p for each event",
            )
        count = lengths["t"]
        super().__init__(path, geometry, np.append(np.arange(0, count, block_events), count))
        self._columns, self._unit = columns, unit

    def _load(self, block: int) -> Columns:
        rows = slice(int(self.bounds[block]), int(self.bounds[block + 1]))
        t, bad = to_us(np.asarray(self._columns["t"][rows]), self._unit)
        x, y = (np.asarray(self._columns[name][rows]) for name in "xy")
        p = self._columns.get("p")
        return Columns(x, y, t, np.ones(len(t), np.uint8) if p is None else np.asarray(p[rows]), bad)

    def close(self) -> None:
        self._columns = {}


def open_columns(
    path: Path,
    columns: dict[str, Any],
    options: EventOptions,
    *,
    stored: tuple[int, int] | None = None,
    usual: tuple[int, int] | None = None,
    unit: str = "",
    block_events: int = BLOCK_EVENTS,
) -> ArrayStream:
    """A recording of four arrays; what is not known (unit of time, polarity, size) comes from the options."""
    for name, column in columns.items():
        if column.ndim != 1 or column.dtype.kind not in "iufb":
            raise FormatError(
                f"{name} is {column.dtype} {column.shape}", where=path, expected="one number per event"
            )
    needs_polarity(path, "p" in columns, options)
    note = ""
    if options.time_unit != "auto":
        unit = options.time_unit
    elif not unit:
        t = columns["t"]
        unit, why = guess_unit(np.concatenate([t[:BLOCK_EVENTS], t[-1:]]))
        note = f"times are taken as {unit} because {why} (--time-unit to change)"
    geometry = find_geometry(path, options, stored=stored, usual=usual)
    source = ArrayStream(path, geometry, columns, unit, block_events=block_events)
    if note:
        source.note("unit", note)
    return source


def table_columns(path: Path, data: Any, options: EventOptions) -> tuple[dict[str, Any], str]:
    """Columns of a structured array or an N x 4 matrix: (columns, note for the user or "").

    Raises:
        FormatError: another kind of array. UsageError: the order of the columns is not clear.
    """
    if data.dtype.names:
        fields = match_names(data.dtype.names)
        if not {"x", "y", "t"} <= set(fields) or data.ndim != 1:
            raise FormatError(
                f"fields {', '.join(data.dtype.names)}",
                where=path,
                expected="one-dimensional, with x, y, t and p",
            )
        return {column: data[name] for column, name in fields.items()}, ""
    if data.ndim != 2 or data.shape[1] not in (3, 4) or data.dtype.kind not in "iuf":
        raise FormatError(
            f"an array of {data.dtype} {data.shape}",
            where=path,
            expected="events as N x 4, or with fields x, y, t, p",
        )
    order, note = options.columns or "", ""
    if not order:
        order, note = guess_columns(path, np.asarray(data[: 1 << 16]))
    if len(order) != data.shape[1]:
        raise UsageError(
            f"names {len(order)} columns", where="--columns", expected=f"{data.shape[1]}, as {path} has"
        )
    return {column: data[:, i] for i, column in enumerate(order)}, note


# what numpy raises for damaged files; zlib and the parser of the array header have errors of their own
_DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    SyntaxError,
    TypeError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    tokenize.TokenError,
)


def _damaged(path: Path, error: Exception) -> FormatError:
    if "pickle" in str(error).lower() or "Python objects" in str(error):
        return FormatError(
            "holds pickled Python objects, which are never loaded", where=path, hint=PICKLE_ADVICE
        )
    return FormatError("not a readable NumPy file (truncated or damaged?)", where=path)


def _mapped(path: Path) -> Any:
    try:
        return map_npy(path)
    except _DAMAGE as error:
        raise _damaged(path, error) from error


def read_npy(path: Path, options: EventOptions, *, block_events: int = BLOCK_EVENTS) -> ArrayStream:
    """A structured array or an N x 4 matrix of events, memory-mapped.

    Args:
        block_events: events cleaned at a time.

    Raises:
        FormatError: pickled, damaged, or not events. UsageError: columns, polarity or size must be told.
    """
    columns, note = table_columns(path, _mapped(path), options)
    source = open_columns(path, columns, options, block_events=block_events)
    if note:
        source.note("columns", note)
    return source


def read_npz(path: Path, options: EventOptions) -> ArrayStream:
    """x, y, t and p as four arrays under their usual names, or one structured or N x 4 array.

    Raises:
        FormatError: pickled, damaged, or without events. UsageError: columns, polarity or size must be told.
    """
    try:
        with open_npz(path) as archive:
            names = list(archive.files)
            fields = match_names(names)
            wanted = list(fields.values()) if {"x", "y", "t"} <= set(fields) else names
            arrays = {name: archive[name] for name in wanted}
            size = _stored_size(archive, names)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    note = ""
    if {"x", "y", "t"} <= set(fields):
        columns = {column: np.ravel(arrays[name]) for column, name in fields.items()}
    else:
        tables = [a for a in arrays.values() if a.dtype.names or (a.ndim == 2 and a.shape[1] == 4)]
        if not tables:
            raise FormatError("holds " + ", ".join(names[:8]), where=path, expected="x, y, t and p")
        columns, note = table_columns(path, max(tables, key=len), options)
    source = open_columns(path, columns, options, stored=size)
    if note:
        source.note("columns", note)
    return source


def _stored_size(archive: Any, names: list[str]) -> tuple[int, int] | None:
    if {"height", "width"} <= set(names):
        height, width = archive["height"], archive["width"]
        if height.size == width.size == 1:
            return int(height.ravel()[0]), int(width.ravel()[0])
    return None


def _ddd17_files(path: Path) -> tuple[Path, Path] | None:
    """The time and the address file of an ESS memory map, given their folder or one of them."""
    if path.suffix in (".t", ".xyp"):
        pair = path.with_suffix(".t"), path.with_suffix(".xyp")
        return pair if all(file.is_file() for file in pair) else None
    times = sorted(path.glob("*.t")) if path.is_dir() else []
    return next((found for file in times if (found := _ddd17_files(file)) and file.is_file()), None)


def _ddd17_beside(path: Path, options: EventOptions) -> tuple[Path, ...]:
    return _ddd17_files(path) or ()


def read_ddd17(path: Path, options: EventOptions) -> ArrayStream:
    """DDD17 as exported by ESS: events.dat.t (int64 nanoseconds) beside events.dat.xyp (int16 x 3).

    Raises:
        FormatError: the two files do not go together.
    """
    found = _ddd17_files(Path(path))
    if found is None:
        raise FormatError(
            "no pair of .t and .xyp files", where=path, expected="events.dat.t and events.dat.xyp"
        )
    times, addresses = found
    count, rest = divmod(times.stat().st_size, 8)
    if rest or addresses.stat().st_size != count * 6 or not count:
        raise FormatError(
            f"{times.stat().st_size:,} bytes of times and {addresses.stat().st_size:,} of addresses",
            where=times,
            expected="8 bytes of time and 6 of address for each event",
        )
    t = np.memmap(times, "<i8", "r")
    xyp = np.memmap(addresses, "<i2", "r").reshape(-1, 3)
    columns = {"t": t, "x": xyp[:, 0], "y": xyp[:, 1], "p": xyp[:, 2]}
    return open_columns(Path(path), columns, options, usual=DDD17_SIZE, unit="ns")


def _evimo2_files(path: Path) -> dict[str, Path] | None:
    names = {key: path / f"dataset_events_{key}.npy" for key in ("t", "xy", "p")}
    return names if path.is_dir() and all(file.is_file() for file in names.values()) else None


def read_evimo2(path: Path, options: EventOptions) -> ArrayStream:
    """A folder with dataset_events_t.npy, dataset_events_xy.npy (N x 2) and dataset_events_p.npy."""
    files = _evimo2_files(Path(path))
    if files is None:
        raise FormatError("no dataset_events_*.npy", where=path, expected="dataset_events_t, _xy and _p.npy")
    arrays = {key: _mapped(file) for key, file in files.items()}
    xy = arrays["xy"]
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise FormatError(f"is {xy.dtype} {xy.shape}", where=files["xy"], expected="N x 2")
    columns = {"x": xy[:, 0], "y": xy[:, 1], "t": arrays["t"], "p": arrays["p"]}
    return open_columns(Path(path), columns, options)


NMNIST_SIZE, NCALTECH_SIZE, OVERFLOW_ROW, OVERFLOW_US = (34, 34), (180, 240), 240, 1 << 13


def read_nmnist(path: Path, options: EventOptions) -> MemoryStream:
    """N-MNIST, N-Caltech101: 5 bytes per event, big-endian: x (8 bits), y (8), polarity (1), time (23).

    An event in row 240 is no event: it says that the clock of the recorder has passed another 2^13 us.

    Raises:
        FormatError: not a whole number of events.
    """
    data = np.fromfile(path, np.uint8)
    if not len(data) or len(data) % 5:
        raise FormatError(f"{len(data):,} bytes", where=path, expected="5 bytes per event")
    rows = data.reshape(-1, 5).astype(np.int64)
    x, y, p = rows[:, 0], rows[:, 1], rows[:, 2] >> 7
    t = ((rows[:, 2] & 0x7F) << 16) | (rows[:, 3] << 8) | rows[:, 4]
    mark = y == OVERFLOW_ROW
    t, keep = t + np.cumsum(mark) * OVERFLOW_US, ~mark
    x, y, p, t = x[keep], y[keep], p[keep].astype(np.uint8), t[keep]
    usual = NMNIST_SIZE if len(x) and x.max() < 34 and y.max() < 34 else NCALTECH_SIZE
    return MemoryStream(Path(path), find_geometry(Path(path), options, usual=usual), Columns(x, y, t, p))


def _is_table(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array can be events, by its header alone."""
    if dtype.names:
        return {"x", "y", "t"} <= set(match_names(dtype.names))
    return len(shape) == 2 and shape[1] == 4 and shape[0] > 4 and dtype.kind in "iuf"


def _is_npy(path: Path) -> bool:
    with contextlib.suppress(Exception):
        if path.suffix.lower() == ".npy" and path.is_file():
            header = npy_header(path)
            if header is None or not _is_table(*header):
                return False
            if header[1].names:
                return True
            head = np.asarray(map_npy(path)[:4096], np.float64)
            return any(bool(np.isin(head[:, i], (-1, 0, 1)).all()) for i in range(4))  # a polarity
    return False


def _is_npz(path: Path) -> bool:
    with contextlib.suppress(Exception):
        if path.suffix.lower() == ".npz" and path.is_file():
            headers = npz_headers(path)
            flat = [name for name, (shape, _) in headers.items() if len(shape) <= 2]
            if {"x", "y", "t"} <= set(match_names(flat)):
                return True
            return any(
                bool(dtype.names and {"x", "y", "t"} <= set(match_names(dtype.names)))
                or (len(shape) == 2 and shape[1] == 4 and "event" in name.lower())
                for name, (shape, dtype) in headers.items()
            )
    return False


def _is_pickled(path: Path) -> bool:
    with contextlib.suppress(Exception):
        if path.suffix.lower() == ".npy" and path.is_file():
            return b"|O" in head_of(path, 256).split(b"\n")[0]
        if path.suffix.lower() == ".npz" and path.is_file():
            headers = npz_headers(path)
            return bool(set(match_names(headers)) & set(NAMES)) and any(
                d.hasobject for _, d in headers.values()
            )
    return False


def _is_nmnist(path: Path) -> bool:
    with contextlib.suppress(Exception):
        size = path.stat().st_size
        if path.suffix.lower() != ".bin" or not path.is_file() or size % 5 or not size:
            return False
        rows = np.frombuffer(head_of(path, 5 * 200), np.uint8).reshape(-1, 5).astype(np.int64)
        t = ((rows[:, 2] & 0x7F) << 16) | (rows[:, 3] << 8) | rows[:, 4]
        rising = bool((np.diff(t[rows[:, 1] != OVERFLOW_ROW]) >= 0).all())
        return rising and int(rows[:, 0].max()) < 240 and int(rows[:, 1].max()) <= OVERFLOW_ROW
    return False


ARRAY_READERS: tuple[Reader, ...] = (
    Reader(
        "npy-pickled",
        "event",
        "pickled NumPy file",
        ("*.npy", "*.npz"),
        _is_pickled,
        read_npy,
        refuse=PICKLE_ADVICE,
    ),
    Reader(
        "npz",
        "event",
        "NumPy archive of events",
        ("*.npz",),
        _is_npz,
        read_npz,
        notes="x, y, t, p (or their usual names), a structured array, or N x 4",
    ),
    Reader(
        "npy", "event", "NumPy array of events", ("*.npy",), _is_npy, read_npy, notes="structured, or N x 4"
    ),
    Reader(
        "ess-ddd17",
        "event",
        "DDD17 memory map of ESS",
        ("events.dat.t", "events.dat.xyp"),
        lambda path: _ddd17_files(path) is not None,
        read_ddd17,
        notes="the folder or one of its two files",
        beside=_ddd17_beside,
        parts=lambda path: _ddd17_files(path) or (),
    ),
    Reader(
        "evimo2",
        "event",
        "EVIMO2 folder",
        ("dataset_events_*.npy",),
        lambda path: _evimo2_files(path) is not None,
        read_evimo2,
    ),
    Reader("nmnist", "event", "N-MNIST, N-Caltech101", ("*.bin",), _is_nmnist, read_nmnist),
)
