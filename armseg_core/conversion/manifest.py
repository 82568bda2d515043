"""The manifest of a folder conversion: JSON Lines, one line per recording with its outcome.

A line is appended as soon as a recording is finished, so a killed run loses at most the line being written;
a torn line is dropped when the manifest is read. When a run ends, the file is rewritten atomically with one
line per result, in order. While a run is going on it holds a lock, so that two runs never write into each
other.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from armseg_core.errors import OutputError
from armseg_core.files.json_lines import Row, append_row, read_rows, write_rows
from armseg_core.files.locks import lock_file
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

    locked: whether no other run can write here; False where the file system has no locks.

    Raises:
        OutputError: the folder cannot be written, another run holds the lock, or such a file is in the way.
    """

    def __init__(self, path: str | os.PathLike[str], force: bool = False) -> None:
        self.path, self._force = Path(path), force
        self.locked = False
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Manifest:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write here: {error.strerror}",
                where=self.path.parent,
                hint="another folder with -o/--output",
            ) from error
        lock = lock_file(
            self.path.with_name(f".{self.path.name}.lock"),
            "another conversion is writing here",
            hint="wait for it, or another folder with -o/--output",
        )
        with contextlib.ExitStack() as stack:
            self.locked = stack.enter_context(lock)
            check_free([self.path], force=self._force, ours=is_manifest)
            self._rewrite()  # drops a torn last line before anything is appended
            self._stack = stack.pop_all()  # from here on __exit__ ends it
        return self

    def add(self, entry: Entry) -> None:
        """Append the outcome of one recording."""
        append_row(self.path, entry, sort_keys=True)

    def __exit__(self, *exc: object) -> None:
        with self._stack:
            self._rewrite()

    def _rewrite(self) -> None:
        write_rows(self.path, read_manifest(self.path), sort_keys=True)
