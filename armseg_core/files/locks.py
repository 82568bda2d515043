"""Locks between processes: who writes where, and whether the writer of an unfinished file is still there.

A lock (flock) belongs to an open file or folder: the operating system takes it back when the process ends,
however it ends. Where the platform or the file system has none, nobody is kept out, and what is unfinished is
taken for the work of a process that is still there.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from armseg_core.errors import OutputError


@contextlib.contextmanager
def lock_file(path: Path, busy: str, hint: str) -> Iterator[bool]:
    """Hold a lock file, which is made and removed again; one that a killed process left is taken over.

    Args:
        path: the lock file, in a folder that exists.
        busy, hint: what is said when another process holds it.

    Yields:
        True, or False where there are no locks.

    Raises:
        OutputError: another process holds it, or the file cannot be made.
    """
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"cannot write here: {error.strerror}", where=path.parent) from error
        locked = _flock(descriptor)
        if locked is False:
            os.close(descriptor)
            raise OutputError(busy, where=path.parent, hint=hint)
        if locked is None or _is_at(descriptor, path):
            break
        os.close(descriptor)  # removed by its last owner between open and lock: try again
    try:
        yield locked is not None
    finally:
        if locked:
            path.unlink(missing_ok=True)
        os.close(descriptor)


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Say, while the block runs, that an unfinished file or folder is being written (see `abandoned`).

    Yields:
        False when it was removed before it could be claimed. True also where there are no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    except OSError:  # Windows opens no folders, and has no locks
        yield True
        return
    try:
        # shared: once it has its final name, others may open it and lock it for reading, as HDF5 does
        locked = _flock(descriptor, shared=True)
        if locked is None:
            os.close(descriptor)
            descriptor = -1
        yield locked is None or _is_at(descriptor, path)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


@contextlib.contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Whether the process that wrote an unfinished file or folder has ended.

    While the block runs, nobody can claim it.

    Yields:
        False when it is being written, is gone, may not be opened, or where there are no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        yield bool(_flock(descriptor)) and _is_at(descriptor, path)
    finally:
        os.close(descriptor)


def _flock(descriptor: int, shared: bool = False) -> bool | None:
    """Lock an open file: True when it is ours, False when another has it, None where there are no locks.

    shared: with others that share it; waits for the one that does not. Otherwise alone, or not at all.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if error.errno in (errno.EAGAIN, errno.EACCES) else None
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
