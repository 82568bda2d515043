"""Event recordings in HDF5: DSEC and its family, M3ED, MVSEC, Prophesee, and anything with x, y, t and p.

The layout is found from the names of the data sets, not from the name of the file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.errors import FormatError, UsageError
from armseg_core.files import blosc_chunks
from armseg_core.files.facts import Facts, facts_of
from armseg_core.files.hdf5 import Node, look_into, nodes_of, open_hdf5, refuse_unstored
from armseg_core.sensors.event.columns import Columns, guess_columns, guess_unit, match_names, to_us
from armseg_core.sensors.event.geometry import find_geometry, needs_polarity, rectify_map_beside
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.source import BLOCK_EVENTS, KEEP_EVENTS, EventStream
from armseg_core.sensors.reader import Reader, quiet

_THREADS = 2  # to decompress: with more the reading of the file and the sums of the events do not keep up
ECF_FILTER = 0x8ECF  # Prophesee's own compression, by the filter number in its files
# (H, W) of the cameras of these sets: Prophesee Gen 3.1, Prophesee EVK4, DAVIS346
DSEC_SIZE, M3ED_SIZE, MVSEC_SIZE = (480, 640), (720, 1280), (260, 346)
MILLISECOND_INDEX = ("ms_to_idx", "ms_map_idx")


@dataclass(frozen=True)
class Layout:
    """Where the events of one camera are.

    kind: "columns" (one 1-D data set each), "table" (compound) or "matrix" (N x 4).
    group: path of the group (columns) or of the data set. fields: column -> name of data set or field.
    index: path of the millisecond index, or "". unit: fixed unit of the times, or "". order: of a matrix.
    """

    name: str
    kind: str
    group: str
    fields: dict[str, str]
    index: str = ""
    unit: str = ""
    order: str = ""
    size: tuple[int, int] | None = None


def find_layouts(nodes: Mapping[str, Node]) -> list[Layout]:
    """Every event stream in an HDF5 file, in the order of its names."""
    flat: dict[str, list[str]] = {}  # group -> names of its one-dimensional data sets
    others: list[Layout] = []
    for name, node in nodes.items():
        if node.ndim == 1:
            group, _, own = name.rpartition("/")
            flat.setdefault(group, []).append(own)
        found = _table(name, node) or _matrix(name, node)
        others.extend([found] if found else [])
    places = set(nodes)
    return [*filter(None, (_columns(places, group, names) for group, names in sorted(flat.items()))), *others]


def _columns(places: set[str], name: str, datasets: list[str]) -> Layout | None:
    fields = match_names(datasets)
    if not {"x", "y", "t"} <= set(fields):
        return None
    for index in MILLISECOND_INDEX:
        for place in (f"{name}/{index}".strip("/"), index, f"{name.rpartition('/')[0]}/{index}".strip("/")):
            if place in places:
                m3ed = index == "ms_map_idx"
                size = M3ED_SIZE if m3ed else DSEC_SIZE
                return Layout("m3ed" if m3ed else "dsec", "columns", name, fields, place, "us", size=size)
    if name == "events" and "t_offset" in places:
        return Layout("dsec", "columns", name, fields, unit="us", size=DSEC_SIZE)
    return Layout("hdf5", "columns", name, fields)


def _table(name: str, node: Node) -> Layout | None:
    fields = match_names(node.fields)
    if node.ndim != 1 or not {"x", "y", "t"} <= set(fields):
        return None
    prophesee = name == "CD/events"
    return Layout(
        "prophesee-hdf5" if prophesee else "hdf5", "table", name, fields, unit="us" if prophesee else ""
    )


def _matrix(name: str, node: Node) -> Layout | None:
    if node.ndim != 2 or node.shape[1] != 4 or name.rpartition("/")[2].lower() != "events":
        return None
    if name.startswith("davis/"):
        return Layout("mvsec", "matrix", name, {}, unit="s", order="xytp", size=MVSEC_SIZE)
    return Layout("hdf5", "matrix", name, {})


class Hdf5Stream(EventStream):
    """Events of one camera in an HDF5 file; blocks are whole chunks of the file."""

    def __init__(
        self,
        path: Path,
        file: Any,
        layout: Layout,
        options: EventOptions,
        *,
        block_events: int = BLOCK_EVENTS,
        keep_events: int = KEEP_EVENTS,
    ) -> None:
        self._file, self._layout = file, layout
        self._threads = ThreadPoolExecutor(_THREADS)
        self._ahead: dict[tuple[int, str], blosc_chunks.Rows] = {}  # block, column -> rows on their way
        self._data = _datasets(path, file, layout)
        for name, data in self._data.items():
            refuse_unstored(path, name if layout.kind == "columns" else layout.group, data)
        _check_codec(path, self._data)
        lengths = {column: len(data) for column, data in self._data.items()}
        count = lengths["t"] if "t" in lengths else next(iter(lengths.values()))
        if len(set(lengths.values())) > 1:
            raise FormatError(
                "columns of different length: " + ", ".join(f"{c} {n:,}" for c, n in lengths.items()),
                where=path,
                expected="one x, y, t and p for each event",
                hint="the file is probably truncated: copy it again",
            )
        geometry = find_geometry(
            path,
            options,
            stored=_stored_size(file, layout.group),
            usual=layout.size,
            sibling=layout.name == "dsec",
        )
        chunk = max(1, (self._data.get("t") or self._data["all"]).chunks[0]) if self._chunked() else 1
        block = chunk * max(1, round(block_events / chunk))
        super().__init__(
            path, geometry, np.append(np.arange(0, count, block), count), keep_events=keep_events
        )
        self._kept_times: dict[int, np.ndarray] = {}  # as stored: half the memory of microseconds
        self._order = layout.order or options.columns or ""
        if layout.kind == "matrix" and not self._order:
            self._order, why = guess_columns(path, self._data["all"][: 1 << 16])
            self.note("columns", why)
        self._unit, self._offset = self._find_unit(options), 0
        if self._unit == "us" and layout.kind == "columns":
            self._offset = _time_offset(path, file)
        if layout.kind != "matrix":
            needs_polarity(path, "p" in layout.fields, options)
        self._index = file[layout.index] if layout.index else None

    def _chunked(self) -> bool:
        return (self._data.get("t") or self._data["all"]).chunks is not None

    def _find_unit(self, options: EventOptions) -> str:
        if options.time_unit != "auto":
            return options.time_unit
        if self._layout.unit:
            return self._layout.unit
        last = len(self.bounds) - 2
        sample = np.concatenate([self._stored(k)["t"] for k in sorted({0, last})])
        unit, why = guess_unit(sample)
        self.note("unit", f"times are taken as {unit} because {why} (--time-unit to change)")
        return unit

    def _stored(self, block: int, wanted: str = "xytp") -> dict[str, np.ndarray]:
        """The columns of a block, as stored."""
        i0, i1 = int(self.bounds[block]), int(self.bounds[block + 1])
        if wanted == "t" and block in self._kept_times:
            return {"t": self._kept_times[block]}
        try:
            if self._layout.kind == "columns":
                found = self._columns(block, i0, i1, wanted)
                if wanted == "t" and self.count <= self.keep_events:  # wanted by the scan and by each block
                    self._kept_times[block] = found["t"]
                return found
            rows = self._data["all"][i0:i1]
        except (OSError, RuntimeError, ValueError) as error:
            raise FormatError(
                f"events {i0:,} to {i1:,} cannot be read (damaged file?)",
                where=self.path,
                hint="copy or download the file again",
            ) from error
        if self._layout.kind == "matrix":
            return {column: rows[:, i] for i, column in enumerate(self._order)}
        return {column: rows[name] for column, name in self._layout.fields.items()}

    def _columns(self, block: int, i0: int, i1: int, wanted: str) -> dict[str, np.ndarray]:
        """Columns of a block, as stored; their chunks are decompressed in threads where that can be done."""
        names = [c for c in wanted if c in self._data]
        for c in names:
            self._start(block, c, i0, i1)
        rows = {c: self._ahead.pop((block, c), None) for c in names}
        return {c: self._data[c][i0:i1] if r is None else blosc_chunks.finish(r) for c, r in rows.items()}

    def _start(self, block: int, column: str, i0: int, i1: int) -> None:
        if (block, column) not in self._ahead:
            rows = blosc_chunks.start(self._data[column], i0, i1, self._threads)
            if rows is not None:
                self._ahead[block, column] = rows

    def _read_ahead(self, block: int) -> None:
        """Begin with the block that probably comes next; forget others."""
        self._ahead = {key: rows for key, rows in self._ahead.items() if key[0] == block}
        if block < len(self.bounds) - 1:
            for column in self._data:
                if column != "t" or block not in self._kept_times:
                    self._start(block, column, int(self.bounds[block]), int(self.bounds[block + 1]))

    def _in_us(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        us, bad = to_us(t, self._unit)
        if self._offset:
            us = us + self._offset if us is t else np.add(us, self._offset, out=us)
        return us, bad

    def _load_times(self, block: int) -> np.ndarray:
        if self._layout.kind != "columns":
            return self._raw_block(block).t
        return self._in_us(self._stored(block, "t")["t"])[0]

    def _load(self, block: int) -> Columns:
        if self._layout.kind == "columns" and self._data["t"].dtype.kind in "iu":
            raw, t, bad = self._stored(block, "xyp"), self._block_times(block), None
        else:
            raw = self._stored(block)
            t, bad = self._in_us(raw["t"])
        if self._layout.kind == "columns":
            with contextlib.suppress(
                OSError, RuntimeError, ValueError
            ):  # damage shows when the block is asked for
                self._read_ahead(block + 1)
        p = raw.get("p")
        return Columns(raw["x"], raw["y"], t, np.ones(len(t), np.uint8) if p is None else p, bad)

    def _guess_range(self, t_us: int) -> tuple[int, int] | None:
        """DSEC: t[ms_to_idx[ms]] >= ms * 1000 and t[ms_to_idx[ms] - 1] < ms * 1000 (relative times)."""
        if self._index is None or "index" in self._messages:
            return None
        ms = (t_us - self._offset) // 1000
        if not 0 <= ms < len(self._index):
            return None
        try:
            pair = self._index[ms : ms + 2]
        except (OSError, RuntimeError, ValueError):  # a damaged index costs time, not events
            return None
        return int(pair[0]), int(pair[1]) if len(pair) == 2 else self.count

    def close(self) -> None:
        self._threads.shutdown()
        self._file.close()


def _datasets(path: Path, file: Any, layout: Layout) -> dict[str, Any]:
    if layout.kind != "columns":
        return {"all": file[layout.group]}
    group = file[layout.group] if layout.group else file
    return {column: group[name] for column, name in layout.fields.items()}


def _check_codec(path: Path, data: dict[str, Any]) -> None:
    """Raise FormatError, before anything is read, when a compression filter of the file is not installed."""
    import h5py

    for dataset in data.values():
        plist = dataset.id.get_create_plist()
        for number in range(plist.get_nfilters()):
            code = plist.get_filter(number)[0]
            if h5py.h5z.filter_avail(code):
                continue
            if code == ECF_FILTER:
                raise FormatError(
                    "compressed with Prophesee's ECF codec, which is not installed",
                    where=path,
                    hint="install the Prophesee HDF5 plugin and set HDF5_PLUGIN_PATH to its folder, or "
                    "export the recording as RAW with Metavision Studio",
                )
            raise FormatError(
                f"compressed with the HDF5 filter {code}, which is not installed",
                where=path,
                hint="pip install -U hdf5plugin",
            )


def _time_offset(path: Path, file: Any) -> int:
    """t_offset (microseconds) as a Python integer: 32 bits would not hold it."""
    if "t_offset" not in file:
        return 0
    value = np.asarray(file["t_offset"])
    if value.size != 1:
        raise FormatError(f"t_offset has {value.size} values", where=path, expected="one number")
    return int(value.reshape(-1)[0])


def _stored_size(file: Any, group: str) -> tuple[int, int] | None:
    """(H, W) as the file itself tells it, in attributes or data sets of the events' group or those above."""
    import h5py

    place = group
    while True:
        node = file[place] if place else file
        attributes = node.attrs
        if "height" in attributes and "width" in attributes:
            return int(attributes["height"]), int(attributes["width"])
        if (
            len(shape := np.atleast_1d(attributes.get("sensor_resolution", ()))) >= 2
        ):  # (H, W), as E2VID writes it
            return int(shape[0]), int(shape[1])
        if isinstance(node, h5py.Group):
            if "height" in node and "width" in node and node["height"].size == node["width"].size == 1:
                return int(np.ravel(node["height"])[0]), int(np.ravel(node["width"])[0])
            if "calib/resolution" in node:  # (W, H), as M3ED writes it
                width, height = np.ravel(node["calib/resolution"])[:2]
                return int(height), int(width)
        if not place:
            return None
        place = place.rpartition("/")[0]


