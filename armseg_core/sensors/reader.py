"""The contract of every raw format: one `Reader` row, made of one reading function and one content test."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from armseg_core.files.hashing import files_below


def quiet(test: Callable[[Path], bool]) -> Callable[[Path], bool]:
    """Make a content test that never raises: whatever goes wrong inside means 'not this format'."""

    @functools.wraps(test)
    def wrapped(path: Path) -> bool:
        try:
            return bool(test(Path(path)))
        except Exception:  # the contract of Reader.matches: any damage is a plain no
            return False

    return wrapped


def nothing_beside(path: Path, options: Any) -> Iterable[Path]:
    """The answer of a format that keeps everything in the file or folder it is given."""
    return ()


def no_parts(path: Path) -> Iterable[Path]:
    """The answer of a format whose recordings are one file or one folder each."""
    return ()


@dataclass(frozen=True)
class Reader:
    """One raw format of one sensor.

    name: short unique name, such as "dsec" or "png16-depth".
    modality: name of the sensor the data belongs to.
    title: human name, such as "DSEC events.h5".
    patterns: usual file names or suffixes, for help and the README table.
    matches: cheap content test (magic bytes, HDF5 keys, folder contents); it never raises and reads only a
    little.
    read: (path, options of the modality's group) -> EventSource | EventPicture | EventMoments | LightField |
        PolarizedImages | Stokes | Thermal | Depth | HhaImage | Bands | PointCloud. Raises FormatError for
        damaged data and MissingExtraError without its package.
    extra: the pip extra it needs, "" for none. notes: one line for the README table.
    beside: (path, options) -> files outside the path that `read` opens by itself: a calibration file, the
        other pictures of a set. Files that do not exist may be among them. Cheap: it reads none of them.
    parts: path -> all the files that are one recording together, where there are several and each of them
        stands for it: the pictures of a set. A folder converts them once. Cheap, as `matches` is.
    vague: what `matches` looks for is also true of other things: the row is tried only where the user names
        the sensor, or the path or the folder around it does. folder: names of the files in a folder that is
        one recording, for the message about a folder that is none.
    frames: the recording holds many frames, of which `read` takes the one that the option `frame` numbers.
    refuse: when set, the format is recognized but not readable, and this text says what to do instead.
    """

    name: str
    modality: str
    title: str
    patterns: tuple[str, ...]
    matches: Callable[[Path], bool]
    read: Callable[[Path, Any], Any]
    extra: str = ""
    notes: str = ""
    refuse: str = ""
    beside: Callable[[Path, Any], Iterable[Path]] = nothing_beside
    parts: Callable[[Path], Iterable[Path]] = no_parts
    vague: bool = False
    folder: str = ""
    frames: bool = False

    def files(self, path: Path, options: Any) -> tuple[Path, ...]:
        """The files a recording consists of: a change of any of them may change what is read.

        Args:
            path: the recording. options: of the modality's group.

        Returns:
            the file itself or every file below the folder, then those `beside` it that exist, then those
            that options name; none twice.
        """
        beside = (file for file in self.beside(path, options) if file.is_file())
        named = (value for _, value in options if isinstance(value, Path))
        return tuple(dict.fromkeys((*files_below(path), *beside, *named)))
