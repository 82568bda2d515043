"""Hashes of recordings: of every byte, or of samples of very large ones, beside other work."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from armseg_core.errors import InputError

FULL_HASH_BYTES = 1 << 30  # about a second; above this, reading everything again costs more than it is worth
_EDGE = 1 << 20  # bytes at either end; SAMPLED names it, so another number needs another text

FULL = "sha256"
SAMPLED = "sha256 of name, size, modification time, first and last MiB of each file"


def files_below(path: str | os.PathLike[str]) -> list[Path]:
    """The file itself, or every file below a folder, in name order; [] when there is neither."""
    root = Path(path)
    return sorted(p for p in [root, *root.rglob("*")] if p.is_file())


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file, or of a folder (names and contents of its files, in name order)."""
    digest = hashlib.sha256()
    root = Path(path)
    for file in files_below(root):
        if root.is_dir():
            digest.update(str(file.relative_to(root)).encode("utf-8", "surrogateescape"))
        with open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def source_hash(path: str | os.PathLike[str]) -> tuple[str, str]:
    """(hex digest, rule) of a recording.

    The rule is FULL (`sha256_of`: every byte) up to 1 GiB and SAMPLED above. A sampled hash notices a file
    that was written again or replaced; it does not notice a change of the middle that keeps size and time.

    Raises:
        InputError: the recording cannot be read.
    """
    path = Path(path)
    try:
        files = files_below(path)
        if sum(file.stat().st_size for file in files) <= FULL_HASH_BYTES:
            return sha256_of(path), FULL
        digest = hashlib.sha256()
        for file in files:
            stat = file.stat()
            name = "" if file == path else str(file.relative_to(path))
            digest.update(f"{name}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
            with open(file, "rb") as stream:
                digest.update(stream.read(_EDGE))
                stream.seek(max(0, stat.st_size - _EDGE))
                digest.update(stream.read(_EDGE))
        return digest.hexdigest(), SAMPLED
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror or error}", where=error.filename or path
        ) from error


class BackgroundHash:
    """`source_hash` in a thread of its own, beside the conversion (hashing releases the GIL)."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._value: tuple[str, str] = ("", "")
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = source_hash(self._path)
        except BaseException as error:
            self._error = error

    def result(self) -> tuple[str, str]:
        """(hex digest, rule). Raises what `source_hash` raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._value
