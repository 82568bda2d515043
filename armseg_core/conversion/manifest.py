"""The manifest of a folder conversion: JSON Lines, one line per recording with its outcome.

A line is appended as soon as a recording is finished, so a killed run loses at most the line being written;
a torn line is dropped when the manifest is read. When a run ends, the file is rewritten atomically with one
line per result, in order. While a run is going on it holds a lock, so that two runs never write into each
other.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import IO

from armseg_core.errors import OutputError
from armseg_core.files.json_lines import Row, append_row, read_rows, write_rows
from armseg_core.files.ownership import check_free

Entry = Row


def read_manifest(path: str | os.PathLike[str]) -> list[Entry]:
    """The entries of a manifest, the newest of each result, in order of input; [] when there is no file."""
    found: dict[str, Entry] = {}
    for entry in read_rows(path):
        if "input" in entry:
            found.pop(f"? {entry['input']}", None)  # an earlier failure before the output was known
            found[entry.get("output") or f"? {entry['input']}"] = entry
    return sorted(found.values(), key=lambda entry: (entry["input"], entry.get("output") or ""))


def is_manifest(path: Path) -> bool:
    """Whether every line of a file is an entry; the last one may be torn by a crash.

    Entries are kept when the file is written again, but for those of recordings that are converted again.
    """
    try:
        *lines, last = path.read_text(encoding="utf-8").split("\n")  # "" behind a whole line
        entries = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return False
    with contextlib.suppress(ValueError):
        entries += [json.loads(last)]
    return last[:1] in ("", "{") and all(
        isinstance(entry, dict) and {"input", "status"} <= entry.keys() for entry in entries
    )


class Manifest:
    """A manifest being written. Use as a context manager.

    Args:
        force: replace a file of that name that is no manifest.

    Raises:
        OutputError: the folder cannot be written, another run holds the lock, or such a file is in the way.
    """

    def __init__(self, path: str | os.PathLike[str], force: bool = False) -> None:
        self.path, self._force = Path(path), force
        self.locked = False
        self._lock_path = self.path.with_name(f".{self.path.name}.lock")
        self._lock: IO[str] | None = None
        self._stream: IO[str] | None = None

    def __enter__(self) -> Manifest:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._acquire()
            check_free([self.path], force=self._force, ours=is_manifest)
            self._rewrite()  # drops a torn last line before anything is appended
            self._stream = open(self.path, "a", encoding="utf-8")
        except OutputError:
            self._release()
            raise
        except OSError as error:
            self._release()
            raise OutputError(
                f"cannot write here: {error.strerror}",
                where=self.path.parent,
                hint="another folder with -o/--output",
            ) from error
        return self

    def add(self, entry: Entry) -> None:
        """Append the outcome of one recording."""
        assert self._stream is not None
        append_row(self._stream, entry, sort_keys=True)

    def __exit__(self, *exc: object) -> None:
        try:
            if self._stream is not None:
                self._stream.close()
                self._rewrite()
        finally:
            self._release()

    def _rewrite(self) -> None:
        write_rows(self.path, read_manifest(self.path), sort_keys=True)

    def _acquire(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows: no lock
            return
        while True:
            self._lock = open(self._lock_path, "a", encoding="utf-8")  # noqa: SIM115
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    self._lock.close()
                    self._lock = None
                    raise OutputError(
                        "another conversion is writing here",
                        where=self.path.parent,
                        hint="wait for it, or another folder with -o/--output",
                    ) from error
                return  # a file system without locks
            if _same_file(self._lock, self._lock_path):
                self.locked = True
                return
            self._lock.close()  # removed by its last owner between open and lock: try again

    def _release(self) -> None:
        if self._lock is not None:
            if self.locked:
                self._lock_path.unlink(missing_ok=True)
            self._lock.close()
            self._lock, self.locked = None, False


def _same_file(stream: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), os.stat(path))
    except FileNotFoundError:
        return False