def _pick(path: Path, layouts: list[Layout], stream: str | None) -> tuple[Layout, list[str]]:
    """The layout of the camera that was asked for, and the names of the others."""
    names = [layout.group or "/" for layout in layouts]
    fitting = [layout for layout in layouts if stream is None or stream in (layout.group or "/")]
    if not fitting:
        raise UsageError(
            f"no events under '{stream}'",
            where=path,
            expected="one of " + ", ".join(names),
            hint=f"--stream {names[0]}",
        )
    left = [layout for layout in fitting if "left" in layout.group]
    chosen = (left or fitting)[0]
    return chosen, [layout.group or "/" for layout in fitting if layout is not chosen]


def read_hdf5(
    path: Path, options: EventOptions, *, block_events: int = BLOCK_EVENTS, keep_events: int = KEEP_EVENTS
) -> Hdf5Stream:
    """Open the events of an HDF5 file, of any layout of this module.

    Args:
        block_events: events read at a time, about; whole chunks of the file. keep_events: see `EventStream`.

    Raises:
        FormatError: no events, missing codec, damaged or inconsistent columns.
        UsageError: resolution, polarity or column order must be given by an option.
    """
    path = Path(path)
    try:
        # a cache of a few chunks: a larger one pushes the events out of the processor's cache
        file = open_hdf5(path, rdcc_nbytes=1 << 20)
    except OSError as error:
        raise FormatError("not a readable HDF5 file (truncated or damaged?)", where=path) from error
    try:
        layouts = find_layouts(nodes_of(file))
        if not layouts:
            raise FormatError(
                "holds no events", where=path, expected="data sets x, y, t and p, or events of N x 4"
            )
        layout, others = _pick(path, layouts, options.stream)
        source = Hdf5Stream(path, file, layout, options, block_events=block_events, keep_events=keep_events)
    except (OSError, RuntimeError, KeyError, SystemError) as error:
        file.close()
        raise FormatError(
            "the HDF5 file is damaged: the data sets of its events cannot be opened", where=path
        ) from error
    except BaseException:
        file.close()
        raise
    if others:
        source.note(
            "stream", f"events of {layout.group} are read; also there: {', '.join(others)} (--stream)"
        )
    return source


