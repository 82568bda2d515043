"""The exceptions armseg raises on purpose, and nothing else.

    ArmsegError                     one line for the user, exit code 2
     |- UsageError                  an option or argument that cannot be right
     |- InputError                  a file or folder that cannot be used
     |   |- FormatError             the file is not what its format promises (truncated, wrong layout, ...)
     |   |- DataSetError            a data set with problems (see `armseg check`)
     |   `- CheckpointError         a model folder that cannot be loaded
     |- OutputError                 a result that cannot be written
     |- MissingExtraError           an optional package is needed and not installed
     `- TrainingError               a training that cannot go on (exit code 1)

A message says what is wrong, where, what was expected, and what to do next. `armseg_cli.main` is the one
place that turns an `ArmsegError` into that line and exit code 2.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

# control characters but for tab and newline, marks that turn the direction of writing, line separators, and
# the halves of pairs that stand for bytes of file names which are not UTF-8
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Text that names of files or classes are part of, as it may stand on a terminal.

    A name can hold what moves the cursor, colors or hides text: such characters are shown as escapes.
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


class ArmsegError(Exception):
    """An error the user can act on.

    Args:
        what: what is wrong, in one clause ("the file is truncated").
        where: the file, option or sample it concerns.
        expected: what would have been right ("16-bit single-channel PNG, got 8-bit RGB").
        hint: what to type or do next.
    """

    exit_code = 2

    def __init__(
        self, what: str, *, where: object = None, expected: str | None = None, hint: str | None = None
    ) -> None:
        self.what, self.where, self.expected, self.hint = what, where, expected, hint
        message = what if where is None else f"{where}: {what}"
        if expected:
            message += f" (expected {expected})"
        if hint:
            message += f". Try: {hint}"
        super().__init__(printable(" ".join(message.split())))

    def __reduce__(self) -> tuple[Any, ...]:  # keeps the fields when it crosses a process boundary
        where = None if self.where is None else str(self.where)
        return _rebuild, (type(self), self.what, where, self.expected, self.hint)


def _rebuild(
    cls: type[ArmsegError], what: str, where: str | None, expected: str | None, hint: str | None
) -> ArmsegError:
    return cls(what, where=where, expected=expected, hint=hint)


class UsageError(ArmsegError):
    """An option or argument that cannot be right."""


class InputError(ArmsegError):
    """A file or folder that cannot be used."""


class FormatError(InputError):
    """A file is not what its format promises."""


class DataSetError(InputError):
    """A data set has problems."""


class CheckpointError(InputError):
    """A model folder cannot be loaded."""


class OutputError(ArmsegError):
    """A result cannot be written."""


class MissingExtraError(ArmsegError):
    """An optional package is needed and not installed."""


class TrainingError(ArmsegError):
    """A training cannot go on."""

    exit_code = 1


class ArmsegWarning(UserWarning):
    """Something the user should know that does not stop the work (dropped events, a guessed unit, ...)."""


@contextlib.contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect the ArmsegWarnings of a block as notes (filled when it ends); others go their usual way."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ArmsegWarning)
        yield notes
    for warning in caught:
        if issubclass(warning.category, ArmsegWarning):
            notes.append(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def is_panic(error: BaseException) -> bool:
    """Whether a library written in Rust panicked; what pyo3 makes of it is no `Exception`."""
    return type(error).__name__ == "PanicException"


def require_extra(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional package at the moment it is needed.

    Args:
        module: module to import, e.g. "rosbags.highlevel".
        extra: the extra of armseg that installs it, e.g. "ros".
        purpose: what it is needed for, e.g. "reading ROS bags".

    Raises:
        MissingExtraError: naming the exact extra to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the optional package '{module.split('.')[0]}'",
            hint=f"pip install 'armseg[{extra}]'",
        ) from error
