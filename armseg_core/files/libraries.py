"""What C and Rust libraries do beside their work: they print on stderr, and they panic.

Decoders of pictures, point clouds and bags write warnings and whole stack traces to the process's stderr,
past Python. A user reads one line of armseg there, so this text is caught where such a library is called.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from armseg_core.errors import is_panic

_MOST = 1 << 16  # bytes of a library's text that are looked at; a stack trace of Rust has some 20 KB


@contextlib.contextmanager
def caught_stderr() -> Iterator[list[str]]:
    """Keep what a library prints on stderr (file descriptor 2) inside the block.

    Yields:
        the lines, filled when the block ends; always empty where the process has no stderr.
    """
    said: list[str] = []
    try:
        if sys.stderr is None:  # number 2 may be another file then
            raise OSError
        before = os.dup(2)
    except OSError:
        yield said
        return
    try:
        with _scratch() as scratch:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(scratch.fileno(), 2)
            try:
                yield said
            finally:
                os.dup2(before, 2)
                scratch.seek(0)
                text = scratch.read(_MOST).decode("utf-8", "replace")
                said.extend(line for line in map(str.strip, text.splitlines()) if line)
    finally:
        os.close(before)


def _scratch() -> Any:
    """An unnamed file, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("armseg-stderr"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


class LibraryError(Exception):
    """What `library_call` raises: the library failed, in whichever way."""


@contextlib.contextmanager
def library_call() -> Iterator[list[str]]:
    """Call a library on data of a user: whatever it raises or panics becomes a LibraryError.

    A lack of memory, and what ends the program, pass unchanged.

    Yields:
        what it prints on stderr, as `caught_stderr`.

    Raises:
        LibraryError: with the library's exception as its cause.
    """
    with caught_stderr() as said:
        try:
            yield said
        except BaseException as error:
            foreign = isinstance(error, Exception) and not isinstance(error, MemoryError)
            if not foreign and not is_panic(error):
                raise
            raise LibraryError(str(error)) from error
