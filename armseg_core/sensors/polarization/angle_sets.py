"""Which files make one polarization recording: sets of one picture per angle, AoLP / DoLP pairs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from armseg_core.files.facts import names_in

PICTURES = (".png", ".tif", ".tiff", ".bmp", ".npy", ".jpg", ".jpeg")
# degrees; three angles are the fewest that determine the three linear Stokes parameters
_SETS = ((0, 45, 90, 135), (0, 60, 120))
_ANGLES = {angle for angles in _SETS for angle in angles}
_NUMBERED = re.compile(r"(?P<prefix>|.*[^0-9])(?P<number>\d{1,3})(?:d|deg|degrees)?", re.IGNORECASE)


def _set_of(numbered: dict[int, Path]) -> dict[int, Path] | None:
    """The files in angle order when their numbers are exactly a set of angles (no frame sequence passes)."""
    return next(
        ({a: numbered[a] for a in angles} for angles in _SETS if sorted(numbered) == list(angles)), None
    )


def _groups(folder: Path, names: Iterable[str], *, are_files: bool) -> dict[str, dict[int, Path]]:
    """prefix -> number -> path, for names in a folder that end in a number."""
    groups: dict[str, dict[int, Path]] = {}
    for name in names:
        match = _NUMBERED.fullmatch(os.path.splitext(name)[0] if are_files else name)
        if match:
            groups.setdefault(match["prefix"], {})[int(match["number"])] = folder / name
    return groups


def find_set(path: Path) -> dict[int, Path] | None:
    """Angle -> file of the set `path` (a folder or a member) stands for."""
    if path.is_file():
        match = _NUMBERED.fullmatch(path.stem)
        found = None
        if match and int(match["number"]) in _ANGLES:  # only then is the folder worth a look
            names = [name for name in names_in(path.parent)[0] if name.startswith(match["prefix"])]
            beside = [name for name in names if os.path.splitext(name)[1] == path.suffix]
            groups = _groups(path.parent, beside, are_files=True)
            found = _set_of(groups.get(match["prefix"], {}))
        folder = _NUMBERED.fullmatch(path.parent.name)
        if found is None and folder and int(folder["number"]) in _ANGLES:
            above = path.parent.parent
            beside = [name for name in names_in(above)[1] if (above / name / path.name).is_file()]
            numbered = _groups(above, beside, are_files=False).get(folder["prefix"], {})
            found = _set_of({angle: item / path.name for angle, item in numbered.items()})
        return found
    if not path.is_dir():
        return None
    files, folders = names_in(path)
    groups = _groups(path, [name for name in files if name.lower().endswith(PICTURES)], are_files=True)
    sets = [members for group in groups.values() if (members := _set_of(group))]
    if len(sets) == 1:
        return sets[0]
    for group in _groups(path, folders, are_files=False).values():
        complete = _set_of(group)
        if complete:
            inside = {
                a: [f for f in d.iterdir() if f.suffix.lower() in PICTURES] for a, d in complete.items()
            }
            if all(len(f) == 1 for f in inside.values()):
                return {angle: f[0] for angle, f in inside.items()}
    return None


def find_aolp(path: Path) -> dict[str, Path] | None:
    """'aolp', 'dolp' and perhaps 's0' -> file."""
    if path.is_dir():
        beside, prefix, suffix = path, "", ""
    else:
        match = re.fullmatch(r"(.*?)(aolp|dolp)(.*)", path.stem, re.IGNORECASE)
        if match is None or not path.parent.is_dir():
            return None
        beside, prefix, suffix = path.parent, match[1].lower(), match[3].lower()
    wanted = {f"{prefix}{key}{suffix}.npy": key for key in ("aolp", "dolp", "s0")}
    found = {wanted[name.lower()]: beside / name for name in names_in(beside)[0] if name.lower() in wanted}
    return found if {"aolp", "dolp"} <= set(found) else None
