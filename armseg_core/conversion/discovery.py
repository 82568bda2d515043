"""Finding the recordings below a folder or behind a pattern."""

from __future__ import annotations

import glob
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from armseg_core.errors import InputError
from armseg_core.files.facts import special_kind
from armseg_core.files.tensor_file import is_tensor_file
from armseg_core.sensors.modalities import IMAGE, get_modality
from armseg_core.sensors.reader import Reader
from armseg_core.sensors.recognition import fits_pattern, judge, matching
from armseg_core.sensors.sniffing import HDF5_SUFFIXES, diagnose, named_modalities


@dataclass(frozen=True)
class Found:
    """One recording.

    relative: its path below the common root. modality: its sensor, "" when that stays open (`sniff` then says
    why).
    """

    source: Path
    relative: Path
    modality: str


# a path, and the folder that was searched when it was met there; None: it is taken whatever it is
Candidate = tuple[Path, Path | None]
Share = tuple[int, int]  # (which, of how many), counted from 1


def find_recordings(
    inputs: Sequence[str | os.PathLike[str]],
    modality: str | None = None,
    skip: Path | None = None,
    share: Share | None = None,
) -> tuple[Path, list[Found]]:
    """The recordings named by files, folders and glob patterns, in a fixed order.

    A file that is named is always taken. In a folder a file is taken when a format fits its content and its
    name does not speak of another sensor, or when it is a damaged file with the name of a recording; hidden
    files and sensor-tensor files are passed over. A folder that is one recording (a light field) is taken as
    a whole, but for a set of pictures that other recordings lie beside. Of files that are one recording
    together, the first is taken.

    Args:
        inputs: files, folders, patterns such as "scenes/*/events.h5" (`**` for any depth).
        modality: take recordings of this sensor only.
        skip: folder not to look into (the output folder).
        share: only this share of them. All shares together are everything once; files of one name up to the
            suffix are in one share. Only files of the share are looked into, so the shares of a large folder
            begin at once; that makes them about equal, not exactly.

    Returns:
        (common root folder, recordings).

    Raises:
        InputError: a path or pattern leads to nothing. UsageError: unknown modality.
    """
    sensor = get_modality(modality).name if modality else None
    paths = [path for text in inputs for path in _expand(str(text))]
    root = _common_root(paths)
    candidates = list(
        dict.fromkeys(
            candidate
            for path in paths
            for candidate in (_walk(path, sensor, skip) if path.is_dir() else [(path, None)])
        )
    )
    found: dict[Path, Found] = {}
    for path, folder in candidates if share is None else _share(candidates, share):
        taken = _named(path, sensor) if folder is None else _looked_at(path, sensor, folder)
        if taken is None:
            continue
        source, name, first = taken
        if share is not None and first != path and folder is not None and folder in first.parents:
            continue  # the share of the first file converts all of them
        found.setdefault(first.absolute(), Found(source, Path(os.path.relpath(source, root)), name))
    return root, sorted(found.values(), key=lambda item: item.relative.parts)


def _share(candidates: list[Candidate], share: Share) -> list[Candidate]:
    """Those of a share: files of one name together, since their results have one name, too.

    The names are dealt out in the order of a checksum: in the order of the names, the files of one kind of
    each scene (all the long recordings) might come to one share.
    """
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        path = os.path.abspath(candidate[0])
        groups.setdefault(os.path.splitext(path)[0], []).append(candidate)
    order = sorted(groups, key=lambda name: (zlib.crc32(os.fsencode(name)), name))
    return [candidate for name in order[share[0] - 1 :: share[1]] for candidate in groups[name]]


def is_recording_folder(path: Path, modality: str | None = None) -> bool:
    """True when the folder itself is one recording, such as the views of a light field.

    A set of pictures that other recordings lie beside is not: each of them is converted.
    """
    found = matching(path, modality) if path.is_dir() else {}
    parts = {part for reader in found.values() for part in reader.parts(path)}
    others = sorted(path.iterdir()) if parts else []
    return bool(found) and not any(
        matching(file, modality)
        for file in others
        if file not in parts and file.is_file() and not file.name.startswith(".")
    )


