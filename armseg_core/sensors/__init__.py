"""Raw formats: READERS is the one table of what armseg can read, and `sniff` finds the row of a file.

Adding a format = one function and one row in the module of its sensor; help texts, the README table, `convert`,
`inspect` and `visualize` take it from here.
"""

from __future__ import annotations

import fnmatch
import importlib
import importlib.util
import os
from pathlib import Path

from armseg_core.errors import FormatError
from armseg_core.modalities import MODALITIES, get_modality
from armseg_core.sensors.reader import Reader
from armseg_core.sensors.sniffing import choose_by_name, must_be_readable

__all__ = ["READERS", "Reader", "format_table", "readers_for", "sniff"]


def _rows() -> tuple[Reader, ...]:
    rows: list[Reader] = []
    for module in ("events", "light_field", "polarization", "thermal", "depth"):
        if importlib.util.find_spec(f"armseg_core.sensors.{module}"):
            name = {"events": "EVENT"}.get(module, module.upper())
            loaded = importlib.import_module(f"armseg_core.sensors.{module}")
            rows += [*getattr(loaded, f"{name}_READERS"), *getattr(loaded, "LIDAR_READERS", ())]
    return tuple(rows)


READERS: tuple[Reader, ...] = _rows()


def readers_for(modality: str) -> tuple[Reader, ...]:
    """The rows of one sensor, in the order they are tried.

    Raises:
        UsageError: unknown modality.
    """
    name = get_modality(modality).name
    return tuple(reader for reader in READERS if reader.modality == name)


def sniff(path: str | os.PathLike[str], modality: str | None = None) -> Reader:
    """The reader of a recording (a file or a folder), from its content and, where that fits two sensors, its name.

    Within one sensor the first matching row of READERS wins.

    Args:
        path: the recording.
        modality: restricts the search to one sensor (name or alias).

    Raises:
        InputError: missing or unreadable. UsageError: unknown modality.
        FormatError: empty, damaged, already converted, not recognised, fits several sensors, or recognised but
            refused (the message says what to do).
    """
    reader = recognise(path, modality)
    if reader.refuse:
        raise FormatError(f"{reader.title} cannot be read", where=path, hint=reader.refuse)
    return reader


def recognise(path: str | os.PathLike[str], modality: str | None = None) -> Reader:
    """Like `sniff`, but a row that refuses the file is returned too (for `inspect`)."""
    path = Path(path)
    rows = READERS if modality is None else readers_for(modality)
    must_be_readable(path)
    first: dict[str, Reader] = {}
    for reader in rows:
        if reader.modality not in first and reader.matches(path):
            first[reader.modality] = reader
    if not first:
        raise _not_recognised(path, rows, modality)
    return first[next(iter(first)) if modality is not None else choose_by_name(path, tuple(first))]


def _not_recognised(path: Path, rows: tuple[Reader, ...], modality: str | None) -> FormatError:
    named = [row for row in rows if any(fnmatch.fnmatch(path.name.lower(), p.lower()) for p in row.patterns)]
    expected = "; ".join(row.title for row in (named or rows) if not row.refuse)
    sensor = f"{get_modality(modality).title} recording" if modality else "recording of any sensor"
    return FormatError(f"not a {sensor} in a known format", where=path,
                       expected=expected if named or modality else None,
                       hint=None if named or modality else "see the table of formats in the README")


def format_table() -> str:
    """The table of raw formats as Markdown: one line per row of READERS, in the order of MODALITIES."""
    lines = ["| sensor | format | files | read | notes | extra |", "|---|---|---|---|---|---|"]
    for modality in MODALITIES.values():
        for row in readers_for(modality.name):
            files = ", ".join(f"`{pattern}`" for pattern in row.patterns)
            notes = row.refuse or row.notes
            extra = f"`armseg[{row.extra}]`" if row.extra else ""
            cells = (modality.title, row.title, files, "no" if row.refuse else "yes", notes, extra)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
