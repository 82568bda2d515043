"""Event recordings as text: one event per line, columns separated by blanks or commas (ECD, E2VID, csv)."""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from armseg_core.errors import FormatError, InputError, UsageError
from armseg_core.files.facts import HEAD, head_of
from armseg_core.files.text import UTF8_MARK, refuse_wide, wide_encoding
from armseg_core.sensors.event.columns import Columns, guess_columns, guess_unit, match_names, to_us
from armseg_core.sensors.event.geometry import find_geometry, needs_polarity
from armseg_core.sensors.event.options import EventOptions
from armseg_core.sensors.event.source import KEEP_EVENTS
from armseg_core.sensors.event.streams import DecodedStream
from armseg_core.sensors.reader import Reader

BLOCK_BYTES = 1 << 22  # of text, about 200,000 events: starting numpy's parser is then no part of the time
# the first line of a CSV of Metavision: width, height
_GEOMETRY = re.compile(rb"%\s*geometry\s*[:=]?\s*(\d{1,5})\s*[,x]\s*(\d{1,5})")
_SEPARATOR = re.compile(rb"[,;\s]+")


@dataclass(frozen=True)
class TextLayout:
    """How a text file is laid out.

    start: offset of the first event. line: its line number. delimiter: None for blanks. order: names of the
    columns that the file gives, or "". width: numbers in a line. size: (H, W) of a first
    line `W H` or `%geometry:W,H`, or None.
    """

    start: int
    line: int
    delimiter: str | None
    order: str
    width: int
    size: tuple[int, int] | None


def find_layout(path: Path) -> TextLayout:
    """Look at the first lines of a text file.

    Raises:
        FormatError: it is not a table of three or four columns of numbers, or not UTF-8.
    """
    head = head_of(path)
    refuse_wide(path, head)
    start = len(UTF8_MARK) if head.startswith(UTF8_MARK) else 0
    head = head[start:]
    offset, number, order, size = start, 1, "", None
    for line in head.splitlines(keepends=True):
        is_comment = line.lstrip().startswith((b"#", b"%"))
        words = [word for word in _SEPARATOR.split(line.strip().lstrip(b"#%")) if word]
        if is_comment and (found := _GEOMETRY.match(line.strip())):
            size = int(found[2]), int(found[1])
        numbers = not is_comment and words and all(map(_is_number, words))
        if numbers and len(words) in (3, 4):
            if not line.endswith((b"\n", b"\r")) and start + len(head) == HEAD:
                break
            delimiter = "," if b"," in line else (";" if b";" in line else None)
            return TextLayout(offset, number, delimiter, order, len(words), size)
        if numbers and len(words) == 2 and size is None and all(word.isdigit() for word in words):
            size = int(words[1]), int(words[0])
        elif words and not numbers:
            names = match_names([word.decode("latin-1") for word in words])
            if {"x", "y", "t"} <= set(names) and len(words) in (3, 4):
                lower = [word.decode("latin-1") for word in words]
                order = "".join(sorted(names, key=lambda column: lower.index(names[column])))
            elif not is_comment and number > 1:
                break
        offset, number = offset + len(line), number + 1
    raise FormatError(
        "not a table of events", where=path, expected="lines such as `0.003811 96 133 0` (t x y p)"
    )


def _is_number(word: bytes) -> bool:
    return re.fullmatch(rb"[-+]?(\d+\.?\d*([eE][-+]?\d+)?|\.\d+|nan|inf)", word, re.IGNORECASE) is not None


def _blocks(
    path: Path, offset: int, line: int, block_bytes: int = BLOCK_BYTES
) -> Iterator[tuple[int, int, bytes]]:
    """(offset, line number, whole lines) of a text file."""
    try:
        with open(path, "rb") as stream:
            stream.seek(offset)
            while block := stream.read(block_bytes):
                block += stream.readline()
                yield offset, line, block
                offset, line = offset + len(block), line + block.count(b"\n")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from error