def _expand(text: str) -> list[Path]:
    if os.path.exists(text):
        return [Path(text)]
    if not glob.has_magic(text):
        raise InputError("no such file or folder", where=text)
    paths = [Path(name) for name in sorted(glob.glob(text, recursive=True))]
    if not paths:
        raise InputError("no file fits the pattern", where=text)
    return paths


def _common_root(paths: list[Path]) -> Path:
    if len(paths) == 1:
        return paths[0] if paths[0].is_dir() and not is_recording_folder(paths[0]) else paths[0].parent
    absolute = os.path.commonpath([path.absolute().parent for path in paths])
    return Path(absolute if any(path.is_absolute() for path in paths) else os.path.relpath(absolute))


Taken = tuple[Path, str, Path]  # source, modality ("" when open), first of the files that it stands for


def _walk(folder: Path, sensor: str | None, skip: Path | None) -> Iterator[Candidate]:
    """The files below a folder that may be recordings, and the folders that are."""
    if is_recording_folder(folder, sensor):
        yield folder, None
        return
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link that leads back up
            folders.clear()
            continue
        seen.add(real)
        inside = [Path(here, name) for name in sorted(folders) if not name.startswith(".")]
        inside = [path for path in inside if skip is None or path.resolve() != skip.resolve()]
        recordings = {path for path in inside if is_recording_folder(path, sensor)}
        folders[:] = [path.name for path in inside if path not in recordings]
        yield from ((path, None) for path in sorted(recordings))
        yield from ((Path(here, name), folder) for name in sorted(files) if not name.startswith("."))


def _named(path: Path, sensor: str | None) -> Taken:
    """A path the user named: taken whatever it is; what is wrong with it is said when it is converted."""
    found = matching(path, sensor)
    name = sensor or (judge(path, found).modality if found else "")
    return path, name, _first(path, found.get(name))


def _first(path: Path, reader: Reader | None) -> Path:
    """The file that stands for all which are one recording together."""
    return min((path, *(reader.parts(path) if reader else ())))


def _looked_at(path: Path, sensor: str | None, root: Path) -> Taken | None:
    """`_considered`, also of a file at which a library fails: what is wrong is said when it is converted."""
    try:
        return _considered(path, sensor, root)
    except Exception:  # one file of a folder never stops the others
        return path, sensor or "", path


def _considered(path: Path, sensor: str | None, root: Path) -> Taken | None:
    """A file met in a folder: taken only when it is (or should be) a recording."""
    if special_kind(path) or not os.access(path, os.R_OK):
        return (path, sensor or "", path) if fits_pattern(path, sensor) else None
    if path.suffix.lower() in HDF5_SUFFIXES and is_tensor_file(path):
        return None
    found = {} if diagnose(path) else matching(path)
    if sensor == IMAGE.name and not diagnose(
        path
    ):  # any picture that its name does not give to another sensor
        found |= matching(path, sensor)
    if not found:
        named = named_modalities(path.stem) or named_modalities(path.parent.name)
        meant = not named or (sensor in named if sensor else named != {"rgb"})
        return (path, sensor or "", path) if meant and diagnose(path) and fits_pattern(path, sensor) else None
    verdict = judge(path, found, root)
    if sensor:
        if sensor not in found or verdict.modality not in ("", sensor) or (verdict.other and verdict.certain):
            return None
    elif verdict.other:
        return None
    name = sensor or verdict.modality
    return path, name, _first(path, found.get(name))


def is_many(inputs: Sequence[str | os.PathLike[str]], modality: str | None = None) -> bool:
    """True for several paths, a glob pattern, or a folder that is not itself one recording."""
    if len(inputs) != 1:
        return True
    path = Path(inputs[0])
    if path.exists():
        return path.is_dir() and not is_recording_folder(path, modality)
    return glob.has_magic(str(inputs[0]))
