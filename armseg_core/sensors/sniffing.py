"""What can be said about a file without a reader: the sensor its name speaks of, and any damage."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from armseg_core import advice
from armseg_core.errors import FormatError, InputError
from armseg_core.files.facts import facts_of, refuse_special
from armseg_core.files.hdf5 import look_into, refuse_outside
from armseg_core.files.image_headers import PNG_MAGIC
from armseg_core.files.npy import NPY_MAGIC, is_archive
from armseg_core.files.pictures import PICTURE_SUFFIXES
from armseg_core.files.tensor_file import is_tensor_file
from armseg_core.sensors.modalities import MODALITIES, get_modality

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")


def named_modalities(text: str) -> set[str]:
    """The modalities whose name, alias or usual words stand in a file or folder name, as whole words.

    'scene_3_depth' -> {'depth'}; 'rgb' also stands for label pictures.
    """
    text = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", text).lower().replace("-", "_").replace(" ", "_")
    return {
        row.name
        for row in MODALITIES.values()
        if _any_of((row.name, row.name.replace("_", ""), *row.aliases, *row.words)).search(text)
    }


@functools.lru_cache(maxsize=256)
def _any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z])(?:{'|'.join(map(re.escape, words))})s?(?![a-z])")


@dataclass(frozen=True)
class Verdict:
    """What a name says about a file whose content fits some sensors.

    modality: the one it speaks of, "" when that stays open. other: what it says instead ("it is an RGB or
    label picture"). certain: False for a color picture whose name says nothing, which is taken for an RGB
    picture.
    """

    modality: str = ""
    other: str = ""
    certain: bool = True


def judge_by_name(path: Path, candidates: Sequence[str], root: Path | None = None) -> Verdict:
    """Which of the modalities whose formats fit is meant, by the words in its name and its folders.

    The nearest name that says something decides. A picture (PNG, TIFF, JPEG) whose names speak of none of
    the candidates is of something else; for other formats the content decides.

    Args:
        path: file or folder.
        candidates: modalities whose formats fit its content.
        root: folder the search began in: folders down from it count (default: the two around the file).
    """
    is_picture = path.suffix.lower() in PICTURE_SUFFIXES
    for name in _names(path, root):
        named = named_modalities(name)
        hits = [candidate for candidate in candidates if candidate in named]
        if len(hits) == 1:
            return Verdict(hits[0])
        if hits:
            break
        if named and is_picture:
            sensors = " or ".join(sorted(named))
            what = "an RGB or label picture" if named == {"rgb"} else f"a picture of {sensors}"
            return Verdict(other=f"its name says {what}")
    if is_picture and any(get_modality(name).fits_any_color for name in candidates):
        return Verdict(other="a color picture whose name speaks of no sensor", certain=False)
    return Verdict(candidates[0] if len(candidates) == 1 else "")


def spoken_of(path: Path) -> set[str]:
    """The modalities that the names of a file or folder and of the two folders around it speak of."""
    return set().union(*map(named_modalities, _names(path, None)))


def _names(path: Path, root: Path | None) -> list[str]:
    """The name of a file or folder, then those of the folders around it, nearest first."""
    own, parents = path.name if path.is_dir() else path.stem, path.absolute().parents
    count = 2 if root is None else len(path.absolute().parts) - len(root.absolute().parts)
    return [own, *(parent.name for parent in parents[:count])]


def must_be_readable(path: Path) -> None:
    """Raise InputError for a missing or forbidden path, FormatError for a damaged or converted file."""
    if not path.exists():
        raise InputError("no such file or folder", where=path)
    refuse_special(path)
    if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
        raise InputError("may not be read (permission denied)", where=path)
    refuse_outside(path)
    problem = diagnose(path)
    if problem:
        raise FormatError(problem, where=path, hint="copy or record the file again")
    if path.suffix.lower() in HDF5_SUFFIXES and path.is_file() and is_tensor_file(path):
        raise FormatError(
            "already a sensor-tensor file",
            where=path,
            expected="a raw recording",
            hint=advice.command("visualize", path),
        )


def diagnose(path: Path) -> str:
    """Why a file cannot be what its suffix promises ("" when nothing is wrong). Reads a few bytes only."""
    if not path.is_file():
        return ""
    facts = facts_of(path)
    if facts.size == 0:
        return "the file is empty"
    suffix = path.suffix.lower()
    if suffix in HDF5_SUFFIXES:
        return _hdf5_problem(path)
    head = facts.head
    if suffix == ".png":
        if not head.startswith(PNG_MAGIC):
            return "not a PNG file"
        # the last chunk has 12 bytes; some writers add a few behind it
        return "" if b"IEND" in facts.bytes_at(max(0, facts.size - 64), 64) else "the PNG file is truncated"
    if suffix in (".tif", ".tiff") and head[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "not a TIFF file"
    if suffix == ".npy" and not head.startswith(NPY_MAGIC):
        return "not a .npy file of numpy"
    if suffix == ".npz" and not is_archive(path):
        return "the .npz file is truncated or not one of numpy"
    return ""


def _hdf5_problem(path: Path) -> str:
    found = look_into(path)
    if found is None:
        return "not an HDF5 file"
    if "truncated" in found.unopened:
        return "the HDF5 file is truncated"
    if "unable to lock" in found.unopened:
        return "the HDF5 file cannot be opened: another program is writing it"
    if found.unopened:
        return "the HDF5 file is damaged: it cannot be opened"
    if found.outside:
        return f"the HDF5 file takes data from another file: {found.outside}"
    return "the HDF5 file is damaged: its table of contents cannot be read" if found.damage else ""