def parse(path: Path, block: bytes, line: int, layout: TextLayout) -> np.ndarray:
    """(N, columns) float64 of whole lines of text.

    Raises:
        FormatError: naming the line that is not a line of numbers.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a block of blank lines is fine
            rows = np.loadtxt(io.BytesIO(block), np.float64, delimiter=layout.delimiter, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        number = _bad_line(block, layout)
        raise _BadLine(
            f"line {line + number} is not a line of {layout.width} numbers",
            where=path,
            expected="one event per line, the same columns in each",
        ) from error
    if len(rows) and rows.shape[1] != layout.width:
        raise _BadLine(
            f"from line {line} on there are {rows.shape[1]} columns",
            where=path,
            expected=f"{layout.width}, as before",
        )
    return rows


def parse_whole(path: Path, block: bytes, line: int, layout: TextLayout) -> tuple[np.ndarray, bool]:
    """Like `parse`, but half a line at the end of the file is left out.

    Returns:
        rows; whether every line was whole.
    """
    try:
        return parse(path, block, line, layout), True
    except _BadLine:
        whole = block.rpartition(b"\n")[0]
        if block.endswith(b"\n") or not whole:
            raise
        return parse(path, whole, line, layout), False


class _BadLine(FormatError):
    """A line of text that is not an event."""


def _bad_line(block: bytes, layout: TextLayout) -> int:
    """Number, from 0, of the first line of a block that is not a line of numbers."""
    lines = block.split(b"\n")
    for number, line in enumerate(lines):
        words = line.partition(b"#")[0].strip()
        parts = words.split(layout.delimiter.encode()) if layout.delimiter else words.split()
        if words and not (len(parts) == layout.width and all(_is_number(part.strip()) for part in parts)):
            return number
    return len(lines) - 1


def read_text(
    path: Path, options: EventOptions, *, block_bytes: int = BLOCK_BYTES, keep_events: int = KEEP_EVENTS
) -> DecodedStream:
    """Open a text recording. Unit and order of the columns are guessed where the content leaves no doubt.

    Args:
        block_bytes: of text parsed at a time. keep_events: see `DecodedStream`.

    Raises:
        FormatError: a line that is not an event. UsageError: column order, polarity or size must be told.
    """
    path = Path(path)
    layout = find_layout(path)
    order, unit, notes = _find_meaning(path, layout, options)
    cut_off: set[str] = set()

    def decode(point: Any) -> Iterator[tuple[Any, Columns]]:
        start, number = point or (layout.start, layout.line)
        for offset, line, block in _blocks(path, start, number, block_bytes):
            rows, whole = parse_whole(path, block, line, layout)
            if not whole:
                cut_off.add("the last line is not whole (recording cut off?); left out")
            if len(rows):
                yield (offset, line), _as_columns(rows, order, unit)

    geometry = find_geometry(path, options, stored=layout.size)
    source = DecodedStream(path, geometry, decode, keep_events=keep_events)
    for key, text in notes.items():
        source.note(key, text)
    for text in cut_off:
        source.note("rest", text, warn=True)
    return source


def _find_meaning(path: Path, layout: TextLayout, options: EventOptions) -> tuple[str, str, dict[str, str]]:
    """Order of the columns, unit of the times, and notes on what of it was guessed from the first lines."""
    first = next(_blocks(path, layout.start, layout.line), None)
    head = parse_whole(path, first[2], layout.line, layout)[0] if first else np.zeros((0, 4))
    notes: dict[str, str] = {}
    order = options.columns or layout.order
    if not order:
        order, notes["columns"] = guess_columns(path, head)
    if len(order) != layout.width:
        raise UsageError(
            f"names {len(order)} columns", where="--columns", expected=f"{layout.width}, as {path} has"
        )
    needs_polarity(path, "p" in order, options)
    unit: str = options.time_unit
    if unit == "auto":
        unit, why = guess_unit(head[:, order.index("t")])
        notes["unit"] = f"times are taken as {unit} because {why} (--time-unit to change)"
    return order, unit, notes


def _as_columns(rows: np.ndarray, order: str, unit: str) -> Columns:
    """Columns of (N, width) numbers; without a column p every event is positive."""
    column = {name: rows[:, i] for i, name in enumerate(order)}
    t, bad = to_us(column["t"], unit)
    return Columns(column["x"], column["y"], t, column.get("p", np.ones(len(t), np.uint8)), bad)


def _is_wide_table(head: bytes) -> bool:
    """Whether text of two or four bytes a character is a table of numbers; reading it says how to save it."""
    lines = head.replace(b"\0", b"").splitlines()
    last = lines[-2] if len(lines) > 1 else b""  # the very last may be cut off
    words = [word for word in _SEPARATOR.split(last.strip()) if word]
    return len(words) in (3, 4) and all(map(_is_number, words))


def _is_events(path: Path) -> bool:
    with contextlib.suppress(Exception):
        if path.suffix.lower() in (".txt", ".csv", ".tsv", ".dat", ".events") and path.is_file():
            if wide_encoding(head_of(path)):
                return _is_wide_table(head_of(path))
            layout = find_layout(path)
            if layout.order:
                return True
            _, line, block = next(_blocks(path, layout.start, layout.line))
            rows = parse(path, b"".join(block.splitlines(keepends=True)[:100]), line, layout)
            if layout.width == 4:
                return any(bool(np.isin(rows[:, i], (-1, 0, 1)).all()) for i in range(4))  # a polarity
    return False


TEXT_READERS: tuple[Reader, ...] = (
    Reader(
        "text",
        "event",
        "text, one event per line",
        ("*.txt", "*.csv"),
        _is_events,
        read_text,
        notes="t x y p or another order (--columns); first line `W H`, `%geometry:W,H` or names understood",
    ),
)