def _layout_names(facts: Facts) -> frozenset[str]:
    found = look_into(facts.path)
    return frozenset() if found is None else frozenset(layout.name for layout in find_layouts(found.nodes))


def _holds(name: str) -> Any:
    @quiet
    def matches(path: Path) -> bool:
        return name in facts_of(path).once(_layout_names)

    return matches


@quiet
def _is_raw_ddd17(path: Path) -> bool:
    found = look_into(path)
    return found is not None and {"dvs/data", "dvs/timestamp"} <= set(found.nodes)


def _row(name: str, title: str, patterns: tuple[str, ...], notes: str = "", **more: Any) -> Reader:
    return Reader(name, "event", title, patterns, _holds(name), read_hdf5, notes=notes, **more)


HDF5_READERS: tuple[Reader, ...] = (
    _row(
        "dsec",
        "DSEC events.h5",
        ("events.h5",),
        "t_offset added, ms_to_idx used, rectify_map.h5 beside the file applied; also VECtor, TUM-VIE",
        beside=rectify_map_beside,
    ),
    _row("m3ed", "M3ED HDF5", ("*_data.h5",), "also EvTTC; the left camera unless --stream says otherwise"),
    _row("mvsec", "MVSEC HDF5", ("*_data.hdf5",), "the left camera unless --stream says otherwise"),
    _row("prophesee-hdf5", "Prophesee HDF5", ("*.hdf5",), "ECF compression needs Prophesee's HDF5 plugin"),
    _row(
        "hdf5",
        "HDF5 with x, y, t, p",
        ("*.h5", "*.hdf5"),
        "data sets x|xs, y|ys, t|ts|timestamps, p|ps|pol|polarity, or one table or N x 4 matrix of events",
    ),
    Reader(
        "ddd17-raw",
        "event",
        "DDD17 / DDD20 recording",
        ("rec*.hdf5",),
        _is_raw_ddd17,
        read_hdf5,
        refuse="export it with ddd20-utils first (packets of its own make), then convert the exported events",
    ),
)
