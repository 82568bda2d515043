"""Prophesee RAW (EVT 2.0, EVT 3.0) and DAT recordings."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.errors import FormatError, InputError
from armseg_core.files.facts import facts_of, head_of
from armseg_core.sensors.event.columns import Columns
from armseg_core.sensors.event.geometry import Geometry, find_geometry
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.readers.evt import (
    EVT2_TYPES,
    EVT3_TYPES,
    Evt2State,
    Evt3State,
    decode_dat,
    decode_evt2,
    decode_evt3,
)
from armseg_core.sensors.event.source import KEEP_EVENTS
from armseg_core.sensors.event.streams import DecodedStream, Decoder
from armseg_core.sensors.reader import Reader

BLOCK_BYTES = 1 << 18  # read and decoded at a time; fits a second-level cache together with the columns
_TEXT_BYTES = bytes([9, 10, 13, *range(32, 127)])
DAT_CD = 0x0C  # event type in the header of a DAT file: CD, change detection

# Prophesee's cameras by system id, for recordings that do not say the size, as in OpenEB (device_system_id.h
# and the geometry its raw file header infers): generation 3 has 640 x 480 pixels, generation 4 1280 x 720.
_SYSTEMS = {
    (480, 640): (21, 23, 25, 28, 29, 33, 34, 35, 40, 41, 151, 153, 161, 162),
    (720, 1280): (26, 30, 31, 39, 46, 48, 49, 50),
}
_PLUGINS = {"gen3": (480, 640), "gen4": (720, 1280), "imx636": (720, 1280)}  # in plugin_name


@dataclass(frozen=True)
class RawHeader:
    """fields: keyword -> value of the `% ` lines. start: offset of the data."""

    fields: dict[str, str] = field(default_factory=dict)
    start: int = 0

    @property
    def format(self) -> str:
        """Name of the encoding, "EVT2", "EVT3", "EVT21", ..., or "" when the header does not say."""
        if match := re.match(r"EVT(\d+)", self.fields.get("format", "").upper()):
            return match[0]
        if match := re.fullmatch(r"(\d)\.(\d)", self.fields.get("evt", "").strip()):
            return f"EVT{match[1]}" + ("" if match[2] == "0" else match[2])
        return ""

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of the sensor."""
        options = dict(part.split("=", 1) for part in self.fields.get("format", "").split(";") if "=" in part)
        width, _, height = self.fields.get("geometry", "").partition("x")
        for w, h in (
            (options.get("width"), options.get("height")),
            (width, height),
            (self.fields.get("Width"), self.fields.get("Height")),
        ):
            if w and h and w.strip().isdigit() and h.strip().isdigit():
                return int(h), int(w)
        return None

    @property
    def usual_size(self) -> tuple[int, int] | None:
        """(H, W) of the camera that the header names, where that is one of Prophesee's known ones."""
        if self.fields.get("integrator_name", "Prophesee") != "Prophesee":
            return None
        system = self.fields.get("system_ID", "")
        for size, systems in _SYSTEMS.items():
            if system.isdecimal() and int(system) in systems:
                return size
        match = re.search(r"(gen[34]|imx636)", self.fields.get("plugin_name", "").lower())
        return _PLUGINS[match[1]] if match else None


def read_header(path: Path) -> RawHeader:
    """The text lines at the start of a RAW or DAT file, each "% keyword value"."""
    head = head_of(path)
    fields, start = {}, 0
    while head[start : start + 1] == b"%":
        end = head.find(b"\n", start)
        line = head[start : len(head) if end < 0 else end]
        if end < 0 or not line.isascii():
            break
        words = line[1:].decode().strip().split(None, 1)
        start = end + 1
        if words and words[0].lower() == "end":
            break
        if words:
            fields[words[0]] = words[1].strip() if len(words) > 1 else ""
    return RawHeader(fields, start)


