"""What a file is like, looked at once: its kind, size, first and last bytes, and what follows from them.

Some sixty content tests ask about each file that is recognized. They ask through the functions of this room
(`head_of`, `image_header`, `npy_header`, `hdf5_keys`, ...), which share one `Facts` per state of a file.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from armseg_core.errors import InputError

T = TypeVar("T")

HEAD = 65536  # enough for every IHDR / IFD / EXIF block, npy header and text header that is looked at
TAIL = 65536  # writers put the directory of a TIFF behind its samples
_KEPT = 32  # files remembered: 32 heads and tails of 64 KiB are 4 MiB at most
# A file that changed so recently may change again without another time stamp: Linux stamps by clock ticks of
# 1 to 10 ms (the 2 s of FAT are not covered). Longer would only look at fresh files more often.
_SETTLED_NS = 50_000_000


_SPECIAL = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def special_kind(path: str | os.PathLike[str]) -> str:
    """What a path leads to when it is neither a file nor a folder ("a named pipe"), else "".

    Opening such a thing may wait for ever, and reading it may never end.
    """
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return ""
    return next((kind for test, kind in _SPECIAL if test(mode)), "")


def refuse_special(path: str | os.PathLike[str]) -> None:
    """Raise InputError for a pipe, socket or device: called before anything of a user is opened."""
    kind = special_kind(path)
    if kind:
        raise InputError(f"is {kind}", where=path, expected="a file", hint="save its data to a file first")


def must_be_file(path: str | os.PathLike[str]) -> None:
    """Raise InputError for what is no file: missing, a folder, or special."""
    refuse_special(path)
    if not os.path.isfile(path):
        raise InputError("is a folder" if os.path.isdir(path) else "no such file", where=path)


class Facts:
    """A file or folder as it was when it was looked at; bytes are read when they are first asked for.

    path: absolute. is_file, is_dir: of the target of a link. size: in bytes.
    """

    def __init__(self, path: Path, mode: int, size: int) -> None:
        self.path, self.size = path, size
        self.is_file, self.is_dir = stat.S_ISREG(mode), stat.S_ISDIR(mode)
        self._made: dict[Any, Any] = {}

    @cached_property
    def _ends(self) -> tuple[bytes, bytes]:
        if not self.is_file:
            return b"", b""
        with open(self.path, "rb") as stream:
            head = stream.read(HEAD)
            stream.seek(max(0, self.size - TAIL))
            return head, stream.read(TAIL)

    @property
    def head(self) -> bytes:
        """The first HEAD bytes, b"" of a folder."""
        return self._ends[0]

    def bytes_at(self, offset: int, count: int) -> bytes:
        """`count` bytes from `offset` (fewer at the end); the file is opened again only for its middle."""
        stop = min(offset + count, self.size)
        head, tail = self._ends
        if stop <= len(head):
            return head[offset:stop]
        begin = max(0, self.size - TAIL)
        if offset >= begin:
            return tail[offset - begin : stop - begin]
        with open(self.path, "rb") as stream:
            stream.seek(offset)
            return stream.read(count)

    def once(self, make: Callable[[Facts], T]) -> T:
        """`make(self)`, worked out once for this state of the file."""
        if make not in self._made:
            self._made[make] = make(self)
        found: T = self._made[make]
        return found


def facts_of(path: str | os.PathLike[str]) -> Facts:
    """The facts of a file or folder as it is now.

    Raises:
        OSError: there is none, or it may not be looked at.
    """
    now = os.stat(path)
    absolute = os.path.abspath(path)
    if time.time_ns() - max(now.st_mtime_ns, now.st_ctime_ns) < _SETTLED_NS:
        return Facts(Path(absolute), now.st_mode, now.st_size)
    return _kept(absolute, now.st_mode, now.st_size, (now.st_ino, now.st_mtime_ns, now.st_ctime_ns))


@lru_cache(maxsize=_KEPT)
def _kept(path: str, mode: int, size: int, stamp: tuple[int, ...]) -> Facts:
    return Facts(Path(path), mode, size)


def head_of(path: Path, count: int = HEAD) -> bytes:
    """The first bytes of a file, HEAD at most; b"" when it is a folder."""
    return facts_of(path).head[:count]


def names_in(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the files and of the folders in a folder, each in order; links count as what they lead to.

    Some ten content tests ask a folder what is in it: it is listed once.
    """
    return facts_of(folder).once(_listing)


def _listing(facts: Facts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    files, folders = [], []
    with os.scandir(facts.path) as entries:
        for entry in entries:
            if entry.is_dir():
                folders.append(entry.name)
            elif entry.is_file():
                files.append(entry.name)
    return tuple(sorted(files)), tuple(sorted(folders))
