"""Raw formats: `readers_for` lists what armseg can read, and `sniff` finds the row of a file.

Adding a format = one function and one row in the readers of its sensor; help texts, the README table,
`convert`, `inspect` and `visualize` take it from there.
"""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

from armseg_core import advice
from armseg_core.config.base import Options
from armseg_core.errors import FormatError
from armseg_core.files.pictures import PICTURE_SUFFIXES
from armseg_core.files.tensor_file import is_tensor_file
from armseg_core.sensors.modalities import BUILT_IN, IMAGE, declaration_of, get_modality, installed_sensors
from armseg_core.sensors.reader import Reader
from armseg_core.sensors.sniffing import (
    HDF5_SUFFIXES,
    Verdict,
    judge_by_name,
    must_be_readable,
    named_modalities,
    spoken_of,
)

__all__ = ["Reader", "format_table", "readers_for", "recording_files", "sniff"]


def readers_for(modality: str | None = None) -> tuple[Reader, ...]:
    """The rows of one sensor, or of every installed sensor, in the order they are tried.

    Raises:
        UsageError: unknown modality.
    """
    if modality is not None:
        return get_modality(modality).readers
    return tuple(reader for sensor in installed_sensors() for reader in sensor.readers)


def sniff(path: str | os.PathLike[str], modality: str | None = None) -> Reader:
    """The reader of a recording (file or folder), by its content.

    Where that fits two sensors, by its name. Within one sensor the first matching row wins.

    Args:
        path: the recording.
        modality: restricts the search to one sensor (name or alias).

    Raises:
        InputError: missing or unreadable. UsageError: unknown modality.
        FormatError: empty, damaged, already converted, not recognized, fits several sensors, or recognized
            but refused (the message says what to do).
    """
    reader = recognize(path, modality)
    if reader.refuse:
        raise FormatError(f"{reader.title} cannot be read", where=path, hint=reader.refuse)
    return reader


def recognize(path: str | os.PathLike[str], modality: str | None = None) -> Reader:
    """Like `sniff`, but a row that refuses the file is returned too (for `inspect`)."""
    path = Path(path)
    rows = readers_for(modality)
    must_be_readable(path)
    found = matching(path, modality)
    if not found:
        raise _not_recognized(path, rows, modality)
    if modality is not None:
        return next(iter(found.values()))
    verdict = judge(path, found)
    if verdict.modality:
        return found[verdict.modality]
    fits = ", ".join(found)
    if verdict.other:
        hint = "--modality SENSOR to say that it is a recording"
        raise FormatError(f"{verdict.other}; its content fits {fits}", where=path, hint=hint)
    hint = f"--modality {next(iter(found))}"
    raise FormatError(f"its format fits several sensors: {fits}", where=path, hint=hint)


def matching(path: Path, modality: str | None = None) -> dict[str, Reader]:
    """For every sensor (or the one asked for) the first row whose content test says yes.

    Any picture fits a declared sensor: one is among them only where a name speaks of it.
    """
    found: dict[str, Reader] = {}
    rows = readers_for(modality)
    if modality is None:
        declared = sorted(name for name in spoken_of(path) if declaration_of(name))
        rows += tuple(reader for name in declared for reader in readers_for(name))
    for reader in rows:
        if reader.modality in found or (reader.vague and not modality and not _names(path, reader.modality)):
            continue
        if _fits(reader, path):
            found[reader.modality] = reader
    return found


def _names(path: Path, modality: str) -> bool:
    """Whether the path or the folder around it speaks of the sensor."""
    return any(modality in named_modalities(name) for name in (path.name, path.absolute().parent.name))


def judge(path: Path, found: dict[str, Reader], root: Path | None = None) -> Verdict:
    """Which of the sensors whose formats fit is meant: by the names, else by files that belong together.

    A complete set of pictures says more of its sensor than the coding of each picture does.

    Args:
        found: as `matching` gives it, not empty. root: see `judge_by_name`.
    """
    verdict = judge_by_name(path, tuple(found), root)
    if verdict.modality or (verdict.other and verdict.certain):
        return verdict
    sets = [sensor for sensor, reader in found.items() if any(reader.parts(path))]
    return Verdict(sets[0]) if len(sets) == 1 else verdict


def _fits(reader: Reader, path: Path) -> bool:
    """`Reader.matches`, also of a row (a plug-in's) that raises although it must not: then "no"."""
    try:
        return reader.matches(path)
    except Exception:
        return False


def recording_files(path: Path, modality: str, options: Options) -> tuple[Path, ...]:
    """The files a recording or sensor-tensor file consists of, where its reader is not known yet.

    The content is only looked at where the formats of the sensor differ in their answer, so asking is cheap.

    Args:
        path: file or folder; need not be readable.
        options: of the modality's group.

    Returns:
        `Reader.files` of its format; the file alone when it is a sensor-tensor file; the files that any
        format of the sensor would take when it is of no known format.
    """
    rows = {row.beside: row for row in readers_for(modality)}
    answers = {beside: row.files(path, options) for beside, row in rows.items()}
    different = set(answers.values())
    if different == {(path,)} or (path.suffix.lower() in HDF5_SUFFIXES and is_tensor_file(path)):
        return (path,)
    found = tuple(matching(path, modality).values()) if len(different) > 1 else ()
    return answers[found[0].beside] if found else tuple(sorted(set().union(*different)))


def fits_pattern(path: Path, modality: str | None = None) -> bool:
    """True when the name is a usual one of a format (of the sensor, when given)."""
    name = path.name.lower()
    rows = readers_for(modality)
    return any(fnmatch.fnmatch(name, pattern.lower()) for row in rows for pattern in row.patterns)


def _not_recognized(path: Path, rows: tuple[Reader, ...], modality: str | None) -> FormatError:
    named = [row for row in rows if any(fnmatch.fnmatch(path.name.lower(), p.lower()) for p in row.patterns)]
    expected = "; ".join(row.title for row in (named or rows) if not row.refuse)
    sensor = f"the {get_modality(modality).title}" if modality else "any sensor"
    hint = None
    if path.is_dir():
        kinds = [f"{row.folder} ({row.title})" for row in rows if row.folder]
        if kinds and _holds_pictures(path):
            named, expected = list(rows), "pictures of one recording are named " + "; ".join(kinds)
        hint = f"a recording inside it, or {advice.command('check', path)} for a data set"
    elif not named and not modality:
        hint = "docs/formats.md lists every format"
    return FormatError(
        f"not a recording of {sensor} in a known format",
        where=path,
        expected=expected if named or modality else None,
        hint=hint,
    )


def _holds_pictures(folder: Path) -> bool:
    """Whether a folder may be meant as one recording of several pictures: three angles are the fewest."""
    return sum(name.lower().endswith(PICTURE_SUFFIXES) for name in os.listdir(folder)) >= 3


def format_table() -> str:
    """The table of raw formats as Markdown: one line per built-in reader, in the order of SENSORS."""
    lines = ["| sensor | format | files | read | notes | extra |", "|---|---|---|---|---|---|"]
    for modality in map(get_modality, (*BUILT_IN, IMAGE.name)):
        for row in modality.readers:
            files = ", ".join(f"`{pattern}`" for pattern in row.patterns)
            notes = row.refuse or row.notes
            extra = f"`armseg[{row.extra}]`" if row.extra else ""
            cells = (modality.title, row.title, files, "no" if row.refuse else "yes", notes, extra)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