def _share_of_types(path: Path, start: int, dtype: str, shift: int, types: tuple[int, ...]) -> float:
    """Share of the first words whose type exists in an encoding."""
    data = facts_of(path).bytes_at(start, BLOCK_BYTES)
    words = np.frombuffer(data[: len(data) // 4 * 4], dtype)
    if not len(words):
        return 0.0
    known = np.zeros(16, bool)
    known[list(types)] = True
    return float(known[words >> shift].mean())


def fits(path: Path, header: RawHeader) -> dict[str, bool]:
    """Which encodings the words of a file fit.

    Of unrelated data at least a quarter of the words do not; 0.98 leaves room for a damaged stretch.
    """
    return {
        "EVT2": _share_of_types(path, header.start, "<u4", 28, EVT2_TYPES) > 0.98,
        "EVT3": _share_of_types(path, header.start, "<u2", 12, EVT3_TYPES) > 0.98,
    }


def _encoding(path: Path, header: RawHeader) -> str:
    """The encoding, from the header and checked against the words.

    Raises:
        FormatError: another encoding, or words that contradict the header.
    """
    fitting = [name for name, fit in fits(path, header).items() if fit]
    named = header.format
    if named in ("EVT2", "EVT3"):
        if named in fitting:
            return named
        found = f"the words are {fitting[0]}" if fitting else "the words are not (damaged, or big-endian)"
        raise FormatError(f"the header says {named}, {found}", where=path, expected=f"words of {named}")
    if named:
        raise FormatError(f"encoded as {named}", where=path, expected="EVT2 or EVT3", hint=EVT21_ADVICE)
    if len(fitting) == 1:
        return fitting[0]
    raise FormatError(
        "the header does not say how the events are encoded",
        where=path,
        expected='a line "% evt 3.0" or "% format EVT3;..."',
        hint="add the header line, or export the recording with Metavision Studio",
    )


EVT21_ADVICE = (
    "convert it with Metavision (`metavision_file_to_hdf5` or `metavision_file_to_dat`); "
    "the word order of EVT 2.1 depends on the sensor and is not in the file"
)


def raw_blocks(
    path: Path, offset: int, unit: int, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[int, np.ndarray]]:
    """(offset, bytes) of whole words of `unit` bytes; the bytes are overwritten by the next block."""
    buffer = np.empty(block_bytes, np.uint8)
    view = memoryview(buffer.data)
    try:
        with open(path, "rb", buffering=0) as stream:
            stream.seek(offset)
            held = 0
            while got := stream.readinto(view[held:]):
                whole = (held + got) // unit * unit
                if whole:
                    yield offset, buffer[:whole]
                held = held + got - whole
                buffer[:held] = buffer[whole : whole + held].copy()
                offset += whole
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from error


def evt_decoder(
    path: Path,
    start: int,
    encoding: str,
    lost: Callable[[int], None] = lambda number: None,
    block_bytes: int = BLOCK_BYTES,
) -> Callable[[Any], Iterator[tuple[Any, Columns]]]:
    """Decoder of a RAW file for `DecodedStream`.

    `lost` is told how many events had no time or address yet.
    """
    unit, dtype = (4, "<u4") if encoding == "EVT2" else (2, "<u2")
    decode_words: Any = decode_evt2 if encoding == "EVT2" else decode_evt3

    def decode(point: Any) -> Iterator[tuple[Any, Columns]]:
        begin, state = point or (start, Evt2State() if encoding == "EVT2" else Evt3State())
        for offset, data in raw_blocks(path, begin, unit, block_bytes):
            here = (offset, state)
            columns, state, missing = decode_words(data.view(dtype), state)
            if missing:
                lost(missing)
            if len(columns.t):
                yield here, columns

    return decode


def read_raw(
    path: Path, options: EventOptions, *, block_bytes: int = BLOCK_BYTES, keep_events: int = KEEP_EVENTS
) -> DecodedStream:
    """Open a Prophesee RAW recording, EVT 2.0 or EVT 3.0.

    Args:
        block_bytes: decoded at a time. keep_events: see `DecodedStream`.

    Raises:
        FormatError: another encoding, damaged, or without events.
    """
    path = Path(path)
    header = read_header(path)
    encoding = _encoding(path, header)
    lost: list[int] = []
    decode = evt_decoder(path, header.start, encoding, lost.append, block_bytes)
    geometry = _geometry(path, options, header, evt_decoder(path, header.start, encoding))
    source = DecodedStream(path, geometry, decode, keep_events=keep_events)
    source.drop("before the first time stamp and address of the stream", sum(lost))
    _note_rest(source, path, header.start, 4 if encoding == "EVT2" else 2)
    return source


def _geometry(path: Path, options: EventOptions, header: RawHeader, decode: Decoder) -> Geometry:
    """The size in the header, else that of the camera it names; else how far the events reach is said."""

    def reach() -> tuple[int, int]:
        height = width = 1
        for _, columns in decode(None):
            height, width = max(height, int(columns.y.max()) + 1), max(width, int(columns.x.max()) + 1)
        return height, width

    return find_geometry(path, options, stored=header.size, usual=header.usual_size, reach=reach)


def _note_rest(source: DecodedStream, path: Path, start: int, unit: int) -> None:
    rest = (path.stat().st_size - start) % unit
    if rest:
        source.note(
            "rest", f"the last {rest} bytes are not a whole word (recording cut off?); left out", warn=True
        )


def read_dat(
    path: Path, options: EventOptions, *, block_bytes: int = BLOCK_BYTES, keep_events: int = KEEP_EVENTS
) -> DecodedStream:
    """Open a Prophesee DAT recording (version 2, change-detection events).

    Args:
        block_bytes: decoded at a time. keep_events: see `DecodedStream`.

    Raises:
        FormatError: another kind of DAT, damaged, or without events.
    """
    path = Path(path)
    header = read_header(path)
    kind = facts_of(path).bytes_at(header.start, 2)
    if len(kind) < 2 or kind[0] not in (0x00, DAT_CD) or kind[1] != 8:
        raise FormatError(
            f"events of type {kind[:1].hex() or '?'} and size {kind[1:].hex() or '?'}",
            where=path,
            expected="type 0c (change detection) of 8 bytes",
        )

    def decode(point: Any) -> Iterator[tuple[Any, Columns]]:
        begin, turns, last = point or (header.start + 2, 0, 0)
        for offset, data in raw_blocks(path, begin, 8, block_bytes):
            here = (offset, turns, last)
            columns, turns, last = decode_dat(data.view("<i8"), turns, last)
            yield here, columns

    source = DecodedStream(path, _geometry(path, options, header, decode), decode, keep_events=keep_events)
    _note_rest(source, path, header.start + 2, 8)
    return source


def _is_text(path: Path, header: RawHeader) -> bool:
    """Whether lines of text follow those that begin with "%": a CSV of Metavision, not a RAW file."""
    return not facts_of(path).bytes_at(header.start, 1024).translate(None, _TEXT_BYTES)


def _raw(*names: str) -> Callable[[Path], bool]:
    """Content test for the encodings named; a header that is silent about it is decided by the words."""

    def matches(path: Path) -> bool:
        with contextlib.suppress(Exception):
            if path.is_file():
                header = read_header(path)
                if header.format:
                    return header.format in names
                if header.start and not is_dat(path) and not _is_text(path, header):
                    return any(fits(path, header).get(name, False) for name in names)
        return False

    return matches


def _other_evt(path: Path) -> bool:
    with contextlib.suppress(Exception):
        return path.is_file() and read_header(path).format not in ("", "EVT2", "EVT3")
    return False


def is_dat(path: Path) -> bool:
    """A DAT file: header lines and then the bytes of the event type and size."""
    with contextlib.suppress(Exception):
        if path.is_file():
            header = read_header(path)
            kind = facts_of(path).bytes_at(header.start, 2)
            return bool(header.start) and not header.format and kind in (b"\x0c\x08", b"\x00\x08")
    return False


PROPHESEE_READERS: tuple[Reader, ...] = (
    Reader("dat", "event", "Prophesee DAT", ("*.dat", "*_td.dat"), is_dat, read_dat, notes="version 2"),
    Reader("evt3", "event", "Prophesee RAW, EVT 3.0", ("*.raw",), _raw("EVT3"), read_raw),
    Reader("evt2", "event", "Prophesee RAW, EVT 2.0", ("*.raw",), _raw("EVT2"), read_raw),
    Reader(
        "evt21",
        "event",
        "Prophesee RAW, EVT 2.1 and others",
        ("*.raw",),
        _other_evt,
        read_raw,
        refuse=EVT21_ADVICE,
    ),
)
